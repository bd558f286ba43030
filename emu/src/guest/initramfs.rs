//! The guest's first file system: an archive in the `newc` form of cpio, which the kernel unpacks at boot.
//!
//! It is not compressed: unpacking costs an emulated processor more than copying does.

use std::io::{self, Write};

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CHARACTERS: u32 = 0o020_600;

/// Writes an archive, entry by entry.
#[derive(Debug)]
pub struct Archive<W> {
    to: W,
    entries: u32,
}

impl<W: Write> Archive<W> {
    /// An empty archive.
    pub fn new(to: W) -> Self {
        Self { to, entries: 0 }
    }

    /// A folder. Those above it must have come before.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn folder(&mut self, name: &str) -> io::Result<()> {
        self.entry(name, FOLDER, (0, 0), &[])
    }

    /// An executable file.
    ///
    /// # Errors
    /// If it cannot be written, or has 4 GiB or more.
    pub fn file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.entry(name, PROGRAM, (0, 0), bytes)
    }

    /// A character device.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn device(&mut self, name: &str, numbers: (u32, u32)) -> io::Result<()> {
        self.entry(name, CHARACTERS, numbers, &[])
    }

    /// Ends the archive and hands the writer back.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        Ok(self.to)
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), bytes: &[u8]) -> io::Result<()> {
        self.entries += 1;
        let size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        // Magic, inode, mode, owner, group, links, time, size, device (2), device named (2), length of the name
        // with its zero, checksum (unused in this form).
        let fields =
            [self.entries, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name.len() as u32 + 1, 0];
        self.to.write_all(b"070701")?;
        for field in fields {
            write!(self.to, "{field:08x}")?;
        }
        self.to.write_all(name.as_bytes())?;
        self.to.write_all(&[0])?;
        // Head and name together, and the contents, each end on a multiple of 4.
        self.pad(6 + 13 * 8 + name.len() + 1)?;
        self.to.write_all(bytes)?;
        self.pad(bytes.len())
    }

    fn pad(&mut self, length: usize) -> io::Result<()> {
        self.to.write_all(&[0; 3][..length.next_multiple_of(4) - length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_the_form_that_the_kernel_reads() {
        let mut archive = Archive::new(Vec::new());
        archive.folder("bin").unwrap();
        archive.file("bin/x", b"hello").unwrap();
        archive.device("console", (5, 1)).unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let mut at = 0;
        let mut seen = Vec::new();
        loop {
            let field = |nth: usize| {
                let from = at + 6 + nth * 8;
                let digits = std::str::from_utf8(&bytes[from..from + 8]).unwrap();
                u32::from_str_radix(digits, 16).unwrap() as usize
            };
            assert_eq!(&bytes[at..at + 6], b"070701");
            let (size, name) = (field(6), field(11));
            let start = at + 110;
            let text = std::str::from_utf8(&bytes[start..start + name - 1]).unwrap().to_owned();
            let contents = (start + name).next_multiple_of(4);
            let end = text == "TRAILER!!!";
            seen.push((text, field(1), field(9), bytes[contents..contents + size].to_vec()));
            at = (contents + size).next_multiple_of(4);
            if end {
                break;
            }
        }
        assert_eq!(at, bytes.len());
        assert_eq!(seen[0], ("bin".to_owned(), 0o040_755, 0, Vec::new()));
        assert_eq!(seen[1], ("bin/x".to_owned(), 0o100_755, 0, b"hello".to_vec()));
        assert_eq!(seen[2], ("console".to_owned(), 0o020_600, 5, Vec::new()));
    }
}
