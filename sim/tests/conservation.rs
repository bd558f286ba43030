//! What must hold for every spec and workload: nothing is lost, nothing is made from nothing, and
//! the same run gives the same record.

mod common;
use common::*;
use platform::policy::Placement;
use platform::records::{Outcome, StartKind};
use platform::system::{KeepAlive, SYSTEMS};
use proptest::prelude::*;
use traces::{Bytes, Duration, FunctionId, Instant, Invocation};

#[derive(Clone, Debug)]
struct Case {
    system: &'static str,
    keep_alive: Option<KeepAlive>,
    placement: Placement,
    nodes: u32,
    cores: u32,
    rooms: u64,
    slots: u32,
    prepopulated: u32,
    queue_timeout: Duration,
    invocations: Vec<Invocation>,
}

fn case() -> impl Strategy<Value = Case> {
    let system = prop::sample::select(SYSTEMS.iter().map(|s| s.name).collect::<Vec<_>>());
    let keep_alive = prop::option::of(prop::sample::select(vec![
        KeepAlive::FixedTtl,
        KeepAlive::Lru,
        KeepAlive::None,
        KeepAlive::HybridHistogram,
        KeepAlive::GreedyDual,
        KeepAlive::Landlord,
        KeepAlive::Oracle,
    ]));
    let placement = prop::sample::select(vec![
        Placement::SandboxAware,
        Placement::RoundRobin,
        Placement::HashAffinity { bound_permille: 1250 },
        Placement::Random,
        Placement::LeastLoaded,
        Placement::PowerOfTwo,
    ]);
    let cluster = (1u32..5, 1u32..4, 1u64..6, 1u32..4, 0u32..4, 1u64..40);
    let calls = prop::collection::vec((0u64..200, 0u32..4, 0u64..9_000), 0..120);
    (system, keep_alive, placement, cluster, calls).prop_map(
        |(system, keep_alive, placement, (nodes, cores, rooms, slots, prepopulated, timeout), mut calls)| {
            calls.sort();
            let invocations = calls
                .into_iter()
                .map(|(at, function, ms)| {
                    Invocation::new(
                        Instant::ZERO + Duration::from_secs(at),
                        FunctionId(function),
                        Duration::from_millis(ms),
                    )
                })
                .collect();
            let queue_timeout = Duration::from_secs(timeout);
            Case {
                system,
                keep_alive,
                placement,
                nodes,
                cores,
                rooms,
                slots,
                prepopulated,
                queue_timeout,
                invocations,
            }
        },
    )
}

fn spec_of(case: &Case) -> configs::Spec {
    let mut spec = costly_spec(case.system);
    spec.system.start_slots = case.slots;
    spec.system.prepopulated = case.prepopulated;
    if let Some(keep_alive) = case.keep_alive {
        spec.system.keep_alive = keep_alive;
    }
    spec.placement = case.placement;
    spec.cluster.nodes = case.nodes;
    spec.cluster.cores = case.cores;
    spec.cluster.memory_cap = Bytes::from_mib(128 * case.rooms);
    spec.cluster.queue_timeout = case.queue_timeout;
    spec.keep_alive.ttl = Duration::from_secs(20);
    spec.output.memory_every = Duration::from_secs(7);
    spec
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_arrival_ends_once_and_its_parts_add_up(case in case()) {
        let record = play(&spec_of(&case), &functions(4), &case.invocations);
        let arrivals = case.invocations.len() as u64;
        prop_assert_eq!(Outcome::ALL.iter().map(|&o| ended(&record, o)).sum::<u64>(), arrivals);
        prop_assert_eq!(ended(&record, Outcome::Unfinished), 0);
        let starts: u64 = StartKind::ALL.iter().map(|&k| started(&record, k)).sum();
        prop_assert_eq!(starts, ended(&record, Outcome::Completed));
        prop_assert_eq!(record.invocations.len() as u64, arrivals);
        for (number, (got, asked)) in record.invocations.iter().zip(&case.invocations).enumerate() {
            prop_assert_eq!(got.number, number as u64);
            prop_assert_eq!((got.function, got.arrival_ns), (asked.function().0, asked.arrival()));
            match got.outcome {
                // A handler never runs faster than alone on a core with local memory.
                Outcome::Completed => prop_assert!(got.service_ns >= asked.service()),
                _ => prop_assert_eq!((got.start, got.service_ns), (None, Duration::ZERO)),
            }
            if got.start == Some(StartKind::Warm) {
                prop_assert_eq!(got.startup_ns, Duration::ZERO);
            }
            prop_assert!(got.queueing_ns <= case.queue_timeout);
        }
    }

    #[test]
    fn the_same_run_gives_the_same_record(case in case()) {
        let spec = spec_of(&case);
        prop_assert_eq!(play(&spec, &functions(4), &case.invocations), play(&spec, &functions(4), &case.invocations));
    }

    #[test]
    fn sandboxes_stay_under_the_declared_cap_and_memory_is_given_back(case in case()) {
        let spec = spec_of(&case);
        let record = play(&spec, &functions(4), &case.invocations);
        // Zygotes and parents of forks are there without any invocation.
        let resident = play(&spec, &functions(4), &[]).memory.samples[0].bytes.local();
        for sample in &record.memory.samples {
            let sandboxes = u64::from(sample.busy + sample.idle);
            prop_assert!(sandboxes <= case.rooms * u64::from(case.nodes));
            prop_assert_eq!(sample.bytes.local() + pool_bytes(&sample.bytes), sample.bytes.total());
            if sandboxes == 0 {
                prop_assert_eq!(sample.bytes.local(), resident);
            }
        }
        prop_assert!(record.counters.created >= record.counters.expired.saturating_sub(u64::from(case.prepopulated * case.nodes)));
    }
}

#[test]
fn more_memory_never_means_more_cold_starts_under_lru_with_one_size() {
    // One size, one start at a time, no overlap in time: LRU has the inclusion property.
    let mut state = 11u64;
    let calls: Vec<Invocation> = (0..4_000u64)
        .map(|second| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let function = ((state >> 40) % 30).min((state >> 20) % 30) as u32;
            Invocation::new(
                Instant::ZERO + Duration::from_secs(second),
                FunctionId(function),
                Duration::from_millis(1),
            )
        })
        .collect();
    let cold = |rooms: u64| {
        let mut spec = free_spec("faasd");
        spec.system.keep_alive = KeepAlive::Lru;
        spec.cluster.memory_cap = Bytes::from_mib(128 * rooms);
        started(&play(&spec, &functions(30), &calls), StartKind::Cold)
    };
    let counts: Vec<u64> = (1..=30).map(cold).collect();
    assert!(counts.is_sorted_by(|a, b| a >= b), "{counts:?}");
    assert!(counts[0] > 3_000 && counts[29] == 30, "{counts:?}");
}

#[test]
fn without_remote_latency_rdma_templates_cost_what_cxl_templates_cost() {
    let calls = poisson(3, 2_000, 0.2, 0.5);
    let run = |name| {
        let mut spec = free_spec(name);
        spec.machine.rdma.read_4k = Duration::ZERO;
        let record = play(&spec, &functions(1), &calls);
        record.invocations.iter().map(|i| i.end_to_end()).collect::<Vec<_>>()
    };
    assert_eq!(run("t-rdma"), run("t-cxl"));
}

#[test]
fn slow_cxl_memory_slows_what_reads_it_in_place_and_nothing_else() {
    let calls = poisson(4, 200, 5.0, 0.5);
    let service = |name: &str, latency: u64| {
        let mut spec = free_spec(name);
        spec.machine.cxl.latency = Duration::from_nanos(latency);
        std::sync::Arc::make_mut(&mut spec.profiles).get_mut("plain").unwrap().memory_intensity = 0.1;
        let record = play(&spec, &functions(1), &calls);
        record.invocations.iter().map(|i| i.service_ns).sum::<Duration>()
    };
    for name in ["faasd", "criu", "reap+", "t-rdma"] {
        assert_eq!(service(name, 80), service(name, 800), "{name}");
    }
    // 10 % of the time waits for memory, half of it for read-only pages, which are 10 times as slow.
    let ratio = service("t-cxl", 800).as_secs_f64() / service("t-cxl", 80).as_secs_f64();
    assert!((ratio - 1.45).abs() < 0.001, "{ratio}");
}

#[test]
fn bursts_queue_for_the_kernel_lock_of_network_namespaces() {
    // Ten cold starts at once, 2 ms of the lock each: the k-th waits for k - 1 others.
    let mut spec = free_spec("faasd");
    spec.machine.sandbox.netns_create = Duration::from_millis(2);
    let calls = vec![Invocation::new(Instant::ZERO, FunctionId(0), Duration::from_millis(1)); 10];
    let startups: Vec<u64> =
        play(&spec, &functions(1), &calls).invocations.iter().map(|i| i.startup_ns.as_micros()).collect();
    assert_eq!(startups, (1..=10).map(|k| 2_000 * k).collect::<Vec<u64>>());
}
