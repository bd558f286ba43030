//! Empirical distribution of the end-to-end latency of all invocations, one line per system,
//! logarithmic latency. All seeds of a system are pooled.

use super::Plan;
use super::axis::{self, Scale};
use super::canvas::{Canvas, Rect};
use super::page::{self, Drawing, LegendMark, Panel};
use crate::files::{Table, number};
use crate::reduce::merge;

const PLOT: f64 = 170.0;

pub fn draw(plan: &Plan<'_>) -> Result<Drawing, String> {
    let panels = &plan.selection.panels;
    let (width, columns) = page::layout(panels.len());
    let lines: Vec<Vec<Vec<(f64, f64)>>> = panels.iter().map(lines).collect();
    let caption = format!(
        "Share of all completed invocations whose end-to-end latency is at most the value; {} \
         pooled.",
        plan.selection.seeds()
    );
    let rows = panels.len().div_ceil(columns).max(1) as f64;
    let svg = plan.page(width, LegendMark::Line, &caption).draw(
        rows * (PLOT + page::around(panels)),
        |canvas, area| {
            for ((panel, lines), cell) in
                panels.iter().zip(&lines).zip(page::grid(area, columns, panels.len(), (10.0, 0.0)))
            {
                draw_panel(canvas, cell, panel, lines);
            }
        },
    )?;
    Ok(Drawing { svg, table: table(plan, &lines), caption })
}

/// `(ms, share at or below)` of every series.
fn lines(panel: &Panel<'_>) -> Vec<Vec<(f64, f64)>> {
    panel
        .series
        .iter()
        .map(|series| {
            let pooled = merge(series.point.seeds.iter().map(|s| s.run.end_to_end()));
            let all = pooled.count() as f64;
            let mut seen = 0;
            pooled
                .buckets
                .iter()
                .map(|&(us, n)| {
                    seen += n;
                    (us as f64 / 1e3, seen as f64 / all)
                })
                .collect()
        })
        .collect()
}

fn draw_panel(canvas: &mut Canvas<'_>, cell: Rect, panel: &Panel<'_>, lines: &[Vec<(f64, f64)>]) {
    let plot = cell.inset(52.0, page::title_room(panel), 14.0, 38.0);
    page::panel_title(canvas, plot, &panel.name);
    let x = Scale::log_over(lines.iter().flatten().map(|p| p.0));
    let y = Scale::Linear { min: 0.0, max: 1.0 };
    if lines.iter().all(Vec::is_empty) {
        return page::nothing(canvas, plot);
    }
    axis::below(canvas, plot, x, axis::latency, Some("End-to-end latency"));
    axis::left(canvas, plot, y, axis::percent, Some("Invocations"));
    for (which, (series, line)) in panel.series.iter().zip(lines).enumerate() {
        let mut path = Vec::with_capacity(line.len() * 2);
        let mut share = 0.0;
        for &(ms, up_to) in line {
            path.push((x.x(ms, plot), y.y(share, plot)));
            path.push((x.x(ms, plot), y.y(up_to, plot)));
            share = up_to;
        }
        canvas.line(&path, page::line(&series.style));
        // Markers at different heights, so that they do not cover each other.
        let offset = 0.03 * which as f64;
        for level in [0.2, 0.5, 0.8].map(|l| l + offset - 0.08) {
            if let Some(&(ms, _)) = line.iter().find(|p| p.1 >= level) {
                let at = (x.x(ms, plot), y.y(level, plot));
                canvas.marker(at, series.style.marker, 3.0, series.style.colour);
            }
        }
    }
}

fn table(plan: &Plan<'_>, lines: &[Vec<Vec<(f64, f64)>>]) -> Table {
    let mut table = Table::new(&["panel", "system", "end_to_end_ms", "share"]);
    for (panel, lines) in plan.selection.panels.iter().zip(lines) {
        for (series, line) in panel.series.iter().zip(lines) {
            for &(ms, share) in line {
                table.push([panel.name.clone(), series.name.clone(), number(ms), number(share)]);
            }
        }
    }
    table
}
