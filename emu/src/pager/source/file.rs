//! A file on a disk or network file system: read page by page, through the page cache or past it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::{PageSource, SourceError, check_range};
use crate::pager::memory::{Page, PageBuffer};

thread_local! {
    /// Direct reads need memory that starts at a page, which a caller's slice need not.
    static ALIGNED: std::cell::RefCell<Option<PageBuffer>> = const { std::cell::RefCell::new(None) };
}

/// The page file, read when asked.
#[derive(Debug)]
pub struct FilePages {
    file: File,
    direct: bool,
    pages: u64,
}

impl FilePages {
    /// Opens the page file, which must have at least `pages` pages. `direct` goes past the page cache.
    ///
    /// # Errors
    /// If it cannot be opened so, or is too short.
    pub fn open(path: &Path, pages: u64, direct: bool) -> Result<Self, SourceError> {
        let mut options = OpenOptions::new();
        options.read(true);
        if direct {
            options.custom_flags(libc::O_DIRECT);
        }
        let file = options.open(path).map_err(SourceError::io("cannot open the pages"))?;
        let length =
            file.metadata().map_err(SourceError::io("cannot ask for the length of the pages"))?.len();
        let has = length / size_of::<Page>() as u64;
        if has < pages {
            return Err(SourceError::Range { first: 0, end: pages, has });
        }
        Ok(Self { file, direct, pages })
    }
}

impl PageSource for FilePages {
    fn name(&self) -> &'static str {
        if self.direct { "direct file" } else { "file" }
    }

    fn pages(&self) -> u64 {
        self.pages
    }

    fn read(&self, first: u64, into: &mut [Page]) -> Result<(), SourceError> {
        check_range(first, into.len(), self.pages)?;
        let offset = first * size_of::<Page>() as u64;
        let aligned = into.as_ptr().addr().is_multiple_of(size_of::<Page>());
        if !self.direct || aligned {
            return self
                .file
                .read_exact_at(into.as_flattened_mut(), offset)
                .map_err(SourceError::io("cannot read the pages"));
        }
        ALIGNED.with_borrow_mut(|buffer| {
            if buffer.is_none() {
                *buffer = Some(
                    PageBuffer::new(super::MOST_PAGES).map_err(SourceError::io("no memory to read into"))?,
                );
            }
            let room = &mut buffer.as_mut().expect("made above").pages_mut()[..into.len()];
            self.file
                .read_exact_at(room.as_flattened_mut(), offset)
                .map_err(SourceError::io("cannot read the pages"))?;
            into.copy_from_slice(room);
            Ok(())
        })
    }
}
