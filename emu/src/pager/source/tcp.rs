//! Pages over TCP, from a `trenvx emu serve --export` on the machine that has them.
//!
//! ```text
//! hello    "trenvxPS" | version u32 | 0 u32 | root hash of the template's table [u8; 32]
//! welcome  "trenvxPS" | status u32 | 0 u32 | pages u64
//! request  token u64 | first page u64 | count u32 | 0 u32
//! answer   token u64 | status u32 | count u32, then count pages if the status is 0
//! ```
//!
//! Numbers are little-endian; requests may be sent before earlier ones are answered. What arrives is compared with
//! the template's table like everything from a source that is not trusted.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::event::epoll;

use super::{Done, MOST_PAGES, PageSource, ReadQueue, SourceError, check_range};
use crate::pager::memory::{Page, PageBuffer};

pub(in crate::pager) const MAGIC: &[u8; 8] = b"trenvxPS";
pub(in crate::pager) const VERSION: u32 = 1;
pub(in crate::pager) const HELLO: usize = 8 + 4 + 4 + 32;
pub(in crate::pager) const WELCOME: usize = 8 + 4 + 4 + 8;
pub(in crate::pager) const REQUEST: usize = 8 + 8 + 4 + 4;
pub(in crate::pager) const ANSWER: usize = 8 + 4 + 4;

/// How a request or a hello was taken. Part of the protocol.
pub(in crate::pager) mod status {
    pub const GOOD: u32 = 0;
    pub const UNKNOWN_TEMPLATE: u32 = 1;
    pub const VERSION: u32 = 2;
    pub const RANGE: u32 = 3;
    pub const FAILED: u32 = 4;
}

/// Requests that a connection has outstanding.
const DEPTH: usize = 32;
/// How long a connection may take to be made, and a waiting read to be answered.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long after a failed connection the next is not tried.
const PAUSE: Duration = Duration::from_millis(200);

/// One template's pages on another machine.
#[derive(Debug)]
pub struct Tcp {
    address: String,
    root: [u8; 32],
    pages: u64,
    name: String,
    waiting: Mutex<Option<TcpStream>>,
}

impl Tcp {
    /// The template with this root hash, of `pages` pages, at `address` (host and port).
    #[must_use]
    pub fn new(address: &str, root: blake3::Hash, pages: u64) -> Self {
        Self {
            address: address.to_owned(),
            root: *root.as_bytes(),
            pages,
            name: format!("tcp {address}"),
            waiting: Mutex::new(None),
        }
    }

    fn connect(&self) -> Result<TcpStream, SourceError> {
        let mut addresses =
            self.address.to_socket_addrs().map_err(SourceError::io("cannot find the host"))?;
        let address =
            addresses.next().ok_or_else(|| SourceError::Refused("the host has no address".into()))?;
        let mut stream =
            TcpStream::connect_timeout(&address, PATIENCE).map_err(SourceError::io("cannot connect"))?;
        let greet = |stream: &mut TcpStream| -> io::Result<[u8; WELCOME]> {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            let mut hello = [0; HELLO];
            hello[..8].copy_from_slice(MAGIC);
            hello[8..12].copy_from_slice(&VERSION.to_le_bytes());
            hello[16..].copy_from_slice(&self.root);
            stream.write_all(&hello)?;
            let mut welcome = [0; WELCOME];
            stream.read_exact(&mut welcome)?;
            Ok(welcome)
        };
        let welcome = greet(&mut stream).map_err(SourceError::io("no greeting"))?;
        if &welcome[..8] != MAGIC {
            return Err(SourceError::Refused("the other side is no page server".into()));
        }
        match number(&welcome[8..12]) {
            status::GOOD => {}
            status::UNKNOWN_TEMPLATE => {
                return Err(SourceError::Refused("the other side does not have this template".into()));
            }
            other => {
                return Err(SourceError::Refused(format!("the other side answers {other} to the greeting")));
            }
        }
        let has = u64::from_le_bytes(welcome[16..24].try_into().expect("eight bytes"));
        if has < self.pages {
            return Err(SourceError::Range { first: 0, end: self.pages, has });
        }
        Ok(stream)
    }
}

impl PageSource for Tcp {
    fn name(&self) -> &str {
        &self.name
    }

    fn pages(&self) -> u64 {
        self.pages
    }

    fn read(&self, first: u64, into: &mut [Page]) -> Result<(), SourceError> {
        check_range(first, into.len(), self.pages)?;
        let mut waiting = self.waiting.lock().expect("no reader panics");
        let mut stream = match waiting.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let mut exchange = || -> io::Result<u32> {
            stream.write_all(&request(0, first, into.len()))?;
            let mut answer = [0; ANSWER];
            stream.read_exact(&mut answer)?;
            let found = number(&answer[8..12]);
            if found == status::GOOD {
                stream.read_exact(into.as_flattened_mut())?;
            }
            Ok(found)
        };
        let found = exchange().map_err(SourceError::io("cannot read pages over TCP"))?;
        // Only a connection that is in step is used again.
        *waiting = Some(stream);
        accept(found)
    }

    fn queue(&self) -> Result<Option<Box<dyn ReadQueue>>, SourceError> {
        let ready = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|errno| SourceError::io("cannot wait for a connection")(errno.into()))?;
        let opener = Self {
            waiting: Mutex::new(None),
            address: self.address.clone(),
            name: self.name.clone(),
            ..*self
        };
        Ok(Some(Box::new(TcpQueue {
            opener,
            ready,
            stream: None,
            broken_at: None,
            unsent: Vec::new(),
            outstanding: Vec::with_capacity(DEPTH),
            head: [0; ANSWER],
            got: 0,
            room: PageBuffer::new(MOST_PAGES).map_err(SourceError::io("no memory to read into"))?,
        })))
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

fn request(token: u64, first: u64, count: usize) -> [u8; REQUEST] {
    let mut request = [0; REQUEST];
    request[..8].copy_from_slice(&token.to_le_bytes());
    request[8..16].copy_from_slice(&first.to_le_bytes());
    request[16..20].copy_from_slice(&(count as u32).to_le_bytes());
    request
}

fn accept(found: u32) -> Result<(), SourceError> {
    match found {
        status::GOOD => Ok(()),
        status::RANGE => {
            Err(SourceError::Refused("the other side says that the pages are out of range".into()))
        }
        other => Err(SourceError::Refused(format!("the other side answers {other}"))),
    }
}

/// One connection with several requests under way.
struct TcpQueue {
    opener: Tcp,
    /// Stays the same when the connection is made anew.
    ready: OwnedFd,
    stream: Option<TcpStream>,
    broken_at: Option<Instant>,
    unsent: Vec<u8>,
    outstanding: Vec<(u64, usize)>,
    head: [u8; ANSWER],
    /// Bytes of the answer that is being received, head included.
    got: usize,
    room: PageBuffer,
}

impl TcpQueue {
    fn open(&mut self) -> Result<(), SourceError> {
        if self.stream.is_some() {
            return Ok(());
        }
        if self.broken_at.is_some_and(|at| at.elapsed() < PAUSE) {
            return Err(SourceError::Refused("the connection broke a moment ago".into()));
        }
        let stream = self.opener.connect().and_then(|stream| {
            stream.set_nonblocking(true).map_err(SourceError::io("cannot use the connection"))?;
            let flags = epoll::EventFlags::IN;
            epoll::add(&self.ready, &stream, epoll::EventData::new_u64(0), flags)
                .map_err(|errno| SourceError::io("cannot wait for the connection")(errno.into()))?;
            Ok(stream)
        });
        self.broken_at = stream.is_err().then(Instant::now);
        self.stream = Some(stream?);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        while !self.unsent.is_empty() {
            match stream.write(&self.unsent) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Receives until nothing more is there.
    fn receive(&mut self, done: &mut Done<'_>) -> io::Result<()> {
        let broken = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text);
        loop {
            let Some(stream) = &mut self.stream else { return Ok(()) };
            let (token, found) = (
                u64::from_le_bytes(self.head[..8].try_into().expect("eight bytes")),
                number(&self.head[8..12]),
            );
            let count = number(&self.head[12..16]) as usize;
            let body = if found == status::GOOD { count * size_of::<Page>() } else { 0 };
            if self.got >= ANSWER {
                let place = self.outstanding.iter().position(|entry| *entry == (token, count));
                let Some(place) = place else {
                    return Err(broken("an answer to what was not asked"));
                };
                if self.got == ANSWER + body {
                    self.outstanding.swap_remove(place);
                    self.got = 0;
                    done(token, accept(found).map(|()| &self.room.pages()[..count]));
                    continue;
                }
            }
            let into = if self.got < ANSWER {
                &mut self.head[self.got..]
            } else {
                &mut self.room.pages_mut().as_flattened_mut()[self.got - ANSWER..body]
            };
            match stream.read(into) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(got) => self.got += got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives the connection up: every outstanding read has failed.
    fn give_up(&mut self, error: &io::Error, done: &mut Done<'_>) {
        self.stream = None;
        self.broken_at = Some(Instant::now());
        self.got = 0;
        self.unsent.clear();
        for (token, _) in self.outstanding.drain(..) {
            let error = io::Error::new(error.kind(), error.to_string());
            done(token, Err(SourceError::Io { what: "the connection broke", error }));
        }
    }
}

impl ReadQueue for TcpQueue {
    fn submit(&mut self, token: u64, first: u64, count: usize) -> Result<(), SourceError> {
        check_range(first, count, self.opener.pages)?;
        if self.outstanding.len() == DEPTH {
            return Err(SourceError::Full);
        }
        self.open()?;
        self.unsent.extend_from_slice(&request(token, first, count));
        self.outstanding.push((token, count));
        // If sending fails, the connection is readable and `complete` tells everybody.
        let _ = self.flush();
        Ok(())
    }

    fn ready(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    fn complete(&mut self, done: &mut Done<'_>) {
        if let Err(error) = self.receive(done).and_then(|()| self.flush()) {
            self.give_up(&error, done);
        }
    }
}
