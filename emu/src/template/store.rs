//! Where templates are kept: one folder for a tier, in it one folder for each template, named by its identity.
//!
//! ```text
//! STORE/ID/manifest.json  pages  pages.table         whole, and never changed
//! STORE/.partial-PID-N/                              being written, or left by somebody who was killed
//! ```
//!
//! A folder gets its name only when everything in it is on disk. Processes that are attached to a template keep its
//! pages when its folder is removed.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::error::Error;
use super::machine;
use super::manifest::{MANIFEST, Manifest, VERSION};
use super::pages::{PAGE, PAGES, PageTable, TABLE};
pub use super::sharing::{Sharing, SharingRow};

/// The folder of the tier of local memory.
pub const DRAM: &str = "/dev/shm/trenvx-templates";
/// How folders begin that are being written.
pub const PARTIAL: &str = ".partial-";
/// Length of an identity: the first half of a hash, in hexadecimal digits.
const ID: usize = 32;

/// A folder of templates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    folder: PathBuf,
}

/// A store in local memory for one run, gone with this value. What is left of one whose process was killed is removed
/// as unfinished templates are ([`Store::remove_leavings`]).
#[derive(Debug)]
pub struct Scratch {
    store: Store,
}

impl Scratch {
    /// An empty one.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new() -> Result<Self, Error> {
        let above = Store::open(Path::new(DRAM))?;
        above.make()?;
        let store = Store::open(&above.partial())?;
        store.make()?;
        Ok(Self { store })
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.store.folder);
    }
}

/// One template of a store, checked against its identity but for the pages themselves ([`Self::verify`]).
#[derive(Clone, Debug)]
pub struct Template {
    id: String,
    folder: PathBuf,
    manifest: Manifest,
}

impl Store {
    /// The store in a folder. Nothing is made or changed: a folder that is not there yet is a store without
    /// templates, and is made with the first of them.
    ///
    /// # Errors
    /// If there is something else than a folder.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        match fs::metadata(folder) {
            Ok(found) if !found.is_dir() => Err(Error::file("open", folder)(ErrorKind::NotADirectory.into())),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::file("open", folder)(error)),
            _ => Ok(Self { folder: folder.to_owned() }),
        }
    }

    /// Makes the folder if it is not there. What is there already stays as open as its owner has it.
    fn make(&self) -> Result<(), Error> {
        if self.folder.is_dir() {
            return Ok(());
        }
        if let Some(parent) = self.folder.parent() {
            fs::create_dir_all(parent).map_err(Error::file("make", parent))?;
        }
        match make_closed(&self.folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(Error::file("make", &self.folder)(error))
            }
            _ => Ok(()),
        }
    }

    /// What is in the folder; nothing if it is not there.
    fn entries(&self) -> Result<Vec<fs::DirEntry>, Error> {
        match fs::read_dir(&self.folder) {
            Ok(listed) => Ok(listed.flatten().collect()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(Error::file("list", &self.folder)(error)),
        }
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Names of all templates, sorted. They may be damaged.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn ids(&self) -> Result<Vec<String>, Error> {
        let names = self.entries()?.into_iter().filter_map(|entry| entry.file_name().into_string().ok());
        let mut ids: Vec<String> = names.filter(|name| is_id(name)).collect();
        ids.sort();
        Ok(ids)
    }

    /// The template whose identity begins so.
    ///
    /// # Errors
    /// If there is none or more than one, or it is damaged.
    pub fn find(&self, id: &str) -> Result<Template, Error> {
        let mut found = self.ids()?.into_iter().filter(|known| known.starts_with(id));
        match (found.next(), found.next()) {
            (Some(id), None) => Template::load(&self.folder.join(&id), &id),
            _ => Err(Error::Unknown { id: id.to_owned(), folder: self.folder.clone() }),
        }
    }

    /// Removes a template. Processes that are attached to it do not notice.
    ///
    /// # Errors
    /// If there is none, or it cannot be removed.
    pub fn remove(&self, id: &str) -> Result<(), Error> {
        let folder = self.folder.join(id);
        if !is_id(id) || !folder.is_dir() {
            return Err(Error::Unknown { id: id.to_owned(), folder: self.folder.clone() });
        }
        // Nobody finds half of one.
        let going = self.partial();
        fs::rename(&folder, &going).map_err(Error::file("remove", &folder))?;
        fs::remove_dir_all(&going).map_err(Error::file("remove", &going))
    }

    /// Begins a template: a folder that nobody finds yet.
    pub(super) fn begin(&self) -> Result<Partial, Error> {
        self.make()?;
        self.remove_leavings()?;
        let folder = self.partial();
        make_closed(&folder).map_err(Error::file("make", &folder))?;
        Ok(Partial { folder, store: self.clone(), done: false })
    }

    /// Removes what processes that were killed left unfinished; its names.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn remove_leavings(&self) -> Result<Vec<PathBuf>, Error> {
        let mut removed = Vec::new();
        for entry in self.entries()? {
            let name = entry.file_name().to_string_lossy().into_owned();
            let pid = name.strip_prefix(PARTIAL).and_then(|rest| rest.split('-').next());
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                fs::remove_dir_all(entry.path()).map_err(Error::file("remove", &entry.path()))?;
                removed.push(entry.path());
            }
        }
        Ok(removed)
    }

    fn partial(&self) -> PathBuf {
        static NTH: AtomicU32 = AtomicU32::new(0);
        let nth = NTH.fetch_add(1, Ordering::Relaxed);
        self.folder.join(format!("{PARTIAL}{}-{nth}", std::process::id()))
    }
}

/// A template that is being written. Dropped before [`Self::finish`], it is removed.
#[derive(Debug)]
pub(super) struct Partial {
    folder: PathBuf,
    store: Store,
    done: bool,
}

impl Partial {
    /// The file of pages, to be written.
    pub(super) fn pages(&self) -> Result<File, Error> {
        let path = self.folder.join(PAGES);
        let file = File::options().create_new(true).read(true).write(true).open(&path);
        file.map_err(Error::file("make", &path))
    }

    /// Writes table and manifest and gives the folder its name.
    pub(super) fn finish(
        mut self,
        pages: &File,
        table: &PageTable,
        manifest: &Manifest,
    ) -> Result<Template, Error> {
        let path = self.folder.join(TABLE);
        table.write(&path).map_err(Error::file("write", &path))?;
        pages.sync_all().map_err(Error::file("write", &self.folder.join(PAGES)))?;
        let bytes = serde_json::to_vec_pretty(manifest)
            .map_err(|error| Error::step("write the manifest")(io::Error::other(error)))?;
        let path = self.folder.join(MANIFEST);
        let written = File::create_new(&path).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()
        });
        written.map_err(Error::file("write", &path))?;
        let id = identity(&bytes);
        let target = self.store.folder.join(&id);
        let folder = File::open(&self.folder).and_then(|folder| folder.sync_all());
        folder.map_err(Error::file("write", &self.folder))?;
        match fs::rename(&self.folder, &target) {
            // The same process state was captured before: what is there is the same, byte for byte.
            Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {
            }
            result => {
                result.map_err(Error::file("finish", &target))?;
                self.done = true;
            }
        }
        let store = File::open(&self.store.folder).and_then(|folder| folder.sync_all());
        store.map_err(Error::file("write", &self.store.folder))?;
        Template::load(&target, &id)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.done {
            // What cannot be removed is found by the next one who begins, and by `clean`.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

impl Template {
    fn load(folder: &Path, id: &str) -> Result<Self, Error> {
        let damaged = |what: String| Error::Damaged { id: id.to_owned(), what };
        let path = folder.join(MANIFEST);
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(Error::file("read", &path))?;
        if identity(&bytes) != id {
            return Err(damaged(format!("its manifest is that of {}", identity(&bytes))));
        }
        let version: Versioned =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if version.version != VERSION {
            return Err(damaged(format!(
                "its manifest has version {}, and this program reads {VERSION}: capture it again",
                version.version
            )));
        }
        let manifest = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        let template = Self { id: id.to_owned(), folder: folder.to_owned(), manifest };
        let length =
            fs::metadata(folder.join(PAGES)).map_err(Error::file("read", &folder.join(PAGES)))?.len();
        let least = template.manifest.pages.span * PAGE as u64;
        if length < least {
            return Err(damaged(format!("its pages have {length} bytes, and should have {least}")));
        }
        Ok(template)
    }

    /// Its identity.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it says of its process.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its file of pages.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open_pages(&self) -> Result<File, Error> {
        let path = self.folder.join(PAGES);
        File::open(&path).map_err(Error::file("open", &path))
    }

    /// Its table of hashes, checked against the manifest.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn table(&self) -> Result<PageTable, Error> {
        let table = PageTable::read(&self.folder.join(TABLE))
            .map_err(|source| Error::Table { id: self.id.clone(), source })?;
        let pages = &self.manifest.pages;
        if table.root().to_hex().as_str() != pages.root {
            let what = format!("its table is not the one that its manifest names, {}", pages.root);
            return Err(Error::Damaged { id: self.id.clone(), what });
        }
        Ok(table)
    }

    /// Reads every page and compares it with the table; gaps and what follows the last page must be holes or zeros.
    ///
    /// # Errors
    /// The first page that is wrong.
    pub fn verify(&self) -> Result<(), Error> {
        const AT_ONCE: u64 = 256;
        let table = self.table()?;
        let file = self.open_pages()?;
        let failed = |error| Error::file("read", &self.folder.join(PAGES))(error);
        let wrong = |number: u64| {
            let what = format!("page {number} is not what its table says");
            Error::Damaged { id: self.id.clone(), what }
        };
        let pages = file.metadata().map_err(failed)?.len() / PAGE as u64;
        let mut bytes = vec![0; AT_ONCE as usize * PAGE];
        let mut next = 0;
        while next < pages {
            let data = next_data(&file, next).map_err(failed)?.unwrap_or(pages);
            // What is a hole must be absent.
            if let Some(lost) = (next..data.min(table.hashes().len() as u64)).find(|at| table.is_present(*at))
            {
                return Err(wrong(lost));
            }
            let count = AT_ONCE.min(pages - data);
            let read = &mut bytes[..count as usize * PAGE];
            file.read_exact_at(read, data * PAGE as u64).map_err(failed)?;
            for (number, page) in (data..).zip(read.as_chunks::<PAGE>().0) {
                if !table.is_page(number, page) {
                    return Err(wrong(number));
                }
            }
            next = data + count;
        }
        Ok(())
    }

    /// Whether it can be attached on this machine.
    ///
    /// # Errors
    /// What differs.
    pub fn check_machine(&self) -> Result<(), Error> {
        let foreign = |what: String| Error::Foreign { id: self.id.clone(), what };
        let theirs = &self.manifest.machine;
        let ours = machine::this().map_err(Error::step("learn what this machine is"))?;
        if theirs.vdso != ours.vdso {
            return Err(foreign(format!(
                "it was captured on kernel {}, whose vdso differs from that of {}",
                theirs.kernel, ours.kernel
            )));
        }
        if theirs.features & !ours.features != 0 {
            return Err(foreign(format!(
                "its processor had register sets {:#x}, and this one has {:#x}",
                theirs.features, ours.features
            )));
        }
        Ok(())
    }
}

#[derive(serde::Deserialize)]
struct Versioned {
    version: u32,
}

/// The first page from `page` on that may not be a hole.
fn next_data(file: &File, page: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(page * PAGE as u64)) {
        Ok(byte) => Ok(Some(byte / PAGE as u64)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        // A file system that does not tell: all of it is read.
        Err(rustix::io::Errno::INVAL) => Ok(Some(page)),
        Err(errno) => Err(errno.into()),
    }
}

/// Makes a folder that is closed to other users: templates hold the memory of functions.
fn make_closed(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(folder)
}

fn identity(manifest: &[u8]) -> String {
    blake3::hash(manifest).to_hex()[..ID].to_owned()
}

fn is_id(name: &str) -> bool {
    name.len() == ID && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_store_is_gone_with_its_value_and_found_when_its_process_was_killed() {
        if !Path::new("/dev/shm").is_dir() {
            return;
        }
        let scratch = Scratch::new().unwrap();
        let folder = scratch.store().folder().to_owned();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(folder.is_dir() && name.starts_with(&format!("{PARTIAL}{}-", std::process::id())));
        drop(scratch);
        assert!(!folder.exists());
        let elsewhere = tempfile::tempdir().unwrap();
        let store = Store::open(elsewhere.path()).unwrap();
        // No process has a number beyond the kernel's most.
        let left = elsewhere.path().join(format!("{PARTIAL}4194305-0"));
        fs::create_dir(&left).unwrap();
        assert_eq!(store.remove_leavings().unwrap(), [left]);
    }
}
