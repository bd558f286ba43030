//! Largest node DRAM in use, one bar per system, from zero.

use super::Plan;
use super::axis::{self, Scale};
use super::canvas::{Anchor, Canvas, Lettering, Rect, width_of};
use super::page::{self, Drawing, Panel};
use super::rows::{self, ROW, reported};
use super::style::{INK, Marker, SMALL};
use crate::estimate::Estimate;
use crate::figure::PaperValue;
use crate::files::{Table, optional};
use crate::metric::{Metric, Statistic};

pub fn draw(plan: &Plan<'_>) -> Result<Drawing, String> {
    let caption = rows::caption(
        plan,
        "Largest memory in use at once in the nodes' DRAM over the cluster, burn-in left out: median \
         over seeds with its 95 % interval",
    );
    Ok(Drawing { svg: rows::draw(plan, &caption, draw_panel)?, table: table(plan), caption })
}

fn peak(series: &page::Series<'_>) -> Option<Estimate> {
    series.point.estimate(Metric::Local, Statistic::Peak, None)
}

fn draw_panel(canvas: &mut Canvas<'_>, cell: Rect, panel: &Panel<'_>, paper: &[PaperValue]) {
    let room = page::name_room(panel.series.iter().map(|s| s.name.as_str()), cell.w);
    let plot = cell.inset(room, page::title_room(panel), 34.0, 38.0);
    let plot = Rect { h: (panel.series.len().max(2) as f64) * ROW, ..plot };
    page::panel_title(canvas, plot, &panel.name);
    let tops = panel.series.iter().filter_map(peak).map(|e| e.top());
    let x = Scale::from_zero(tops.chain(panel.series.iter().flat_map(|s| reported(paper, panel, s))));
    axis::below(canvas, plot, x, axis::plain, Some("Peak local memory (GiB)"));
    if panel.series.is_empty() {
        page::nothing(canvas, plot);
    }
    for (row, series) in panel.series.iter().enumerate() {
        let y = plot.y + (row as f64 + 0.5) * ROW;
        page::row_name(canvas, plot.x, y, room, &series.name);
        let Some(estimate) = peak(series) else { continue };
        let end = x.x(estimate.value, plot);
        let bar = Rect { x: plot.x, y: y - 5.5, w: end - plot.x, h: 11.0 };
        canvas.fill(bar, series.style.colour);
        if let Some((low, high)) = estimate.interval {
            canvas.whisker(y, x.x(low, plot), x.x(high, plot), 3.0);
        }
        let mut after = x.x(estimate.top(), plot);
        for value in reported(paper, panel, series) {
            canvas.marker((x.x(value, plot), y), Marker::Down, 4.2, super::style::WHITE);
            canvas.marker((x.x(value, plot), y), Marker::Down, 3.2, INK);
            let near = (after - x.x(value, plot)).abs() < width_of("00.0", SMALL);
            after = if near { after.max(x.x(value, plot)) } else { after };
        }
        canvas.text((after + 6.0, y), &axis::three_digits(estimate.value), Lettering::small(Anchor::Start));
    }
}

fn table(plan: &Plan<'_>) -> Table {
    let mut table =
        Table::new(&["panel", "system", "peak_local_gib", "low", "high", "n", "estimator", "paper_gib"]);
    for panel in &plan.selection.panels {
        for series in &panel.series {
            let Some(estimate) = peak(series) else { continue };
            let reported =
                plan.request.paper.iter().find(|v| v.panel == panel.name && v.system == series.name);
            let [value, low, high, n, estimator] = estimate.cells();
            table.push([
                panel.name.clone(),
                series.name.clone(),
                value,
                low,
                high,
                n,
                estimator,
                optional(reported.map(|v| v.value)),
            ]);
        }
    }
    table
}
