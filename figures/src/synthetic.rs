//! Invented runs for tests: log-normal latencies, bursty memory. The numbers mean nothing.

use crate::figure::{FigureKind, FigureSpec, Reported};
use crate::input::{ExperimentData, PointData, SeedRun};
use crate::metric::{Metric, Statistic};
use crate::reduce::{RunSummary, merge};
use configs::Tier;
use configs::claims::{Claim, Expectation, Functions, Measure};
use platform::memory::{ByClass, MemoryClass};
use platform::records::{
    AgentRecord, Distribution, FunctionRecord, MemoryRecord, MemorySample, RunRecord, StartKind, StartRecord,
};
use statrs::distribution::{ContinuousCDF, Normal};
use traces::{Bytes, Duration, Instant};

pub const FUNCTIONS: [&str; 11] = [
    "chameleon",
    "crypto",
    "dynamic-html",
    "image-flip-rotate",
    "image-processing",
    "image-recognition",
    "js-json-serde",
    "json-serde",
    "pagerank",
    "pyaes",
    "video-processing",
];
pub const SYSTEMS: [&str; 6] = ["faasd", "criu", "reap+", "faasnap+", "t-cxl", "t-rdma"];

/// An invented experiment.
pub struct Shape {
    pub functions: usize,
    pub seeds: u64,
    pub panels: Vec<&'static str>,
    pub systems: Vec<&'static str>,
    /// Systems without any run.
    pub missing: Vec<&'static str>,
    pub completed: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            functions: 11,
            seeds: 5,
            panels: vec!["W1", "W2"],
            systems: SYSTEMS.into(),
            missing: Vec::new(),
            completed: 60,
        }
    }
}

/// An invented run.
pub struct RunShape {
    pub functions: usize,
    pub system: &'static str,
    pub seed: u64,
    /// Completed invocations of each function.
    pub completed: u64,
}

impl Default for RunShape {
    fn default() -> Self {
        Self { functions: 3, system: "t-cxl", seed: 1, completed: 50 }
    }
}

pub fn experiment(shape: &Shape) -> ExperimentData {
    let points = shape.panels.iter().flat_map(|panel| {
        shape.systems.iter().map(move |system| {
            let seeds = if shape.missing.contains(system) { 0 } else { shape.seeds };
            let run = |seed| SeedRun {
                seed,
                key: format!("{panel}-{system}-{seed}"),
                cpu_s: None,
                run: RunSummary::of(&run(&RunShape {
                    functions: shape.functions,
                    system,
                    seed: seed + 100 * panel.len() as u64 + u64::from(panel.ends_with('2')),
                    completed: shape.completed,
                })),
            };
            PointData {
                label: format!("{panel} {system}").trim().to_owned(),
                panel: (*panel).to_owned(),
                system: (*system).to_owned(),
                swept: String::new(),
                axes: vec![
                    ("panel".to_owned(), (*panel).to_owned()),
                    ("system".to_owned(), (*system).to_owned()),
                ],
                numbers: Vec::new(),
                planned: shape.seeds as usize,
                seeds: (1..=seeds).map(run).collect(),
                missing: None,
            }
        })
    });
    ExperimentData {
        id: "e04".into(),
        title: "W1 and W2".into(),
        paper: Some("Fig. 10".into()),
        question: "How much faster are invocations when sandboxes are repurposed?".into(),
        tier: "kick".into(),
        figures: FigureKind::ALL.map(|kind| FigureSpec::new(kind, format!("e04-{}", kind.name()))).into(),
        points: points.collect(),
        stand_ins: Vec::new(),
    }
}

/// Values that a paper might have reported.
pub fn paper(panel: &str, values: &[(&str, f64)]) -> Vec<Reported> {
    let value = |&(system, value): &(&str, f64)| Reported {
        panel: panel.into(),
        system: system.into(),
        statistic: None,
        value: Some(value),
        text: format!("{system} {value}"),
    };
    values.iter().map(value).collect()
}

pub fn run(shape: &RunShape) -> RunRecord {
    let (startup_ms, cold, gib) = match shape.system {
        "faasd" => (820.0, 0.5, 42.0),
        "criu" => (350.0, 0.4, 38.0),
        "reap+" => (70.0, 0.35, 36.0),
        "faasnap+" => (42.0, 0.35, 35.0),
        "t-cxl" => (8.0, 0.0, 17.0),
        "t-rdma" => (9.5, 0.0, 20.0),
        other => (20.0 + other.len() as f64, 0.1, 25.0),
    };
    let mut starts: [StartRecord; StartKind::COUNT] = Default::default();
    let mut functions = Vec::new();
    for index in 0..shape.functions {
        let wobble = wobble(shape.seed, index as u64);
        let service_ms = 20.0 * 1.6f64.powi((index % 11) as i32) * (1.0 + 0.05 * wobble);
        let startup = log_normal(startup_ms * (1.0 + 0.2 * wobble), 0.5, shape.completed);
        let service = log_normal(service_ms, 0.25, shape.completed);
        let end_to_end = add(&startup, &service);
        let kind = if cold > 0.0 { StartKind::Cold } else { StartKind::Repurposed };
        let all = &mut starts[kind as usize];
        all.startup = merge([&all.startup, &distribution(&startup)].into_iter());
        all.service = merge([&all.service, &distribution(&service)].into_iter());
        all.queueing = merge([&all.queueing, &distribution(&vec![0; startup.len()])].into_iter());
        all.end_to_end = merge([&all.end_to_end, &distribution(&end_to_end)].into_iter());
        let mut counts = [0; StartKind::COUNT];
        counts[StartKind::Warm as usize] = (shape.completed as f64 * (0.6 - cold / 2.0)) as u64;
        counts[kind as usize] = shape.completed - counts[StartKind::Warm as usize];
        let copy = index / FUNCTIONS.len();
        functions.push(FunctionRecord {
            name: match copy {
                0 => FUNCTIONS[index].to_owned(),
                _ => format!("{}_{copy}", FUNCTIONS[index % FUNCTIONS.len()]),
            },
            outcomes: [shape.completed, 1, 0, 2, 0],
            starts: counts,
            end_to_end: distribution(&end_to_end),
            startup: distribution(&startup),
            agent: Some(agent(index as u64, shape)),
            ..FunctionRecord::default()
        });
    }
    RunRecord { functions, starts, memory: memory(gib, shape.seed), ..RunRecord::default() }
}

/// Sandboxes that cost 10 % of what the model costs for the first function, 20 % for the second, ….
fn agent(index: u64, shape: &RunShape) -> AgentRecord {
    AgentRecord {
        completed: shape.completed,
        prompt_tokens: 1_000 * shape.completed,
        answer_tokens: 100 * shape.completed,
        llm_wait: Duration::from_secs(9 * shape.completed),
        tool_time: Duration::from_secs(shape.completed),
        browser_time: Duration::ZERO,
        held: Duration::from_secs(10 * shape.completed),
        sandbox_cost: (index + 1) * 1_000_000 * shape.completed,
        model_cost: 10_000_000 * shape.completed,
    }
}

fn memory(gib: f64, seed: u64) -> MemoryRecord {
    let gib = gib * (1.0 + 0.04 * wobble(seed, 99));
    let samples: Vec<MemorySample> = (0..=343u32)
        .map(|i| {
            let phase = f64::from(i * 5) / 143.0 * std::f64::consts::TAU;
            let level = gib * (0.45 + 0.25 * phase.sin() + 0.05 * wobble(seed, i.into()));
            let mut bytes = ByClass::default();
            bytes.add(MemoryClass::InstancePrivate, Bytes::from_gib(1).scale(level));
            let at = Instant::from_nanos(u64::from(i) * 5_000_000_000);
            MemorySample { at, bytes, busy: 1, idle: 1, core_time: Duration::from_secs(1) }
        })
        .collect();
    let mut gib_seconds = [0.0; MemoryClass::COUNT];
    gib_seconds[0] = gib * 0.45 * 1430.0;
    MemoryRecord {
        peak_local: Bytes::from_gib(1).scale(gib * 0.74),
        gib_seconds,
        measured: Duration::from_secs(1430),
        samples,
        ..MemoryRecord::default()
    }
}

/// Between -1 and 1.
fn wobble(seed: u64, index: u64) -> f64 {
    let mixed = (seed ^ index.rotate_left(17)).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

fn log_normal(median_ms: f64, sigma: f64, n: u64) -> Vec<u64> {
    let normal = Normal::new(0.0, 1.0).unwrap();
    let at = |i| sigma * normal.inverse_cdf((i as f64 + 0.5) / n as f64);
    (0..n).map(|i| (median_ms * 1e3 * at(i).exp()) as u64).collect()
}

fn add(a: &[u64], b: &[u64]) -> Vec<u64> {
    a.iter().zip(b.iter().rev()).map(|(x, y)| x + y).collect()
}

fn distribution(values: &[u64]) -> Distribution {
    let ones: Vec<Distribution> =
        values.iter().map(|&v| Distribution { buckets: vec![(rounded(v), 1)], sum_us: v }).collect();
    merge(ones.iter())
}

/// Two significant digits, as the histograms of runs keep.
fn rounded(us: u64) -> u64 {
    let step = (us.max(1).ilog2().saturating_sub(7) as u64).min(40);
    us >> step << step
}

/// Peak local memory in `W1`.
pub fn peak() -> Measure {
    Measure {
        metric: Metric::Local,
        statistic: Statistic::Peak,
        functions: Functions::Together,
        panels: vec!["W1".into()],
        starts: Vec::new(),
    }
}

pub fn claim(id: &str, measure: Measure, expectation: Expectation) -> Claim {
    Claim {
        id: id.into(),
        text: "T-CXL needs less than its rivals".into(),
        paper: "Fig. 11a".into(),
        is_goal: false,
        source: "the paper's abstract".into(),
        experiment: "e04".into(),
        not_run: None,
        tier: Tier::Kick,
        measure,
        expectation,
        measured: None,
        published: Some(0.48),
        why_yours_may_differ: "Service times were measured on another machine.".into(),
    }
}
