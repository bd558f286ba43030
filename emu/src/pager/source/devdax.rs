//! CXL memory that is mapped as a whole: a template on `/dev/dax…` with a directory of templates on it.
//!
//! The device allows shared mappings only, so its pages get into processes by copies. Other hosts can remove a
//! template and put another one into its place at any time. So each page is copied into memory of the server's
//! first, compared there with the table, and that copy is installed: what was compared is what a process gets.

use std::path::Path;

use super::{PageSource, SourceError, check_range};
use crate::pager::memory::Page;
use crate::pool::device::{Device, OnDevice};
use crate::template::pages::PageTable;

/// A template on a device.
#[derive(Debug)]
pub struct DevDax {
    on: OnDevice,
    name: String,
}

impl DevDax {
    /// The template with the root hash of `table` on the device at `path`, whatever its name there.
    ///
    /// # Errors
    /// If the device cannot be mapped, or does not have the template whole.
    pub fn open(path: &Path, table: &PageTable) -> Result<Self, SourceError> {
        let refused = |error: crate::pool::device::DeviceError| SourceError::Refused(error.to_string());
        let on = Device::open(path).and_then(|device| device.template_of(&table.root())).map_err(refused)?;
        Ok(Self { on, name: format!("cxl-devdax {}", path.display()) })
    }
}

impl PageSource for DevDax {
    fn name(&self) -> &str {
        &self.name
    }

    fn pages(&self) -> u64 {
        self.on.pages()
    }

    fn read(&self, first: u64, into: &mut [Page]) -> Result<(), SourceError> {
        check_range(first, into.len(), self.pages())?;
        self.on.copy(first, into);
        Ok(())
    }
}
