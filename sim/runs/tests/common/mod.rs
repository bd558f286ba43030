//! A small experiment and a world that makes its records up.
#![allow(dead_code, reason = "each test file uses its part")]

use configs::{Experiment, Spec, Tier};
use platform::records::{
    AgentRecord, Distribution, FunctionRecord, InvocationRecord, MemorySample, Outcome, PlaceRecord,
    StartKind,
};
use platform::{ByClass, MemoryClass, RunRecord};
use runs::{Options, Plan, Store, World, WorldError, execute};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use traces::workload::Workload;
use traces::{Bytes, Duration, Instant};

const PROFILES: &str = r#"
[default]
source = "made up for this test"
init = "10 ms"
regions = 10
threads = 1
file = "1 MiB"
memory_intensity = 0
read_only_accesses = 1
pages.runtime = { read_only = "1 MiB", written = "4 KiB", untouched = "0 B" }
pages.library = { read_only = "0 B", written = "0 B", untouched = "0 B" }
pages.function = { read_only = "0 B", written = "0 B", untouched = "0 B" }
pages.instance = { read_only = "0 B", written = "0 B", untouched = "0 B" }
"#;

const EXPERIMENT: &str = r#"
id = "e99"
title = "A test"
question = "Is it kept?"
systems = ["criu", "t-cxl"]
seeds = { n = 2 }
[workload.zipf]
functions = 3
invocations = 200
span = "1 min"
burn_in = "10 s"
"#;

/// Configurations and outputs, removed with this value.
pub struct House {
    root: tempfile::TempDir,
}

impl House {
    pub fn new() -> Self {
        let house = Self { root: tempfile::tempdir().unwrap() };
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
        for name in ["base.toml", "machines/paper.toml"] {
            house.write(name, &fs::read_to_string(shipped.join(name)).unwrap());
        }
        house.write("profiles/trenv-functions.toml", PROFILES);
        house.write("experiments/e99-test.toml", EXPERIMENT);
        house
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Replaces a text in the experiment file.
    pub fn replace(&self, from: &str, to: &str) {
        assert!(EXPERIMENT.contains(from));
        self.write("experiments/e99-test.toml", &EXPERIMENT.replacen(from, to, 1));
    }

    pub fn experiment(&self, sets: &[&str]) -> Experiment {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let file = self.root.path().join("experiments/e99-test.toml");
        configs::load(&file, Tier::Kick, &sets).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn plan(&self) -> Plan {
        Plan::new(self.experiment(&[]))
    }

    pub fn out(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn store(&self) -> Store {
        Store::open(&self.out("out")).unwrap()
    }

    /// Runs the whole plan, silently.
    pub fn run(&self, world: &dyn World, jobs: usize) -> runs::Outcome {
        self.run_plan(&self.plan(), world, jobs)
    }

    pub fn run_plan(&self, plan: &Plan, world: &dyn World, jobs: usize) -> runs::Outcome {
        let options = Options { jobs, progress: false, ..Options::default() };
        execute(plan, &self.out("out"), &self.store(), world, &options).unwrap()
    }
}

/// A world whose records follow from spec, workload and seed by plain arithmetic.
#[derive(Default)]
pub struct Fake {
    pub runs: AtomicUsize,
    /// Seed whose runs fail.
    pub fails_at: Option<u64>,
    /// Seed whose runs panic.
    pub panics_at: Option<u64>,
    /// How long a run takes.
    pub takes: std::time::Duration,
}

impl World for Fake {
    fn name(&self) -> &str {
        "fake"
    }

    fn model_version(&self) -> u32 {
        7
    }

    fn run(&self, spec: &Spec, workload: &Workload, seed: u64) -> Result<RunRecord, WorldError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(self.takes);
        assert_ne!(self.panics_at, Some(seed), "seed {seed} is not liked");
        if self.fails_at == Some(seed) {
            return Err(WorldError::new(format!("node 3 caught fire with seed {seed}")));
        }
        Ok(record(spec, workload, seed))
    }
}

/// A record with something in every field.
pub fn record(spec: &Spec, workload: &Workload, seed: u64) -> RunRecord {
    let distribution = |n: u64| Distribution {
        buckets: (1..=n).map(|i| (i * 10 + seed, i)).collect(),
        sum_us: n * 1000 + seed,
    };
    let functions = workload
        .functions
        .iter()
        .zip(workload.counts())
        .map(|(function, count)| FunctionRecord {
            name: format!("{}, \"quoted\"", function.name),
            arrivals_in_burn_in: 3,
            outcomes: [count, 1, 2, 3, 4],
            starts: [4, 5, 6, 7],
            end_to_end: distribution(count % 50),
            startup: distribution(2),
            // Some functions are agents, some are not.
            agent: function.name.ends_with(['0', '2', '4', 'e']).then(|| agent(count + seed)),
        })
        .collect();
    let mut record = RunRecord { functions, ..RunRecord::default() };
    for (i, start) in record.starts.iter_mut().enumerate() {
        start.queueing = distribution(i as u64);
        start.service = distribution(3);
        start.end_to_end = distribution(4);
    }
    let mut bytes = ByClass::default();
    bytes.add(MemoryClass::PoolCxl, Bytes(12_345 + seed));
    record.memory.peak_local = Bytes(99);
    record.memory.peak = bytes;
    record.memory.gib_seconds = [0.1 + 0.2, 1.0 / 3.0, 1e-12, 0.0, 5e9, seed as f64 / 7.0, 1.0, 2.0];
    record.memory.measured = Duration::from_secs(50);
    let place = |peak| PlaceRecord { peak: Bytes(peak), gib_seconds: 0.1 + 0.2 };
    record.memory.nodes = vec![place(3), place(5)];
    record.memory.devices = vec![place(7)];
    record.memory.samples = (0..5)
        .map(|i| MemorySample {
            at: Instant::from_nanos(i * 1_000_000_007),
            bytes,
            busy: i as u32,
            idle: 9,
            core_time: Duration::from_nanos(i),
        })
        .collect();
    record.counters.created = 17;
    record.counters.events = u64::MAX;
    record.warnings = vec!["a \\ b\nsecond line".to_owned(), String::new(), spec.system.name.clone()];
    record.invocations = (0..20)
        .map(|i| InvocationRecord {
            number: i,
            function: (i % 3) as u32,
            node: (i % 2 == 0).then_some(4),
            start: StartKind::ALL.get((i % 5) as usize).copied(),
            outcome: Outcome::ALL[(i % 4) as usize],
            burn_in: i < 5,
            arrival_ns: Instant::from_nanos(i * 10),
            queueing_ns: Duration::from_nanos(i),
            startup_ns: Duration::from_nanos(i * i),
            service_ns: Duration::from_millis(i),
        })
        .collect();
    record
}

fn agent(n: u64) -> AgentRecord {
    AgentRecord {
        completed: n,
        prompt_tokens: n * 1_000_003,
        answer_tokens: n * 29,
        llm_wait: Duration::from_nanos(n * 7),
        tool_time: Duration::from_nanos(n + 1),
        browser_time: Duration::from_nanos(n + 2),
        held: Duration::from_nanos(n + 3),
        sandbox_cost: n + 4,
        model_cost: u64::MAX - n,
    }
}

/// Every file of a folder, by name.
pub fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}
