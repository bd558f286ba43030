//! Experiments that measure this machine without any workload: what is asked for in `[measure]`, what came out.
//!
//! One file per kind. Each answers with rows and with the charts that show them; the store keeps both, and figures
//! are drawn from them without measuring again.

mod agents;
mod functions;
mod pools;
mod sandboxes;
mod templates;
mod vms;

use std::collections::BTreeMap;

use configs::Measure;
use runs::{Chart, MeasuredRow};

use crate::criu::Criu;
use crate::functions::Places;
use crate::guest::node::EMULATED_BY;

/// Version of what is measured and how; moves when earlier figures no longer mean the same.
pub const MEASURE_VERSION: u32 = 3;

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The values.
    pub rows: Vec<MeasuredRow>,
    /// How they are shown.
    pub charts: Vec<Chart>,
    /// What to know before believing them.
    pub warnings: Vec<String>,
    /// What was measured and did not do what it should: the command fails.
    pub wrong: Vec<String>,
    /// What stood in for something that the machine lacks.
    pub stand_ins: Vec<String>,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A function is not set up, or unknown.
    #[error(transparent)]
    Function(#[from] crate::functions::Error),
    /// The base image or a layer is missing.
    #[error(transparent)]
    World(#[from] crate::world::Refused),
    /// A microVM cannot be made.
    #[error(transparent)]
    Vm(#[from] crate::vm::Error),
    /// A template cannot be made or attached.
    #[error(transparent)]
    Template(#[from] crate::template::Error),
    /// The guest lab does not come up.
    #[error(transparent)]
    Lab(#[from] crate::guest::LabError),
    /// The guest does not do what it is asked to.
    #[error(transparent)]
    Guest(#[from] crate::guest::NodeError),
    /// What the guest measured is not there.
    #[error("the guest measured nothing: {0}")]
    Nothing(String),
    /// No sandbox can be made.
    #[error(transparent)]
    Sandbox(#[from] crate::sandbox::Error),
    /// Agents or their browsers cannot be run.
    #[error(transparent)]
    Agents(#[from] crate::agents::Error),
}

impl Error {
    /// Whether this machine lacks what microVMs or agents need: a set-up, memory, a right.
    #[must_use]
    pub fn is_lack(&self) -> bool {
        match self {
            Self::Vm(error) => error.is_lack(),
            Self::Agents(error) => error.is_lack(),
            _ => false,
        }
    }
}

/// Measures what is asked for, saying on standard error how far it is.
///
/// # Errors
/// If something is missing that all rows need. What only one row needs is noted in that row.
pub fn run(measure: &Measure, places: &Places) -> Result<Outcome, Error> {
    let mut outcome = measured(measure, places)?;
    if let Ok(by) = std::env::var(EMULATED_BY) {
        say_emulated(&mut outcome, &by);
    }
    Ok(outcome)
}

/// What was measured in a guest of the lab says so in every row.
fn say_emulated(outcome: &mut Outcome, by: &str) {
    let label = pools::label(by);
    for row in &mut outcome.rows {
        let with = if row.note.is_empty() { "" } else { "; " };
        row.note = format!("{}{with}{label}", row.note);
    }
    outcome.warnings.insert(0, label);
}

fn measured(measure: &Measure, places: &Places) -> Result<Outcome, Error> {
    match measure {
        Measure::Sandboxes { ways, starts } => sandboxes::run(ways, *starts),
        Measure::Functions { functions, starts, calls } => functions::run(places, functions, *starts, *calls),
        Measure::PageGroups { functions } => templates::page_groups(places, functions),
        Measure::Instances { functions, count } => templates::instances(places, functions, *count),
        Measure::Starts { functions, starts } => templates::starts(places, functions, *starts),
        Measure::VmStarts { methods, memory_mib, starts } => {
            vms::starts(places, methods, memory_mib, *starts)
        }
        Measure::PageCache { vms, memory_mib, files_mib } => {
            vms::page_cache(places, *vms, *memory_mib, files_mib)
        }
        Measure::Pools { function, tiers, starts, guests } => {
            pools::run(places, function, tiers, *starts, *guests)
        }
        Measure::Agents { count, in_vms, rounds, per_browser, speed } => {
            agents::run(places, *count, in_vms, *rounds, *per_browser, *speed)
        }
        Measure::Browsers { agents, per_browser, in_vms } => {
            agents::browsers(places, *agents, per_browser, in_vms)
        }
    }
}

/// What the figures depend on beside the machine and its kernel: with another of these they do not answer.
///
/// # Errors
/// If something is missing that all rows need.
pub fn made_with(measure: &Measure, places: &Places) -> Result<BTreeMap<String, String>, Error> {
    match measure {
        Measure::VmStarts { .. } | Measure::PageCache { .. } => vms::made_with(places),
        Measure::Agents { in_vms, .. } => Ok(agents::made_with(places, !in_vms.is_empty())),
        Measure::Browsers { in_vms, .. } => Ok(agents::made_with(places, !in_vms.is_empty())),
        Measure::Instances { .. } | Measure::Starts { .. } | Measure::Pools { .. } => {
            let version = Criu::find(&places.out).version();
            Ok([("CRIU".to_owned(), version.unwrap_or_else(|| "none".to_owned()))].into())
        }
        _ => Ok(BTreeMap::new()),
    }
}

/// Median and 99th percentile of measured values in the unit of the row; no P99 of fewer than 100 values.
pub(crate) fn quantiles(values: &mut [f64]) -> (Option<f64>, Option<f64>) {
    values.sort_by(f64::total_cmp);
    let at = |part: f64| values[((values.len() as f64 * part).ceil() as usize).clamp(1, values.len()) - 1];
    match values.len() {
        0 => (None, None),
        n if n < 100 => (Some(at(0.5)), None),
        _ => (Some(at(0.5)), Some(at(0.99))),
    }
}

/// Warnings that hold for every time measured here.
fn of_this_machine() -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut warnings = Vec::new();
    if cores < 4 {
        warnings
            .push(format!("{cores} cores: several at a time wait for a processor, not only for each other"));
    }
    if cfg!(debug_assertions) {
        warnings.push("a debug build: its times mean nothing".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_in_a_guest_says_so() {
        let note = |note: &str| MeasuredRow { note: note.into(), ..MeasuredRow::default() };
        let mut outcome = Outcome { rows: vec![note(""), note("a step")], ..Outcome::default() };
        say_emulated(&mut outcome, "tcg");
        let label = "In a guest under TCG, emulated device: functional, not timing";
        assert_eq!(outcome.rows, [note(label), note(&format!("a step; {label}"))]);
    }

    #[test]
    fn quantiles_are_values_that_occurred_and_tails_need_a_hundred() {
        assert_eq!(quantiles(&mut []), (None, None));
        assert_eq!(quantiles(&mut [3.0, 1.0, 2.0]), (Some(2.0), None));
        let mut many: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(quantiles(&mut many), (Some(100.0), Some(198.0)));
    }
}
