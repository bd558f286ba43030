//! Sandboxes: each way to obtain isolation, as a whole and step by step, beside what was published about the steps.

use runs::{Chart, MeasuredRow};

use super::{Error, Outcome};
use crate::bench_sandbox::{Quantiles, Row, Settings, Way, goals, run as measure};
use crate::goal::Goal;
use crate::sandbox::steps::STEPS;
use crate::sandbox::{Config, Mode, Program};

/// Measures with a routine that does nothing as the function.
pub(super) fn run(ways: &[u32], starts: u32) -> Result<Outcome, Error> {
    let mut config = Config::new(Mode::New);
    config.ready = ways.iter().copied().max().unwrap_or(1) as usize * 2;
    let rows = measure(&Settings {
        config,
        program: Program::call("pause", [""; 0]),
        ways: ways.iter().map(|ways| *ways as usize).collect(),
        starts: starts as usize,
        modes: Way::ALL.to_vec(),
    })?;
    let goals = goals(&rows);
    let mut warnings = super::of_this_machine();
    warnings.extend(goals.iter().filter(|goal| goal.met == Some(false)).map(missed));
    Ok(Outcome {
        rows: rows.iter().flat_map(rows_of).chain(goals.iter().map(row_of_goal)).collect(),
        charts: vec![
            Chart::wholes("sandbox-start", "Start of a sandbox on this machine", "start", "Median (ms)"),
            Chart::parts(
                "sandbox-steps",
                "Steps of a start on this machine",
                "step",
                "Median of each step (ms)",
            ),
            Chart::wholes(
                "sandbox-end",
                "What is taken apart after a start, on this machine",
                "end",
                "Median (ms)",
            ),
        ],
        warnings,
        wrong: Vec::new(),
        stand_ins: Vec::new(),
    })
}

/// A goal as a row: what was measured, with the limit and whether it keeps to it.
fn row_of_goal(goal: &Goal) -> MeasuredRow {
    let sign = if goal.at_most { "at most" } else { "at least" };
    let verdict = if goal.met == Some(true) { "met" } else { "missed" };
    let (subject, metric) = goal.what.split_once(": ").unwrap_or(("", &goal.what));
    MeasuredRow {
        panel: goal.of.clone(),
        subject: subject.to_owned(),
        metric: format!("goal: {metric}"),
        unit: goal.unit.to_owned(),
        n: 1,
        median: goal.measured,
        note: format!("{sign} {} {}: {verdict}", goal.limit, goal.unit),
        ..MeasuredRow::default()
    }
}

fn missed(goal: &Goal) -> String {
    let (sign, measured) =
        (if goal.at_most { "at most" } else { "at least" }, goal.measured.unwrap_or(f64::NAN));
    format!(
        "goal missed: {}, {}: {measured:.2} {u}, not {sign} {} {u}",
        goal.what,
        goal.of,
        goal.limit,
        u = goal.unit
    )
}

fn rows_of(row: &Row) -> Vec<MeasuredRow> {
    let of = |metric: &str| MeasuredRow {
        panel: format!("{} at a time", row.ways),
        subject: row.way.name().to_owned(),
        metric: metric.to_owned(),
        unit: "ms".to_owned(),
        n: row.starts as u64,
        ..MeasuredRow::default()
    };
    let whole = |metric, times: Quantiles| MeasuredRow {
        median: Some(times.median_us / 1e3),
        interval: times.interval_us.map(|(low, high)| (low / 1e3, high / 1e3)),
        p99: (row.starts >= 100).then_some(times.p99_us / 1e3),
        ..of(metric)
    };
    let mut rows = vec![whole("start", row.start)];
    rows.extend(row.destroy.map(|times| whole("end", times)));
    for (step, name, what, published) in STEPS {
        let Some(median) = row.steps.get(name) else { continue };
        let metric = if step.is_of_an_end() { "step of an end" } else { "step" };
        rows.push(MeasuredRow {
            part: (*name).to_owned(),
            median: Some(median / 1e3),
            published: (*published).to_owned(),
            note: (*what).to_owned(),
            ..of(metric)
        });
    }
    rows
}
