//! Stacked bars: one row per system, its parts side by side from zero.

use super::Plan;
use super::axis::{self, Scale};
use super::canvas::{Anchor, Canvas, Lettering, Rect, width_of};
use super::page::{self, LegendMark, Panel, Series};
use super::style::{Colour, Dash, INK, Marker, SMALL, SeriesStyle, WHITE, is_dark};

const ROW: f64 = 17.0;

/// A cell: a panel, or a function of one.
pub struct Cell<'p, 'a> {
    pub name: String,
    pub panel: &'p Panel<'a>,
    /// The function, where the cell is of one.
    pub function: &'p str,
}

/// A cell for each panel.
pub fn panels<'p, 'a>(plan: &'p Plan<'a>) -> Vec<Cell<'p, 'a>> {
    let panels = plan.selection.panels.iter();
    panels.map(|panel| Cell { name: panel.name.clone(), panel, function: "" }).collect()
}

/// How a figure of stacked bars looks.
pub struct Stack<'s> {
    /// Names of the parts with their fills, in the order stacked.
    pub parts: &'s [(String, Colour)],
    /// Title of the axis.
    pub axis: &'s str,
    /// How values are written at ticks and beside bars.
    pub ticks: fn(f64) -> String,
    pub value: fn(f64) -> String,
}

/// Draws the cells. `of` gives each part's value of a row; `None` of a row without any.
pub fn draw(
    plan: &Plan<'_>,
    stack: &Stack<'_>,
    cells: &[Cell<'_, '_>],
    caption: &str,
    of: impl Fn(&Cell<'_, '_>, &Series<'_>) -> Option<Vec<f64>>,
) -> Result<String, String> {
    let (width, columns) = page::layout(cells.len());
    let most = cells.iter().map(|c| c.panel.series.len()).max().unwrap_or(0).max(2) as f64;
    let rows = cells.len().div_ceil(columns).max(1) as f64;
    let mut frame = plan.page(width, LegendMark::Box, caption);
    let style = |colour| SeriesStyle { colour, dash: Dash::Solid, marker: Marker::Square };
    frame.legend = stack.parts.iter().map(|(name, colour)| (name.clone(), style(*colour))).collect();
    let title = if cells.iter().all(|c| c.name.is_empty()) { 6.0 } else { 20.0 };
    frame.draw(rows * (most * ROW + title + 38.0), |canvas, area| {
        for (cell, rect) in cells.iter().zip(page::grid(area, columns, cells.len(), (10.0, 0.0))) {
            draw_cell(canvas, rect.inset(0.0, title, 0.0, 0.0), stack, cell, &|series| of(cell, series));
        }
    })
}

fn draw_cell(
    canvas: &mut Canvas<'_>,
    rect: Rect,
    stack: &Stack<'_>,
    cell: &Cell<'_, '_>,
    of: &dyn Fn(&Series<'_>) -> Option<Vec<f64>>,
) {
    let rows = &cell.panel.series;
    let room = page::name_room(rows.iter().map(|s| s.name.as_str()), rect.w);
    let plot = rect.inset(room, 0.0, 46.0, 38.0);
    let plot = Rect { h: (rows.len().max(2) as f64) * ROW, ..plot };
    page::panel_title(canvas, plot, &cell.name);
    let values: Vec<_> = rows.iter().map(of).collect();
    let x = Scale::from_zero(values.iter().flatten().map(|parts| parts.iter().sum()));
    axis::below(canvas, plot, x, stack.ticks, Some(stack.axis));
    if rows.is_empty() {
        page::nothing(canvas, plot);
    }
    for (row, (series, parts)) in rows.iter().zip(values).enumerate() {
        let y = plot.y + (row as f64 + 0.5) * ROW;
        page::row_name(canvas, plot.x, y, room, &series.name);
        let Some(parts) = parts else { continue };
        let mut from = 0.0;
        for (value, (_, colour)) in parts.iter().zip(stack.parts) {
            let (left, right) = (x.x(from, plot), x.x(from + value, plot));
            from += value;
            if right - left < 0.3 {
                continue;
            }
            let part = Rect { x: left, y: y - 6.0, w: right - left, h: 12.0 };
            page::swatch(canvas, part, *colour);
            let text = (stack.value)(*value);
            if width_of(&text, SMALL) + 6.0 < part.w {
                let ink = if is_dark(*colour) { WHITE } else { INK };
                let how = Lettering::small(Anchor::Middle).colour(ink);
                canvas.text((f64::midpoint(left, right), y), &text, how);
            }
        }
        let how = Lettering::small(Anchor::Start);
        canvas.text((x.x(from, plot) + 5.0, y), &(stack.value)(from), how);
    }
}
