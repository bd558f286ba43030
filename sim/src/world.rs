//! The simulator as a [`World`]: what package `runs` executes.

use crate::MODEL_VERSION;
use crate::engine::{Play, simulate, simulate_sharded};
use configs::Spec;
use platform::RunRecord;
use runs::{World, WorldError};
use traces::generate::zipf::Job;
use traces::workload::Workload;

/// The simulated world.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimulatedWorld;

impl World for SimulatedWorld {
    fn name(&self) -> &str {
        "sim"
    }

    fn model_version(&self) -> u32 {
        MODEL_VERSION
    }

    fn run(&self, spec: &Spec, workload: &Workload, seed: u64) -> Result<RunRecord, WorldError> {
        if let Some(job) = runs::streamed(spec, seed) {
            return stream(spec, workload, &job, seed);
        }
        let play = Play {
            functions: &workload.functions,
            invocations: workload.invocations.iter().copied(),
            burn_in: workload.burn_in,
            span: workload.span,
            seed,
        };
        Ok(simulate(spec, play))
    }
}

/// Plays a job that is never held in memory, on as many threads as the pool has: every shard draws all
/// of it and plays its own part.
fn stream(spec: &Spec, workload: &Workload, job: &Job, seed: u64) -> Result<RunRecord, WorldError> {
    let first = job.invocations().map_err(WorldError::new)?;
    let play = Play {
        functions: &workload.functions,
        invocations: || first.clone(),
        burn_in: workload.burn_in,
        span: workload.span,
        seed,
    };
    Ok(simulate_sharded(spec, &play, rayon::current_num_threads()))
}
