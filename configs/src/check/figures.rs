//! `[[figures]]`: what is drawn from the records.

use crate::claims::{Metric, Statistic, read};
use crate::experiment::{FigureKind, Quantity};
use crate::figure::{FigureSpec, Reported};
use crate::form::Form;
use crate::section::Section;
use crate::spec::Cluster;
use crate::suggest;
use crate::tree::{Node, Value, join};
use crate::units;
use crate::values;

/// The key of an axis that no file sets: how many nodes share a CXL device.
const NODES_PER_RACK: &str = "cluster.nodes_per_rack";

/// What figures may name.
pub(crate) struct Axes<'a> {
    /// Names of the panels.
    pub panels: &'a [String],
    /// Systems compared; those that this tier leaves out as well.
    pub systems: &'a [String],
    /// Swept keys.
    pub swept: Vec<&'a str>,
    /// Keys that panels set.
    pub in_panels: Vec<String>,
}

impl Axes<'_> {
    fn varies(&self, key: &str) -> bool {
        key == NODES_PER_RACK || self.swept.contains(&key) || self.in_panels.iter().any(|set| set == key)
    }
}

/// The value of a figure's axis: what the key holds, with its unit.
pub(crate) fn number(tree: &Node, cluster: &Cluster, key: &str) -> Option<Quantity> {
    if key == NODES_PER_RACK {
        return Some(Quantity::Plain(f64::from(cluster.nodes) / f64::from(cluster.racks.max(1))));
    }
    let node = key.split('.').try_fold(tree, |node, part| node.get(part))?;
    match &node.value {
        Value::Integer(n) => Some(Quantity::Plain(*n as f64)),
        Value::Float(n) => Some(Quantity::Plain(*n)),
        Value::Text(text) => {
            let time = || units::DURATION.parse(text).map(|ns| Quantity::Time(ns as f64 / 1e6));
            let memory =
                || units::SIZE.parse(text).map(|bytes| Quantity::Memory(bytes as f64 / f64::from(1 << 30)));
            let rate = || units::BANDWIDTH.parse(text).map(|rate| Quantity::Bandwidth(rate as f64 / 1e9));
            let reads = || units::READ_RATE.parse(text).map(|rate| Quantity::Plain(rate as f64));
            time().or_else(|_| memory()).or_else(|_| rate()).or_else(|_| reads()).ok()
        }
        _ => None,
    }
}

/// The figures of an experiment, in its order.
pub(crate) fn figures(root: &Section<'_, '_>, axes: &Axes<'_>) -> Vec<FigureSpec> {
    let mut found: Vec<FigureSpec> = Vec::new();
    for section in root.sections("figures") {
        let figure = figure(&section, axes);
        if !figure.name.is_empty() && found.iter().any(|other| other.name == figure.name) {
            section.problem(
                "name",
                format!("two figures are named \"{}\": their files would be the same", figure.name),
            );
        }
        section.finish();
        found.push(figure);
    }
    found
}

fn figure(section: &Section<'_, '_>, axes: &Axes<'_>) -> FigureSpec {
    let word = section.get("kind", values::text);
    section.words("kind", FigureKind::ALL.map(FigureKind::name));
    let kind = FigureKind::ALL.into_iter().find(|kind| kind.name() == word).unwrap_or_else(|| {
        if !word.is_empty() {
            let hint = suggest::hint(&word, FigureKind::ALL.iter().map(|kind| kind.name()));
            section.problem("kind", format!("no figure \"{word}\": {hint}"));
        }
        FigureKind::LatencyPercentiles
    });
    let name = section.get("name", values::text);
    if name.contains(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')) {
        section.problem("name", "it names files: use letters, digits, - and _ only");
    }
    let (metric, statistic) = quantity(section, kind);
    let starts = read::starts(section);
    if !starts.is_empty() && !metric.is_some_and(Metric::is_latency) && kind != FigureKind::StartBreakdown {
        section.problem("starts", "only latencies are kept by start: leave it out");
    }
    let x = section.optional("x", values::text);
    let lines = section.optional("lines", values::text);
    if kind == FigureKind::SweepLines {
        along(section, axes, x.as_deref(), lines.as_deref());
    } else {
        for key in ["x", "x_title", "x_log", "lines", "log"] {
            if section.has(key) {
                section.problem(key, "only sweep-lines have it: leave it out");
            }
        }
    }
    FigureSpec {
        kind,
        name,
        title: section.get("title", values::text),
        paper: section.optional("paper", values::text),
        reported: reported(section, axes),
        panels: panels(section, axes.panels),
        functions: section.list("functions", values::text).into_iter().map(|(name, _)| name).collect(),
        systems: systems(section, axes.systems),
        metric,
        statistic,
        starts,
        x_title: section.optional("x_title", values::text),
        x: x.or_else(|| axes.swept.first().map(|key| (*key).to_owned())),
        x_log: section.optional("x_log", values::flag),
        lines,
        log: section.optional("log", values::flag).unwrap_or(false),
        baseline: None,
    }
}

/// `[[figures.reported]]`: what the paper says, with its source.
fn reported(section: &Section<'_, '_>, axes: &Axes<'_>) -> Vec<Reported> {
    let mut found = Vec::new();
    for one in section.sections("reported") {
        let panel = one.optional("panel", values::text).unwrap_or_default();
        if !panel.is_empty() && !axes.panels.contains(&panel) {
            let hint = suggest::hint(&panel, axes.panels.iter().map(String::as_str));
            one.problem("panel", format!("no panel \"{panel}\": {hint}"));
        }
        let system = one.optional("system", values::text).unwrap_or_default();
        if !system.is_empty() && !axes.systems.contains(&system) {
            let hint = suggest::hint(&system, axes.systems.iter().map(String::as_str));
            one.problem("system", format!("\"{system}\" is no system of this experiment: {hint}"));
        }
        let statistics = Statistic::ALL.map(|statistic| (statistic.name().to_owned(), statistic));
        let statistic = read::word(&one, "statistic", &statistics, false);
        let written = one.optional("value", values::text);
        let value = written.as_ref().and_then(|written| amount(written));
        if value.is_none() && written.is_some() {
            one.problem(
                "value",
                "neither a duration nor a size nor a share: write \"13 ms\", \"18.6 GB\" or \"61 %\"",
            );
        }
        let says = one.optional("says", values::text);
        match (&written, &says) {
            (Some(_), _) if system.is_empty() => {
                one.problem("value", "of which system? Write system = \"…\"");
            }
            (None, None) => one.problem("says", "nothing is reported: write system and value, or says"),
            _ => {}
        }
        let source = one.get("source", values::text);
        let words = [says.unwrap_or_default(), panel.clone(), system.clone()].into_iter();
        let words = words.chain(statistic.map(|statistic: Statistic| statistic.name().to_owned()));
        let words: Vec<String> = words.chain(written).filter(|word| !word.is_empty()).collect();
        let text = format!("{} ({source})", words.join(" "));
        one.finish();
        found.push(Reported { panel, system, statistic, value, text });
    }
    found
}

/// In the unit of figures: ms, GiB, a share.
fn amount(written: &str) -> Option<f64> {
    let time = || units::DURATION.parse(written).map(|ns| ns as f64 / 1e6).ok();
    let memory = || units::SIZE.parse(written).map(|bytes| bytes as f64 / f64::from(1 << 30)).ok();
    let share = || written.strip_suffix('%')?.trim().parse::<f64>().ok().map(|percent| percent / 100.0);
    time().or_else(memory).or_else(share)
}

/// `panel = "…"`: one panel, or with `*` at its end all whose names begin so.
fn panels(section: &Section<'_, '_>, known: &[String]) -> Vec<String> {
    let Some(written) = section.optional("panel", values::text) else { return Vec::new() };
    let matches = |name: &&String| match written.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => **name == written,
    };
    let found: Vec<String> = known.iter().filter(matches).cloned().collect();
    if found.is_empty() {
        let hint = match known {
            [] => "this experiment has no panels, leave it out".to_owned(),
            panels => suggest::hint(&written, panels.iter().map(String::as_str)),
        };
        section.problem("panel", format!("no panel \"{written}\": {hint}"));
    }
    found
}

/// `metric` and `statistic`, for the kinds that draw any.
fn quantity(section: &Section<'_, '_>, kind: FigureKind) -> (Option<Metric>, Option<Statistic>) {
    if matches!(kind, FigureKind::Bars | FigureKind::SweepLines) {
        return read::quantity(section, Metric::drawable(), true);
    }
    if kind == FigureKind::MemoryByClass {
        let words = [Statistic::Peak, Statistic::Mean].map(|one| (one.name().to_owned(), one));
        return (None, read::word(section, "statistic", &words, false));
    }
    for key in ["metric", "statistic"] {
        section.note(key, || Form::of(values::text));
        if section.has(key) {
            section.problem(key, format!("{} always draws the same: leave it out", kind.name()));
        }
    }
    (None, None)
}

/// `x` and `lines` of sweep-lines.
fn along(section: &Section<'_, '_>, axes: &Axes<'_>, x: Option<&str>, lines: Option<&str>) {
    match x {
        None if axes.swept.is_empty() => {
            section.problem("x", "nothing is swept here: name the key along which the lines run");
        }
        Some(key) if !axes.varies(key) => {
            let known = axes.swept.iter().copied().chain(axes.in_panels.iter().map(String::as_str));
            let known: Vec<&str> = known.chain([NODES_PER_RACK]).collect();
            let hint = suggest::hint(key, known.iter().copied());
            section.problem("x", format!("\"{key}\" is neither swept nor set by panels: {hint}"));
        }
        _ => {}
    }
    if let Some(key) = lines
        && key != "system"
        && key != "panel"
        && !axes.swept.contains(&key)
    {
        let known: Vec<&str> = ["system", "panel"].into_iter().chain(axes.swept.iter().copied()).collect();
        let hint = suggest::hint(key, known.iter().copied());
        section.problem("lines", format!("no axis \"{key}\": {hint}"));
    }
}

fn systems(section: &Section<'_, '_>, known: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, origin) in section.list("systems", values::text) {
        if known.contains(&name) {
            found.push(name);
        } else if !name.is_empty() {
            let hint = suggest::hint(&name, known.iter().map(String::as_str));
            let key = join(&section.path, "systems");
            section.checker.problem(
                origin,
                &key,
                format!("\"{name}\" is no system of this experiment: {hint}"),
            );
        }
    }
    found
}
