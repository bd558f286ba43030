//! [`Measurement`]: what an experiment measured on a real machine without any workload.
//!
//! ```text
//! out/measurements/ID-TIER.json
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
    /// 99 of 100 were at most this; only of enough measurements.
    pub p99: Option<f64>,
    /// What was published about it, with the kind of source.
    pub published: String,
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
        sealed::read(&path).map(Some)
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
        Ok(path)
    }
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
