//! Func: one call a slot, so that every start can be looked at alone.
//!
//! Source: TrEnv's functional test (SOSP'24 artifact, `faasd-testdriver`, `workload-func.yml`).
//! Six rounds over ten functions (without chameleon), of which the first is burn-in.

use super::slots::{Plan, Slot, slot};
use crate::error::Result;
use crate::service::ServiceLookup;
use crate::workload::Workload;

/// Function: one call, slot s.
const SLOTS: [Slot; 10] = [
    slot("pyaes", (1, 1, 0, 4)),
    slot("dynamic-html", (1, 1, 0, 2)),
    slot("image-processing", (1, 1, 0, 5)),
    slot("image-recognition", (1, 1, 0, 5)),
    slot("video-processing", (1, 1, 0, 5)),
    slot("crypto", (1, 1, 0, 3)),
    slot("image-flip-rotate", (1, 1, 0, 4)),
    slot("json-serde", (1, 1, 0, 3)),
    slot("js-json-serde", (1, 1, 0, 3)),
    slot("pagerank", (1, 1, 0, 4)),
];

/// The workload. `seed` decides where inside its second an invocation arrives, and the service
/// times that `service` gives for each function.
///
/// # Errors
/// [`NoServiceTime`](crate::Error::NoServiceTime) if `service` does not know a function.
pub fn generate(seed: u64, service: ServiceLookup<'_>) -> Result<Workload> {
    let plan = Plan {
        name: "func",
        slots: &SLOTS,
        cycles: 6,
        burn_in_cycles: 1,
        provenance: "one call a slot, as in the TrEnv artifact".to_owned(),
    };
    plan.workload(seed, service, |slot| slot.concurrency)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::ServiceTime;
    use crate::time::Duration;

    #[test]
    fn func_calls_ten_functions_five_times_after_one_round_of_burn_in() {
        let workload = generate(1, &|_| Some(ServiceTime::Constant { ms: 100.0 })).unwrap();
        workload.validate().unwrap();
        assert_eq!((workload.measured_counts(), workload.burn_in_count()), (vec![5; 10], 10));
        assert_eq!(workload.span, Duration::from_secs(6 * 38));
    }
}
