//! Agents with a browser each and with shared ones, in sandboxes and in microVMs; and browsers alone.
//!
//! Two pairs, each with the same agents in both rows: in sandboxes only the browsers differ; in microVMs everything does
//! that differs between E2B and TrEnv-X: sandbox, start, root device, browsers.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use runs::{Chart, MeasuredRow, median_interval};

use super::{Error, Outcome, of_this_machine, quantiles};
use crate::agents::bench::{self, Where};
use crate::agents::browser::program;
use crate::agents::harness::{Lab, Settings};
use crate::agents::place::{Guests, System};
use crate::agents::report::{Report, Sample};
use crate::agents::{Manifest, catalog};
use crate::functions::Places;
use crate::vm::Method;

const MIB: f64 = (1 << 20) as f64;
/// The panel of all kinds together.
const ALL: &str = "all agents";
/// The panels of browsers alone.
const HERE: &str = "on this machine";
const IN_VMS: &str = "in microVMs";
/// The metric of their first chart.
const MEMORY: &str = "memory per agent";
/// Values that a 99th percentile is taken of at least.
const FOR_P99: usize = 100;
const PUBLISHED_LATENCY: &str = "up to 58 % lower P99 than E2B (TrEnv-X abstract)";
const PUBLISHED_MEMORY: &str = "up to 61 % lower than E2B (TrEnv-X abstract); Blackjack 30 %, Bug fixer 11 %, Map reduce \
    37 %, Shop assistant 54 %, Blog summary 35 %, Game design 61 % (TrEnv-X README, memory.png, read off the picture, \
    200 agents of one kind)";

/// The same for the figure, %.
const SAVED_LATENCY: (&str, f64) = (PUBLISHED_LATENCY, 58.0);
const SAVED_MEMORY: (&str, f64) = (PUBLISHED_MEMORY, 61.0);

/// Picks a part of a peak.
type PartOfPeak = fn(&Sample) -> u64;

/// The parts of a peak, in the order of a bar.
const PARTS: [(&str, PartOfPeak); 3] = [
    ("agents, guests and VMMs", |sample| sample.agents_bytes),
    ("page cache of the guests' root", |sample| sample.cache_bytes),
    ("browsers", |sample| sample.browsers_bytes),
];

/// What was seen of one row.
struct Way {
    subject: String,
    system: System,
    per_browser: u32,
    /// Agents at once.
    count: u32,
    agents: Vec<Manifest>,
    guests: Option<Arc<Guests>>,
    /// Whether the published figures are about such a row.
    as_published: bool,
    /// Kind of agent and latency, s, of those that came to the right answer.
    latencies: Vec<(String, f64)>,
    /// Start of each place, ms.
    starts: Vec<f64>,
    /// The sample of each round with the most memory.
    peaks: Vec<Sample>,
    /// Agents of all rounds.
    ran: u64,
    /// What kept rounds from being run.
    failures: Vec<String>,
}

impl Way {
    fn new(subject: String, system: System, per_browser: u32, agents: &[Manifest]) -> Self {
        Self {
            subject,
            system,
            per_browser,
            count: agents.len() as u32,
            agents: agents.to_vec(),
            guests: None,
            as_published: matches!(system, System::Vm(_)),
            latencies: Vec::new(),
            starts: Vec::new(),
            peaks: Vec::new(),
            ran: 0,
            failures: Vec::new(),
        }
    }

    fn settings(&self, places: &Places, speed: u32, round: u32) -> Settings {
        let image = places.image();
        Settings {
            count: self.count as usize,
            per_browser: self.per_browser as usize,
            seed: u64::from(round),
            system: self.system,
            guests: self.guests.clone(),
            base: image.join("usr").is_dir().then_some(image),
            rates: crate::agents::pace::Rates { speed: f64::from(speed), ..Default::default() },
            ..Settings::new(self.agents.clone())
        }
    }

    fn take(&mut self, report: &Report) {
        self.ran += report.agents.len() as u64;
        for row in report.agents.iter().filter(|row| row.outcome == "right") {
            self.latencies.push((row.agent.clone(), row.latency_ms / 1e3));
            self.starts.push(row.start_ms);
        }
        self.peaks.extend(report.memory.iter().max_by_key(|sample| sample.bytes()));
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
        quantiles(&mut self.peaks.iter().map(|peak| peak.bytes() as f64 / MIB).collect::<Vec<_>>()).0
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

    fn published(&self, text: &str) -> String {
        if self.as_published { text.to_owned() } else { String::new() }
    }

    fn rows(&self) -> Vec<MeasuredRow> {
        let mut rows = Vec::new();
        let mut kinds: Vec<&str> = self.agents.iter().map(|one| one.name.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds.into_iter().chain([ALL]) {
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
        tail.published = self.published(PUBLISHED_LATENCY);
        if tail.median.is_some() && self.latencies.len() < FOR_P99 {
            tail.note = format!("the largest: {} are too few for a 99th percentile", self.latencies.len());
        }
        rows.push(tail);
        let (start, _) = quantiles(&mut self.starts.clone());
        rows.push(self.row("start of the place", "ms", self.starts.len(), start));
        for (part, of) in PARTS {
            let mut values: Vec<f64> = self.peaks.iter().map(|peak| of(peak) as f64 / MIB).collect();
            let median = quantiles(&mut values).0;
            let mut row = self.row("peak memory", "MiB", values.len(), median);
            row.interval = median_interval(&values);
            part.clone_into(&mut row.part);
            // Once: it is about the whole.
            if part == "browsers" {
                row.published = self.published(PUBLISHED_MEMORY);
            }
            rows.push(row);
        }
        let mut code: Vec<f64> = self.peaks.iter().map(|peak| peak.emulation_bytes as f64 / MIB).collect();
        if code.iter().any(|bytes| *bytes > 0.0) {
            let mut row = self.row("translated code", "MiB", code.len(), quantiles(&mut code).0);
            "beside the peak: only software emulation has it".clone_into(&mut row.note);
            rows.push(row);
        }
        let share = 100.0 * self.latencies.len() as f64 / self.ran.max(1) as f64;
        let share = (self.ran > 0).then_some(share);
        rows.push(self.row("right answers", "%", self.ran as usize, share));
        rows
    }
}

/// The rows, in pairs that are compared: the first of each is what the second saves against.
fn ways(manifests: &[Manifest], count: u32, in_vms: &[String], per_browser: u32) -> Vec<[Way; 2]> {
    let of = |browsers: u32| match browsers {
        1 => "own browser".to_owned(),
        more => format!("{more} to a browser"),
    };
    let sandboxes = [1, per_browser].map(|browsers| {
        let subject = format!("sandboxes, {}", of(browsers));
        Way { count, ..Way::new(subject, System::Sandbox, browsers, manifests) }
    });
    let chosen = in_vms.iter().filter_map(|name| manifests.iter().find(|one| one.name == *name).cloned());
    let chosen: Vec<Manifest> = chosen.collect();
    let mut ways = vec![sandboxes];
    if !chosen.is_empty() {
        ways.push([(Method::E2b, 1), (Method::TrenvxVm, per_browser)].map(|(method, browsers)| {
            let system = System::Vm(method);
            Way::new(format!("{}, {}", system.name(), of(browsers)), system, browsers, &chosen)
        }));
    }
    ways
}

/// Agents at once in all rows in turn.
pub(super) fn run(
    places: &Places,
    count: u32,
    in_vms: &[String],
    rounds: u32,
    per_browser: u32,
    speed: u32,
) -> Result<Outcome, Error> {
    let manifests = catalog::list(&catalog::here()?)?;
    let mut ways = ways(&manifests, count, in_vms, per_browser);
    let mut warnings = of_this_machine();
    let mut stand_ins = vec![
        "browsers of agents in sandboxes run beside them on this machine, not inside them: they share the file pages of \
         their program there, which those in guests do not"
            .to_owned(),
    ];
    let guests = if in_vms.is_empty() { None } else { Some(Guests::find(&places.out).map(Arc::new)) };
    for way in ways.iter_mut().flatten().filter(|way| matches!(way.system, System::Vm(_))) {
        match &guests {
            Some(Ok(guests)) => way.guests = Some(Arc::clone(guests)),
            Some(Err(error)) => way.failures.push(error.to_string()),
            None => {}
        }
    }
    if let Some(Ok(guests)) = &guests {
        stand_ins.extend(guests.accelerator().stand_in());
    }
    // Why, if nothing ran at all.
    let mut failed = None;
    for round in 0..rounds {
        for way in ways.iter_mut().flatten() {
            if matches!(way.system, System::Vm(_)) && way.guests.is_none() {
                continue;
            }
            eprintln!("round {} of {rounds}: {} agents, {}", round + 1, way.count, way.subject);
            match Lab::start(way.settings(places, speed, round)).and_then(|lab| lab.run()) {
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
                    failed.get_or_insert(error);
                }
            }
        }
    }
    let mut rows: Vec<MeasuredRow> = ways.iter().flatten().flat_map(Way::rows).collect();
    if ways.iter().flatten().all(|way| way.ran == 0)
        && let Some(error) = failed
    {
        return Err(error.into());
    }
    for [before, after] in &ways {
        let p99 = (before.p99(), after.p99());
        rows.push(saved("P99 latency saved", (before, p99.0), (after, p99.1), SAVED_LATENCY));
        let peak = (before.peak(), after.peak());
        rows.push(saved("peak memory saved", (before, peak.0), (after, peak.1), SAVED_MEMORY));
    }
    if speed != 1 {
        warnings.push(format!(
            "waits for the model are divided by {speed}: what agents compute weighs more in latency"
        ));
    }
    let counts = ways.iter().flatten().map(|way| way.latencies.len());
    // Rows without any say so themselves.
    let fewest = counts.filter(|count| *count > 0).min().unwrap_or(0);
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
            Chart::wholes(
                "agents-latency-saved",
                "Latency at the 99th percentile saved by sharing",
                "P99 latency saved",
                "Saved (%)",
            ),
            Chart::wholes(
                "agents-memory-saved",
                "Peak memory saved by sharing",
                "peak memory saved",
                "Saved (%)",
            ),
        ],
        warnings,
        wrong: Vec::new(),
        stand_ins,
    })
}

/// What the second saves against the first, %; negative where it takes more.
fn saved(
    metric: &str,
    (own, before): (&Way, Option<f64>),
    (shared, after): (&Way, Option<f64>),
    (published, reported): (&str, f64),
) -> MeasuredRow {
    let share = before.zip(after).map(|(before, after)| 100.0 * (1.0 - after / before));
    let lacking = if before.is_none() { own } else { shared };
    MeasuredRow {
        subject: shared.subject.clone(),
        published: shared.published(published),
        reported: shared.as_published.then_some(reported),
        ..lacking.row(metric, "%", shared.latencies.len().min(own.latencies.len()), share)
    }
}

/// The browser, as it tells its version, and what microVMs are made of. Without an image only their rows are not there.
pub(super) fn made_with(places: &Places, in_vms: bool) -> BTreeMap<String, String> {
    let said = program().and_then(|program| Command::new(program).arg("--version").output().ok());
    let said = said.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned());
    let mut with: BTreeMap<_, _> = said.map(|version| ("browser".to_owned(), version)).into_iter().collect();
    if in_vms {
        with.extend(super::vms::made_with(places).unwrap_or_default());
    }
    with
}

/// Browsers of agents with a page each, by how many share one: on this machine, and in microVMs.
pub(super) fn browsers(
    places: &Places,
    agents: u32,
    per_browser: &[u32],
    in_vms: &[u32],
) -> Result<Outcome, Error> {
    let mut warnings = of_this_machine();
    let mut stand_ins =
        vec!["browsers are called by this program, not by agents that compute beside them".to_owned()];
    eprintln!("{agents} agents with a page each, {per_browser:?} to a browser");
    let here: Vec<_> = per_browser.iter().map(|count| (Where::Here, *count as usize)).collect();
    let measured = bench::browsers(agents as usize, &here)?;
    let mut rows: Vec<_> = measured
        .iter()
        .flat_map(|one| browser_rows(HERE, &format!("k = {}", one.per_browser), one))
        .collect();
    warnings.push(
        "memory is PSS: browsers on one machine share the file pages of their program, which browsers in guests do not"
            .to_owned(),
    );
    if !in_vms.is_empty() {
        eprintln!("{agents} agents with a page each, browsers in microVMs");
        match in_guests(places, agents as usize, in_vms, &mut stand_ins) {
            Ok(measured) => rows.extend(measured),
            Err(error) => rows.push(MeasuredRow {
                panel: IN_VMS.to_owned(),
                metric: MEMORY.to_owned(),
                unit: "MiB".to_owned(),
                note: format!("NOT-RUN: {error}"),
                ..MeasuredRow::default()
            }),
        }
    }
    Ok(Outcome {
        rows,
        charts: vec![
            Chart::wholes(
                "browser-memory",
                "Memory of browsers for each agent, k agents to a browser",
                MEMORY,
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
        stand_ins,
    })
}

/// E2B's way, a browser for each agent in its microVM, and then TrEnv-X's, so many agents to one.
fn in_guests(
    places: &Places,
    agents: usize,
    shared: &[u32],
    stand_ins: &mut Vec<String>,
) -> Result<Vec<MeasuredRow>, Error> {
    let guests = Guests::find(&places.out)?;
    let mut ways = vec![(Where::Vms(Method::E2b, &guests), 1)];
    ways.extend(shared.iter().map(|count| (Where::Vms(Method::TrenvxVm, &guests), *count as usize)));
    let measured = bench::browsers(agents, &ways)?;
    stand_ins.extend(guests.accelerator().stand_in());
    let rows = measured.iter().flat_map(|one| {
        let mut rows = browser_rows(IN_VMS, &format!("{}, k = {}", one.place, one.per_browser), one);
        if one.emulation_bytes > 0 {
            let code = one.emulation_bytes as f64 / one.agents.max(1) as f64 / MIB;
            rows.push(MeasuredRow {
                metric: "translated code per agent".to_owned(),
                unit: "MiB".to_owned(),
                median: Some(code),
                note: "beside its memory: only software emulation has it".to_owned(),
                ..rows[0].clone()
            });
        }
        rows
    });
    Ok(rows.collect())
}

/// What was measured of one way of sharing.
fn browser_rows(panel: &str, subject: &str, one: &bench::Row) -> Vec<MeasuredRow> {
    let cached = if one.cache_bytes > 0 {
        format!("; {:.0} MiB of their root are cached, counted once", one.cache_bytes as f64 / MIB)
    } else {
        String::new()
    };
    let values = [
        (MEMORY, "MiB", Some(one.per_agent_bytes as f64 / MIB), 1),
        ("memory of the first row's", "%", Some(100.0 * one.share), 1),
        ("memory of one agent alone", "%", one.share_of_alone.map(|share| 100.0 * share), 1),
        ("open", "ms", Some(one.open_ms), one.agents as u64),
        ("processor per agent", "ms", Some(one.cpu_ms / one.agents.max(1) as f64), 1),
    ];
    let row = |(metric, unit, value, n): (&str, &str, Option<f64>, u64)| {
        value.map(|value| MeasuredRow {
            panel: panel.to_owned(),
            subject: subject.to_owned(),
            metric: metric.to_owned(),
            unit: unit.to_owned(),
            n,
            median: Some(value),
            note: format!("{} browsers{cached}; what agents read: {}", one.browsers, one.read),
            ..MeasuredRow::default()
        })
    };
    values.into_iter().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> [Way; 2] {
        let manifests =
            catalog::list(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("agents")).unwrap();
        let mut ways = ways(&manifests, 12, &["blackjack".to_owned()], 8);
        assert_eq!(ways.len(), 2);
        ways.pop().unwrap()
    }

    #[test]
    fn agents_of_experiments_are_those_that_there_are() {
        let manifests =
            catalog::list(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("agents")).unwrap();
        let known: Vec<&str> = manifests.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(configs::Measure::AGENTS, known);
    }

    #[test]
    fn what_is_saved_is_told_against_the_first_of_a_pair_and_nothing_of_nothing() {
        let [mut e2b, mut trenvx] = pair();
        assert_eq!((e2b.system.name(), e2b.per_browser), ("e2b", 1));
        assert_eq!((trenvx.system.name(), trenvx.per_browser, trenvx.count), ("trenvx-vm", 8, 1));
        let told = |before: &Way, after: &Way| {
            saved("P99 latency saved", (before, before.p99()), (after, after.p99()), SAVED_LATENCY)
        };
        assert!(told(&e2b, &trenvx).note.starts_with("NOT-RUN"));
        for value in 1..=200 {
            e2b.latencies.push(("blackjack".to_owned(), f64::from(value)));
            trenvx.latencies.push(("blackjack".to_owned(), f64::from(value) / 4.0));
        }
        assert_eq!((e2b.p99(), trenvx.p99()), (Some(198.0), Some(49.5)));
        let row = told(&e2b, &trenvx);
        assert_eq!((row.median, row.n, row.note.as_str()), (Some(75.0), 200, ""));
        assert!(row.published.contains("58 %"));
    }

    #[test]
    fn a_tail_of_few_agents_says_that_it_is_the_largest() {
        let [mut way, _] = pair();
        way.ran = 3;
        way.latencies = [3.0, 1.0].map(|value| ("blackjack".to_owned(), value)).to_vec();
        let rows = way.rows();
        let of = |metric: &str| rows.iter().find(|row| row.metric == metric).unwrap();
        assert_eq!(of("P99 latency").median, Some(3.0));
        assert!(of("P99 latency").note.contains("the largest"));
        let right = of("right answers").median.unwrap();
        assert!((66.0..67.0).contains(&right), "{right}");
        assert!(of("peak memory").note.starts_with("NOT-RUN"));
    }
}
