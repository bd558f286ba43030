//! Measurements that were found, and the values in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use configs::Measure;
use runs::{Environment, MeasuredRow, Measurement, StoreError};
use serde::{Deserialize, Serialize};

use super::Of;
use crate::bench_pager::{Row, Way};
use crate::guest::node::EMULATED;
use crate::pager::Placement;

/// Why a file is no measurement.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// It was altered or is damaged.
    #[error(transparent)]
    Altered(#[from] StoreError),
    /// It is something else.
    #[error(
        "{0} is no measurement: name files of out/measurements, or what 'trenvx emu bench pager --format json' printed"
    )]
    Other(PathBuf),
}

/// What `trenvx emu bench pager --format json` prints, as far as it is needed here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PagerBench {
    /// The machine and the build.
    pub environment: Environment,
    /// In a guest of the lab: what runs it.
    pub emulated_by: Option<String>,
    /// Rounds, of which each row is the median.
    pub rounds: usize,
    /// The rows.
    pub rows: Vec<Row>,
}

/// One measurement.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its file, as it is told in origins.
    name: String,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Measurement(Box<Measurement>),
    Pager(Box<PagerBench>),
}

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// In the unit; a share has none.
    pub number: f64,
    /// `us`, or nothing.
    pub unit: &'static str,
    /// File, rows and how many times it was measured.
    pub origin: String,
    /// What the rows say of themselves.
    notes: Vec<String>,
}

impl Value {
    /// Whether it is a time, and no count.
    #[must_use]
    pub fn is_time(&self) -> bool {
        !self.unit.is_empty()
    }
}

impl Found {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, was altered, or holds something else.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let text = fs::read_to_string(path).map_err(|error| ReadError::Io(path.to_owned(), error))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Ok(bench) = serde_json::from_str::<PagerBench>(&text) {
            return Ok(Self { name, what: What::Pager(Box::new(bench)) });
        }
        let json: serde_json::Value =
            serde_json::from_str(&text).map_err(|_| ReadError::Other(path.to_owned()))?;
        if json.get("measure").is_none() {
            return Err(ReadError::Other(path.to_owned()));
        }
        Ok(Self::of(&name, Measurement::read(path)?))
    }

    /// A measurement of an experiment.
    #[must_use]
    pub fn of(name: &str, measurement: Measurement) -> Self {
        Self { name: name.to_owned(), what: What::Measurement(Box::new(measurement)) }
    }

    /// The machine on which it was measured.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        match &self.what {
            What::Measurement(measurement) => &measurement.environment,
            What::Pager(bench) => &bench.environment,
        }
    }

    /// Why times of it mean nothing, if they do not.
    pub(super) fn unreal(&self, value: &Value) -> Option<String> {
        if self.environment().debug_build {
            return Some("a debug build: its times mean nothing".to_owned());
        }
        value.notes.iter().find(|note| note.contains(EMULATED)).cloned()
    }

    fn rows(&self, wanted: fn(&Measure) -> bool) -> &[MeasuredRow] {
        match &self.what {
            What::Measurement(measurement) if wanted(&measurement.measure) => &measurement.rows,
            _ => &[],
        }
    }

    pub(super) fn value(&self, of: Of) -> Option<Value> {
        match of {
            Of::Steps(way, steps) => self.steps(way, steps),
            Of::Fault => self.fault(),
            Of::Alike => self.alike(),
        }
    }

    fn steps(&self, way: &str, steps: &[&str]) -> Option<Value> {
        let rows = self.rows(|measure| matches!(measure, Measure::Sandboxes { .. }));
        let step = |step: &&str| {
            rows.iter().find(|row| {
                row.panel == "1 at a time" && row.subject == way && row.metric == "step" && row.part == *step
            })
        };
        let rows: Vec<&MeasuredRow> = steps.iter().map(step).collect::<Option<_>>()?;
        let ms: f64 = rows.iter().map(|row| row.median).sum::<Option<f64>>()?;
        let what = if steps.len() > 1 { "sum of the medians" } else { "median" };
        Some(Value {
            number: ms * 1e3,
            unit: "us",
            origin: format!("{}: {way}, {}: {what} of {}", self.name, steps.join(" + "), rows[0].n),
            notes: rows.iter().map(|row| row.note.clone()).collect(),
        })
    }

    fn fault(&self) -> Option<Value> {
        let What::Pager(bench) = &self.what else { return None };
        let row = bench.rows.iter().find(|row| {
            (row.placement, row.way, row.batch, row.threads, row.source.as_str())
                == (Placement::Same, Way::Private, 1, 1, "dram")
        })?;
        let note = bench.emulated_by.as_ref().map(|by| format!("under {by}, {EMULATED}"));
        Some(Value {
            number: row.fault_us?,
            unit: "us",
            origin: format!(
                "{}: a page copied from DRAM by the page server on the same core: median of {} rounds",
                self.name, bench.rounds
            ),
            notes: note.into_iter().collect(),
        })
    }

    fn alike(&self) -> Option<Value> {
        let rows = self.rows(|measure| matches!(measure, Measure::PageGroups { .. }));
        let contents = || rows.iter().filter(|row| row.metric == "contents");
        // Nothing is earlier than the first.
        let first = &contents().next()?.subject;
        let later = || contents().filter(|row| row.subject != *first);
        let sum =
            |rows: &mut dyn Iterator<Item = &MeasuredRow>| rows.filter_map(|row| row.median).sum::<f64>();
        let all = sum(&mut later());
        let before = sum(&mut later().filter(|row| row.part == "in an earlier template"));
        (all > 0.0).then(|| Value {
            number: before / all,
            unit: "",
            origin: format!(
                "{}: {before:.1} of {all:.1} MiB of templates are in an earlier one, page by page (every page of a \
                 template, not only the runtime's)",
                self.name
            ),
            notes: Vec::new(),
        })
    }

    /// What e11 counted: pages that came from each tier until the first reply.
    pub(super) fn counts_of_pools(&self) -> Vec<String> {
        let rows = self.rows(|measure| matches!(measure, Measure::Pools { .. }));
        let pages = rows.iter().filter(|row| row.metric == "pages of the first start");
        let told = |row: &MeasuredRow| {
            let pages = row.median?;
            Some(format!("{}: {}: {pages} pages until the first reply", self.name, row.subject))
        };
        pages.filter_map(told).collect()
    }

    /// Times of e11, none of which is a constant; where they are those of emulated devices, they say why.
    pub(super) fn times_of_pools(&self) -> Vec<String> {
        let rows = self.rows(|measure| matches!(measure, Measure::Pools { .. }));
        let times: Vec<&MeasuredRow> =
            rows.iter().filter(|row| row.unit == "ms" && row.note.contains(EMULATED)).collect();
        let told = times.first().map(|row| format!("{}: {} times: {}", self.name, times.len(), row.note));
        told.into_iter().collect()
    }
}
