//! The tidy long table of an experiment: one row per point, function, metric and statistic.

use crate::files::Table;
use crate::input::{ExperimentData, PointData};
use crate::metric::{self, Metric, Statistic};

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

/// The summary of an experiment. Points without runs have no rows.
pub fn summarise(data: &ExperimentData) -> Table {
    let mut table = Table::new(&COLUMNS);
    for point in &data.points {
        for (metric, statistic) in everything() {
            push(&mut table, data, point, metric, statistic, None);
        }
        for function in point.functions() {
            for (metric, statistic) in everything().filter(|(m, _)| m.per_function()) {
                push(&mut table, data, point, metric, statistic, Some(function));
            }
        }
    }
    table
}

fn everything() -> impl Iterator<Item = (Metric, Statistic)> {
    Metric::all().into_iter().flat_map(|m| m.statistics().iter().map(move |&s| (m, s)))
}

fn push(
    table: &mut Table,
    data: &ExperimentData,
    point: &PointData,
    metric: Metric,
    statistic: Statistic,
    function: Option<&str>,
) {
    let Some(estimate) = point.estimate(metric, statistic, function) else { return };
    let [value, low, high, n, estimator] = estimate.cells();
    table.push([
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
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{Shape, experiment};

    #[test]
    fn a_row_says_which_point_function_and_estimator_it_is() {
        let data = experiment(&Shape { seeds: 5, ..Shape::default() });
        let table = summarise(&data);
        let row = table
            .rows
            .iter()
            .find(|r| r[2] == "W1" && r[3] == "t-cxl" && r[4] == "all" && r[5] == "local")
            .unwrap();
        assert_eq!(row[0..8], ["e04", "W1 t-cxl", "W1", "t-cxl", "all", "local", "peak", "GiB"]);
        assert_eq!(row[11..], ["5", "median-bootstrap"]);
    }

    #[test]
    fn a_point_that_was_not_run_has_no_rows() {
        let data = experiment(&Shape { missing: vec!["t-rdma"], ..Shape::default() });
        assert!(summarise(&data).rows.iter().all(|row| row[3] != "t-rdma"));
    }
}
