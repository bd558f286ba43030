//! One workload in both worlds: what the simulated one says, what the emulated one measured, and the error.
//!
//! What functions take is the machine's own, so it is an input of both: the simulated world plays every
//! invocation with the median service time that its function had when it ran alone on the machine
//! ([`services_alone`]). What is compared is what the model adds: decisions, queueing, start-up, sharing
//! of cores, memory. Every latency is an exact quantile over completed invocations outside of the
//! burn-in.

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

/// What a function takes alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alone {
    /// Median.
    pub service: Duration,
    /// Invocations that it is the median of.
    pub invocations: usize,
    /// Whether they found warm sandboxes; else none did.
    pub warm: bool,
}

/// What functions take by themselves: of each, by name, the median service time of those invocations in
/// any of the runs that no other one overlapped, in warm sandboxes if there were any. A function that
/// never ran alone is left out.
pub fn services_alone<'a>(emulated: impl IntoIterator<Item = &'a RunRecord>) -> BTreeMap<String, Alone> {
    let mut measured: BTreeMap<&str, [Vec<f64>; 2]> = BTreeMap::new();
    for record in emulated {
        for call in alone(&record.invocations) {
            let Some(function) = record.functions.get(call.function as usize) else { continue };
            let is_warm = call.start == Some(StartKind::Warm);
            let of_function = measured.entry(&function.name).or_default();
            of_function[usize::from(is_warm)].push(call.service_ns.as_secs_f64());
        }
    }
    measured
        .into_iter()
        .filter_map(|(name, [others, warm])| {
            let is_warm = !warm.is_empty();
            let values = if is_warm { warm } else { others };
            let service = Duration::from_secs_f64(estimate::quantile(&values, 0.5)?);
            Some((name.to_owned(), Alone { service, invocations: values.len(), warm: is_warm }))
        })
        .collect()
}

/// Completed invocations between whose arrival and end there was no other one.
fn alone(calls: &[InvocationRecord]) -> Vec<&InvocationRecord> {
    let mut calls: Vec<_> = calls.iter().collect();
    calls.sort_by_key(|call| (call.arrival_ns, call.number));
    let end = |call: &InvocationRecord| call.arrival_ns + call.end_to_end();
    let mut busy_until = None;
    let mut alone = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        let before = busy_until.is_none_or(|until| until <= call.arrival_ns);
        let after = calls.get(index + 1).is_none_or(|next| next.arrival_ns >= end(call));
        if before && after && call.outcome == Outcome::Completed {
            alone.push(*call);
        }
        busy_until = busy_until.max(Some(end(call)));
    }
    alone
}

/// The workload with these service times; functions that have none keep their own.
pub fn with_services(workload: &Workload, services: &BTreeMap<String, Alone>) -> Workload {
    let of = |function: usize| workload.functions.get(function).and_then(|f| services.get(&f.name));
    let invocations: Vec<Invocation> = workload
        .invocations
        .iter()
        .map(|call| {
            let service = of(call.function().index()).map_or(call.service(), |alone| alone.service);
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
    let parts: [(&str, Part); 3] = [
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

/// A part of a call's latency.
type Part = fn(&InvocationRecord) -> Duration;

const LEVELS: [(&str, f64); 2] = [("p50", 0.5), ("p99", 0.99)];

fn quantile(calls: &[InvocationRecord], of: Part, q: f64) -> Option<f64> {
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
    fn a_function_takes_what_it_took_when_nobody_else_was_there() {
        // Calls arrive at second n. Functions 0 and 1 in turn: 0 is warm and alone with 10 and 30 ms, and
        // takes 900 ms beside another call that arrives in its last 200 ms; 1 was alone in a cold start.
        let functions = ["even", "odd", "never"]
            .map(|name| platform::records::FunctionRecord { name: name.to_owned(), ..Default::default() });
        let mut overlapped = [call(6, Warm, 0, 900), call(7, Warm, 0, 900)];
        overlapped[1].arrival_ns = overlapped[0].arrival_ns + Duration::from_millis(700);
        let emulated = RunRecord {
            functions: functions.to_vec(),
            ..record(
                [call(0, Warm, 0, 10), call(2, Warm, 0, 30), call(3, Cold, 100, 70), call(4, Cold, 9, 500)]
                    .into_iter()
                    .chain(overlapped)
                    .collect(),
            )
        };
        let services = services_alone([&emulated]);
        let of =
            |name: &str| services.get(name).map(|a| (a.service.as_micros() / 1_000, a.invocations, a.warm));
        assert_eq!((of("even"), of("odd"), of("never")), (Some((20, 2, true)), Some((70, 1, false)), None));

        let table = functions.map(|f| traces::Function {
            name: f.name,
            tenant: String::new(),
            profile: None,
            memory: None,
        });
        let calls = [0, 1, 2].map(|n| Invocation::new(Instant::ZERO, FunctionId(n), Duration::from_secs(9)));
        let workload =
            Workload { functions: table.to_vec(), invocations: calls.to_vec().into(), ..Workload::default() };
        let played = with_services(&workload, &services);
        let ms: Vec<u64> = played.invocations.iter().map(|call| call.service().as_micros() / 1_000).collect();
        assert_eq!(ms, [20, 70, 9_000]);
    }
}
