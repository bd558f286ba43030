//! What the model says of 1,000 invocations, system by system. The table moves only with the version
//! of the model.
//!
//! `data/zipf-1000.workload` is what [`job`] generates; a test holds the two together. Machine and
//! cluster are stated here, not read from `configs/`: a better constant there is no other model.

mod common;
use common::costly_spec;
use configs::spec::Spec;
use platform::records::{Outcome, RunRecord, StartKind};
use platform::system::{SYSTEMS, system};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use traces::binary;
use traces::generate::zipf::Job;
use traces::workload::Workload;
use traces::{Bytes, Duration};

const WRITE: &str = "TRENVX_WRITE_GOLDEN=1 cargo test -p sim --test golden";

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

#[allow(clippy::disallowed_methods, reason = "whether a test writes its data is no parameter of a model")]
fn is_writing() -> bool {
    std::env::var_os("TRENVX_WRITE_GOLDEN").is_some()
}

/// 30 functions over 20 minutes, services around 0.2 s and up to 30 s.
fn job() -> Job {
    Job {
        functions: 30,
        span: Duration::from_secs(20 * 60),
        mu: -1.5,
        sigma: 1.0,
        service: (Duration::from_millis(1), Duration::from_secs(30)),
        ..Job::standard(1_000, 7)
    }
}

/// Four nodes that cannot keep everything: evictions, queues and shared cores all occur.
fn spec(name: &str) -> Spec {
    let mut spec = costly_spec(name);
    spec.system = system(name).expect("a registered system");
    spec.system.prepopulated = spec.system.prepopulated.min(2);
    spec.cluster.nodes = 4;
    spec.cluster.cores = 2;
    spec.cluster.dram = Bytes::from_gib(16);
    spec.cluster.memory_cap = Bytes::from_gib(1);
    spec.cluster.queue_timeout = Duration::from_secs(60);
    spec.keep_alive.ttl = Duration::from_secs(60);
    spec.keep_alive.layers.function = Duration::from_secs(20);
    spec.keep_alive.layers.runtime = Duration::from_secs(40);
    spec.keep_alive.layers.bare = Duration::from_secs(60);
    let restore = &mut spec.machine.restore;
    restore.thread = Duration::from_micros(50);
    restore.attach = Duration::from_micros(300);
    restore.attach_region = Duration::from_micros(2);
    restore.take_over = Duration::from_micros(100);
    restore.prefetch_page = Duration::from_nanos(700);
    restore.prefetch_coverage = 0.9;
    restore.map_region = Duration::from_micros(5);
    restore.zygote_fork = Duration::from_micros(500);
    spec.machine.fault.minor = Duration::from_nanos(500);
    spec.machine.fault.userfaultfd = Duration::from_micros(5);
    spec.machine.cxl.latency = Duration::from_nanos(400);
    spec.machine.cxl.queued_lines = 5.0;
    spec.machine.rdma.bandwidth = 12_500_000_000;
    spec.machine.vm.load = Duration::from_micros(8_000);
    spec.machine.vm.reconnect = Duration::from_micros(1_000);
    spec.machine.vm.guest_size = Bytes::from_mib(512);
    let plain = std::sync::Arc::make_mut(&mut spec.profiles).get_mut("plain").expect("the plain profile");
    plain.runtime_init = Duration::from_micros(120_000);
    plain.memory_intensity = 0.1;
    spec.output.growth_steps = 4;
    spec.output.memory_every = Duration::from_secs(10);
    spec
}

const HEAD: &str = "system                  cold restored repurposed warm timed-out   P50 ms    P99 ms  peak MiB    GiB s  events";

fn row(name: &str, workload: &Workload) -> String {
    let spec = spec(name);
    let invocations = workload.invocations.iter().copied();
    let (burn_in, span) = (workload.burn_in, workload.span);
    let play = sim::Play { functions: &workload.functions, invocations, burn_in, span, seed: 1 };
    let record = sim::simulate(&spec, play);
    let starts = StartKind::ALL.map(|kind| common::started(&record, kind));
    let mut end_to_end: Vec<Duration> = record
        .invocations
        .iter()
        .filter(|call| call.outcome == Outcome::Completed)
        .map(|call| call.end_to_end())
        .collect();
    end_to_end.sort_unstable();
    let quantile =
        |q: f64| end_to_end[(q * end_to_end.len() as f64).ceil() as usize - 1].as_nanos() as f64 / 1e6;
    format!(
        "{name:<22} {:>5} {:>8} {:>10} {:>4} {:>9} {:>8.3} {:>9.3} {:>9.1} {:>8.1} {:>7}",
        starts[0],
        starts[1],
        starts[2],
        starts[3],
        common::ended(&record, Outcome::TimedOut),
        quantile(0.5),
        quantile(0.99),
        record.memory.peak_local.0 as f64 / f64::from(1 << 20),
        local_gib_seconds(&record),
        record.counters.events,
    )
}

fn local_gib_seconds(record: &RunRecord) -> f64 {
    record.memory.nodes.iter().map(|place| place.gib_seconds).sum()
}

#[test]
fn the_workload_is_what_its_generator_makes() {
    let made = job().generate().unwrap();
    if is_writing() {
        binary::write(&data("zipf-1000.workload"), &made).unwrap();
    }
    let stored = binary::open(&data("zipf-1000.workload")).unwrap();
    assert_eq!(stored.invocations.len(), 1_000);
    assert_eq!(stored.hash_hex(), made.hash_hex(), "the generator has changed: write both with {WRITE}");
}

#[test]
fn the_model_says_what_its_version_said_before() {
    let workload = binary::open(&data("zipf-1000.workload")).unwrap();
    let version = format!("model version {}", sim::MODEL_VERSION);
    let rows: Vec<String> = SYSTEMS.iter().map(|entry| row(entry.name, &workload)).collect();
    let path = data("golden.txt");
    let stored = fs::read_to_string(&path).unwrap_or_default();
    let mut lines = stored.lines();
    let stored_version = lines.next().unwrap_or("no version");
    let mut moved = String::new();
    for line in lines.skip(1) {
        let name = line.split_whitespace().next().unwrap_or_default();
        let now = rows.iter().find(|row| row.starts_with(&format!("{name} ")));
        if now.is_none_or(|row| row != line) {
            let _ = writeln!(moved, "  was {line}\n  is  {}", now.map_or("gone", String::as_str));
        }
    }
    let is_same_version = stored_version == version;
    if is_writing() && (moved.is_empty() || !is_same_version) {
        fs::write(&path, format!("{version}\n{HEAD}\n{}\n", rows.join("\n"))).unwrap();
        return;
    }
    assert!(
        moved.is_empty() || !is_same_version,
        "results of {version} have moved. If the model is meant to change, raise MODEL_VERSION in \
         sim/src/lib.rs in the same commit, say why in its message, and write the table with {WRITE}:\n{HEAD}\n{moved}"
    );
    let is_complete = rows.len() + 2 == stored.lines().count();
    assert!(
        is_same_version && is_complete,
        "the table is of {stored_version} and has {} lines; this is {version} with {} systems: write it with {WRITE}",
        stored.lines().count(),
        rows.len()
    );
}
