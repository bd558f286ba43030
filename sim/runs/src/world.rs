//! [`World`]: whatever can turn a spec and a workload into records.

use configs::Spec;
use platform::RunRecord;
use std::error::Error;
use traces::workload::Workload;

/// Whatever can turn a spec and a workload into records: the simulator, the emulator, a fake.
pub trait World: Sync {
    /// `sim` or `emu`; part of every run's key.
    fn name(&self) -> &str;

    /// Changes whenever the same spec, workload and seed may give other records.
    fn model_version(&self) -> u32;

    /// Runs one point with one seed.
    fn run(&self, spec: &Spec, workload: &Workload, seed: u64) -> Result<RunRecord, WorldError>;
}

/// A run failed; the message says what, where and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WorldError(#[source] Box<dyn Error + Send + Sync>);

impl WorldError {
    /// From any error, or from a text.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}
