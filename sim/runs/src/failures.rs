//! Which runs of an experiment failed, and why, until they are made: so that whoever asks later why something is
//! missing gets the reason.
//!
//! ```text
//! out/experiments/ID-TIER-WORLD.failures     one JSON object a line
//! ```

use crate::error::StoreError;
use crate::execute::Outcome;
use crate::index::stem;
use crate::plan::Plan;
use crate::shard::{ShardFailure, ShardReport};
use configs::Experiment;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A run by its point's label and its seed.
type Name = (String, u64);

/// Failed runs of an experiment that nobody has made since, with what went wrong; in the order of labels and seeds.
/// Shards' reports are read with those of other commands.
pub fn failures(out: &Path, experiment: &Experiment, world: &str) -> Vec<ShardFailure> {
    let own = read(&path(out, experiment, world));
    let shards = ShardReport::of(out, experiment, world);
    let all: BTreeMap<Name, String> = shards
        .into_iter()
        .flat_map(|report| report.failed)
        .chain(own)
        .map(|failure| ((failure.label, failure.seed), failure.error))
        .collect();
    all.into_iter().map(|((label, seed), error)| ShardFailure { label, seed, error }).collect()
}

/// Notes what failed of a plan and forgets what has been made since. The index's lock is held meanwhile.
pub(crate) fn note(out: &Path, plan: &Plan, world: &str, outcome: &Outcome) -> Result<(), StoreError> {
    let path = path(out, &plan.experiment, world);
    let before = read(&path);
    if before.is_empty() && outcome.failed.is_empty() {
        return Ok(());
    }
    let made: BTreeSet<(&str, u64)> =
        outcome.done.iter().map(|done| (done.label.as_str(), done.job.seed)).collect();
    let mut left: BTreeMap<Name, String> = before
        .into_iter()
        .filter(|failure| !made.contains(&(failure.label.as_str(), failure.seed)))
        .map(|failure| ((failure.label, failure.seed), failure.error))
        .collect();
    for failed in &outcome.failed {
        left.insert((failed.label.clone(), failed.job.seed), failed.error.clone());
    }
    if left.is_empty() {
        return fs::remove_file(&path).map_err(StoreError::io(&path, "removing"));
    }
    let lines: Vec<String> = left
        .into_iter()
        .map(|((label, seed), error)| ShardFailure { label, seed, error })
        .filter_map(|failure| serde_json::to_string(&failure).ok())
        .collect();
    traces::atomic::write_file(&path, (lines.join("\n") + "\n").as_bytes())
        .map_err(|error| StoreError::io(&path, "writing")(std::io::Error::other(error)))
}

/// What cannot be read is as good as none: what is missing is seen in the store.
fn read(path: &Path) -> Vec<ShardFailure> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn path(out: &Path, experiment: &Experiment, world: &str) -> PathBuf {
    out.join("experiments").join(format!("{}.failures", stem(experiment, world)))
}
