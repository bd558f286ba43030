//! A manager's side of the page server.
//!
//! [`Client`] holds the connection. For every process it keeps a reference to the userfaultfd: if the server dies,
//! who faults waits instead of reading zeros, until the process has been killed. A thread of the client does
//! that as soon as the connection breaks.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::{AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType};

use super::layout::Region;
use super::messages::{Answer, Ask, Options, Reply, Request, VERSION};
use super::server::ROOM;
use super::stats::Report;
use crate::sandbox::wire;

/// How long an answer may take: a template is opened and perhaps fetched within it.
const WITHIN: Duration = Duration::from_secs(60);

/// Why the server did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no server.
    #[error("no page server at {path}: {error}; start one with `trenvx emu serve`")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// It has gone.
    #[error(
        "the page server is gone: the processes that it served are killed; start it again and attach anew"
    )]
    Gone,
    /// It does not answer.
    #[error("the page server has not answered within {} s", WITHIN.as_secs())]
    Late,
    /// It refused.
    #[error("the page server refuses: {0}")]
    Refused(String),
    /// A descriptor could not be sent or kept.
    #[error("cannot talk to the page server: {0}")]
    Io(#[from] io::Error),
    /// It answered something else.
    #[error("the page server answered what was not asked")]
    Confused,
}

/// What became of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The server has noticed that it is gone.
    Exited,
    /// The server has killed it, because a page cannot be had.
    Ended(String),
    /// The server is gone, and the process has been killed.
    ServerGone,
}

/// Kills a process and those that it has forked.
type Killer = Box<dyn Fn() + Send>;

struct Held {
    kill: Killer,
    fate: Sender<Fate>,
    /// Only held: as long as one is open, who faults waits.
    #[allow(dead_code, reason = "held, not used")]
    uffds: Vec<OwnedFd>,
    parent: Option<u64>,
}

#[derive(Default)]
struct State {
    gone: bool,
    next: u64,
    waiting: BTreeMap<u64, Sender<(Answer, Vec<OwnedFd>)>>,
    /// By attachment.
    held: BTreeMap<u64, Held>,
    /// Processes whose attach has not been answered.
    asked: BTreeMap<u64, Held>,
}

struct Inner {
    socket: OwnedFd,
    state: Mutex<State>,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection to a page server. When it is dropped, the server is free of the processes that were attached through
/// it: those that still live are killed.
pub struct Client {
    inner: Arc<Inner>,
    watcher: Option<JoinHandle<()>>,
}

/// A process that is served. Dropping this changes nothing: the process is served until it ends.
#[derive(Debug)]
pub struct Attachment {
    /// Its number at the server.
    pub number: u64,
    /// Pages that were installed before.
    pub prefetched: u64,
    fate: Receiver<Fate>,
}

impl Attachment {
    /// Waits until the process is gone: why. `None` if it still lives then.
    #[must_use]
    pub fn fate(&self, within: Duration) -> Option<Fate> {
        self.fate.recv_timeout(within).ok()
    }
}

impl Client {
    /// Connects to the server at `path`.
    ///
    /// # Errors
    /// If there is none, or it speaks another version.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let connect = || -> io::Result<OwnedFd> {
            let flags = SocketFlags::CLOEXEC;
            let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
            rustix::net::sockopt::set_socket_send_buffer_size(&socket, ROOM)?;
            rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
            Ok(socket)
        };
        let socket = connect().map_err(|error| ClientError::Connect { path: path.to_owned(), error })?;
        let inner = Arc::new(Inner { socket, state: Mutex::default() });
        let for_thread = Arc::clone(&inner);
        let thread = std::thread::Builder::new().name("pager watcher".into());
        let watcher = Some(thread.spawn(move || watch(&for_thread))?);
        let client = Self { inner, watcher };
        match client.ask(Ask::Hello { version: VERSION }, &[], None)?.0 {
            Answer::Hello { version: VERSION } => Ok(client),
            _ => Err(ClientError::Confused),
        }
    }

    /// The file of the shared cache of a template, and its length in bytes. To be mapped privately: page n of the
    /// template at byte n x 4096.
    ///
    /// # Errors
    /// If the server does not have the template.
    pub fn cache(&self, template: &Path) -> Result<(OwnedFd, u64), ClientError> {
        match self.ask(Ask::Cache { template: template.to_owned() }, &[], None)? {
            (Answer::Cache { length }, mut files) if files.len() == 1 => Ok((files.remove(0), length)),
            _ => Err(ClientError::Confused),
        }
    }

    /// Has a process served. It must not run before this returns. `uffd` is of the process, agreed on with
    /// [`feature::SERVED`](super::uffd::feature::SERVED), and its `regions` are registered with it. If the server
    /// dies, the process is killed.
    ///
    /// # Errors
    /// If the server refuses; the process is not served then.
    pub fn attach(
        &self,
        uffd: OwnedFd,
        pidfd: BorrowedFd<'_>,
        template: &Path,
        regions: &[Region],
        options: Options,
    ) -> Result<Attachment, ClientError> {
        let own = pidfd.try_clone_to_owned()?;
        let kill = move || {
            // It may be gone already.
            let _ = rustix::process::pidfd_send_signal(&own, rustix::process::Signal::KILL);
        };
        self.attach_with(uffd, pidfd, template, regions, options, Box::new(kill))
    }

    /// The same, with another way to kill the process, such as one that kills what it has forked as well.
    ///
    /// # Errors
    /// As [`Client::attach`].
    pub fn attach_with(
        &self,
        uffd: OwnedFd,
        pidfd: BorrowedFd<'_>,
        template: &Path,
        regions: &[Region],
        options: Options,
        kill: Killer,
    ) -> Result<Attachment, ClientError> {
        let (fate, told) = channel();
        let copy = uffd.try_clone()?;
        let held = Held { kill, fate, uffds: vec![uffd], parent: None };
        let ask = Ask::Attach { template: template.to_owned(), regions: regions.to_vec(), options };
        match self.ask(ask, &[copy.as_fd(), pidfd], Some(held))?.0 {
            Answer::Attached { attachment, prefetched } => {
                Ok(Attachment { number: attachment, prefetched, fate: told })
            }
            _ => Err(ClientError::Confused),
        }
    }

    /// What the server has counted.
    ///
    /// # Errors
    /// If it is gone.
    pub fn report(&self) -> Result<Report, ClientError> {
        match self.ask(Ask::Report, &[], None)?.0 {
            Answer::Report(report) => Ok(*report),
            _ => Err(ClientError::Confused),
        }
    }

    /// Whether the server lives, as far as is known.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        !self.inner.state().gone
    }

    /// Processes that are served through this connection.
    #[must_use]
    pub fn attached(&self) -> usize {
        self.inner.state().held.len()
    }

    fn ask(
        &self,
        ask: Ask,
        descriptors: &[BorrowedFd<'_>],
        held: Option<Held>,
    ) -> Result<(Answer, Vec<OwnedFd>), ClientError> {
        let (sender, answer) = channel();
        let id = {
            let mut state = self.inner.state();
            if state.gone {
                return Err(ClientError::Gone);
            }
            state.next += 1;
            let id = state.next;
            state.waiting.insert(id, sender);
            if let Some(held) = held {
                state.asked.insert(id, held);
            }
            id
        };
        let sent = wire::send(&self.inner.socket, &Request { id, ask }, descriptors);
        let result = match sent {
            Ok(()) => answer.recv_timeout(WITHIN).map_err(|error| match error {
                RecvTimeoutError::Timeout => ClientError::Late,
                RecvTimeoutError::Disconnected => ClientError::Gone,
            }),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)) => {
                Err(ClientError::Gone)
            }
            Err(error) => Err(error.into()),
        };
        let mut state = self.inner.state();
        state.waiting.remove(&id);
        state.asked.remove(&id);
        match result? {
            (Answer::Refused { reason }, _) => Err(ClientError::Refused(reason)),
            other => Ok(other),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = rustix::net::shutdown(&self.inner.socket, Shutdown::Both);
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }
}

/// Passes on what the server says; when it is gone, kills every process that it served.
fn watch(inner: &Inner) {
    while let Ok(Some((reply, descriptors))) = wire::receive::<Reply>(&inner.socket) {
        let mut state = inner.state();
        match reply.answer {
            Answer::Exited { attachment } => {
                if let Some(held) = state.held.remove(&attachment) {
                    let _ = held.fate.send(Fate::Exited);
                }
            }
            Answer::Ended { attachment, reason, waits } => {
                let mut next = Some(attachment);
                while let Some(held) = next.and_then(|number| state.held.get(&number)) {
                    let _ = held.fate.send(Fate::Ended(reason.clone()));
                    (held.kill)();
                    next = held.parent.filter(|_| waits);
                }
            }
            Answer::Forked { attachment, parent } => {
                // The child is killed with its parent's way of killing, which the manager may have widened to both.
                let held = Held {
                    kill: Box::new(|| {}),
                    fate: channel().0,
                    uffds: descriptors,
                    parent: Some(parent),
                };
                state.held.insert(attachment, held);
            }
            answer => {
                // Before the asker hears of it, so that the process is never without a watcher.
                if let (Answer::Attached { attachment, .. }, Some(held)) =
                    (&answer, state.asked.remove(&reply.id))
                {
                    state.held.insert(*attachment, held);
                }
                if let Some(waiting) = state.waiting.remove(&reply.id) {
                    let _ = waiting.send((answer, descriptors));
                }
            }
        }
    }
    let mut state = inner.state();
    state.gone = true;
    for held in state.held.values().chain(state.asked.values()).filter(|held| held.parent.is_none()) {
        (held.kill)();
        let _ = held.fate.send(Fate::ServerGone);
    }
    state.waiting.clear();
}
