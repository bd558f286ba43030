//! One statistic of one metric, one bar per system, from zero.

use super::Plan;
use super::axis::{self, Scale};
use super::canvas::{Anchor, Canvas, Lettering, Rect};
use super::page::{self, Drawing, Panel};
use super::rows::{self, ROW, reported};
use super::style::{INK, Marker};
use crate::figure::FigureSpec;
use crate::files::{Table, optional};
use crate::metric::{self, Metric, Statistic};

/// Largest node DRAM in use.
pub fn peak_memory(plan: &Plan<'_>) -> Result<Drawing, String> {
    let request = FigureSpec {
        metric: Some(Metric::Local),
        statistic: Some(Statistic::Peak),
        starts: Vec::new(),
        ..plan.request.clone()
    };
    let shown = "Largest memory in use at once in the nodes' DRAM over the cluster, burn-in left out: median \
                 over seeds with its 95 % interval";
    let plan = Plan { request: &request, ..*plan };
    let columns = ["peak_local_gib", "paper_gib"];
    draw_as(&plan, &rows::caption(&plan, shown), "Peak local memory (GiB)", columns)
}

/// What the request asks for.
pub fn draw(plan: &Plan<'_>) -> Result<Drawing, String> {
    let (metric, statistic) = plan.request.quantity();
    let title = metric::title(metric, statistic);
    let shown = format!("{title}{}: {}", which(plan.request), metric::over(statistic));
    draw_as(plan, &rows::caption(plan, &shown), &title, ["value", "paper"])
}

/// Of which invocations, where not of all.
pub fn which(request: &FigureSpec) -> String {
    match request.starts.as_slice() {
        [] => String::new(),
        starts => {
            let names: Vec<&str> = starts.iter().map(|start| start.name()).collect();
            format!(" of {} starts", names.join(", "))
        }
    }
}

fn draw_as(
    plan: &Plan<'_>,
    caption: &str,
    title: &str,
    columns: [&'static str; 2],
) -> Result<Drawing, String> {
    let svg =
        rows::draw(plan, caption, |canvas, cell, panel, _| draw_panel(canvas, cell, panel, plan, title))?;
    Ok(Drawing { svg, table: table(plan, columns), caption: caption.to_owned() })
}

fn draw_panel(canvas: &mut Canvas<'_>, cell: Rect, panel: &Panel<'_>, plan: &Plan<'_>, title: &str) {
    let paper = &plan.request.reported;
    let (metric, _) = plan.request.quantity();
    let room = page::name_room(panel.series.iter().map(|s| s.name.as_str()), cell.w);
    let plot = cell.inset(room, page::title_room(panel), 44.0, 38.0);
    let plot = Rect { h: (panel.series.len().max(2) as f64) * ROW, ..plot };
    page::panel_title(canvas, plot, &panel.name);
    let tops = panel.series.iter().filter_map(|s| s.point.asked(plan.request)).map(|e| e.top());
    let x = Scale::from_zero(tops.chain(panel.series.iter().flat_map(|s| reported(paper, panel, s))));
    axis::below(canvas, plot, x, axis::ticks_of(metric), Some(title));
    if panel.series.is_empty() {
        page::nothing(canvas, plot);
    }
    for (row, series) in panel.series.iter().enumerate() {
        let y = plot.y + (row as f64 + 0.5) * ROW;
        page::row_name(canvas, plot.x, y, room, &series.name);
        let Some(estimate) = series.point.asked(plan.request) else { continue };
        let end = x.x(estimate.value, plot);
        let bar = Rect { x: plot.x, y: y - 5.5, w: end - plot.x, h: 11.0 };
        canvas.fill(bar, series.style.colour);
        if let Some((low, high)) = estimate.interval.map(|(low, high)| (x.x(low, plot), x.x(high, plot)))
            && high - low > 2.0
        {
            canvas.whisker(y, low, high, 3.0);
        }
        let mut marks = Vec::new();
        for value in reported(paper, panel, series) {
            canvas.marker((x.x(value, plot), y), Marker::Down, 4.2, super::style::WHITE);
            canvas.marker((x.x(value, plot), y), Marker::Down, 3.2, INK);
            marks.push(x.x(value, plot));
        }
        let value = axis::value_of(metric)(estimate.value);
        let at = (rows::clear_of(x.x(estimate.top(), plot) + 6.0, &value, &marks), y);
        canvas.text(at, &value, Lettering::small(Anchor::Start));
    }
}

fn table(plan: &Plan<'_>, [column, paper]: [&'static str; 2]) -> Table {
    let mut table = Table::new(&["panel", "system", column, "low", "high", "n", "estimator", paper]);
    for panel in &plan.selection.panels {
        for series in &panel.series {
            let Some(estimate) = series.point.asked(plan.request) else { continue };
            let reported =
                plan.request.reported.iter().find(|v| v.panel == panel.name && v.system == series.name);
            let [value, low, high, n, estimator] = estimate.cells();
            table.push([
                panel.name.clone(),
                series.name.clone(),
                value,
                low,
                high,
                n,
                estimator,
                optional(reported.and_then(|v| v.value)),
            ]);
        }
    }
    table
}
