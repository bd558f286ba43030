//! What nodes hold, page by page: per instance, per node, and as it grows.

mod common;
use common::scenario::*;
use common::*;
use platform::MemoryClass::{CopiedOnWrite, GuestPageCache, InstancePrivate, NodeShared, PoolCxl};
use platform::memory::{Behaviour, Content};
use platform::records::StartKind;
use platform::system::{Isolating, KeepAlive};
use traces::{Duration, Pages};

#[test]
fn memory_grows_in_steps_during_the_first_invocation_only() {
    // 400 pages that the invocation makes, in 4 steps of 1 s; the second invocation makes none.
    let mut spec = free_spec("faasd");
    spec.output.growth_steps = 4;
    spec.output.memory_every = Duration::from_millis(500);
    let pages = &mut std::sync::Arc::make_mut(&mut spec.profiles).get_mut("plain").unwrap().pages;
    pages.set(Content::Instance, Behaviour::Written, Pages(400));
    let record = play_for(&spec, &[call(0, 0, 4_000), call(5_000, 0, 4_000)], 10);
    let held = [500, 1_500, 2_500, 3_500, 4_500, 5_500].map(|ms| pages_at(&record, ms, InstancePrivate));
    assert_eq!(held, [1_100, 1_200, 1_300, 1_400, 1_400, 1_400]);
}

#[test]
fn file_pages_lie_on_a_node_once_while_anybody_there_needs_them() {
    let mut spec = free_spec("faasd");
    racks_in_turn(&mut spec, 2);
    spec.keep_alive.ttl = Duration::from_secs(2);
    spec.output.memory_every = Duration::from_millis(500);
    // Two on node 0, one on node 1.
    let calls = [call(0, 0, 1_000), call(0, 1, 1_000), call(0, 2, 3_000)];
    let record = play_for(&spec, &calls, 10);
    let shared = [500, 3_500, 4_500, 5_500].map(|ms| pages_at(&record, ms, NodeShared));
    // Node 1 gives them up after 3 s, node 0 two seconds after the longer of its two.
    assert_eq!(shared, [100, 50, 50, 0]);
}

#[test]
fn a_promoted_sandbox_holds_what_it_read_and_runs_at_full_speed() {
    // 10 % of the time waits for memory, half of that for read-only pages, ten times as slow in CXL
    // memory: 1.45 s instead of 1, until they are copied after the second use.
    let mut spec = free_spec("t-cxl");
    spec.system.promote_after = 2;
    spec.machine.cxl.latency = Duration::from_nanos(800);
    std::sync::Arc::make_mut(&mut spec.profiles).get_mut("plain").unwrap().memory_intensity = 0.1;
    spec.output.memory_every = Duration::from_secs(1);
    let calls = [0, 10, 20, 30].map(|second| call(second * 1000, 0, 1_000));
    let record = play_for(&spec, &calls, 40);
    // The copies of 300 written pages: 64 lines each, 720 ns longer, 10 at a time.
    assert_eq!(services_us(&record), [1_450_000 + 300 * 4_608 / 1_000, 1_450_000, 1_000_000, 1_000_000]);
    assert_eq!(record.counters.promoted, 1);
    let held = |second: u64| {
        let at = |class| pages_at(&record, second * 1000, class);
        (at(InstancePrivate), at(CopiedOnWrite), at(PoolCxl))
    };
    assert_eq!((held(11), held(12)), ((0, 300, 1000), (600, 300, 1000)));
}

#[test]
fn a_page_of_a_tiered_template_is_held_and_paid_for_once_wherever_it_came_from() {
    // 600 read and 300 written pages, of which a tenth comes over the network: 60 + 30. In the first
    // invocation 270 copies of 1 us and 90 fetches of 10 us; promoted after the second, the 540 that
    // were read in place come to the 60 that are there.
    let mut spec = free_spec("t-tiered");
    spec.system.promote_after = 2;
    spec.machine.restore.prefetch_coverage = 0.9;
    spec.machine.fault.copy_on_write = Duration::from_micros(1);
    spec.machine.fault.major = Duration::from_micros(10);
    spec.output.memory_every = Duration::from_secs(1);
    let record = play_for(&spec, &[call(0, 0, 1_000), call(10_000, 0, 1_000)], 20);
    assert_eq!(services_us(&record), [1_000_000 + 270 + 900, 1_000_000]);
    let held = [5, 15].map(|second| {
        let at = |class| pages_at(&record, second * 1000, class);
        (at(InstancePrivate), at(CopiedOnWrite))
    });
    assert_eq!(held, [(60, 300), (600, 300)]);
}

#[test]
fn a_promotion_may_come_after_any_number_of_uses() {
    let promoted = |uses: u64| {
        let mut spec = free_spec("t-cxl");
        spec.system.promote_after = 300;
        let calls: Vec<_> = (0..uses).map(|second| call(second * 1000, 0, 10)).collect();
        play_for(&spec, &calls, 400).counters.promoted
    };
    assert_eq!((promoted(299), promoted(300), promoted(301)), (0, 1, 1));
}

#[test]
fn guests_cache_files_for_themselves_unless_they_read_the_node_s() {
    let files = |system: &str| {
        let mut spec = free_spec(system);
        spec.output.memory_every = Duration::from_millis(500);
        let record = play_for(&spec, &[call(0, 0, 1_000), call(0, 0, 1_000), call(0, 0, 1_000)], 1);
        let guests = pages_at(&record, 500, GuestPageCache);
        let in_dram = spec.system.pages == platform::system::PageSource::Dram;
        // Snapshots in the node's own memory are there once as well: what the guests touch of them.
        let guest_kernel = spec.machine.vm.guest_memory.0 / 4096;
        let image = if in_dram { 900 + 50 + guest_kernel } else { 0 };
        (guests, pages_at(&record, 500, NodeShared) - image)
    };
    assert_eq!(files("trenvx-vm"), (0, 50));
    assert_eq!(files("trenvx-vm-guest-cache"), (150, 50));
    assert_eq!(files("e2b"), (150, 50));
    // Its guests hold them in their snapshots' pages.
    assert_eq!(files("reap+"), (150, 0));
    assert_eq!(files("t-cxl"), (0, 50));
}

#[test]
fn zygotes_are_on_every_node_and_a_fork_adds_the_function() {
    let mut spec = free_spec("sock");
    spec.cluster.nodes = 3;
    let profile = std::sync::Arc::make_mut(&mut spec.profiles).get_mut("plain").unwrap();
    profile.init = Duration::from_millis(200);
    profile.runtime_init = Duration::from_millis(150);
    profile.pages.set(Content::Library, Behaviour::Written, Pages(40));
    spec.output.memory_every = Duration::from_millis(500);
    let record = play_for(&spec, &[call(0, 0, 1_000)], 1);
    // A zygote holds 600 pages of the runtime, 100 + 40 of libraries.
    assert_eq!(pages_at(&record, 500, NodeShared), 3 * 740 + 50);
    assert_eq!((pages_at(&record, 500, InstancePrivate), pages_at(&record, 500, CopiedOnWrite)), (300, 40));
    assert_eq!((kinds(&record)[0], startups_us(&record)[0]), (Some(StartKind::Restored), 50_000));
}

#[test]
fn layers_go_one_by_one_and_serve_whoever_they_can() {
    // Layers for 60, 300 and 600 s. 100 s after its call, function 0's sandbox is a runtime, which
    // function 1 takes over: it loads its own part, 50 of 200 ms. 370 s after that one it is bare: all
    // of it. 970 s after that one nothing is left.
    let mut spec = free_spec("rainbowcake");
    let profile = std::sync::Arc::make_mut(&mut spec.profiles).get_mut("plain").unwrap();
    profile.init = Duration::from_millis(200);
    profile.runtime_init = Duration::from_millis(150);
    spec.output.memory_every = Duration::from_secs(50);
    let calls = [call(0, 0, 0), call(100_000, 1, 0), call(470_000, 0, 0), call(1_440_000, 0, 0)];
    let record = play_for(&spec, &calls, 1_500);
    use StartKind::{Cold, Repurposed};
    assert_eq!(kinds(&record), [Some(Cold), Some(Repurposed), Some(Repurposed), Some(Cold)]);
    assert_eq!(startups_us(&record), [200_000, 50_000, 200_000, 200_000]);
    let own = [50, 150, 200, 450, 500, 550, 850, 1_450].map(|s| pages_at(&record, s * 1000, InstancePrivate));
    assert_eq!(own, [1_000, 1_000, 600, 600, 1_000, 600, 0, 1_000]);
    assert_eq!((record.counters.demoted, record.counters.expired), (5, 1));
}

#[test]
fn without_sharing_a_template_takes_what_a_copy_takes() {
    // Nothing is only read, nothing is left untouched: after the first invocation every page is a copy.
    let local = |system: &str| {
        let mut spec = free_spec(system);
        spec.system.keep_alive = KeepAlive::Lru;
        spec.system.isolating = Isolating::Create;
        let pages = &mut std::sync::Arc::make_mut(&mut spec.profiles).get_mut("plain").unwrap().pages;
        *pages = platform::memory::PageGroups::EMPTY;
        pages.set(Content::Function, Behaviour::Written, Pages(1_000));
        spec.output.memory_every = Duration::from_secs(10);
        let calls: Vec<_> = (0..20).map(|k| call(k * 3_000, (k % 4) as u32, 7_000)).collect();
        let record = play_for(&spec, &calls, 100);
        record.memory.samples[1..].iter().map(|sample| sample.bytes.local()).collect::<Vec<_>>()
    };
    let copied = local("criu");
    assert!(copied.iter().all(|bytes| bytes.0 > 0));
    assert_eq!(copied, local("t-cxl"));
}
