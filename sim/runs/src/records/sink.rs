//! A file that is hashed as it is written, compressed where its name ends in `.zst`.

use crate::error::StoreError;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// Fixed, so that the same records give the same bytes.
const COMPRESSION_LEVEL: i32 = 3;

/// What a file holds, as noted in `DONE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileNote {
    pub bytes: u64,
    pub blake3: String,
}

/// A file being written.
pub(crate) struct Sink {
    path: PathBuf,
    inner: Inner,
}

enum Inner {
    Plain(Hashed),
    Zstd(zstd::Encoder<'static, Hashed>),
}

struct Hashed {
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Sink {
    /// A new file; there must be none of that name.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        let file = File::create_new(path).map_err(StoreError::io(path, "creating"))?;
        let hashed = Hashed { file: BufWriter::new(file), hasher: blake3::Hasher::new(), bytes: 0 };
        let inner = if path.extension().is_some_and(|ending| ending == "zst") {
            let encoder =
                zstd::Encoder::new(hashed, COMPRESSION_LEVEL).map_err(StoreError::io(path, "compressing"))?;
            Inner::Zstd(encoder)
        } else {
            Inner::Plain(hashed)
        };
        Ok(Self { path: path.to_owned(), inner })
    }

    /// The file's path, for errors.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Everything to the disk, and what was written.
    pub fn finish(self) -> Result<FileNote, StoreError> {
        let path = self.path;
        let finish = || -> io::Result<FileNote> {
            let mut hashed = match self.inner {
                Inner::Plain(hashed) => hashed,
                Inner::Zstd(encoder) => encoder.finish()?,
            };
            hashed.file.flush()?;
            hashed.file.get_ref().sync_all()?;
            Ok(FileNote { bytes: hashed.bytes, blake3: hashed.hasher.finalize().to_hex().to_string() })
        };
        finish().map_err(StoreError::io(&path, "writing"))
    }
}

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match &mut self.inner {
            Inner::Plain(hashed) => hashed.write(data),
            Inner::Zstd(encoder) => encoder.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for Hashed {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let n = self.file.write(data)?;
        self.hasher.update(&data[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// What a file holds now.
pub(crate) fn note_of(path: &Path) -> io::Result<FileNote> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(FileNote { bytes, blake3: hasher.finalize().to_hex().to_string() }),
            n => {
                hasher.update(&buffer[..n]);
                bytes += n as u64;
            }
        }
    }
}
