//! [`Index`]: which keys the runs of an experiment have, so that figures find them without
//! building a workload.

use crate::error::StoreError;
use crate::execute::{Done, Outcome};
use crate::failures;
use crate::key::RunKey;
use crate::lock::Holder;
use crate::plan::Plan;
use crate::store::Store;
use crate::world::World;
use configs::{Experiment, Tier, Typed};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The runs of one experiment at one tier with what was typed beside its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// Experiment.
    pub experiment: String,
    /// Tier.
    pub tier: Tier,
    /// `--set`, `--sweep` and `--zip` as typed.
    pub typed: Typed,
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
    /// The file of an index: `out/experiments/e04-kick-sim.json`; with `--set` and the like, a hash of
    /// them is part of the name.
    pub fn path(out: &Path, experiment: &Experiment, world: &str) -> PathBuf {
        out.join("experiments").join(format!("{}.json", stem(experiment, world)))
    }

    /// Reads an index; [`StoreError::Missing`] if the experiment was not run.
    pub fn load(out: &Path, experiment: &Experiment, world: &str) -> Result<Self, StoreError> {
        let path = Self::path(out, experiment, world);
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => StoreError::Missing { path: path.clone() },
            _ => StoreError::io(&path, "reading")(error),
        })?;
        serde_json::from_str(&text)
            .map_err(|error| StoreError::malformed(&path, Some(error.line() as u64), error.to_string()))
    }

    /// Writes the table of an experiment's runs (`….csv` beside its index) whole: `fill` gets another name,
    /// which is renamed when it is done. One process at a time.
    pub fn write_table<E: From<StoreError>>(
        out: &Path,
        experiment: &Experiment,
        world: &str,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let index = Self::path(out, experiment, world);
        let _guard = lock(&index)?;
        remove_leftovers(&index);
        let path = index.with_extension(TABLE);
        let partial = index.with_extension(format!("{TABLE}-{}", Holder::me().token()));
        fill(&partial)?;
        fs::rename(&partial, &path).map_err(StoreError::io(&path, "renaming to"))?;
        Ok(path)
    }

    /// Adds the runs that were done to the index of `plan`'s experiment. Runs of an earlier index that
    /// this plan leaves out are kept if they are still runs of this experiment: same spec, same model.
    pub(crate) fn merge(
        out: &Path,
        plan: &Plan,
        store: &Store,
        world: &dyn World,
        outcome: &Outcome,
    ) -> Result<(), StoreError> {
        let experiment = &plan.experiment;
        let path = Self::path(out, experiment, world.name());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(StoreError::io(folder, "creating"))?;
        }
        // Several runners of one experiment add their parts one after the other.
        let _guard = lock(&path)?;

        remove_leftovers(&path);

        let labels = experiment.points.iter().enumerate();
        let places: BTreeMap<&str, usize> = labels.map(|(i, point)| (point.label.as_str(), i)).collect();
        let place = |run: &IndexedRun| places.get(run.label.as_str()).copied();
        let mut runs: Vec<IndexedRun> = outcome.done.iter().map(|done| indexed(plan, done)).collect();
        if let Ok(old) = Self::load(out, experiment, world.name()) {
            let asked: BTreeSet<(usize, u64)> = plan.jobs.iter().map(|job| (job.point, job.seed)).collect();
            let kept = |run: &IndexedRun| {
                place(run).is_some_and(|place| {
                    !asked.contains(&(place, run.seed))
                        && store.manifest(&run.key).is_ok_and(|manifest| {
                            manifest.model_version == world.model_version()
                                && manifest.spec.canonical() == experiment.points[place].spec.canonical()
                        })
                })
            };
            runs.extend(old.runs.into_iter().filter(kept));
        }
        runs.sort_by_cached_key(|run| (place(run), run.seed));
        let index = Self {
            experiment: experiment.id.clone(),
            tier: experiment.tier,
            typed: experiment.typed.clone(),
            world: world.name().to_owned(),
            runs,
        };
        save_json(&path, &index)?;
        failures::note(out, plan, world.name(), outcome)
    }
}

fn indexed(plan: &Plan, done: &Done) -> IndexedRun {
    IndexedRun {
        label: done.label.clone(),
        axes: plan.point(done.job).axes.clone(),
        seed: done.job.seed,
        key: done.key.clone(),
    }
}

/// The lock of an index, held until it is dropped.
fn lock(index: &Path) -> Result<File, StoreError> {
    let path = index.with_extension("lock");
    let guard = File::options().create(true).truncate(false).write(true).open(&path);
    let guard = guard.map_err(StoreError::io(&path, "opening"))?;
    guard.lock().map_err(StoreError::io(&path, "locking"))?;
    Ok(guard)
}

/// A short name for a text: two texts hardly have the same.
pub fn tag(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..8].to_owned()
}

/// The name under which an experiment's outputs are known: `e04-kick-sim`.
pub(crate) fn stem(experiment: &Experiment, world: &str) -> String {
    let variant = if experiment.typed.is_empty() {
        String::new()
    } else {
        let typed: Vec<String> =
            experiment.typed.options().map(|(option, argument)| format!("{option} {argument}")).collect();
        format!("-{}", tag(&typed.join("\n")))
    };
    format!("{}-{}-{world}{variant}", experiment.id, experiment.tier.name())
}

/// Removes what killed processes left of an index or of a table that they were writing. Whoever writes one
/// holds the index's lock, so what is there while it is held was left behind.
fn remove_leftovers(index: &Path) {
    let (Some(folder), Some(stem)) = (index.parent(), index.file_stem().and_then(|stem| stem.to_str()))
    else {
        return;
    };
    let starts = [format!("{stem}.partial-"), format!("{stem}.{TABLE}-")];
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| starts.iter().any(|start| name.starts_with(start))) {
            // If it cannot be removed now, the next one to write tries again.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The ending of an experiment's table.
const TABLE: &str = "csv";

/// Writes a JSON file whole: to the disk under another name, then renamed.
pub(crate) fn save_json<T: Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
    let text =
        serde_json::to_string_pretty(value).map_err(|e| StoreError::malformed(path, None, e.to_string()))?;
    // Several hosts may write beside each other, and process numbers are unique on one only.
    let partial = path.with_extension(format!("partial-{}", Holder::me().token()));
    let write = || {
        fs::write(&partial, text + "\n")?;
        File::open(&partial)?.sync_all()
    };
    write().map_err(StoreError::io(&partial, "writing"))?;
    fs::rename(&partial, path).map_err(StoreError::io(path, "renaming to"))
}
