//! Agents with a browser each and with shared ones: all six kinds at work, and browsers alone.
//!
//! Agents are processes in cgroups of their own, with their tools; no VM is in these figures. What differs between
//! the two rows is how many share a browser.

use std::collections::BTreeMap;
use std::process::Command;

use runs::{Chart, MeasuredRow, median_interval};

use super::{Error, Outcome, of_this_machine, quantiles};
use crate::agents::browser::program;
use crate::agents::harness::{Lab, Settings};
use crate::agents::report::Report;
use crate::agents::{bench, catalog};

const MIB: f64 = (1 << 20) as f64;
/// The panel of all kinds together.
const ALL: &str = "all agents";
/// Values that a 99th percentile is taken of at least.
const FOR_P99: usize = 100;
const PUBLISHED_LATENCY: &str = "up to 58 % lower P99 than E2B, in microVMs (TrEnv-X abstract)";
const PUBLISHED_MEMORY: &str = "up to 61 % lower than E2B, in microVMs (TrEnv-X abstract)";

/// Picks a part of a peak: agents or browsers.
type PartOfPeak = fn(&(f64, f64)) -> f64;

/// What was seen of one row.
struct Way {
    subject: String,
    per_browser: u32,
    /// Kind of agent and latency, s, of those that came to the right answer.
    latencies: Vec<(String, f64)>,
    /// Peak memory of each round by its parts, agents and browsers, MiB.
    peaks: Vec<(f64, f64)>,
    /// Agents of all rounds.
    agents: u64,
    /// What kept rounds from being run.
    failures: Vec<String>,
}

impl Way {
    fn new(subject: String, per_browser: u32) -> Self {
        let (latencies, peaks, failures) = (Vec::new(), Vec::new(), Vec::new());
        Self { subject, per_browser, latencies, peaks, agents: 0, failures }
    }

    fn take(&mut self, report: &Report) {
        self.agents += report.agents.len() as u64;
        for row in report.agents.iter().filter(|row| row.outcome == "right") {
            self.latencies.push((row.agent.clone(), row.latency_ms / 1e3));
        }
        let peak = report.memory.iter().max_by_key(|sample| sample.agents_bytes + sample.browsers_bytes);
        if let Some(peak) = peak {
            self.peaks.push((peak.agents_bytes as f64 / MIB, peak.browsers_bytes as f64 / MIB));
        }
    }

    /// 99 of 100 were at most this; the largest, of fewer than a hundred.
    fn p99(&self) -> Option<f64> {
        let mut values: Vec<f64> = self.latencies.iter().map(|(_, latency)| *latency).collect();
        values.sort_by(f64::total_cmp);
        let at = (values.len() as f64 * 0.99).ceil() as usize;
        values.get(at.max(1) - 1).copied()
    }

    /// Median of the rounds' peaks, MiB.
    fn peak(&self) -> Option<f64> {
        quantiles(&mut self.peaks.iter().map(|(agents, browsers)| agents + browsers).collect::<Vec<_>>()).0
    }

    fn row(&self, metric: &str, unit: &str, n: usize, median: Option<f64>) -> MeasuredRow {
        let note = match self.failures.first() {
            Some(why) => format!("NOT-RUN: {why}"),
            None => "NOT-RUN: no agent came to the right answer".to_owned(),
        };
        MeasuredRow {
            subject: self.subject.clone(),
            metric: metric.to_owned(),
            unit: unit.to_owned(),
            n: n as u64,
            note: if median.is_none() { note } else { String::new() },
            median,
            ..MeasuredRow::default()
        }
    }

    fn rows(&self, kinds: &[String]) -> Vec<MeasuredRow> {
        let mut rows = Vec::new();
        for kind in kinds.iter().map(String::as_str).chain([ALL]) {
            let of = self.latencies.iter().filter(|(agent, _)| kind == ALL || agent == kind);
            let mut values: Vec<f64> = of.map(|(_, latency)| *latency).collect();
            let (median, p99) = quantiles(&mut values);
            rows.push(MeasuredRow {
                panel: kind.to_owned(),
                interval: median_interval(&values),
                p99,
                ..self.row("latency", "s", values.len(), median)
            });
        }
        let mut tail = self.row("P99 latency", "s", self.latencies.len(), self.p99());
        PUBLISHED_LATENCY.clone_into(&mut tail.published);
        if tail.median.is_some() && self.latencies.len() < FOR_P99 {
            tail.note = format!("the largest: {} are too few for a 99th percentile", self.latencies.len());
        }
        rows.push(tail);
        let parts: [(&str, PartOfPeak); 2] =
            [("agents and tools", |peak| peak.0), ("browsers", |peak| peak.1)];
        for (part, of) in parts {
            let mut values: Vec<f64> = self.peaks.iter().map(of).collect();
            let median = quantiles(&mut values).0;
            let mut row = self.row("peak memory", "MiB", values.len(), median);
            row.interval = median_interval(&values);
            part.clone_into(&mut row.part);
            // Once: it is about the whole.
            if part == "browsers" {
                PUBLISHED_MEMORY.clone_into(&mut row.published);
            }
            rows.push(row);
        }
        let share = 100.0 * self.latencies.len() as f64 / self.agents.max(1) as f64;
        let share = (self.agents > 0).then_some(share);
        rows.push(self.row("right answers", "%", self.agents as usize, share));
        rows
    }
}

/// All kinds of agents at once, in both rows in turn.
pub(super) fn run(count: u32, rounds: u32, per_browser: u32, speed: u32) -> Result<Outcome, Error> {
    let manifests = catalog::list(&catalog::here()?)?;
    let kinds: Vec<String> = manifests.iter().map(|one| one.name.clone()).collect();
    let mut ways = [
        Way::new("own browser (for e2b)".to_owned(), 1),
        Way::new(format!("{per_browser} to a browser (for trenvx-vm)"), per_browser),
    ];
    let mut warnings = of_this_machine();
    for round in 0..rounds {
        for way in &mut ways {
            eprintln!("round {} of {rounds}: {count} agents, {}", round + 1, way.subject);
            let mut settings = Settings::new(manifests.clone());
            settings.count = count as usize;
            settings.per_browser = way.per_browser as usize;
            settings.rates.speed = f64::from(speed);
            settings.seed = u64::from(round);
            match Lab::start(settings).and_then(|lab| lab.run()) {
                Ok(report) => {
                    way.take(&report);
                    for row in report.agents.iter().filter(|row| row.outcome != "right") {
                        let (agent, outcome, message) = (&row.agent, &row.outcome, &row.message);
                        warnings.push(format!("{}: {agent}: {outcome}: {message}", way.subject));
                    }
                }
                Err(error) => {
                    warnings.push(format!("{}, round {}: {error}", way.subject, round + 1));
                    way.failures.push(error.to_string());
                }
            }
        }
    }
    let mut rows: Vec<MeasuredRow> = ways.iter().flat_map(|way| way.rows(&kinds)).collect();
    let [own, shared] = &ways;
    rows.push(saved("P99 latency saved", (own, own.p99()), (shared, shared.p99()), PUBLISHED_LATENCY));
    rows.push(saved("peak memory saved", (own, own.peak()), (shared, shared.peak()), PUBLISHED_MEMORY));
    if speed != 1 {
        warnings.push(format!(
            "waits for the model are divided by {speed}: what agents compute weighs more in latency"
        ));
    }
    let fewest = ways.iter().map(|way| way.latencies.len()).min().unwrap_or(0);
    let tail = if fewest < FOR_P99 {
        warnings.push(format!("P99 of {fewest} agents is the largest value"));
        "Latency of agents: the largest, which stands for P99"
    } else {
        "P99 latency of agents"
    };
    Ok(Outcome {
        rows,
        charts: vec![
            Chart::wholes("agents-latency", "Latency of agents", "latency", "Median (s)"),
            Chart::wholes("agents-p99", tail, "P99 latency", "Latency (s)"),
            Chart::parts("agents-memory", "Peak memory of agents at once", "peak memory", "PSS (MiB)"),
        ],
        warnings,
        wrong: Vec::new(),
        stand_ins: vec![
            "agents are processes in cgroups of their own, not microVMs: a browser for each stands for E2B, shared \
             ones for TrEnv-X; starts of VMs, guest memory and page caches are not in it"
                .to_owned(),
        ],
    })
}

/// What the second saves against the first, %; negative where it takes more.
fn saved(
    metric: &str,
    (own, before): (&Way, Option<f64>),
    (shared, after): (&Way, Option<f64>),
    published: &str,
) -> MeasuredRow {
    let share = before.zip(after).map(|(before, after)| 100.0 * (1.0 - after / before));
    let lacking = if before.is_none() { own } else { shared };
    MeasuredRow {
        subject: shared.subject.clone(),
        published: published.to_owned(),
        ..lacking.row(metric, "%", shared.latencies.len().min(own.latencies.len()), share)
    }
}

/// The browser, as it tells its version.
pub(super) fn made_with() -> BTreeMap<String, String> {
    let said = program().and_then(|program| Command::new(program).arg("--version").output().ok());
    let said = said.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned());
    said.map(|version| ("browser".to_owned(), version)).into_iter().collect()
}

/// Browsers of agents with a page each, by how many share one.
pub(super) fn browsers(agents: u32, per_browser: &[u32]) -> Result<Outcome, Error> {
    let ways: Vec<usize> = per_browser.iter().map(|k| *k as usize).collect();
    eprintln!("{agents} agents with a page each, {per_browser:?} to a browser");
    let measured = bench::browsers(agents as usize, &ways)?;
    let mut rows = Vec::new();
    for one in &measured {
        let values = [
            ("memory per agent", "MiB", one.per_agent_bytes as f64 / MIB, 1),
            ("memory of the first row's", "%", 100.0 * one.share, 1),
            ("memory of one agent alone", "%", 100.0 * one.share_of_alone, 1),
            ("open", "ms", one.open_ms, one.agents as u64),
            ("processor per agent", "ms", one.cpu_ms / one.agents.max(1) as f64, 1),
        ];
        rows.extend(values.into_iter().map(|(metric, unit, value, n)| MeasuredRow {
            subject: format!("k = {}", one.per_browser),
            metric: metric.to_owned(),
            unit: unit.to_owned(),
            n,
            median: Some(value),
            note: format!("{} browsers; what agents read: {}", one.browsers, one.read),
            ..MeasuredRow::default()
        }));
    }
    let mut warnings = of_this_machine();
    warnings.push(
        "memory is PSS: browsers on one machine share the file pages of their program, which browsers in guests do not"
            .to_owned(),
    );
    Ok(Outcome {
        rows,
        charts: vec![
            Chart::wholes(
                "browser-memory",
                "Memory of browsers for each agent, k agents to a browser",
                "memory per agent",
                "PSS (MiB)",
            ),
            Chart::wholes(
                "browser-open",
                "Time to open a page, start of the browser included, k agents to a browser",
                "open",
                "Median (ms)",
            ),
            Chart::wholes(
                "browser-processor",
                "Processor time of browsers for each agent, k agents to a browser",
                "processor per agent",
                "Processor time (ms)",
            ),
        ],
        warnings,
        wrong: Vec::new(),
        stand_ins: vec!["agents share browsers on this machine, not beside or in microVMs".to_owned()],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_told_against_own_browsers_and_nothing_of_nothing() {
        let mut own = Way::new("own".to_owned(), 1);
        let mut shared = Way::new("shared".to_owned(), 8);
        let told = |own: &Way, shared: &Way| {
            saved("P99 latency saved", (own, own.p99()), (shared, shared.p99()), PUBLISHED_LATENCY)
        };
        assert!(told(&own, &shared).note.starts_with("NOT-RUN"));
        for value in 1..=200 {
            own.latencies.push(("blackjack".to_owned(), f64::from(value)));
            shared.latencies.push(("blackjack".to_owned(), f64::from(value) / 4.0));
        }
        assert_eq!((own.p99(), shared.p99()), (Some(198.0), Some(49.5)));
        let row = told(&own, &shared);
        assert_eq!((row.median, row.n, row.note.as_str()), (Some(75.0), 200, ""));
    }

    #[test]
    fn a_tail_of_few_agents_says_that_it_is_the_largest() {
        let mut way = Way::new("own".to_owned(), 1);
        way.agents = 3;
        way.latencies = [3.0, 1.0].map(|value| ("blackjack".to_owned(), value)).to_vec();
        let rows = way.rows(&["blackjack".to_owned()]);
        let of = |metric: &str| rows.iter().find(|row| row.metric == metric).unwrap();
        assert_eq!(of("P99 latency").median, Some(3.0));
        assert!(of("P99 latency").note.contains("the largest"));
        let right = of("right answers").median.unwrap();
        assert!((66.0..67.0).contains(&right), "{right}");
        assert!(of("peak memory").note.starts_with("NOT-RUN"));
    }
}
