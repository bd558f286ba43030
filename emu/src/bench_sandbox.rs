//! What sandboxes cost: new and repurposed in the same run, step by step, one and several at a time.
//!
//! A *start* is timed from the manager's call to its return, when the function process runs: it has executed
//! the first instruction of its routine (or, with a program, has been executed). A new sandbox is destroyed after
//! each start, because that is what repurposing avoids. In a used one, the init takes apart what the function before had
//! once the new one runs. Both are waited for before the next start, and timed as its *end*. Modes take turns in short
//! blocks, so that a disturbance of the machine meets all of them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Serialize;

mod goals;

pub use goals::goals;

use crate::sandbox::steps::STEPS;
use crate::sandbox::{Birth, Config, Error, Limits, Manager, Mode, OldLayer, Program, Sandbox, Step, Steps};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Launcher, base image and what else is the same for every mode.
    pub config: Config,
    /// What runs; default in the command: the routine `pause`.
    pub program: Program,
    /// How many at a time.
    pub ways: Vec<usize>,
    /// Starts per mode and number of ways.
    pub starts: usize,
    /// Modes to compare.
    pub modes: Vec<Way>,
}

/// One way to obtain isolation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// All new.
    New,
    /// All new but the network namespace.
    PooledNetns,
    /// A used sandbox with a new root and new cheap namespaces.
    Repurpose,
    /// As published.
    Setns,
    /// As `Repurpose`, but moved to its cgroup after birth.
    RepurposeMigrate,
    /// As `Repurpose`, but the writable layer of the function before is taken apart within the start.
    RepurposeClose,
}

impl Way {
    /// Those that are compared where nothing else is asked for.
    pub const ALL: [Self; 5] =
        [Self::New, Self::PooledNetns, Self::Repurpose, Self::Setns, Self::RepurposeMigrate];
    /// All of them.
    pub const KNOWN: [Self; 6] = [
        Self::New,
        Self::PooledNetns,
        Self::Repurpose,
        Self::Setns,
        Self::RepurposeMigrate,
        Self::RepurposeClose,
    ];

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::PooledNetns => "pooled-netns",
            Self::Repurpose => "repurpose",
            Self::Setns => "setns",
            Self::RepurposeMigrate => "repurpose, migrate",
            Self::RepurposeClose => "repurpose, close",
        }
    }

    fn of(self, config: &Config) -> Config {
        let mode = match self {
            Self::New => Mode::New,
            Self::PooledNetns => Mode::PooledNetns,
            Self::Setns => Mode::Setns,
            Self::Repurpose | Self::RepurposeMigrate | Self::RepurposeClose => Mode::Repurpose,
        };
        let birth = if self == Self::RepurposeMigrate { Birth::Migrate } else { Birth::IntoCgroup };
        let old_layer = if self == Self::RepurposeClose { OldLayer::Within } else { OldLayer::Behind };
        Config { mode, birth, old_layer, ..config.clone() }
    }

    /// Whether each start makes a sandbox.
    fn is_new(self) -> bool {
        matches!(self, Self::New | Self::PooledNetns)
    }
}

/// Quantiles of durations, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half are shorter.
    pub median_us: f64,
    /// 99 of 100 are shorter.
    pub p99_us: f64,
    /// The shortest.
    pub min_us: f64,
    /// Holds the true median 95 times of 100; only of enough durations.
    pub interval_us: Option<(f64, f64)>,
}

/// What was measured for one mode and number of ways.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// How isolation was obtained.
    pub way: Way,
    /// How many at a time.
    pub ways: usize,
    /// Starts that were timed.
    pub starts: usize,
    /// From the call to its return.
    pub start: Quantiles,
    /// After the start: from the call until nothing is left of a new sandbox, or of what a used one had before.
    pub destroy: Option<Quantiles>,
    /// Starts per second, with what else belongs to a turn (destruction, refilling of pools).
    pub rate: f64,
    /// Median of each step that was done, by name, microseconds.
    pub steps: BTreeMap<&'static str, f64>,
}

/// Measures everything.
///
/// # Errors
/// If a sandbox cannot be made.
pub fn run(settings: &Settings) -> Result<Vec<Row>, Error> {
    let mut managers = Vec::new();
    for way in &settings.modes {
        managers.push((*way, Manager::start(way.of(&settings.config))?));
    }
    let mut rows = Vec::new();
    for &ways in &settings.ways {
        let mut samples: Vec<Samples> = managers.iter().map(|_| Samples::default()).collect();
        // Short blocks: about ten turns of every mode.
        let block = (settings.starts / 10).max(ways);
        let mut done = 0;
        while done < settings.starts {
            for ((way, manager), samples) in managers.iter().zip(&mut samples) {
                measure(manager, *way, settings, ways, block, samples)?;
            }
            done += block;
        }
        rows.extend(managers.iter().zip(samples).map(|((way, _), samples)| samples.row(*way, ways)));
    }
    Ok(rows)
}

#[derive(Debug, Default)]
struct Samples {
    starts: Vec<Steps>,
    ends: Vec<Steps>,
    took: Duration,
}

/// A block of starts, `ways` at a time.
fn measure(
    manager: &Manager,
    way: Way,
    settings: &Settings,
    ways: usize,
    block: usize,
    samples: &mut Samples,
) -> Result<(), Error> {
    let each = block.div_ceil(ways);
    // Two programs whose limits differ, so that limits are really set.
    let other = Program {
        limits: Limits {
            pids: settings.program.limits.pids.map(|pids| pids + 1),
            cpu_millis: Some(2_000),
            ..settings.program.limits
        },
        ..settings.program.clone()
    };
    let programs = [&settings.program, &other];
    let mut idle: Vec<Sandbox> = Vec::new();
    if !way.is_new() {
        manager.prepare(&settings.program);
        for _ in 0..ways {
            idle.push(manager.create(&settings.program)?);
        }
    }
    manager.settle();
    let gathered = Mutex::new((Vec::new(), Vec::new()));
    let failed = Mutex::new(None);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..ways {
            let mut sandbox = idle.pop();
            let (gathered, failed) = (&gathered, &failed);
            scope.spawn(move || {
                let mut one = |nth: usize| -> Result<(), Error> {
                    let program = programs[nth % 2];
                    let (start, end) = match sandbox.take() {
                        Some(used) => {
                            let used = manager.repurpose(used, program)?;
                            let steps = used.steps().clone();
                            let whole = manager.rest(&used)?;
                            sandbox = Some(used);
                            (steps, Steps { whole, ..Steps::default() })
                        }
                        None => {
                            let made = manager.create(program)?;
                            (made.steps().clone(), manager.destroy_now(made)?)
                        }
                    };
                    let mut gathered = gathered.lock().expect("no thread panics");
                    gathered.0.push(start);
                    gathered.1.push(end);
                    Ok(())
                };
                for nth in 1..=each {
                    if let Err(error) = one(nth) {
                        *failed.lock().expect("no thread panics") = Some(error);
                        return;
                    }
                }
            });
        }
    });
    samples.took += began.elapsed();
    if let Some(error) = failed.into_inner().expect("no thread panics") {
        return Err(error);
    }
    let (starts, ends) = gathered.into_inner().expect("no thread panics");
    samples.starts.extend(starts);
    samples.ends.extend(ends);
    manager.settle();
    Ok(())
}

impl Samples {
    fn row(self, way: Way, ways: usize) -> Row {
        let whole = |steps: &[Steps]| quantiles(steps.iter().map(|steps| steps.whole).collect());
        let mut steps = BTreeMap::new();
        for (step, name, ..) in STEPS {
            let times: Vec<Duration> = self
                .starts
                .iter()
                .chain(&self.ends)
                .filter(|steps| steps.done.iter().any(|(done, _)| done == step))
                .map(|steps| steps.of(*step))
                .collect();
            if !times.is_empty() {
                steps.insert(*name, quantiles(times).median_us);
            }
        }
        Row {
            way,
            ways,
            starts: self.starts.len(),
            start: whole(&self.starts),
            destroy: (!self.ends.is_empty()).then(|| whole(&self.ends)),
            rate: self.starts.len() as f64 / self.took.as_secs_f64(),
            steps,
        }
    }
}

pub(crate) fn quantiles(mut times: Vec<Duration>) -> Quantiles {
    times.sort_unstable();
    let times: Vec<f64> = times.into_iter().map(|time| time.as_nanos() as f64 / 1e3).collect();
    let at = |part: f64| times[((times.len() as f64 * part).ceil() as usize).clamp(1, times.len()) - 1];
    if times.is_empty() {
        return Quantiles::default();
    }
    let interval_us = runs::median_interval(&times);
    Quantiles { median_us: at(0.5), p99_us: at(0.99), min_us: at(0.0), interval_us }
}

/// The rows as text: starts with their ratios, then the steps beside what was published about them.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<20} {:>4} {:>6} {:>10} {:>10} {:>10} {:>12} {:>9} {:>9} {:>9}\n",
        "mode",
        "ways",
        "starts",
        "median ms",
        "P99 ms",
        "min ms",
        "end ms",
        "starts/s",
        "new/it",
        "incl. end"
    );
    for row in rows {
        let new = rows.iter().find(|other| other.ways == row.ways && other.way == Way::New);
        let whole = |row: &Row| row.start.median_us + row.destroy.map_or(0.0, |destroy| destroy.median_us);
        let ratio = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.1}"));
        text.push_str(&format!(
            "{:<20} {:>4} {:>6} {:>10.3} {:>10.3} {:>10.3} {:>12} {:>9.0} {:>9} {:>9}\n",
            row.way.name(),
            row.ways,
            row.starts,
            row.start.median_us / 1e3,
            row.start.p99_us / 1e3,
            row.start.min_us / 1e3,
            row.destroy.map_or_else(|| "-".into(), |destroy| format!("{:.3}", destroy.median_us / 1e3)),
            row.rate,
            ratio(new.map(|new| new.start.median_us / row.start.median_us)),
            ratio(new.map(|new| whole(new) / whole(row))),
        ));
    }
    let mut ways: Vec<usize> = rows.iter().map(|row| row.ways).collect();
    ways.dedup();
    for ways in ways {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.ways == ways).collect();
        text.push_str(&format!("\nsteps, {ways} at a time: median us\n{:<18}", "step"));
        for row in &rows {
            text.push_str(&format!(" {:>18}", row.way.name()));
        }
        text.push_str("  published\n");
        for (step, name, ..) in STEPS {
            if rows.iter().all(|row| !row.steps.contains_key(name)) {
                continue;
            }
            text.push_str(&format!("{name:<18}"));
            for row in &rows {
                let cell = row.steps.get(name).map_or_else(|| "-".into(), |time| format!("{time:.1}"));
                text.push_str(&format!(" {cell:>18}"));
            }
            text.push_str(&format!("  {}\n", Step::published(*step)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let times = (1..=200).map(Duration::from_micros).collect();
        let found = quantiles(times);
        let interval_us = Some((86.0, 115.0));
        assert_eq!(found, Quantiles { median_us: 100.0, p99_us: 198.0, min_us: 1.0, interval_us });
    }
}
