//! Whether an image is the one that was made: a truncated or altered root boots, and fails guests at random.
//!
//! The checksums of `image.json` are computed once for each state of a file, which its size and the times of its last
//! changes tell; what came out is kept beside it, in `checked.json`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// Where it is kept.
const KEPT: &str = "checked.json";

/// One file as it was when its checksum was computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    bytes: u64,
    inode: u64,
    modified_ns: i128,
    changed_ns: i128,
    sha256: String,
}

impl Seen {
    fn of(about: &fs::Metadata, sha256: String) -> Self {
        let ns = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
        Self {
            bytes: about.len(),
            inode: about.ino(),
            modified_ns: ns(about.mtime(), about.mtime_nsec()),
            changed_ns: ns(about.ctime(), about.ctime_nsec()),
            sha256,
        }
    }
}

/// Whether each of these files has its SHA-256.
///
/// # Errors
/// What is wrong with which file.
pub(super) fn check(folder: &Path, files: &[(&str, &str)]) -> Result<(), String> {
    let kept = folder.join(KEPT);
    let known = fs::read(&kept).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let mut known: BTreeMap<String, Seen> = known.unwrap_or_default();
    let mut told = false;
    for &(name, expected) in files {
        let path = folder.join(name);
        let about = fs::metadata(&path).map_err(|error| format!("{name}: {error}"))?;
        if about.len() == 0 {
            return Err(format!("{name} is empty"));
        }
        if known.get(name) == Some(&Seen::of(&about, expected.to_owned())) {
            continue;
        }
        if !told {
            eprintln!("looking whether {} is whole, once", folder.display());
            told = true;
        }
        let found = sha256(&path).map_err(|error| format!("{name}: sha256sum: {error}"))?;
        if found != expected {
            return Err(format!(
                "{name} is damaged: {} bytes whose SHA-256 is {found} instead of {expected}: take image.json there away",
                about.len()
            ));
        }
        known.insert(name.to_owned(), Seen::of(&about, found));
    }
    if told {
        // Where nothing can be kept, it is looked at each time.
        let _ = serde_json::to_vec_pretty(&known)
            .map_err(io::Error::other)
            .map(|bytes| traces::atomic::write_file(&kept, &bytes));
    }
    Ok(())
}

/// By the program that wrote the checksums.
fn sha256(path: &Path) -> io::Result<String> {
    let done = Command::new("sha256sum").arg("--").arg(path).output()?;
    if !done.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&done.stderr).trim().to_owned()));
    }
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_altered_after_it_was_looked_at_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root.img");
        fs::write(&root, "some root").unwrap();
        let expected = sha256(&root).unwrap();
        let look = || check(folder.path(), &[("root.img", &expected)]);
        look().unwrap();
        let kept = fs::read(folder.path().join(KEPT)).unwrap();
        look().unwrap();
        assert_eq!(fs::read(folder.path().join(KEPT)).unwrap(), kept, "it is looked at once");
        // As long as before, with its old time of modification.
        let modified = fs::metadata(&root).unwrap().modified().unwrap();
        fs::write(&root, "same root").unwrap();
        fs::File::options().write(true).open(&root).unwrap().set_modified(modified).unwrap();
        let why = look().unwrap_err();
        assert!(why.contains("root.img is damaged: 9 bytes") && why.contains(&expected), "{why}");
        fs::write(&root, "some root").unwrap();
        look().unwrap();
        fs::write(&root, "").unwrap();
        assert_eq!(look().unwrap_err(), "root.img is empty");
    }
}
