//! The simulator as a [`World`]: what package `runs` executes.

use crate::MODEL_VERSION;
use crate::engine::{Play, simulate};
use configs::Spec;
use platform::RunRecord;
use runs::{World, WorldError};
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
