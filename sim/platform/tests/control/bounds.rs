//! What theory says of the policies holds for whole runs.

use crate::clock::play;
use crate::world::World;
use platform::ControlConfig;
use platform::policy::keep_alive::KeepAliveParameters;
use platform::policy::{FunctionFacts, Placement};
use platform::system::{KeepAlive, system};
use proptest::prelude::*;
use traces::rng::Streams;
use traces::{Bytes, Duration, FunctionId, Instant};

/// Which function is asked for, after how many seconds.
type Trace = Vec<(u64, usize)>;

const FUNCTIONS: usize = 7;

fn traces(gaps: std::ops::Range<u64>) -> impl Strategy<Value = Trace> {
    prop::collection::vec((gaps, 0..FUNCTIONS), 1..120)
}

/// Functions of equal size and cost: 100 MiB, 2 s to start, 3 s to run, on nodes with so much room.
fn run(keep_alive: KeepAlive, trace: &Trace, rooms: u64, nodes: u32) -> World {
    let mut at = Instant::ZERO;
    let arrival = |&(gap, function): &(u64, usize)| {
        at += Duration::from_secs(gap);
        (at, FunctionId(function as u32))
    };
    let arrivals: Vec<_> = trace.iter().map(arrival).collect();
    let mut by_function = vec![Vec::new(); FUNCTIONS];
    arrivals.iter().for_each(|&(at, function)| by_function[function.index()].push(at));
    let facts = FunctionFacts {
        declared: Bytes::from_mib(100),
        tenant: 0,
        runtime: 0,
        runtime_memory: Bytes::ZERO,
        start_cost: Duration::from_secs(2),
    };
    let mut system = system("faasd").expect("a registered system");
    system.keep_alive = keep_alive;
    let config = ControlConfig {
        system,
        placement: if nodes == 1 { Placement::SandboxAware } else { Placement::RoundRobin },
        keep_alive: KeepAliveParameters { ttl: Duration::from_secs(60), ..Default::default() },
        nodes,
        racks: 1,
        memory_cap: Bytes::from_mib(100 * rooms),
        queue_timeout: Duration::from_secs(30),
        share_within_tenant: false,
        functions: vec![facts; FUNCTIONS],
        arrivals: by_function,
        streams: Streams::new(1),
    };
    play(config, &arrivals, &[Duration::from_secs(3); FUNCTIONS])
}

/// Belady's misses, worked out from the trace alone: with `rooms` sandboxes, the one whose function
/// is asked for last makes room.
fn misses(trace: &Trace, rooms: usize) -> u32 {
    let mut kept: Vec<usize> = Vec::new();
    let mut misses = 0;
    for (index, &(_, function)) in trace.iter().enumerate() {
        if kept.contains(&function) {
            continue;
        }
        misses += 1;
        if kept.len() == rooms {
            let next = |f: usize| trace[index..].iter().position(|&(_, g)| g == f).unwrap_or(usize::MAX);
            let last = (0..rooms).max_by_key(|&slot| next(kept[slot])).expect("room for one");
            kept.remove(last);
        }
        kept.push(function);
    }
    misses
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Clock + cost / size with equal costs and sizes is the clock and a constant: the worth of what
    /// becomes idle never falls, and of equals the least recently used goes. That is LRU, command by
    /// command, at any concurrency, and on every node, as each has its clock. With frequency it is not.
    #[test]
    fn greedy_dual_without_frequency_is_lru_where_costs_and_sizes_are_equal(
        trace in traces(0..9), rooms in 1u64..6, nodes in prop_oneof![Just(1u32), Just(3)],
    ) {
        let lru = run(KeepAlive::Lru, &trace, rooms, nodes);
        let landlord = run(KeepAlive::Landlord, &trace, rooms, nodes);
        prop_assert_eq!(lru.log, landlord.log);
    }

    /// Each invocation ends before the next arrives: the oracle has Belady's misses, and nobody fewer.
    #[test]
    fn no_policy_starts_fewer_than_the_oracle_where_invocations_follow_each_other(
        trace in traces(6..40), rooms in 1u64..6,
    ) {
        let oracle = run(KeepAlive::Oracle, &trace, rooms, 1).counts.not_warm();
        prop_assert_eq!(oracle, misses(&trace, rooms as usize));
        for other in [
            KeepAlive::Lru,
            KeepAlive::FixedTtl,
            KeepAlive::FixedTtlFromStart,
            KeepAlive::GreedyDual,
            KeepAlive::GreedyDualFreq,
            KeepAlive::GreedyDualSize,
            KeepAlive::None,
        ] {
            let starts = run(other, &trace, rooms, 1).counts.not_warm();
            prop_assert!(oracle <= starts, "{}: {starts} starts, oracle {oracle}", other.word());
        }
    }
}

#[test]
fn a_trace_on_which_the_oracle_gains() {
    // f, g, h three times over, with room for two. LRU always evicts what is asked for next: 9 starts.
    // The oracle starts f, g; h, for which g goes (f is asked for next); then f is warm. g starts, for
    // which f goes (h is next); h is warm. f starts, for which h goes; g is warm. The last h starts.
    let trace: Trace = (0..9).map(|n| (10, n % 3)).collect();
    assert_eq!(run(KeepAlive::Lru, &trace, 2, 1).counts.runs, [9, 0, 0, 0]);
    assert_eq!(run(KeepAlive::Oracle, &trace, 2, 1).counts.runs, [6, 0, 0, 3]);
}
