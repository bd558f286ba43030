//! W1: bursts of varying size, cycles longer than the baselines' keep-alive.
//!
//! Source: workload 1 of TrEnv's evaluation (SOSP'24 artifact, `faasd-testdriver`,
//! `workload-1.yml`). Twelve cycles of 143 s, of which two are burn-in. The size of a burst is
//! normal around the function's concurrency c with deviation ceil(0.1 c), capped at 1.1 c, drawn
//! as the authors' generator draws it, so the counts below are exactly theirs.

use super::mt19937::Mt19937;
use super::slots::{Plan, Slot, slot};
use crate::error::Result;
use crate::service::ServiceLookup;
use crate::workload::Workload;

/// Function: concurrency, peaks, interval s, slot s.
const SLOTS: [Slot; 11] = [
    slot("chameleon", (25, 1, 1, 10)),
    slot("pyaes", (15, 2, 1, 15)),
    slot("dynamic-html", (200, 1, 0, 4)),
    slot("image-processing", (9, 3, 1, 15)),
    slot("image-recognition", (4, 3, 5, 20)),
    slot("video-processing", (8, 3, 1, 20)),
    slot("crypto", (15, 2, 1, 12)),
    slot("image-flip-rotate", (15, 2, 1, 15)),
    slot("json-serde", (20, 1, 0, 10)),
    slot("js-json-serde", (20, 1, 0, 10)),
    slot("pagerank", (15, 2, 0, 12)),
];

/// Seed of the burst sizes in the authors' generator.
const BURST_SEED: u64 = 2_022_310_806;

/// The workload. Burst sizes never change; `seed` decides where inside its second an invocation
/// arrives, and the service times that `service` gives for each function.
///
/// # Errors
/// [`NoServiceTime`](crate::Error::NoServiceTime) if `service` does not know a function.
pub fn generate(seed: u64, service: ServiceLookup<'_>) -> Result<Workload> {
    let mut twister = Mt19937::from_integer(BURST_SEED);
    // The authors' generator shuffles a list of the functions first and does not use the result,
    // but the shuffle moves the random generator on.
    twister.shuffle(&mut [0; SLOTS.len()]);
    let plan = Plan {
        name: "w1",
        slots: &SLOTS,
        cycles: 12,
        burn_in_cycles: 2,
        provenance: format!("burst sizes as in the TrEnv artifact (seed {BURST_SEED})"),
    };
    plan.workload(seed, service, |slot| {
        let c = f64::from(slot.concurrency);
        let drawn = twister.normal(c, (0.1 * c).ceil().max(1.0)).abs();
        drawn.min(c * 1.1) as u32
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::ServiceTime;
    use crate::time::Duration;
    use std::collections::BTreeMap;

    fn generated(seed: u64) -> Workload {
        generate(seed, &|_| Some(ServiceTime::Constant { ms: 100.0 })).unwrap()
    }

    #[test]
    fn w1_has_exactly_the_calls_of_the_authors_generator() {
        let workload = generated(1);
        workload.validate().unwrap();
        assert_eq!(workload.measured_counts(), [225, 284, 2010, 248, 96, 226, 285, 283, 192, 196, 293]);
        let burn_in: Vec<u64> =
            workload.counts().iter().zip(workload.measured_counts()).map(|(all, m)| all - m).collect();
        assert_eq!(burn_in, [49, 60, 386, 49, 18, 45, 59, 62, 34, 38, 59]);
        assert_eq!((workload.measured().len(), workload.burn_in_count()), (4338, 859));
        assert_eq!((workload.burn_in, workload.span), (Duration::from_secs(286), Duration::from_secs(1716)));
    }

    #[test]
    fn the_largest_bursts_are_the_authors() {
        let workload = generated(1);
        let mut seconds: BTreeMap<(u32, u64), u32> = BTreeMap::new();
        for invocation in &workload.invocations {
            let second = invocation.arrival().as_nanos() / 1_000_000_000;
            *seconds.entry((invocation.function().0, second)).or_default() += 1;
        }
        let largest: Vec<u32> = (0..11)
            .map(|function| seconds.range((function, 0)..(function + 1, 0)).map(|(_, n)| *n).max().unwrap())
            .collect();
        assert_eq!(largest, [27, 16, 220, 9, 4, 8, 16, 16, 22, 22, 16]);
    }

    #[test]
    fn the_seed_moves_arrivals_but_not_counts() {
        let (a, b) = (generated(1), generated(2));
        assert_eq!(a.counts(), b.counts());
        assert_ne!(a.hash(), b.hash());
        assert_eq!(a.hash(), generated(1).hash());
    }

    #[test]
    fn a_function_without_a_service_time_is_named() {
        let error =
            generate(1, &|name| (name != "crypto").then_some(ServiceTime::Constant { ms: 1.0 })).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no service time for function \"crypto\"; give one (for example --service-time \"crypto=100 ms\")"
        );
    }
}
