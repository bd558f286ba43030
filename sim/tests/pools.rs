//! What a rack's CXL device holds: templates filled in, given up, lost, shared.

mod common;
use common::scenario::*;
use common::*;
use configs::spec::{FaultKind, Placement, WithoutTemplate};
use platform::policy::placement::home_rack;
use platform::records::{Outcome, StartKind};
use platform::system::{Dedup, KeepAlive};
use traces::{Bytes, Duration, FunctionId};

#[test]
fn the_first_start_in_another_rack_waits_for_its_template() {
    // Two racks of one node with room for one sandbox. The template lies in the home rack: of two calls
    // at once the second goes to the other rack and waits 1 s for the fill; later ones do not.
    let mut spec = free_spec("t-cxl");
    spec.system.keep_alive = KeepAlive::None;
    (spec.cluster.nodes, spec.cluster.racks) = (2, 2);
    spec.placement = Placement::RackLocality { spill: true };
    spec.cluster.memory_cap = Bytes::from_mib(128);
    spec.pools.replicas = 1;
    fills_in_a_second(&mut spec);
    let calls = [call(0, 0, 100), call(0, 0, 100), call(5_000, 0, 100), call(5_000, 0, 100)];
    let record = play_for(&spec, &calls, 10);
    assert_eq!(startups_us(&record), [0, 1_000_000, 0, 0]);
    let home = home_rack(FunctionId(0), 2);
    let nodes: Vec<_> = record.invocations.iter().map(|call| call.node).collect();
    assert_eq!(nodes, [Some(home), Some(1 - home), Some(home), Some(1 - home)]);
    assert_eq!(record.counters.filled, 1);
    let peaks: Vec<Bytes> = record.memory.devices.iter().map(|device| device.peak).collect();
    assert_eq!(peaks, [IMAGE, IMAGE]);
}

#[test]
fn all_who_need_a_template_wait_for_one_fill() {
    let mut spec = free_spec("t-cxl");
    racks_in_turn(&mut spec, 2);
    spec.pools.replicas = 1;
    fills_in_a_second(&mut spec);
    // In turn: every second call comes to the rack that lacks the template, and the fill begins with
    // the first of them.
    let calls: Vec<_> = (0..4).map(|k| call(250 * k, 0, 10)).collect();
    let waits = startups_us(&play_for(&spec, &calls, 5));
    let elsewhere = (1 - home_rack(FunctionId(0), 2)) as usize;
    assert_eq!((waits[elsewhere], waits[elsewhere + 2]), (1_000_000, 500_000));
    assert_eq!((waits[1 - elsewhere], waits[3 - elsewhere]), (0, 0));
}

#[test]
fn a_full_device_gives_up_the_template_that_was_used_least_recently() {
    // Room for two templates; the device is empty after a failure at the very beginning.
    let mut spec = free_spec("t-cxl");
    spec.system.keep_alive = KeepAlive::None;
    spec.machine.cxl.capacity = IMAGE + IMAGE;
    fills_in_a_second(&mut spec);
    fails(&mut spec, 0, 1, FaultKind::CxlDevice { rack: 0 });
    // 2 takes the place of 0; then 1 is still there; then 0 takes the place of 2.
    let calls = [(10, 0), (20, 1), (30, 2), (40, 1), (50, 0)].map(|(at, f)| call(at * 1000, f, 10));
    let record = play_for(&spec, &calls, 60);
    assert_eq!(startups_us(&record), [1_000_000, 1_000_000, 1_000_000, 0, 1_000_000]);
    assert_eq!((record.counters.filled, record.counters.displaced), (4, 2));
    assert_eq!(record.memory.devices[0].peak, IMAGE + IMAGE);
}

#[test]
fn a_template_in_use_is_not_given_up_and_the_start_boots() {
    let mut spec = free_spec("t-cxl");
    spec.machine.cxl.capacity = IMAGE;
    std::sync::Arc::make_mut(&mut spec.profiles).get_mut("plain").unwrap().init = Duration::from_secs(2);
    fills_in_a_second(&mut spec);
    fails(&mut spec, 0, 1, FaultKind::CxlDevice { rack: 0 });
    let record = play_for(&spec, &[call(5_000, 0, 60_000), call(10_000, 1, 10)], 100);
    assert_eq!(kinds(&record), [Some(StartKind::Restored), Some(StartKind::Cold)]);
    assert_eq!(startups_us(&record), [1_000_000, 2_000_000]);
    assert_eq!((record.counters.without_template, record.counters.displaced), (1, 0));
}

#[test]
fn a_device_that_is_lost_takes_its_users_along_and_comes_back_empty() {
    let mut spec = free_spec("t-cxl");
    spec.system.keep_alive = KeepAlive::None;
    std::sync::Arc::make_mut(&mut spec.profiles).get_mut("plain").unwrap().init = Duration::from_secs(2);
    fills_in_a_second(&mut spec);
    fails(&mut spec, 5, 10, FaultKind::CxlDevice { rack: 0 });
    spec.output.memory_every = Duration::from_secs(1);
    // One runs when the device is lost, one starts meanwhile, one after it is back.
    let record = play_for(&spec, &[call(0, 0, 10_000), call(8_000, 0, 1_000), call(20_000, 0, 1_000)], 30);
    let outcomes: Vec<Outcome> = record.invocations.iter().map(|call| call.outcome).collect();
    assert_eq!(outcomes, [Outcome::Failed, Outcome::Completed, Outcome::Completed]);
    assert_eq!(kinds(&record)[1..], [Some(StartKind::Cold), Some(StartKind::Restored)]);
    assert_eq!(startups_us(&record)[1..], [2_000_000, 1_000_000]);
    let counters = &record.counters;
    assert_eq!((counters.lost, counters.without_template, counters.filled), (1, 1, 1));
    let pool = |second: u64| pages_at(&record, second * 1000, platform::MemoryClass::PoolCxl);
    assert_eq!((pool(4), pool(5), pool(19), pool(20)), (1000, 0, 0, 1000));
}

#[test]
fn who_copied_its_template_survives_the_device_and_has_no_part_in_the_next_one() {
    // The sandbox of the first call holds a copy. After the device is back, the template is filled in
    // for the second sandbox, which still runs when the first one expires: the template stays, and the
    // third call, of another function, finds no room.
    let mut spec = free_spec("criu");
    spec.machine.cxl.capacity = IMAGE;
    spec.keep_alive.ttl = Duration::from_secs(30);
    fails(&mut spec, 0, 1, FaultKind::CxlDevice { rack: 0 });
    fails(&mut spec, 10, 10, FaultKind::CxlDevice { rack: 0 });
    let calls = [call(5_000, 0, 10), call(30_000, 0, 1_000), call(30_000, 0, 100_000), call(70_000, 1, 10)];
    let record = play_for(&spec, &calls, 150);
    use StartKind::{Cold, Restored, Warm};
    assert_eq!(kinds(&record), [Some(Restored), Some(Warm), Some(Restored), Some(Cold)]);
    assert_eq!((record.counters.lost, record.counters.displaced, record.counters.expired), (0, 0, 2));
}

#[test]
fn what_starts_because_of_a_lost_device_is_not_lost_with_it() {
    // Room for two: one sandbox runs, one is idle, and a call of a function twice their size waits.
    // When the device is lost, the running one goes first; then the waiting call evicts the idle one,
    // takes its name, and must be left alone.
    let mut spec = free_spec("faasnap+");
    spec.cluster.memory_cap = Bytes::from_mib(256);
    fails(&mut spec, 10, 100, FaultKind::CxlDevice { rack: 0 });
    let mut functions = functions(3);
    functions[2].memory = Some(Bytes::from_mib(256));
    let calls = [call(0, 0, 60_000), call(0, 1, 10), call(5_000, 2, 1_000)];
    let record = play_with(&spec, &functions, &calls, 100);
    let outcomes: Vec<Outcome> = record.invocations.iter().map(|call| call.outcome).collect();
    assert_eq!(outcomes, [Outcome::Failed, Outcome::Completed, Outcome::Completed]);
    assert_eq!(record.invocations[2].start, Some(StartKind::Cold));
    assert_eq!((record.counters.lost, record.counters.evicted), (1, 1));
}

#[test]
fn pages_that_functions_have_in_common_lie_on_the_device_once_for_each_owner() {
    // Runtime and libraries are 700 of 1,000 pages, half of them the same in every function: 350
    // pages in common and 650 of its own for each of three functions.
    let device = |dedup, within_tenant| {
        let mut spec = free_spec("t-cxl");
        spec.system.dedup = dedup;
        spec.sharing.within_tenant = within_tenant;
        spec.sharing.tenants = 2;
        let calls = [call(0, 0, 1), call(1, 1, 1), call(2, 2, 1)];
        play_for(&spec, &calls, 1).memory.devices[0].peak.0 / 4096
    };
    assert_eq!(device(Dedup::PerFunction, false), 3_000);
    assert_eq!(device(Dedup::AcrossFunctions, false), 3 * 650 + 350);
    // Functions 0 and 2 are the one tenant's, 1 the other's.
    assert_eq!(device(Dedup::AcrossFunctions, true), 3 * 650 + 2 * 350);
}

#[test]
fn racks_with_replicas_hold_the_template_from_the_beginning() {
    for (replicas, held) in [(0, 4), (1, 1), (3, 3)] {
        let mut spec = free_spec("t-cxl");
        racks_in_turn(&mut spec, 4);
        spec.pools.replicas = replicas;
        let record = play_for(&spec, &[call(500, 0, 1)], 1);
        let pool = pages_at(&record, 0, platform::MemoryClass::PoolCxl);
        assert_eq!(pool, held * 1000, "{replicas} replicas");
    }
}

#[test]
fn who_copies_its_template_page_by_page_needs_it_until_its_first_invocation_is_through() {
    let outcomes = |system: &str, uses: u64| {
        let mut spec = free_spec(system);
        fails(&mut spec, 5, 10, FaultKind::CxlDevice { rack: 0 });
        let calls: Vec<_> =
            (0..uses).map(|k| call(k * 1_000, 0, 10)).chain([call(4_000, 0, 3_000)]).collect();
        play_for(&spec, &calls, 30).invocations.last().map(|call| call.outcome)
    };
    use Outcome::{Completed, Failed};
    assert_eq!((outcomes("criu-lazy", 0), outcomes("criu-lazy", 1)), (Some(Failed), Some(Completed)));
    assert_eq!((outcomes("criu", 0), outcomes("criu", 1)), (Some(Completed), Some(Completed)));
    assert_eq!((outcomes("faasnap+", 0), outcomes("faasnap+", 1)), (Some(Failed), Some(Failed)));
}

#[test]
fn deduplication_that_changes_nothing_is_said_to() {
    let warned = |system: &str| {
        let mut spec = free_spec(system);
        spec.system.dedup = Dedup::AcrossFunctions;
        let record = play_for(&spec, &[call(0, 0, 1)], 1);
        record.warnings.iter().any(|warning| warning.contains("across-functions") && warning.contains(system))
    };
    assert_eq!(["t-rdma", "reap+", "criu"].map(warned), [true; 3]);
    assert_eq!(["t-cxl", "t-tiered"].map(warned), [false; 2]);
    let plain = play_for(&free_spec("t-rdma"), &[call(0, 0, 1)], 1);
    assert!(plain.warnings.is_empty(), "{:?}", plain.warnings);
}

/// A function that boots in 2 s, and a second of storage's link for its image.
fn booting_in_two_seconds(system: &str) -> configs::Spec {
    let mut spec = free_spec(system);
    spec.system.keep_alive = KeepAlive::None;
    std::sync::Arc::make_mut(&mut spec.profiles).get_mut("plain").unwrap().init = Duration::from_secs(2);
    fills_in_a_second(&mut spec);
    spec.output.memory_every = Duration::from_secs(1);
    spec
}

#[test]
fn the_rdma_pool_takes_along_who_still_fetches_from_it_and_comes_back_empty() {
    // One fetches its pages when the pool is lost; one starts while it is away and boots; the first two
    // after its return wait for the same fill, which network storage makes in 1 s.
    let mut spec = booting_in_two_seconds("t-rdma");
    fails(&mut spec, 5, 10, FaultKind::RdmaPool {});
    let calls = [(0, 10_000), (8_000, 1_000), (20_000, 1_000), (20_400, 1_000), (24_000, 1_000)];
    let record = play_for(&spec, &calls.map(|(at, ms)| call(at, 0, ms)), 30);
    let outcomes: Vec<Outcome> = record.invocations.iter().map(|call| call.outcome).collect();
    use Outcome::{Completed, Failed};
    assert_eq!(outcomes, [Failed, Completed, Completed, Completed, Completed]);
    use StartKind::{Cold, Restored};
    assert_eq!(kinds(&record)[1..], [Cold, Restored, Restored, Restored].map(Some));
    assert_eq!(startups_us(&record)[1..], [2_000_000, 1_000_000, 600_000, 0]);
    let counters = &record.counters;
    assert_eq!((counters.lost, counters.without_template, counters.filled), (1, 1, 1));
    let pool = |second: u64| pages_at(&record, second * 1000, platform::MemoryClass::PoolRdma);
    assert_eq!([4, 5, 14, 19, 20, 30].map(pool), [1000, 0, 0, 0, 1000, 1000]);
}

#[test]
fn whoever_has_fetched_what_it_touches_goes_on_without_the_pool() {
    let last = |system: &str, uses: u64| {
        let mut spec = free_spec(system);
        fails(&mut spec, 5, 10, FaultKind::RdmaPool {});
        let calls: Vec<_> =
            (0..uses).map(|k| call(k * 1_000, 0, 10)).chain([call(4_000, 0, 3_000)]).collect();
        let record = play_for(&spec, &calls, 30);
        (record.invocations.last().map(|call| call.outcome), record.counters.lost)
    };
    let (failed, completed) = ((Some(Outcome::Failed), 1), (Some(Outcome::Completed), 0));
    for system in ["t-rdma", "t-rdma-prefetch", "t-tiered"] {
        assert_eq!((last(system, 0), last(system, 1)), (failed, completed), "{system}");
    }
    // What keeps nothing there loses nothing; parents of forks are on nodes.
    for system in ["faasd", "criu", "t-cxl", "mitosis"] {
        assert_eq!(last(system, 0), completed, "{system}");
    }
}

#[test]
fn of_a_tiered_template_only_the_lost_part_is_filled_in_again() {
    // 100 of 1,000 pages are never touched and lie in the RDMA pool: a tenth of a second. While the
    // pool is away the part on the CXL device helps nobody, and has no users.
    let mut spec = booting_in_two_seconds("t-tiered");
    fails(&mut spec, 5, 10, FaultKind::RdmaPool {});
    let record = play_for(&spec, &[call(8_000, 0, 1_000), call(20_000, 0, 1_000)], 30);
    assert_eq!(startups_us(&record), [2_000_000, 100_000]);
    assert_eq!((record.counters.without_template, record.counters.filled), (1, 1));
    let pools = |second: u64| {
        use platform::MemoryClass::{PoolCxl, PoolRdma};
        (pages_at(&record, second * 1000, PoolCxl), pages_at(&record, second * 1000, PoolRdma))
    };
    assert_eq!([4, 5, 19, 20].map(pools), [(900, 100), (900, 0), (900, 0), (900, 100)]);
    // With the device lost as well, both parts are brought in at the same time, each by its own link.
    fails(&mut spec, 6, 10, FaultKind::CxlDevice { rack: 0 });
    let record = play_for(&spec, &[call(20_000, 0, 1_000)], 30);
    assert_eq!((startups_us(&record), record.counters.filled), (vec![900_000], 2));
}

#[test]
fn a_full_rdma_pool_gives_up_the_template_that_was_used_least_recently() {
    let mut spec = booting_in_two_seconds("t-rdma");
    spec.machine.rdma.capacity = IMAGE + IMAGE;
    fails(&mut spec, 0, 1, FaultKind::RdmaPool {});
    let calls = [(10, 0), (20, 1), (30, 2), (40, 1), (50, 0)].map(|(at, f)| call(at * 1000, f, 10));
    let record = play_for(&spec, &calls, 60);
    assert_eq!(startups_us(&record), [1_000_000, 1_000_000, 1_000_000, 0, 1_000_000]);
    assert_eq!((record.counters.filled, record.counters.displaced), (4, 2));
}

#[test]
fn without_its_template_a_function_starts_from_the_copy_that_storage_has() {
    // Two nodes of one rack: each reads 1,000 pages over the rack's link, the second after the first.
    for (system, fault) in [("t-rdma", FaultKind::RdmaPool {}), ("t-cxl", FaultKind::CxlDevice { rack: 0 })] {
        let mut spec = booting_in_two_seconds(system);
        spec.cluster.nodes = 2;
        spec.placement = Placement::RoundRobin;
        spec.pools.without_template = WithoutTemplate::Storage;
        fails(&mut spec, 5, 10, fault);
        let record = play_for(&spec, &[call(8_000, 0, 1_000), call(8_000, 0, 1_000)], 30);
        assert_eq!(kinds(&record), [Some(StartKind::Restored); 2], "{system}");
        assert_eq!(startups_us(&record), [1_000_000, 2_000_000], "{system}");
        assert_eq!((record.counters.without_template, record.counters.filled), (2, 0));
        // Copied: it holds all of it, and gives it back.
        let own = |second: u64| pages_at(&record, second * 1000, platform::MemoryClass::InstancePrivate);
        assert_eq!([7, 9, 12].map(own), [0, 2_000, 0], "{system}");
    }
    // A parent of forks is copied nowhere.
    let mut spec = booting_in_two_seconds("mitosis");
    spec.cluster.nodes = 2;
    spec.pools.without_template = WithoutTemplate::Storage;
    fails(&mut spec, 5, 10, FaultKind::Node { node: home_rack(FunctionId(0), 2) });
    let record = play_for(&spec, &[call(8_000, 0, 1_000)], 30);
    assert_eq!((kinds(&record), startups_us(&record)), (vec![Some(StartKind::Cold)], vec![2_000_000]));
}
