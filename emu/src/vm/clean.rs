//! What killed makers of templates leave.
//!
//! A VMM ends with the process that started it: its sandbox's init ends with the manager, and takes everything
//! inside along; cgroups and links are found by [`crate::clean`]. Guest memory is a file without a name. So only the
//! folder that was being written can stay.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Names of folders that are being written begin so; the number of the process follows.
const PARTIAL: &str = ".partial-";

/// Where templates lie.
pub(super) fn place(out: &Path) -> PathBuf {
    out.join("vm/templates")
}

/// A folder to write into, of this process.
pub(super) fn partial(out: &Path) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let nth = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = place(out).join(format!("{PARTIAL}{}-{nth}", std::process::id()));
    crate::ending::also(folder.clone());
    folder
}

/// Removes folders of processes that are gone: their names.
///
/// # Errors
/// If the folder cannot be read, or something in it not be removed.
pub fn clean(out: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(place(out)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut removed = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(PARTIAL) else { continue };
        let pid = rest.split('-').next().unwrap_or_default();
        if pid.parse::<u32>().is_ok() && Path::new("/proc").join(pid).exists() {
            continue;
        }
        fs::remove_dir_all(entry.path())?;
        removed.push(format!("folder {}", entry.path().display()));
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_the_dead_go() {
        let out = tempfile::tempdir().unwrap();
        assert!(clean(out.path()).unwrap().is_empty());
        let ours = partial(out.path());
        let dead = place(out.path()).join(format!("{PARTIAL}4194305-0"));
        let kept = place(out.path()).join("kept");
        for folder in [&ours, &dead, &kept] {
            fs::create_dir_all(folder).unwrap();
        }
        assert_eq!(clean(out.path()).unwrap(), [format!("folder {}", dead.display())]);
        assert!(ours.exists() && kept.exists() && !dead.exists());
    }
}
