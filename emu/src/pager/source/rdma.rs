//! Pages of a pool on another host, read by RDMA: many reads under way, each of up to [`MOST_PAGES`] pages.
//!
//! Nothing on the other side takes part in a read but its card. Connections are made and undone off the threads that
//! serve faults; while there is none, reads go to the next source, or wait for as long as the server is patient. What
//! arrives is compared with the template's table like everything from a source that is not trusted.

use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Done, MOST_PAGES, PageSource, ReadQueue, SourceError, check_range};
use crate::pager::memory::Page;
use crate::pool::rdma::line::{self, Line, LineError, Lines, Manner};
use crate::pool::rdma::{self, Key, Remote};
use crate::template::pages::PageTable;

const _: () = assert!(MOST_PAGES <= line::MOST_PAGES);

/// How long a read may take that somebody waits for, connecting included.
const PATIENCE: Duration = Duration::from_secs(5);

/// One template in a pool.
#[derive(Debug)]
pub struct Rdma {
    lines: Arc<Lines>,
    pages: u64,
    name: String,
    /// For reads that somebody waits for.
    waiting: Mutex<Option<Line>>,
}

impl Rdma {
    /// The template whose table this is, in the pool at `address` (host and port) whose key is in a file. Begins to
    /// connect, and does not wait for that.
    ///
    /// # Errors
    /// If there is no such host or key, or the libraries for RDMA are missing.
    pub fn open(address: &str, key: &Path, manner: Manner, table: &PageTable) -> Result<Self, SourceError> {
        rdma::libraries().map_err(SourceError::io("cannot load the libraries for RDMA"))?;
        let found: Option<SocketAddr> =
            address.to_socket_addrs().map_err(SourceError::io("cannot find the pool's host"))?.next();
        let found = found.ok_or_else(|| SourceError::Refused("the pool's host has no address".into()))?;
        let key = Key::read(key)
            .map_err(|error| SourceError::Refused(format!("the key {}: {error}", key.display())))?;
        let remote = Remote { address: found, key, root: *table.root().as_bytes(), patience: PATIENCE };
        Ok(Self {
            lines: Lines::new(remote, manner),
            pages: table.hashes().len() as u64,
            name: format!("rdma {address}"),
            waiting: Mutex::default(),
        })
    }

    fn line(&self) -> Result<Line, SourceError> {
        Line::new(Arc::clone(&self.lines)).map_err(SourceError::io("cannot wait for a connection"))
    }
}

impl From<LineError> for SourceError {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Full => Self::Full,
            LineError::Connecting => Self::Connecting,
            LineError::Down(reason) => Self::Down(reason),
            LineError::Refused(reason) => Self::Refused(reason.to_owned()),
        }
    }
}

impl PageSource for Rdma {
    fn name(&self) -> &str {
        &self.name
    }

    fn pages(&self) -> u64 {
        self.pages
    }

    fn read(&self, first: u64, into: &mut [Page]) -> Result<(), SourceError> {
        check_range(first, into.len(), self.pages)?;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let line = match &mut *waiting {
            Some(line) => line,
            None => waiting.insert(self.line()?),
        };
        let until = Instant::now() + PATIENCE;
        let mut begun = false;
        loop {
            let mut result = Ok(());
            if !begun {
                match line.submit(0, first, into.len()) {
                    Ok(()) => begun = true,
                    Err(LineError::Refused(reason)) => result = Err(LineError::Refused(reason)),
                    Err(error) if Instant::now() > until => result = Err(error),
                    Err(_) => {}
                }
            }
            let mut arrived = false;
            if result.is_ok() {
                line.complete(&mut |_, pages| match pages {
                    Ok(pages) => {
                        into.copy_from_slice(pages);
                        arrived = true;
                    }
                    // Once more, with a new connection.
                    Err(error) if Instant::now() > until => result = Err(error),
                    Err(_) => begun = false,
                });
            }
            if arrived {
                return Ok(());
            }
            if result.is_ok() && Instant::now() > until {
                result = Err(LineError::Down(format!("no answer within {PATIENCE:?}")));
            }
            if let Err(error) = result {
                // A read that is still under way must not be taken for the next one.
                *waiting = None;
                return Err(error.into());
            }
            let step = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            let _ = poll(&mut [PollFd::from_borrowed_fd(line.ready(), PollFlags::IN)], Some(&step));
        }
    }

    fn queue(&self) -> Result<Option<Box<dyn ReadQueue>>, SourceError> {
        Ok(Some(Box::new(RdmaQueue { line: self.line()?, pages: self.pages })))
    }
}

/// One connection with many reads under way.
struct RdmaQueue {
    line: Line,
    pages: u64,
}

impl ReadQueue for RdmaQueue {
    fn submit(&mut self, token: u64, first: u64, count: usize) -> Result<(), SourceError> {
        check_range(first, count, self.pages)?;
        Ok(self.line.submit(token, first, count)?)
    }

    fn ready(&self) -> BorrowedFd<'_> {
        self.line.ready()
    }

    fn complete(&mut self, done: &mut Done<'_>) {
        self.line.complete(&mut |token, pages| done(token, pages.map_err(SourceError::from)));
    }
}
