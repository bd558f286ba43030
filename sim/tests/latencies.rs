//! What starts and first invocations cost under each way of getting memory back, worked out by hand.

mod common;
use common::scenario::*;
use common::*;
use platform::records::StartKind;
use platform::system::KeepAlive;
use traces::{Bytes, Duration};

/// A NIC of 6 us a read, six at a time; batches at a page a microsecond.
fn with_rdma(system: &str) -> configs::Spec {
    let mut spec = free_spec(system);
    spec.system.keep_alive = KeepAlive::None;
    spec.machine.rdma.read_4k = Duration::from_micros(6);
    spec.machine.rdma.reads_per_second = 1_000_000;
    spec.machine.rdma.bandwidth = 4_096_000_000;
    spec
}

#[test]
fn lazy_rdma_pages_are_fetched_in_the_handler_prefetched_ones_before_it() {
    // 900 pages are touched, 6 us each.
    let lazy = play_for(&with_rdma("t-rdma"), &[call(0, 0, 1)], 1);
    assert_eq!((startups_us(&lazy)[0], services_us(&lazy)[0]), (0, 1_000 + 5_400));
    // 90 % of them in one batch, 6 us and then 1 us each; the rest one by one.
    let mut spec = with_rdma("t-rdma-prefetch");
    spec.machine.restore.prefetch_coverage = 0.9;
    let prefetched = play_for(&spec, &[call(0, 0, 1)], 1);
    assert_eq!((startups_us(&prefetched)[0], services_us(&prefetched)[0]), (6 + 810, 1_000 + 540));
}

#[test]
fn batches_wait_for_each_other_on_the_line_and_single_reads_share_the_nic() {
    let mut spec = with_rdma("t-rdma-prefetch");
    let together = play_for(&spec, &[call(0, 0, 1); 3], 1);
    assert_eq!(startups_us(&together), [906, 2 * 906, 3 * 906]);
    // Twelve jobs on a NIC that serves six at a time.
    spec = with_rdma("t-rdma");
    let together = play_for(&spec, &[call(0, 0, 0); 12], 1);
    assert_eq!(services_us(&together), [10_800; 12]);
}

#[test]
fn varying_reads_keep_their_mean() {
    // Each of 900 reads varies by half its mean, so their sum by a 60th of its mean.
    let mut spec = with_rdma("t-rdma");
    spec.machine.rdma.read_variation = 0.5;
    let calls: Vec<_> = (0..4_000).map(|k| call(k * 100, 0, 0)).collect();
    let record = play_for(&spec, &calls, 400);
    let ratios: Vec<f64> = record.invocations.iter().map(|i| i.service_ns.as_secs_f64() / 0.0054).collect();
    let n = ratios.len() as f64;
    let mean = ratios.iter().sum::<f64>() / n;
    let deviation = (ratios.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    // Four standard errors of each.
    assert!((mean - 1.0).abs() < 4.0 / 60.0 / n.sqrt(), "mean {mean}");
    assert!((deviation * 60.0 - 1.0).abs() < 4.0 / (2.0 * n).sqrt(), "deviation {deviation}");
}

#[test]
fn cxl_memory_gets_slower_with_its_load() {
    // 5 % of a second is stalled. A reader loads 64 bytes each 400 ns of that: 8 MB/s of a device of
    // 16 MB/s, whose lines take 4 us. Alone: utilisation 1/2, 0.1 lines queue, 400 + 400 ns, ten times
    // DRAM: 0.45 s longer. The second finds it saturated (0.95): 400 + 19 x 400 ns, 100 times: 4.95 s.
    let mut spec = free_spec("t-cxl");
    spec.machine.cxl.latency = Duration::from_nanos(400);
    spec.machine.cxl.bandwidth = 16_000_000;
    spec.machine.cxl.queued_lines = 0.1;
    std::sync::Arc::make_mut(&mut spec.profiles).get_mut("plain").unwrap().memory_intensity = 0.1;
    // The first calls pay for copies; the others find both sandboxes warm.
    let record = play_for(
        &spec,
        &[
            call(0, 0, 1_000),
            call(0, 0, 1_000),
            call(50_000, 0, 1_000),
            call(50_000, 0, 1_000),
            call(60_000, 0, 1_000),
        ],
        100,
    );
    assert_eq!(services_us(&record)[2..], [1_450_000, 5_950_000, 1_450_000]);
}

#[test]
fn pages_that_criu_restores_lazily_cost_a_fault_each_once() {
    let mut spec = free_spec("criu-lazy");
    spec.machine.restore.criu_setup = Duration::from_millis(15);
    spec.machine.restore.criu_page = Duration::from_micros(2);
    spec.machine.fault.userfaultfd = Duration::from_micros(3);
    let record = play_for(&spec, &[call(0, 0, 10), call(1_000, 0, 10)], 2);
    assert_eq!(startups_us(&record), [15_000, 0]);
    assert_eq!(services_us(&record), [10_000 + 900 * 5, 10_000]);
}

#[test]
fn a_remote_fork_reads_the_parents_page_tables_then_its_pages_every_time() {
    // 8 bytes for each of 1,000 pages, 200 for each of 100 regions: 7 reads of 4 KiB.
    let record = play_for(&with_rdma("mitosis"), &[call(0, 0, 1), call(1_000, 0, 1)], 2);
    assert_eq!(kinds(&record), [Some(StartKind::Restored); 2]);
    assert_eq!((startups_us(&record), services_us(&record)), (vec![42; 2], vec![1_000 + 5_400; 2]));
    // The parent is there all the time: 1,000 pages, 2 s.
    let mine = record.memory.gib_seconds[platform::MemoryClass::InstancePrivate as usize];
    assert!(mine >= 2.0 * IMAGE.0 as f64 / f64::from(1 << 30), "{mine} GiB s");
}

#[test]
fn an_ideal_start_takes_no_time() {
    let mut spec = costly_spec("ideal");
    spec.cluster.cores = 100;
    let record = play_for(&spec, &[call(0, 0, 100), call(0, 0, 100), call(500, 1, 100)], 1);
    assert_eq!(kinds(&record), [Some(StartKind::Warm); 3]);
    assert!(record.invocations.iter().all(|call| call.end_to_end() == Duration::from_millis(100)));
}

#[test]
fn sandboxes_that_are_never_given_up_are_ideal_after_the_first_call() {
    let calls: Vec<_> = (0..200).map(|k| call(k * 700, (k % 3) as u32, 300 + 7 * (k % 11))).collect();
    let ends = |system: &str| {
        let mut spec = costly_spec(system);
        spec.system.keep_alive = KeepAlive::Lru;
        let record = play_for(&spec, &calls, 200);
        record.invocations[3..].iter().map(|call| call.end_to_end()).collect::<Vec<_>>()
    };
    let ideal = ends("ideal");
    for system in ["faasd", "criu", "criu-lazy", "reap+", "vanilla-ch", "t-rdma-prefetch"] {
        let kept = ends(system);
        if system == "t-rdma-prefetch" {
            // It repurposes what the others keep: that is what sets it apart.
            assert_ne!(kept, ideal);
        } else {
            assert_eq!(kept, ideal, "{system}");
        }
    }
}

#[test]
fn what_lies_on_a_disk_is_read_by_the_first_on_a_node_and_cached_for_the_others() {
    // 900 touched pages, 100 us each, by the first sandbox of the node.
    let mut spec = free_spec("t-cxl");
    spec.system.pages = platform::system::PageSource::Ssd;
    spec.machine.ssd.read_4k = Duration::from_micros(100);
    spec.machine.ssd.bandwidth = 1 << 40;
    let record = play_for(&spec, &[call(0, 0, 1_000), call(500, 0, 1_000)], 2);
    assert_eq!(services_us(&record), [1_090_000, 1_000_000]);
    // The page cache holds what is touched, once, and the 50 pages of files.
    let shared = record.memory.peak.get(platform::MemoryClass::NodeShared);
    assert_eq!(shared, Bytes(950 * 4096));
}
