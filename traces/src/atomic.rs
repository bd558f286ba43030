//! Files that appear whole or not at all: written beside their place, then renamed into it.

use crate::error::{Error, Result};
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A file being written. Dropped before [`commit`](Self::commit), it leaves nothing behind.
pub struct AtomicFile {
    target: PathBuf,
    partial: PathBuf,
    writer: Option<BufWriter<File>>,
}

impl AtomicFile {
    /// Begins the file that will be at `target`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be created.
    pub fn create(target: &Path) -> Result<Self> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let partial = target.with_file_name(format!(".{name}.partial-{}", std::process::id()));
        let file = File::create(&partial).map_err(Error::io(target.display(), "create"))?;
        let writer = Some(BufWriter::with_capacity(1 << 20, file));
        Ok(Self { target: target.to_owned(), partial, writer })
    }

    fn writer(&mut self) -> &mut BufWriter<File> {
        self.writer.as_mut().expect("the writer is there until commit, which consumes the file")
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// [`Error::Io`] if they cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.writer().write_all(bytes);
        written.map_err(Error::io(self.target.display(), "write"))
    }

    /// Replaces the first bytes of the file.
    ///
    /// # Errors
    /// [`Error::Io`] if they cannot be written.
    pub fn patch_start(&mut self, bytes: &[u8]) -> Result<()> {
        let writer = self.writer();
        let patched = writer.seek(SeekFrom::Start(0)).and_then(|_| writer.write_all(bytes));
        patched.map_err(Error::io(self.target.display(), "write"))
    }

    /// Makes the file durable and moves it to its place.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written or moved; then nothing is left behind.
    pub fn commit(mut self) -> Result<()> {
        let finished = self.writer.take().map_or(Ok(()), |writer| {
            let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            fs::rename(&self.partial, &self.target)
        });
        finished.map_err(Error::io(self.target.display(), "finish"))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer().flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        // After a commit the partial file is gone and this does nothing; a failure to remove it
        // after an error is of no interest beside that error.
        let _ = fs::remove_file(&self.partial);
    }
}

/// Writes a small file whole. What is there and is no file, such as `/dev/stdout`, is written to as it is.
///
/// # Errors
/// [`Error::Io`] if it cannot be written.
pub fn write_file(target: &Path, bytes: &[u8]) -> Result<()> {
    if fs::metadata(target).is_ok_and(|about| !about.is_file()) {
        return fs::write(target, bytes).map_err(Error::io(target.display(), "write"));
    }
    let mut file = AtomicFile::create(target)?;
    AtomicFile::write(&mut file, bytes)?;
    file.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abandoned_file_leaves_nothing_and_a_finished_one_leaves_itself_only() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x");
        let mut abandoned = AtomicFile::create(&target).unwrap();
        AtomicFile::write(&mut abandoned, b"half").unwrap();
        drop(abandoned);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        write_file(&target, b"whole").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_device_stays_one() {
        use std::os::unix::fs::FileTypeExt;
        let folder = tempfile::tempdir().unwrap();
        // A named socket takes no bytes, and is not replaced by a file of them.
        let target = folder.path().join("socket");
        let _socket = std::os::unix::net::UnixListener::bind(&target).unwrap();
        assert!(write_file(&target, b"x").is_err());
        assert!(fs::metadata(&target).unwrap().file_type().is_socket());
    }
}
