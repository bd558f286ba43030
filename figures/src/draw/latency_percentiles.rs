//! P50, P75, P90 and P99 of the end-to-end latency per function and system.
//!
//! Up to [`MOST_FUNCTIONS`] functions are small multiples: a cell per function, a row per system.
//! More are summarised: the distribution over functions of P99 divided by the baseline's P99.

use super::Plan;
use super::axis::{self, Scale};
use super::canvas::{Anchor, Canvas, Lettering, Rect, Stroke, fit};
use super::page::{self, Drawing, LegendMark, Panel, Series};
use super::style::{DOUBLE, INK, SMALL, SOFT, SeriesStyle, TEXT};
use crate::estimate::Estimate;
use crate::files::{Table, number};
use crate::metric::{Metric, PERCENTILES, Statistic};
use std::collections::BTreeSet;

/// Most functions that are shown one by one.
pub const MOST_FUNCTIONS: usize = 16;
const COLUMNS: usize = 4;
const ROW: f64 = 12.0;
const PLOT: f64 = 170.0;
/// Half width of a marker; a whisker that is not wider is not drawn.
const MARKER: f64 = 3.2;

pub fn draw(plan: &Plan<'_>) -> Result<Drawing, String> {
    let panels = &plan.selection.panels;
    let count = |p| functions(plan, p).len();
    if panels.iter().map(count).max().unwrap_or(0) <= MOST_FUNCTIONS {
        draw_each(plan)
    } else {
        draw_distribution(plan)
    }
}

fn functions<'a>(plan: &Plan<'_>, panel: &Panel<'a>) -> Vec<&'a str> {
    let all: BTreeSet<&str> = panel.series.iter().flat_map(|s| s.point.functions()).collect();
    let asked = &plan.request.functions;
    all.into_iter().filter(|f| asked.is_empty() || asked.iter().any(|a| a == f)).collect()
}

fn latency(series: &Series<'_>, function: &str) -> [Option<Estimate>; 4] {
    PERCENTILES.map(|(s, _)| series.point.estimate(Metric::EndToEnd, s, Some(function)))
}

fn draw_each(plan: &Plan<'_>) -> Result<Drawing, String> {
    let caption = format!(
        "End-to-end latency per function: P50 (ring), P75 and P90 (ticks), P99 (filled); median \
         over seeds, whiskers: 95 % interval of P50 and P99 where wider than the marker; every \
         function has its own logarithmic scale; {}.",
        plan.selection.seeds()
    );
    let blocks = blocks(plan);
    let heights: Vec<f64> = blocks.iter().map(Block::height).collect();
    let svg = plan.page(DOUBLE, LegendMark::Point, &caption).draw(
        heights.iter().sum::<f64>(),
        |canvas, area| {
            let mut y = area.y;
            for (block, h) in blocks.iter().zip(&heights) {
                draw_block(canvas, Rect { y, h: *h, ..area }, block);
                y += h;
            }
        },
    )?;
    Ok(Drawing { svg, table: table(plan), caption })
}

/// Cells below one heading; none where there is nothing to tell apart.
struct Block<'a> {
    heading: &'a str,
    cells: Vec<Cell<'a>>,
}

struct Cell<'a> {
    title: &'a str,
    panel: &'a Panel<'a>,
    function: &'a str,
}

/// A block for each panel; panels of one function each stand side by side, by their own names.
fn blocks<'a>(plan: &'a Plan<'_>) -> Vec<Block<'a>> {
    let cells = |panel: &'a Panel<'a>| -> Vec<Cell<'a>> {
        functions(plan, panel).into_iter().map(|function| Cell { title: function, panel, function }).collect()
    };
    let panels = &plan.selection.panels;
    let all: Vec<Vec<Cell<'a>>> = panels.iter().map(cells).collect();
    if panels.len() > 1 && all.iter().all(|cells| cells.len() == 1) {
        let named = all.into_iter().flatten().map(|cell| Cell { title: &cell.panel.name, ..cell });
        return vec![Block { heading: "", cells: named.collect() }];
    }
    panels.iter().zip(all).map(|(panel, cells)| Block { heading: &panel.name, cells }).collect()
}

impl Block<'_> {
    fn cell_height(&self) -> f64 {
        let rows = self.cells.iter().map(|cell| cell.panel.series.len()).max().unwrap_or(0);
        rows.max(3) as f64 * ROW + 40.0
    }

    fn height(&self) -> f64 {
        let rows = self.cells.len().div_ceil(COLUMNS).max(1) as f64;
        rows * self.cell_height() + if self.heading.is_empty() { 4.0 } else { 22.0 }
    }
}

fn draw_block(canvas: &mut Canvas<'_>, area: Rect, block: &Block<'_>) {
    let mut area = area;
    if !block.heading.is_empty() {
        let at = (area.x, area.y + 11.0);
        canvas.text(at, &fit(block.heading, area.w, 12.0), Lettering::new(12.0, Anchor::Start).bold());
        canvas.line(&[(area.x, area.y + 19.5), (area.right(), area.y + 19.5)], Stroke::solid(SOFT, 0.6));
        area = area.inset(0.0, 22.0, 0.0, 0.0);
    }
    if block.cells.is_empty() {
        return page::nothing(canvas, area);
    }
    let names = block.cells.iter().flat_map(|cell| &cell.panel.series).map(|series| series.name.as_str());
    let room = page::name_room(names, 280.0);
    let places = page::grid(area.inset(room, 0.0, 16.0, 0.0), COLUMNS, block.cells.len(), (22.0, 0.0));
    for (which, (cell, place)) in block.cells.iter().zip(places).enumerate() {
        let plot = Rect { y: place.y + 18.0, h: block.cell_height() - 40.0, ..place };
        let title = (plot.x, plot.y - 8.0);
        canvas.text(title, &fit(cell.title, plot.w, TEXT), Lettering::new(TEXT, Anchor::Start));
        draw_cell(canvas, plot, cell.panel, cell.function);
        if which % COLUMNS == 0 {
            for (row, series) in cell.panel.series.iter().enumerate() {
                page::row_name(canvas, plot.x, plot.y + (row as f64 + 0.5) * ROW, room, &series.name);
            }
        }
    }
}

fn draw_cell(canvas: &mut Canvas<'_>, plot: Rect, panel: &Panel<'_>, function: &str) {
    let rows: Vec<_> = panel.series.iter().map(|s| latency(s, function)).collect();
    let ends = rows.iter().flatten().flatten().flat_map(|e| [e.bottom(), e.top()]);
    let x = Scale::log_over(ends);
    if rows.iter().flatten().any(Option::is_some) {
        axis::below(canvas, plot, x, axis::latency, None);
    }
    for (row, (series, values)) in panel.series.iter().zip(rows).enumerate() {
        let y = plot.y + (row as f64 + 0.5) * ROW;
        if values.iter().all(Option::is_none) {
            let how = Lettering::new(SMALL - 1.0, Anchor::Start).colour(SOFT);
            canvas.text((plot.x + 2.0, y), "none completed", how);
        }
        draw_row(canvas, plot, x, y, series.style, values);
    }
}

/// A row of a dot plot: the lowest value as a ring, the highest as the system's marker, those
/// between as ticks, a line through all; whiskers at both ends.
pub fn draw_row(
    canvas: &mut Canvas<'_>,
    plot: Rect,
    x: Scale,
    y: f64,
    style: SeriesStyle,
    values: [Option<Estimate>; 4],
) {
    let at = |e: &Estimate| x.x(e.value, plot);
    let [first, second, third, last] = values;
    if let (Some(a), Some(b)) = (&first, &last) {
        canvas.line(&[(at(a), y), (at(b), y)], Stroke::solid(style.colour, 1.6));
    }
    for middle in [second, third].iter().flatten() {
        let x = at(middle);
        canvas.line(&[(x, y - 3.2), (x, y + 3.2)], Stroke::solid(style.colour, 1.6));
    }
    for (low, high) in [first, last].iter().flatten().filter_map(|e| e.interval) {
        let (low, high) = (x.x(low, plot), x.x(high, plot));
        if high - low > 2.0 * MARKER {
            canvas.whisker(y, low, high, 3.4);
        }
    }
    if let Some(a) = &first {
        canvas.ring((at(a), y), 2.4, style.colour);
    }
    if let Some(b) = &last {
        canvas.marker((at(b), y), style.marker, MARKER, style.colour);
    }
}

fn table(plan: &Plan<'_>) -> Table {
    let mut table = Table::new(&[
        "panel",
        "function",
        "system",
        "statistic",
        "end_to_end_ms",
        "low",
        "high",
        "n",
        "estimator",
    ]);
    for panel in &plan.selection.panels {
        for function in functions(plan, panel) {
            for series in &panel.series {
                for ((statistic, _), estimate) in PERCENTILES.iter().zip(latency(series, function)) {
                    let Some(estimate) = estimate else { continue };
                    let [value, low, high, n, estimator] = estimate.cells();
                    table.push([
                        panel.name.clone(),
                        function.to_owned(),
                        series.name.clone(),
                        statistic.name().to_owned(),
                        value,
                        low,
                        high,
                        n,
                        estimator,
                    ]);
                }
            }
        }
    }
    table
}

/// Per series: `(P99 / baseline's P99, function)` of every function both have, sorted.
fn normalised<'a>(plan: &Plan<'_>, panel: &Panel<'a>, baseline: &str) -> Vec<Vec<(f64, &'a str)>> {
    let p99 = |series: &Series<'_>, function: &str| {
        series.point.estimate(Metric::EndToEnd, Statistic::P99, Some(function)).map(|e| e.value)
    };
    let functions = functions(plan, panel);
    let Some(base) = panel.series.iter().find(|s| s.name == baseline) else {
        return panel.series.iter().map(|_| Vec::new()).collect();
    };
    let bases: Vec<_> = functions.iter().map(|f| p99(base, f).filter(|v| *v > 0.0)).collect();
    panel
        .series
        .iter()
        .map(|series| {
            let mut ratios: Vec<(f64, &str)> = functions
                .iter()
                .zip(&bases)
                .filter_map(|(f, base)| Some((p99(series, f)? / (*base)?, *f)))
                .collect();
            ratios.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(b.1)));
            ratios
        })
        .collect()
}

fn draw_distribution(plan: &Plan<'_>) -> Result<Drawing, String> {
    let panels = &plan.selection.panels;
    let first = plan.selection.systems.first().cloned().unwrap_or_default();
    let baseline = plan.request.baseline.clone().unwrap_or(first);
    let ratios: Vec<_> = panels.iter().map(|p| normalised(plan, p, &baseline)).collect();
    let counts: Vec<_> =
        ratios.iter().map(|r| r.iter().map(Vec::len).max().unwrap_or(0).to_string()).collect();
    let caption = format!(
        "P99 end-to-end latency of each function divided by that of {baseline}: share of functions \
         at or below the value (left of 1: faster than {baseline}); {} functions; median over \
         seeds, {}.",
        counts.join(" and "),
        plan.selection.seeds()
    );
    let (width, columns) = page::layout(panels.len());
    let rows = panels.len().div_ceil(columns).max(1) as f64;
    let svg = plan.page(width, LegendMark::Line, &caption).draw(
        rows * (PLOT + page::around(panels)),
        |canvas, area| {
            for ((panel, ratios), cell) in
                panels.iter().zip(&ratios).zip(page::grid(area, columns, panels.len(), (10.0, 0.0)))
            {
                draw_ratios(canvas, cell, panel, ratios, &baseline);
            }
        },
    )?;
    let mut table = Table::new(&["panel", "system", "function", "p99_ratio", "share"]);
    for (panel, ratios) in panels.iter().zip(&ratios) {
        for (series, ratios) in panel.series.iter().zip(ratios) {
            for (i, (ratio, function)) in ratios.iter().enumerate() {
                table.push([
                    panel.name.clone(),
                    series.name.clone(),
                    (*function).to_owned(),
                    number(*ratio),
                    number((i + 1) as f64 / ratios.len() as f64),
                ]);
            }
        }
    }
    Ok(Drawing { svg, table, caption })
}

fn draw_ratios(
    canvas: &mut Canvas<'_>,
    cell: Rect,
    panel: &Panel<'_>,
    ratios: &[Vec<(f64, &str)>],
    baseline: &str,
) {
    let plot = cell.inset(52.0, page::title_room(panel), 14.0, 38.0);
    page::panel_title(canvas, plot, &panel.name);
    let x = Scale::log_over(ratios.iter().flatten().map(|r| r.0));
    let y = Scale::Linear { min: 0.0, max: 1.0 };
    let title = fit(&format!("P99 divided by that of {baseline}"), plot.w, TEXT);
    axis::below(canvas, plot, x, axis::plain, Some(&title));
    axis::left(canvas, plot, y, axis::percent, Some("Functions"));
    if ratios.iter().all(Vec::is_empty) {
        return page::nothing(canvas, plot);
    }
    let one = x.x(1.0, plot);
    canvas.line(&[(one, plot.y), (one, plot.bottom())], Stroke::solid(INK, 0.7));
    for (which, (series, ratios)) in panel.series.iter().zip(ratios).enumerate() {
        if series.name == baseline {
            continue;
        }
        let all = ratios.len() as f64;
        let mut path = Vec::with_capacity(ratios.len() * 2);
        for (i, (ratio, _)) in ratios.iter().enumerate() {
            path.push((x.x(*ratio, plot), y.y(i as f64 / all, plot)));
            path.push((x.x(*ratio, plot), y.y((i + 1) as f64 / all, plot)));
        }
        canvas.line(&path, page::line(&series.style));
        for part in [0.2, 0.5, 0.8] {
            let share = part + 0.03 * which as f64 - 0.08;
            if let Some((ratio, _)) = ratios.get((share * all) as usize) {
                let at = (x.x(*ratio, plot), y.y(share, plot));
                canvas.marker(at, series.style.marker, 3.0, series.style.colour);
            }
        }
    }
}
