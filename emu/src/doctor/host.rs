//! The files and programs that checks look at, so that a test can show them others.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::tool;

/// Where checks find the machine's files (`/proc`, `/sys`, `/dev`) and programs.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
    program_folders: Vec<PathBuf>,
    said: Arc<Mutex<Said>>,
}

/// What programs have said when they were asked, by program file (with its size and time of change) and arguments: asking
/// takes most of an examination's time, and the answer changes only with the file.
pub type Said = BTreeMap<String, Option<String>>;

impl Host {
    /// This machine: files under `/`, programs from `PATH`.
    #[must_use]
    pub fn this() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut program_folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        for usual in ["/usr/local/sbin", "/usr/sbin", "/sbin"] {
            program_folders.push(usual.into());
        }
        Self { root: "/".into(), program_folders, said: Arc::default() }
    }

    /// The same machine, of which it is known what programs have said before.
    #[must_use]
    pub fn knowing(self, said: Said) -> Self {
        Self { said: Arc::new(Mutex::new(said)), ..self }
    }

    /// What programs have said so far.
    #[must_use]
    pub fn said(&self) -> Said {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A machine whose files lie under `root` and whose programs lie in `program_folders`.
    #[must_use]
    pub fn under(root: &Path, program_folders: Vec<PathBuf>) -> Self {
        Self { root: root.to_owned(), program_folders, said: Arc::default() }
    }

    /// The place of a file that is named without its leading slash (`proc/meminfo`).
    pub(super) fn file(&self, name: &str) -> PathBuf {
        debug_assert!(!name.starts_with('/'), "{name} would leave the root");
        self.root.join(name)
    }

    /// The text of a file, if it can be read.
    pub(super) fn read(&self, name: &str) -> Option<String> {
        let bytes = std::fs::read(self.file(name)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The first value behind `key` in a file of `key: value` lines.
    pub(super) fn read_value(&self, name: &str, key: &str) -> Option<String> {
        self.read(name)?.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            (found.trim() == key).then(|| value.trim().to_owned())
        })
    }

    /// The sorted names in a folder; empty when there is no such folder.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.file(name)) else {
            return Vec::new();
        };
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The first executable file of one of these names.
    pub(super) fn program(&self, names: &[&str]) -> Option<PathBuf> {
        use std::os::unix::fs::PermissionsExt;
        let executable = |path: &PathBuf| {
            path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
        };
        names
            .iter()
            .flat_map(|name| self.program_folders.iter().map(move |dir| dir.join(name)))
            .find(executable)
    }

    /// What a program prints when it is asked, or `None` when it fails or is too slow.
    pub(super) fn ask(&self, program: &Path, arguments: &[&str]) -> Option<String> {
        let Ok(file) = program.metadata() else { return tool::output(program, arguments) };
        let at = (file.len(), file.mtime(), file.mtime_nsec());
        let key = format!("{} {at:?} {}", program.display(), arguments.join(" "));
        let known = self.said().get(&key).cloned();
        known.unwrap_or_else(|| {
            let said = tool::output(program, arguments);
            self.said.lock().unwrap_or_else(PoisonError::into_inner).insert(key, said.clone());
            said
        })
    }

    /// Whether the kernel has a file system of this kind, loaded or built in.
    pub(super) fn has_file_system(&self, kind: &str) -> bool {
        self.read("proc/filesystems")
            .is_some_and(|text| text.lines().any(|line| line.trim_start_matches("nodev").trim() == kind))
    }

    /// Mount points of file systems of this kind, each with its mount options.
    pub(super) fn mounts(&self, kind: &str) -> Vec<(PathBuf, String)> {
        let text = self.read("proc/self/mountinfo").unwrap_or_default();
        text.lines()
            .filter_map(|line| {
                let (before, after) = line.split_once(" - ")?;
                let mut after = after.split(' ');
                (after.next()? == kind).then_some(())?;
                let point = before.split(' ').nth(4)?;
                Some((PathBuf::from(point), after.nth(1)?.to_owned()))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let host = Host::under(root.path(), Vec::new());
        (root, host)
    }

    #[test]
    fn mounts_are_found_with_their_super_block_options() {
        let (_root, host) = host(&[(
            "proc/self/mountinfo",
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n",
        )]);
        assert_eq!(host.mounts("cgroup"), [(PathBuf::from("/sys/fs/cgroup/memory"), "rw,memory".to_owned())]);
        assert!(host.mounts("cgroup2").is_empty());
    }

    #[test]
    fn file_systems_are_matched_by_whole_name() {
        let (_root, host) = host(&[("proc/filesystems", "nodev\toverlay\n\text4\n")]);
        assert!(host.has_file_system("overlay"));
        assert!(host.has_file_system("ext4"));
        assert!(!host.has_file_system("over"));
    }

    #[test]
    fn a_program_is_asked_again_only_when_its_file_has_changed() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (program, asked) = (folder.path().join("tool"), folder.path().join("asked"));
        let write = |version: &str| {
            let text = format!("#!/bin/sh\necho x >>{}\necho {version}\n", asked.display());
            std::fs::write(&program, text).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        let count = || std::fs::read_to_string(&asked).unwrap().lines().count();
        write("1.2");
        let host = Host::under(folder.path(), vec![folder.path().to_owned()]);
        assert_eq!(host.ask(&program, &[]).as_deref(), Some("1.2\n"));
        let again = Host::under(folder.path(), Vec::new()).knowing(host.said());
        assert_eq!((again.ask(&program, &[]).as_deref(), count()), (Some("1.2\n"), 1));
        assert_eq!((again.ask(&program, &["--version"]).is_some(), count()), (true, 2));
        write("1.10.0");
        assert_eq!((again.ask(&program, &[]).as_deref(), count()), (Some("1.10.0\n"), 3));
    }

    #[test]
    fn a_value_is_read_by_its_key() {
        let (_root, host) = host(&[("proc/meminfo", "MemTotal:  24 kB\nMemFree: 1 kB\n")]);
        assert_eq!(host.read_value("proc/meminfo", "MemFree").as_deref(), Some("1 kB"));
        assert_eq!(host.read_value("proc/meminfo", "Mem"), None);
    }
}
