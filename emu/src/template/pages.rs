//! The pages of a template: one sparse file laid out for mapping, and a table with a hash of each page.
//!
//! ```text
//! pages        page n of the template at byte n x 4096. A page of zeros, or a gap, is a hole.
//! pages.table  "trenvxPT" | version u32 | reserved u32 | count of pages u64 | root hash [u8; 32]
//!              then 16 bytes a page: the first half of its BLAKE3 hash, all zero where the page is absent
//! ```
//!
//! Numbers are little-endian. The root hash is BLAKE3 over the 16-byte hashes, so a template that names its root
//! hash fixes every byte of its pages. What installs a page that came over a wire or from a device checks it
//! against the table first: a wrong page is never installed.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

/// Bytes of a page.
pub const PAGE: usize = 4096;
/// Name of the file of pages in the folder of a template.
pub const PAGES: &str = "pages";
/// Name of the table beside it.
pub const TABLE: &str = "pages.table";

const MAGIC: &[u8; 8] = b"trenvxPT";
const VERSION: u32 = 1;
const HEAD: usize = 8 + 4 + 4 + 8 + 32;

/// The first half of a page's BLAKE3 hash; all zero for a page that is absent.
pub type PageHash = [u8; 16];

/// The hash of an absent page.
pub const ABSENT: PageHash = [0; 16];

/// Hash of one page, [`ABSENT`] if it holds only zeros.
#[must_use]
pub fn hash_page(page: &[u8; PAGE]) -> PageHash {
    if is_zero(page) {
        return ABSENT;
    }
    let mut half = ABSENT;
    half.copy_from_slice(&blake3::hash(page).as_bytes()[..16]);
    half
}

/// Whether a page holds only zeros.
#[must_use]
pub fn is_zero(page: &[u8; PAGE]) -> bool {
    page.iter().all(|byte| *byte == 0)
}

/// Why a table of pages was refused.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is no such table.
    #[error("this is no table of template pages: it begins with {0:02x?}")]
    Foreign([u8; 8]),
    /// It is of another version.
    #[error(
        "the table has version {0}, and this program reads version {VERSION}: capture the template again"
    )]
    Version(u32),
    /// It is shorter or longer than it says.
    #[error("the table says that it holds {said} pages and has {found} bytes of hashes")]
    Length {
        /// Pages by the head.
        said: u64,
        /// Bytes behind the head.
        found: u64,
    },
    /// Its hashes are not those that its head sums up.
    #[error("the table is damaged: its hashes sum up to {found}, and it says {said}")]
    Damaged {
        /// By the head.
        said: blake3::Hash,
        /// As computed.
        found: blake3::Hash,
    },
}

/// One hash a page of a template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageTable {
    hashes: Vec<PageHash>,
}

impl PageTable {
    /// A table of these hashes.
    #[must_use]
    pub fn new(hashes: Vec<PageHash>) -> Self {
        Self { hashes }
    }

    /// Pages and gaps, in the order of the file.
    #[must_use]
    pub fn hashes(&self) -> &[PageHash] {
        &self.hashes
    }

    /// Pages that the file has, without zeros and gaps.
    #[must_use]
    pub fn present(&self) -> usize {
        self.hashes.iter().filter(|hash| **hash != ABSENT).count()
    }

    /// Whether page `number` is in the file. Pages beyond its end are not.
    #[must_use]
    pub fn is_present(&self, number: u64) -> bool {
        usize::try_from(number).ok().and_then(|at| self.hashes.get(at)).is_some_and(|hash| *hash != ABSENT)
    }

    /// Whether `page` is what the table says of page `number`.
    #[must_use]
    pub fn matches(&self, number: u64, page: &[u8; PAGE]) -> bool {
        let known = usize::try_from(number).ok().and_then(|at| self.hashes.get(at));
        known.is_some_and(|hash| *hash == hash_page(page))
    }

    /// As [`PageTable::matches`]; beyond the table there are zeros.
    pub(super) fn is_page(&self, number: u64, page: &[u8; PAGE]) -> bool {
        if number < self.hashes.len() as u64 { self.matches(number, page) } else { is_zero(page) }
    }

    /// Fixes every byte of the pages.
    #[must_use]
    pub fn root(&self) -> blake3::Hash {
        blake3::hash(self.hashes.as_flattened())
    }

    /// Reads a table and checks it against itself.
    ///
    /// # Errors
    /// If it is foreign, of another version, cut off or damaged.
    pub fn read(path: &Path) -> Result<Self, TableError> {
        let mut bytes = Vec::new();
        File::open(path)?.read_to_end(&mut bytes)?;
        let Some((head, rest)) = bytes.split_at_checked(HEAD) else {
            let mut start = [0; 8];
            start[..bytes.len().min(8)].copy_from_slice(&bytes[..bytes.len().min(8)]);
            return Err(TableError::Foreign(start));
        };
        let field = |from: usize| -> [u8; 8] { head[from..from + 8].try_into().expect("eight bytes") };
        if &field(0) != MAGIC {
            return Err(TableError::Foreign(field(0)));
        }
        let version = u32::from_le_bytes(head[8..12].try_into().expect("four bytes"));
        if version != VERSION {
            return Err(TableError::Version(version));
        }
        let said = u64::from_le_bytes(field(16));
        let (hashes, cut) = rest.as_chunks::<16>();
        if hashes.len() as u64 != said || !cut.is_empty() {
            return Err(TableError::Length { said, found: rest.len() as u64 });
        }
        let table = Self { hashes: hashes.to_vec() };
        let root = blake3::Hash::from_bytes(head[24..HEAD].try_into().expect("32 bytes"));
        if table.root() != root {
            return Err(TableError::Damaged { said: root, found: table.root() });
        }
        Ok(table)
    }

    /// Writes the table to a new file and waits until it is on disk.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut to = BufWriter::new(File::create_new(path)?);
        to.write_all(MAGIC)?;
        to.write_all(&VERSION.to_le_bytes())?;
        to.write_all(&0u32.to_le_bytes())?;
        to.write_all(&(self.hashes.len() as u64).to_le_bytes())?;
        to.write_all(self.root().as_bytes())?;
        to.write_all(self.hashes.as_flattened())?;
        to.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> PageTable {
        let page = |byte| hash_page(&[byte; PAGE]);
        PageTable::new(vec![page(1), page(0), page(2), page(1)])
    }

    #[test]
    fn zeros_are_absent_and_equal_pages_have_equal_hashes() {
        let table = table();
        assert_eq!(table.present(), 3);
        assert!(!table.is_present(1) && !table.is_present(4));
        assert_eq!(table.hashes()[0], table.hashes()[3]);
        assert!(
            table.matches(2, &[2; PAGE]) && !table.matches(2, &[3; PAGE]) && table.matches(1, &[0; PAGE])
        );
        assert!(!table.matches(9, &[0; PAGE]));
    }

    #[test]
    fn a_table_comes_back_as_it_was_and_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(TABLE);
        table().write(&path).unwrap();
        assert_eq!(PageTable::read(&path).unwrap(), table());
        assert_eq!(table().write(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn every_flipped_byte_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(TABLE);
        table().write(&path).unwrap();
        let good = std::fs::read(&path).unwrap();
        for at in (0..good.len()).filter(|at| !(12..16).contains(at)) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            std::fs::write(&path, bad).unwrap();
            assert!(PageTable::read(&path).is_err(), "byte {at}");
        }
        std::fs::write(&path, &good[..good.len() - 3]).unwrap();
        assert!(matches!(PageTable::read(&path), Err(TableError::Length { said: 4, .. })));
        std::fs::write(&path, b"short").unwrap();
        assert!(matches!(PageTable::read(&path), Err(TableError::Foreign(_))));
    }
}
