//! Figures of what was measured without any workload.

use crate::draw::measured::{caption, draw, notes};
use crate::error::{Error, Result};
use crate::figure::{FigureFile, FigureKind, Provenance};
use crate::files::{self, Table, file_name, optional};
use runs::Measurement;
use serde::Serialize;
use std::path::Path;

/// Content of `NAME.json`.
#[derive(Serialize)]
struct Sidecar<'a> {
    figure: &'a str,
    title: &'a str,
    caption: &'a str,
    notes: &'a [String],
    experiment: &'a str,
    tier: &'a str,
    #[serde(flatten)]
    provenance: &'a Provenance,
    environment: &'a runs::Environment,
    warnings: &'a [String],
}

/// Draws every chart that has rows; each has those rows beside it.
pub fn render(measured: &Measurement, folder: &Path, provenance: &Provenance) -> Result<Vec<FigureFile>> {
    let mut figures = Vec::new();
    for chart in &measured.charts {
        let name = file_name(&chart.name);
        let drawn = draw(measured, chart).map_err(|why| Error::Draw { figure: name.clone(), why })?;
        let Some(svg) = drawn else { continue };
        let path = |ending: &str| folder.join(format!("{name}.{ending}"));
        let figure = FigureFile {
            kind: FigureKind::Bars,
            title: chart.title.clone(),
            caption: caption(measured, chart),
            notes: notes(measured, chart),
            beside: None,
            reported: Vec::new(),
            svg,
            svg_path: path("svg"),
            csv_path: path("csv"),
            json_path: path("json"),
            name,
        };
        files::write(&figure.svg_path, figure.svg.as_bytes())?;
        files::write(&figure.csv_path, &table(measured, Some(&chart.metric)).to_csv(&figure.name)?)?;
        files::write(&figure.json_path, &sidecar(measured, &figure, provenance)?)?;
        figures.push(figure);
    }
    Ok(figures)
}

fn sidecar(measured: &Measurement, figure: &FigureFile, provenance: &Provenance) -> Result<Vec<u8>> {
    let sidecar = Sidecar {
        figure: &figure.name,
        title: &figure.title,
        caption: &figure.caption,
        notes: &figure.notes,
        experiment: &measured.experiment,
        tier: measured.tier.name(),
        provenance,
        environment: &measured.environment,
        warnings: &measured.warnings,
    };
    let mut json = serde_json::to_vec_pretty(&sidecar)
        .map_err(|source| Error::Provenance { figure: figure.name.clone(), source })?;
    json.push(b'\n');
    Ok(json)
}

/// The rows of one metric, or all.
pub(crate) fn table(measured: &Measurement, metric: Option<&str>) -> Table {
    let columns = ["panel", "subject", "metric", "part", "unit", "n", "median", "p99", "published", "note"];
    let mut table = Table::new(&columns);
    let meant = measured.rows.iter().filter(|row| metric.is_none_or(|metric| row.metric == metric));
    for row in meant.cloned() {
        table.push([
            row.panel,
            row.subject,
            row.metric,
            row.part,
            row.unit,
            row.n.to_string(),
            optional(row.median),
            optional(row.p99),
            row.published,
            row.note,
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use configs::{Measure, Tier};
    use runs::{Chart, Environment, MeasuredRow};

    fn row(subject: &str, part: &str, median: Option<f64>) -> MeasuredRow {
        MeasuredRow {
            panel: "1 at a time".into(),
            subject: subject.into(),
            part: part.into(),
            metric: "step".into(),
            unit: "ms".into(),
            n: 10,
            median,
            published: if part == "limits" { "50 us (code comment)".into() } else { "not found".into() },
            note: if median.is_none() { "NOT-RUN: no kernel".into() } else { String::new() },
            ..MeasuredRow::default()
        }
    }

    #[test]
    fn parts_are_stacked_small_ones_together_and_what_was_not_run_is_named() {
        let mut rows: Vec<MeasuredRow> =
            (0..12).map(|i| row("new", &format!("part {i}"), Some(f64::from(12 - i)))).collect();
        rows.push(row("new", "limits", Some(0.05)));
        rows.push(row("criu", "", None));
        let measured = Measurement {
            experiment: "e01".into(),
            tier: Tier::Kick,
            measure: Measure::Sandboxes { ways: vec![1], starts: 10 },
            version: 1,
            environment: Environment::default(),
            command: Vec::new(),
            started_unix_s: 0,
            wall_s: 0.0,
            warnings: Vec::new(),
            wrong: Vec::new(),
            stand_ins: Vec::new(),
            facilities: Default::default(),
            made_with: Default::default(),
            charts: ["step", "nothing"]
                .map(|metric| Chart {
                    name: metric.into(),
                    title: "Steps".into(),
                    metric: metric.into(),
                    axis: "ms".into(),
                    parts: true,
                })
                .into(),
            rows,
        };
        let folder = tempfile::tempdir().unwrap();
        let figures = render(&measured, folder.path(), &Provenance::default()).unwrap();
        let [figure] = figures.as_slice() else { panic!("a chart without rows was drawn") };
        assert!(figure.svg.contains("part 0") && figure.svg.contains("other steps"), "{}", figure.svg);
        assert!(!figure.svg.contains("part 11"));
        assert!(figure.caption.contains("Published: limits 50 us (code comment)."), "{}", figure.caption);
        assert_eq!(figure.notes, ["criu: NOT-RUN: no kernel"]);
        let rows = std::fs::read_to_string(&figure.csv_path).unwrap();
        assert_eq!(rows.lines().count(), 15);
        assert!(rows.contains("limits,ms,10,0.05,,50 us (code comment),"), "{rows}");
    }
}
