//! The emulated world: the control plane of the simulator, fed with the wall clock, over real sandboxes.
//!
//! ```text
//! workload ──fit──▶ driver (one thread, the only caller of the control plane)
//!                     │ commands                       ▲ what happened
//!                     ▼                                │
//!                   executor: epoll over functions' sockets ── workers that make and end sandboxes
//! ```
//!
//! * `fit`: which part of the workload is played, and how fast; the control plane's configuration.
//! * `catalog`: which real function stands for each of the workload's; `way`: which sandboxes a system stands for.
//! * `driver`: arrivals, timers, commands; `ledger`: invocations and their records; `replay`: the same decisions again.
//! * `executor`: the seam below the driver; `real`, `workers`: real sandboxes behind it.
//! * `templates`: those of a run's functions, where its system attaches them.
//! * `memory`: samples of what sandboxes hold; `warnings`: what to check before believing the records.
//!
//! # What is measured
//! All times are the monotonic clock's, in the driver: queueing from the *planned* arrival to the command that
//! starts or runs it, start-up to the moment the request is sent to the ready function, service to its answer.
//! They add up. What the workload says of service times is not used: functions take what they take.

mod catalog;
mod driver;
mod error;
mod executor;
mod fit;
mod ledger;
mod memory;
mod real;
mod replay;
mod templates;
mod warnings;
mod way;
mod workers;

pub use catalog::{Catalog, Installed, Listed, Real};
pub use driver::{Gauges, Patience, Play, play};
pub use error::Refused;
pub use executor::{Event, Executor, Happened, Life};
pub use fit::{as_played, control_config, fit};
pub use replay::{Differs, replay};

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Instant;

use configs::Spec;
use platform::control::ControlPlane;
use platform::records::RunRecord;
use runs::{World, WorldError};
use traces::Workload;

use crate::sandbox::Config;
use real::RealSandboxes;

/// Changes whenever runs are done or measured in another way.
pub const EMULATION_VERSION: u32 = 2;

/// How much more the event loop's thread is favoured over functions, as `nice` counts.
const FAVOUR: libc::c_int = -15;

/// Real sandboxes on this machine.
#[derive(Debug)]
pub struct EmulatedWorld {
    /// Program that becomes the nursery of sandboxes: it calls [`crate::sandbox::enter_if_asked`].
    pub launcher: PathBuf,
    /// The real functions.
    pub catalog: Box<dyn Catalog>,
}

/// Runs take turns: two at a time would measure each other.
static TURN: Mutex<()> = Mutex::new(());

impl EmulatedWorld {
    /// With this very program as launcher.
    #[must_use]
    pub fn new(catalog: impl Catalog + 'static) -> Self {
        Self { launcher: PathBuf::from("/proc/self/exe"), catalog: Box::new(catalog) }
    }

    fn emulate(&self, spec: &Spec, workload: &Workload, seed: u64) -> Result<RunRecord, Refused> {
        let (mode, birth) = way::way(spec)?;
        let fitted = match &spec.emu {
            Some(emu) => fit(workload, emu)?,
            None => workload.clone(),
        };
        let functions = catalog::match_all(&*self.catalog, &fitted)?;
        let config = control_config(spec, &fitted, seed);
        // The control plane begins with as many as fit under its cap.
        let prepopulated = ControlPlane::new(config.clone()).idle();
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let sandboxes =
            Config { launcher: self.launcher.clone(), base: self.catalog.base(), birth, ..Config::new(mode) };
        let templates = match templates::pages(spec)? {
            Some(pages) => Some(templates::capture_all(&sandboxes, &functions, &pages)?),
            None => None,
        };
        let pool = templates.as_ref().map(|templates| (templates.class, templates.bytes));
        let census = Arc::default();
        let at_once = spec.system.start_slots;
        let known = Arc::clone(&census);
        let mut real = RealSandboxes::new(sandboxes, functions, templates, prepopulated, at_once, known)?;
        let gauges = Gauges::default();
        let began = Instant::now();
        let (record, samples) = std::thread::scope(|scope| {
            let (ended, end) = mpsc::channel::<()>();
            let (census, gauges) = (&*census, &gauges);
            let every = spec.output.memory_every;
            let sampler = scope.spawn(move || memory::sample(census, gauges, pool, every, began, &end));
            let work = Play {
                workload: &fitted,
                config,
                invocations: spec.output.invocations,
                patience: Patience::default(),
                began,
                gauges,
            };
            let real = &mut real;
            let driver = scope.spawn(move || {
                favour_this_thread();
                let played = play(work, real);
                drop(ended);
                played
            });
            (driver.join(), sampler.join())
        });
        real.close();
        let mut record = record.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        record.memory = memory::record(samples.unwrap_or_default(), &fitted);
        let mut warnings = warnings::of_run(spec);
        warnings.append(&mut record.warnings);
        warnings.extend(warnings::of_record(spec, &record));
        record.warnings = warnings;
        Ok(record)
    }
}

/// Arrivals are to be on time although functions want every processor: the thread, which sleeps most of the time,
/// goes before all that are not in real time. Where that is refused, `nice` is the next best, which counts only
/// among the processes of a session; without any privilege it goes without.
fn favour_this_thread() {
    let first = libc::sched_param { sched_priority: 1 };
    // SAFETY: both change the scheduling of the calling thread alone, which ends with the run; the parameter is the
    // kernel's own structure and is only read.
    unsafe {
        if libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const first) != 0 {
            let thread = libc::syscall(libc::SYS_gettid) as libc::id_t;
            libc::setpriority(libc::PRIO_PROCESS, thread, FAVOUR);
        }
    }
}

impl World for EmulatedWorld {
    fn name(&self) -> &str {
        "emu"
    }

    fn model_version(&self) -> u32 {
        EMULATION_VERSION
    }

    fn run(&self, spec: &Spec, workload: &Workload, seed: u64) -> Result<RunRecord, WorldError> {
        self.emulate(spec, workload, seed).map_err(WorldError::new)
    }
}
