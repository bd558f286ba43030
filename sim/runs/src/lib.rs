//! Run directories, manifests, the content-addressed store, and the executor.
//!
//! A run is a pure function of its [`RunKey`]: what it did before is found, what is missing is run,
//! and a process that is killed leaves nothing that could be mistaken for a result.
//!
//! ```text
//! out/runs/KEY/            manifest.json, record files, DONE (written last: counts and checksums)
//! out/runs/KEY.partial-TOKEN/  being written; renamed when complete
//! out/runs/KEY.lock        who is running it
//! out/experiments/ID-TIER-WORLD.json     which keys an experiment's runs have
//! out/experiments/ID-TIER-WORLD.shards/  what became of each shard
//! out/measurements/ID-TIER.json          what was measured without any workload
//! ```
#![forbid(unsafe_code)]

mod build;
mod environment;
mod error;
mod execute;
mod executors;
mod forecast;
mod index;
mod key;
mod lock;
mod manifest;
mod measurement;
mod plan;
mod progress;
mod records;
mod sealed;
mod shard;
mod store;
mod survey;
mod workload;
mod world;

pub use build::{BuildError, build as build_workload, streamed};
pub use environment::Environment;
pub use error::StoreError;
pub use execute::{Done, Failed, Options, Outcome, execute};
pub use executors::{Executor, ExecutorError, Local, Slurm};
pub use forecast::{Forecast, Range, forecast};
pub use index::{Index, IndexedRun};
pub use key::RunKey;
pub use manifest::{Manifest, WorkloadNote};
pub use measurement::{Chart, MeasuredRow, Measurement};
pub use plan::{Job, Plan, PlanError};
pub use shard::{Shard, ShardFailure, ShardReport};
pub use store::{Claim, Slot, Store, StoredRun};
pub use survey::{Survey, Surveyed, merge, survey};
pub use world::{World, WorldError};
