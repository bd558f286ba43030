//! Workloads from their specs, shared by the runs that play them.

use crate::plan::{Job, Plan};
use configs::Spec;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use traces::workload::Workload;

/// What builds a workload; the message says what, where and what to do.
pub(crate) type Build<'a> = &'a (dyn Fn(&Spec, u64) -> Result<Workload, String> + Sync);

/// A workload and its hash.
pub(crate) struct Shared {
    pub workload: Workload,
    pub hash: String,
    /// Time to build it, in seconds.
    pub build_s: f64,
}

/// The workloads that pending runs of a plan need. Each is built once, by the first run that needs
/// it, and dropped after the last one.
pub(crate) struct Workloads<'a> {
    build: Build<'a>,
    /// By the first point that plays the same one, and by seed.
    slots: BTreeMap<(usize, u64), Slot>,
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
        let mut slots: BTreeMap<(usize, u64), Slot> = BTreeMap::new();
        for job in &plan.jobs {
            let slot = slots
                .entry((plan.leader(*job), job.seed))
                .or_insert_with(|| Slot { state: Mutex::new(State { pending: 0, built: None }) });
            slot.state.get_mut().unwrap_or_else(PoisonError::into_inner).pending += 1;
        }
        Self { build, slots }
    }

    /// The workload of a job.
    pub fn get(&self, job: Job, plan: &Plan) -> Result<Arc<Shared>, String> {
        let Some(slot) = self.slots.get(&(plan.leader(job), job.seed)) else {
            return Err("this run is not part of the plan".into());
        };
        let mut state = slot.state.lock().unwrap_or_else(PoisonError::into_inner);
        state
            .built
            .get_or_insert_with(|| {
                let began = Instant::now();
                let workload = (self.build)(&plan.point(job).spec, job.seed)?;
                let hash = workload.hash_hex();
                Ok(Arc::new(Shared { workload, hash, build_s: began.elapsed().as_secs_f64() }))
            })
            .clone()
    }

    /// A job has ended: its workload goes if no pending one needs it.
    pub fn release(&self, job: Job, plan: &Plan) {
        if let Some(slot) = self.slots.get(&(plan.leader(job), job.seed)) {
            let mut state = slot.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.pending = state.pending.saturating_sub(1);
            if state.pending == 0 {
                state.built = None;
            }
        }
    }
}
