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
//! out/experiments/ID-TIER-WORLD.failures what failed and was not made since
//! out/measurements/ID-TIER.json          what was measured without any workload
//! ```
#![forbid(unsafe_code)]

mod build;
mod environment;
mod error;
mod execute;
mod executors;
mod failures;
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
mod stand_in;
mod store;
mod survey;
mod workload;
mod world;

pub use build::{BuildError, build as build_workload, streamed};
pub use environment::Environment;
pub use error::StoreError;
pub use execute::{Done, Failed, Options, Outcome, execute};
pub use executors::{Executor, ExecutorError, Local, Slurm};
pub use failures::failures;
pub use forecast::{Forecast, Range, forecast};
pub use index::{Index, IndexedRun, tag};
pub use key::RunKey;
pub use manifest::{Manifest, WorkloadNote};
pub use measurement::{Chart, MIN_RANKS, MeasuredRow, Measurement, median_interval};
pub use plan::{Job, Plan, PlanError, shell, words_of};
pub use shard::{Shard, ShardFailure, ShardReport};
pub use stand_in::{BOOTED, STAND_IN, degraded};
pub use store::{Claim, Slot, Store, StoredRun};
pub use survey::{Survey, Surveyed, merge, survey};
pub use world::{World, WorldError};
