//! Made-up templates.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::pager::memory::Page;
use crate::pager::source::delayed::mixed;
use crate::template::pages::{PAGE, PAGES, PageTable, TABLE, hash_page, is_zero};

/// Pages of pseudo-random bytes; every `zero_every`th is zeros (0: none).
#[must_use]
pub fn random_pages(seed: u64, count: usize, zero_every: usize) -> Vec<Page> {
    let page = |number: usize| {
        let mut page = [0; PAGE];
        if zero_every != 0 && number % zero_every == zero_every - 1 {
            return page;
        }
        for (at, word) in page.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *word = mixed(seed ^ ((number as u64) << 32 | at as u64)).to_le_bytes();
        }
        page
    };
    (0..count).map(page).collect()
}

/// Writes a template of these pages into a new folder.
///
/// # Errors
/// If the folder cannot be made or written.
pub fn write_template(folder: &Path, pages: &[Page]) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let file = File::create_new(folder.join(PAGES))?;
    file.set_len(size_of_val(pages) as u64)?;
    for (number, page) in pages.iter().enumerate().filter(|(_, page)| !is_zero(page)) {
        file.write_all_at(page, (number * PAGE) as u64)?;
    }
    PageTable::new(pages.iter().map(hash_page).collect()).write(&folder.join(TABLE))
}

/// Reads the pages of a template back.
///
/// # Errors
/// If they cannot be read.
pub fn pages_of(folder: &Path) -> io::Result<Vec<Page>> {
    Ok(std::fs::read(folder.join(PAGES))?.as_chunks().0.to_vec())
}
