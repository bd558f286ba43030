//! What a run of agents found.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::browser::{Tally, Usage};
use super::llm::Asked;
use super::pace::Rates;

const MIB: f64 = (1 << 20) as f64;

/// What an agent says of itself when it ends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// Waiting for the model, s.
    pub llm_s: f64,
    /// Requests to the model.
    pub requests: u64,
    /// Requests that broke and were sent again.
    pub retries: u64,
    /// Waiting for the browser, s.
    pub browser_s: f64,
    /// Requests to the browser.
    pub browser_steps: u64,
    /// How often it began: more than once when its browser ended.
    pub beginnings: u64,
    /// Processes of tools.
    pub tool_runs: u64,
    /// Processor time of its own process after the interpreter's start, s.
    pub own_cpu_s: f64,
    /// Processor time of its tools, s.
    pub tool_cpu_s: f64,
    /// The most that one tool had resident, bytes.
    pub tool_peak_bytes: u64,
}

/// One agent of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its number, from 0.
    pub number: usize,
    /// Which agent.
    pub agent: String,
    /// Which recording.
    pub seed: u64,
    /// `right`, `wrong`, or the name of what went wrong.
    pub outcome: String,
    /// What went wrong, in a sentence; empty if nothing.
    pub message: String,
    /// Its answer.
    pub answer: Value,
    /// From the call until its place was there, ms: a sandbox, or a VM that has answered.
    pub start_ms: f64,
    /// From the call to its end, ms.
    pub latency_ms: f64,
    /// Processor time of its place: itself, the interpreter's start, its tools, the VMM; not the browser. ms.
    pub cpu_ms: f64,
    /// The most memory of its place at any sample (PSS), bytes. Zero if it ended before the first one.
    pub peak_bytes: u64,
    /// What it says of itself.
    pub spent: Spent,
    /// Its browser, for those that have one.
    pub browser: Option<usize>,
    /// What the broker did for it.
    pub tally: Option<Tally>,
}

/// Memory at one moment (PSS).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Since the beginning, ms.
    pub at_ms: u64,
    /// Of all agents and their tools, with their guests and VMMs, bytes.
    pub agents_bytes: u64,
    /// Page cache of the image that guests have their root from, bytes.
    pub cache_bytes: u64,
    /// Of all browsers, bytes.
    pub browsers_bytes: u64,
    /// Code that software emulation translated: beside the sum, because a processor's own virtualisation has none. Bytes.
    pub emulation_bytes: u64,
}

impl Sample {
    /// Everything but what only emulation needs, bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.agents_bytes + self.cache_bytes + self.browsers_bytes
    }
}

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where agents ran.
    pub system: String,
    /// What stood in for something that the machine lacks.
    pub stand_in: Option<String>,
    /// Agents that shared a browser, at most.
    pub per_browser: usize,
    /// Rates of the model.
    pub rates: Rates,
    /// Seed of the run.
    pub seed: u64,
    /// From the first start to the last end, ms.
    pub elapsed_ms: f64,
    /// The agents.
    pub agents: Vec<Row>,
    /// The browsers, as they were when the last agent ended.
    pub browsers: Vec<Usage>,
    /// Memory over time.
    pub memory: Vec<Sample>,
    /// Requests to the model.
    pub requests: Vec<Asked>,
}

impl Report {
    /// Agents whose answer was not right.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.agents.iter().filter(|row| row.outcome != "right").count()
    }

    /// The most memory of everything at any sample, bytes.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        self.memory.iter().map(Sample::bytes).max().unwrap_or(0)
    }

    /// A table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::from(
            "  #  agent           seed  outcome               start   latency  llm wait  requests  own cpu  tool cpu  browser  peak memory\n",
        );
        for row in &self.agents {
            let browser = row.browser.map_or_else(|| "-".to_owned(), |number| number.to_string());
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "{:3}  {:14}  {:4}  {:18}  {:5.0} ms  {:6.2} s  {:6.2} s  {:8}  {:4.0} ms  {:5.0} ms  {:>7}  {:>11}",
                row.number,
                row.agent,
                row.seed,
                row.outcome,
                row.start_ms,
                row.latency_ms / 1e3,
                row.spent.llm_s,
                row.spent.requests,
                row.spent.own_cpu_s * 1e3,
                row.spent.tool_cpu_s * 1e3,
                browser,
                seen(row.peak_bytes),
            );
            if !row.message.is_empty() {
                let _ = writeln!(text, "     {}", row.message);
            }
        }
        for (usage, number) in self.browsers.iter().zip(0..) {
            let _ = writeln!(
                text,
                "browser {number}: started {} time(s), {:.1} s of processor time, {:.0} MiB at the end",
                usage.starts,
                usage.cpu_ms / 1e3,
                usage.memory_bytes as f64 / MIB
            );
        }
        let peak_of = |of: fn(&Sample) -> u64| self.memory.iter().map(of).max().unwrap_or(0) as f64 / MIB;
        let _ = writeln!(
            text,
            "{}: peak memory (PSS): {:.0} MiB; agents {:.0} MiB, page cache of their root {:.0} MiB, browsers {:.0} MiB, \
             and of software emulation {:.0} MiB; {:.1} s in all; the model at {} times its speed",
            self.system,
            self.peak_bytes() as f64 / MIB,
            peak_of(|sample| sample.agents_bytes),
            peak_of(|sample| sample.cache_bytes),
            peak_of(|sample| sample.browsers_bytes),
            peak_of(|sample| sample.emulation_bytes),
            self.elapsed_ms / 1e3,
            self.rates.speed
        );
        if let Some(stand_in) = &self.stand_in {
            let _ = writeln!(text, "note: {stand_in}");
        }
        text
    }
}

/// Memory that a sample has seen; one that was too late has seen none.
fn seen(bytes: u64) -> String {
    if bytes == 0 { "not seen".to_owned() } else { format!("{:.1} MiB", bytes as f64 / MIB) }
}
