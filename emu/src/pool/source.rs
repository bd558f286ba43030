//! What every reader of pool pages has in common.

use std::io;

use crate::template::pages::{PAGE, PageTable};

/// Why pages could not be read. No page is handed on with it.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The template has no such page.
    #[error("{from}: there is no page {page}: the template has {pages}")]
    NoPage {
        /// What was read.
        from: String,
        /// The page asked for.
        page: u64,
        /// How many there are.
        pages: u64,
    },
    /// A page is not what the table says.
    #[error("{from}: page {page} is not what the table says: it was not used")]
    Wrong {
        /// What was read.
        from: String,
        /// Which page.
        page: u64,
    },
    /// The holder of the pages refused.
    #[error("{from}: refused: {reason}")]
    Refused {
        /// Who.
        from: String,
        /// Why.
        reason: String,
    },
    /// The holder of the pages cannot be reached any more.
    #[error("{from}: lost: {reason}")]
    Lost {
        /// Who.
        from: String,
        /// What was seen.
        reason: String,
    },
    /// The system failed.
    #[error("{from}: {why}")]
    Io {
        /// What was read.
        from: String,
        /// Why not.
        why: io::Error,
    },
}

/// Copies pages of one template by number.
pub trait PageReader {
    /// Which kind of memory this is: `cxl-fsdax`, `cxl-node`, `cxl-devdax` or `rdma`.
    fn kind(&self) -> &'static str;

    /// Where the pages come from, for messages.
    fn name(&self) -> String;

    /// The hash of each page.
    fn table(&self) -> &PageTable;

    /// Copies page `pages[i]` to `into[i]`, several at a time where that is faster. Absent pages are zeros.
    ///
    /// # Errors
    /// If one cannot be read; then what is in `into` means nothing.
    ///
    /// # Panics
    /// If the two differ in length.
    fn read(&mut self, pages: &[u64], into: &mut [[u8; PAGE]]) -> Result<(), ReadError>;
}

/// Reads pages and compares each with the table.
///
/// # Errors
/// If one cannot be read or is wrong; then what is in `into` must not be used.
pub fn read_verified(
    reader: &mut (impl PageReader + ?Sized),
    pages: &[u64],
    into: &mut [[u8; PAGE]],
) -> Result<(), ReadError> {
    reader.read(pages, into)?;
    for (page, bytes) in pages.iter().zip(into.iter()) {
        if !reader.table().matches(*page, bytes) {
            return Err(ReadError::Wrong { from: reader.name(), page: *page });
        }
    }
    Ok(())
}

/// The place of a page among `count`, or an error that names it.
pub(super) fn index(from: &str, page: u64, count: usize) -> Result<usize, ReadError> {
    usize::try_from(page).ok().filter(|at| *at < count).ok_or_else(|| ReadError::NoPage {
        from: from.to_owned(),
        page,
        pages: count as u64,
    })
}
