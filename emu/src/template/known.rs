//! Files that a template counts on without holding them: libraries, modules, what it has open.
//!
//! A template has the pages that its process wrote over such a file, and pointers into the rest, so another file under
//! the same path, such as a rebuilt image has, must not take its place.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// A file as it was at the capture.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownFile {
    /// Path inside.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// When its content was changed last, ns since 1970.
    pub modified_ns: i64,
    /// The first half of the hash of its content, in hexadecimal digits.
    pub hash: String,
}

impl KnownFile {
    /// The file at `path`, which is found at `at`.
    pub(super) fn of(path: &str, at: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(at)?;
        Ok(Self {
            path: path.to_owned(),
            bytes: metadata.len(),
            modified_ns: modified(&metadata),
            hash: hash(at)?,
        })
    }

    /// Whether the length and the time of an open file are those of this one.
    pub(super) fn looks_like(&self, open: &File) -> bool {
        let same =
            |metadata: fs::Metadata| metadata.len() == self.bytes && modified(&metadata) == self.modified_ns;
        open.metadata().is_ok_and(same)
    }

    /// Whether `open`, which was opened by this path, is the same: its length and time are, or its content is.
    ///
    /// # Errors
    /// How it differs, or why that cannot be told.
    pub(super) fn check(&self, open: &File) -> Result<(), String> {
        let failed = |error: io::Error| format!("cannot look at {}: {error}", self.path);
        if self.looks_like(open) {
            return Ok(());
        }
        let metadata = open.metadata().map_err(failed)?;
        if metadata.len() == self.bytes && hash(Path::new(&self.path)).map_err(failed)? == self.hash {
            return Ok(());
        }
        Err(format!(
            "{} is not the file that was there at the capture ({} bytes, and now {}, with other content): capture \
             the template again",
            self.path,
            self.bytes,
            metadata.len()
        ))
    }
}

fn modified(metadata: &fs::Metadata) -> i64 {
    metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec()
}

fn hash(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hasher.finalize().to_hex()[..32].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_content_is_another_file_and_another_time_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("library");
        let check = |known: &KnownFile| known.check(&File::open(&path).unwrap());
        fs::write(&path, "one").unwrap();
        let known = KnownFile::of(path.to_str().unwrap(), &path).unwrap();
        check(&known).unwrap();
        fs::write(&path, "one").unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
        check(&known).unwrap();
        fs::write(&path, "two").unwrap();
        assert!(check(&known).unwrap_err().contains("capture the template again"));
        fs::write(&path, "longer").unwrap();
        assert!(check(&known).unwrap_err().contains("3 bytes, and now 6"));
    }
}
