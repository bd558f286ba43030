//! [`Shard`]: the part of a plan that is one of several processes', and what became of it.
//!
//! Which part a run is in follows from its label and seed alone. They are hashed, the runs are sorted
//! by their hashes and dealt out in turn. So the parts are equally large, no axis of a sweep beats in
//! time with them (with six systems and six shards, every shard still gets all systems), and nobody
//! has to build a workload to know what is whose, as the run's key would demand. Dealing decides who
//! works, never what comes out: a store is the same whoever filled it.

use crate::error::StoreError;
use crate::execute::Outcome;
use crate::index::{save_json, stem};
use crate::lock::Holder;
use crate::plan::Plan;
use configs::Experiment;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Most shards of a plan.
const LIMIT: u32 = 100_000;

/// Shard `number` of `count`, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    number: u32,
    count: u32,
}

/// What became of the runs of a shard or worker. Written once they have all ended, for whoever merges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardReport {
    /// Whose it is: `2/4`, or a worker's own word.
    pub part: String,
    /// Runs that it made.
    pub new: u64,
    /// Runs that were in the store before.
    pub cached: u64,
    /// Runs that failed.
    pub failed: Vec<ShardFailure>,
}

/// A run that failed in a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardFailure {
    /// Label of the point.
    pub label: String,
    /// Seed.
    pub seed: u64,
    /// What went wrong.
    pub error: String,
}

impl Shard {
    /// Shard `number` of `count`; `None` unless 1 ≤ number ≤ count.
    pub fn new(number: u32, count: u32) -> Option<Self> {
        (1 <= number && number <= count && count <= LIMIT).then_some(Self { number, count })
    }

    /// Every shard of so many.
    pub fn all(count: u32) -> impl Iterator<Item = Self> {
        (1..=count).filter_map(move |number| Self::new(number, count))
    }

    /// Its number, from 1.
    pub fn number(self) -> u32 {
        self.number
    }

    /// For each job of a plan, whether it is this shard's.
    pub(crate) fn of(self, plan: &Plan) -> Vec<bool> {
        deal(plan, self.count).into_iter().map(|number| number == self.number).collect()
    }
}

/// For each job of a plan, the number of its shard among `count`.
pub(crate) fn deal(plan: &Plan, count: u32) -> Vec<u32> {
    let mut order: Vec<([u8; 32], usize)> = plan
        .jobs
        .iter()
        .enumerate()
        .map(|(i, job)| {
            let name = format!("{}\n{}", job.seed, plan.point(*job).label);
            (*blake3::hash(name.as_bytes()).as_bytes(), i)
        })
        .collect();
    order.sort_unstable();
    let mut numbers = vec![0; plan.jobs.len()];
    for ((_, i), number) in order.into_iter().zip((1..=count).cycle()) {
        numbers[i] = number;
    }
    numbers
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.count)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .split_once('/')
            .and_then(|(number, count)| Self::new(number.trim().parse().ok()?, count.trim().parse().ok()?));
        parsed.ok_or_else(|| format!("write NUMBER/COUNT, counted from 1 to at most {LIMIT}: 1/4 to 4/4"))
    }
}

impl ShardReport {
    /// From what became of one part of a plan: a shard's, or of a worker if none is given.
    pub fn new(shard: Option<Shard>, outcome: &Outcome) -> Self {
        let worker = || format!("worker-{}", Holder::me().token());
        let part = shard.map_or_else(worker, |shard| shard.to_string());
        let cached = outcome.done.iter().filter(|done| done.cached).count() as u64;
        let failed = outcome.failed.iter().map(|failed| ShardFailure {
            label: failed.label.clone(),
            seed: failed.job.seed,
            error: failed.error.clone(),
        });
        Self { part, new: outcome.done.len() as u64 - cached, cached, failed: failed.collect() }
    }

    /// Writes it where [`ShardReport::all`] finds it.
    pub fn save(&self, out: &Path, plan: &Plan, world: &str) -> Result<(), StoreError> {
        let folder = folder(out, &plan.experiment, world);
        fs::create_dir_all(&folder).map_err(StoreError::io(&folder, "creating"))?;
        save_json(&folder.join(format!("{}.json", self.part.replace('/', "-of-"))), self)
    }

    /// Every report on a plan's experiment, of any number of shards; in the order of their files.
    pub fn all(out: &Path, plan: &Plan, world: &str) -> Vec<Self> {
        Self::of(out, &plan.experiment, world)
    }

    /// The same of an experiment.
    pub(crate) fn of(out: &Path, experiment: &Experiment, world: &str) -> Vec<Self> {
        let Ok(entries) = fs::read_dir(folder(out, experiment, world)) else { return Vec::new() };
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
            .collect();
        files.sort();
        // A report that cannot be read is as good as none: what is missing is seen in the store.
        files.iter().filter_map(|file| serde_json::from_str(&fs::read_to_string(file).ok()?).ok()).collect()
    }

    /// Forgets the reports of earlier attempts.
    pub fn clear(out: &Path, plan: &Plan, world: &str) -> Result<(), StoreError> {
        let folder = folder(out, &plan.experiment, world);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::io(&folder, "removing")(error))
            }
            _ => Ok(()),
        }
    }
}

fn folder(out: &Path, experiment: &Experiment, world: &str) -> PathBuf {
    out.join("experiments").join(format!("{}.shards", stem(experiment, world)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_counted_from_one() {
        assert_eq!("2/4".parse::<Shard>().unwrap().to_string(), "2/4");
        for wrong in ["0/4", "5/4", "4", "1/0", "-1/4", "a/b", "1/4/2", "1/100001"] {
            assert!(wrong.parse::<Shard>().unwrap_err().contains("1/4 to 4/4"), "{wrong}");
        }
    }
}
