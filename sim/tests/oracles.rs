//! The simulator against results that are known exactly: each must lie in the 99 % interval of the
//! simulated mean over 20 seeds, and the interval must be narrow enough to mean something.

mod common;
use common::*;
use platform::records::StartKind;
use platform::system::KeepAlive;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use traces::{Bytes, Duration, Invocation};

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

#[test]
fn least_recently_used_keeps_what_che_says_it_keeps() {
    // Zipf popularity over 200 functions, independent requests, room for 40 sandboxes, no service time
    // to speak of. Che: a function is kept if it was called within the characteristic time T, for which
    // the kept ones just fill the room; a call finds it kept with probability 1 - exp(-rate T).
    let (functions_n, rooms) = (200usize, 40.0);
    let weights: Vec<f64> = (1..=functions_n).map(|k| (k as f64).powf(-0.8)).collect();
    let total: f64 = weights.iter().sum();
    let rates: Vec<f64> = weights.iter().map(|weight| weight / total).collect();
    let kept = |time: f64| rates.iter().map(|rate| 1.0 - (-rate * time).exp()).sum::<f64>();
    let (mut low, mut high) = (0.0, 1e6);
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if kept(middle) < rooms { low = middle } else { high = middle }
    }
    let cold = rates.iter().map(|rate| rate * (-rate * low).exp()).sum::<f64>();
    let mut spec = free_spec("faasd");
    spec.system.keep_alive = KeepAlive::Lru;
    spec.cluster.memory_cap = Bytes::from_mib(128 * rooms as u64);
    let (table, n, burn_in) = (functions(functions_n), 20_000u64, 2_000u64);
    let simulated = mean_of_20(|seed| {
        let calls: Vec<Invocation> = draws(seed, &rates, n)
            .enumerate()
            .map(|(second, function)| scenario::call(second as u64 * 1000, function, 0))
            .collect();
        let span = Duration::from_secs(n);
        let burn_in = Duration::from_secs(burn_in);
        let invocations = calls.iter().copied();
        let play = sim::Play { functions: &table, invocations, burn_in, span, seed };
        started(&sim::simulate(&spec, play), StartKind::Cold) as f64 / (n - 2_000) as f64
    });
    // The approximation is good to a few thousandths at this size.
    let (mean, half_width) = simulated;
    assert!(half_width < 0.01 * cold, "interval {mean} ± {half_width} is too wide to test {cold}");
    assert!((mean - cold).abs() <= half_width + 0.005 * cold, "{mean} ± {half_width} misses {cold}");
}

/// Independent draws of functions with these probabilities.
fn draws(seed: u64, probabilities: &[f64], n: u64) -> impl Iterator<Item = u32> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let cumulated: Vec<f64> = probabilities
        .iter()
        .scan(0.0, |sum, p| {
            *sum += p;
            Some(*sum)
        })
        .collect();
    (0..n).map(move |_| {
        let u = unit(&mut rng);
        cumulated.partition_point(|&sum| sum < u).min(cumulated.len() - 1) as u32
    })
}

#[test]
fn as_many_sandboxes_are_at_work_as_erlangs_are_offered() {
    // M/G/infinity with 8 erlang: 8 on average, whatever the distribution of service.
    let mut spec = free_spec("t-cxl");
    spec.output.memory_every = Duration::from_secs(1);
    let busy = mean_of_20(|seed| {
        let record = play(&spec, &functions(1), &poisson(seed, 40_000, 0.25, 2.0));
        let samples = &record.memory.samples[100..];
        samples.iter().map(|sample| f64::from(sample.busy)).sum::<f64>() / samples.len() as f64
    });
    check("sandboxes at work", 8.0, busy);
}
