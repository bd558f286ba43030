//! What microVMs boot: kernel, initial file system, and the root that all of them share.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Error, whole};

/// The set that `scripts/vm-image` makes.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its folder.
    pub folder: PathBuf,
    /// What it says of itself.
    pub about: About,
}

/// `image.json`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// Names everything that it was made of: templates of another recipe are foreign.
    pub recipe: String,
    /// The guest's kernel.
    pub kernel_version: String,
    /// A file in the root for measurements of page caches, and its size.
    pub data_file: String,
    /// Size of that file, bytes.
    pub data_bytes: u64,
    /// Where it lies in the root image, bytes from its beginning; in one piece.
    pub data_at: u64,
    /// SHA-256 of the files.
    pub kernel_sha256: String,
    /// SHA-256 of the initial file system.
    pub initramfs_sha256: String,
    /// SHA-256 of the root.
    pub root_sha256: String,
}

impl Image {
    /// The set in the folder of all outputs.
    ///
    /// # Errors
    /// If it is not there, or not whole.
    pub fn find(out: &Path) -> Result<Self, Error> {
        Self::read(out.join("vm"))
    }

    /// The one with a browser, there.
    ///
    /// # Errors
    /// If it is not there, or not whole.
    pub fn with_browser(out: &Path) -> Result<Self, Error> {
        Self::read(out.join("vm-browser"))
    }

    fn read(folder: PathBuf) -> Result<Self, Error> {
        let refuse = |why: String| Error::NoImage { folder: folder.clone(), why };
        let text = match fs::read_to_string(folder.join("image.json")) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(refuse("no image for microVMs here".to_owned()));
            }
            Err(error) => return Err(refuse(format!("image.json: {error}"))),
        };
        let about: About = serde_json::from_str(&text)
            .map_err(|error| refuse(format!("image.json is of another version: {error}")))?;
        let About { kernel_sha256, initramfs_sha256, root_sha256, .. } = &about;
        let files = [("kernel", kernel_sha256), ("initramfs", initramfs_sha256), ("root.img", root_sha256)];
        whole::check(&folder, &files.map(|(name, hash)| (name, hash.as_str()))).map_err(refuse)?;
        Ok(Self { folder, about })
    }

    /// The read-only root.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.join("root.img")
    }

    /// Opens one of its files to read.
    pub(super) fn open(&self, name: &str) -> Result<File, Error> {
        let path = self.folder.join(name);
        File::open(&path).map_err(Error::at(format!("open {}", path.display())))
    }
}
