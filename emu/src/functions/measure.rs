//! Are a function's answers right, and what does it cost? The table of functions, without sandboxes.

use std::time::Duration;

use serde::Serialize;

use super::{FunctionSpec, Input, Language, Place, Process, StartError, Usage};

/// How long a function may take to become ready.
const START: Duration = Duration::from_secs(60);
/// How long a call may take; the published driver's own limit.
const CALL: Duration = Duration::from_secs(60);
/// How long a function may take to leave once its input has ended.
const LEAVE: Duration = Duration::from_secs(10);

/// What one process of a function did.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Name.
    pub function: String,
    /// What runs it.
    pub language: Language,
    /// Executing it until it was ready, ms.
    pub start_ms: f64,
    /// The handler's time of the first call, with the warm-up input, ms.
    pub first_call_ms: f64,
    /// The handler's time with the base input, median over `runs`, ms.
    pub service_ms: f64,
    /// Calls with the base input.
    pub runs: usize,
    /// Declared memory limit of the base copy, bytes.
    pub memory_limit_bytes: Option<u64>,
    /// After the calls with the base input.
    pub usage: Usage,
    /// Threads when it was ready, before any call.
    pub threads_when_ready: u32,
    /// Everything that was wrong; empty: all answers were right.
    pub faults: Vec<String>,
}

/// Starts the function in `place`, calls it once with the warm-up input, `runs` times with the base input and once
/// with each of the others, and checks every answer. No limits are in force, and nothing empties the page cache: the
/// start is one with the files in memory, unless this is the first.
pub fn measure(spec: &FunctionSpec, place: &Place, runs: usize) -> Result<Measured, StartError> {
    let mut process = Process::start(spec, place, START)?;
    let mut faults = Vec::new();
    if process.ready.threads == 0 {
        faults.push("ready: it says that it has no threads".to_owned());
    }
    let first = call(&mut process, "warm-up", &spec.inputs.warm_up, &mut faults);
    let mut times: Vec<f64> =
        (0..runs).filter_map(|_| call(&mut process, "base", &spec.inputs.base, &mut faults)).collect();
    let usage = Usage::of(process.pid()).map_err(super::Error::io("read what is used by", &spec.name))?;
    for (name, input) in [("_1", &spec.inputs.first), ("_2", &spec.inputs.second)] {
        call(&mut process, name, input, &mut faults);
    }
    let (start, threads_when_ready) = (process.start, process.ready.threads);
    match process.finish(LEAVE) {
        Some(status) if status.success() => {}
        Some(status) => faults.push(format!("end: it left with {status}")),
        None => faults.push("end: it did not leave when its input ended".to_owned()),
    }
    Ok(Measured {
        function: spec.name.clone(),
        language: spec.language,
        start_ms: start.as_secs_f64() * 1e3,
        first_call_ms: first.unwrap_or(f64::NAN),
        service_ms: median(&mut times),
        runs,
        memory_limit_bytes: spec.inputs.base.memory_limit(),
        usage,
        threads_when_ready,
        faults,
    })
}

/// One call and the check of its answer; the handler's time in ms.
fn call(process: &mut Process, name: &str, input: &Input, faults: &mut Vec<String>) -> Option<f64> {
    match process.call(&input.input, CALL) {
        Ok(reply) => {
            for fault in input.faults(&reply.output) {
                let fault = format!("{name}: {fault}");
                // The same fault of every repetition is one fault.
                if !faults.contains(&fault) {
                    faults.push(fault);
                }
            }
            Some(reply.service.as_secs_f64() * 1e3)
        }
        Err(error) => {
            faults.push(format!("{name}: {error}"));
            None
        }
    }
}

/// The middle one, or the mean of the two middle ones; NaN (null in JSON) without any.
fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    match times.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => times[middle],
        _ => f64::midpoint(times[middle - 1], times[middle]),
    }
}
