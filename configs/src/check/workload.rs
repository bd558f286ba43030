//! `[workload.NAME]`: what is played.

use crate::section::Section;
use crate::source::resolve;
use crate::spec::{Arrivals, Spread, WorkloadSpec};
use crate::suggest;
use crate::tree::{Node, Value};
use crate::values;
use platform::Profile;
use std::collections::BTreeMap;
use std::path::PathBuf;
use traces::Duration;

const NAMES: &[&str] = &[
    "w1",
    "w2",
    "func",
    "calls",
    "azure-hour",
    "azure-hour-sample",
    "huawei-hour",
    "azure-2019",
    "zipf",
    "agents",
    "file",
];

/// `[workload.NAME]`; a name alone will do where there is nothing to set.
pub(crate) fn workload(root: &Section<'_, '_>) -> Option<WorkloadSpec> {
    let (name, node) = root.choice("workload", NAMES)?;
    if node.table().is_none() && !matches!(name, "w1" | "w2" | "func" | "azure-hour-sample") {
        let message = format!("it has keys of its own: write [workload.{name}]");
        root.checker.problem(node.origin, &format!("workload.{name}"), message);
        return None;
    }
    let bare = Node::empty(node.origin);
    let node = if node.table().is_some() { node } else { &bare };
    let section = Section::of(root.checker, &format!("workload.{name}"), node);
    let workload = read(name, &section);
    section.finish();
    Some(workload)
}

fn read(name: &str, section: &Section<'_, '_>) -> WorkloadSpec {
    match name {
        "w1" => WorkloadSpec::W1,
        "w2" => WorkloadSpec::W2,
        "func" => WorkloadSpec::Func,
        "calls" => calls(section),
        "azure-hour" => WorkloadSpec::AzureHour { folder: path(section, "folder") },
        "azure-hour-sample" => WorkloadSpec::AzureHourSample,
        "huawei-hour" => WorkloadSpec::HuaweiHour { folder: path(section, "folder") },
        "azure-2019" => azure_2019(section),
        "zipf" => WorkloadSpec::Zipf {
            functions: section.get("functions", values::count),
            copies: section.optional("copies", values::count).unwrap_or(1),
            invocations: section.get("invocations", values::large_count),
            span: section.get("span", values::positive_duration),
            burn_in: section.get("burn_in", values::duration),
        },
        "agents" => agents(section),
        _ => WorkloadSpec::File { path: path(section, "path") },
    }
}

fn calls(section: &Section<'_, '_>) -> WorkloadSpec {
    section.required("functions");
    let functions: Vec<String> =
        section.list("functions", values::text).into_iter().map(|(name, _)| name).collect();
    if functions.is_empty() {
        section.problem("functions", "no function named: write [\"json-serde\"], for example");
    }
    let rounds = section.get("rounds", values::count);
    let burn_in_rounds = section.get("burn_in_rounds", values::small);
    if burn_in_rounds >= rounds && rounds > 0 {
        section
            .problem("burn_in_rounds", format!("all {rounds} rounds are burn-in: nothing would be measured"));
    }
    WorkloadSpec::Calls {
        functions,
        at_once: section.get("at_once", values::count),
        rounds,
        burn_in_rounds,
        every: section.get("every", values::positive_duration),
    }
}

fn azure_2019(section: &Section<'_, '_>) -> WorkloadSpec {
    let burn_in = section.get("burn_in", values::duration);
    let window = section.optional("window", values::positive_duration);
    if window.is_some_and(|window| window <= burn_in && window > Duration::ZERO) {
        section.problem("window", "it ends before the burn-in does: nothing would be measured");
    }
    WorkloadSpec::Azure2019 {
        invocations: path(section, "invocations"),
        durations: path(section, "durations"),
        memory: section.has("memory").then(|| path(section, "memory")),
        spread: spread(section),
        burn_in,
        window,
    }
}

fn agents(section: &Section<'_, '_>) -> WorkloadSpec {
    let within = section.optional("within", values::duration).map(Arrivals::Within);
    let gaps = section.optional("gap", values::positive_duration).map(Arrivals::Gaps);
    let arrivals = match (within, gaps) {
        (Some(arrivals), None) | (None, Some(arrivals)) => arrivals,
        _ => {
            let message =
                "when do they arrive? Write either within (all in so long) or gap (the mean between two)";
            section.checker.problem(section.origin, &section.path, message);
            Arrivals::Within(Duration::ZERO)
        }
    };
    WorkloadSpec::Agents {
        agents: section.list("agents", values::text).into_iter().map(|(name, _)| name).collect(),
        instances: section.get("instances", values::count),
        arrivals,
        span: section.get("span", values::positive_duration),
    }
}

/// Notes agents of the workload that the profiles file does not have.
pub(crate) fn agents_exist(
    root: &Section<'_, '_>,
    workload: &WorkloadSpec,
    profiles: &BTreeMap<String, Profile>,
) {
    let WorkloadSpec::Agents { agents, .. } = workload else { return };
    let known =
        || profiles.iter().filter(|(_, profile)| profile.agent.is_some()).map(|(name, _)| name.as_str());
    for agent in agents.iter().filter(|agent| !known().any(|name| name == agent.as_str())) {
        let hint = suggest::hint(agent, known());
        root.problem("workload", format!("no agent \"{agent}\" in the profiles file: {hint}"));
    }
}

fn spread(section: &Section<'_, '_>) -> Spread {
    const SPREADS: [(&str, Spread); 3] =
        [("uniform", Spread::Uniform), ("poisson", Spread::Poisson), ("skewed", Spread::Skewed)];
    let word = section.get("spread", values::text);
    section.words("spread", SPREADS.map(|(name, _)| name));
    SPREADS.iter().find(|(name, _)| *name == word).map_or_else(
        || {
            if !word.is_empty() {
                let hint = suggest::hint(&word, SPREADS.iter().map(|(name, _)| *name));
                section.problem("spread", format!("\"{word}\" is not known: {hint}"));
            }
            Spread::Uniform
        },
        |(_, spread)| *spread,
    )
}

/// A path, relative to the file that states it. Whether it exists is found out when it is read.
fn path(section: &Section<'_, '_>, key: &'static str) -> PathBuf {
    let written = section.get(key, values::text);
    match section.entry(key) {
        Some(entry) if matches!(entry.node.value, Value::Text(_)) => {
            resolve(&section.checker.sources.of(entry.node.origin).folder, &written)
        }
        _ => PathBuf::new(),
    }
}
