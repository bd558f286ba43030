//! A browser that is there when somebody needs it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::Serialize;

use super::super::place::Use;
use super::Failure;
use super::launch::{Body, Launcher, Running};

/// A browser that ends this often is not started again.
const STARTS: u32 = 20;

/// One browser, of as many sessions as there are.
#[derive(Debug)]
pub struct Shared {
    launcher: Arc<dyn Launcher>,
    number: usize,
    slot: Mutex<Slot>,
    /// Where the latest start is, apart from the slot, which a start holds for seconds.
    body: Mutex<Option<Weak<dyn Body>>>,
}

#[derive(Debug, Default)]
struct Slot {
    running: Option<Arc<Running>>,
    starts: u32,
    start_times: Vec<Duration>,
    /// Processor time of all starts.
    start_cpu: Duration,
    /// Processor time of those that ended.
    past: Duration,
}

/// What a browser has cost so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    /// How often it was started.
    pub starts: u32,
    /// From exec to an answer, ms, of each start.
    pub start_ms: Vec<f64>,
    /// Processor time until then, of all starts together, ms.
    pub start_cpu_ms: f64,
    /// Processor time of all its processes, ms. What a browser used between the last look at it and its crash is missing.
    pub cpu_ms: f64,
    /// Memory of all its processes now (PSS), bytes. None where the browser is in its agent's own guest.
    pub memory_bytes: u64,
    /// Code that software emulation translated for its guest, which is not in that, bytes.
    pub emulation_bytes: u64,
}

impl Shared {
    /// Browser `number` of a broker. It is started by the first session that needs it.
    pub(super) fn new(launcher: Arc<dyn Launcher>, number: usize) -> Arc<Self> {
        Arc::new(Self { launcher, number, slot: Mutex::default(), body: Mutex::default() })
    }

    /// The browser, started if there is none.
    pub(super) fn running(&self) -> Result<Arc<Running>, Failure> {
        let mut slot = self.slot();
        if let Some(running) = slot.running.take() {
            if !running.connection.is_gone() {
                slot.running = Some(Arc::clone(&running));
                return Ok(running);
            }
            slot.past += running.body.processor_time();
        }
        if slot.starts >= STARTS {
            return Err(Failure::Unavailable(format!("it ended {STARTS} times")));
        }
        slot.starts += 1;
        let name = format!("browser{}-{}", self.number, slot.starts);
        let started = self.launcher.launch(&name, &mut |body| *self.body() = Some(body));
        let chromium = Arc::new(started.map_err(Failure::Unavailable)?);
        slot.start_times.push(chromium.start);
        slot.start_cpu += chromium.start_cpu;
        slot.running = Some(Arc::clone(&chromium));
        Ok(chromium)
    }

    /// What it has cost so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let slot = self.slot();
        let now = slot.running.as_ref().map(|running| (running.body.processor_time(), running.body.memory()));
        let (time, memory) = now.unwrap_or_default();
        Usage {
            starts: slot.starts,
            start_ms: slot.start_times.iter().map(|time| time.as_secs_f64() * 1e3).collect(),
            start_cpu_ms: slot.start_cpu.as_secs_f64() * 1e3,
            cpu_ms: (slot.past + time).as_secs_f64() * 1e3,
            memory_bytes: memory.bytes,
            emulation_bytes: memory.emulation_bytes,
        }
    }

    /// Memory of all its processes now; also while it starts.
    pub(in crate::agents) fn memory(&self) -> Use {
        // Not under a lock: looking takes milliseconds.
        let body = self.body().as_ref().and_then(Weak::upgrade);
        body.map_or_else(Use::default, |body| body.memory())
    }

    /// Processes of it now.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        self.slot().running.as_ref().map_or_else(Vec::new, |running| running.body.processes())
    }

    fn body(&self) -> MutexGuard<'_, Option<Weak<dyn Body>>> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
