//! What this package is given: an experiment with its points, each with the runs of its seeds.

use crate::estimate::Estimate;
use crate::figure::FigureSpec;
use crate::metric::{self, Metric, Statistic};
use crate::reduce::RunSummary;
use configs::Quantity;
use platform::records::StartKind;
use runs::ShardFailure;
use std::collections::{BTreeMap, BTreeSet};

/// An experiment and everything that was run of it.
#[derive(Clone, Debug, Default)]
pub struct ExperimentData {
    /// `e04`.
    pub id: String,
    /// One line.
    pub title: String,
    /// Figure, table or section of the paper it re-creates; `None` where it goes beyond.
    pub paper: Option<String>,
    /// The question it answers.
    pub question: String,
    /// `kick`, `short` or `full`.
    pub tier: String,
    /// The figures to draw.
    pub figures: Vec<FigureSpec>,
    /// The points, in the order of the plan.
    pub points: Vec<PointData>,
    /// What stood in for real hardware; repeated in the notes of every figure that shows its systems.
    pub stand_ins: Vec<StandIn>,
}

/// What stood in for something that a machine lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandIn {
    /// One sentence.
    pub text: String,
    /// The systems whose runs say so.
    pub systems: Vec<String>,
}

impl StandIn {
    /// For reading; with the systems where others have none of it.
    pub fn told(&self) -> String {
        if self.systems.is_empty() {
            self.text.clone()
        } else {
            format!("{}: {}", self.systems.join(", "), self.text)
        }
    }
}

impl ExperimentData {
    /// Takes note of why runs are missing. What was made meanwhile is not missing.
    pub fn note_failures(&mut self, failures: &[ShardFailure]) {
        for point in &mut self.points {
            let mut failed: Vec<&ShardFailure> = failures
                .iter()
                .filter(|one| one.label == point.label && point.seeds.iter().all(|s| s.seed != one.seed))
                .collect();
            failed.sort_by_key(|one| one.seed);
            let Some(first) = failed.first() else { continue };
            let more = failed.len() - 1;
            let more = if more == 0 { String::new() } else { format!(" (and {more} more seeds failed)") };
            point.missing = Some(format!("seed {} failed: {}{more}", first.seed, first.error));
        }
    }
}

/// One point: the runs of one spec.
#[derive(Clone, Debug, Default)]
pub struct PointData {
    /// Unique within the experiment, such as `W1 t-cxl`.
    pub label: String,
    /// Panel of a figure it belongs to, such as `W1`; empty where there is only one.
    pub panel: String,
    /// Name of the system.
    pub system: String,
    /// Values of swept keys, joined with `/`; empty where nothing is swept.
    pub swept: String,
    /// Name and value of each axis: `panel`, swept keys, `system`.
    pub axes: Vec<(String, String)>,
    /// Values of the keys along which figures run.
    pub numbers: Vec<(String, Quantity)>,
    /// Number of seeds planned.
    pub planned: usize,
    /// The runs that exist, by seed.
    pub seeds: Vec<SeedRun>,
    /// Why runs are missing, where it is known.
    pub missing: Option<String>,
}

/// One run.
#[derive(Clone, Debug, Default)]
pub struct SeedRun {
    /// Its seed.
    pub seed: u64,
    /// Key in the store of runs.
    pub key: String,
    /// Processor time that it took, in seconds; nothing where that was not measured.
    pub cpu_s: Option<f64>,
    /// What it produced.
    pub run: RunSummary,
}

impl PointData {
    /// One value per seed; seeds that have none are left out.
    pub fn values(&self, metric: Metric, statistic: Statistic, function: Option<&str>) -> BTreeMap<u64, f64> {
        let value = |s: &SeedRun| match metric {
            Metric::CpuSeconds => s.cpu_s.filter(|_| statistic == Statistic::Total && function.is_none()),
            _ => s.run.value(metric, statistic, function),
        };
        self.seeds.iter().filter_map(|s| Some((s.seed, value(s)?))).collect()
    }

    /// The estimate over seeds; `None` where no seed has a value.
    pub fn estimate(&self, metric: Metric, statistic: Statistic, function: Option<&str>) -> Option<Estimate> {
        let values: Vec<f64> = self.values(metric, statistic, function).into_values().collect();
        metric::over_seeds(statistic).of(&values)
    }

    /// As [`PointData::values`], of invocations of all functions that got their sandbox in one of
    /// these ways. Latencies only.
    pub fn values_of_starts(
        &self,
        metric: Metric,
        statistic: Statistic,
        starts: &[StartKind],
    ) -> BTreeMap<u64, f64> {
        self.seeds
            .iter()
            .filter_map(|s| Some((s.seed, s.run.value_of_starts(metric, statistic, starts)?)))
            .collect()
    }

    /// The estimate of what a figure asks for.
    pub fn asked(&self, request: &FigureSpec) -> Option<Estimate> {
        let (metric, statistic) = request.quantity();
        if request.starts.is_empty() {
            return self.estimate(metric, statistic, None);
        }
        let values = self.values_of_starts(metric, statistic, &request.starts);
        metric::over_seeds(statistic).of(&values.into_values().collect::<Vec<_>>())
    }

    /// The value of an axis, if the experiment has it.
    pub fn axis(&self, name: &str) -> Option<&str> {
        self.axes.iter().find(|(axis, _)| axis == name).map(|(_, value)| value.as_str())
    }

    /// The value of a key along which figures run.
    pub fn number(&self, key: &str) -> Option<Quantity> {
        self.numbers.iter().find(|(name, _)| name == key).map(|&(_, number)| number)
    }

    /// Names of the functions of its runs, sorted.
    pub fn functions(&self) -> BTreeSet<&str> {
        self.seeds.iter().flat_map(|s| s.run.functions()).collect()
    }

    /// What is missing of it and which point it is; `None` if nothing is.
    pub fn shortfall(&self) -> Option<(Shortfall, String)> {
        let why = self.missing.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
        let label = &self.label;
        match (self.seeds.len(), self.planned) {
            (0, _) => Some((Shortfall::NotRun, format!("{label}{why}"))),
            (have, planned) if have < planned => {
                Some((Shortfall::FewerSeeds, format!("{label} {have} of {planned}{why}")))
            }
            _ if self.seeds.iter().all(|s| s.run.completed() == 0) => {
                Some((Shortfall::NothingCompleted, label.clone()))
            }
            _ => None,
        }
    }
}

/// How a point falls short of its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shortfall {
    /// Asked for, and no point of the experiment.
    NotPlanned,
    /// Planned, and no run exists.
    NotRun,
    /// Some runs are missing.
    FewerSeeds,
    /// No invocation of any run completed.
    NothingCompleted,
}

impl Shortfall {
    /// For notes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotPlanned => "Not in this experiment",
            Self::NotRun => "Not run",
            Self::FewerSeeds => "Fewer seeds than planned",
            Self::NothingCompleted => "No invocation completed",
        }
    }
}
