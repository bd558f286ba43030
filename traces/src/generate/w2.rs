//! W2: bursts of fixed size, cycles shorter than the baselines' keep-alive, memory scarce.
//!
//! Source: workload 2 of TrEnv's evaluation (SOSP'24 artifact, `faasd-testdriver`,
//! `workload-2.yml`). Twelve cycles of 160 s, of which two are burn-in.

use super::slots::{Plan, Slot, slot};
use crate::error::Result;
use crate::service::ServiceLookup;
use crate::workload::Workload;

/// Function: concurrency, peaks, interval s, slot s.
const SLOTS: [Slot; 11] = [
    slot("chameleon", (15, 1, 0, 10)),
    slot("pyaes", (14, 2, 0, 15)),
    slot("dynamic-html", (200, 1, 0, 4)),
    slot("image-processing", (16, 2, 1, 13)),
    slot("image-recognition", (4, 2, 10, 30)),
    slot("video-processing", (12, 3, 1, 23)),
    slot("crypto", (16, 1, 0, 15)),
    slot("image-flip-rotate", (20, 2, 0, 15)),
    slot("json-serde", (25, 1, 0, 10)),
    slot("js-json-serde", (25, 1, 0, 10)),
    slot("pagerank", (25, 1, 0, 15)),
];

/// The workload. `seed` decides where inside its second an invocation arrives, and the service
/// times that `service` gives for each function.
///
/// # Errors
/// [`NoServiceTime`](crate::Error::NoServiceTime) if `service` does not know a function.
pub fn generate(seed: u64, service: ServiceLookup<'_>) -> Result<Workload> {
    let plan = Plan {
        name: "w2",
        slots: &SLOTS,
        cycles: 12,
        burn_in_cycles: 2,
        provenance: "burst sizes as in the TrEnv artifact (fixed)".to_owned(),
    };
    plan.workload(seed, service, |slot| slot.concurrency)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::ServiceTime;
    use crate::time::Duration;

    #[test]
    fn w2_has_exactly_the_calls_of_the_authors_generator() {
        let workload = generate(1, &|_| Some(ServiceTime::Constant { ms: 100.0 })).unwrap();
        workload.validate().unwrap();
        assert_eq!(workload.measured_counts(), [150, 280, 2000, 320, 80, 360, 160, 400, 250, 250, 250]);
        assert_eq!((workload.measured().len(), workload.burn_in_count()), (4500, 900));
        assert_eq!((workload.burn_in, workload.span), (Duration::from_secs(320), Duration::from_secs(1920)));
    }
}
