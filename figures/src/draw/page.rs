//! What all figures share: which points they show, the legend strip, the notes, the panels.

use super::canvas::{Anchor, Canvas, Lettering, Rect, Stroke, fit, paint, width_of, wrap};
use super::style::{self, ALERT, Colour, INK, SMALL, SOFT, SeriesStyle, TEXT};
use crate::figure::FigureSpec;
use crate::files::Table;
use crate::input::{ExperimentData, PointData, Shortfall, StandIn};
use std::collections::BTreeMap;

/// A finished drawing.
pub struct Drawing {
    /// The SVG.
    pub svg: String,
    /// The rows drawn.
    pub table: Table,
    /// What is shown and how to read it.
    pub caption: String,
}

/// The points of a figure, by panel, and what is missing of them.
pub struct Selection<'a> {
    /// In the order drawn.
    pub panels: Vec<Panel<'a>>,
    /// Systems in the order of the legend.
    pub systems: Vec<String>,
    /// One sentence per missing thing, and per stand-in.
    pub notes: Vec<String>,
}

/// One panel.
pub struct Panel<'a> {
    /// Its name; empty where there is only one.
    pub name: String,
    /// In the order drawn; only points that have runs.
    pub series: Vec<Series<'a>>,
}

/// One system in one panel.
pub struct Series<'a> {
    /// What the legend calls it.
    pub name: String,
    /// How it looks.
    pub style: SeriesStyle,
    /// Its runs.
    pub point: &'a PointData,
}

impl<'a> Selection<'a> {
    /// The points a request asks for: all panels and systems, or those it names.
    pub fn of(data: &'a ExperimentData, request: &FigureSpec) -> Self {
        let mut lacking = BTreeMap::new();
        let panel_names = if request.panels.is_empty() {
            first_seen(data.points.iter().map(|p| p.panel.as_str()))
        } else {
            request.panels.clone()
        };
        let wanted = |p: &PointData| request.systems.is_empty() || request.systems.contains(&p.system);
        let mut panels = Vec::new();
        for name in panel_names {
            let points: Vec<_> = data.points.iter().filter(|p| p.panel == name && wanted(p)).collect();
            for (what, which) in points.iter().filter_map(|p| p.shortfall()) {
                lacking.entry(what).or_insert_with(Vec::new).push(which);
            }
            for system in &request.systems {
                if !points.iter().any(|p| p.system == *system) {
                    let which = format!("{name} {system}").trim().to_owned();
                    lacking.entry(Shortfall::NotPlanned).or_insert_with(Vec::new).push(which);
                }
            }
            panels.push(Panel { series: series(&points, &request.systems), name });
        }
        let mut systems = first_seen(panels.iter().flat_map(|p| &p.series).map(|s| s.name.as_str()));
        order(&mut systems, &request.systems);
        let mut notes: Vec<String> =
            lacking.iter().map(|(what, which)| format!("{}: {}", what.name(), which.join(", "))).collect();
        let drawn = panels.iter().flat_map(|p| &p.series).map(|s| s.point.seeds.len());
        if drawn.into_iter().any(|n| n < crate::estimate::MIN_SEEDS) {
            notes.push("Fewer than 5 seeds: values without intervals".into());
        }
        let drawn = |one: &&StandIn| {
            let shown =
                |system: &String| panels.iter().flat_map(|p| &p.series).any(|s| s.point.system == *system);
            one.systems.is_empty() || one.systems.iter().any(shown)
        };
        notes.extend(data.stand_ins.iter().filter(drawn).map(|one| format!("Stand-in: {}", one.told())));
        Self { panels, systems, notes }
    }

    /// `n = 10 seeds`, or the range where points differ.
    pub fn seeds(&self) -> String {
        let counts = || self.panels.iter().flat_map(|p| &p.series).map(|s| s.point.seeds.len());
        match (counts().min(), counts().max()) {
            (Some(min), Some(max)) if min == max => format!("n = {max} seed{}", plural(max)),
            (Some(min), Some(max)) => format!("n = {min} to {max} seeds"),
            _ => "no runs".into(),
        }
    }

    /// Legend entries, one per system.
    pub fn legend(&self) -> Vec<(String, SeriesStyle)> {
        let all = || self.panels.iter().flat_map(|p| &p.series);
        self.systems
            .iter()
            .filter_map(|name| all().find(|s| s.name == *name).map(|s| (name.clone(), s.style)))
            .collect()
    }
}

/// `s`, except for one.
pub fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

fn first_seen<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    for name in names {
        if !seen.iter().any(|s| s == name) {
            seen.push(name.to_owned());
        }
    }
    seen
}

fn order(names: &mut [String], asked: &[String]) {
    let place =
        |name: &String| asked.iter().position(|a| a == name).unwrap_or(asked.len() + style::rank(name));
    names.sort_by_key(place);
}

/// Points that have runs, in the order of systems. A system that has several points in the panel is
/// named by the points' labels.
fn series<'a>(points: &[&'a PointData], asked: &[String]) -> Vec<Series<'a>> {
    let mut drawn: Vec<_> = points.iter().filter(|p| !p.seeds.is_empty()).copied().collect();
    drawn.sort_by_key(|p| {
        asked.iter().position(|a| *a == p.system).unwrap_or(asked.len() + style::rank(&p.system))
    });
    let alone = |p: &PointData| drawn.iter().filter(|q| q.system == p.system).count() == 1;
    drawn
        .iter()
        .map(|p| match alone(p) {
            true => Series { name: p.system.clone(), style: style::of(&p.system), point: p },
            false => Series { name: p.label.clone(), style: style::of(&p.label), point: p },
        })
        .collect()
}

/// What a legend entry shows beside its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum LegendMark {
    /// A piece of the line with its marker.
    Line,
    /// The marker.
    Point,
    /// A filled box.
    Box,
}

/// A figure's frame: legend strip on top, notes below, the body between.
pub struct Page {
    /// Width in pixels.
    pub width: f64,
    /// What a screen reader says.
    pub label: String,
    /// Entries of the legend strip.
    pub legend: Vec<(String, SeriesStyle)>,
    /// Their look.
    pub mark: LegendMark,
    /// Printed below the body.
    pub notes: Vec<String>,
}

const MARGIN: f64 = 6.0;
const LEGEND_ROW: f64 = 16.0;
const NOTE_ROW: f64 = 13.0;

impl Page {
    /// Draws the frame and lets `body` fill a box of the page's width and this height.
    pub fn draw(&self, body_height: f64, body: impl FnOnce(&mut Canvas<'_>, Rect)) -> Result<String, String> {
        let room = self.width - 2.0 * MARGIN;
        let legend = self.legend_rows(room);
        let notes: Vec<String> = self.notes.iter().flat_map(|note| wrap(note, room, SMALL)).collect();
        let top = MARGIN + legend.len() as f64 * LEGEND_ROW;
        let height = top + body_height + notes.len() as f64 * NOTE_ROW + MARGIN;
        paint(self.width, height, &self.label, |canvas| {
            canvas.fill(Rect { x: 0.0, y: 0.0, w: self.width, h: height }, style::WHITE);
            for (row, entries) in legend.iter().enumerate() {
                self.legend_row(canvas, entries, MARGIN + (row as f64 + 0.5) * LEGEND_ROW);
            }
            body(canvas, Rect { x: MARGIN, y: top, w: room, h: body_height });
            for (row, note) in notes.iter().enumerate() {
                let y = top + body_height + (row as f64 + 0.5) * NOTE_ROW;
                canvas.text((MARGIN, y), note, Lettering::small(Anchor::Start).colour(ALERT));
            }
        })
    }

    fn mark_width(&self) -> f64 {
        match self.mark {
            LegendMark::Line => 28.0,
            LegendMark::Point | LegendMark::Box => 12.0,
        }
    }

    fn entry_width(&self, name: &str) -> f64 {
        self.mark_width() + 4.0 + width_of(name, TEXT) + 10.0
    }

    fn legend_rows(&self, room: f64) -> Vec<Vec<&(String, SeriesStyle)>> {
        let mut rows: Vec<Vec<_>> = Vec::new();
        let mut used = f64::INFINITY;
        for entry in &self.legend {
            let width = self.entry_width(&entry.0);
            if used + width > room {
                rows.push(Vec::new());
                used = 0.0;
            }
            used += width;
            if let Some(row) = rows.last_mut() {
                row.push(entry);
            }
        }
        rows
    }

    fn legend_row(&self, canvas: &mut Canvas<'_>, entries: &[&(String, SeriesStyle)], y: f64) {
        let mut x = MARGIN;
        for (name, style) in entries {
            let end = x + self.mark_width();
            let middle = (f64::midpoint(x, end), y);
            match self.mark {
                LegendMark::Line => {
                    canvas.line(&[(x, y), (end, y)], line(style));
                    canvas.marker(middle, style.marker, 3.2, style.colour);
                }
                LegendMark::Point => canvas.marker(middle, style.marker, 3.6, style.colour),
                LegendMark::Box => swatch(canvas, Rect { x, y: y - 5.0, w: 10.0, h: 10.0 }, style.colour),
            }
            let how = Lettering::new(TEXT, Anchor::Start);
            let room = self.width - end - MARGIN - 4.0;
            canvas.text((end + 4.0, y), &fit(name, room, TEXT), how);
            x += self.entry_width(name);
        }
    }
}

/// The line of a series.
pub fn line(style: &SeriesStyle) -> Stroke {
    Stroke { colour: style.colour, width: 1.5, dash: style.dash }
}

/// A filled box with a thin rim, so that light fills show on paper.
pub fn swatch(canvas: &mut Canvas<'_>, rect: Rect, colour: Colour) {
    canvas.fill(rect, colour);
    canvas.outline(rect, Stroke::solid(SOFT, 0.5));
}

/// Boxes for panels side by side, `columns` in a row.
pub fn grid(area: Rect, columns: usize, count: usize, gap: (f64, f64)) -> Vec<Rect> {
    let columns = columns.max(1);
    let rows = count.div_ceil(columns).max(1);
    let w = (area.w - gap.0 * (columns - 1) as f64) / columns as f64;
    let h = (area.h - gap.1 * (rows - 1) as f64) / rows as f64;
    (0..count)
        .map(|i| Rect {
            x: area.x + (i % columns) as f64 * (w + gap.0),
            y: area.y + (i / columns) as f64 * (h + gap.1),
            w,
            h,
        })
        .collect()
}

/// Width of a figure and columns of panels in it: one panel fits a column of the page.
pub fn layout(panels: usize) -> (f64, usize) {
    if panels <= 1 { (style::SINGLE, 1) } else { (style::DOUBLE, 2) }
}

/// Room for a panel's name.
pub fn title_room(panel: &Panel<'_>) -> f64 {
    if panel.name.is_empty() { 6.0 } else { 20.0 }
}

/// Room above and below the plots of panels, for names and axes.
pub fn around(panels: &[Panel<'_>]) -> f64 {
    panels.iter().map(title_room).fold(6.0, f64::max) + 38.0
}

/// The name of a panel, centred above its box.
pub fn panel_title(canvas: &mut Canvas<'_>, rect: Rect, name: &str) {
    let at = (rect.x + rect.w / 2.0, rect.y - 8.0);
    // It may reach a little over both ends: beside a plot there is only room for the axis of the next one.
    let name = fit(name, rect.w + 40.0, TEXT);
    canvas.text(at, &name, Lettering::new(TEXT, Anchor::Middle).bold().colour(INK));
}

/// Says in an empty box that there is nothing to draw.
pub fn nothing(canvas: &mut Canvas<'_>, rect: Rect) {
    let at = (rect.x + rect.w / 2.0, rect.y + rect.h / 2.0);
    canvas.text(at, "no data", Lettering::new(TEXT, Anchor::Middle).colour(SOFT));
}

/// Room for names left of rows: what the longest needs, at most a share of the width.
pub fn name_room<'a>(names: impl Iterator<Item = &'a str>, width: f64) -> f64 {
    let longest = names.map(|n| width_of(n, SMALL)).fold(0.0, f64::max);
    (longest + 8.0).min(width * 0.5)
}

/// A row's name, left of its row.
pub fn row_name(canvas: &mut Canvas<'_>, x: f64, y: f64, room: f64, name: &str) {
    canvas.text((x - 6.0, y), &fit(name, room - 6.0, SMALL), Lettering::small(Anchor::End));
}
