//! What figures with one row per system share: frame, caption, the paper's values.

use super::Plan;
use super::canvas::{Canvas, Rect, width_of};
use super::page::{self, LegendMark, Panel};
use super::style::{Dash, INK, Marker, SMALL, SeriesStyle};
use crate::figure::Reported;

/// Height of a row.
pub const ROW: f64 = 18.0;
/// Half width of a mark of the paper's, with room around it.
const MARK: f64 = 7.0;

/// The caption: what is shown, then the number of seeds and what triangles mean.
pub fn caption(plan: &Plan<'_>, shown: &str) -> String {
    let triangles = if !is_drawn(&plan.request.reported) { "" } else { " Triangles: the paper." };
    format!("{shown}; {}.{triangles}", plan.selection.seeds())
}

/// The drawing, one cell per panel.
pub fn draw(
    plan: &Plan<'_>,
    caption: &str,
    draw_panel: impl Fn(&mut Canvas<'_>, Rect, &Panel<'_>, &[Reported]),
) -> Result<String, String> {
    let panels = &plan.selection.panels;
    let (width, columns) = page::layout(panels.len());
    let most = panels.iter().map(|p| p.series.len()).max().unwrap_or(0).max(2) as f64;
    let rows = panels.len().div_ceil(columns).max(1) as f64;
    let mut frame = plan.page(width, LegendMark::Point, caption);
    frame.legend = legend(&plan.request.reported);
    frame.draw(rows * (most * ROW + page::around(panels)), |canvas, area| {
        for (panel, cell) in panels.iter().zip(page::grid(area, columns, panels.len(), (10.0, 0.0))) {
            draw_panel(canvas, cell, panel, &plan.request.reported);
        }
    })
}

/// The paper's values for one row.
pub fn reported<'a>(
    paper: &'a [Reported],
    panel: &'a Panel<'_>,
    series: &'a page::Series<'_>,
) -> impl Iterator<Item = f64> + 'a {
    paper.iter().filter(|v| v.panel == panel.name && v.system == series.name).filter_map(|v| v.value)
}

/// Whether any of them has a mark: a value of a system.
fn is_drawn(reported: &[Reported]) -> bool {
    reported.iter().any(|one| one.value.is_some())
}

/// Where a label of a row begins so that no mark stands in it: right of `from`, or of the marks there.
pub fn clear_of(from: f64, label: &str, marks: &[f64]) -> f64 {
    let mut marks = marks.to_vec();
    marks.sort_by(f64::total_cmp);
    let room = width_of(label, SMALL);
    marks.into_iter().fold(from, |x, mark| {
        if (x - MARK..=x + room + MARK).contains(&mark) { x.max(mark + MARK) } else { x }
    })
}

/// Systems are named at their rows; only the paper's values need an entry, where there are any.
fn legend(paper: &[Reported]) -> Vec<(String, SeriesStyle)> {
    let style = SeriesStyle { colour: INK, dash: Dash::Solid, marker: Marker::Down };
    is_drawn(paper).then(|| ("reported in the paper".to_owned(), style)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_stands_right_of_the_mark_that_is_in_its_way_and_of_no_other() {
        assert_eq!(clear_of(10.0, "17.2", &[12.0, 300.0]), 12.0 + MARK);
        assert_eq!(clear_of(10.0, "17.2", &[300.0]), 10.0);
        assert_eq!(clear_of(10.0, "17.2", &[]), 10.0);
    }
}
