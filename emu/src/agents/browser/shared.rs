//! A browser that is there when somebody needs it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::Serialize;

use super::super::ward::{Cell, Ward};
use super::Failure;
use super::chromium::Chromium;

/// A browser that ends this often is not started again.
const STARTS: u32 = 20;

/// One browser, of as many sessions as there are.
#[derive(Debug)]
pub struct Shared {
    ward: Arc<Ward>,
    program: PathBuf,
    number: usize,
    slot: Mutex<Slot>,
    /// The cgroup of the latest start, apart from the slot, which a start holds for seconds.
    cell: Mutex<Weak<Cell>>,
}

#[derive(Debug, Default)]
struct Slot {
    running: Option<Arc<Chromium>>,
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
    /// Memory of all its processes now (PSS), bytes.
    pub memory_bytes: u64,
}

impl Shared {
    /// Browser `number` of a ward. It is started by the first session that needs it.
    #[must_use]
    pub fn new(ward: &Arc<Ward>, program: PathBuf, number: usize) -> Arc<Self> {
        Arc::new(Self {
            ward: Arc::clone(ward),
            program,
            number,
            slot: Mutex::default(),
            cell: Mutex::default(),
        })
    }

    /// The browser, started if there is none.
    pub(super) fn running(&self) -> Result<Arc<Chromium>, Failure> {
        let mut slot = self.slot();
        if let Some(running) = slot.running.take() {
            if !running.connection.is_gone() {
                slot.running = Some(Arc::clone(&running));
                return Ok(running);
            }
            slot.past += running.cell.processor_time();
        }
        if slot.starts >= STARTS {
            return Err(Failure::Unavailable(format!("it ended {STARTS} times")));
        }
        slot.starts += 1;
        let name = format!("browser{}-{}", self.number, slot.starts);
        let failed = |reason: String| {
            Failure::Unavailable(format!("{} did not start: {reason}", self.program.display()))
        };
        let cell = Arc::new(self.ward.cell(&name).map_err(|error| failed(error.to_string()))?);
        *self.cell() = Arc::downgrade(&cell);
        let chromium = Arc::new(Chromium::start(&self.program, &self.ward, cell, &name).map_err(failed)?);
        slot.start_times.push(chromium.start);
        slot.start_cpu += chromium.start_cpu;
        slot.running = Some(Arc::clone(&chromium));
        Ok(chromium)
    }

    /// What it has cost so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let slot = self.slot();
        let now = slot.running.as_ref().map(|running| (running.cell.processor_time(), running.cell.memory()));
        let (time, memory_bytes) = now.unwrap_or_default();
        Usage {
            starts: slot.starts,
            start_ms: slot.start_times.iter().map(|time| time.as_secs_f64() * 1e3).collect(),
            start_cpu_ms: slot.start_cpu.as_secs_f64() * 1e3,
            cpu_ms: (slot.past + time).as_secs_f64() * 1e3,
            memory_bytes,
        }
    }

    /// Memory of all its processes now (PSS), bytes; also while it starts.
    #[must_use]
    pub fn memory(&self) -> u64 {
        // Not under a lock: looking takes milliseconds.
        let cell = self.cell().upgrade();
        cell.map_or(0, |cell| cell.memory())
    }

    /// Processes of it now.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        self.slot().running.as_ref().map_or_else(Vec::new, |running| running.cell.members())
    }

    fn cell(&self) -> MutexGuard<'_, Weak<Cell>> {
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
