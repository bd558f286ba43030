//! The page server: threads that serve faults, and managers that hand processes over.
//!
//! `handler` is a thread, with what it is told (`mailbox`), the processes that come and go (`members`), reads that
//! are under way (`queues`, `reads`) and pages that nobody has asked for yet (`jobs`); `fill` is how pages get into
//! a process; `connection` talks to managers; `loaded` are the templates. Threads share the templates and their caches, and nothing else while they serve.

mod attached;
mod connection;
mod fill;
mod handler;
mod jobs;
mod loaded;
mod mailbox;
mod members;
mod queues;
mod reads;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::EventfdFlags;
use rustix::thread::CpuSet;

use self::handler::Handler;
use self::loaded::{Library, Loaded};
use self::mailbox::{Command, Mailbox};
use super::cache::Budget;
use super::source::spec::OpenSource;
use super::source::tiers::Attempt;
use super::stats::{Report, ThreadStats};
use super::working_set::WorkingSet;

pub(super) use self::connection::ROOM;

/// Where the thread that serves a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// On the core of the process: best where waking another core is dear, as in virtual machines.
    Same,
    /// On the next core.
    Other,
    /// On the next core, without ever sleeping while a process is attached.
    Spin,
    /// Where the kernel puts it.
    Float,
}

impl Placement {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Same, Self::Other, Self::Spin, Self::Float];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Other => "other",
            Self::Spin => "spin",
            Self::Float => "float",
        }
    }
}

/// What the last source may take by default: two attempts to connect, each with the time that a card takes to find out
/// that nobody answers (some 5 s). A pool whose link is down for that long, and a busy machine's first connection, are
/// waited for.
pub const ALONE: Duration = Duration::from_secs(10);

/// How a server works.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens for managers.
    pub socket: PathBuf,
    /// Where the threads run.
    pub placement: Placement,
    /// Threads with [`Placement::Float`]; the others have one for each core.
    pub threads: usize,
    /// Where pages come from, in the order in which they are tried.
    pub sources: Vec<Arc<dyn OpenSource>>,
    /// Where working sets are kept; `None`: in the folders of the templates.
    pub records: Option<PathBuf>,
    /// What all shared caches may hold, bytes; `None`: what the machine has. Beyond it, processes get pages of their own.
    pub cache_limit: Option<u64>,
    /// How long a source with a queue may take to answer before the next is asked.
    pub patience: Duration,
    /// The same of the last source, connecting included: behind it there is nobody to ask, and the process is ended.
    pub alone: Duration,
    /// Pages that are installed at a time in an idle moment, at first; doubles while nothing faults.
    pub idle_chunk: usize,
}

impl Config {
    /// One thread for each core, pages from mapped page files.
    #[must_use]
    pub fn new(socket: PathBuf, sources: Vec<Arc<dyn OpenSource>>) -> Self {
        Self {
            socket,
            placement: Placement::Same,
            threads: 1,
            sources,
            records: None,
            cache_limit: None,
            patience: Duration::from_millis(500),
            alone: ALONE,
            idle_chunk: 16,
        }
    }
}

/// A working set, and the template that it belongs to.
type Recorded = (Arc<Loaded>, WorkingSet);

/// What the threads of a server share.
pub(super) struct Shared {
    config: Config,
    library: Library,
    budget: Arc<Budget>,
    mailboxes: Vec<Arc<Mailbox>>,
    stats: Vec<Arc<ThreadStats>>,
    /// The core of each thread, unless they float.
    cores: Vec<usize>,
    next_id: AtomicU64,
    turn: AtomicUsize,
    connections: AtomicUsize,
    /// Readable when the server ends.
    ending: OwnedFd,
    scribe: Mutex<Option<Sender<Recorded>>>,
}

impl Shared {
    fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// How long the source of this attempt may take.
    fn patience(&self, template: &Loaded, attempt: Attempt) -> Duration {
        if template.tiers.is_last(attempt) { self.config.alone } else { self.config.patience }
    }

    /// Has a working set written, by a thread that may wait for a disk.
    fn scribe(&self, template: &Arc<Loaded>, set: WorkingSet) {
        if let Some(scribe) = &*self.scribe.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = scribe.send((Arc::clone(template), set));
        }
    }

    fn report(&self) -> Report {
        let mut report = Report::of(self.stats.iter().map(|stats| &**stats));
        self.library.report(&mut report);
        report
    }
}

/// A running page server. Ends when dropped; processes that are attached then are killed.
pub struct Server {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts the threads and listens.
    ///
    /// # Errors
    /// If the socket cannot be had, or there is no memory.
    pub fn start(config: Config) -> io::Result<Self> {
        let cores = usable_cores()?;
        let floats = config.placement == Placement::Float;
        let number = if floats { config.threads.max(1) } else { cores.len() };
        let listener = connection::listen(&config.socket)?;
        let budget = Arc::new(Budget::new(config.cache_limit));
        let mailboxes = (0..number).map(|_| Mailbox::new().map(Arc::new)).collect::<Result<_, _>>()?;
        let (scribe, sets) = channel::<Recorded>();
        let shared = Arc::new(Shared {
            library: Library::new(
                config.sources.clone(),
                config.records.clone(),
                number,
                Arc::clone(&budget),
            ),
            budget,
            mailboxes,
            stats: (0..number).map(|_| Arc::default()).collect(),
            cores: if floats { Vec::new() } else { cores.clone() },
            next_id: AtomicU64::new(1),
            turn: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            ending: rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?,
            scribe: Mutex::new(Some(scribe)),
            config,
        });
        let mut server = Self { shared: Arc::clone(&shared), threads: Vec::new() };
        for index in 0..number {
            let spins = shared.config.placement == Placement::Spin;
            let handler = Handler::new(index, Arc::clone(&shared), spins)?;
            let core = shared.cores.get(index).copied();
            let thread = std::thread::Builder::new().name(format!("pager {index}"));
            server.threads.push(thread.spawn(move || {
                // A thread that is gone would leave its processes waiting for ever: better the whole server.
                let guard = AbortOnPanic;
                if let Some(core) = core {
                    let mut only = CpuSet::new();
                    only.set(core);
                    // Forbidden in some containers: then it floats.
                    let _ = rustix::thread::sched_setaffinity(None, &only);
                }
                handler.run();
                std::mem::forget(guard);
            })?);
        }
        let scribe = std::thread::Builder::new().name("pager scribe".into());
        server.threads.push(scribe.spawn(move || {
            for (template, set) in sets {
                if let Err(error) = set.write(&template.record, template.table.root()) {
                    eprintln!("cannot write {}: {error}", template.record.display());
                }
            }
        })?);
        let accepting = std::thread::Builder::new().name("pager accept".into());
        server.threads.push(accepting.spawn(move || connection::accept(&shared, &listener))?);
        Ok(server)
    }

    /// What it has counted.
    #[must_use]
    pub fn report(&self) -> Report {
        self.shared.report()
    }

    /// Gives the counts to who writes them somewhere; valid as long as it is kept.
    pub fn reporter(&self) -> impl Fn() -> Report + Send + 'static {
        let shared = Arc::clone(&self.shared);
        move || shared.report()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.shared.ending, &1_u64.to_ne_bytes());
        for mailbox in &self.shared.mailboxes {
            mailbox.send(Command::Stop);
        }
        *self.shared.scribe.lock().unwrap_or_else(PoisonError::into_inner) = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        while self.shared.connections.load(Ordering::Relaxed) > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = std::fs::remove_file(&self.shared.config.socket);
    }
}

struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        eprintln!("a thread of the page server has panicked: the server ends");
        std::process::abort();
    }
}

/// Cores that this process may use.
pub(crate) fn usable_cores() -> io::Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}
