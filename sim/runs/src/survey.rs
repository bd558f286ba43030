//! [`survey`]: what a plan has in the store, without running anything; [`merge`]: the same, noted in
//! the experiment's index.
//!
//! A run's key holds the hash of its workload, so workloads are built to know the keys. That is
//! what makes the answer true when an input file has changed, too.

use crate::build::build;
use crate::error::StoreError;
use crate::execute::{Done, Failed, Outcome, message_of};
use crate::index::Index;
use crate::key::RunKey;
use crate::plan::{Job, Plan};
use crate::shard::ShardReport;
use crate::store::Store;
use crate::workload::Workloads;
use crate::world::World;
use configs::Spec;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a plan has in the store.
#[derive(Clone, Debug)]
pub struct Survey {
    /// One for each job of the plan, in its order.
    pub runs: Vec<Surveyed>,
    /// Time to build the workloads.
    pub building: Duration,
}

/// One run of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// Point and seed.
    pub job: Job,
    /// Its key; the reason why there is none if its workload cannot be built.
    pub key: Result<RunKey, String>,
    /// Whether the store has it.
    pub is_done: bool,
}

/// Looks up every run of a plan, building workloads on `jobs` threads.
pub fn survey(plan: &Plan, store: &Store, world: &dyn World, jobs: usize) -> Survey {
    let began = Instant::now();
    let build = |spec: &Spec, seed: u64| build(spec, seed).map_err(|error| error.to_string());
    let workloads = Workloads::new(plan, &build);
    let next = AtomicUsize::new(0);
    let found: Mutex<Vec<(usize, Surveyed)>> = Mutex::default();
    let look = |job: Job| {
        let tried = catch_unwind(AssertUnwindSafe(|| workloads.get(job, plan)));
        let shared = tried.unwrap_or_else(|panic| {
            Err(format!("building the workload stopped at a broken invariant: {}", message_of(&*panic)))
        });
        let spec = &plan.point(job).spec;
        let key = shared
            .map(|shared| RunKey::new(spec, &shared.hash, job.seed, world.name(), world.model_version()));
        workloads.release(job, plan);
        Surveyed { job, is_done: key.as_ref().is_ok_and(|key| store.is_done(key)), key }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, plan.jobs.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&job) = plan.jobs.get(number) else { break };
                    let surveyed = look(job);
                    found.lock().unwrap_or_else(PoisonError::into_inner).push((number, surveyed));
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|(number, _)| *number);
    Survey { runs: found.into_iter().map(|(_, run)| run).collect(), building: began.elapsed() }
}

impl Survey {
    /// Runs that the store lacks.
    pub fn missing(&self) -> impl Iterator<Item = &Surveyed> {
        self.runs.iter().filter(|run| !run.is_done)
    }

    /// Looks again at what was missing.
    pub fn look_again(&mut self, store: &Store) {
        for run in self.runs.iter_mut().filter(|run| !run.is_done) {
            run.is_done = run.key.as_ref().is_ok_and(|key| store.is_done(key));
        }
    }
}

/// Notes in the index what the store has of a plan, whoever made it: after shards have run anywhere,
/// in any order. What a shard says has failed has its reason.
pub fn merge(
    plan: &Plan,
    out: &Path,
    store: &Store,
    world: &dyn World,
    survey: &Survey,
) -> Result<Outcome, StoreError> {
    let mut reasons: BTreeMap<(String, u64), String> = BTreeMap::new();
    for report in ShardReport::all(out, plan, world.name()) {
        for failure in report.failed {
            reasons.insert((failure.label, failure.seed), failure.error);
        }
    }
    let mut outcome = Outcome::default();
    for run in &survey.runs {
        let label = plan.point(run.job).label.clone();
        match &run.key {
            Ok(key) if run.is_done => {
                outcome.done.push(Done { job: run.job, label, key: key.clone(), cached: true });
            }
            key => {
                let running = || store.runner(key.as_ref().ok()?);
                let (list, error) = match (key, reasons.remove(&(label.clone(), run.job.seed)), running()) {
                    (Err(why), _, _) => (&mut outcome.failed, why.clone()),
                    (_, Some(why), _) => (&mut outcome.failed, why),
                    (_, None, Some((pid, host))) => {
                        (&mut outcome.missing, format!("process {pid} on {host} is at it"))
                    }
                    (_, None, None) => (&mut outcome.missing, "nobody has run it to its end".to_owned()),
                };
                let rerun = plan.rerun_command(run.job, world.name());
                list.push(Failed { job: run.job, label, error, rerun });
            }
        }
    }
    Index::merge(out, plan, store, world, &outcome)?;
    Ok(outcome)
}
