//! One self-contained page: verdicts, figures, summaries, constants, warnings, environment.
//!
//! No network, no fonts, no script needed to read it. Everything is escaped except the SVGs, which
//! this package drew and escaped itself.

use crate::claims::{Judged, Verdict};
use crate::error::{Error, Result};
use crate::figure::FigureFile;
use crate::files;
use crate::input::{ExperimentData, StandIn};
use crate::reference::{Against, ValueDifference};
use crate::summary;
use configs::ConstantNote;
use minijinja::Environment;
use minijinja::value::Serde;
use runs::Measurement;
use serde::Serialize;
use std::path::{Component, Path, PathBuf};

/// What goes into a report.
#[derive(Clone, Debug)]
pub struct ReportInput<'a> {
    /// The file to write.
    pub file: PathBuf,
    /// Heading of the page.
    pub title: String,
    /// The experiments, in order.
    pub sections: Vec<Section<'a>>,
    /// What experiments measured without any workload, in order.
    pub measured: Vec<Measured<'a>>,
    /// The verdicts, in the order of the claims.
    pub verdicts: &'a [Judged],
    /// Constants of the machine and of function profiles.
    pub constants: &'a [ConstantNote],
    /// What to check before believing the results.
    pub warnings: Vec<Warning>,
    /// Machine and build: name and value, in order.
    pub environment: Vec<(String, String)>,
    /// What differs from the reference machine.
    pub differences: Vec<Difference>,
    /// How the values compare with those of the reference machine.
    pub against: Option<Against>,
    /// What the machine can do; empty where it was not asked.
    pub doctor: Vec<DoctorRow>,
    /// Last line of the page, such as when it was made; nothing if `None`.
    pub footer: Option<String>,
}

/// One experiment of a report.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    /// The experiment.
    pub data: &'a ExperimentData,
    /// Its figures.
    pub figures: &'a [FigureFile],
    /// The exact command that makes every row of it again.
    pub command: String,
    /// Its `summary.csv`, if written.
    pub summary: Option<PathBuf>,
    /// Whether its runs were made with real sandboxes on a machine.
    pub is_real: bool,
}

/// One measurement of a report.
#[derive(Clone, Debug)]
pub struct Measured<'a> {
    /// Title of its experiment.
    pub title: &'a str,
    /// The question it answers.
    pub question: &'a str,
    /// Figure or table of the paper, where it has one.
    pub paper: Option<&'a str>,
    /// What was measured.
    pub measurement: &'a Measurement,
    /// Its figures.
    pub figures: &'a [FigureFile],
    /// The exact command that measures it again.
    pub command: String,
}

/// A warning and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Warning {
    /// Point and seed, or file.
    pub from: String,
    /// The warning.
    pub text: String,
}

/// A manifest field that is not as on the reference machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Field.
    pub field: String,
    /// Here.
    pub here: String,
    /// On the reference machine.
    pub reference: String,
}

/// One check of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DoctorRow {
    /// What was checked.
    pub name: String,
    /// `OK`, `DEGRADED` or `MISSING`.
    pub status: String,
    /// What it means, what to do.
    pub detail: String,
}

/// The warnings of all runs of an experiment: each text once, with the points it came from.
pub fn warnings_of(data: &ExperimentData) -> Vec<Warning> {
    let mut texts: Vec<(&str, Vec<&str>, usize)> = Vec::new();
    for point in &data.points {
        for warning in point.seeds.iter().flat_map(|s| &s.run.warnings) {
            match texts.iter_mut().find(|(text, ..)| text == warning) {
                None => texts.push((warning, vec![&point.label], 1)),
                Some((_, points, runs)) => {
                    *runs += 1;
                    if points.last() != Some(&point.label.as_str()) {
                        points.push(&point.label);
                    }
                }
            }
        }
    }
    texts
        .into_iter()
        .map(|(text, points, runs)| Warning {
            from: format!(
                "{}: {} ({runs} run{})",
                data.id,
                points.join(", "),
                if runs == 1 { "" } else { "s" }
            ),
            text: text.to_owned(),
        })
        .collect()
}

/// Writes the report and returns its path.
pub fn report(input: &ReportInput<'_>) -> Result<PathBuf> {
    let html = html(input)?;
    files::write(&input.file, html.as_bytes())?;
    Ok(input.file.clone())
}

fn html(input: &ReportInput<'_>) -> Result<String> {
    let mut environment = Environment::new();
    environment.add_template("report.html", include_str!("report/report.html"))?;
    let folder = input.file.parent().unwrap_or_else(|| Path::new(""));
    let template = environment.get_template("report.html")?;
    let sections: Vec<SectionView<'_>> = input
        .sections
        .iter()
        .map(|s| section(s, folder))
        .chain(input.measured.iter().map(|m| measured(m, folder)))
        .collect();
    let (assumed, taken): (Vec<_>, Vec<_>) = input.constants.iter().partition(|c| c.assumed);
    let page = Page {
        title: &input.title,
        style: include_str!("report/style.css"),
        script: include_str!("report/filter.js"),
        counts: counts(input.verdicts),
        verdicts: input.verdicts.iter().map(|j| verdict(j, &input.sections)).collect(),
        degraded: sections.iter().flat_map(degraded).collect(),
        sections,
        assumed,
        taken,
        warnings: &input.warnings,
        environment: &input.environment,
        differences: &input.differences,
        reference: input.against.as_ref().map(reference),
        doctor: &input.doctor,
        footer: input.footer.as_deref(),
    };
    template.render(Serde(page)).map_err(Error::from)
}

/// What the template sees.
#[derive(Serialize)]
struct Page<'a> {
    title: &'a str,
    style: &'static str,
    script: &'static str,
    counts: Vec<Count>,
    verdicts: Vec<VerdictRow<'a>>,
    degraded: Vec<DegradedRow>,
    sections: Vec<SectionView<'a>>,
    assumed: Vec<&'a ConstantNote>,
    taken: Vec<&'a ConstantNote>,
    warnings: &'a [Warning],
    environment: &'a [(String, String)],
    differences: &'a [Difference],
    reference: Option<ReferenceView<'a>>,
    doctor: &'a [DoctorRow],
    footer: Option<&'a str>,
}

/// Most values listed that are not as on the reference machine.
const LISTED: usize = 200;

#[derive(Serialize)]
struct ReferenceView<'a> {
    name: &'a str,
    compared: usize,
    different: usize,
    clear: usize,
    listed: Vec<&'a ValueDifference>,
}

/// Those that are clearly different come first.
fn reference(against: &Against) -> ReferenceView<'_> {
    let clear: Vec<&ValueDifference> = against.different.iter().filter(|one| one.is_clear).collect();
    let rest = against.different.iter().filter(|one| !one.is_clear);
    ReferenceView {
        name: &against.name,
        compared: against.compared,
        different: against.different.len(),
        clear: clear.len(),
        listed: clear.into_iter().chain(rest).take(LISTED).collect(),
    }
}

#[derive(Serialize)]
struct Count {
    word: &'static str,
    class: String,
    n: usize,
}

fn counts(verdicts: &[Judged]) -> Vec<Count> {
    Verdict::NAMES
        .into_iter()
        .map(|word| Count {
            word,
            class: word.to_lowercase(),
            n: verdicts.iter().filter(|j| j.verdict.name() == word).count(),
        })
        .collect()
}

#[derive(Serialize)]
struct VerdictRow<'a> {
    id: &'a str,
    word: &'static str,
    class: String,
    reason: &'a str,
    text: &'a str,
    where_in_paper: &'a str,
    source: &'a str,
    experiment: &'a str,
    /// Whether the experiment is on the page.
    shown: bool,
    published: String,
    bound: String,
    measured: Vec<(String, &'a str)>,
    stand_ins: &'a [String],
    may_differ: &'a str,
    differs: bool,
}

fn verdict<'a>(judged: &'a Judged, sections: &[Section<'_>]) -> VerdictRow<'a> {
    let word = judged.verdict.name();
    VerdictRow {
        id: &judged.claim.id,
        word,
        class: word.to_lowercase(),
        reason: judged.verdict.reason(),
        text: &judged.claim.text,
        where_in_paper: judged.claim.origin(),
        source: &judged.claim.source,
        experiment: &judged.claim.experiment,
        shown: sections.iter().any(|s| s.data.id == judged.claim.experiment),
        published: judged.published(),
        bound: judged.bound(),
        measured: judged.measured.iter().map(|m| (m.text(), m.what.as_str())).collect(),
        stand_ins: &judged.stand_ins,
        may_differ: &judged.claim.why_yours_may_differ,
        differs: judged.verdict != Verdict::Pass && !judged.claim.why_yours_may_differ.is_empty(),
    }
}

#[derive(Serialize)]
struct SectionView<'a> {
    name: String,
    anchor: String,
    title: &'a str,
    question: &'a str,
    paper: Option<&'a str>,
    tier: &'a str,
    command: &'a str,
    stand_ins: Vec<String>,
    /// What could not be run, with the reason; in the list of what is degraded.
    #[serde(skip)]
    lacking: Vec<String>,
    done: String,
    about_rows: String,
    figures: Vec<FigureView<'a>>,
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    summary: Option<String>,
}

/// What is not as it should be about an experiment.
#[derive(Serialize)]
struct DegradedRow {
    name: String,
    anchor: String,
    how: &'static str,
    text: String,
}

fn degraded(section: &SectionView<'_>) -> Vec<DegradedRow> {
    let row = |how, text: &String| DegradedRow {
        name: section.name.clone(),
        anchor: section.anchor.clone(),
        how,
        text: text.clone(),
    };
    let stood_in = section.stand_ins.iter().map(|text| row("stand-in", text));
    stood_in.chain(section.lacking.iter().map(|text| row("not run", text))).collect()
}

#[derive(Serialize)]
struct FigureView<'a> {
    title: &'a str,
    caption: &'a str,
    notes: &'a [String],
    beside: Option<&'a str>,
    paper: Vec<&'a str>,
    wide: bool,
    svg: &'a str,
    links: Vec<(&'static str, String)>,
}

/// Columns of the summary that a page shows: those that say something there.
const SHOWN: [usize; 8] = [1, 5, 6, 7, 8, 9, 10, 11];

/// Most rows of an experiment's summary that a page holds: one file for all has to stay quick to open.
const MOST_ROWS: usize = 1000;

/// The rows of the summary that a page shows, and what it says of the others.
fn summary_rows(data: &ExperimentData) -> (Vec<Vec<String>>, &'static str) {
    let shown = |row: summary::Row| SHOWN.iter().map(|&i| row[i].clone()).collect::<Vec<_>>();
    let all = data.points.iter().flat_map(|point| summary::of_all(data, point));
    let mut rows: Vec<_> = all.take(MOST_ROWS + 1).map(shown).collect();
    if rows.len() <= MOST_ROWS {
        return (rows, "");
    }
    let main = data.points.iter().flat_map(|point| summary::main(data, point));
    rows = main.take(MOST_ROWS + 1).map(shown).collect();
    if rows.len() <= MOST_ROWS {
        return (rows, " The main metrics only: all would be too many for this page.");
    }
    rows.truncate(MOST_ROWS);
    (rows, " The main metrics of the first points only: all would be too many for this page.")
}

fn section<'a>(section: &'a Section<'_>, folder: &Path) -> SectionView<'a> {
    let data = section.data;
    let (rows, left_out) = summary_rows(data);
    let (runs, planned) = (
        data.points.iter().map(|p| p.seeds.len()).sum::<usize>(),
        data.points.iter().map(|p| p.planned.max(p.seeds.len())).sum::<usize>(),
    );
    let name = if section.is_real { format!("{} (real)", data.id) } else { data.id.clone() };
    SectionView {
        anchor: files::file_name(&name),
        name,
        title: &data.title,
        question: &data.question,
        paper: data.paper.as_deref(),
        tier: &data.tier,
        command: &section.command,
        stand_ins: data.stand_ins.iter().map(StandIn::told).collect(),
        lacking: data
            .points
            .iter()
            .filter_map(|point| Some(format!("{}: {}", point.label, point.missing.as_ref()?)))
            .collect(),
        done: format!("{runs} of {planned} runs"),
        about_rows: format!(
            "Over all invocations: medians or means over seeds with 95 % intervals; no interval below five \
             seeds.{left_out}"
        ),
        figures: section.figures.iter().map(|f| figure(f, folder)).collect(),
        columns: SHOWN.iter().map(|&i| summary::COLUMNS[i]).collect(),
        rows,
        summary: section.summary.as_ref().map(|path| link(path, folder)),
    }
}

fn measured<'a>(measured: &'a Measured<'_>, folder: &Path) -> SectionView<'a> {
    let of = measured.measurement;
    let name = format!("{} (measured)", of.experiment);
    let rows = crate::measured::table(of, None);
    SectionView {
        anchor: files::file_name(&name),
        name,
        title: measured.title,
        question: measured.question,
        paper: measured.paper,
        tier: of.tier.name(),
        command: &measured.command,
        stand_ins: of.stand_ins.clone(),
        lacking: lacking(of),
        done: format!("measured on this machine in {:.0} s", of.wall_s),
        about_rows: "Medians of what was measured here, with what was published about it.".to_owned(),
        figures: measured.figures.iter().map(|f| figure(f, folder)).collect(),
        columns: rows.columns,
        rows: rows.rows,
        summary: None,
    }
}

/// Rows that could not be measured, each subject once, with the reason.
fn lacking(of: &Measurement) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for row in of.rows.iter().filter(|row| row.median.is_none()) {
        let text = format!("{}: {}", row.subject, row.note.strip_prefix("NOT-RUN: ").unwrap_or(&row.note));
        if !told.contains(&text) {
            told.push(text);
        }
    }
    told
}

fn figure<'a>(figure: &'a FigureFile, folder: &Path) -> FigureView<'a> {
    FigureView {
        title: &figure.title,
        caption: &figure.caption,
        notes: &figure.notes,
        beside: figure.beside.as_deref(),
        paper: figure.reported.iter().map(|p| p.text.as_str()).collect(),
        wide: figure.wide(),
        svg: &figure.svg,
        links: vec![
            ("rows (CSV)", link(&figure.csv_path, folder)),
            ("provenance (JSON)", link(&figure.json_path, folder)),
            ("drawing (SVG)", link(&figure.svg_path, folder)),
        ],
    }
}

/// The path of a file as seen from a folder, with `/`.
fn link(path: &Path, folder: &Path) -> String {
    let path: Vec<Component<'_>> = path.components().collect();
    let folder: Vec<Component<'_>> = folder.components().collect();
    let same = path.iter().zip(&folder).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..".to_owned(), folder.len() - same);
    let down = path[same..].iter().map(|c| encoded(&c.as_os_str().to_string_lossy()));
    up.chain(down).collect::<Vec<_>>().join("/")
}

/// Percent-encodes what a link must not hold.
fn encoded(part: &str) -> String {
    part.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'~' => char::from(b).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests;
