//! Nodes that fail and come back, NICs that get slower.

mod common;
use common::scenario::*;
use common::*;
use configs::spec::{Churn, FaultKind, Placement};
use platform::MemoryClass::{InstancePrivate, NodeShared};
use platform::policy::placement::home_rack;
use platform::records::{Outcome, StartKind};
use platform::system::KeepAlive;
use traces::{Bytes, Duration, FunctionId};

#[test]
fn a_lost_node_loses_what_runs_there_and_comes_back_as_it_was_at_the_beginning() {
    let mut spec = free_spec("t-cxl");
    spec.cluster.nodes = 2;
    spec.system.prepopulated = 2;
    spec.output.memory_every = Duration::from_secs(1);
    fails(&mut spec, 5, 15, FaultKind::Node { node: 0 });
    let record = play_for(&spec, &[call(0, 0, 10_000), call(6_000, 0, 1_000), call(10_000, 1, 60_000)], 100);
    let outcomes: Vec<Outcome> = record.invocations.iter().map(|call| call.outcome).collect();
    assert_eq!(outcomes, [Outcome::Failed, Outcome::Completed, Outcome::Completed]);
    let nodes: Vec<_> = record.invocations.iter().map(|call| call.node).collect();
    assert_eq!(nodes, [Some(0), Some(1), Some(1)]);
    let there = [4, 5, 9, 19, 20].map(|second| {
        let sample = sample_at(&record, second * 1000);
        (sample.busy, sample.idle)
    });
    assert_eq!(there, [(1, 3), (0, 2), (0, 2), (1, 1), (1, 3)]);
    assert_eq!(record.counters.lost, 2);
    // What the lost sandbox held is gone with it; the others are bare.
    assert_eq!(sample_at(&record, 5_000).bytes.local(), Bytes::ZERO);
}

#[test]
fn while_no_node_is_there_everybody_waits() {
    let mut spec = free_spec("faasd");
    fails(&mut spec, 5, 10, FaultKind::Node { node: 0 });
    let record = play_for(&spec, &[call(8_000, 0, 100), call(20_000, 0, 100)], 30);
    assert_eq!(kinds(&record), [Some(StartKind::Cold), Some(StartKind::Warm)]);
    let waited: Vec<u64> = record.invocations.iter().map(|call| call.queueing_ns.as_micros()).collect();
    assert_eq!(waited, [7_000_000, 0]);
}

#[test]
fn whoever_waited_for_a_lost_node_waits_elsewhere_no_longer_than_before() {
    // One room on each of two nodes, both taken. The third call waits for node 0; when that is lost at
    // 5 s, it waits for node 1, until the 10 s since its arrival are over.
    let mut spec = free_spec("faasd");
    racks_in_turn(&mut spec, 2);
    spec.cluster.memory_cap = Bytes::from_mib(128);
    spec.cluster.queue_timeout = Duration::from_secs(10);
    fails(&mut spec, 5, 100, FaultKind::Node { node: 0 });
    let record = play_for(&spec, &[call(0, 0, 60_000), call(0, 1, 60_000), call(1_000, 2, 10)], 100);
    let outcomes: Vec<Outcome> = record.invocations.iter().map(|call| call.outcome).collect();
    assert_eq!(outcomes, [Outcome::Failed, Outcome::Completed, Outcome::TimedOut]);
    assert_eq!(record.invocations[2].queueing_ns, Duration::from_secs(10));
    assert_eq!(record.counters.queued, 1);
}

#[test]
fn a_slowed_nic_slows_what_it_fetches_from_then_until_it_is_back() {
    // Six reads at a time, 6 us each: two sandboxes fetch 900 pages in 5.4 ms. At a sixth of the NIC
    // they share one stream; from 2.7 ms on half of it is left: 2.7 + 2 x 2.7 ms.
    let mut spec = free_spec("t-rdma");
    spec.system.keep_alive = platform::system::KeepAlive::None;
    spec.machine.rdma.read_4k = Duration::from_micros(6);
    spec.machine.rdma.reads_per_second = 1_000_000;
    let what = FaultKind::Nic { node: 0, factor: 1.0 / 6.0 };
    fails(&mut spec, 10, 10, what);
    spec.faults.events[0].at = Duration::from_micros(10_002_700);
    let calls: Vec<_> = [0, 10, 15, 30].iter().flat_map(|&s| [call(s * 1000, 0, 0); 2]).collect();
    let record = play_for(&spec, &calls, 40);
    assert_eq!(services_us(&record), [5_400, 5_400, 8_100, 8_100, 10_800, 10_800, 5_400, 5_400]);
}

#[test]
fn overlapping_slow_downs_of_a_nic_end_when_the_last_of_them_does() {
    // Six reads at a time at full rate, 900 pages of 6 us: two sandboxes need 5.4 ms, and on one stream
    // twice that. The short slow-down ends at 12 s, the long one at 20 s.
    let mut spec = free_spec("t-rdma");
    spec.system.keep_alive = KeepAlive::None;
    spec.machine.rdma.read_4k = Duration::from_micros(6);
    spec.machine.rdma.reads_per_second = 1_000_000;
    fails(&mut spec, 5, 15, FaultKind::Nic { node: 0, factor: 1.0 / 6.0 });
    fails(&mut spec, 10, 2, FaultKind::Nic { node: 0, factor: 0.5 });
    let calls: Vec<_> = [0, 11, 13, 25].iter().flat_map(|&s| [call(s * 1000, 0, 0); 2]).collect();
    let record = play_for(&spec, &calls, 40);
    assert_eq!(services_us(&record), [5_400, 5_400, 10_800, 10_800, 10_800, 10_800, 5_400, 5_400]);
}

#[test]
fn a_slowed_nic_slows_batches_by_what_their_transfer_takes() {
    // 900 pages at 10 us each on the line: 9 ms, and 90 ms at a tenth of the NIC. Where installing a page
    // takes 20 us, the line waits for that: half a NIC keeps up, a tenth does not.
    let start = |install: Duration, factor: f64| {
        let mut spec = free_spec("t-rdma-prefetch");
        spec.system.keep_alive = KeepAlive::None;
        spec.machine.rdma.bandwidth = 409_600_000;
        spec.machine.restore.prefetch_page = install;
        fails(&mut spec, 10, 10, FaultKind::Nic { node: 0, factor });
        let record = play_for(&spec, &[0, 15, 25].map(|second| call(second * 1000, 0, 1)), 30);
        startups_us(&record)
    };
    assert_eq!(start(Duration::from_nanos(1), 0.1), [9_000, 90_000, 9_000]);
    assert_eq!(start(Duration::from_micros(20), 0.5), [18_000, 18_000, 18_000]);
    assert_eq!(start(Duration::from_micros(20), 0.1), [18_000, 90_000, 18_000]);
}

#[test]
fn a_batch_goes_on_at_the_pace_with_which_it_began() {
    // Two batches of 9 ms: the second has begun to wait in line when the NIC slows at 4.5 ms, the third
    // comes after: 18 + 90 ms after the first two, less the 5 ms until it came.
    let mut spec = free_spec("t-rdma-prefetch");
    spec.system.keep_alive = KeepAlive::None;
    spec.machine.rdma.bandwidth = 409_600_000;
    fails(&mut spec, 1, 10, FaultKind::Nic { node: 0, factor: 0.1 });
    spec.faults.events[0].at = Duration::from_micros(1_004_500);
    let calls = [call(1_000, 0, 1), call(1_000, 0, 1), call(1_005, 0, 1)];
    assert_eq!(startups_us(&play_for(&spec, &calls, 30)), [9_000, 18_000, 103_000]);
}

#[test]
fn zygotes_are_lost_with_their_node_and_come_back_with_it() {
    // 600 pages of the runtime and 100 of libraries on each node.
    let mut spec = free_spec("sock");
    spec.cluster.nodes = 3;
    spec.output.memory_every = Duration::from_secs(1);
    fails(&mut spec, 5, 10, FaultKind::Node { node: 1 });
    let record = play_for(&spec, &[], 20);
    let held = [4, 6, 14, 16].map(|second| pages_at(&record, second * 1000, NodeShared));
    assert_eq!(held, [3 * 700, 2 * 700, 2 * 700, 3 * 700]);
    assert_eq!(record.memory.nodes[1].peak, Bytes(700 * 4096));
}

#[test]
fn nothing_is_forked_from_a_parent_on_a_lost_node() {
    let mut spec = free_spec("mitosis");
    spec.cluster.nodes = 2;
    spec.system.keep_alive = KeepAlive::None;
    spec.output.memory_every = Duration::from_secs(1);
    std::sync::Arc::make_mut(&mut spec.profiles).get_mut("plain").unwrap().init = Duration::from_millis(200);
    let home = home_rack(FunctionId(0), 2);
    fails(&mut spec, 5, 10, FaultKind::Node { node: home });
    let record = play_for(&spec, &[call(6_000, 0, 100), call(16_000, 0, 100)], 20);
    assert_eq!(kinds(&record), [Some(StartKind::Cold), Some(StartKind::Restored)]);
    assert_eq!(startups_us(&record)[0], 200_000);
    assert_eq!(record.invocations[0].node, Some(1 - home));
    assert_eq!(record.counters.without_template, 1);
    let parent = [4, 7, 14, 15].map(|second| pages_at(&record, second * 1000, InstancePrivate));
    assert_eq!(parent, [1_000, 0, 0, 1_000]);
}

#[test]
fn a_fork_needs_its_parent_until_its_first_invocation_is_through() {
    // One fork on each node. At 5 s the parent's node is lost, and its fork there with it. The other one
    // is lost if it runs for the first time then, and goes on if it has all its pages.
    let mut spec = free_spec("mitosis");
    spec.system.keep_alive = KeepAlive::FixedTtl;
    racks_in_turn(&mut spec, 2);
    let home = home_rack(FunctionId(0), 2);
    fails(&mut spec, 5, 100, FaultKind::Node { node: home });
    let elsewhere = |calls: &[traces::Invocation]| {
        let record = play_for(&spec, calls, 100);
        let last = &record.invocations[calls.len() - 2..];
        let found = last.iter().find(|call| call.node == Some(1 - home)).expect("a call on the other node");
        (found.outcome, record.counters.lost)
    };
    let first = [call(4_000, 0, 10_000), call(4_000, 0, 10_000)];
    assert_eq!(elsewhere(&first), (Outcome::Failed, 2));
    let second = [call(0, 0, 1_000), call(0, 0, 1_000), first[0], first[1]];
    assert_eq!(elsewhere(&second), (Outcome::Completed, 1));
}

#[test]
fn nodes_that_come_and_go_fail_at_the_rate_they_are_said_to() {
    // 200 nodes for 10,000 s, up for 900 s and down for 100 s on average: each fails about every
    // 1,000 s, 2,000 times together; four standard deviations are 180.
    let mut spec = free_spec("t-cxl");
    spec.cluster.nodes = 200;
    spec.system.prepopulated = 1;
    spec.placement = Placement::RoundRobin;
    spec.faults.churn = Some(Churn { up: Duration::from_secs(900), down: Duration::from_secs(100) });
    spec.output.memory_every = Duration::from_secs(100);
    let record = play_for(&spec, &[], 10_000);
    let lost = record.counters.lost as f64;
    assert!((lost - 2_000.0).abs() < 180.0, "{lost} lost");
    // A prepopulated sandbox on each node that is up: 90 % of them.
    let samples = &record.memory.samples[10..];
    let up = samples.iter().map(|sample| f64::from(sample.idle)).sum::<f64>() / samples.len() as f64;
    assert!((up - 180.0).abs() < 5.0, "{up} nodes up");
}
