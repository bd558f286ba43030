//! The simulator against results that are known exactly: each must lie in the 99 % interval of the
//! simulated mean over 20 seeds, and the interval must be narrow enough to mean something.

mod common;
use common::*;
use platform::records::StartKind;
use traces::{Bytes, Duration};

fn check(name: &str, exact: f64, (mean, half_width): (f64, f64)) {
    assert!(half_width < 0.05 * exact, "{name}: interval {mean} ± {half_width} is too wide to test {exact}");
    assert!((mean - exact).abs() <= half_width, "{name}: {mean} ± {half_width} misses {exact}");
}

#[test]
fn fixed_keep_alive_is_cold_when_the_gap_is_longer_than_the_ttl() {
    // Poisson arrivals, negligible service: an arrival is cold if the gap before it exceeds the
    // TTL, with probability exp(-ttl / mean gap) = exp(-1.5).
    let spec = free_spec("faasd");
    let cold = mean_of_20(|seed| {
        let record = play(&spec, &functions(1), &poisson(seed, 20_000, 400.0, 1e-6));
        started(&record, StartKind::Cold) as f64 / 20_000.0
    });
    check("cold fraction", (-1.5f64).exp(), cold);
}

#[test]
fn waiting_for_one_of_c_sandboxes_is_erlang_c() {
    // Memory for c = 4 sandboxes that are kept for ever, 3 erlang of exponential service: M/M/4.
    let (c, offered) = (4u32, 3.0f64);
    let mut spec = free_spec("t-cxl");
    spec.cluster.memory_cap = Bytes::from_mib(128 * u64::from(c));
    let term = |k: u32| offered.powi(k as i32) / (1..=k).map(f64::from).product::<f64>();
    let tail = term(c) * f64::from(c) / (f64::from(c) - offered);
    let wait_probability = tail / ((0..c).map(term).sum::<f64>() + tail);
    let exact = wait_probability / (f64::from(c) - offered);
    let waiting = mean_of_20(|seed| {
        let record = play(&spec, &functions(1), &poisson(seed, 100_000, 1.0 / offered, 1.0));
        let total: Duration = record.invocations.iter().map(|i| i.queueing_ns).sum();
        total.as_secs_f64() / record.invocations.len() as f64
    });
    check("mean wait", exact, waiting);
}

#[test]
fn processor_sharing_answers_in_the_mean_service_time_over_what_is_left_of_the_core() {
    // M/M/1 with processor sharing: E[T] = E[S] / (1 - load), here 0.1 / (1 - 0.6).
    let mut spec = free_spec("t-cxl");
    spec.cluster.cores = 1;
    let response = mean_of_20(|seed| {
        let record = play(&spec, &functions(1), &poisson(seed, 60_000, 0.1 / 0.6, 0.1));
        let total: Duration = record.invocations.iter().map(|i| i.end_to_end()).sum();
        total.as_secs_f64() / record.invocations.len() as f64
    });
    check("mean response", 0.1 / 0.4, response);
}

#[test]
fn processor_sharing_on_several_cores_is_as_fast_as_a_queue_with_as_many_servers() {
    // With exponential service, sharing and queueing keep the same number in the system (the same
    // birth-death chain), so by Little's law the same mean response: M/M/4 with 3 erlang.
    let mut spec = free_spec("t-cxl");
    spec.cluster.cores = 4;
    let response = mean_of_20(|seed| {
        let record = play(&spec, &functions(1), &poisson(seed, 100_000, 1.0 / 3.0, 1.0));
        let total: Duration = record.invocations.iter().map(|i| i.end_to_end()).sum();
        total.as_secs_f64() / record.invocations.len() as f64
    });
    // 1 + Erlang-C(4, 3) / (4 - 3), Erlang-C(4, 3) = 0.50943.
    check("mean response", 1.509_434, response);
}
