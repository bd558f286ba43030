//! How completed invocations got their sandbox, one stacked bar per system.

use super::Plan;
use super::axis::{self, Scale};
use super::canvas::{Anchor, Canvas, Lettering, Rect, width_of};
use super::page::{self, Drawing, LegendMark, Panel, Series};
use super::style::{Colour, Dash, INK, Marker, PARTS, SMALL, SeriesStyle, WHITE};
use crate::estimate::Estimate;
use crate::files::Table;
use crate::metric::{Metric, Statistic};
use platform::records::StartKind;

const ROW: f64 = 17.0;
/// From dark to light: what costs most is darkest.
const KINDS: [(StartKind, Colour); 4] = [
    (StartKind::Cold, PARTS[0]),
    (StartKind::Restored, PARTS[1]),
    (StartKind::Repurposed, PARTS[2]),
    (StartKind::Warm, PARTS[3]),
];

pub fn draw(plan: &Plan<'_>) -> Result<Drawing, String> {
    let panels = &plan.selection.panels;
    let (width, columns) = page::layout(panels.len());
    let caption = format!(
        "Completed invocations by how they got their sandbox: mean over seeds; intervals in the \
         rows; {}.",
        plan.selection.seeds()
    );
    let most = panels.iter().map(|p| p.series.len()).max().unwrap_or(0).max(2) as f64;
    let rows = panels.len().div_ceil(columns).max(1) as f64;
    let mut frame = plan.page(width, LegendMark::Box, &caption);
    frame.legend = KINDS
        .map(|(kind, colour)| {
            (kind.name().to_owned(), SeriesStyle { colour, dash: Dash::Solid, marker: Marker::Square })
        })
        .into();
    let svg = frame.draw(rows * (most * ROW + page::around(panels)), |canvas, area| {
        for (panel, cell) in panels.iter().zip(page::grid(area, columns, panels.len(), (10.0, 0.0))) {
            draw_panel(canvas, cell, panel);
        }
    })?;
    Ok(Drawing { svg, table: table(plan), caption })
}

fn share(series: &Series<'_>, kind: StartKind) -> Option<Estimate> {
    series.point.estimate(Metric::StartShare(kind), Statistic::Total, None)
}

fn draw_panel(canvas: &mut Canvas<'_>, cell: Rect, panel: &Panel<'_>) {
    let room = page::name_room(panel.series.iter().map(|s| s.name.as_str()), cell.w);
    let plot = cell.inset(room, page::title_room(panel), 22.0, 38.0);
    let plot = Rect { h: (panel.series.len().max(2) as f64) * ROW, ..plot };
    page::panel_title(canvas, plot, &panel.name);
    let x = Scale::Linear { min: 0.0, max: 1.0 };
    axis::below(canvas, plot, x, axis::percent, Some("Completed invocations"));
    if panel.series.is_empty() {
        page::nothing(canvas, plot);
    }
    for (row, series) in panel.series.iter().enumerate() {
        let y = plot.y + (row as f64 + 0.5) * ROW;
        page::row_name(canvas, plot.x, y, room, &series.name);
        let mut from = 0.0;
        for (kind, colour) in KINDS {
            let Some(estimate) = share(series, kind) else { continue };
            let (left, right) = (x.x(from, plot), x.x(from + estimate.value, plot));
            from += estimate.value;
            if right - left < 0.3 {
                continue;
            }
            let part = Rect { x: left, y: y - 6.0, w: right - left, h: 12.0 };
            page::swatch(canvas, part, colour);
            let text = format!("{:.0} %", estimate.value * 100.0);
            if width_of(&text, SMALL) + 6.0 < part.w {
                let dark = matches!(kind, StartKind::Cold | StartKind::Restored);
                let how = Lettering::small(Anchor::Middle).colour(if dark { WHITE } else { INK });
                canvas.text((f64::midpoint(left, right), y), &text, how);
            }
        }
    }
}

fn table(plan: &Plan<'_>) -> Table {
    let mut table = Table::new(&["panel", "system", "start", "share", "low", "high", "n", "estimator"]);
    for panel in &plan.selection.panels {
        for series in &panel.series {
            for (kind, _) in KINDS {
                let Some(estimate) = share(series, kind) else { continue };
                let [value, low, high, n, estimator] = estimate.cells();
                table.push([
                    panel.name.clone(),
                    series.name.clone(),
                    kind.name().to_owned(),
                    value,
                    low,
                    high,
                    n,
                    estimator,
                ]);
            }
        }
    }
    table
}
