//! The tidy long table of an experiment: one row per point, function, metric and statistic.

use crate::error::Result;
use crate::files::TableFile;
use crate::input::{ExperimentData, PointData};
use crate::metric::{self, Metric, Statistic};
use platform::records::{Outcome, StartKind};
use std::path::Path;

/// Columns of `summary.csv`. `function` is `all` for values over all invocations; `low` and `high`
/// are the 95 % interval over `n` seeds, empty below five seeds; `estimator` says how (see
/// [`crate::estimate`]).
pub const COLUMNS: [&str; 13] = [
    "experiment",
    "point",
    "panel",
    "system",
    "function",
    "metric",
    "statistic",
    "unit",
    "value",
    "low",
    "high",
    "n",
    "estimator",
];

/// What one looks at first.
const MAIN: [(Metric, Statistic); 7] = [
    (Metric::EndToEnd, Statistic::P50),
    (Metric::EndToEnd, Statistic::P99),
    (Metric::Startup, Statistic::P99),
    (Metric::StartShare(StartKind::Warm), Statistic::Total),
    (Metric::Outcomes(Outcome::Completed), Statistic::Total),
    (Metric::Local, Statistic::Peak),
    (Metric::Local, Statistic::Mean),
];

/// A row of `summary.csv`, by [`COLUMNS`].
pub type Row = [String; COLUMNS.len()];

/// Writes the summary of an experiment, a point at a time: a sweep may have more rows than memory should hold.
/// Points without runs have no rows.
///
/// # Errors
/// [`crate::Error`] if the file cannot be written; then it is as it was before.
pub fn write(data: &ExperimentData, path: &Path) -> Result<()> {
    let mut table = TableFile::create(path, &COLUMNS)?;
    for point in &data.points {
        for row in of_all(data, point).chain(of_functions(data, point)) {
            table.push(&row)?;
        }
    }
    table.finish()
}

/// Values over all invocations of a point.
pub fn of_all<'a>(data: &'a ExperimentData, point: &'a PointData) -> impl Iterator<Item = Row> + 'a {
    everything().filter_map(|(metric, statistic)| row(data, point, metric, statistic, None))
}

/// What one looks at first of a point, over all invocations.
pub fn main<'a>(data: &'a ExperimentData, point: &'a PointData) -> impl Iterator<Item = Row> + 'a {
    MAIN.iter().filter_map(|&(metric, statistic)| row(data, point, metric, statistic, None))
}

/// Values of each function of a point.
fn of_functions<'a>(data: &'a ExperimentData, point: &'a PointData) -> impl Iterator<Item = Row> + 'a {
    point.functions().into_iter().flat_map(move |function| {
        everything()
            .filter(|(metric, _)| metric.per_function())
            .filter_map(move |(metric, statistic)| row(data, point, metric, statistic, Some(function)))
    })
}

fn everything() -> impl Iterator<Item = (Metric, Statistic)> {
    Metric::all().into_iter().flat_map(|m| m.statistics().iter().map(move |&s| (m, s)))
}

fn row(
    data: &ExperimentData,
    point: &PointData,
    metric: Metric,
    statistic: Statistic,
    function: Option<&str>,
) -> Option<Row> {
    let [value, low, high, n, estimator] = point.estimate(metric, statistic, function)?.cells();
    Some([
        data.id.clone(),
        point.label.clone(),
        point.panel.clone(),
        point.system.clone(),
        function.unwrap_or("all").to_owned(),
        metric.name(),
        statistic.name().to_owned(),
        metric::unit(metric).to_owned(),
        value,
        low,
        high,
        n,
        estimator,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{Shape, experiment};

    fn written(data: &ExperimentData) -> Vec<csv::StringRecord> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/summary.csv");
        write(data, &path).unwrap();
        let mut reader = csv::Reader::from_path(&path).unwrap();
        assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), COLUMNS);
        reader.records().map(|row| row.unwrap()).collect()
    }

    #[test]
    fn a_row_says_which_point_function_and_estimator_it_is() {
        let rows = written(&experiment(&Shape { seeds: 5, ..Shape::default() }));
        let is_local =
            |r: &&csv::StringRecord| (&r[2], &r[3], &r[4], &r[5]) == ("W1", "t-cxl", "all", "local");
        let row: Vec<&str> = rows.iter().find(is_local).unwrap().iter().collect();
        assert_eq!(row[0..8], ["e04", "W1 t-cxl", "W1", "t-cxl", "all", "local", "peak", "GiB"]);
        assert_eq!(row[11..], ["5", "median-bootstrap"]);
        assert!(rows.iter().any(|row| &row[4] != "all"));
    }

    #[test]
    fn a_point_that_was_not_run_has_no_rows() {
        let rows = written(&experiment(&Shape { missing: vec!["t-rdma"], ..Shape::default() }));
        assert!(!rows.is_empty() && rows.iter().all(|row| &row[3] != "t-rdma"));
    }
}
