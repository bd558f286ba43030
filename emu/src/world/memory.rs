//! Memory of the sandboxes, sampled by a thread of its own.
//!
//! Every `output.memory_every`, `/proc/PID/smaps_rollup` of each sandbox's init and function process is read.
//! `Pss_Anon` is the sandbox's own ([`MemoryClass::InstancePrivate`]). `Pss_File` and `Pss_Shmem` divide a page by
//! those who map it, so that their sum over all sandboxes counts every shared page once: that is
//! [`MemoryClass::NodeShared`]. Templates lie in files in memory; all their pages count, once, as what they stand for. What processes outside the sandboxes map too is missing by their part, and children
//! of a function are not read.
//!
//! Reading takes the kernel about as long as the process has page tables, and holds its address space meanwhile:
//! it disturbs functions a little, and arrivals not at all. Peaks between two samples are not seen.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::Instant as WallInstant;

use platform::memory::{ByClass, MemoryClass};
use platform::records::{MemoryRecord, MemorySample, PlaceRecord};
use traces::{Bytes, Duration, Instant, Workload};

use super::driver::Gauges;

/// Processes of the sandboxes that are there, by the executor's name for each sandbox.
pub(super) type Census = Mutex<BTreeMap<u64, Vec<i32>>>;

/// Takes samples until `ended` is dropped at its other end, one at the beginning and one at the end.
pub(super) fn sample(
    census: &Census,
    gauges: &Gauges,
    pool: Option<(MemoryClass, Bytes)>,
    every: Duration,
    began: WallInstant,
    ended: &Receiver<()>,
) -> Vec<MemorySample> {
    let mut samples = Vec::new();
    let mut cores_before = busy_cores();
    loop {
        let processes: Vec<i32> =
            census.lock().unwrap_or_else(PoisonError::into_inner).values().flatten().copied().collect();
        let mut bytes = ByClass::default();
        for pid in processes {
            add_process(pid, pool.is_some(), &mut bytes);
        }
        if let Some((class, held)) = pool {
            bytes.add(class, held);
        }
        let cores = busy_cores();
        samples.push(MemorySample {
            at: Instant::from_nanos(began.elapsed().as_nanos() as u64),
            bytes,
            busy: gauges.busy.load(Ordering::Relaxed),
            idle: gauges.idle.load(Ordering::Relaxed),
            core_time: cores.saturating_sub(cores_before),
        });
        cores_before = cores;
        match ended.recv_timeout(std::time::Duration::from_nanos(every.as_nanos())) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return samples,
        }
    }
}

/// A process that is gone by now holds nothing. Pages of files in memory are those of templates where there are any,
/// and then counted as a whole.
fn add_process(pid: i32, from_template: bool, bytes: &mut ByClass) {
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { return };
    let mut add = |class, key| bytes.add(class, Bytes(kib_of(&text, key) * 1024));
    add(MemoryClass::InstancePrivate, "Pss_Anon:");
    add(MemoryClass::NodeShared, "Pss_File:");
    if !from_template {
        add(MemoryClass::NodeShared, "Pss_Shmem:");
    }
}

fn kib_of(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Core time of the whole machine since its start, the emulator's own included.
fn busy_cores() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    // user, nice, system, then idle and iowait, then irq and softirq.
    let busy: u64 =
        ticks.iter().enumerate().filter(|(i, _)| [0, 1, 2, 5, 6].contains(i)).map(|(_, n)| n).sum();
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_nanos(busy.saturating_mul(1_000_000_000 / per_second))
}

/// Memory over the measured part of a run: what a sample says holds until the next.
pub(super) fn record(samples: Vec<MemorySample>, workload: &Workload) -> MemoryRecord {
    let (from, until) = (Instant::ZERO + workload.burn_in, Instant::ZERO + workload.span);
    let mut record = MemoryRecord { measured: until.since(from), ..MemoryRecord::default() };
    for (i, sample) in samples.iter().enumerate() {
        let next = samples.get(i + 1).map_or(until, |next| next.at).min(until);
        let held = next.since(sample.at.max(from));
        if held == Duration::ZERO {
            continue;
        }
        record.peak_local = record.peak_local.max(sample.bytes.local());
        for class in MemoryClass::ALL {
            let bytes = sample.bytes.get(class);
            record.peak.0[class as usize] = record.peak.get(class).max(bytes);
            record.gib_seconds[class as usize] += bytes.as_gib_f64() * held.as_secs_f64();
        }
    }
    let gib_seconds =
        MemoryClass::ALL.iter().filter(|c| c.is_local()).map(|&c| record.gib_seconds[c as usize]);
    record.nodes = vec![PlaceRecord { peak: record.peak_local, gib_seconds: gib_seconds.sum() }];
    record.samples = samples;
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_the_machine_uses_cores() {
        let mut bytes = ByClass::default();
        add_process(std::process::id() as i32, false, &mut bytes);
        assert!(bytes.get(MemoryClass::InstancePrivate) > Bytes(100 << 10), "{bytes:?}");
        assert!(bytes.get(MemoryClass::NodeShared) > Bytes(100 << 10), "{bytes:?}");
        assert!(busy_cores() > Duration::ZERO);
    }

    #[test]
    fn only_the_measured_part_counts() {
        let sample = |s, gib| {
            let mut bytes = ByClass::default();
            bytes.add(MemoryClass::InstancePrivate, Bytes::from_gib(gib));
            let at = Instant::ZERO + Duration::from_secs(s);
            MemorySample { at, bytes, busy: 0, idle: 0, core_time: Duration::ZERO }
        };
        let workload = Workload {
            burn_in: Duration::from_secs(5),
            span: Duration::from_secs(15),
            ..Workload::default()
        };
        // 8 GiB end before the burn-in does, 2 last from 4 to 10, 3 to the end, 9 come after it.
        let samples = vec![sample(0, 8), sample(4, 2), sample(10, 3), sample(16, 9)];
        let record = record(samples, &workload);
        assert_eq!(record.peak_local, Bytes::from_gib(3));
        assert_eq!(record.gib_seconds[0], 2.0 * 5.0 + 3.0 * 5.0);
        assert_eq!(record.nodes[0].gib_seconds, 25.0);
    }
}
