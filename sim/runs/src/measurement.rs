//! [`Measurement`]: what an experiment measured on a real machine without any workload.
//!
//! ```text
//! out/measurements/ID-TIER.json      what was measured
//! out/measurements/ID-TIER.failed    why the last attempt came to nothing
//! ```

use crate::environment::Environment;
use crate::error::StoreError;
use crate::sealed;
use configs::{Experiment, Measure, Tier};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Rows, how they are drawn, and where they come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// Experiment.
    pub experiment: String,
    /// Its tier.
    pub tier: Tier,
    /// What was asked for.
    pub measure: Measure,
    /// Version of what measures.
    pub version: u32,
    /// The machine and the build.
    pub environment: Environment,
    /// The command as typed.
    pub command: Vec<String>,
    /// Start, in seconds since 1970 (UTC).
    pub started_unix_s: u64,
    /// Time that it took, in seconds.
    pub wall_s: f64,
    /// What to know before believing it.
    pub warnings: Vec<String>,
    /// What was measured and did not do what it should, such as a function that answered wrongly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wrong: Vec<String>,
    /// What stood in for something that the machine lacks.
    pub stand_ins: Vec<String>,
    /// What the machine could do: a facility's name, and what was found.
    #[serde(default)]
    pub facilities: BTreeMap<String, String>,
    /// What it was made with beside the machine, such as an image: a name, and a version or digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub made_with: BTreeMap<String, String>,
    /// How rows are shown.
    pub charts: Vec<Chart>,
    /// What was measured.
    pub rows: Vec<MeasuredRow>,
}

/// One quantity of one subject.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredRow {
    /// Panel, such as how many at a time; may be empty.
    pub panel: String,
    /// What was measured: a mode, a function, an engine.
    pub subject: String,
    /// Part of a whole, such as a step; empty for the whole.
    pub part: String,
    /// Quantity, one word for all its rows.
    pub metric: String,
    /// Unit of the values; empty for counts.
    pub unit: String,
    /// How many times it was measured.
    pub n: u64,
    /// Median; `None` where it could not be measured.
    pub median: Option<f64>,
    /// Holds the true median 95 times of 100; only of enough measurements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<(f64, f64)>,
    /// 99 of 100 were at most this; only of enough measurements.
    pub p99: Option<f64>,
    /// What was published about it, with the kind of source.
    pub published: String,
    /// The published value, where it is one of this very quantity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<f64>,
    /// Why it could not be measured, or what is special about it.
    pub note: String,
}

/// One picture of the rows of one metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chart {
    /// Names its files.
    pub name: String,
    /// Heading.
    pub title: String,
    /// The rows meant.
    pub metric: String,
    /// Title of the axis, with the unit.
    pub axis: String,
    /// Parts side by side in one bar, instead of a bar for each whole.
    pub parts: bool,
}

impl Chart {
    /// A bar for each whole.
    #[must_use]
    pub fn wholes(name: &str, title: &str, metric: &str, axis: &str) -> Self {
        let [name, title, metric, axis] = [name, title, metric, axis].map(str::to_owned);
        Self { name, title, metric, axis, parts: false }
    }

    /// The parts side by side in one bar.
    #[must_use]
    pub fn parts(name: &str, title: &str, metric: &str, axis: &str) -> Self {
        Self { parts: true, ..Self::wholes(name, title, metric, axis) }
    }
}

impl Measurement {
    /// Where the measurement of an experiment lies.
    #[must_use]
    pub fn path(out: &Path, experiment: &Experiment) -> PathBuf {
        out.join("measurements").join(format!("{}-{}.json", experiment.id, experiment.tier.name()))
    }

    /// What was measured before, if anything.
    ///
    /// # Errors
    /// If the file was altered or cannot be read.
    pub fn load(out: &Path, experiment: &Experiment) -> Result<Option<Self>, StoreError> {
        let path = Self::path(out, experiment);
        if !path.exists() {
            return Ok(None);
        }
        Self::read(&path).map(Some)
    }

    /// The measurement in this file.
    ///
    /// # Errors
    /// If the file was altered or cannot be read.
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        sealed::read(path)
    }

    /// Whether it answers what is asked for now: the same extent, version, machine, kernel, and what it is made
    /// with.
    #[must_use]
    pub fn answers(
        &self,
        measure: &Measure,
        version: u32,
        environment: &Environment,
        made_with: &BTreeMap<String, String>,
    ) -> bool {
        let place = |environment: &Environment| {
            let Environment { host, cpu_model, kernel, debug_build, .. } = environment;
            (host.clone(), cpu_model.clone(), kernel.clone(), *debug_build)
        };
        self.measure == *measure
            && self.version == version
            && place(&self.environment) == place(environment)
            && self.made_with == *made_with
    }

    /// Keeps it, instead of an earlier one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, out: &Path, experiment: &Experiment) -> Result<PathBuf, StoreError> {
        let path = Self::path(out, experiment);
        let folder = path.parent().unwrap_or(out);
        std::fs::create_dir_all(folder).map_err(StoreError::io(folder, "making"))?;
        traces::atomic::write_file(&path, sealed::text(self).as_bytes())
            .map_err(|error| StoreError::io(&path, "writing")(std::io::Error::other(error)))?;
        // It was made after all; without a file there is nothing to forget.
        let _ = std::fs::remove_file(Self::failed(out, experiment));
        Ok(path)
    }

    /// Notes why it could not be made, until it is.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn note_failure(out: &Path, experiment: &Experiment, why: &str) -> Result<(), StoreError> {
        let path = Self::failed(out, experiment);
        let folder = path.parent().unwrap_or(out);
        std::fs::create_dir_all(folder).map_err(StoreError::io(folder, "making"))?;
        std::fs::write(&path, format!("{why}\n")).map_err(StoreError::io(&path, "writing"))
    }

    /// Why the last attempt to make it failed, if it did.
    #[must_use]
    pub fn failure(out: &Path, experiment: &Experiment) -> Option<String> {
        let why = std::fs::read_to_string(Self::failed(out, experiment)).ok()?;
        Some(why.trim_end().to_owned())
    }

    fn failed(out: &Path, experiment: &Experiment) -> PathBuf {
        Self::path(out, experiment).with_extension("failed")
    }
}

/// Values that the interval of a median takes at least: of five, the smallest and the largest hold it in 94 cases of
/// 100.
pub const MIN_RANKS: usize = 6;

/// Most values whose ranks are counted out; those of more follow from the normal distribution.
const COUNTED: usize = 100;

/// The 95 % interval of the median of sorted values, whatever they are distributed like: between the k-th smallest
/// and the k-th largest, for the largest k that the binomial distribution allows. `None` of too few.
#[must_use]
pub fn median_interval(sorted: &[f64]) -> Option<(f64, f64)> {
    let n = sorted.len();
    let k = if n > COUNTED {
        ((n as f64 - 1.96 * (n as f64).sqrt()) / 2.0).floor() as usize
    } else {
        // How likely fewer than k of n values lie below the median, twice: at most 5 %.
        let mut term = 0.5f64.powi(i32::try_from(n).ok()?);
        let (mut below, mut k) = (0.0, 0);
        while below + term <= 0.025 {
            below += term;
            k += 1;
            term *= (n - k + 1) as f64 / k as f64;
        }
        k
    };
    (k > 0).then(|| (sorted[k - 1], sorted[n - k]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement() -> Measurement {
        Measurement {
            experiment: "e02".into(),
            tier: Tier::Kick,
            measure: Measure::Functions { functions: vec!["crypto".into()], starts: 1, calls: 2 },
            version: 1,
            environment: Environment::look(),
            command: vec!["trenvx".into()],
            started_unix_s: 1,
            wall_s: 0.5,
            warnings: Vec::new(),
            wrong: Vec::new(),
            stand_ins: Vec::new(),
            facilities: BTreeMap::new(),
            made_with: BTreeMap::new(),
            charts: Vec::new(),
            rows: vec![MeasuredRow {
                subject: "crypto".into(),
                median: Some(1.25),
                ..MeasuredRow::default()
            }],
        }
    }

    #[test]
    fn it_comes_back_as_it_was_and_a_changed_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("e02-kick.json");
        std::fs::write(&file, sealed::text(&measurement())).unwrap();
        assert_eq!(sealed::read::<Measurement>(&file).unwrap(), measurement());
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("1.25", "0.25")).unwrap();
        assert!(matches!(sealed::read::<Measurement>(&file), Err(StoreError::Altered { .. })));
    }

    /// Ranks of the usual tables for the median.
    #[test]
    fn the_interval_of_a_median_lies_between_two_ranks() {
        let of = |n: u32| median_interval(&(1..=n).map(f64::from).collect::<Vec<_>>());
        assert_eq!((of(0), of(5)), (None, None));
        assert_eq!((of(6), of(10)), (Some((1.0, 6.0)), Some((2.0, 9.0))));
        assert_eq!((of(30), of(100)), (Some((10.0, 21.0)), Some((40.0, 61.0))));
        assert_eq!(of(1000), Some((469.0, 532.0)));
    }

    #[test]
    fn it_answers_only_the_same_question_on_the_same_machine() {
        let known = measurement();
        let here = known.environment.clone();
        let with = BTreeMap::new();
        assert!(known.answers(&known.measure, 1, &here, &with));
        assert!(!known.answers(&known.measure, 2, &here, &with));
        let more = Measure::Functions { functions: Vec::new(), starts: 1, calls: 2 };
        assert!(!known.answers(&more, 1, &here, &with));
        let accelerated = BTreeMap::from([("accelerator".to_owned(), "kvm".to_owned())]);
        assert!(!known.answers(&known.measure, 1, &here, &accelerated));
        let elsewhere = Environment { kernel: Some("0.0".into()), ..here };
        assert!(!known.answers(&known.measure, 1, &elsewhere, &with));
    }
}
