//! One workload in both worlds: what the simulated one says, what the emulated one measured, and the error.
//!
//! What functions take is the machine's own, so it is an input of both: the simulated world plays every
//! invocation with the median service time that its function had in warm sandboxes of the emulated run
//! ([`with_services_of`]). What is compared is what the model adds: decisions, queueing, start-up,
//! sharing of cores, memory. Every latency is an exact quantile over completed invocations outside
//! of the burn-in.

use crate::estimate;
use platform::records::{InvocationRecord, Outcome, RunRecord, StartKind};
use serde::Serialize;
use std::collections::BTreeMap;
use traces::{Duration, Invocation, Workload};

/// One metric in both worlds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What, such as `startup.restored.p99`.
    pub metric: String,
    /// Its unit.
    pub unit: &'static str,
    /// As measured; nothing where there was nothing to measure.
    pub emulated: Option<f64>,
    /// As the model says.
    pub simulated: Option<f64>,
}

impl Row {
    /// How far the model is off, as a share of what was measured: 0.1 is 10 % too much.
    pub fn error(&self) -> Option<f64> {
        let (emulated, simulated) = (self.emulated?, self.simulated?);
        (emulated != 0.0).then(|| simulated / emulated - 1.0)
    }
}

/// One run in both worlds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Validation {
    /// The metrics.
    pub rows: Vec<Row>,
    /// Invocations, those of the burn-in left out.
    pub invocations: u64,
    /// Those of them that got their sandbox in the same way and ended in the same way.
    pub same_decision: u64,
}

/// The workload with the service times that its functions had in the emulated world: of each function the
/// median in warm sandboxes, else in all; its own where it never completed.
pub fn with_services_of(workload: &Workload, emulated: &RunRecord) -> Workload {
    let mut measured: BTreeMap<u32, [Vec<f64>; 2]> = BTreeMap::new();
    for call in emulated.invocations.iter().filter(|call| call.outcome == Outcome::Completed) {
        let of_function = measured.entry(call.function).or_default();
        let seconds = call.service_ns.as_secs_f64();
        of_function[1].push(seconds);
        if call.start == Some(StartKind::Warm) {
            of_function[0].push(seconds);
        }
    }
    let medians: BTreeMap<u32, Duration> = measured
        .into_iter()
        .filter_map(|(function, [warm, all])| {
            let median = estimate::quantile(&warm, 0.5).or_else(|| estimate::quantile(&all, 0.5))?;
            Some((function, Duration::from_secs_f64(median)))
        })
        .collect();
    let invocations: Vec<Invocation> = workload
        .invocations
        .iter()
        .map(|call| {
            let service = medians.get(&call.function().0).copied().unwrap_or(call.service());
            Invocation::new(call.arrival(), call.function(), service)
        })
        .collect();
    Workload { invocations: invocations.into(), ..workload.clone() }
}

/// Compares the two records of one workload; both must hold every invocation.
pub fn validate(emulated: &RunRecord, simulated: &RunRecord) -> Validation {
    let measured = |record: &RunRecord| -> BTreeMap<u64, InvocationRecord> {
        let calls = record.invocations.iter().filter(|call| !call.burn_in);
        calls.map(|call| (call.number, *call)).collect()
    };
    let (emu, sim) = (measured(emulated), measured(simulated));
    let decision = |call: &InvocationRecord| (call.start, call.outcome);
    let same = emu.iter().filter(|(number, call)| sim.get(*number).map(decision) == Some(decision(call)));
    let mut rows = Vec::new();
    let mut row = |metric: String, unit, values: [Option<f64>; 2]| {
        let [emulated, simulated] = values;
        if emulated.is_some() || simulated.is_some() {
            rows.push(Row { metric, unit, emulated, simulated });
        }
    };
    let both = [&emu, &sim];
    for outcome in Outcome::ALL {
        let count = both.map(|calls| calls.values().filter(|call| call.outcome == outcome).count());
        if count != [0, 0] {
            row(format!("outcomes.{}", outcome.name()), "", count.map(|n| Some(n as f64)));
        }
    }
    let completed = both.map(|calls| {
        calls.values().filter(|call| call.outcome == Outcome::Completed).copied().collect::<Vec<_>>()
    });
    for kind in StartKind::ALL {
        let of_kind = completed
            .each_ref()
            .map(|calls| calls.iter().filter(|call| call.start == Some(kind)).copied().collect::<Vec<_>>());
        if of_kind.each_ref().map(Vec::is_empty) == [true, true] {
            continue;
        }
        let word = kind.name();
        row(format!("starts.{word}"), "", of_kind.each_ref().map(|calls| Some(calls.len() as f64)));
        if kind != StartKind::Warm {
            for (name, q) in LEVELS {
                let startup = |calls: &Vec<InvocationRecord>| quantile(calls, |call| call.startup_ns, q);
                row(format!("startup.{word}.{name}"), "ms", of_kind.each_ref().map(startup));
            }
        }
    }
    let parts: [(&str, fn(&InvocationRecord) -> Duration); 3] = [
        ("queueing", |call| call.queueing_ns),
        ("service", |call| call.service_ns),
        ("end_to_end", InvocationRecord::end_to_end),
    ];
    for (part, of) in parts {
        for (name, q) in LEVELS {
            row(format!("{part}.{name}"), "ms", completed.each_ref().map(|calls| quantile(calls, of, q)));
        }
    }
    let gib = |record: &RunRecord| Some(record.memory.peak_local.0 as f64 / f64::from(1 << 30));
    row("local.peak".to_owned(), "GiB", [gib(emulated), gib(simulated)]);
    let mean = [emulated, simulated].map(|record| record.memory.mean_local_gib());
    row("local.mean".to_owned(), "GiB", mean);
    let same_decision = same.count() as u64;
    Validation { rows, invocations: emu.len() as u64, same_decision }
}

const LEVELS: [(&str, f64); 2] = [("p50", 0.5), ("p99", 0.99)];

fn quantile(calls: &[InvocationRecord], of: fn(&InvocationRecord) -> Duration, q: f64) -> Option<f64> {
    let ms: Vec<f64> = calls.iter().map(|call| of(call).as_secs_f64() * 1e3).collect();
    estimate::quantile(&ms, q)
}

#[cfg(test)]
mod tests {
    use super::*;
    use traces::{FunctionId, Instant};

    fn call(number: u64, start: StartKind, startup_ms: u64, service_ms: u64) -> InvocationRecord {
        InvocationRecord {
            number,
            function: (number % 2) as u32,
            node: Some(0),
            start: Some(start),
            outcome: Outcome::Completed,
            burn_in: number == 0,
            arrival_ns: Instant::ZERO + Duration::from_secs(number),
            queueing_ns: Duration::ZERO,
            startup_ns: Duration::from_millis(startup_ms),
            service_ns: Duration::from_millis(service_ms),
        }
    }

    fn record(invocations: Vec<InvocationRecord>) -> RunRecord {
        RunRecord { invocations, ..RunRecord::default() }
    }

    use StartKind::{Cold, Warm};

    #[test]
    fn errors_are_shares_of_what_was_measured_without_the_burn_in() {
        let emulated = record(vec![
            call(0, Cold, 900, 10),
            call(1, Cold, 100, 20),
            call(2, Cold, 100, 20),
            call(3, Warm, 0, 20),
        ]);
        let simulated = record(vec![
            call(0, Cold, 900, 10),
            call(1, Cold, 80, 20),
            call(2, Warm, 0, 20),
            call(3, Warm, 0, 20),
        ]);
        let found = validate(&emulated, &simulated);
        assert_eq!((found.invocations, found.same_decision), (3, 2));
        let row = |metric: &str| found.rows.iter().find(|row| row.metric == metric).unwrap();
        let startup = row("startup.cold.p50");
        assert_eq!((startup.emulated, startup.simulated), (Some(100.0), Some(80.0)));
        assert!((startup.error().unwrap() + 0.2).abs() < 1e-12);
        assert_eq!((row("starts.cold").emulated, row("starts.cold").simulated), (Some(2.0), Some(1.0)));
        assert_eq!(row("queueing.p99").error(), None, "of nothing there is no share");
        assert!(found.rows.iter().all(|row| !row.metric.contains("restored")));
    }

    #[test]
    fn functions_take_what_they_took_in_warm_sandboxes() {
        let emulated = record(vec![
            call(0, Warm, 0, 10),
            call(2, Warm, 0, 30),
            call(4, Cold, 100, 500),
            call(1, Cold, 100, 70),
        ]);
        let arrivals = [(0, 0), (1, 1), (2, 2)].map(|(second, function)| {
            let at = Instant::ZERO + Duration::from_secs(second);
            Invocation::new(at, FunctionId(function), Duration::from_secs(9))
        });
        let workload = Workload { invocations: arrivals.to_vec().into(), ..Workload::default() };
        let played = with_services_of(&workload, &emulated);
        let ms: Vec<u64> = played.invocations.iter().map(|call| call.service().as_micros() / 1_000).collect();
        // Function 0 was warm twice, function 1 never, function 2 never ran.
        assert_eq!(ms, [20, 70, 9_000]);
    }
}
