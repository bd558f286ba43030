//! Which CRIU is used: the one that `scripts/criu` has unpacked, else the one on the path.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Error;

/// Folder of the unpacked one, below the folder of all outputs.
pub const FOLDER: &str = "criu";
/// Places in that folder.
const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const PROGRAM: &str = "usr/sbin/criu";

/// How to run a CRIU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Criu {
    words: Vec<OsString>,
}

impl Criu {
    /// The one of a prefix, if it is there: its own loader with its own libraries.
    #[must_use]
    pub fn unpacked(out: &Path) -> Option<Self> {
        // What runs it may have another current folder.
        let prefix = std::path::absolute(out.join(FOLDER)).ok()?;
        let parts: [PathBuf; 3] = [LOADER, LIBRARIES, PROGRAM].map(|part| prefix.join(part));
        if !parts.iter().all(|part| part.exists()) {
            return None;
        }
        let [loader, libraries, program] = parts.map(PathBuf::into_os_string);
        Some(Self { words: vec![loader, "--library-path".into(), libraries, program] })
    }

    /// The one of the set-up in the folder of all outputs, else the one on the path.
    #[must_use]
    pub fn find(out: &Path) -> Self {
        Self::unpacked(out).unwrap_or_else(|| Self { words: vec!["criu".into()] })
    }

    /// Why it cannot be used here.
    #[must_use]
    pub fn lacking(&self) -> Option<String> {
        let Some(version) = self.version() else {
            return Some("CRIU is not installed: run scripts/setup --with-criu".into());
        };
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        if can_read(&version, kernel.trim()) {
            return None;
        }
        Some(format!(
            "CRIU {version} cannot read this kernel's vDSO (6.13 and later): run scripts/setup --with-criu"
        ))
    }

    /// Its version as it says it.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        let output = Command::new(&self.words[0]).args(&self.words[1..]).arg("--version").output().ok()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.lines().find_map(|line| Some(line.strip_prefix("Version:")?.trim().to_owned()))
    }

    /// A subcommand, without input.
    #[must_use]
    pub fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).arg(subcommand).stdin(Stdio::null());
        command
    }

    /// A subcommand on images, with a log in its folder of work. `said` is how much it writes there: 1 are errors.
    pub(super) fn on(&self, subcommand: &str, images: &Path, work: &Path, said: u32) -> Command {
        let mut command = self.command(subcommand);
        command.arg("--images-dir").arg(images).arg("--work-dir").arg(work);
        command.args(["--log-file", &log(subcommand), &format!("-v{said}")]);
        command
    }
}

/// Versions before 4 fail on newer kernels ("Unexpected rt vDSO area bounds").
pub(crate) fn can_read(version: &str, kernel: &str) -> bool {
    let numbers =
        |text: &str| -> Vec<u64> { text.split(['.', '-']).map_while(|part| part.parse().ok()).collect() };
    numbers(version) >= vec![4] || numbers(kernel) < vec![6, 13]
}

fn log(subcommand: &str) -> String {
    format!("{subcommand}.log")
}

/// The error of a subcommand, with the end of what it logged as errors.
pub(super) fn failed(subcommand: &'static str, work: &Path, otherwise: &str) -> Error {
    let text = fs::read_to_string(work.join(log(subcommand))).unwrap_or_default();
    let errors: Vec<&str> = text.lines().filter(|line| line.contains("Error")).collect();
    let from = errors.len().saturating_sub(3);
    let said = if errors.is_empty() { otherwise.to_owned() } else { errors[from..].join("; ") };
    Error::Criu { command: subcommand, said }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unpacked_one_is_used_only_if_it_is_whole() {
        let out = tempfile::tempdir().unwrap();
        assert_eq!(Criu::find(out.path()).words, ["criu"]);
        for part in [LIBRARIES, LOADER, PROGRAM] {
            assert_eq!(Criu::unpacked(out.path()), None);
            fs::create_dir_all(out.path().join(FOLDER).join(part)).unwrap();
        }
        let found = Criu::find(out.path()).words;
        assert!(
            found[0].to_string_lossy().ends_with(LOADER) && found[3].to_string_lossy().ends_with(PROGRAM)
        );
    }

    #[test]
    fn old_ones_cannot_read_new_kernels() {
        assert!(can_read("3.17.1", "6.1.0-42-amd64") && can_read("4.1.1", "6.18.44"));
        assert!(!can_read("3.17.1", "6.13.2-generic") && !can_read("3.19", "6.18"));
    }

    #[test]
    fn one_that_is_not_there_says_what_to_do() {
        let none = Criu { words: vec!["/no/such/criu".into()] };
        assert!(none.lacking().unwrap().contains("scripts/setup --with-criu"));
        assert_eq!(none.version(), None);
    }
}
