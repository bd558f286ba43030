//! A template's folder on a file system that lies on CXL memory and maps it directly (`dax=always`).
//!
//! A private mapping of the file of pages is all there is to it: a load goes to the device, the first store to a
//! page copies that page to local memory, and the device is never written.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::mapping::Mapping;
use super::source::{PageReader, ReadError, index};
use crate::template::pages::{PAGE, PAGES, PageTable, TABLE, TableError};

/// `STATX_ATTR_DAX`: the file is mapped without a page cache.
const ATTR_DAX: u64 = 0x0020_0000;

/// Why a folder is no source.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Its table cannot be used.
    #[error("{path}: {why}", path = .path.display())]
    Table {
        /// The table.
        path: PathBuf,
        /// Why not.
        why: TableError,
    },
    /// A file cannot be read, mapped or written.
    #[error("{path}: {why}", path = .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// The file of pages is not as long as the table says.
    #[error("{path} has {found} bytes, and its table says {said}", path = .path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes that it has.
        found: u64,
        /// Bytes by the table.
        said: u64,
    },
    /// The file system has a page cache in between.
    #[error(
        "{path} is not mapped directly: put the template on a file system on a CXL device that is mounted with \
         dax=always ('trenvx emu pool device --mode fsdax --mount FOLDER')",
        path = .0.display()
    )]
    NotDirect(PathBuf),
    /// There is one already.
    #[error("{path} exists: choose another name", path = .0.display())]
    Exists(PathBuf),
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |why| FolderError::Io { path, why }
}

/// A template in such a folder, mapped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    table: PageTable,
    pages: Option<Mapping>,
}

impl Folder {
    /// Maps the template in `path`.
    ///
    /// # Errors
    /// If it is no template, or the file system does not map files directly.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let (table, file, pages) = open_template(path)?;
        if !is_direct(&pages).map_err(io_at(&pages))? {
            return Err(FolderError::NotDirect(pages));
        }
        let length = table.hashes().len() * PAGE;
        let mapped =
            (length > 0).then(|| Mapping::private(&file, length)).transpose().map_err(io_at(&pages))?;
        Ok(Self { path: path.to_owned(), table, pages: mapped })
    }
}

impl PageReader for Folder {
    fn kind(&self) -> &'static str {
        "cxl-fsdax"
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn table(&self) -> &PageTable {
        &self.table
    }

    fn read(&mut self, pages: &[u64], into: &mut [[u8; PAGE]]) -> Result<(), ReadError> {
        assert_eq!(pages.len(), into.len(), "as many places as pages");
        for (page, into) in pages.iter().zip(into) {
            let at = index(&self.name(), *page, self.table.hashes().len())?;
            match &self.pages {
                Some(mapping) => mapping.read(at * PAGE, into),
                None => into.fill(0),
            }
        }
        Ok(())
    }
}

/// The table, the file of pages and its path; their lengths agree.
pub(super) fn open_template(path: &Path) -> Result<(PageTable, File, PathBuf), FolderError> {
    let table_path = path.join(TABLE);
    let table =
        PageTable::read(&table_path).map_err(|why| FolderError::Table { path: table_path.clone(), why })?;
    let pages = path.join(PAGES);
    let file = File::open(&pages).map_err(io_at(&pages))?;
    let found = file.metadata().map_err(io_at(&pages))?.len();
    let said = (table.hashes().len() * PAGE) as u64;
    if found != said {
        return Err(FolderError::Length { path: pages, found, said });
    }
    Ok((table, file, pages))
}

/// Whether a file is mapped without a page cache.
fn is_direct(path: &Path) -> io::Result<bool> {
    let data = statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS)?;
    Ok(data.stx_attributes.bits() & ATTR_DAX != 0)
}

/// Copies a template's folder to `mount/name`: beside its place first, then renamed into it. A file's data reach
/// the device before its name does.
///
/// # Errors
/// If there is one of that name, or something cannot be copied. What was copied is removed.
pub fn fill(mount: &Path, name: &str, template: &Path) -> Result<PathBuf, FolderError> {
    open_template(template)?;
    let place = mount.join(name);
    if place.exists() {
        return Err(FolderError::Exists(place));
    }
    let work = mount.join(format!("{name}.{}.partial", std::process::id()));
    fs::create_dir(&work).map_err(io_at(&work))?;
    let copied = copy(template, &work).and_then(|()| {
        // Two that fill the same name at once: a folder that is not empty is not replaced.
        fs::rename(&work, &place).map_err(|error| match error.raw_os_error() {
            Some(libc::EEXIST | libc::ENOTEMPTY) => FolderError::Exists(place.clone()),
            _ => io_at(&place)(error),
        })
    });
    if let Err(error) = copied {
        let _ = fs::remove_dir_all(&work);
        return Err(error);
    }
    File::open(mount).and_then(|mount| mount.sync_all()).map_err(io_at(mount))?;
    Ok(place)
}

fn copy(from: &Path, to: &Path) -> Result<(), FolderError> {
    for entry in fs::read_dir(from).map_err(io_at(from))?.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let target = to.join(entry.file_name());
        fs::copy(entry.path(), &target).map_err(io_at(&target))?;
        File::open(&target).and_then(|file| file.sync_all()).map_err(io_at(&target))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::survey::synthetic;

    #[test]
    fn a_folder_with_a_page_cache_in_between_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let template = folder.path().join("t");
        synthetic(&template, 8, 1).unwrap();
        assert!(matches!(Folder::open(&template), Err(FolderError::NotDirect(_))));
    }

    #[test]
    fn a_template_is_copied_whole_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let template = folder.path().join("t");
        synthetic(&template, 8, 1).unwrap();
        let mount = folder.path().join("mount");
        fs::create_dir(&mount).unwrap();
        let place = fill(&mount, "one", &template).unwrap();
        assert_eq!(fs::read(place.join(PAGES)).unwrap(), fs::read(template.join(PAGES)).unwrap());
        assert!(matches!(fill(&mount, "one", &template), Err(FolderError::Exists(_))));
        assert_eq!(fs::read_dir(&mount).unwrap().count(), 1);
    }

    #[test]
    fn pages_that_are_cut_off_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let template = folder.path().join("t");
        synthetic(&template, 8, 1).unwrap();
        let file = File::options().write(true).open(template.join(PAGES)).unwrap();
        file.set_len(7 * PAGE as u64).unwrap();
        assert!(matches!(open_template(&template), Err(FolderError::Length { .. })));
    }
}
