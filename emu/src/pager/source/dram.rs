//! Local DRAM: the template's page file, mapped.

use std::fs::File;

use super::{PageSource, SourceError, check_range};
use crate::pager::memory::{Mapping, Page};
use crate::template::pages::{ABSENT, PageTable};

/// The page file in memory. Every page was compared with the table when it was opened; the file belongs to the
/// template store, in which nothing is ever changed.
#[derive(Debug)]
pub struct Dram {
    pages: Mapping,
}

impl Dram {
    /// Maps the page file and compares every page with the table.
    ///
    /// # Errors
    /// If it cannot be mapped, is shorter than the table says, or has a page that differs.
    pub fn open(file: &File, table: &PageTable) -> Result<Self, SourceError> {
        let source = Self::open_unchecked(file, table)?;
        for (number, (page, hash)) in source.pages.pages().iter().zip(table.hashes()).enumerate() {
            // Gaps are not read: a hole of a sparse file would get memory.
            if *hash != ABSENT && !table.matches(number as u64, page) {
                return Err(SourceError::Hash(number as u64));
            }
        }
        Ok(source)
    }

    fn open_unchecked(file: &File, table: &PageTable) -> Result<Self, SourceError> {
        let count = table.hashes().len() as u64;
        let length =
            file.metadata().map_err(SourceError::io("cannot ask for the length of the pages"))?.len();
        let has = length / size_of::<Page>() as u64;
        if has < count || count == 0 {
            return Err(SourceError::Range { first: 0, end: count, has });
        }
        let mapped = Mapping::file(file, table.hashes().len() * size_of::<Page>());
        Ok(Self { pages: mapped.map_err(SourceError::io("cannot map the pages"))? })
    }
}

impl PageSource for Dram {
    fn name(&self) -> &'static str {
        "dram"
    }

    fn pages(&self) -> u64 {
        self.pages.pages().len() as u64
    }

    fn is_trusted(&self) -> bool {
        true
    }

    fn mapped(&self) -> Option<&[Page]> {
        Some(self.pages.pages())
    }

    fn read(&self, first: u64, into: &mut [Page]) -> Result<(), SourceError> {
        check_range(first, into.len(), self.pages())?;
        into.copy_from_slice(&self.pages.pages()[first as usize..][..into.len()]);
        Ok(())
    }
}
