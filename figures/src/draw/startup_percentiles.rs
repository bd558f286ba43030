//! P50, P90 and P99 of the start-up latency of starts that were not warm, one row per system,
//! logarithmic. Warm starts take next to no time; how many there are is another figure.

use super::Plan;
use super::axis::{self, Scale};
use super::canvas::{Anchor, Canvas, Lettering, Rect};
use super::latency_percentiles::draw_row;
use super::page::{self, Drawing, Panel, Series};
use super::rows::{self, ROW, reported};
use super::style::{INK, Marker, SOFT, WHITE};
use crate::estimate::Estimate;
use crate::figure::Reported;
use crate::files::{Table, optional};
use crate::metric::{self, Metric, Statistic};
use platform::records::StartKind;

const NOT_WARM: [StartKind; 3] = [StartKind::Cold, StartKind::Restored, StartKind::Repurposed];
const SHOWN: [Statistic; 3] = [Statistic::P50, Statistic::P90, Statistic::P99];

pub fn draw(plan: &Plan<'_>) -> Result<Drawing, String> {
    let caption = rows::caption(
        plan,
        "Start-up latency, warm starts left out: P50 (ring), P90 (tick), P99 (filled, with its value); \
         median over seeds, whiskers: 95 % interval of P50 and P99 where wider than the marker",
    );
    Ok(Drawing { svg: rows::draw(plan, &caption, draw_panel)?, table: table(plan), caption })
}

fn startup(series: &Series<'_>, statistic: Statistic) -> Option<Estimate> {
    let values = series.point.values_of_starts(Metric::Startup, statistic, &NOT_WARM);
    let values: Vec<f64> = values.into_values().collect();
    metric::over_seeds(statistic).of(&values)
}

fn draw_panel(canvas: &mut Canvas<'_>, cell: Rect, panel: &Panel<'_>, paper: &[Reported]) {
    let room = page::name_room(panel.series.iter().map(|s| s.name.as_str()), cell.w);
    let plot = cell.inset(room, page::title_room(panel), 50.0, 38.0);
    let plot = Rect { h: (panel.series.len().max(2) as f64) * ROW, ..plot };
    page::panel_title(canvas, plot, &panel.name);
    let shown = panel.series.iter().flat_map(|s| SHOWN.iter().filter_map(|&q| startup(s, q)));
    let ends = shown.flat_map(|e| [e.bottom(), e.top()]);
    let x = Scale::log_over(ends.chain(panel.series.iter().flat_map(|s| reported(paper, panel, s))));
    axis::below(canvas, plot, x, axis::latency, Some("Start-up latency"));
    if panel.series.is_empty() {
        page::nothing(canvas, plot);
    }
    for (row, series) in panel.series.iter().enumerate() {
        let y = plot.y + (row as f64 + 0.5) * ROW;
        page::row_name(canvas, plot.x, y, room, &series.name);
        let [low, middle, high] = SHOWN.map(|q| startup(series, q));
        draw_row(canvas, plot, x, y, series.style, [low, middle, None, high]);
        let marks: Vec<f64> = reported(paper, panel, series).map(|value| x.x(value, plot)).collect();
        for mark in &marks {
            canvas.marker((*mark, y - 1.0), Marker::Down, 4.2, WHITE);
            canvas.marker((*mark, y - 1.0), Marker::Down, 3.2, INK);
        }
        if high.is_none() {
            let how = Lettering::small(Anchor::Start).colour(SOFT);
            canvas.text((plot.x + 2.0, y), "only warm starts, or none", how);
        }
        if let Some(p99) = high {
            let label = axis::latency(p99.value);
            let at = (rows::clear_of(x.x(p99.top(), plot) + 7.0, &label, &marks), y);
            canvas.text(at, &label, Lettering::small(Anchor::Start));
        }
    }
}

fn table(plan: &Plan<'_>) -> Table {
    let mut table = Table::new(&[
        "panel",
        "system",
        "starts",
        "statistic",
        "startup_ms",
        "low",
        "high",
        "n",
        "estimator",
        "paper_ms",
    ]);
    for panel in &plan.selection.panels {
        for series in &panel.series {
            for statistic in SHOWN {
                let Some(estimate) = startup(series, statistic) else { continue };
                let reported = plan.request.reported.iter().find(|v| {
                    v.panel == panel.name
                        && v.system == series.name
                        && v.statistic.unwrap_or(Statistic::P99) == statistic
                });
                let [value, low, high, n, estimator] = estimate.cells();
                table.push([
                    panel.name.clone(),
                    series.name.clone(),
                    "not warm".to_owned(),
                    statistic.name().to_owned(),
                    value,
                    low,
                    high,
                    n,
                    estimator,
                    optional(reported.and_then(|v| v.value)),
                ]);
            }
        }
    }
    table
}
