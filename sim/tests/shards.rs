//! Racks that have nothing to do with each other may be played anywhere: on any number of threads, or
//! one by one, each drawn when its turn comes.

mod common;
use common::free_spec;
use common::random::{Case, independent_racks};
use configs::spec::Placement;
use platform::MemoryClass;
use platform::policy::placement::home_rack;
use platform::records::RunRecord;
use platform::system::SYSTEMS;
use proptest::prelude::*;
use sim::Play;
use traces::generate::zipf::Job;
use traces::{Bytes, Duration, Function, FunctionId, Invocation};

fn bytes(record: &RunRecord) -> String {
    serde_json::to_string(record).expect("a record is plain data")
}

/// The rack's functions and invocations, numbered anew.
fn of_rack(case: &Case, rack: u32, racks: u32) -> (Vec<u32>, Vec<Function>, Vec<Invocation>) {
    let functions = case.functions();
    let at_home: Vec<u32> = (0..functions.len() as u32)
        .filter(|&function| home_rack(FunctionId(function), racks) == rack)
        .collect();
    let own = at_home.iter().map(|&function| functions[function as usize].clone()).collect();
    let calls = case
        .invocations()
        .iter()
        .filter_map(|call| {
            let own = at_home.iter().position(|&function| function == call.function().0)?;
            Some(Invocation::new(call.arrival(), FunctionId(own as u32), call.service()))
        })
        .collect();
    (at_home, own, calls)
}

/// A job in eight copies on eight racks of two nodes.
fn in_parts(system: &str) -> (configs::Spec, Job) {
    let mut spec = free_spec(system);
    (spec.cluster.nodes, spec.cluster.racks) = (16, 8);
    spec.placement = Placement::RackLocality { spill: false };
    spec.cluster.memory_cap = Bytes::from_gib(2);
    spec.output.invocations = false;
    spec.output.distributions = 40;
    let (span, functions, copies) = (Duration::from_secs(1_800), 15, 8);
    (spec, Job { functions, copies, span, ..Job::standard(6_000, 5) })
}

#[test]
fn a_job_played_part_by_part_gives_the_same_bytes_as_the_whole() {
    for entry in SYSTEMS {
        let (spec, job) = in_parts(entry.name);
        assert!(!sim::needs_numbers(&spec), "{}: reads do not vary here", entry.name);
        let head = job.head().expect("a job");
        let (functions, burn_in, span) = (&head.functions, Duration::from_secs(300), head.span);
        let merged = || job.invocations().expect("a job");
        let whole = sim::simulate(&spec, Play { functions, invocations: merged(), burn_in, span, seed: 5 });
        let whole = bytes(&whole);
        let streamed = Play { functions, invocations: merged, burn_in, span, seed: 5 };
        assert_eq!(bytes(&sim::simulate_sharded(&spec, &streamed, 3)), whole, "{} in shards", entry.name);
        let parts = job.parts().expect("a job");
        let sizes: Vec<u64> = parts.iter().map(|part| part.invocations).collect();
        let invocations = |part: u32| job.draw(&parts[part as usize]);
        let play = Play { functions, invocations, burn_in, span, seed: 5 };
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let record = pool.install(|| sim::simulate_in_parts(&spec, &play, &sizes));
            assert!(bytes(&record) == whole, "{} on {threads} threads", entry.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_number_of_shards_gives_the_same_bytes(case in independent_racks()) {
        let (spec, functions, calls) = (case.spec(), case.functions(), case.invocations());
        let whole = bytes(&case.play());
        for shards in [1, 2, 3, 7] {
            let play = case.what_is_played(&functions, || calls.iter().copied());
            prop_assert_eq!(&bytes(&sim::simulate_sharded(&spec, &play, shards)), &whole, "{} shards", shards);
        }
    }

    #[test]
    fn a_run_of_several_racks_is_the_sum_of_runs_of_each(case in independent_racks()) {
        let mut spec = case.spec();
        // What is drawn comes from streams of the rack, and named nodes and racks have other numbers.
        spec.faults = configs::spec::Faults::default();
        spec.machine.rdma.read_variation = 0.0;
        // Tenants are dealt by the function's number in the whole workload.
        spec.sharing.tenants = 0;
        let racks = spec.cluster.racks;
        let functions = case.functions();
        let whole = sim::simulate(&spec, case.what_is_played(&functions, case.invocations().into_iter()));
        let mut alone = spec.clone();
        alone.cluster.racks = 1;
        alone.cluster.nodes /= racks;
        let (mut nodes, mut devices, mut gib_seconds) = (Vec::new(), Vec::new(), [0.0; MemoryClass::COUNT]);
        let (mut events, mut created, mut calls) = (0, 0, 0);
        for rack in 0..racks {
            let (at_home, own, own_calls) = of_rack(&case, rack, racks);
            calls += own_calls.len();
            let part = sim::simulate(&alone, case.what_is_played(&own, own_calls.into_iter()));
            for (number, function) in at_home.iter().zip(&part.functions) {
                prop_assert_eq!(&whole.functions[*number as usize], function);
            }
            nodes.extend(part.memory.nodes);
            devices.extend(part.memory.devices);
            for (sum, more) in gib_seconds.iter_mut().zip(part.memory.gib_seconds) {
                *sum += more;
            }
            events += part.counters.events;
            created += part.counters.created;
        }
        prop_assert_eq!(calls, case.invocations().len());
        prop_assert_eq!((&whole.memory.nodes, &whole.memory.devices), (&nodes, &devices));
        prop_assert_eq!((whole.counters.events, whole.counters.created), (events, created));
        for (whole, sum) in whole.memory.gib_seconds.iter().zip(gib_seconds) {
            prop_assert!((whole - sum).abs() <= 1e-9 * sum.max(1.0), "{whole} GiB s instead of {sum}");
        }
    }
}
