//! Reading and checking `claims.toml`.

use super::read_measured::expected;
use super::{Claim, Comparison, Expectation, Functions, Measure, Metric, Range, Statistic, Take};
use crate::check::systems;
use crate::diagnostic::Diagnostics;
use crate::find;
use crate::load::read;
use crate::section::{Checker, Parse, Section};
use crate::source::Sources;
use crate::spec::Tier;
use crate::suggest;
use crate::tree::{self, Value, join};
use crate::values;
use platform::records::StartKind;
use std::path::Path;

/// The claims of a folder of configurations (`claims.toml`), in the order of the file.
pub fn load(root: &Path) -> Result<Vec<Claim>, Diagnostics> {
    let path = root.join("claims.toml");
    let experiments: Vec<String> = find::list(root)?.into_iter().map(|listed| listed.id).collect();
    let mut sources = Sources::default();
    let index = sources.add_file(&path, read(&path)?);
    let file = tree::parse(&sources, index).map_err(Diagnostics::new)?;
    let checker = Checker::new(&sources);
    let top = Section::of(&checker, "", &file);
    let mut claims: Vec<Claim> = Vec::new();
    for section in top.sections("claim") {
        let claim = claim(&section, &experiments);
        if !claim.id.is_empty() && claims.iter().any(|other| other.id == claim.id) {
            section.problem("id", format!("two claims are named \"{}\"", claim.id));
        }
        section.finish();
        claims.push(claim);
    }
    top.finish();
    let problems = checker.into_problems();
    if problems.is_empty() { Ok(claims) } else { Err(Diagnostics::new(problems)) }
}

fn claim(section: &Section<'_, '_>, experiments: &[String]) -> Claim {
    let not_run = section.optional("not_run", values::text);
    if not_run.is_some() {
        return undecidable(section, not_run);
    }
    let experiment = section.get("experiment", values::text);
    if !experiment.is_empty() && !experiments.contains(&experiment) {
        let hint = suggest::hint(&experiment, experiments.iter().map(String::as_str));
        section.problem("experiment", format!("no experiment \"{experiment}\": {hint}"));
    }
    let tiers = Tier::ALL.map(|tier| (tier.name().to_owned(), tier));
    let is_measured = section.has("measured");
    let measured = expected(section);
    let (measure, expectation) = if is_measured {
        (nothing(), Expectation::Ordering { systems: Vec::new() })
    } else {
        let measure = measure(section);
        let expectation = expectation(section, &measure);
        (measure, expectation)
    };
    let is_goal = section.optional("goal", values::flag).unwrap_or(false);
    if is_goal && section.has("paper") {
        section
            .problem("paper", "a goal of this testbed is no sentence of the paper: leave out one of the two");
    }
    Claim {
        id: section.get("id", values::text),
        text: section.get("text", values::text),
        paper: if is_goal { String::new() } else { section.get("paper", values::text) },
        is_goal,
        source: section.get("source", values::text),
        experiment,
        not_run,
        tier: word(section, "tier", &tiers, true).unwrap_or(Tier::Full),
        expectation,
        measure,
        measured,
        published: section.optional("published", values::number),
        why_yours_may_differ: section.get("why_yours_may_differ", values::text),
    }
}

/// Of a claim that is not about runs.
fn nothing() -> Measure {
    Measure {
        metric: Metric::EndToEnd,
        statistic: Statistic::Mean,
        functions: Functions::Together,
        panels: Vec::new(),
        starts: Vec::new(),
    }
}

/// A sentence that nothing here can refute.
fn undecidable(section: &Section<'_, '_>, not_run: Option<String>) -> Claim {
    Claim {
        id: section.get("id", values::text),
        text: section.get("text", values::text),
        paper: section.get("paper", values::text),
        source: section.get("source", values::text),
        experiment: String::new(),
        not_run,
        tier: Tier::Full,
        measure: nothing(),
        expectation: Expectation::Ordering { systems: Vec::new() },
        measured: None,
        is_goal: false,
        published: None,
        why_yours_may_differ: section.get("why_yours_may_differ", values::text),
    }
}

fn measure(section: &Section<'_, '_>) -> Measure {
    let (metric, statistic) = quantity(section, Metric::all(), true);
    let metric = metric.unwrap_or(Metric::EndToEnd);
    let starts = starts(section);
    let functions = functions(section);
    if !starts.is_empty() && (!metric.is_latency() || functions != Functions::Together) {
        section.problem(
            "starts",
            "only latencies of all functions together are kept by start: leave out \"functions\"",
        );
    }
    if functions != Functions::Together && !metric.per_function() {
        section
            .problem("functions", format!("{} is not kept for every function: leave it out", metric.name()));
    }
    Measure {
        metric,
        statistic: statistic.unwrap_or(Statistic::Mean),
        functions,
        panels: section.list("panels", values::text).into_iter().map(|(panel, _)| panel).collect(),
        starts,
    }
}

/// `metric = "…"` among these, and `statistic = "…"` among those it has.
pub(crate) fn quantity(
    section: &Section<'_, '_>,
    among: Vec<Metric>,
    needed: bool,
) -> (Option<Metric>, Option<Statistic>) {
    let metrics: Vec<(String, Metric)> = among.into_iter().map(|metric| (metric.name(), metric)).collect();
    let statistics = Statistic::ALL.map(|statistic| (statistic.name().to_owned(), statistic));
    let metric = word(section, "metric", &metrics, needed);
    let statistic = word(section, "statistic", &statistics, needed);
    if let (Some(metric), Some(statistic)) = (metric, statistic)
        && !metric.statistics().contains(&statistic)
    {
        let known: Vec<&str> = metric.statistics().iter().map(|one| one.name()).collect();
        section.problem(
            "statistic",
            format!("{} has no {}: it has {}", metric.name(), statistic.name(), known.join(", ")),
        );
    }
    (metric, statistic)
}

/// `starts = ["cold", …]`, or nothing for all.
pub(crate) fn starts(section: &Section<'_, '_>) -> Vec<StartKind> {
    let mut found = Vec::new();
    let named = section.list("starts", values::text);
    section.words("starts", StartKind::ALL.map(StartKind::name));
    for (word, origin) in named {
        match StartKind::ALL.into_iter().find(|start| start.name() == word) {
            Some(start) => found.push(start),
            None => {
                let hint = suggest::hint(&word, StartKind::ALL.iter().map(|start| start.name()));
                section.checker.problem(
                    origin,
                    &join(&section.path, "starts"),
                    format!("no start \"{word}\": {hint}"),
                );
            }
        }
    }
    found
}

/// `functions = "each"`, a list of names, or nothing.
fn functions(section: &Section<'_, '_>) -> Functions {
    match section.entry("functions").map(|entry| &entry.node.value) {
        None => Functions::Together,
        Some(Value::Text(text)) if text == "each" => Functions::Each,
        Some(Value::List(_)) => Functions::Named(
            section.list("functions", values::text).into_iter().map(|(name, _)| name).collect(),
        ),
        Some(_) => {
            section.problem("functions", "write \"each\" or a list of names; leave it out for all together");
            Functions::Together
        }
    }
}

fn expectation(section: &Section<'_, '_>, measure: &Measure) -> Expectation {
    const KINDS: &[&str] = &["speedup", "saving", "ordering", "value"];
    let nothing = Expectation::Ordering { systems: Vec::new() };
    let Some((kind, node)) = section.choice("expect", KINDS) else { return nothing };
    let inner = Section::of(section.checker, &join(&join(&section.path, "expect"), kind), node);
    let expectation = match kind {
        "ordering" => {
            let systems = known_systems(&inner, "systems");
            if systems.len() < 2 {
                inner.problem("systems", "an order needs two systems or more");
            }
            Expectation::Ordering { systems }
        }
        "value" => {
            let parse: Parse<f64> = match measure.metric {
                metric if metric.is_latency() => {
                    |value| values::duration(value).map(|time| time.as_millis_f64())
                }
                Metric::Local => |value| values::size(value).map(|size| size.as_gib_f64()),
                _ => values::number,
            };
            let system = inner.get("system", values::text);
            check_system(&inner, "system", &system);
            Expectation::Value { system, take: take(&inner), range: range(&inner, parse) }
        }
        _ => {
            let system = inner.get("system", values::text);
            check_system(&inner, "system", &system);
            let rivals = known_systems(&inner, "rivals");
            if rivals.is_empty() {
                inner.problem("rivals", "no rival to compare with");
            }
            let comparison =
                Comparison { system, rivals, take: take(&inner), range: range(&inner, values::number) };
            if kind == "saving" { Expectation::Saving(comparison) } else { Expectation::Speedup(comparison) }
        }
    };
    inner.finish();
    expectation
}

fn known_systems(section: &Section<'_, '_>, key: &'static str) -> Vec<String> {
    section.required(key);
    let named = section.list(key, values::text);
    for (name, _) in &named {
        check_system(section, key, name);
    }
    named.into_iter().map(|(name, _)| name).collect()
}

fn check_system(section: &Section<'_, '_>, key: &str, name: &str) {
    if !name.is_empty() && !systems::names().any(|known| known == name) {
        section.problem(key, format!("no system \"{name}\": {}", suggest::hint(name, systems::names())));
    }
}

pub(super) fn take(section: &Section<'_, '_>) -> Take {
    let words = [("max", Take::Max), ("min", Take::Min), ("mean", Take::Mean)]
        .map(|(word, take)| (word.to_owned(), take));
    word(section, "take", &words, false).unwrap_or(Take::Mean)
}

pub(super) fn range(section: &Section<'_, '_>, parse: Parse<f64>) -> Range {
    let range =
        Range { at_least: section.optional("at_least", parse), at_most: section.optional("at_most", parse) };
    match (range.at_least, range.at_most) {
        (None, None) => section.problem("at_least", "no bound: write at_least, at_most or both"),
        (Some(least), Some(most)) if least > most => section.problem("at_most", "at_most is below at_least"),
        _ => {}
    }
    range
}

/// The value that a word stands for.
pub(crate) fn word<T: Copy>(
    section: &Section<'_, '_>,
    key: &'static str,
    words: &[(String, T)],
    needed: bool,
) -> Option<T> {
    let written =
        if needed { Some(section.get(key, values::text)) } else { section.optional(key, values::text) };
    section.words(key, words.iter().map(|(word, _)| word.as_str()));
    let written = written?;
    let found = words.iter().find(|(word, _)| *word == written).map(|(_, value)| *value);
    if found.is_none() && !written.is_empty() {
        let hint = suggest::hint(&written, words.iter().map(|(word, _)| word.as_str()));
        section.problem(key, format!("\"{written}\" is not known: {hint}"));
    }
    found
}
