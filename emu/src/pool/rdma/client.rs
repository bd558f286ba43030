//! Reads a template from a pool by RDMA, through losses of the connection.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::hello::Key;
use super::session::{Broken, Session, Shape};
use super::verbs::{RDMA_READ, RDMA_WRITE};
use crate::pool::source::{PageReader, ReadError, index};
use crate::template::pages::{PAGE, PageHash, PageTable};

/// Between two attempts to connect.
pub(super) const PAUSE: Duration = Duration::from_millis(200);

/// Which template to read, and where.
#[derive(Clone, Copy, Debug)]
pub struct Remote {
    /// Address and port of the pool.
    pub address: SocketAddr,
    /// The pool's secret.
    pub key: Key,
    /// Root hash of the template: it fixes every byte that is accepted.
    pub root: [u8; 32],
    /// How long a read may take together with all that it needs: connecting again, old keys, a link that is down.
    pub patience: Duration,
}

impl Remote {
    /// Connects.
    pub(super) fn open(&self, shape: Shape, until: Instant) -> Result<Session, Broken> {
        Session::open(self.address, self.key, &self.root, shape, until)
    }
}

/// A template in a pool.
#[derive(Debug)]
pub struct Client {
    remote: Remote,
    session: Option<Session>,
    table: PageTable,
    connections: u64,
}

impl Client {
    /// Connects and fetches the table of hashes.
    ///
    /// # Errors
    /// If the pool refuses, cannot be reached in time, or its table is not the one with this root hash.
    pub fn connect(remote: Remote) -> Result<Self, ReadError> {
        let mut client = Self { remote, session: None, table: PageTable::default(), connections: 0 };
        let mut table = PageTable::default();
        client.persist(|session| {
            table = fetch_table(session)?;
            Ok(())
        })?;
        if *table.root().as_bytes() != remote.root {
            let reason = "its table is not that of the template".to_owned();
            return Err(ReadError::Refused { from: client.name(), reason });
        }
        client.table = table;
        Ok(client)
    }

    /// How often it has connected.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// Breaks the connection as a failing card does: the next read has to notice and connect again.
    ///
    /// # Errors
    /// If there is no connection, or the queue pair cannot be changed.
    pub fn spoil(&mut self) -> Result<(), ReadError> {
        let from = self.name();
        match &mut self.session {
            Some(session) => session.spoil().map_err(|why| ReadError::Io { from, why }),
            None => Err(ReadError::Lost { from, reason: "there is no connection".into() }),
        }
    }

    /// Does `work` with a connection, with a new one after each failure, until it works, is refused or the time
    /// is over.
    fn persist(&mut self, mut work: impl FnMut(&mut Session) -> Result<(), Broken>) -> Result<(), ReadError> {
        let until = Instant::now() + self.remote.patience;
        loop {
            let done = match &mut self.session {
                Some(session) => work(session),
                None => self.remote.open(Shape::SMALL, until).and_then(|session| {
                    self.connections += 1;
                    work(self.session.insert(session))
                }),
            };
            let reason = match done {
                Ok(()) => return Ok(()),
                Err(broken @ Broken::Refused(_)) => {
                    self.session = None;
                    return Err(ReadError::Refused { from: self.name(), reason: broken.reason() });
                }
                Err(broken) => broken.reason(),
            };
            self.session = None;
            if Instant::now() + PAUSE > until {
                return Err(ReadError::Lost { from: self.name(), reason });
            }
            thread::sleep(PAUSE);
        }
    }
}

/// The table behind the pages, in pieces of a page.
fn fetch_table(session: &mut Session) -> Result<PageTable, Broken> {
    let offer = session.offer;
    let count = usize::try_from(offer.pages).map_err(|error| Broken::Failed(error.to_string()))?;
    let length = count
        .checked_mul(size_of::<PageHash>())
        .filter(|length| *length < 1 << 32)
        .ok_or_else(|| Broken::Failed(format!("it offers {count} pages, which cannot be")))?;
    let wanted: Vec<(u64, u32)> = (0..length)
        .step_by(PAGE)
        .map(|at| (offer.table_at + at as u64, (length - at).min(PAGE) as u32))
        .collect();
    let mut hashes: Vec<PageHash> = vec![[0; 16]; count];
    let bytes = hashes.as_flattened_mut();
    session.fetch(&wanted, offer.table_key, |number, piece| {
        bytes[number * PAGE..][..piece.len()].copy_from_slice(piece);
    })?;
    Ok(PageTable::new(hashes))
}

impl PageReader for Client {
    fn kind(&self) -> &'static str {
        "rdma"
    }

    fn name(&self) -> String {
        format!("pool {}", self.remote.address)
    }

    fn table(&self) -> &PageTable {
        &self.table
    }

    fn read(&mut self, pages: &[u64], into: &mut [[u8; PAGE]]) -> Result<(), ReadError> {
        assert_eq!(pages.len(), into.len(), "as many places as pages");
        let from = self.name();
        let count = self.table.hashes().len();
        // What is absent is known to be zeros and needs no transfer.
        let mut numbers = Vec::with_capacity(pages.len());
        for (number, page) in pages.iter().enumerate() {
            index(&from, *page, count)?;
            if self.table.is_present(*page) {
                numbers.push(number);
            } else {
                into[number].fill(0);
            }
        }
        self.persist(|session| {
            let offer = session.offer;
            let wanted: Vec<(u64, u32)> = numbers
                .iter()
                .map(|number| (offer.pages_at + pages[*number] * PAGE as u64, PAGE as u32))
                .collect();
            session
                .fetch(&wanted, offer.pages_key, |number, piece| into[numbers[number]].copy_from_slice(piece))
        })
    }
}

/// Something that a pool must refuse to a client that it has let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Read the page behind the last one.
    Beyond,
    /// Read the page before the first one.
    Before,
    /// Read a page with a key that is none.
    WrongKey,
    /// Read a page of the template with the table's key.
    OtherKey,
    /// Write to a page.
    Write,
    /// Read a page of another template, with its good key, on a connection for this one.
    OtherPages,
    /// Read the table of another template so.
    OtherTable,
}

impl Attempt {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Beyond,
        Self::Before,
        Self::WrongKey,
        Self::OtherKey,
        Self::Write,
        Self::OtherPages,
        Self::OtherTable,
    ];

    /// Whether it takes another template in the same pool.
    #[must_use]
    pub fn needs_other(self) -> bool {
        matches!(self, Self::OtherPages | Self::OtherTable)
    }

    /// Tries it on a connection of its own; `other` is the root hash of another template in the same pool. Returns
    /// whether the pool's card refused.
    ///
    /// # Errors
    /// If the outcome is neither a refusal nor a success.
    pub fn is_refused(self, remote: &Remote, other: Option<[u8; 32]>) -> Result<bool, ReadError> {
        let from = || format!("pool {}", remote.address);
        match self.outcome(remote, other) {
            Ok(()) => Ok(false),
            Err(Broken::Access) => Ok(true),
            Err(Broken::Refused(refusal)) => {
                Err(ReadError::Refused { from: from(), reason: refusal.reason().to_owned() })
            }
            Err(Broken::Failed(reason)) => Err(ReadError::Lost { from: from(), reason }),
        }
    }

    fn outcome(self, remote: &Remote, other: Option<[u8; 32]>) -> Result<(), Broken> {
        let until = Instant::now() + remote.patience;
        let mut session = remote.open(Shape::SMALL, until)?;
        let offer = session.offer;
        let end = offer.pages_at + offer.pages * PAGE as u64;
        // Kept open meanwhile: its keys are good, and are not this connection's.
        let other = match other.filter(|_| self.needs_other()) {
            Some(root) => Some(Remote { root, ..*remote }.open(Shape::SMALL, until)?),
            None if self.needs_other() => return Err(Broken::Failed("no other template was named".into())),
            None => None,
        };
        let others = other.as_ref().map_or(offer, |other| other.offer);
        let (opcode, addr, key) = match self {
            Self::Beyond => (RDMA_READ, end, offer.pages_key),
            Self::Before => (RDMA_READ, offer.pages_at - PAGE as u64, offer.pages_key),
            Self::WrongKey => (RDMA_READ, offer.pages_at, offer.pages_key ^ 0x0001_0000),
            Self::OtherKey => (RDMA_READ, offer.pages_at, offer.table_key),
            Self::Write => (RDMA_WRITE, offer.pages_at, offer.pages_key),
            Self::OtherPages => (RDMA_READ, others.pages_at, others.pages_key),
            Self::OtherTable => (RDMA_READ, others.table_at, others.table_key),
        };
        session.attempt(opcode, addr, key)
    }
}
