//! Templates on a device that is mapped as a whole: `/dev/dax…`, or a file in its place.
//!
//! Reading is copying from a shared mapping. The device allows no private mappings, so pages get into a process by
//! the page server.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::directory::{Damage, Directory, DirectoryError, Entry, Reserved};
use super::folder::{FolderError, open_template};
use super::mapping::Mapping;
use super::source::{PageReader, ReadError, index};
use crate::template::pages::{PAGE, PageHash, PageTable};

/// After so many pages a filler looks whether its entry is still its own: 1 MiB.
const LOOK: u64 = 256;

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

    /// The templates on it, whole or not, and the damaged slots of its directory.
    ///
    /// # Errors
    /// If there is no pool on it.
    pub fn list(&self) -> Result<(Vec<Entry>, Vec<Damage>), DeviceError> {
        Ok(self.directory()?.entries())
    }

    /// Copies a template onto it, and publishes it when all of it is there. It must have been opened to be changed.
    ///
    /// # Errors
    /// If there is no room, there is one of that name, the template is not as its table says, or somebody removes
    /// it meanwhile. Then its space is given back, if it is still its own.
    pub fn fill(&self, name: &str, template: &Path) -> Result<Entry, DeviceError> {
        let (table, mut pages, path) = open_template(template)?;
        let directory = self.directory()?;
        let count = table.hashes().len() as u64;
        let reserved = directory
            .reserve(self.owner, name, count, *table.root().as_bytes())
            .map_err(|why| self.wrong(why))?;
        let done = self
            .copy(&directory, &reserved, &table, &mut pages, template, &path)
            .and_then(|()| directory.publish(&reserved).map_err(|why| self.wrong(why)));
        if let Err(error) = done {
            let _ = directory.give_back(&reserved);
            return Err(error);
        }
        Ok(Entry { is_ready: true, ..reserved.entry })
    }

    fn copy(
        &self,
        directory: &Directory<'_>,
        reserved: &Reserved,
        table: &PageTable,
        pages: &mut File,
        template: &Path,
        path: &Path,
    ) -> Result<(), DeviceError> {
        let entry = &reserved.entry;
        let start = entry.start as usize;
        let mut page = [0; PAGE];
        for number in 0..entry.pages {
            // Who goes on after its entry was removed writes into the space of others.
            if number.is_multiple_of(LOOK) {
                directory.check_held(reserved).map_err(|why| self.wrong(why))?;
            }
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

    /// Gives a damaged slot of the directory back.
    ///
    /// # Errors
    /// If it is not damaged.
    pub fn clear(&self, slot: usize) -> Result<(), DeviceError> {
        self.directory()?.clear(self.owner, slot).map_err(|why| self.wrong(why))
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
        self.reader(entry)
    }

    /// A reader of the template with this root hash, whatever its name.
    ///
    /// # Errors
    /// As [`Device::template`].
    pub fn template_of(self, root: &blake3::Hash) -> Result<OnDevice, DeviceError> {
        let entry = self.directory()?.find_root(root).map_err(|why| self.wrong(why))?;
        self.reader(entry)
    }

    fn reader(self, entry: Entry) -> Result<OnDevice, DeviceError> {
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

impl OnDevice {
    /// Pages that it has, with gaps.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.entry.pages
    }

    /// Whether the device's directory still says that it is here.
    pub(super) fn is_here(&self) -> bool {
        self.device.list().is_ok_and(|(entries, _)| entries.contains(&self.entry))
    }

    /// The address of byte `at` of its pages, with the table behind them; `length` bytes follow.
    ///
    /// # Panics
    /// If they do not.
    pub(super) fn at(&self, at: usize, length: usize) -> *mut u8 {
        let own = self.entry.pages as usize * (PAGE + size_of::<PageHash>());
        assert!(
            at.checked_add(length).is_some_and(|end| end <= own.max(1)),
            "pages and table of the template"
        );
        self.device.memory.at(self.entry.start as usize + at, length)
    }

    /// Copies consecutive pages out, as they are on the device now.
    ///
    /// # Panics
    /// If it has not so many.
    pub fn copy(&self, first: u64, into: &mut [[u8; PAGE]]) {
        let end = first.checked_add(into.len() as u64);
        assert!(end.is_some_and(|end| end <= self.entry.pages), "pages of the template");
        self.device.memory.read((self.entry.start + first * PAGE as u64) as usize, into.as_flattened_mut());
    }
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
mod tests;
