//! Where a browser comes from: a program of this machine, or a guest that has one.

use std::fmt::Debug;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::super::place::Use;
use super::super::ward::{Cell, Ward};
use super::cdp::Connection;
use super::chromium;

/// How long a guest with a browser may take to be there.
const GUEST: Duration = Duration::from_secs(60);

/// Where a browser's processes are, and what they take.
pub(in crate::agents) trait Body: Debug + Send + Sync {
    /// Processor time of all that it ever had.
    fn processor_time(&self) -> Duration;
    /// Memory of all that it has now.
    fn memory(&self) -> Use;
    /// Processes on this machine now.
    fn processes(&self) -> Vec<u32>;
}

/// A browser that answers. Dropped, it ends.
#[derive(Debug)]
pub(in crate::agents) struct Running {
    /// Ends it. First of all: its connection is of no use then.
    pub(super) _hold: Box<dyn Holds>,
    pub(super) connection: Connection,
    pub(super) body: Arc<dyn Body>,
    /// From the call that starts it to its first answer.
    pub(super) start: Duration,
    /// Processor time until then.
    pub(super) start_cpu: Duration,
}

impl Running {
    /// A guest's browser, once it has answered over its pipe. One that ended just now is started again by its guest first.
    pub(in crate::agents) fn in_guest(
        pipe: UnixStream,
        body: Arc<dyn Body>,
        hold: Box<dyn Holds>,
        begun: Instant,
    ) -> Result<Self, String> {
        let writer = pipe.try_clone().map_err(|error| error.to_string())?;
        let connection = Connection::new(pipe, writer);
        let answered = connection.greet(begun + 2 * GUEST);
        let (start, start_cpu) = (begun.elapsed(), body.processor_time());
        match answered {
            Ok(()) => Ok(Self { _hold: hold, connection, body, start, start_cpu }),
            Err(fault) => Err(format!("the guest's browser does not answer: {fault:?} after {start:?}")),
        }
    }
}

/// What ends when it is dropped.
pub(in crate::agents) trait Holds: Debug + Send + Sync {}

impl<T: Debug + Send + Sync> Holds for T {}

/// Starts one browser, again whenever it has ended.
pub(in crate::agents) trait Launcher: Debug + Send + Sync {
    /// Starts it under a name that is new each time, and tells where it will be as soon as that is known.
    fn launch(&self, name: &str, seen: &mut dyn FnMut(Weak<dyn Body>)) -> Result<Running, String>;
}

impl Body for Cell {
    fn processor_time(&self) -> Duration {
        Cell::processor_time(self)
    }

    fn memory(&self) -> Use {
        Use { bytes: Cell::memory(self), emulation_bytes: 0 }
    }

    fn processes(&self) -> Vec<u32> {
        self.members()
    }
}

/// Browsers as programs of this machine, in cgroups of the ward.
#[derive(Debug)]
pub(in crate::agents) struct Programs {
    pub(in crate::agents) ward: Arc<Ward>,
    pub(in crate::agents) program: PathBuf,
}

impl Launcher for Programs {
    fn launch(&self, name: &str, seen: &mut dyn FnMut(Weak<dyn Body>)) -> Result<Running, String> {
        let cell = Arc::new(self.ward.cell(name).map_err(|error| error.to_string())?);
        let body: Arc<dyn Body> = cell.clone();
        seen(Arc::downgrade(&body));
        let started = chromium::start(&self.program, &self.ward, cell, name);
        started.map_err(|reason| format!("{} did not start: {reason}", self.program.display()))
    }
}

/// The browser of an agent's own guest, once that is there. What it takes is the guest's.
#[derive(Debug, Default)]
pub(in crate::agents) struct OfGuest {
    pipe: Mutex<Option<UnixStream>>,
    given: Condvar,
}

impl OfGuest {
    /// Gives it the DevTools pipe of a guest that has started.
    pub(in crate::agents) fn give(&self, pipe: UnixStream) {
        *self.pipe.lock().unwrap_or_else(PoisonError::into_inner) = Some(pipe);
        self.given.notify_all();
    }
}

impl Launcher for OfGuest {
    fn launch(&self, _: &str, seen: &mut dyn FnMut(Weak<dyn Body>)) -> Result<Running, String> {
        let begun = Instant::now();
        let pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        let (pipe, _) = self
            .given
            .wait_timeout_while(pipe, GUEST, |pipe| pipe.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        let Some(pipe) = pipe.as_ref().map(UnixStream::try_clone) else {
            return Err(format!("its guest is not there after {GUEST:?}"));
        };
        let body: Arc<dyn Body> = Arc::new(InGuest);
        seen(Arc::downgrade(&body));
        Running::in_guest(pipe.map_err(|error| error.to_string())?, body, Box::new(()), begun)
    }
}

/// Accounted elsewhere: with the agent whose guest it is in.
#[derive(Debug)]
struct InGuest;

impl Body for InGuest {
    fn processor_time(&self) -> Duration {
        Duration::ZERO
    }

    fn memory(&self) -> Use {
        Use::default()
    }

    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }
}
