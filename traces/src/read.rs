//! Opening published data: a file or bytes in memory, compressed or not.
//!
//! Compression is recognised by the first bytes (Zstandard, gzip), never by the file's name.

use crate::error::{Error, Result};
use memmap2::Mmap;
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::ops::Deref;
use std::path::{Path, PathBuf};

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const BUFFER_BYTES: usize = 1 << 18;

/// Data as published: where it is, and how error messages call it.
#[derive(Clone, Debug)]
pub struct Source {
    name: String,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Path(PathBuf),
    Bytes(Cow<'static, [u8]>),
}

/// Opens a file for reading, and no folder.
pub(crate) fn open(path: &Path, name: &str) -> Result<File> {
    let file = File::open(path).map_err(Error::io(name, "open"))?;
    if file.metadata().map_err(Error::io(name, "inspect"))?.is_dir() {
        return Err(Error::Folder { path: name.to_owned() });
    }
    Ok(file)
}

impl Source {
    /// A file.
    pub fn path(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { name: path.display().to_string(), place: Place::Path(path) }
    }

    /// Bytes in memory (compressed or not) that messages call `name`.
    pub fn bytes(name: impl Into<String>, bytes: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { name: name.into(), place: Place::Bytes(bytes.into()) }
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The last part of the name, for provenance.
    pub fn short_name(&self) -> &str {
        Path::new(&self.name).file_name().and_then(|name| name.to_str()).unwrap_or(&self.name)
    }

    /// A stream of the decompressed data.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened or read.
    pub fn reader(&self) -> Result<Box<dyn BufRead + Send + '_>> {
        match &self.place {
            Place::Path(path) => {
                let file = open(path, &self.name)?;
                self.decoded(BufReader::with_capacity(BUFFER_BYTES, file))
            }
            Place::Bytes(bytes) => self.decoded(Cursor::new(&**bytes)),
        }
    }

    fn decoded<'a>(&self, mut raw: impl BufRead + Send + 'a) -> Result<Box<dyn BufRead + Send + 'a>> {
        let start = raw.fill_buf().map_err(Error::io(&self.name, "read"))?;
        if start.starts_with(&ZSTD_MAGIC) {
            let decoder = zstd::Decoder::with_buffer(raw).map_err(Error::io(&self.name, "decompress"))?;
            Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder)))
        } else if start.starts_with(&GZIP_MAGIC) {
            Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, flate2::bufread::MultiGzDecoder::new(raw))))
        } else {
            Ok(Box::new(raw))
        }
    }

    /// All decompressed data at once. An uncompressed file is mapped, not read.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened, mapped or decompressed.
    pub fn contents(&self) -> Result<Contents<'_>> {
        let compressed = |start: &[u8]| start.starts_with(&ZSTD_MAGIC) || start.starts_with(&GZIP_MAGIC);
        match &self.place {
            Place::Bytes(bytes) if !compressed(bytes) => return Ok(Contents::Bytes(bytes)),
            Place::Bytes(_) => {}
            Place::Path(path) => {
                let file = open(path, &self.name)?;
                if file.metadata().map_err(Error::io(&self.name, "inspect"))?.is_file() {
                    // SAFETY: the map is only read. If someone truncates the file meanwhile, the
                    // kernel ends this process with SIGBUS; published data are not written to.
                    let map = unsafe { Mmap::map(&file) }.map_err(Error::io(&self.name, "map"))?;
                    if !compressed(&map) {
                        return Ok(Contents::Mapped(map));
                    }
                }
            }
        }
        let mut all = Vec::new();
        self.reader()?.read_to_end(&mut all).map_err(Error::io(&self.name, "read"))?;
        Ok(Contents::Owned(all))
    }
}

/// Decompressed data; reads as `&[u8]`.
pub enum Contents<'a> {
    /// Bytes that were in memory already.
    Bytes(&'a [u8]),
    /// A mapped file.
    Mapped(Mmap),
    /// The result of decompression.
    Owned(Vec<u8>),
}

impl Deref for Contents<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn compression_is_recognised_by_content_whatever_the_name() {
        let text = b"a,b\n1,2\n".to_vec();
        let zstd = zstd::encode_all(&text[..], 1).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        for bytes in [text.clone(), zstd, gzip.finish().unwrap()] {
            let source = Source::bytes("x.csv", bytes);
            let mut read = Vec::new();
            source.reader().unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, text);
            assert_eq!(&*source.contents().unwrap(), &text[..]);
        }
    }

    #[test]
    fn a_truncated_archive_is_an_error_that_names_it() {
        let zstd = zstd::encode_all(&b"a,b\n1,2\n"[..], 1).unwrap();
        let source = Source::bytes("x.csv.zst", zstd[..zstd.len() - 3].to_vec());
        let error = source.contents().err().unwrap();
        assert_eq!(error.to_string(), "x.csv.zst: cannot read: incomplete frame");
    }

    #[test]
    fn an_empty_file_has_empty_contents() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty");
        std::fs::write(&path, "").unwrap();
        assert!(Source::path(&path).contents().unwrap().is_empty());
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Source::path("nowhere/x.csv").reader().err().unwrap();
        assert_eq!(error.to_string(), "nowhere/x.csv: cannot open: No such file or directory (os error 2)");
    }
}
