//! A source that misbehaves as told: for tests of what the server does then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{PageSource, SourceError};
use crate::pager::memory::Page;

/// How it misbehaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// Every so many reads fail, beginning with the first; 0: none.
    pub fail_every: u64,
    /// Every so many reads have a flipped bit, beginning with the first; 0: none.
    pub corrupt_every: u64,
    /// Every read takes this long.
    pub slow: Duration,
}

/// A source with faults.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn PageSource>,
    fault: Fault,
    reads: AtomicU64,
    name: String,
}

impl Faulty {
    /// Gives `inner` these faults.
    #[must_use]
    pub fn new(inner: Arc<dyn PageSource>, fault: Fault) -> Self {
        let name = format!("faulty {}", inner.name());
        Self { inner, fault, reads: AtomicU64::new(0), name }
    }
}

impl PageSource for Faulty {
    fn name(&self) -> &str {
        &self.name
    }

    fn pages(&self) -> u64 {
        self.inner.pages()
    }

    fn read(&self, first: u64, into: &mut [Page]) -> Result<(), SourceError> {
        let number = self.reads.fetch_add(1, Ordering::Relaxed);
        let hits = |every: u64| every != 0 && number.is_multiple_of(every);
        std::thread::sleep(self.fault.slow);
        if hits(self.fault.fail_every) {
            let error = std::io::Error::from_raw_os_error(libc::EIO);
            return Err(SourceError::Io { what: "cannot read the pages", error });
        }
        self.inner.read(first, into)?;
        if hits(self.fault.corrupt_every) {
            let page = number as usize % into.len();
            into[page][number as usize * 7 % 4096] ^= 0x10;
        }
        Ok(())
    }
}
