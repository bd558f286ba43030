//! A template's folder on a file system that lies on CXL memory: on a device that is mapped directly (`dax=always`), or
//! a tmpfs that is bound to a node of CXL memory.
//!
//! A private mapping of the file of pages is all there is to it: a load goes to the device, the first store to a
//! page copies that page to local memory, and the device is never written.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::mapping::Mapping;
use super::node::{is_bound, let_copies_be_local};
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
    /// The file of pages is shorter than the table says.
    #[error("{path} has {found} bytes, and its table says {said}", path = .path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes that it has.
        found: u64,
        /// Bytes by the table.
        said: u64,
    },
    /// What arrived is not what the table says.
    #[error("{template}: page {page} is not what its table says: nothing was put into the pool", template = .template.display())]
    Wrong {
        /// The template's folder.
        template: PathBuf,
        /// Which page.
        page: u64,
    },
    /// The file system has a page cache in between.
    #[error(
        "{path} is not mapped directly: put the template on a file system on a CXL device that is mounted with \
         dax=always, or on a tmpfs that is bound to a node of CXL memory ('trenvx emu pool device --mode fsdax --mount \
         FOLDER', or --mode node)",
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
    kind: &'static str,
}

impl Folder {
    /// Maps the template in `path`.
    ///
    /// # Errors
    /// If it is no template, or the file system does not map files directly.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let (table, file, pages) = open_template(path)?;
        let kind = if is_direct(&pages).map_err(io_at(&pages))? {
            "cxl-fsdax"
        } else if is_bound(&pages).map_err(io_at(&pages))? {
            "cxl-node"
        } else {
            return Err(FolderError::NotDirect(pages));
        };
        let length = table.hashes().len() * PAGE;
        let mapped =
            (length > 0).then(|| Mapping::private(&file, length)).transpose().map_err(io_at(&pages))?;
        Ok(Self { path: path.to_owned(), table, pages: mapped, kind })
    }
}

impl PageReader for Folder {
    fn kind(&self) -> &'static str {
        self.kind
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
    // A captured template's file goes on after its pages, with nothing: memory that grows shows zeros.
    if found < said {
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
/// the device before its name does, and each page that arrived is compared with the table. Who fills takes turns with
/// others on this host, and removes what one that was killed has left.
///
/// # Errors
/// If there is one of that name, something cannot be copied, or a page is not what its table says. What was copied
/// is removed.
pub fn fill(mount: &Path, name: &str, template: &Path) -> Result<PathBuf, FolderError> {
    open_template(template)?;
    // The kernel gives the lock back also for one that was killed.
    let turn = File::open(mount).and_then(|folder| folder.lock().map(|()| folder)).map_err(io_at(mount))?;
    remove_leftovers(mount).map_err(io_at(mount))?;
    let place = mount.join(name);
    if place.exists() {
        return Err(FolderError::Exists(place));
    }
    let work = mount.join(format!("{name}.{}.partial", std::process::id()));
    fs::create_dir(&work).map_err(io_at(&work))?;
    let copied = copy(template, &work)
        .and_then(|()| compare(&work, template))
        .and_then(|()| set_policy(&work.join(PAGES)))
        .and_then(|()| fs::rename(&work, &place).map_err(io_at(&place)));
    if let Err(error) = copied {
        let _ = fs::remove_dir_all(&work);
        return Err(error);
    }
    turn.sync_all().map_err(io_at(mount))?;
    Ok(place)
}

/// Pages on a node of CXL memory are there now; the copies of processes are to be elsewhere.
fn set_policy(pages: &Path) -> Result<(), FolderError> {
    let set = || if is_bound(pages)? { let_copies_be_local(&File::open(pages)?) } else { Ok(()) };
    set().map_err(io_at(pages))
}

/// Removes what fillers that were killed have left: `NAME.PROCESS.partial`. Only for who has the turn.
fn remove_leftovers(mount: &Path) -> io::Result<()> {
    for entry in fs::read_dir(mount)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_suffix(".partial").and_then(|rest| rest.rsplit_once('.'));
        if process.is_some_and(|(_, number)| number.parse::<u32>().is_ok()) && entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// That the pages of a copy are what its table says; errors name the template that it is of.
fn compare(copy: &Path, template: &Path) -> Result<(), FolderError> {
    let (table, file, path) = open_template(copy)?;
    let mut pages = BufReader::with_capacity(1 << 20, file);
    let mut page = [0; PAGE];
    for number in 0..table.hashes().len() as u64 {
        pages.read_exact(&mut page).map_err(io_at(&path))?;
        if !table.matches(number, &page) {
            return Err(FolderError::Wrong { template: template.to_owned(), page: number });
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), FolderError> {
    for entry in fs::read_dir(from).map_err(io_at(from))?.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let target = to.join(entry.file_name());
        if entry.file_name() == PAGES {
            copy_pages(from, &target)?;
        } else {
            fs::copy(entry.path(), &target).map_err(io_at(&target))?;
        }
        File::open(&target).and_then(|file| file.sync_all()).map_err(io_at(&target))?;
    }
    Ok(())
}

/// Copies the pages that the table has; what lies between them takes no room on the device.
fn copy_pages(from: &Path, target: &Path) -> Result<(), FolderError> {
    let (table, file, path) = open_template(from)?;
    let to = File::create(target).map_err(io_at(target))?;
    to.set_len(file.metadata().map_err(io_at(&path))?.len()).map_err(io_at(target))?;
    let mut page = [0; PAGE];
    for number in (0..table.hashes().len() as u64).filter(|number| table.is_present(*number)) {
        let at = number * PAGE as u64;
        file.read_exact_at(&mut page, at).map_err(io_at(&path))?;
        to.write_all_at(&page, at).map_err(io_at(target))?;
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
    fn a_damaged_template_is_not_put_into_the_pool() {
        let folder = tempfile::tempdir().unwrap();
        let template = folder.path().join("t");
        synthetic(&template, 8, 1).unwrap();
        let mount = folder.path().join("mount");
        fs::create_dir(&mount).unwrap();
        let mut pages = fs::read(template.join(PAGES)).unwrap();
        pages[5 * PAGE + 9] ^= 1;
        fs::write(template.join(PAGES), pages).unwrap();
        assert!(matches!(fill(&mount, "one", &template), Err(FolderError::Wrong { page: 5, .. })));
        assert_eq!(fs::read_dir(&mount).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_filler_has_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let template = folder.path().join("t");
        synthetic(&template, 8, 1).unwrap();
        let mount = folder.path().join("mount");
        for name in ["old.4711.partial", "old.partial", "a.b"] {
            fs::create_dir_all(mount.join(name).join("inside")).unwrap();
        }
        fill(&mount, "one", &template).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(&mount).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["a.b", "old.partial", "one"]);
    }

    #[test]
    fn of_those_that_fill_a_name_at_once_one_gets_it() {
        let folder = tempfile::tempdir().unwrap();
        let template = folder.path().join("t");
        synthetic(&template, 64, 1).unwrap();
        let mount = folder.path().join("mount");
        fs::create_dir(&mount).unwrap();
        let ends: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| fill(&mount, "one", &template))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(ends.iter().filter(|end| end.is_ok()).count(), 1, "{ends:?}");
        let others = ends.iter().filter_map(|end| end.as_ref().err());
        assert!(others.clone().all(|error| matches!(error, FolderError::Exists(_))), "{ends:?}");
        assert_eq!(fs::read_dir(&mount).unwrap().count(), 1);
    }

    #[test]
    fn what_follows_the_pages_takes_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let template = folder.path().join("t");
        synthetic(&template, 8, 1).unwrap();
        let file = File::options().write(true).open(template.join(PAGES)).unwrap();
        file.set_len(1 << 30).unwrap();
        let place = fill(folder.path(), "one", &template).unwrap();
        let copied = fs::metadata(place.join(PAGES)).unwrap();
        assert_eq!(copied.len(), 1 << 30);
        assert!(std::os::unix::fs::MetadataExt::blocks(&copied) * 512 <= 64 << 10, "{copied:?}");
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
