//! Workloads from their specs, shared by the runs that play them.

use crate::plan::{Job, Plan, shares_workload};
use configs::Spec;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use traces::workload::Workload;

/// What builds a workload; the message says what, where and what to do.
pub(crate) type Build<'a> = &'a (dyn Fn(&Spec, u64) -> Result<Workload, String> + Sync);

/// A workload and its hash.
pub(crate) struct Shared {
    pub workload: Workload,
    pub hash: String,
}

/// The workloads that pending runs of a plan need. Each is built once, by the first run that needs
/// it, and dropped after the last one.
pub(crate) struct Workloads<'a> {
    build: Build<'a>,
    /// By the first point that plays the same one, and by seed.
    slots: BTreeMap<(usize, u64), Slot>,
    /// First point that plays the same workload, by point.
    first: BTreeMap<usize, usize>,
}

struct Slot {
    state: Mutex<State>,
}

struct State {
    pending: usize,
    built: Option<Result<Arc<Shared>, String>>,
}

impl<'a> Workloads<'a> {
    /// For the runs of a plan; builds nothing yet.
    pub fn new(plan: &Plan, build: Build<'a>) -> Self {
        let mut first: BTreeMap<usize, usize> = BTreeMap::new();
        let mut slots: BTreeMap<(usize, u64), Slot> = BTreeMap::new();
        for job in &plan.jobs {
            let same = |other: &&usize| shares_workload(&plan.experiment.points[**other], plan.point(*job));
            let leader = first.get(&job.point).copied().or_else(|| first.values().find(same).copied());
            let leader = leader.unwrap_or(job.point);
            first.insert(job.point, leader);
            let slot = slots
                .entry((leader, job.seed))
                .or_insert_with(|| Slot { state: Mutex::new(State { pending: 0, built: None }) });
            slot.state.get_mut().unwrap_or_else(PoisonError::into_inner).pending += 1;
        }
        Self { build, slots, first }
    }

    /// The workload of a job.
    pub fn get(&self, job: Job, plan: &Plan) -> Result<Arc<Shared>, String> {
        let Some(slot) = self.slot(job) else { return Err("this run is not part of the plan".into()) };
        let mut state = slot.state.lock().unwrap_or_else(PoisonError::into_inner);
        state
            .built
            .get_or_insert_with(|| {
                let workload = (self.build)(&plan.point(job).spec, job.seed)?;
                let hash = workload.hash_hex();
                Ok(Arc::new(Shared { workload, hash }))
            })
            .clone()
    }

    /// A job has ended: its workload goes if no pending one needs it.
    pub fn release(&self, job: Job) {
        if let Some(slot) = self.slot(job) {
            let mut state = slot.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.pending = state.pending.saturating_sub(1);
            if state.pending == 0 {
                state.built = None;
            }
        }
    }

    fn slot(&self, job: Job) -> Option<&Slot> {
        self.slots.get(&(*self.first.get(&job.point)?, job.seed))
    }
}
