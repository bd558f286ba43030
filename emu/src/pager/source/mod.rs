//! Where pages come from: one trait, one file per kind of memory or device.
//!
//! A source is read in one of three ways, of which the server takes the first that the source offers:
//! 1. [`PageSource::mapped`]: its pages are in this process's memory, and are installed straight from there.
//! 2. [`PageSource::queue`]: reads are submitted, and their results are collected when a descriptor says so. One
//!    thread drives as many reads as the device takes, and serves other faults meanwhile.
//! 3. [`PageSource::read`]: the thread waits. Right for what answers within a few microseconds.
//!
//! A queue owns the memory that it reads into, because devices want theirs registered. What comes from a source
//! that is not [trusted](PageSource::is_trusted) is compared with the template's table before it is installed.

pub mod delayed;
pub mod devdax;
pub mod dram;
pub mod faulty;
pub mod file;
pub mod near;
pub mod rdma;
pub mod spec;
pub mod tcp;
pub mod tiers;

use std::io;
use std::os::fd::BorrowedFd;

use super::memory::Page;

/// Most pages that are asked for at once.
pub const MOST_PAGES: usize = 512;

/// Why pages could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The device, file or network failed.
    #[error("{what}: {error}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The reason.
        error: io::Error,
    },
    /// Pages that it does not have were asked for.
    #[error("pages {first} to {end} were asked for, and it has {has}")]
    Range {
        /// First page.
        first: u64,
        /// Behind the last page.
        end: u64,
        /// Pages that it has.
        has: u64,
    },
    /// No more reads can be outstanding; try again when one is complete.
    #[error("its queue is full")]
    Full,
    /// A connection is being made for the first time; try again soon.
    #[error("it is still being connected to")]
    Connecting,
    /// The connection broke or could not be made. It is being made again meanwhile.
    #[error("the connection failed: {0}")]
    Down(String),
    /// No answer came in time.
    #[error("no answer within {0} ms")]
    Late(u64),
    /// What came is not what the template's table says.
    #[error("page {0} has another hash than the template's table")]
    Hash(u64),
    /// It does not hold these pages now; another source does.
    #[error("it does not hold these pages")]
    Elsewhere,
    /// The other side refused.
    #[error("refused: {0}")]
    Refused(String),
}

impl SourceError {
    /// Names what was being done when a call failed.
    pub fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { what, error }
    }
}

/// Pages that came, or why they did not.
pub type Pages<'a> = Result<&'a [Page], SourceError>;

/// Takes the token of a read and what came of it.
pub type Done<'a> = dyn FnMut(u64, Pages<'_>) + 'a;

/// Pages of one template. Shared by all threads of the server.
pub trait PageSource: Send + Sync + std::fmt::Debug {
    /// Its name in statistics and errors, such as `dram` or `tcp 10.0.0.2:7000`.
    fn name(&self) -> &str;

    /// Pages that it has, with gaps.
    fn pages(&self) -> u64;

    /// Whether its bytes were compared with the template's table when it was opened and cannot have changed since.
    fn is_trusted(&self) -> bool {
        false
    }

    /// Whether it holds only some of the pages: [`PageSource::holds`] tells which.
    fn is_partial(&self) -> bool {
        false
    }

    /// How many of these pages, from the first on, it holds now.
    fn holds(&self, _first: u64, count: usize) -> usize {
        count
    }

    /// Right pages, which a source behind this one has delivered: it may keep them. Must not wait.
    fn offer(&self, _first: u64, _pages: &[Page]) {}

    /// Its pages, if they are in this process's memory.
    fn mapped(&self) -> Option<&[Page]> {
        None
    }

    /// Reads consecutive pages and waits for them. Never more than [`MOST_PAGES`].
    ///
    /// # Errors
    /// If not all of them came; `into` may then hold anything.
    fn read(&self, first: u64, into: &mut [Page]) -> Result<(), SourceError>;

    /// A queue for one thread, or `None` where waiting is cheaper than coming back.
    ///
    /// # Errors
    /// If the source cannot be reached now.
    fn queue(&self) -> Result<Option<Box<dyn ReadQueue>>, SourceError> {
        Ok(None)
    }
}

/// Outstanding reads of one thread.
pub trait ReadQueue: Send {
    /// Starts to read up to [`MOST_PAGES`] consecutive pages. Every accepted token is completed exactly once.
    ///
    /// # Errors
    /// [`SourceError::Full`] and [`SourceError::Connecting`] when it must be tried again later, and
    /// [`SourceError::Down`] when that may help; others fail this read at once.
    fn submit(&mut self, token: u64, first: u64, count: usize) -> Result<(), SourceError>;

    /// Readable when [`ReadQueue::complete`] has something to say.
    fn ready(&self) -> BorrowedFd<'_>;

    /// Hands over what is complete: its token, and the pages or the reason why not.
    fn complete(&mut self, done: &mut Done<'_>);
}

/// That `count` pages from `first` are among `has`.
///
/// # Errors
/// If not.
pub fn check_range(first: u64, count: usize, has: u64) -> Result<(), SourceError> {
    let end = first.saturating_add(count as u64);
    if end > has || count == 0 || count > MOST_PAGES {
        return Err(SourceError::Range { first, end, has });
    }
    Ok(())
}
