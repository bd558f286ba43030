//! [`execute`]: runs what a plan asks for and the store does not have.

use crate::build::build;
use crate::environment::{Environment, peak_rss_bytes, thread_cpu_ns};
use crate::error::StoreError;
use crate::index::Index;
use crate::key::RunKey;
use crate::manifest::{Manifest, WorkloadNote};
use crate::plan::{Job, Plan};
use crate::progress::{Ended, Progress};
use crate::store::{Claim, Slot, Store};
use crate::workload::{Build, Shared, Workloads};
use crate::world::World;
use configs::Spec;
use platform::records::RECORD_SCHEMA;
use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Pause between two looks at runs that other processes are at.
const POLL: Duration = Duration::from_millis(200);

/// How a plan is executed.
#[derive(Clone, Debug)]
pub struct Options {
    /// Runs at a time, at least 1. A run uses one thread.
    pub jobs: usize,
    /// Whether the rest is run after a failure.
    pub keep_going: bool,
    /// Whether progress is shown on standard error.
    pub progress: bool,
    /// Whether runs that other processes are at are waited for, and made here should those die.
    pub wait: bool,
    /// What this machine can do, for the manifests.
    pub facilities: BTreeMap<String, String>,
}

impl Default for Options {
    fn default() -> Self {
        let jobs = std::thread::available_parallelism().map_or(1, |n| n.get());
        Self { jobs, keep_going: true, progress: true, wait: true, facilities: BTreeMap::new() }
    }
}

/// A run that is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Point and seed.
    pub job: Job,
    /// Label of the point.
    pub label: String,
    /// Key in the store.
    pub key: RunKey,
    /// Whether it was there before.
    pub cached: bool,
}

/// A run that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Point and seed.
    pub job: Job,
    /// Label of the point.
    pub label: String,
    /// What went wrong.
    pub error: String,
    /// The command that runs just this one.
    pub rerun: String,
}

/// What became of a plan. Results are in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// In the order of the plan.
    pub done: Vec<Done>,
    /// In the order of the plan.
    pub failed: Vec<Failed>,
    /// Runs that were not tried because another one failed.
    pub skipped: usize,
    /// Runs that were left to the processes that are at them.
    pub elsewhere: usize,
    /// Runs that nobody has tried to their end, as a merge finds them; in the order of the plan.
    pub missing: Vec<Failed>,
}

/// What came of trying one run.
enum End {
    Done(Done),
    Failed(Failed),
    /// This process, on this host, is at it.
    Busy(u32, String),
}

impl Outcome {
    /// The timelines of the runs that have one, in the order of the plan.
    pub fn timelines(&self, store: &Store) -> Vec<PathBuf> {
        self.done.iter().filter_map(|done| store.timeline(&done.key)).collect()
    }
}

/// What one job's thread needs to know.
struct Run<'a> {
    plan: &'a Plan,
    store: &'a Store,
    world: &'a dyn World,
    workloads: &'a Workloads<'a>,
    environment: &'a Environment,
    facilities: &'a BTreeMap<String, String>,
    progress: &'a Progress,
    jobs: usize,
}

/// Runs what the plan asks for and the store does not have, and notes the keys in the index below
/// `out`. An error of one run does not end the others (see [`Options::keep_going`]); only a store
/// whose index cannot be written fails as a whole.
pub fn execute(
    plan: &Plan,
    out: &Path,
    store: &Store,
    world: &dyn World,
    options: &Options,
) -> Result<Outcome, StoreError> {
    let build = |spec: &Spec, seed: u64| build(spec, seed).map_err(|error| error.to_string());
    execute_with(plan, out, store, world, options, &build)
}

/// [`execute`] with another source of workloads.
pub(crate) fn execute_with(
    plan: &Plan,
    out: &Path,
    store: &Store,
    world: &dyn World,
    options: &Options,
    build: Build<'_>,
) -> Result<Outcome, StoreError> {
    let environment = Environment::look();
    let workloads = Workloads::new(plan, build);
    let progress = Progress::new(&plan.experiment.id, plan.jobs.len(), options.progress);
    let threads = options.jobs.clamp(1, plan.jobs.len().max(1));
    let run = Run {
        plan,
        store,
        world,
        workloads: &workloads,
        environment: &environment,
        facilities: &options.facilities,
        progress: &progress,
        jobs: threads,
    };
    let ends: Mutex<Vec<(usize, End)>> = Mutex::default();
    let busy: Mutex<VecDeque<usize>> = Mutex::default();
    let (next, stopped, told) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicBool::new(false));
    let ended = |number: usize, end: End| {
        workloads.release(plan.jobs[number], plan);
        progress.ended(match &end {
            End::Done(done) if done.cached => Ended::Cached,
            End::Done(_) => Ended::New,
            End::Failed(_) => Ended::Failed,
            End::Busy(..) => Ended::Cached,
        });
        if matches!(end, End::Failed(_)) && !options.keep_going {
            stopped.store(true, Ordering::Relaxed);
        }
        locked(&ends).push((number, end));
    };
    // Every thread of the pool is a worker that takes jobs strictly in the plan's order, so that those
    // that share a workload run together; work stealing would scatter them. What another process is at
    // comes again when everything else is done.
    let worker = || {
        while !stopped.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(&job) = plan.jobs.get(number) else { break };
            match run.one(job) {
                End::Busy(..) if options.wait => locked(&busy).push_back(number),
                end => ended(number, end),
            }
        }
        while !stopped.load(Ordering::Relaxed) {
            let Some(number) = locked(&busy).pop_front() else { break };
            match run.one(plan.jobs[number]) {
                End::Busy(pid, host) => {
                    locked(&busy).push_back(number);
                    if pid != std::process::id() && !told.swap(true, Ordering::Relaxed) {
                        let others = format!("process {pid} on {host}, and maybe others");
                        progress.say(&format!("what is left is being run by {others}: waiting"));
                    }
                    std::thread::sleep(POLL);
                }
                end => ended(number, end),
            }
        }
    };
    match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
        Ok(pool) => {
            pool.broadcast(|_| worker());
        }
        // No thread can be had: this one does it all.
        Err(_) => worker(),
    }
    drop(progress);

    let mut ends = ends.into_inner().unwrap_or_else(PoisonError::into_inner);
    ends.sort_by_key(|(number, _)| *number);
    let mut outcome = Outcome { skipped: plan.jobs.len() - ends.len(), ..Outcome::default() };
    for (_, end) in ends {
        match end {
            End::Done(done) => outcome.done.push(done),
            End::Failed(failed) => outcome.failed.push(failed),
            End::Busy(..) => outcome.elsewhere += 1,
        }
    }
    Index::merge(out, plan, store, world, &outcome)?;
    Ok(outcome)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a panic said.
pub(crate) fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

impl Run<'_> {
    fn one(&self, job: Job) -> End {
        let tried = catch_unwind(AssertUnwindSafe(|| self.try_one(job))).unwrap_or_else(|panic| {
            let name = self.world.name();
            Err(format!("the {name} world stopped at a broken invariant: {}", message_of(&*panic)))
        });
        tried.unwrap_or_else(|error| {
            let label = self.plan.point(job).label.clone();
            self.progress.say(&format!("{label}, seed {}: {error}", job.seed));
            let rerun = self.plan.rerun_command(job, self.world.name());
            End::Failed(Failed { job, label, error, rerun })
        })
    }

    fn try_one(&self, job: Job) -> Result<End, String> {
        let point = self.plan.point(job);
        let shared = self.workloads.get(job, self.plan)?;
        let (name, version) = (self.world.name(), self.world.model_version());
        let key = RunKey::new(&point.spec, &shared.hash, job.seed, name, version);
        let label = point.label.clone();
        let done = |key, cached| Ok(End::Done(Done { job, label, key, cached }));
        match self.store.claim(&key).map_err(|error| error.to_string())? {
            Claim::Done => done(key, true),
            Claim::Busy { pid, host } => Ok(End::Busy(pid, host)),
            Claim::Mine(slot) => match self.run(job, &key, &shared, slot) {
                Ok(()) => done(key, false),
                // This process was stopped for so long that another one took over.
                Err(Stop::Lost) if self.store.is_done(&key) => done(key, true),
                Err(Stop::Lost) => {
                    let (pid, host) = self.store.runner(&key).unwrap_or_default();
                    Ok(End::Busy(pid, host))
                }
                Err(Stop::Failed(why)) => Err(why),
            },
        }
    }

    fn run(&self, job: Job, key: &RunKey, shared: &Shared, slot: Slot) -> Result<(), Stop> {
        let point = self.plan.point(job);
        let started_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (began, cpu_before) = (Instant::now(), thread_cpu_ns());
        let record = self
            .world
            .run(&point.spec, &shared.workload, job.seed)
            .map_err(|e| Stop::Failed(e.to_string()))?;
        let wall_s = began.elapsed().as_secs_f64();
        let cpu_s = Some((thread_cpu_ns() - cpu_before) as f64 / 1e9);
        let experiment = &self.plan.experiment;
        let manifest = Manifest {
            key: key.clone(),
            experiment: experiment.id.clone(),
            tier: experiment.tier,
            label: point.label.clone(),
            axes: point.axes.clone(),
            typed: experiment.typed.clone(),
            seed: job.seed,
            world: self.world.name().to_owned(),
            model_version: self.world.model_version(),
            record_schema: RECORD_SCHEMA,
            workload: WorkloadNote::new(&shared.workload, &shared.hash),
            spec: point.spec.clone(),
            environment: self.environment.clone(),
            command: std::env::args().collect(),
            started_unix_s,
            pid: std::process::id(),
            jobs: self.jobs as u64,
            wall_s,
            cpu_s,
            build_s: shared.build_s,
            write_s: 0.0,
            process_peak_rss_bytes: peak_rss_bytes(),
            warnings: record.warnings.clone(),
            facilities: self.facilities.clone(),
        };
        slot.commit(&record, manifest).map_err(|error| match error {
            StoreError::Lost { .. } => Stop::Lost,
            error => Stop::Failed(error.to_string()),
        })
    }
}

/// Why a run was not made.
enum Stop {
    /// The lock was lost.
    Lost,
    Failed(String),
}
