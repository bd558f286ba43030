//! Functions, cold in sandboxes: what a start, a call and a warm process cost.

use std::time::{Duration, Instant};

use configs::hint;
use runs::{Chart, MeasuredRow, median_interval};

use super::{Error, Outcome, quantiles};
use crate::functions::{self, Input, Places, Usage};
use crate::sandbox::channel::Failure;
use crate::sandbox::{Config, Manager, Mode};
use crate::world::{Catalog, Installed, Real};

/// How long a function may take to become ready, or to answer: the published driver's own limit.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts each function `starts` times in a new sandbox, calls it once and then `calls` times.
pub(super) fn run(places: &Places, wanted: &[String], starts: u32, calls: u32) -> Result<Outcome, Error> {
    let catalog = Installed(places.clone());
    let manager = Manager::start(Config { base: catalog.base(), ..Config::new(Mode::New) })?;
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    for name in names(places, wanted)? {
        eprintln!("measuring {name}");
        match catalog.find(&name, 0) {
            Ok(real) => {
                let (found, faults) = measure(&manager, &name, &real, starts, calls)?;
                rows.extend(found);
                wrong.extend(faults);
            }
            Err(error) => rows.push(unmeasured(&name, &error.to_string())),
        }
    }
    Ok(Outcome {
        rows,
        charts: vec![
            Chart::parts("function-start", "Cold start of each function", "cold start", "Median (ms)"),
            Chart::wholes(
                "function-service",
                "Service time of each function, warm",
                "service",
                "Median (ms)",
            ),
            Chart::parts("function-memory", "Memory of each function after its calls", "memory", "MiB (PSS)"),
            Chart::wholes("function-threads", "Threads of each function", "threads", "Threads"),
        ],
        warnings: super::of_this_machine(),
        wrong,
        stand_ins: Vec::new(),
    })
}

/// The functions meant, all of them if none is named.
pub(super) fn names(places: &Places, wanted: &[String]) -> Result<Vec<String>, functions::Error> {
    let known: Vec<String> = functions::list(places)?.into_iter().map(|manifest| manifest.name).collect();
    if wanted.is_empty() {
        return Ok(known);
    }
    let is_known = |name: &String| name.starts_with("sized-") || known.contains(name);
    if let Some(stranger) = wanted.iter().find(|name| !is_known(name)) {
        eprintln!("no function {stranger}: {}", hint(stranger, known.iter().map(String::as_str)));
    }
    Ok(wanted.to_vec())
}

fn row(subject: &str, metric: &str, unit: &str) -> MeasuredRow {
    MeasuredRow {
        subject: subject.to_owned(),
        metric: metric.to_owned(),
        unit: unit.to_owned(),
        ..MeasuredRow::default()
    }
}

fn unmeasured(name: &str, why: &str) -> MeasuredRow {
    MeasuredRow { note: format!("NOT-RUN: {why}"), ..row(name, "cold start", "ms") }
}

/// What one process was seen to do.
#[derive(Default)]
struct Seen {
    sandbox: Vec<f64>,
    boot: Vec<f64>,
    first: Vec<f64>,
    service: Vec<f64>,
    own: Vec<f64>,
    shared: Vec<f64>,
    threads: Vec<f64>,
    faults: Vec<String>,
}

fn measure(
    manager: &Manager,
    name: &str,
    real: &Real,
    starts: u32,
    calls: u32,
) -> Result<(Vec<MeasuredRow>, Option<String>), Error> {
    let mut seen = Seen::default();
    for _ in 0..starts {
        let mut sandbox = manager.create(&real.program)?;
        let running = Instant::now();
        seen.sandbox.push(sandbox.steps().whole.as_secs_f64() * 1e3);
        let function = sandbox.function_mut().expect("just started");
        if let Err(failure) = talk(function, real, running, calls, &mut seen) {
            let log = function.log.tail(300).unwrap_or_default();
            seen.faults.push(format!("{failure}; its log ends: {}", String::from_utf8_lossy(&log).trim()));
        }
        manager.destroy_now(sandbox)?;
    }
    seen.faults.sort_unstable();
    seen.faults.dedup();
    let note = seen.faults.join("; ");
    let mut rows = Vec::new();
    let mut push = |metric: &str, part: &str, unit: &str, values: &mut Vec<f64>| {
        let (median, p99) = quantiles(values);
        let (n, interval) = (values.len() as u64, median_interval(values));
        let (part, note) = (part.to_owned(), note.clone());
        rows.push(MeasuredRow { part, n, median, interval, p99, note, ..row(name, metric, unit) });
    };
    push("cold start", "sandbox", "ms", &mut seen.sandbox);
    push("cold start", "until ready", "ms", &mut seen.boot);
    push("cold start", "first call", "ms", &mut seen.first);
    push("service", "", "ms", &mut seen.service);
    push("memory", "own", "MiB", &mut seen.own);
    push("memory", "of files", "MiB", &mut seen.shared);
    push("threads", "", "", &mut seen.threads);
    let wrong = (!seen.faults.is_empty())
        .then(|| format!("{name} did not answer as it should: {}", seen.faults.join("; ")));
    Ok((rows, wrong))
}

fn talk(
    function: &mut crate::sandbox::Function,
    real: &Real,
    running: Instant,
    calls: u32,
    seen: &mut Seen,
) -> Result<(), Failure> {
    function.channel.line(PATIENCE)?;
    seen.boot.push(running.elapsed().as_secs_f64() * 1e3);
    for call in 0..=calls {
        let began = Instant::now();
        let answer = function.channel.request(&real.input, PATIENCE)?;
        let took = began.elapsed().as_secs_f64() * 1e3;
        if call == 0 { &mut seen.first } else { &mut seen.service }.push(took);
        seen.faults.extend(faults(real.expect.as_ref(), &answer));
    }
    let Some(pid) = function.pid() else { return Err(Failure::Closed) };
    let usage = Usage::of(pid.unsigned_abs()).map_err(Failure::Socket)?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    seen.own.push(mib(usage.anonymous_bytes));
    seen.shared.push(mib(usage.pss_bytes.saturating_sub(usage.anonymous_bytes)));
    seen.threads.push(f64::from(usage.threads));
    Ok(())
}

/// What is wrong with an answer.
fn faults(expect: Option<&Input>, answer: &serde_json::Value) -> Vec<String> {
    if answer["ok"] != true {
        return vec![format!("it answered with an error: {}", answer["error"])];
    }
    expect.map(|expect| expect.faults(&answer["output"])).unwrap_or_default()
}
