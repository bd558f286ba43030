//! Figures as files: `NAME.svg`, the rows drawn `NAME.csv`, and provenance `NAME.json`.

use crate::draw::{self, Selection};
use crate::error::{Error, Result};
use crate::files;
use crate::input::ExperimentData;
pub use configs::{FigureKind, FigureSpec, Reported};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Heading of a figure that has none of its own.
const fn heading(kind: FigureKind) -> &'static str {
    match kind {
        FigureKind::LatencyPercentiles | FigureKind::LatencyCdf => "End-to-end latency",
        FigureKind::MemoryOverTime => "Memory over time",
        FigureKind::PeakMemory => "Peak memory",
        FigureKind::StartKinds => "Starts by kind",
        FigureKind::StartupPercentiles => "Start-up latency",
        FigureKind::AgentCost => "Cost of agents",
        FigureKind::CoresOverTime => "Cores in use over time",
        FigureKind::MemoryByClass => "Memory by class",
        FigureKind::StartBreakdown => "Where the time goes",
        FigureKind::Bars | FigureKind::SweepLines => "Comparison",
    }
}

/// The heading of a figure, with the experiment's title where there is none of its own.
pub fn title_or(figure: &FigureSpec, experiment: &str) -> String {
    match (figure.title.as_str(), experiment) {
        ("", "") => heading(figure.kind).to_owned(),
        ("", _) => format!("{}: {experiment}", heading(figure.kind)),
        (title, _) => title.to_owned(),
    }
}

/// Where figures come from; the same for all figures of a call. Written to `NAME.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Provenance {
    /// The command that draws them again.
    pub command: String,
    /// Version of the models that ran.
    pub model_version: String,
    /// `sim` or `emu`.
    pub world: String,
}

/// A figure that was written.
#[derive(Clone, Debug, PartialEq)]
pub struct FigureFile {
    /// Name of its files without ending.
    pub name: String,
    /// What it shows.
    pub kind: FigureKind,
    /// Heading.
    pub title: String,
    /// What is shown, how to read it, number of seeds.
    pub caption: String,
    /// What is missing, and stand-ins.
    pub notes: Vec<String>,
    /// Figure of the paper that it stands beside.
    pub beside: Option<String>,
    /// What the paper reports.
    pub reported: Vec<Reported>,
    /// The drawing itself.
    pub svg: String,
    /// Path of the drawing.
    pub svg_path: PathBuf,
    /// Path of the rows drawn.
    pub csv_path: PathBuf,
    /// Path of the provenance.
    pub json_path: PathBuf,
}

impl FigureFile {
    /// Whether it takes both columns of a page.
    pub fn wide(&self) -> bool {
        let start = self.svg.split('>').next().unwrap_or("");
        start.contains(&format!("width=\"{}\"", draw::style::DOUBLE))
    }
}

/// Draws all figures of an experiment into a folder. A run that is missing is no error: the figure
/// says so in its notes.
pub fn render(data: &ExperimentData, folder: &Path, provenance: &Provenance) -> Result<Vec<FigureFile>> {
    let mut drawn: Vec<FigureFile> = Vec::new();
    for request in &data.figures {
        let name = files::file_name(&request.name);
        if drawn.iter().any(|d| d.name == name) {
            return Err(Error::DuplicateFigure { experiment: data.id.clone(), name });
        }
        drawn.push(render_one(data, request, name, folder, provenance)?);
    }
    Ok(drawn)
}

fn render_one(
    data: &ExperimentData,
    request: &FigureSpec,
    name: String,
    folder: &Path,
    provenance: &Provenance,
) -> Result<FigureFile> {
    let selection = Selection::of(data, request);
    let drawing =
        draw::draw(data, request, &selection).map_err(|why| Error::Draw { figure: name.clone(), why })?;
    let path = |ending: &str| folder.join(format!("{name}.{ending}"));
    let figure = FigureFile {
        title: title_or(request, &data.title),
        kind: request.kind,
        caption: drawing.caption,
        notes: selection.notes.clone(),
        beside: request.paper.clone(),
        reported: request.reported.clone(),
        svg: drawing.svg,
        svg_path: path("svg"),
        csv_path: path("csv"),
        json_path: path("json"),
        name,
    };
    files::write(&figure.svg_path, figure.svg.as_bytes())?;
    files::write(&figure.csv_path, &drawing.table.to_csv(&figure.name)?)?;
    files::write(&figure.json_path, &sidecar(data, &figure, &selection, provenance)?)?;
    Ok(figure)
}

/// Content of `NAME.json`.
#[derive(Serialize)]
struct Sidecar<'a> {
    figure: &'a str,
    kind: FigureKind,
    title: &'a str,
    caption: &'a str,
    notes: &'a [String],
    reported: &'a [Reported],
    experiment: &'a str,
    tier: &'a str,
    #[serde(flatten)]
    provenance: &'a Provenance,
    points: Vec<SidecarPoint<'a>>,
}

#[derive(Serialize)]
struct SidecarPoint<'a> {
    label: &'a str,
    panel: &'a str,
    system: &'a str,
    seeds: Vec<u64>,
    runs: Vec<&'a str>,
}

fn sidecar(
    data: &ExperimentData,
    figure: &FigureFile,
    selection: &Selection<'_>,
    provenance: &Provenance,
) -> Result<Vec<u8>> {
    let points = selection
        .panels
        .iter()
        .flat_map(|panel| &panel.series)
        .map(|series| SidecarPoint {
            label: &series.point.label,
            panel: &series.point.panel,
            system: &series.point.system,
            seeds: series.point.seeds.iter().map(|s| s.seed).collect(),
            runs: series.point.seeds.iter().map(|s| s.key.as_str()).collect(),
        })
        .collect();
    let sidecar = Sidecar {
        figure: &figure.name,
        kind: figure.kind,
        title: &figure.title,
        caption: &figure.caption,
        notes: &figure.notes,
        reported: &figure.reported,
        experiment: &data.id,
        tier: &data.tier,
        provenance,
        points,
    };
    let mut json = serde_json::to_vec_pretty(&sidecar)
        .map_err(|source| Error::Provenance { figure: figure.name.clone(), source })?;
    json.push(b'\n');
    Ok(json)
}

#[cfg(test)]
mod tests;
