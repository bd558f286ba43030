//! [`Index`]: which keys the runs of an experiment have, so that figures find them without
//! building a workload.

use crate::error::StoreError;
use crate::key::RunKey;
use crate::plan::Plan;
use crate::store::Store;
use crate::world::World;
use configs::Tier;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The runs of one experiment at one tier with one list of `--set`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// Experiment.
    pub experiment: String,
    /// Tier.
    pub tier: Tier,
    /// `--set` as typed.
    pub sets: Vec<String>,
    /// World.
    pub world: String,
    /// The runs, in the order of the experiment's points, then of the seeds.
    pub runs: Vec<IndexedRun>,
}

/// One run of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexedRun {
    /// Label of the point.
    pub label: String,
    /// Axes of the point.
    pub axes: Vec<(String, String)>,
    /// Seed.
    pub seed: u64,
    /// Key in the store.
    pub key: RunKey,
}

impl Index {
    /// The file of an index: `out/experiments/e04-kick-sim.json`; with `--set`, a hash of them is
    /// part of the name.
    pub fn path(out: &Path, experiment: &str, tier: Tier, world: &str, sets: &[String]) -> PathBuf {
        let variant = match sets {
            [] => String::new(),
            sets => format!("-{}", &blake3::hash(sets.join("\n").as_bytes()).to_hex()[..8]),
        };
        out.join("experiments").join(format!("{experiment}-{}-{world}{variant}.json", tier.name()))
    }

    /// Reads an index; [`StoreError::Missing`] if the experiment was not run.
    pub fn load(
        out: &Path,
        experiment: &str,
        tier: Tier,
        world: &str,
        sets: &[String],
    ) -> Result<Self, StoreError> {
        let path = Self::path(out, experiment, tier, world, sets);
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => StoreError::Missing { path: path.clone() },
            _ => StoreError::io(&path, "reading")(error),
        })?;
        serde_json::from_str(&text)
            .map_err(|error| StoreError::malformed(&path, Some(error.line() as u64), error.to_string()))
    }

    /// Adds the runs that were found to the index of `plan`'s experiment. Runs of an earlier index that
    /// this plan leaves out are kept if they are still runs of this experiment: same spec, same model.
    pub(crate) fn merge(
        out: &Path,
        plan: &Plan,
        store: &Store,
        world: &dyn World,
        found: Vec<IndexedRun>,
    ) -> Result<(), StoreError> {
        let experiment = &plan.experiment;
        let path = Self::path(out, &experiment.id, experiment.tier, world.name(), &experiment.sets);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(StoreError::io(folder, "creating"))?;
        }
        // Several runners of one experiment add their parts one after the other.
        let guard_path = path.with_extension("lock");
        let guard = File::options().create(true).truncate(false).write(true).open(&guard_path);
        let guard = guard.map_err(StoreError::io(&guard_path, "opening"))?;
        guard.lock().map_err(StoreError::io(&guard_path, "locking"))?;

        let place = |run: &IndexedRun| experiment.points.iter().position(|point| point.label == run.label);
        let mut runs = found;
        if let Ok(old) = Self::load(out, &experiment.id, experiment.tier, world.name(), &experiment.sets) {
            let kept = |run: &IndexedRun| {
                let asked =
                    plan.jobs.iter().any(|job| job.seed == run.seed && plan.point(*job).label == run.label);
                !asked
                    && place(run).zip(store.manifest(&run.key).ok()).is_some_and(|(place, manifest)| {
                        manifest.model_version == world.model_version()
                            && manifest.spec.canonical() == experiment.points[place].spec.canonical()
                    })
            };
            runs.extend(old.runs.into_iter().filter(kept));
        }
        runs.sort_by_key(|run| (place(run), run.seed));
        let index = Self {
            experiment: experiment.id.clone(),
            tier: experiment.tier,
            sets: experiment.sets.clone(),
            world: world.name().to_owned(),
            runs,
        };
        index.save(&path)
    }

    fn save(&self, path: &Path) -> Result<(), StoreError> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|e| StoreError::malformed(path, None, e.to_string()))?;
        let partial = path.with_extension(format!("partial-{}", std::process::id()));
        fs::write(&partial, text + "\n").map_err(StoreError::io(&partial, "writing"))?;
        fs::rename(&partial, path).map_err(StoreError::io(path, "renaming to"))
    }
}
