//! Guest memory as a file in memory: filled once, then sealed.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, SealFlags, SeekFrom};
use rustix::io::Errno;

/// Size of the pieces in which contents are copied; a multiple of the page size.
const PIECE: usize = 1 << 20;
/// Granularity in which zeros are left out.
const PAGE: usize = 4096;

/// Name of guest memory in lists of mappings.
pub(super) const NAME: &str = "trenvx-vm-memory";

/// An empty file in memory of this size.
pub(super) fn file(name: &str, bytes: u64) -> io::Result<File> {
    let file = File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.set_len(bytes)?;
    // Files in memory are made executable for everybody; the VMM, which is another user, has to open it anew.
    rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o666))?;
    Ok(file)
}

/// Nobody can write to it, or change its size, any more; private mappings stay possible. Nobody may have a shared
/// mapping that is writable.
pub(super) fn seal(file: &File) -> io::Result<()> {
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    Ok(rustix::fs::fcntl_add_seals(file, seals)?)
}

/// Another descriptor of the same file, with a place of reading of its own.
pub(super) fn reopen(file: &File) -> io::Result<File> {
    File::open(PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())))
}

/// Calls `each` with every run of data, in order; what it is not called with is zero.
fn for_each_piece(file: &File, mut each: impl FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let length = file.metadata()?.len();
    let mut at = 0;
    while at < length {
        let begin = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(begin) => begin,
            Err(Errno::NXIO) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(begin))?;
        at = begin;
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            let got = file.read_at(&mut piece[..most], at)?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            each(at, &piece[..got])?;
            at += got as u64;
        }
    }
    Ok(())
}

/// What a hash of contents covers: pages that are not zero with their places, and the length. So it does not depend
/// on how zeros are kept.
struct Digest {
    hasher: blake3::Hasher,
    data_bytes: u64,
}

impl Digest {
    fn new(length: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&length.to_le_bytes());
        Self { hasher, data_bytes: 0 }
    }

    /// Takes a piece in and calls `keep` with its pages that are not zero, as runs.
    fn take(
        &mut self,
        at: u64,
        piece: &[u8],
        mut keep: impl FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let is_zero = |page: &[u8]| page.iter().all(|byte| *byte == 0);
        let mut run = 0..0;
        for (nth, page) in piece.chunks(PAGE).enumerate() {
            let from = nth * PAGE;
            if !is_zero(page) {
                self.hasher.update(&(at + from as u64).to_le_bytes());
                self.hasher.update(page);
                self.data_bytes += page.len() as u64;
                if run.end != from {
                    keep(at + run.start as u64, &piece[run])?;
                    run = from..from;
                }
                run.end = from + page.len();
            }
        }
        keep(at + run.start as u64, &piece[run])
    }
}

/// The hash of a file's contents and how many bytes of it are in pages that are not zero.
pub(super) fn digest(file: &File) -> io::Result<(String, u64)> {
    let mut digest = Digest::new(file.metadata()?.len());
    for_each_piece(file, |at, piece| digest.take(at, piece, |_, _| Ok(())))?;
    Ok((digest.hasher.finalize().to_hex().to_string(), digest.data_bytes))
}

/// Copies contents to an empty file of the same length, leaving zeros out, and tells their hash and how many bytes of
/// them are not zero.
pub(super) fn copy(from: &File, to: &File) -> io::Result<(String, u64)> {
    let mut digest = Digest::new(from.metadata()?.len());
    for_each_piece(from, |at, piece| digest.take(at, piece, |at, run| to.write_all_at(run, at)))?;
    Ok((digest.hasher.finalize().to_hex().to_string(), digest.data_bytes))
}

/// A full copy, zeros and all, as a VMM makes it that reads guest memory into memory of its own.
pub(super) fn copy_everything(from: &File, bytes: u64) -> io::Result<File> {
    let mut to = file(NAME, bytes)?;
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < bytes {
        let most = usize::try_from(bytes - at).unwrap_or(PIECE).min(PIECE);
        let got = from.read_at(&mut piece[..most], at)?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_all(&piece[..got])?;
        at += got as u64;
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_have_the_same_digest_however_zeros_are_kept() {
        let sparse = file("test", 8 << 20).unwrap();
        sparse.write_all_at(b"some", 5 << 20).unwrap();
        sparse.write_all_at(&[7; 3 * PAGE], PIECE as u64 - 4096).unwrap();
        let (known, data) = digest(&sparse).unwrap();
        assert_eq!(data, 4 * PAGE as u64);
        let copied = file("test", 8 << 20).unwrap();
        assert_eq!(copy(&sparse, &copied).unwrap(), (known.clone(), data));
        assert_eq!(digest(&copied).unwrap(), (known.clone(), data));
        assert_eq!(digest(&copy_everything(&sparse, 8 << 20).unwrap()).unwrap(), (known.clone(), data));
        // Moved by a page, or longer: another.
        let moved = file("test", 8 << 20).unwrap();
        moved.write_all_at(b"some", (5 << 20) + 4096).unwrap();
        moved.write_all_at(&[7; 3 * PAGE], PIECE as u64 - 4096).unwrap();
        assert_ne!(digest(&moved).unwrap().0, known);
        sparse.set_len(9 << 20).unwrap();
        assert_ne!(digest(&sparse).unwrap().0, known);
    }

    #[test]
    fn a_sealed_file_cannot_be_written_by_anybody() {
        let memory = file("test", 1 << 20).unwrap();
        memory.write_all_at(b"kept", 0).unwrap();
        seal(&memory).unwrap();
        assert!(memory.write_all_at(b"lost", 0).is_err());
        let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
        let again = File::options().read(true).write(true).open(path).unwrap();
        assert!(again.write_all_at(b"lost", 0).is_err());
        assert!(again.set_len(0).is_err());
    }
}
