//! [`Experiment`]: a checked experiment file, ready to be planned.

use crate::figure::FigureSpec;
use crate::measure::Measure;
use crate::spec::{Spec, Tier};
use crate::typed::Typed;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A named set of points, the seeds each is run with, and what is drawn from their records.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// Short name: `e04`.
    pub id: String,
    /// Title for people.
    pub title: String,
    /// Figure or table of the paper, where it has one.
    pub paper: Option<String>,
    /// The question it answers, one sentence.
    pub question: String,
    /// Worlds that can run it; the first is the default.
    pub worlds: Vec<WorldKind>,
    /// How much of it this is.
    pub tier: Tier,
    /// The file it was read from.
    pub file: PathBuf,
    /// What the command line put over the file.
    pub typed: Typed,
    /// One per combination of panel, swept values and system, in the order of the file.
    pub points: Vec<Point>,
    /// The same for the emulated world: the systems of `[emu]`, each on a real machine.
    pub emulated: Vec<Point>,
    /// Whether its file says which systems a real machine runs.
    pub is_fitted: bool,
    /// How many of the seeds the emulated world runs; 0 for all.
    pub emulated_seeds: u32,
    /// What it measures on a real machine instead of playing a workload there.
    pub measure: Option<Measure>,
    /// Seeds, each run for every point.
    pub seeds: Vec<u64>,
    /// What is drawn.
    pub figures: Vec<FigureSpec>,
    /// Constants of machine and profiles with their provenance.
    pub constants: Vec<ConstantNote>,
    /// Every value in force, sorted by key.
    pub effective: Vec<EffectiveValue>,
}

impl Experiment {
    /// The experiment as a world runs it: with that world's points and seeds.
    pub fn in_world(mut self, world: WorldKind) -> Self {
        if world == WorldKind::Emu {
            self.points = std::mem::take(&mut self.emulated);
            if self.emulated_seeds > 0 {
                self.seeds.truncate(self.emulated_seeds as usize);
            }
        }
        self
    }
}

/// One spec and its place in the experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Unique in the experiment: the axes' values, joined with `/`.
    pub label: String,
    /// Name and value of each axis: `panel`, swept keys, `system`.
    pub axes: Vec<(String, String)>,
    /// Values of the keys along which figures of the experiment run.
    pub numbers: Vec<(String, Quantity)>,
    /// What is run.
    pub spec: Spec,
}

/// A value on an axis of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantity {
    /// A number without a unit.
    Plain(f64),
    /// Milliseconds.
    Time(f64),
    /// GiB.
    Memory(f64),
    /// GB (10^9 bytes) a second.
    Bandwidth(f64),
}

impl Quantity {
    /// The number alone.
    pub const fn value(self) -> f64 {
        match self {
            Self::Plain(value) | Self::Time(value) | Self::Memory(value) | Self::Bandwidth(value) => value,
        }
    }
}

impl Point {
    /// The value of an axis, if the experiment has it.
    pub fn axis(&self, name: &str) -> Option<&str> {
        self.axes.iter().find(|(axis, _)| axis == name).map(|(_, value)| value.as_str())
    }
}

/// Where an experiment can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorldKind {
    /// The simulator.
    Sim,
    /// The emulator.
    Emu,
}

impl WorldKind {
    /// Every world.
    pub const ALL: [Self; 2] = [Self::Sim, Self::Emu];

    /// The word used in files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sim => "sim",
            Self::Emu => "emu",
        }
    }
}

/// What kind of figure is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FigureKind {
    /// End-to-end latency P50, P75, P90 and P99, function × system.
    LatencyPercentiles,
    /// End-to-end latency distribution, one curve per system.
    LatencyCdf,
    /// Node DRAM in use over time, one curve per system.
    MemoryOverTime,
    /// Largest node DRAM in use, one bar per system.
    PeakMemory,
    /// Share of invocations by how they got their sandbox, one bar per system.
    StartKinds,
    /// Start-up latency percentiles, one group per system.
    StartupPercentiles,
    /// Cost of agents' sandboxes over that of their language model, agent × system.
    AgentCost,
    /// Cores in use over time, one curve per system.
    CoresOverTime,
    /// Node DRAM and pools by class, one stacked bar per system.
    MemoryByClass,
    /// Mean queueing, start-up and service, one stacked bar per system.
    StartBreakdown,
    /// One statistic of one metric, one bar per system.
    Bars,
    /// One statistic of one metric along a key that has several values, one curve per system.
    SweepLines,
}

impl FigureKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::LatencyPercentiles,
        Self::LatencyCdf,
        Self::MemoryOverTime,
        Self::PeakMemory,
        Self::StartKinds,
        Self::StartupPercentiles,
        Self::AgentCost,
        Self::CoresOverTime,
        Self::MemoryByClass,
        Self::StartBreakdown,
        Self::Bars,
        Self::SweepLines,
    ];

    /// The word used in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LatencyPercentiles => "latency-percentiles",
            Self::LatencyCdf => "latency-cdf",
            Self::MemoryOverTime => "memory-over-time",
            Self::PeakMemory => "peak-memory",
            Self::StartKinds => "start-kinds",
            Self::StartupPercentiles => "startup-percentiles",
            Self::AgentCost => "agent-cost",
            Self::CoresOverTime => "cores-over-time",
            Self::MemoryByClass => "memory-by-class",
            Self::StartBreakdown => "start-breakdown",
            Self::Bars => "bars",
            Self::SweepLines => "sweep-lines",
        }
    }
}

/// A constant in force and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConstantNote {
    /// Dotted key: `machine.cxl.latency`.
    pub key: String,
    /// The value as written.
    pub value: String,
    /// Where it was read or measured.
    pub source: String,
    /// Whether it is a judgement rather than a figure for this machine.
    pub assumed: bool,
    /// Why it is assumed, or chosen among several.
    pub why: Option<String>,
}

/// A value in force and who set it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectiveValue {
    /// Dotted key.
    pub key: String,
    /// As it would be written in TOML.
    pub value: String,
    /// `file:line` or `--set KEY=VALUE`.
    pub origin: String,
}
