//! Claims about measurements: rows with a median and its interval, where claims about runs have seeds.
//!
//! A quantity is a row's value, or the sum of some of its parts, of one subject in one panel. Three things can be
//! expected of it: a ratio to the same quantity of other subjects, a bound, and its share of a larger sum of parts.

use super::{Range, Take, ToleranceKind};

/// What is expected of an experiment's measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// The quantity: the rows of one metric.
    pub metric: String,
    /// Its unit, as the rows have it.
    pub unit: Unit,
    /// The parts that are summed; empty: all of a row's parts.
    pub parts: Vec<String>,
    /// In which panels; empty: in each that has the subjects.
    pub panels: Vec<String>,
    /// Which value of a row.
    pub value: Value,
    /// From so many measurements on a value decides without an interval: 1 for what is counted, not sampled.
    pub enough: Option<u32>,
    /// Whether a result that something stood in for decides nothing, as times under software emulation.
    pub without_stand_in: bool,
    /// What must hold.
    pub expectation: Expectation,
}

/// What must hold of a quantity.
#[derive(Clone, Debug, PartialEq)]
pub enum Expectation {
    /// The rivals' divided by the subject's lies in a range.
    Ratio {
        /// The subject; its name, or the beginning of it with `*`.
        subject: String,
        /// What it is compared with.
        rivals: Vec<String>,
        /// What is made of the ratios of several panels and rivals.
        take: Take,
        /// The range.
        range: Range,
    },
    /// It lies in a range, in the unit.
    Bound {
        /// Of these subjects; empty: of each.
        subjects: Vec<String>,
        /// What is made of the values of several; `None`: each must lie in the range.
        take: Option<Take>,
        /// The range.
        range: Range,
    },
    /// Divided by a sum of parts it lies in a range.
    Share {
        /// Of these subjects; empty: of each.
        subjects: Vec<String>,
        /// The parts that are the whole.
        of: Vec<String>,
        /// What is made of the shares of several; `None`: each must lie in the range.
        take: Option<Take>,
        /// The range, as shares.
        range: Range,
    },
}

/// Which value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Half are at most this.
    Median,
    /// 99 of 100 are at most this.
    P99,
}

/// Units of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// MiB.
    MiB,
    /// Percent.
    Percent,
    /// Counts.
    One,
}

impl Unit {
    /// Every unit.
    pub const ALL: [Self; 5] = [Self::Milliseconds, Self::Seconds, Self::MiB, Self::Percent, Self::One];

    /// As rows have it; nothing for counts.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::MiB => "MiB",
            Self::Percent => "%",
            Self::One => "",
        }
    }
}

impl Value {
    /// The word in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Median => "median",
            Self::P99 => "p99",
        }
    }
}

impl Expected {
    /// How a result may differ and still count.
    pub fn tolerance(&self) -> ToleranceKind {
        match &self.expectation {
            Expectation::Bound { .. } => ToleranceKind::Bound,
            Expectation::Ratio { .. } | Expectation::Share { .. } => ToleranceKind::RatioRange,
        }
    }

    /// Where it must lie.
    pub fn range(&self) -> Range {
        match &self.expectation {
            Expectation::Ratio { range, .. }
            | Expectation::Bound { range, .. }
            | Expectation::Share { range, .. } => *range,
        }
    }
}

/// Whether a name is meant by a pattern: the same, or what begins as it does before its `*`.
pub fn is_meant(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_end_of_a_name() {
        assert!(is_meant("own browser*", "own browser (for e2b)") && is_meant("boot", "boot"));
        assert!(!is_meant("boot", "boots") && !is_meant("own*", "an own"));
    }
}
