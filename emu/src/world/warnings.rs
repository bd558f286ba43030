//! What to check before believing a run on a real machine.

use configs::Spec;
use platform::records::{Outcome, RunRecord};
use traces::{Bytes, Duration};

use super::way;

/// Lateness of arrivals above which the load was not what was planned.
const LATE: Duration = Duration::from_millis(5);
/// The same as a part of the median latency.
const LATE_PART: f64 = 0.01;

/// What is so from the beginning.
pub(super) fn of_run(spec: &Spec) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(way::booted(spec));
    warnings.extend(way::stand_in(spec));
    if let Some(emu) = &spec.emu
        && emu.speed != 1.0
    {
        warnings.push(format!(
            "played {} times as fast: arrivals and keep-alive are closer together, starts and invocations are not",
            emu.speed
        ));
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < spec.cluster.cores as usize {
        warnings.push(format!(
            "this machine has {cores} cores, the experiment's node {}: bursts wait for processors",
            spec.cluster.cores
        ));
    }
    if let Some(memory) = machine_memory()
        && memory < spec.cluster.memory_cap
    {
        warnings.push(format!(
            "cluster.memory_cap is {} of declared memory, this machine has {memory}: nothing evicts before it is full",
            spec.cluster.memory_cap
        ));
    }
    warnings
}

/// What came out.
pub(super) fn of_record(spec: &Spec, record: &RunRecord) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(of_lateness(record));
    let ended = |outcome: Outcome| record.functions.iter().map(|f| f.outcomes[outcome as usize]).sum::<u64>();
    for (outcome, what) in [
        (Outcome::TimedOut, format!("waited longer than {} and were given up", spec.cluster.queue_timeout)),
        (Outcome::Rejected, "declare more memory than cluster.memory_cap".to_owned()),
        (Outcome::Failed, "failed".to_owned()),
    ] {
        if ended(outcome) > 0 {
            warnings.push(format!("{} invocations {what}", ended(outcome)));
        }
    }
    warnings
}

/// Open loop is a promise about arrivals: says so where it was not kept.
fn of_lateness(record: &RunRecord) -> Option<String> {
    let late = record.lateness.quantile_us(0.99)?;
    let mut latencies: Vec<(u64, u64)> =
        record.starts.iter().flat_map(|start| start.end_to_end.buckets.iter().copied()).collect();
    latencies.sort_unstable();
    let half = latencies.iter().map(|(_, count)| count).sum::<u64>().div_ceil(2);
    let mut seen = 0;
    let median = latencies.iter().find_map(|&(value, count)| {
        seen += count;
        (seen >= half).then_some(value)
    })?;
    let bound = LATE.as_micros().min((median as f64 * LATE_PART) as u64);
    (late > bound).then(|| {
        format!(
            "the load driver was late: P99 {:.2} ms, against a median latency of {:.2} ms (more than 5 ms, or 1 %); lateness.csv has all of it, and latencies count from the planned arrival",
            late as f64 / 1e3,
            median as f64 / 1e3
        )
    })
}

fn machine_memory() -> Option<Bytes> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()?;
    Some(Bytes(kib * 1024))
}
