//! Where an invocation's time goes: mean queueing, start-up and service, one stacked bar per system.
//! For named functions a cell each; of a function alone only the start-up is kept apart.

use super::Plan;
use super::axis;
use super::bars::which;
use super::page::{Drawing, Series};
use super::stack::{self, Cell, Stack};
use super::style::{Colour, PARTS};
use crate::estimate::Estimate;
use crate::files::Table;
use crate::metric::{self, Metric, Statistic};

const QUEUEING: Colour = PARTS[0];
const STARTUP: Colour = PARTS[2];
const SERVICE: Colour = PARTS[3];

pub fn draw(plan: &Plan<'_>) -> Result<Drawing, String> {
    if plan.request.functions.is_empty() { draw_together(plan) } else { draw_each(plan) }
}

const TOGETHER: [(Metric, Colour); 3] =
    [(Metric::Queueing, QUEUEING), (Metric::Startup, STARTUP), (Metric::Service, SERVICE)];

fn draw_together(plan: &Plan<'_>) -> Result<Drawing, String> {
    let caption = format!(
        "Mean queueing, start-up and service{} over all functions: mean over seeds; intervals in the rows; {}.",
        which(plan.request),
        plan.selection.seeds()
    );
    let parts = ["queueing", "start-up", "service"].map(str::to_owned);
    let parts: Vec<_> = parts.into_iter().zip(TOGETHER.map(|(_, colour)| colour)).collect();
    let cells = stack::panels(plan);
    let svg = stack::draw(plan, &time(&parts), &cells, &caption, |_, series| {
        TOGETHER.iter().map(|&(metric, _)| Some(mean(plan, series, metric)?.value)).collect()
    })?;
    let mut table = Table::new(&COLUMNS);
    for panel in &plan.selection.panels {
        for series in &panel.series {
            for (metric, _) in TOGETHER {
                push(&mut table, &panel.name, series, "all", &metric.name(), mean(plan, series, metric));
            }
        }
    }
    Ok(Drawing { svg, table, caption })
}

fn draw_each(plan: &Plan<'_>) -> Result<Drawing, String> {
    let caption = format!(
        "Mean start-up, and queueing and service together, of each function: mean over seeds; intervals in \
         the rows; every function has its own scale; {}.",
        plan.selection.seeds()
    );
    let parts = [("start-up".to_owned(), STARTUP), ("queueing and service".to_owned(), SERVICE)];
    let functions = &plan.request.functions;
    let cells: Vec<_> = plan
        .selection
        .panels
        .iter()
        .flat_map(|panel| {
            functions.iter().map(move |function| Cell {
                name: format!("{} {function}", panel.name).trim().to_owned(),
                panel,
                function,
            })
        })
        .collect();
    let svg = stack::draw(plan, &time(&parts), &cells, &caption, |cell, series| {
        let [startup, rest] = split(series, cell.function);
        Some(vec![startup?.value, rest?.value])
    })?;
    let mut table = Table::new(&COLUMNS);
    for panel in &plan.selection.panels {
        for series in &panel.series {
            for function in functions {
                let [startup, rest] = split(series, function);
                push(&mut table, &panel.name, series, function, "startup", startup);
                push(&mut table, &panel.name, series, function, "queueing_and_service", rest);
            }
        }
    }
    Ok(Drawing { svg, table, caption })
}

fn time(parts: &[(String, Colour)]) -> Stack<'_> {
    Stack { parts, axis: "Mean time", ticks: axis::latency, value: axis::latency }
}

fn mean(plan: &Plan<'_>, series: &Series<'_>, metric: Metric) -> Option<Estimate> {
    let values = series.point.values_of_starts(metric, Statistic::Mean, &plan.request.starts);
    metric::over_seeds(Statistic::Mean).of(&values.into_values().collect::<Vec<_>>())
}

/// Start-up, and the rest of the end-to-end latency, seed by seed.
fn split(series: &Series<'_>, function: &str) -> [Option<Estimate>; 2] {
    let of = |metric| series.point.values(metric, Statistic::Mean, Some(function));
    let (all, startup) = (of(Metric::EndToEnd), of(Metric::Startup));
    let rest: Vec<f64> = all.iter().filter_map(|(seed, all)| Some(all - startup.get(seed)?)).collect();
    let startup: Vec<f64> = startup.into_values().collect();
    [startup, rest].map(|values| metric::over_seeds(Statistic::Mean).of(&values))
}

const COLUMNS: [&str; 9] =
    ["panel", "system", "function", "part", "mean_ms", "low", "high", "n", "estimator"];

fn push(
    table: &mut Table,
    panel: &str,
    series: &Series<'_>,
    function: &str,
    part: &str,
    estimate: Option<Estimate>,
) {
    let Some(estimate) = estimate else { return };
    let [value, low, high, n, estimator] = estimate.cells();
    table.push([
        panel.to_owned(),
        series.name.clone(),
        function.to_owned(),
        part.to_owned(),
        value,
        low,
        high,
        n,
        estimator,
    ]);
}
