//! Short workloads that are followed by hand, on the free machine and its plain function: 600 pages of
//! runtime that are only read, 300 of the function that are written, 100 of libraries that are not
//! touched, 50 of files.

use configs::spec::{Fault, FaultKind, Placement, Spec};
use platform::MemoryClass;
use platform::records::{MemorySample, RunRecord, StartKind};
use traces::{Bytes, Duration, Function, FunctionId, Instant, Invocation};

/// An image of the plain function: 1,000 pages.
pub const IMAGE: Bytes = Bytes(1000 * 4096);

/// A call at that millisecond, of so many.
pub fn call(at_ms: u64, function: u32, ms: u64) -> Invocation {
    let at = Instant::ZERO + Duration::from_millis(at_ms);
    Invocation::new(at, FunctionId(function), Duration::from_millis(ms))
}

/// Plays calls of the free machine's functions for so many seconds, without burn-in.
pub fn play_for(spec: &Spec, calls: &[Invocation], seconds: u64) -> RunRecord {
    let most = calls.iter().map(|call| call.function().0 + 1).max().unwrap_or(1);
    play_with(spec, &super::functions(most as usize), calls, seconds)
}

/// As [`play_for`], with functions of one's own.
pub fn play_with(spec: &Spec, functions: &[Function], calls: &[Invocation], seconds: u64) -> RunRecord {
    let (burn_in, span) = (Duration::ZERO, Duration::from_secs(seconds));
    let invocations = calls.iter().copied();
    sim::simulate(spec, sim::Play { functions, invocations, burn_in, span, seed: 1 })
}

/// How each invocation was started.
pub fn kinds(record: &RunRecord) -> Vec<Option<StartKind>> {
    record.invocations.iter().map(|call| call.start).collect()
}

/// Start-up latency of each invocation in microseconds.
pub fn startups_us(record: &RunRecord) -> Vec<u64> {
    record.invocations.iter().map(|call| call.startup_ns.as_micros()).collect()
}

/// Service time of each invocation in microseconds.
pub fn services_us(record: &RunRecord) -> Vec<u64> {
    record.invocations.iter().map(|call| call.service_ns.as_micros()).collect()
}

/// The sample of that instant.
pub fn sample_at(record: &RunRecord, ms: u64) -> &MemorySample {
    let at = Instant::ZERO + Duration::from_millis(ms);
    record.memory.samples.iter().find(|sample| sample.at == at).expect("a sample of that instant")
}

/// Pages of a class at that instant.
pub fn pages_at(record: &RunRecord, ms: u64, class: MemoryClass) -> u64 {
    sample_at(record, ms).bytes.get(class).0 / 4096
}

/// Something fails at a second, for so many.
pub fn fails(spec: &mut Spec, at: u64, lasts: u64, what: FaultKind) {
    let (at, lasts) = (Duration::from_secs(at), Duration::from_secs(lasts));
    spec.faults.events.push(Fault { at, lasts, what });
}

/// Network storage that brings an image into a rack's pool in exactly 1 s.
pub fn fills_in_a_second(spec: &mut Spec) {
    spec.machine.nas.bandwidth = IMAGE.0;
    spec.machine.nas.read_4k = Duration::ZERO;
}

/// So many racks of one node each, which take turns.
pub fn racks_in_turn(spec: &mut Spec, racks: u32) {
    spec.cluster.racks = racks;
    spec.cluster.nodes = racks;
    spec.placement = Placement::RoundRobin;
}
