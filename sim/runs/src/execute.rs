//! [`execute`]: runs what a plan asks for and the store does not have.

use crate::build::build;
use crate::environment::{Environment, peak_rss_bytes, thread_cpu_ns};
use crate::error::StoreError;
use crate::index::{Index, IndexedRun};
use crate::key::RunKey;
use crate::manifest::{Manifest, WorkloadNote};
use crate::plan::{Job, Plan};
use crate::progress::Progress;
use crate::store::{Claim, Slot, Store};
use crate::workload::{Build, Shared, Workloads};
use crate::world::World;
use configs::Spec;
use platform::records::RECORD_SCHEMA;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Pause between two looks at a run that another process is at.
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
}

impl Default for Options {
    fn default() -> Self {
        let jobs = std::thread::available_parallelism().map_or(1, |n| n.get());
        Self { jobs, keep_going: true, progress: true }
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
    progress: &'a Progress,
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
    let run =
        Run { plan, store, world, workloads: &workloads, environment: &environment, progress: &progress };
    let ends: Mutex<Vec<(usize, Result<Done, Failed>)>> = Mutex::default();
    let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
    // Every thread of the pool is a worker that takes jobs strictly in the plan's order, so that those
    // that share a workload run together; work stealing would scatter them.
    let worker = || {
        while !stopped.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(&job) = plan.jobs.get(number) else { break };
            let end = run.one(job);
            workloads.release(job);
            progress.ended(end.is_err());
            if end.is_err() && !options.keep_going {
                stopped.store(true, Ordering::Relaxed);
            }
            ends.lock().unwrap_or_else(PoisonError::into_inner).push((number, end));
        }
    };
    let threads = options.jobs.clamp(1, plan.jobs.len().max(1));
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
            Ok(done) => outcome.done.push(done),
            Err(failed) => outcome.failed.push(failed),
        }
    }
    Index::merge(out, plan, store, world, outcome.done.iter().map(|done| indexed(plan, done)).collect())?;
    Ok(outcome)
}

fn indexed(plan: &Plan, done: &Done) -> IndexedRun {
    IndexedRun {
        label: done.label.clone(),
        axes: plan.point(done.job).axes.clone(),
        seed: done.job.seed,
        key: done.key.clone(),
    }
}

impl Run<'_> {
    fn one(&self, job: Job) -> Result<Done, Failed> {
        let tried = catch_unwind(AssertUnwindSafe(|| self.try_one(job))).unwrap_or_else(|panic| {
            let text =
                panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(format!(
                "the {} world stopped at a broken invariant: {}",
                self.world.name(),
                text.unwrap_or("no message")
            ))
        });
        let label = self.plan.point(job).label.clone();
        match tried {
            Ok((key, cached)) => Ok(Done { job, label, key, cached }),
            Err(error) => {
                self.progress.say(&format!("{label}, seed {}: {error}", job.seed));
                let rerun = self.plan.rerun_command(job, self.world.name());
                Err(Failed { job, label, error, rerun })
            }
        }
    }

    fn try_one(&self, job: Job) -> Result<(RunKey, bool), String> {
        let spec = &self.plan.point(job).spec;
        let shared = self.workloads.get(job, self.plan)?;
        let key = RunKey::new(spec, &shared.hash, job.seed, self.world.name(), self.world.model_version());
        let Some(slot) = self.claim(&key).map_err(|error| error.to_string())? else { return Ok((key, true)) };
        self.run(job, &key, &shared, slot)?;
        Ok((key, false))
    }

    /// The right to run a key; `None` once it is done. Waits for whoever is at it.
    fn claim(&self, key: &RunKey) -> Result<Option<Slot>, StoreError> {
        let mut told = false;
        loop {
            match self.store.claim(key)? {
                Claim::Done => return Ok(None),
                Claim::Mine(slot) => return Ok(Some(slot)),
                Claim::Busy { pid, host, lock } => {
                    if !told && (pid != std::process::id()) {
                        self.progress.say(&format!(
                            "waiting for process {pid} on {host}, which runs {key} (if it is gone: remove {})",
                            lock.display()
                        ));
                        told = true;
                    }
                    std::thread::sleep(POLL);
                }
            }
        }
    }

    fn run(&self, job: Job, key: &RunKey, shared: &Shared, slot: Slot) -> Result<(), String> {
        let point = self.plan.point(job);
        let started_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (began, cpu_before) = (Instant::now(), thread_cpu_ns());
        let record =
            self.world.run(&point.spec, &shared.workload, job.seed).map_err(|error| error.to_string())?;
        let wall_s = began.elapsed().as_secs_f64();
        let cpu_s = thread_cpu_ns().zip(cpu_before).map(|(after, before)| (after - before) as f64 / 1e9);
        let experiment = &self.plan.experiment;
        let manifest = Manifest {
            key: key.clone(),
            experiment: experiment.id.clone(),
            tier: experiment.tier,
            label: point.label.clone(),
            axes: point.axes.clone(),
            sets: experiment.sets.clone(),
            seed: job.seed,
            world: self.world.name().to_owned(),
            model_version: self.world.model_version(),
            record_schema: RECORD_SCHEMA,
            workload: WorkloadNote::new(&shared.workload, &shared.hash),
            spec: point.spec.clone(),
            environment: self.environment.clone(),
            command: std::env::args().collect(),
            started_unix_s,
            wall_s,
            cpu_s,
            process_peak_rss_bytes: peak_rss_bytes(),
            warnings: record.warnings.clone(),
        };
        slot.commit(&record, &manifest).map_err(|error| error.to_string())
    }
}
