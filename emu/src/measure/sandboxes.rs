//! Sandboxes: each way to obtain isolation, as a whole and step by step, beside what was published about the steps.

use runs::{Chart, MeasuredRow};

use super::{Error, Outcome};
use crate::bench_sandbox::{Quantiles, Row, Settings, Way, run as measure};
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
    Ok(Outcome {
        rows: rows.iter().flat_map(rows_of).collect(),
        charts: vec![
            Chart::wholes("sandbox-start", "Start of a sandbox on this machine", "start", "Median (ms)"),
            Chart::parts(
                "sandbox-steps",
                "Steps of a start on this machine",
                "step",
                "Median of each step (ms)",
            ),
            Chart::wholes("sandbox-end", "End of a sandbox on this machine", "end", "Median (ms)"),
        ],
        warnings: super::of_this_machine(),
        stand_ins: Vec::new(),
    })
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
