//! Templates on a device that is mapped as a whole: `/dev/dax…`, or a file in its place.
//!
//! Reading is copying from a shared mapping. The device allows no private mappings, so pages get into a process by
//! the page server.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::directory::{Directory, DirectoryError, Entry};
use super::folder::{FolderError, open_template};
use super::mapping::Mapping;
use super::source::{PageReader, ReadError, index};
use crate::template::pages::{PAGE, PageHash, PageTable};

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// It cannot be opened, measured or mapped.
    #[error("{path}: {why}", path = .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// What is on it.
    #[error("{path}: {why}", path = .path.display())]
    Directory {
        /// Which device.
        path: PathBuf,
        /// What is wrong.
        why: DirectoryError,
    },
    /// The template that it is to be filled with.
    #[error(transparent)]
    Template(#[from] FolderError),
    /// A file of the template changed while it was copied.
    #[error("{template}: page {page} is not what its table says: nothing was published", template = .template.display())]
    Wrong {
        /// The template's folder.
        template: PathBuf,
        /// Which page.
        page: u64,
    },
    /// Its table is not what the directory says.
    #[error("{path}: the table of template {name} is damaged", path = .path.display())]
    Table {
        /// Which device.
        path: PathBuf,
        /// Which template.
        name: String,
    },
}

/// A device, mapped.
#[derive(Debug)]
pub struct Device {
    path: PathBuf,
    memory: Mapping,
    owner: u64,
}

impl Device {
    /// Maps a device to read from it.
    ///
    /// # Errors
    /// If it cannot be mapped.
    pub fn open(path: &Path) -> Result<Self, DeviceError> {
        Self::map(path, false).map_err(|why| DeviceError::Io { path: path.to_owned(), why })
    }

    /// Maps a device to change what is on it.
    ///
    /// # Errors
    /// If it cannot be mapped.
    pub fn open_mut(path: &Path) -> Result<Self, DeviceError> {
        Self::map(path, true).map_err(|why| DeviceError::Io { path: path.to_owned(), why })
    }

    fn map(path: &Path, write: bool) -> io::Result<Self> {
        let file = File::options().read(true).write(write).open(path)?;
        let length = usize::try_from(size(path, &file)?).map_err(io::Error::other)?;
        if length < 4 << 20 {
            return Err(io::Error::other(format!(
                "{length} bytes are too small for a pool: it takes 4 MiB or more"
            )));
        }
        let memory =
            if write { Mapping::shared_mut(&file, length)? } else { Mapping::shared(&file, length)? };
        let mut owner = [0; 8];
        File::open("/dev/urandom")?.read_exact(&mut owner)?;
        Ok(Self { path: path.to_owned(), memory, owner: u64::from_le_bytes(owner) | 1 })
    }

    /// Makes an empty pool of it, whatever was on it. The device must have been opened to be changed.
    pub fn format(&self) {
        Directory::format(&self.memory);
    }

    /// The templates on it, whole or not.
    ///
    /// # Errors
    /// If there is no pool on it, or a damaged one.
    pub fn list(&self) -> Result<Vec<Entry>, DeviceError> {
        self.directory()?.entries().map_err(|why| self.wrong(why))
    }

    /// Copies a template onto it, and publishes it when all of it is there. It must have been opened to be changed.
    ///
    /// # Errors
    /// If there is no room, there is one of that name, or the template is not as its table says. Then its space is
    /// given back.
    pub fn fill(&self, name: &str, template: &Path) -> Result<Entry, DeviceError> {
        let (table, mut pages, path) = open_template(template)?;
        let directory = self.directory()?;
        let count = table.hashes().len() as u64;
        let reserved = directory
            .reserve(self.owner, name, count, *table.root().as_bytes())
            .map_err(|why| self.wrong(why))?;
        if let Err(error) = self.copy(&reserved.entry, &table, &mut pages, template, &path) {
            let _ = directory.remove(self.owner, name);
            return Err(error);
        }
        directory.publish(&reserved);
        Ok(Entry { is_ready: true, ..reserved.entry })
    }

    fn copy(
        &self,
        entry: &Entry,
        table: &PageTable,
        pages: &mut File,
        template: &Path,
        path: &Path,
    ) -> Result<(), DeviceError> {
        let start = entry.start as usize;
        let mut page = [0; PAGE];
        for number in 0..entry.pages {
            pages.read_exact(&mut page).map_err(|why| DeviceError::Io { path: path.to_owned(), why })?;
            if !table.matches(number, &page) {
                return Err(DeviceError::Wrong { template: template.to_owned(), page: number });
            }
            self.memory.write(start + number as usize * PAGE, &page);
        }
        self.memory.write(entry.table as usize, table.hashes().as_flattened());
        self.memory.flush(start, entry.pages as usize * (PAGE + size_of::<PageHash>()));
        Ok(())
    }

    /// Gives the space of a template back. Whoever reads it then gets wrong pages, which are found by their hashes.
    ///
    /// # Errors
    /// If there is no such template.
    pub fn remove(&self, name: &str) -> Result<(), DeviceError> {
        self.directory()?.remove(self.owner, name).map_err(|why| self.wrong(why))
    }

    /// Breaks the lock of a host that is dead; says which one had it, 0 for none.
    ///
    /// # Errors
    /// If there is no pool on it.
    pub fn unlock(&self) -> Result<u64, DeviceError> {
        Ok(self.directory()?.unlock())
    }

    /// A reader of the template of that name.
    ///
    /// # Errors
    /// If there is none, it is not whole, or its table is damaged.
    pub fn template(self, name: &str) -> Result<OnDevice, DeviceError> {
        let entry = self.directory()?.find(name).map_err(|why| self.wrong(why))?;
        let mut hashes = vec![[0; 16]; entry.pages as usize];
        self.memory.read(entry.table as usize, hashes.as_flattened_mut());
        let table = PageTable::new(hashes);
        if *table.root().as_bytes() != entry.root {
            return Err(DeviceError::Table { path: self.path, name: entry.name });
        }
        Ok(OnDevice { device: self, entry, table })
    }

    fn directory(&self) -> Result<Directory<'_>, DeviceError> {
        Directory::open(&self.memory).map_err(|why| self.wrong(why))
    }

    fn wrong(&self, why: DirectoryError) -> DeviceError {
        DeviceError::Directory { path: self.path.clone(), why }
    }
}

/// Bytes of a device or file.
fn size(path: &Path, file: &File) -> io::Result<u64> {
    let data = file.metadata()?;
    if !data.file_type().is_char_device() {
        return Ok(data.len());
    }
    let name = fs::canonicalize(path)?;
    let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let place = format!("/sys/bus/dax/devices/{name}/size");
    let text = fs::read_to_string(&place)
        .map_err(|error| io::Error::new(error.kind(), format!("{place}: {error} (is this a DAX device?)")))?;
    text.trim().parse().map_err(io::Error::other)
}

/// One template on a device.
#[derive(Debug)]
pub struct OnDevice {
    device: Device,
    entry: Entry,
    table: PageTable,
}

impl PageReader for OnDevice {
    fn kind(&self) -> &'static str {
        "cxl-devdax"
    }

    fn name(&self) -> String {
        format!("{} on {}", self.entry.name, self.device.path.display())
    }

    fn table(&self) -> &PageTable {
        &self.table
    }

    fn read(&mut self, pages: &[u64], into: &mut [[u8; PAGE]]) -> Result<(), ReadError> {
        assert_eq!(pages.len(), into.len(), "as many places as pages");
        for (page, into) in pages.iter().zip(into) {
            let at = index(&self.name(), *page, self.table.hashes().len())?;
            self.device.memory.read(self.entry.start as usize + at * PAGE, into);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::survey::{survey, synthetic};
    use std::os::unix::fs::FileExt;

    struct Pool {
        folder: tempfile::TempDir,
    }

    impl Pool {
        /// A file of so many MiB as a device, formatted.
        fn of_mib(mib: u64) -> Self {
            let pool = Self { folder: tempfile::tempdir().unwrap() };
            File::create(pool.path()).unwrap().set_len(mib << 20).unwrap();
            pool.device().format();
            pool
        }
        fn path(&self) -> PathBuf {
            self.folder.path().join("device")
        }
        fn device(&self) -> Device {
            Device::open_mut(&self.path()).unwrap()
        }
        fn template(&self, name: &str, pages: u64, seed: u64) -> PathBuf {
            let path = self.folder.path().join(name);
            synthetic(&path, pages, seed).unwrap();
            path
        }
    }

    #[test]
    fn a_template_comes_back_as_it_was_filled() {
        let pool = Pool::of_mib(16);
        let template = pool.template("t", 700, 1);
        pool.device().fill("python", &template).unwrap();
        let mut reader = Device::open(&pool.path()).unwrap().template("python").unwrap();
        assert_eq!(survey(&mut reader, 16).unwrap().pages, 613);
        let error = reader.read(&[700], &mut [[0; PAGE]]).unwrap_err();
        assert!(matches!(error, ReadError::NoPage { page: 700, pages: 700, .. }), "{error}");
    }

    #[test]
    fn a_full_pool_says_how_much_room_there_is_and_stays_as_it_is() {
        let pool = Pool::of_mib(8);
        let template = pool.template("t", 700, 1);
        pool.device().fill("one", &template).unwrap();
        let error = pool.device().fill("two", &template).unwrap_err();
        assert!(
            error.to_string().ends_with("full: 4 MiB are wanted and the largest gap has 2 MiB"),
            "{error}"
        );
        let small = pool.template("s", 100, 2);
        pool.device().fill("three", &small).unwrap();
        pool.device().remove("one").unwrap();
        pool.device().fill("two", &template).unwrap();
        let names: Vec<String> = pool.device().list().unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["two", "three"]);
    }

    #[test]
    fn hosts_that_fill_at_once_get_different_places_and_only_one_gets_a_name() {
        let pool = Pool::of_mib(64);
        let templates: Vec<PathBuf> =
            (0..4).map(|seed| pool.template(&format!("t{seed}"), 300, seed)).collect();
        let ends: Vec<Result<Entry, DeviceError>> = std::thread::scope(|scope| {
            let threads: Vec<_> = templates
                .iter()
                .enumerate()
                .flat_map(|(seed, template)| [(seed, template), (seed, template)])
                .map(|(seed, template)| {
                    let pool = &pool;
                    scope.spawn(move || pool.device().fill(&format!("f{seed}"), template))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(ends.iter().filter(|end| end.is_ok()).count(), 4, "{ends:?}");
        for seed in 0..4 {
            let mut reader = Device::open(&pool.path()).unwrap().template(&format!("f{seed}")).unwrap();
            survey(&mut reader, 8).unwrap();
        }
    }

    #[test]
    fn a_filler_that_died_leaves_an_entry_that_is_refused_and_can_be_removed() {
        let pool = Pool::of_mib(16);
        let device = pool.device();
        let directory = Directory::open(&device.memory).unwrap();
        directory.reserve(7, "half", 10, [1; 32]).unwrap();
        let error = pool.device().template("half").unwrap_err();
        assert!(error.to_string().contains("being filled, or its filler died"), "{error}");
        device.remove("half").unwrap();
        assert_eq!(device.list().unwrap(), []);
    }

    #[test]
    fn a_lock_of_a_dead_host_is_named_and_can_be_broken() {
        let pool = Pool::of_mib(16);
        let template = pool.template("t", 10, 1);
        let file = File::options().write(true).open(pool.path()).unwrap();
        file.write_all_at(&0xdead_u64.to_le_bytes(), 24).unwrap();
        let error = pool.device().fill("a", &template).unwrap_err();
        assert!(error.to_string().contains("host dead has locked the pool"), "{error}");
        assert_eq!(pool.device().unlock().unwrap(), 0xdead);
        pool.device().fill("a", &template).unwrap();
    }

    #[test]
    fn every_damage_is_found() {
        let pool = Pool::of_mib(16);
        let template = pool.template("t", 20, 1);
        let entry = pool.device().fill("a", &template).unwrap();
        let file = File::options().read(true).write(true).open(pool.path()).unwrap();
        let flip = |at: u64| {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 4], at).unwrap();
        };
        // Magic, version, size, check; a slot's owner, start, root, name, check; the table; a page.
        let places = [0, 8, 16, 40, 4104, 4112, 4136, 4168, 4232, entry.table + 5, entry.start + 7];
        for at in places {
            flip(at);
            let read = Device::open(&pool.path()).unwrap().template("a").map_err(|error| error.to_string());
            let outcome =
                read.and_then(|mut reader| survey(&mut reader, 4).map_err(|error| error.to_string()));
            assert!(outcome.is_err(), "byte {at}");
            flip(at);
        }
        survey(&mut pool.device().template("a").unwrap(), 4).unwrap();
    }
}
