//! Quantiles of latencies come from histograms; exact ones from the records of every invocation. How far
//! apart they may be is stated by `Distribution`: a histogram's quantile is the exact one, rounded up
//! within its bucket, which is exact below 256 us and at most 1/128 wide above.

mod common;

use common::{costly_spec, functions};
use platform::records::{Distribution, InvocationRecord, Outcome};
use proptest::prelude::*;
use traces::Duration;

/// The value at or below which `q` of the values lie (the inverse of their empirical distribution).
fn exact(sorted: &[u64], q: f64) -> u64 {
    let rank = (q * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted[rank - 1]
}

const QUANTILES: [f64; 8] = [0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0];

fn agrees(distribution: &Distribution, mut values: Vec<u64>) -> Result<(), TestCaseError> {
    values.sort_unstable();
    prop_assert_eq!(distribution.count(), values.len() as u64);
    prop_assert_eq!(distribution.sum_us, values.iter().sum::<u64>(), "the mean is exact");
    for q in QUANTILES {
        let Some(estimate) = distribution.quantile_us(q) else {
            prop_assert!(values.is_empty());
            continue;
        };
        let exact = exact(&values, q);
        prop_assert!(estimate >= exact, "{q}: {estimate} us, exactly {exact}");
        prop_assert!(estimate - exact <= exact / 128, "{q}: {estimate} us, exactly {exact}");
        prop_assert!(exact >= 256 || estimate == exact, "{q}: {estimate} us, exactly {exact}");
    }
    Ok(())
}

fn in_us(calls: &[&InvocationRecord], part: fn(&InvocationRecord) -> Duration) -> Vec<u64> {
    calls.iter().map(|call| part(call).as_micros()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Service times over seven orders of magnitude; starts, waits and shared cores on top.
    #[test]
    fn quantiles_of_histograms_are_the_exact_ones_rounded_up_by_at_most_1_in_128(
        system in prop::sample::select(vec!["faasd", "criu", "t-cxl", "t-rdma"]),
        calls in prop::collection::vec((0u64..60_000, 0u32..3, 0.0f64..7.0), 1..400),
    ) {
        let mut spec = costly_spec(system);
        spec.cluster.cores = 2;
        spec.cluster.memory_cap = traces::Bytes::from_mib(128 * 4);
        let mut calls = calls;
        calls.sort_by_key(|call| call.0);
        let calls: Vec<_> = calls
            .into_iter()
            .map(|(ms, function, magnitude)| {
                let service = Duration::from_micros(10f64.powf(magnitude) as u64);
                let at = traces::Instant::ZERO + Duration::from_millis(ms);
                traces::Invocation::new(at, traces::FunctionId(function), service)
            })
            .collect();
        let record = common::play(&spec, &functions(3), &calls);
        let completed: Vec<_> =
            record.invocations.iter().filter(|call| call.outcome == Outcome::Completed).collect();
        for (number, function) in record.functions.iter().enumerate() {
            let own: Vec<_> =
                completed.iter().copied().filter(|call| call.function as usize == number).collect();
            agrees(&function.end_to_end, in_us(&own, InvocationRecord::end_to_end))?;
            agrees(&function.startup, in_us(&own, |call| call.startup_ns))?;
        }
        for (kind, start) in platform::records::StartKind::ALL.into_iter().zip(&record.starts) {
            let own: Vec<_> = completed.iter().copied().filter(|call| call.start == Some(kind)).collect();
            agrees(&start.end_to_end, in_us(&own, InvocationRecord::end_to_end))?;
            agrees(&start.startup, in_us(&own, |call| call.startup_ns))?;
            agrees(&start.queueing, in_us(&own, |call| call.queueing_ns))?;
            agrees(&start.service, in_us(&own, |call| call.service_ns))?;
        }
    }
}
