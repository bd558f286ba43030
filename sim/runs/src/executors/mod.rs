//! Where the runs of a plan are made. One trait, one file for each place.

mod local;
mod slurm;

use crate::error::StoreError;
use crate::execute::Outcome;
use crate::plan::Plan;
use crate::store::Store;
use crate::world::World;
pub use local::Local;
pub use slurm::Slurm;
use std::path::Path;

/// Gets the runs of a plan done. What the store has is not run again; what can be done is in the
/// store and in the index afterwards.
pub trait Executor {
    /// Runs what the plan asks for and the store below `out` does not have.
    fn execute(
        &self,
        plan: &Plan,
        out: &Path,
        store: &Store,
        world: &dyn World,
    ) -> Result<Outcome, ExecutorError>;
}

/// An executor cannot do its work at all.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A program is not there.
    #[error("{program}: not found on PATH: {advice}")]
    NoProgram {
        /// The program.
        program: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// More shards than the cluster takes in one array.
    #[error(
        "{shards} shards are more than this cluster takes in one array (its MaxArraySize is {size}): give --shards \
         {most} or fewer, and each makes more of the runs"
    )]
    TooManyShards {
        /// Shards asked for.
        shards: u32,
        /// The cluster's `MaxArraySize`.
        size: u32,
        /// Shards that it takes.
        most: u32,
    },
    /// A program did not do what it was asked to.
    #[error("{command}: {what}")]
    Refused {
        /// As it was called.
        command: String,
        /// What it said.
        what: String,
    },
}
