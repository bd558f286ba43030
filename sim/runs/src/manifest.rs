//! [`Manifest`]: everything about a run that is not its result.

use crate::environment::Environment;
use crate::error::StoreError;
use crate::key::RunKey;
use crate::sealed;
use configs::{Spec, Tier, Typed};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use traces::workload::Workload;

/// How, where and when a run was made. Times and machine are here only: record files are the same
/// on every machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The run's key.
    pub key: RunKey,
    /// Experiment that asked for it first.
    pub experiment: String,
    /// Tier of the experiment.
    pub tier: Tier,
    /// Label of the point in it.
    pub label: String,
    /// Axes of the point.
    pub axes: Vec<(String, String)>,
    /// `--set`, `--sweep` and `--zip` as typed.
    pub typed: Typed,
    /// Seed.
    pub seed: u64,
    /// World that ran it.
    pub world: String,
    /// Version of that world's model.
    pub model_version: u32,
    /// Version of the record schemas.
    pub record_schema: u32,
    /// The workload.
    pub workload: WorkloadNote,
    /// The spec, in full.
    pub spec: Spec,
    /// The machine and the build.
    pub environment: Environment,
    /// The command as typed.
    pub command: Vec<String>,
    /// Start, in seconds since 1970 (UTC).
    pub started_unix_s: u64,
    /// Process that ran it.
    pub pid: u32,
    /// Runs that this process had at a time.
    pub jobs: u64,
    /// Time from start to end of the run itself, in seconds.
    pub wall_s: f64,
    /// Processor time of the run's thread, in seconds.
    pub cpu_s: Option<f64>,
    /// Time to build the workload, in seconds: once for all runs that share it.
    pub build_s: f64,
    /// Time to write the record files to the disk, in seconds.
    pub write_s: f64,
    /// Largest resident memory of the process up to the end of this run (other runs included).
    pub process_peak_rss_bytes: Option<u64>,
    /// Warnings of the run, as in its records.
    pub warnings: Vec<String>,
    /// What the machine could do: a facility's name, and what was found.
    #[serde(default)]
    pub facilities: BTreeMap<String, String>,
}

/// The workload that was played.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadNote {
    /// Name.
    pub name: String,
    /// Hash of its content.
    pub hash: String,
    /// Where it comes from: source, then each transform.
    pub provenance: Vec<String>,
    /// Number of functions.
    pub functions: u64,
    /// Number of invocations, burn-in included.
    pub invocations: u64,
}

impl WorkloadNote {
    /// A note of a workload whose hash is known.
    pub fn new(workload: &Workload, hash: &str) -> Self {
        Self {
            name: workload.name.clone(),
            hash: hash.to_owned(),
            provenance: workload.provenance.clone(),
            functions: workload.functions.len() as u64,
            invocations: workload.invocations.len() as u64,
        }
    }
}

impl Manifest {
    /// The content of its file. Its last field is a hash of the rest, as a manifest says what differs between
    /// machines and is no part of `DONE`.
    pub(crate) fn text(&self) -> String {
        sealed::text(self)
    }

    /// Reads a manifest file and checks its hash.
    pub(crate) fn read(path: &Path) -> Result<Self, StoreError> {
        sealed::read(path)
    }
}
