//! What the jobs of the suite came to, and how that compares with the goals and with a peer.

use anyhow::Context;
use runs::Environment;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// A published rate of dslab-faas (commit a6c155e), the fastest published simulator of its kind, on one
/// core of the machine on which the bare loop made the other rate; in millions a second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// What it was measured on.
    pub job: String,
    /// Its rate; the best where there are several.
    pub rate_m: f64,
    /// The bare loop's on the same invocations.
    pub bare_loop_rate_m: f64,
}

impl Peer {
    /// On the standard job of about so many invocations. It was not measured beyond 10 M, nor on 1,000
    /// hosts with 10 M: what it made on 100 hosts is more than it would make there.
    pub fn of_standard_job(invocations: u64) -> Self {
        let (job, rate_m, bare_loop_rate_m) = match invocations {
            // 2.62 s of CPU time (median of 7).
            ..3_000_000 => ("SJ-1M, 1,000 hosts", 0.38, 26.7),
            // 32.2 s of CPU time (median of 3).
            _ => ("SJ-10M, 100 hosts", 0.31, 23.5),
        };
        Self { job: job.to_owned(), rate_m, bare_loop_rate_m }
    }

    /// On the real Azure sample: 6.1 s to 7.0 s with loading (3 runs).
    pub fn of_azure_sample() -> Self {
        Self { job: "Azure sample, one run".to_owned(), rate_m: 0.50, bare_loop_rate_m: 29.0 }
    }

    /// Its rate as a part of the bare loop's.
    pub fn of_bare_loop(&self) -> f64 {
        self.rate_m / self.bare_loop_rate_m
    }
}

/// A job that was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// System, or `all`.
    pub system: String,
    /// Invocations that were played.
    pub invocations: u64,
    /// Nodes.
    pub nodes: u32,
    /// Threads.
    pub threads: u32,
    /// Repetitions, of which the median counts.
    pub repetitions: u32,
    /// How long it took. Drawing of the invocations is left out where there is one thread.
    pub seconds: f64,
    /// Events for each invocation.
    pub events_per_invocation: f64,
    /// The bare loop on the same invocations in turn, in millions a second.
    pub bare_loop_rate_m: Option<f64>,
    /// What it is compared with.
    pub peer: Option<Peer>,
    /// Most memory that its process held, in 10^6 bytes.
    pub peak_rss_mb: f64,
}

impl Measured {
    /// Millions of invocations a second.
    pub fn rate_m(&self) -> f64 {
        self.invocations as f64 / self.seconds / 1e6
    }

    /// Nanoseconds for each invocation.
    pub fn ns(&self) -> f64 {
        self.seconds / self.invocations as f64 * 1e9
    }

    /// Its rate over the peer's: each against the bare loop of its own machine, where that was run.
    fn times_peer(&self) -> Option<f64> {
        let peer = self.peer.as_ref()?;
        let here = self.bare_loop_rate_m.unwrap_or(peer.bare_loop_rate_m);
        Some(self.rate_m() / here / peer.of_bare_loop())
    }

    fn cells(&self) -> [String; 11] {
        let dash = || "-".to_owned();
        [
            self.name.clone(),
            self.system.clone(),
            self.invocations.to_string(),
            self.nodes.to_string(),
            format!("{:.1}", self.seconds),
            format!("{:.2}", self.rate_m()),
            format!("{:.0}", self.ns()),
            self.bare_loop_rate_m.map_or_else(dash, |rate| format!("{:.3}", self.rate_m() / rate)),
            self.times_peer().map_or_else(dash, |times| format!("{times:.0}")),
            self.peer.as_ref().map_or_else(dash, |peer| format!("{} M/s: {}", peer.rate_m, peer.job)),
            format!("{:.0}", self.peak_rss_mb),
        ]
    }
}

const HEAD: [&str; 11] = [
    "job",
    "system",
    "invocations",
    "nodes",
    "seconds",
    "M inv/s",
    "ns/inv",
    "of bare loop",
    "x dslab-faas",
    "its rate and job",
    "peak MB",
];

/// A bound that is to be kept.
struct Goal {
    what: &'static str,
    unit: &'static str,
    bound: f64,
    is_least: bool,
    value: fn(&Report) -> Option<f64>,
}

const GOALS: &[Goal] = &[
    at_least("faasd, 10 M invocations on 1,000 nodes", "M inv/s", 8.0, |r| {
        Some(r.job("sj-10m-faasd")?.rate_m())
    }),
    at_least("t-cxl, the same", "M inv/s", 3.0, |r| Some(r.job("sj-10m-t-cxl")?.rate_m())),
    at_most("time for an invocation, 1 M to 100 M of them at one rate", "% apart", 20.0, |r| {
        r.spread(["long-1m", "sj-10m-faasd", "long-100m"])
    }),
    at_most("the same, 1 M to 100 M in one day", "% apart", 20.0, |r| {
        r.spread(["dense-1m", "sj-10m-faasd", "dense-100m"])
    }),
    at_most("the same, 100 to 10,000 nodes", "% apart", 20.0, |r| {
        r.spread(["nodes-100", "sj-10m-faasd", "nodes-10000"])
    }),
    at_most("peak memory, up to 100 M invocations", "MB", 100.0, |r| {
        let of = |name| r.job(name).map(|job| job.peak_rss_mb);
        Some(of("sj-10m-faasd")?.max(of("sj-10m-t-cxl")?).max(of("long-100m")?))
    }),
    at_most("the Azure sample, all systems, ten seeds, 2 cores", "s", 60.0, |r| {
        Some(r.job("azure")?.seconds)
    }),
    at_most("e21, 10^9 invocations on 10,000 nodes, 2 cores, faasd", "s", 180.0, |r| {
        Some(r.job("e21-faasd")?.seconds)
    }),
    at_most("the same, t-cxl", "s", 180.0, |r| Some(r.job("e21-t-cxl")?.seconds)),
];

type Value = fn(&Report) -> Option<f64>;

const fn at_least(what: &'static str, unit: &'static str, bound: f64, value: Value) -> Goal {
    Goal { what, unit, bound, is_least: true, value }
}

const fn at_most(what: &'static str, unit: &'static str, bound: f64, value: Value) -> Goal {
    Goal { what, unit, bound, is_least: false, value }
}

impl Goal {
    /// `MET`, or by what part of the bound it was missed.
    fn verdict(&self, value: f64) -> String {
        let missed = if self.is_least { 1.0 - value / self.bound } else { value / self.bound - 1.0 };
        if missed <= 0.0 { "MET".to_owned() } else { format!("MISSED by {:.0} %", 100.0 * missed) }
    }

    fn cells(&self, report: &Report) -> [String; 4] {
        let word = if self.is_least { "at least" } else { "at most" };
        let goal = format!("{word} {} {}", self.bound, self.unit);
        let value = if report.quick { None } else { (self.value)(report) };
        let Some(value) = value else { return [self.what.into(), "-".into(), goal, "NOT MEASURED".into()] };
        let digits = if value < 20.0 { 2 } else { 0 };
        [self.what.into(), format!("{value:.digits$} {}", self.unit), goal, self.verdict(value)]
    }
}

/// The results of a suite.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Whether jobs were cut down: then nothing is judged.
    pub quick: bool,
    /// Version of the model.
    pub model_version: u32,
    /// Day of the last measurement, UTC.
    pub date: String,
    /// Machine and build.
    pub environment: Environment,
    /// The jobs, in the order of the suite.
    pub jobs: Vec<Measured>,
}

impl Report {
    /// A report of this machine and build, without jobs.
    pub fn here(quick: bool) -> Self {
        Self {
            quick,
            model_version: sim::MODEL_VERSION,
            date: today(),
            // Whose machine it is does not matter.
            environment: Environment { host: String::new(), ..Environment::look() },
            jobs: Vec::new(),
        }
    }

    /// Reads one.
    pub fn load(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is no result of trenvx bench sim --keep", file.display()))
    }

    /// Writes it.
    pub fn save(&self, file: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        traces::atomic::write_file(file, &text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Prints tables of jobs and goals, in Markdown.
    pub fn show(&self) {
        let Environment { cpu_model, cores, kernel, rustc, .. } = &self.environment;
        let unknown = || "unknown".to_owned();
        println!(
            "{}, {} cores, kernel {}, {rustc}, model version {}, {}\n",
            cpu_model.clone().unwrap_or_else(unknown),
            cores.map_or_else(unknown, |cores| cores.to_string()),
            kernel.clone().unwrap_or_else(unknown),
            self.model_version,
            self.date
        );
        print_table(&HEAD, &self.jobs.iter().map(Measured::cells).collect::<Vec<_>>());
        println!("\nx dslab-faas: each against the bare loop of its own machine, where that was run\n");
        let goals: Vec<_> = GOALS.iter().map(|goal| goal.cells(self)).collect();
        print_table(&["what", "measured", "goal", "verdict"], &goals);
    }

    fn job(&self, name: &str) -> Option<&Measured> {
        self.jobs.iter().find(|job| job.name == name)
    }

    /// How much more time the slowest of the jobs takes for an invocation than the fastest, in percent.
    fn spread(&self, jobs: [&str; 3]) -> Option<f64> {
        let [a, b, c] = jobs.map(|name| self.job(name).map(Measured::ns));
        let (a, b, c) = (a?, b?, c?);
        Some(100.0 * (a.max(b).max(c) / a.min(b).min(c) - 1.0))
    }
}

fn print_table<const N: usize>(head: &[&str; N], rows: &[[String; N]]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or_default()
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: &[String; N]| {
        let cells: Vec<String> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("| {} |", cells.join(" | "));
    };
    line(&head.map(str::to_owned));
    line(&widths.map(|width| "-".repeat(width)));
    rows.iter().for_each(line);
}

/// The day, UTC, as `2026-01-31`.
fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    date_of(seconds / 86_400)
}

/// The day so many days after the first of 1970.
fn date_of(days: u64) -> String {
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(is_leap(year)) {
        left -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        let dates = [0, 59, 11_016, 19_782, 20_453].map(date_of);
        assert_eq!(dates, ["1970-01-01", "1970-03-01", "2000-02-29", "2024-02-29", "2025-12-31"]);
    }

    #[test]
    fn verdicts_say_by_how_much() {
        let [rate, _, flat, ..] = GOALS else { panic!("goals") };
        assert_eq!([10.0, 8.0, 6.0].map(|value| rate.verdict(value)), ["MET", "MET", "MISSED by 25 %"]);
        assert_eq!([5.0, 20.0, 30.0].map(|value| flat.verdict(value)), ["MET", "MET", "MISSED by 50 %"]);
    }
}
