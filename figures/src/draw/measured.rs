//! What was measured without any workload: one row per subject, a bar for the whole or its parts side by side.

use super::axis::{self, Scale};
use super::canvas::{Anchor, Canvas, Lettering, Rect, width_of};
use super::page::{self, LegendMark, Page};
use super::rows::clear_of;
use super::style::{self, Dash, INK, MANY_PARTS, Marker, SMALL, SeriesStyle, WHITE, is_dark};
use runs::{Chart, MeasuredRow, Measurement};
use std::collections::{BTreeMap, BTreeSet};

const ROW: f64 = 17.0;
/// Room below a plot, for its axis.
const BELOW: f64 = 38.0;
/// Name of the small parts together.
const OTHERS: &str = "other steps";

/// A panel: its name, its subjects, each with its rows.
type Panel<'a> = (&'a str, Vec<(&'a str, Vec<&'a MeasuredRow>)>);

/// The drawing, or `None` without any row of the chart.
pub fn draw(measured: &Measurement, chart: &Chart) -> Result<Option<String>, String> {
    let rows: Vec<&MeasuredRow> = measured.rows.iter().filter(|row| row.metric == chart.metric).collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let panels = panels(&rows);
    let parts = if chart.parts { parts(&rows) } else { Vec::new() };
    let (width, columns) = page::layout(panels.len());
    let most = panels.iter().map(|(_, subjects)| subjects.len()).max().unwrap_or(0).max(2) as f64;
    let lines = panels.len().div_ceil(columns).max(1) as f64;
    let title = if panels.iter().all(|(name, _)| name.is_empty()) { 6.0 } else { 20.0 };
    let style = |colour| SeriesStyle { colour, dash: Dash::Solid, marker: Marker::Square };
    let frame = Page {
        width,
        label: format!("{}. {}", chart.title, caption(measured, chart)),
        legend: parts
            .iter()
            .enumerate()
            .map(|(i, part)| ((*part).to_owned(), style(MANY_PARTS[i])))
            .collect(),
        mark: LegendMark::Box,
        notes: notes(measured, chart),
    };
    let svg = frame.draw(lines * (most * ROW + title + BELOW), |canvas, area| {
        for (panel, cell) in panels.iter().zip(page::grid(area, columns, panels.len(), (10.0, 0.0))) {
            draw_panel(canvas, cell.inset(0.0, title, 0.0, 0.0), panel, chart, &parts);
        }
    })?;
    Ok(Some(svg))
}

/// What is shown and how to read it.
pub fn caption(measured: &Measurement, chart: &Chart) -> String {
    let counts = || measured.rows.iter().filter(|row| row.metric == chart.metric).map(|row| row.n);
    let n = match (counts().min().unwrap_or(0), counts().max().unwrap_or(0)) {
        (min, max) if min == max => format!("n = {max}"),
        (min, max) => format!("n = {min} to {max}"),
    };
    let what = if chart.parts { "Median of each part" } else { "Median" };
    let environment = &measured.environment;
    let cores = environment.cores.map_or_else(String::new, |cores| format!(", {cores} cores"));
    let cpu = environment.cpu_model.as_deref().unwrap_or("unknown processor");
    let kernel = environment.kernel.as_deref().unwrap_or("unknown");
    let mut published: Vec<(&str, &str)> = Vec::new();
    for row in measured.rows.iter().filter(|row| row.metric == chart.metric) {
        let of = (row.part.as_str(), row.published.as_str());
        if !of.1.is_empty() && !of.1.starts_with("no") && !published.contains(&of) {
            published.push(of);
        }
    }
    let beside: Vec<String> = published.iter().map(|(part, text)| format!("{part} {text}")).collect();
    let beside =
        if beside.is_empty() { String::new() } else { format!(" Published: {}.", beside.join("; ")) };
    let reported = |row: &MeasuredRow| row.metric == chart.metric && row.reported.is_some();
    let triangles = if measured.rows.iter().any(reported) { " Triangles: the paper." } else { "" };
    // What holds for all of them has to be read with them.
    let of = |row: &&MeasuredRow| row.metric == chart.metric && row.median.is_some();
    let notes: BTreeSet<&str> = measured.rows.iter().filter(of).map(|row| row.note.as_str()).collect();
    let all = match notes.first() {
        Some(note) if notes.len() == 1 && !note.is_empty() => format!(" {note}."),
        _ => String::new(),
    };
    format!("{what} measured on one machine ({cpu}{cores}, kernel {kernel}), {n}.{triangles}{all}{beside}")
}

fn panels<'a>(rows: &[&'a MeasuredRow]) -> Vec<Panel<'a>> {
    let mut panels: Vec<Panel<'a>> = Vec::new();
    for &row in rows {
        let at = panels.iter().position(|(name, _)| *name == row.panel).unwrap_or_else(|| {
            panels.push((&row.panel, Vec::new()));
            panels.len() - 1
        });
        let subjects = &mut panels[at].1;
        match subjects.iter_mut().find(|(name, _)| *name == row.subject) {
            Some((_, rows)) => rows.push(row),
            None => subjects.push((&row.subject, vec![row])),
        }
    }
    panels
}

/// Parts in the order met; where there are more than fills, the smaller ones are one part together.
fn parts<'a>(rows: &[&'a MeasuredRow]) -> Vec<&'a str> {
    let mut parts: Vec<(&str, f64)> = Vec::new();
    for row in rows {
        let Some(median) = row.median else { continue };
        match parts.iter_mut().find(|(part, _)| *part == row.part) {
            Some((_, sum)) => *sum += median,
            None => parts.push((&row.part, median)),
        }
    }
    if parts.len() <= MANY_PARTS.len() {
        return parts.into_iter().map(|(part, _)| part).collect();
    }
    let mut sums: Vec<f64> = parts.iter().map(|(_, sum)| *sum).collect();
    sums.sort_by(|a, b| b.total_cmp(a));
    let least = sums[MANY_PARTS.len() - 2];
    let large = parts.into_iter().filter(|(_, sum)| *sum >= least).map(|(part, _)| part);
    large.take(MANY_PARTS.len() - 1).chain([OTHERS]).collect()
}

/// The values of a row's bar: of each part, or of the whole.
fn bars(rows: &[&MeasuredRow], parts: &[&str]) -> Vec<(f64, Option<usize>)> {
    if parts.is_empty() {
        return rows.iter().filter_map(|row| Some((row.median?, None))).collect();
    }
    let place =
        |row: &MeasuredRow| parts.iter().position(|part| *part == row.part).unwrap_or(parts.len() - 1);
    let sum = |part| rows.iter().filter(|row| place(row) == part).filter_map(|row| row.median).sum();
    (0..parts.len()).map(|part| (sum(part), Some(part))).collect()
}

/// What is missing, and stand-ins.
pub fn notes(measured: &Measurement, chart: &Chart) -> Vec<String> {
    let of = || measured.rows.iter().filter(|row| row.metric == chart.metric);
    let all: BTreeSet<&str> = of().map(|row| row.panel.as_str()).collect();
    let mut lacking: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for row in of().filter(|row| row.median.is_none()) {
        lacking.entry((&row.subject, &row.note)).or_default().insert(&row.panel);
    }
    let lacking = lacking.into_iter().map(|((subject, note), panels)| {
        let panels: Vec<&str> = if panels == all { Vec::new() } else { panels.into_iter().collect() };
        let within = if panels.is_empty() { String::new() } else { format!(" ({})", panels.join(", ")) };
        format!("{subject}{within}: {note}")
    });
    lacking.chain(measured.stand_ins.iter().map(|s| format!("Stand-in: {s}"))).collect()
}

fn value(value: f64) -> String {
    match value.abs() {
        x if x >= 100.0 => format!("{value:.0}"),
        x if x >= 10.0 => format!("{value:.1}"),
        x if x >= 0.1 || x == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn draw_panel(canvas: &mut Canvas<'_>, rect: Rect, panel: &Panel<'_>, chart: &Chart, parts: &[&str]) {
    let (name, subjects) = panel;
    let room = page::name_room(subjects.iter().map(|(name, _)| *name), rect.w);
    let plot = rect.inset(room, 0.0, 46.0, BELOW);
    let plot = Rect { h: (subjects.len().max(2) as f64) * ROW, ..plot };
    page::panel_title(canvas, plot, name);
    let whole = |rows: &[&MeasuredRow]| rows.iter().filter_map(|row| row.median).sum::<f64>();
    let reported = |rows: &[&MeasuredRow]| rows.iter().filter_map(|row| row.reported).collect::<Vec<_>>();
    let papers = subjects.iter().flat_map(|(_, rows)| reported(rows));
    let x = Scale::from_zero(subjects.iter().map(|(_, rows)| whole(rows)).chain(papers));
    axis::below(canvas, plot, x, value, Some(&chart.axis));
    for (number, (name, rows)) in subjects.iter().enumerate() {
        let y = plot.y + (number as f64 + 0.5) * ROW;
        page::row_name(canvas, plot.x, y, room, name);
        let mut from = 0.0;
        for (median, part) in bars(rows, parts) {
            let (left, right) = (x.x(from, plot), x.x(from + median, plot));
            from += median;
            if right - left < 0.3 {
                continue;
            }
            let colour = part.map_or(style::of(name).colour, |part| MANY_PARTS[part]);
            let bar = Rect { x: left, y: y - 6.0, w: right - left, h: 12.0 };
            page::swatch(canvas, bar, colour);
            let text = value(median);
            if part.is_some() && width_of(&text, SMALL) + 6.0 < bar.w {
                let ink = if is_dark(colour) { WHITE } else { INK };
                let how = Lettering::small(Anchor::Middle).colour(ink);
                canvas.text((f64::midpoint(left, right), y), &text, how);
            }
        }
        let marks: Vec<f64> = reported(rows).into_iter().map(|value| x.x(value, plot)).collect();
        for &mark in &marks {
            canvas.marker((mark, y), Marker::Down, 4.2, WHITE);
            canvas.marker((mark, y), Marker::Down, 3.2, INK);
        }
        let text = if rows.iter().any(|row| row.median.is_some()) { value(from) } else { "not run".into() };
        let at = clear_of(x.x(from, plot) + 5.0, &text, &marks);
        canvas.text((at, y), &text, Lettering::small(Anchor::Start));
    }
}
