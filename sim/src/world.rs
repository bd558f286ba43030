//! The simulator as a [`World`]: what package `runs` executes.

use crate::MODEL_VERSION;
use crate::engine::{Play, needs_numbers, simulate, simulate_in_parts, simulate_sharded};
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

/// Plays a job that is never held in memory, on as many threads as the pool has. Where racks are played
/// apart and the job comes in as many parts, each rack draws its own; else every shard draws all of it
/// and plays its part.
fn stream(spec: &Spec, workload: &Workload, job: &Job, seed: u64) -> Result<RunRecord, WorldError> {
    let (functions, burn_in, span) = (workload.functions.as_slice(), workload.burn_in, workload.span);
    let apart = spec.placement.racks_are_independent() && spec.cluster.racks == job.copies;
    if apart && !needs_numbers(spec) {
        let parts = job.parts().map_err(WorldError::new)?;
        let sizes: Vec<u64> = parts.iter().map(|part| part.invocations).collect();
        let invocations = |part: u32| job.draw(&parts[part as usize]);
        return Ok(simulate_in_parts(spec, &Play { functions, invocations, burn_in, span, seed }, &sizes));
    }
    let first = job.invocations().map_err(WorldError::new)?;
    let play = Play { functions, invocations: || first.clone(), burn_in, span, seed };
    Ok(simulate_sharded(spec, &play, rayon::current_num_threads()))
}
