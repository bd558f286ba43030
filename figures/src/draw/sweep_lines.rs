//! One statistic of one metric along a key that has several values, one line per system (or per value
//! of another axis), a cell for each value of the axes that are left.

use super::Plan;
use super::axis::{self, Scale};
use super::bars::which;
use super::canvas::{Canvas, Rect, Stroke};
use super::page::{self, Drawing, LegendMark};
use super::style::{DOUBLE, INK, SINGLE, WHITE};
use super::sweep::{self, Cell, Line, Sweep};
use crate::estimate::Estimate;
use crate::files::{Table, number};
use crate::metric;

const PLOT: f64 = 160.0;

pub fn draw(plan: &Plan<'_>) -> Result<Drawing, String> {
    let (metric, statistic) = plan.request.quantity();
    let sweep = sweep::arrange(plan);
    let title = metric::title(metric, statistic);
    let caption = format!(
        "{title}{} along {}: {}; {}.",
        which(plan.request),
        sweep.title.to_lowercase().replace("cxl", "CXL").replace("rdma", "RDMA").replace("gib", "GiB"),
        metric::over(statistic),
        plan.selection.seeds()
    );
    let (width, columns) = match sweep.cells.len() {
        0 | 1 => (SINGLE, 1),
        2 | 4 => (DOUBLE, 2),
        _ => (DOUBLE, 3),
    };
    let names = sweep.cells.iter().any(|cell| !cell.name.is_empty());
    let around = if names { 58.0 } else { 44.0 };
    let rows = sweep.cells.len().div_ceil(columns).max(1) as f64;
    let mut frame = plan.page(width, LegendMark::Line, &caption);
    frame.legend = sweep.lines.clone();
    let y = scale(plan, &sweep);
    let svg = frame.draw(rows * (PLOT + around), |canvas, area| {
        if sweep.cells.is_empty() {
            page::nothing(canvas, area);
        }
        for (cell, rect) in sweep.cells.iter().zip(page::grid(area, columns, sweep.cells.len(), (6.0, 0.0))) {
            let plot = Rect { h: PLOT, ..rect.inset(64.0, around - 38.0, 12.0, 38.0) };
            page::panel_title(canvas, plot, &cell.name);
            draw_cell(canvas, plot, plan, &sweep, cell, y, &title);
        }
    })?;
    Ok(Drawing { svg, table: table(plan, &sweep), caption })
}

/// One scale for all cells, so that they can be compared.
fn scale(plan: &Plan<'_>, sweep: &Sweep<'_>) -> Scale {
    let points = sweep.cells.iter().flat_map(|cell| &cell.lines).flat_map(|line| &line.points);
    let estimates: Vec<Estimate> = points.filter_map(|(_, point)| point.asked(plan.request)).collect();
    if plan.request.log {
        return Scale::log_over(estimates.iter().flat_map(|e| [e.bottom(), e.top()]));
    }
    match Scale::from_zero(estimates.iter().map(Estimate::top)) {
        // A share has no room above the whole.
        Scale::Linear { max, .. } if metric::unit(plan.request.quantity().0) == "share" && max > 1.0 => {
            Scale::Linear { min: 0.0, max: 1.0 }
        }
        scale => scale,
    }
}

fn draw_cell(
    canvas: &mut Canvas<'_>,
    plot: Rect,
    plan: &Plan<'_>,
    sweep: &Sweep<'_>,
    cell: &Cell<'_>,
    y: Scale,
    title: &str,
) {
    let (metric, _) = plan.request.quantity();
    axis::below_at(canvas, plot, sweep.scale, &sweep.marks, &sweep.title);
    axis::left(canvas, plot, y, axis::ticks_of(metric), Some(title));
    for line in &cell.lines {
        draw_line(canvas, plot, plan, sweep.scale, y, line);
    }
}

fn draw_line(canvas: &mut Canvas<'_>, plot: Rect, plan: &Plan<'_>, x: Scale, y: Scale, line: &Line<'_>) {
    let values: Vec<(f64, Estimate)> =
        line.points.iter().filter_map(|(at, point)| Some((*at, point.asked(plan.request)?))).collect();
    let path: Vec<_> = values.iter().map(|(at, e)| (x.x(*at, plot), y.y(e.value, plot))).collect();
    canvas.line(&path, page::line(&line.style));
    for ((_, estimate), &(at, _)) in values.iter().zip(&path) {
        let Some((low, high)) = estimate.interval else { continue };
        let (low, high) = (y.y(low, plot), y.y(high, plot));
        if low - high > 7.0 {
            for stroke in [Stroke::solid(WHITE, 2.0), Stroke::solid(INK, 0.9)] {
                canvas.line(&[(at, low), (at, high)], stroke);
                for end in [low, high] {
                    canvas.line(&[(at - 3.0, end), (at + 3.0, end)], stroke);
                }
            }
        }
    }
    for at in path {
        canvas.marker(at, line.style.marker, 3.2, line.style.colour);
    }
}

fn table(plan: &Plan<'_>, sweep: &Sweep<'_>) -> Table {
    let (metric, statistic) = plan.request.quantity();
    let mut table = Table::new(&[
        "cell",
        "line",
        "x_name",
        "x",
        "metric",
        "statistic",
        "unit",
        "value",
        "low",
        "high",
        "n",
        "estimator",
        "point",
    ]);
    for cell in &sweep.cells {
        for line in &cell.lines {
            for (x, point) in &line.points {
                let Some(estimate) = point.asked(plan.request) else { continue };
                let [value, low, high, n, estimator] = estimate.cells();
                let mark = sweep.marks.iter().find(|mark| mark.at == *x);
                table.push([
                    cell.name.clone(),
                    line.name.clone(),
                    sweep.title.clone(),
                    mark.map_or_else(|| number(*x), |mark| mark.text.clone()),
                    metric.name(),
                    statistic.name().to_owned(),
                    metric::unit(metric).to_owned(),
                    value,
                    low,
                    high,
                    n,
                    estimator,
                    point.label.clone(),
                ]);
            }
        }
    }
    table
}
