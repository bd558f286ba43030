//! Points of a sweep as cells of lines along a key.
//!
//! One axis of the experiment runs along the figure (`x`), one becomes lines (`lines`, systems if
//! nothing else is said), every other one becomes cells. An axis that has only one value for each `x`
//! is no dimension of its own: panels that scale nodes and load together are one line.

use super::Plan;
use super::axis::{self, Mark, Scale};
use super::style::{self, SeriesStyle};
use crate::input::PointData;
use crate::metric::capitalised;
use configs::Quantity;
use std::collections::BTreeMap;

/// Everything that is drawn.
pub struct Sweep<'a> {
    /// Title of the axis along which lines run, with its unit.
    pub title: String,
    /// Its marks, in order of their values.
    pub marks: Vec<Mark>,
    /// Its scale.
    pub scale: Scale,
    /// In the order of the experiment.
    pub cells: Vec<Cell<'a>>,
    /// Names and looks of all lines, in the order of the legend.
    pub lines: Vec<(String, SeriesStyle)>,
}

/// One cell.
pub struct Cell<'a> {
    /// Values of the axes that make cells; empty where there are none.
    pub name: String,
    /// In the order of the legend.
    pub lines: Vec<Line<'a>>,
}

/// One line.
pub struct Line<'a> {
    /// Value of the axis that makes lines.
    pub name: String,
    /// How it looks.
    pub style: SeriesStyle,
    /// In order of `x`.
    pub points: Vec<(f64, &'a PointData)>,
}

/// A point with its place.
struct Placed<'a> {
    x: Quantity,
    line: String,
    point: &'a PointData,
}

/// Arranges the points that a figure shows.
pub fn arrange<'a>(plan: &Plan<'a>) -> Sweep<'a> {
    let points: Vec<&PointData> =
        plan.selection.panels.iter().flat_map(|panel| &panel.series).map(|series| series.point).collect();
    let first = points.iter().find_map(|p| p.numbers.first()).map(|(key, _)| key.as_str());
    let key = plan.request.x.as_deref().or(first).unwrap_or("");
    let by = plan.request.lines.as_deref().unwrap_or("system");
    let placed: Vec<Placed<'_>> = points
        .iter()
        .filter_map(|&point| {
            let line = point.axis(by).unwrap_or(&point.system).to_owned();
            Some(Placed { x: point.number(key)?, line, point })
        })
        .collect();
    let others = dimensions(&placed, key, by);
    let lines = looks(&placed, by);
    let mut cells: Vec<Cell<'_>> = Vec::new();
    for placed in &placed {
        let name = cell_name(placed.point, &others);
        let at = cells.iter().position(|cell| cell.name == name).unwrap_or_else(|| {
            cells.push(Cell { name, lines: Vec::new() });
            cells.len() - 1
        });
        let cell = &mut cells[at];
        let line = cell.lines.iter().position(|line| line.name == placed.line).unwrap_or_else(|| {
            let style = lines.iter().find(|(name, _)| *name == placed.line).map_or(style::nth(0), |l| l.1);
            cell.lines.push(Line { name: placed.line.clone(), style, points: Vec::new() });
            cell.lines.len() - 1
        });
        cell.lines[line].points.push((placed.x.value(), placed.point));
    }
    let place = |name: &str| lines.iter().position(|(line, _)| line == name);
    for cell in &mut cells {
        cell.lines.sort_by_key(|line| place(&line.name));
        for line in &mut cell.lines {
            line.points.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
    }
    let (unit, factor) = unit(&placed);
    Sweep {
        title: plan.request.x_title.as_ref().map_or_else(|| title(key, unit), |named| with_unit(named, unit)),
        marks: marks(&placed, factor),
        scale: scale(&placed, plan.request.x_log),
        cells,
        lines,
    }
}

/// Axes that make cells: all but `x`, the lines, and those that `x` decides.
fn dimensions<'a>(placed: &[Placed<'a>], key: &str, by: &str) -> Vec<&'a str> {
    let names = placed.first().into_iter().flat_map(|p| &p.point.axes).map(|(name, _)| name.as_str());
    names
        .filter(|&name| name != key && name != by)
        .filter(|name| {
            let mut seen: BTreeMap<u64, Option<&str>> = BTreeMap::new();
            placed.iter().any(|p| {
                let value = p.point.axis(name);
                *seen.entry(p.x.value().to_bits()).or_insert(value) != value
            })
        })
        .collect()
}

/// The lines: systems in their usual order and look, other values in the order of the experiment.
fn looks(placed: &[Placed<'_>], by: &str) -> Vec<(String, SeriesStyle)> {
    let mut names: Vec<&str> = Vec::new();
    for one in placed {
        if !names.contains(&one.line.as_str()) {
            names.push(&one.line);
        }
    }
    if by == "system" {
        return names.into_iter().map(|name| (name.to_owned(), style::of(name))).collect();
    }
    names.into_iter().enumerate().map(|(n, name)| (name.to_owned(), style::nth(n))).collect()
}

fn cell_name(point: &PointData, axes: &[&str]) -> String {
    let part = |name: &&str| {
        let value = point.axis(name)?;
        Some(match *name {
            "panel" | "system" => value.to_owned(),
            key => format!("{}: {value}", words(key)),
        })
    };
    axes.iter().filter_map(part).collect::<Vec<_>>().join(", ")
}

/// A key in words: what kind of table it stands in is left out.
fn words(key: &str) -> String {
    let mut parts: Vec<&str> = key.split('.').collect();
    match parts.as_slice() {
        ["override", "systems", _, ..] => drop(parts.drain(..3)),
        ["override", ..] => drop(parts.drain(..2)),
        ["cluster" | "workload", ..] if parts.len() > 1 => drop(parts.drain(..1)),
        _ => {}
    }
    let names: Vec<String> = parts
        .iter()
        .flat_map(|part| part.split(['_', '-']))
        .map(|word| match word {
            "cxl" | "rdma" | "dram" | "ssd" | "nas" | "ttl" => word.to_uppercase(),
            _ => word.to_owned(),
        })
        .collect();
    names.join(" ")
}

fn title(key: &str, unit: &str) -> String {
    with_unit(&capitalised(&words(key)), unit)
}

fn with_unit(named: &str, unit: &str) -> String {
    if unit.is_empty() { named.to_owned() } else { format!("{named} ({unit})") }
}

/// The unit of the axis, and how many of it the numbers' own unit is.
fn unit(placed: &[Placed<'_>]) -> (&'static str, f64) {
    let most = placed.iter().map(|p| p.x.value()).fold(0.0, f64::max);
    match placed.first().map(|p| p.x) {
        Some(Quantity::Time(_)) if most < 1.0 => ("µs", 1e3),
        Some(Quantity::Time(_)) if most < 1e4 => ("ms", 1.0),
        Some(Quantity::Time(_)) if most < 600e3 => ("s", 1e-3),
        Some(Quantity::Time(_)) => ("min", 1.0 / 60e3),
        Some(Quantity::Memory(_)) => ("GiB", 1.0),
        Some(Quantity::Bandwidth(_)) => ("GB/s", 1.0),
        Some(Quantity::Plain(_)) | None => ("", 1.0),
    }
}

fn values(placed: &[Placed<'_>]) -> Vec<f64> {
    let mut values: Vec<f64> = placed.iter().map(|p| p.x.value()).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    values
}

fn marks(placed: &[Placed<'_>], factor: f64) -> Vec<Mark> {
    let text = |value: f64| axis::large((value * factor * 1e6).round() / 1e6);
    values(placed).into_iter().map(|at| Mark { at, text: text(at) }).collect()
}

/// Logarithmic where that is asked for, or else where the largest value is five times the smallest or
/// more; room at both ends.
fn scale(placed: &[Placed<'_>], log: Option<bool>) -> Scale {
    let values = values(placed);
    let (Some(&low), Some(&high)) = (values.first(), values.last()) else {
        return Scale::Linear { min: 0.0, max: 1.0 };
    };
    if low > 0.0 && high > low && log.unwrap_or(high >= 5.0 * low) {
        let room = (high / low).powf(0.05);
        return Scale::Log { min: low / room, max: high * room };
    }
    let room = if high > low { (high - low) * 0.05 } else { 1.0 };
    Scale::Linear { min: low - room, max: high + room }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::figure::{FigureKind, FigureSpec, Provenance, render};
    use crate::input::ExperimentData;
    use crate::metric::{Metric, Statistic};
    use crate::synthetic::{Shape, experiment};

    /// Rows of a figure of a synthetic experiment whose panels have these values of `key`.
    fn rows(key: &str, values: [f64; 4], request: FigureSpec) -> Vec<String> {
        let shape =
            Shape { panels: vec!["a", "b", "c", "d"], systems: vec!["faasd", "t-cxl"], ..Shape::default() };
        let mut data = ExperimentData { figures: vec![request], ..experiment(&shape) };
        for point in &mut data.points {
            let panel = ["a", "b", "c", "d"].iter().position(|p| *p == point.panel).unwrap();
            point.numbers = vec![(key.to_owned(), Quantity::Plain(values[panel]))];
        }
        let folder = tempfile::tempdir().unwrap();
        render(&data, folder.path(), &Provenance::default()).unwrap();
        let csv = std::fs::read_to_string(folder.path().join("f.csv")).unwrap();
        csv.lines().skip(1).map(|row| row.split(',').take(4).collect::<Vec<_>>().join(",")).collect()
    }

    fn request() -> FigureSpec {
        FigureSpec {
            metric: Some(Metric::Local),
            statistic: Some(Statistic::Peak),
            ..FigureSpec::new(FigureKind::SweepLines, "f")
        }
    }

    #[test]
    fn panels_that_the_key_decides_are_one_line() {
        let rows = rows("cluster.nodes", [1.0, 10.0, 100.0, 20_000.0], request());
        assert_eq!(rows.len(), 8);
        assert_eq!(rows[0], ",faasd,Nodes,1");
        assert_eq!(rows[7], ",t-cxl,Nodes,20k");
    }

    #[test]
    fn panels_that_it_does_not_decide_are_cells() {
        let rows = rows("cluster.nodes", [1.0, 1.0, 2.0, 2.0], request());
        assert_eq!((rows.len(), rows[0].as_str()), (8, "a,faasd,Nodes,1"));
    }

    #[test]
    fn other_axes_can_be_lines_and_systems_cells() {
        let request = FigureSpec { lines: Some("panel".into()), ..request() };
        let rows = rows("cluster.nodes", [1.0, 1.0, 2.0, 2.0], request);
        assert_eq!(
            rows,
            [
                "faasd,a,Nodes,1",
                "faasd,b,Nodes,1",
                "faasd,c,Nodes,2",
                "faasd,d,Nodes,2",
                "t-cxl,a,Nodes,1",
                "t-cxl,b,Nodes,1",
                "t-cxl,c,Nodes,2",
                "t-cxl,d,Nodes,2",
            ]
        );
    }

    #[test]
    fn keys_are_put_into_words() {
        let titles = [
            title("override.machine.cxl.latency", "µs"),
            title("cluster.nodes_per_rack", ""),
            title("workload.calls.at_once", ""),
            title("override.systems.t-cxl.promote_after", ""),
        ];
        assert_eq!(titles, ["CXL latency (µs)", "Nodes per rack", "Calls at once", "Promote after"]);
    }
}
