//! Golden decisions: one trace of 1000 invocations, through every policy. When a number moves, what
//! the control plane decides has changed: say why in the commit. `INSTA_UPDATE=always` writes the table
//! anew.

use crate::clock::play;
use crate::world::Fate;
use crate::{KEEP_ALIVES, PLACEMENTS};
use platform::policy::keep_alive::KeepAliveParameters;
use platform::policy::{FunctionFacts, Placement};
use platform::system::{KeepAlive, system};
use platform::{ControlConfig, NodeId};
use std::fmt::Write;
use traces::rng::Streams;
use traces::{Bytes, Duration, FunctionId, Instant};

/// Whole numbers that never change: the constants of Knuth's MMIX generator.
struct Numbers(u64);

impl Numbers {
    /// One below `n`.
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

const FUNCTIONS: u64 = 20;

/// Functions of 64 to 512 MiB, two tenants and three runtimes, and what an invocation takes: 1 to
/// 20 s after a start of 0.5 to 4.5 s.
fn functions(numbers: &mut Numbers) -> (Vec<FunctionFacts>, Vec<Duration>) {
    let facts = |index| FunctionFacts {
        declared: Bytes::from_mib(64 << numbers.below(4)),
        tenant: index % 2,
        runtime: index % 3,
        runtime_memory: Bytes::from_mib(48),
        start_cost: Duration::from_millis(500 + numbers.below(4000)),
    };
    let facts = (0..FUNCTIONS as u32).map(facts).collect();
    (facts, (0..FUNCTIONS).map(|_| Duration::from_secs(1 + numbers.below(20))).collect())
}

/// 1000 arrivals in about four hours. In turn: a frequent function (0 to 3 min between arrivals), a
/// punctual one (every 10 min), a rare one (0 to 40 min) and a bursty one (5 at once every 30 min).
fn arrivals(numbers: &mut Numbers) -> Vec<(Instant, FunctionId)> {
    let mut arrivals = Vec::new();
    for function in 0..FUNCTIONS {
        let mut at = numbers.below(600_000);
        while at < 5 * 3_600_000 {
            let (gap, size) = match function % 4 {
                0 => (numbers.below(180_000), 1),
                1 => (600_000, 1),
                2 => (numbers.below(2_400_000), 1),
                _ => (1_800_000, 5),
            };
            let arrival = (Instant::ZERO + Duration::from_millis(at), FunctionId(function as u32));
            arrivals.extend(std::iter::repeat_n(arrival, size));
            at += gap;
        }
    }
    arrivals.sort();
    arrivals.truncate(1000);
    arrivals
}

/// One row of the table: what became of the trace.
fn row(name: &str, keep_alive: KeepAlive, placement: Placement, nodes: u32, memory_cap: Bytes) -> String {
    let mut numbers = Numbers(20);
    let (functions, service) = functions(&mut numbers);
    let trace = arrivals(&mut numbers);
    assert_eq!(trace.len(), 1000);
    let mut by_function = vec![Vec::new(); functions.len()];
    trace.iter().for_each(|&(at, function)| by_function[function.index()].push(at));
    let mut system = system(name).expect("a registered system");
    system.keep_alive = keep_alive;
    system.prepopulated = 2;
    let config = ControlConfig {
        system,
        placement,
        keep_alive: KeepAliveParameters::default(),
        nodes,
        racks: nodes / 2,
        memory_cap,
        queue_timeout: Duration::from_secs(5),
        share_within_tenant: false,
        functions,
        arrivals: by_function,
        streams: Streams::new(1),
    };
    let world = play(config, &trace, &service);
    let fates = world.invocations.iter().filter(|(_, fate)| *fate == Fate::Finished).count();
    let counts = world.counts;
    let [cold, restored, repurposed, warm] = counts.runs;
    assert_eq!(counts.runs.iter().sum::<u32>() + counts.timed_out, 1000);
    assert_eq!(fates as u32 + counts.timed_out, 1000);
    // Which nodes the sandboxes that were started went to.
    let mut starts = vec![0; nodes as usize];
    let place = |command: &platform::Command| match command {
        platform::Command::Start { node: NodeId(node), .. } => Some(*node),
        _ => None,
    };
    world.log.iter().filter_map(place).for_each(|node| starts[node as usize] += 1);
    let starts: Vec<String> = starts.iter().map(u32::to_string).collect();
    format!(
        "{cold:>6}{restored:>10}{repurposed:>12}{warm:>6}{:>9}{:>9}{:>9}{:>12}{:>8}{:>11}   {}",
        counts.evicted,
        counts.expired,
        counts.demoted,
        counts.pre_warmed,
        counts.queued,
        counts.timed_out,
        starts.join(" "),
    )
}

#[test]
fn decisions_on_a_trace_of_1000_invocations() {
    let mut table = String::new();
    let mut write = |system: &str, policy: &str, row: &str| {
        let line = format!("{system:<10}{policy:<24}{row}");
        writeln!(table, "{}", line.trim_end()).expect("room for a line");
    };
    let head = "  cold  restored  repurposed  warm  evicted  expired  demoted  pre-warmed  queued  timed-out   starts by node";
    // Two nodes that hold about 60 % of one sandbox of each function.
    let tight = Bytes::from_mib(1280);
    write("system", "keep-alive", head);
    for name in ["faasd", "t-cxl"] {
        for keep_alive in KEEP_ALIVES {
            write(name, keep_alive.word(), &row(name, keep_alive, Placement::SandboxAware, 2, tight));
        }
    }
    write("", "", "");
    write("system", "placement", head);
    for name in ["criu", "t-cxl"] {
        for (word, placement) in PLACEMENTS {
            let keep_alive = system(name).expect("a registered system").keep_alive;
            write(name, word, &row(name, keep_alive, placement, 4, tight));
        }
    }
    insta::assert_snapshot!("decisions", table);
}
