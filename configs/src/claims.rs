//! `claims.toml`: sentences of the paper that an experiment can refute.
//!
//! A claim names an experiment, what is measured, and what is expected of it. Package `figures`
//! judges; here it is only made sure that it can.

pub mod measured;
mod metric;
pub(crate) mod read;
mod read_measured;

pub use metric::{Counter, Metric, Statistic};
pub use read::load;

use crate::spec::Tier;
use platform::records::StartKind;

/// A sentence that an experiment can refute.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Short name: `c01`.
    pub id: String,
    /// The sentence.
    pub text: String,
    /// Section or figure of the paper; nothing for a goal.
    pub paper: String,
    /// Whether it is a goal of this testbed instead of a sentence of the paper.
    pub is_goal: bool,
    /// Where the published number was read.
    pub source: String,
    /// Id of the experiment; empty where nothing here can decide.
    pub experiment: String,
    /// Why nothing here can decide, where that is so. Then nothing is measured or expected.
    pub not_run: Option<String>,
    /// Smallest tier at which the experiment can decide.
    pub tier: Tier,
    /// What is measured of runs.
    pub measure: Measure,
    /// What is expected of it.
    pub expectation: Expectation,
    /// What is expected of an experiment's measurement instead, where it is about one.
    pub measured: Option<measured::Expected>,
    /// The published number, in the expectation's own measure (a factor, a share, ms); for people,
    /// never compared with.
    pub published: Option<f64>,
    /// What on another machine, or in the model, can move the result.
    pub why_yours_may_differ: String,
}

/// What is measured, per system.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    /// The quantity.
    pub metric: Metric,
    /// Which statistic of it.
    pub statistic: Statistic,
    /// Of which functions.
    pub functions: Functions,
    /// In which panels; empty: all.
    pub panels: Vec<String>,
    /// Only invocations that got their sandbox in one of these ways; empty: all. Latencies of all
    /// functions together only.
    pub starts: Vec<StartKind>,
}

/// Of which functions something is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Functions {
    /// All invocations together.
    Together,
    /// Every function on its own.
    Each,
    /// These, each on its own.
    Named(Vec<String>),
}

/// What is expected.
#[derive(Clone, Debug, PartialEq)]
pub enum Expectation {
    /// The rival's value divided by the system's lies in a range.
    Speedup(Comparison),
    /// One minus the system's value divided by the rival's lies in a range.
    Saving(Comparison),
    /// The values rise from the first system to the last, in every panel and function.
    Ordering {
        /// Smallest first.
        systems: Vec<String>,
    },
    /// The system's own value lies in a range.
    Value {
        /// The system.
        system: String,
        /// What is made of the values of several panels and functions.
        take: Take,
        /// The range, in ms, GiB, GiB·s or as a share, by the metric.
        range: Range,
    },
}

/// A system against its rivals.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The system.
    pub system: String,
    /// Its rivals; each gives a ratio in every panel and function.
    pub rivals: Vec<String>,
    /// What is made of these ratios.
    pub take: Take,
    /// Where it must lie.
    pub range: Range,
}

/// What is made of several values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// The largest ("up to").
    Max,
    /// The smallest ("at least, everywhere").
    Min,
    /// The mean ("on average").
    Mean,
}

/// A range, open where an end is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Range {
    /// Smallest accepted value.
    pub at_least: Option<f64>,
    /// Largest accepted value.
    pub at_most: Option<f64>,
}

/// How a result may differ from the published one and still count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToleranceKind {
    /// A factor or share within a range.
    RatioRange,
    /// Only the order counts.
    RankOrder,
    /// A value within bounds.
    Bound,
}

impl Range {
    /// Whether a value lies in it.
    pub fn contains(self, value: f64) -> bool {
        self.at_least.is_none_or(|least| value >= least) && self.at_most.is_none_or(|most| value <= most)
    }
}

impl Take {
    /// Of no values there is none.
    pub fn of(self, values: &[f64]) -> Option<f64> {
        let all = values.iter().copied();
        match self {
            Self::Max => all.reduce(f64::max),
            Self::Min => all.reduce(f64::min),
            Self::Mean => (!values.is_empty()).then(|| all.sum::<f64>() / values.len() as f64),
        }
    }
}

impl Expectation {
    /// How a result may differ and still count.
    pub const fn tolerance(&self) -> ToleranceKind {
        match self {
            Self::Speedup(_) | Self::Saving(_) => ToleranceKind::RatioRange,
            Self::Ordering { .. } => ToleranceKind::RankOrder,
            Self::Value { .. } => ToleranceKind::Bound,
        }
    }

    /// Every system it names.
    pub fn systems(&self) -> Vec<&str> {
        match self {
            Self::Speedup(c) | Self::Saving(c) => {
                std::iter::once(&c.system).chain(&c.rivals).map(String::as_str).collect()
            }
            Self::Ordering { systems } => systems.iter().map(String::as_str).collect(),
            Self::Value { system, .. } => vec![system],
        }
    }
}

impl Claim {
    /// Where it is from: the place in the paper, or that it is a goal.
    pub fn origin(&self) -> &str {
        if self.is_goal { "goal of this testbed" } else { &self.paper }
    }

    /// How a result may differ and still count.
    pub fn tolerance(&self) -> ToleranceKind {
        match &self.measured {
            Some(expected) => expected.tolerance(),
            None => self.expectation.tolerance(),
        }
    }
}

impl ToleranceKind {
    /// In words, for the claims table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RatioRange => "ratio range",
            Self::RankOrder => "rank order",
            Self::Bound => "bound",
        }
    }
}
