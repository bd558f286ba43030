//! `trenvx bench sim`: the standard job under each system, and the bare loop on the same invocations in
//! turn.

use crate::common::Folders;
use anyhow::Context;
use clap::Args;
use configs::{Spec, Tier};
use platform::policy::Placement;
use platform::records::RunRecord;
use std::time::Instant;
use traces::generate::zipf::Job;
use traces::workload::Workload;
use traces::{Bytes, Duration};

#[derive(Debug, Args)]
pub struct SimArgs {
    /// Invocations over 24 hours.
    #[arg(long, default_value_t = 1_000_000)]
    invocations: u64,
    /// Nodes of 64 GiB and 64 cores.
    #[arg(long, default_value_t = 100)]
    nodes: u32,
    /// Functions.
    #[arg(long, default_value_t = 1000)]
    functions: u32,
    /// Racks; with more than one, every function stays in its home rack.
    #[arg(long, default_value_t = 1)]
    racks: u32,
    /// Systems to run; default: all of TrEnv's container figures.
    #[arg(long = "system", value_name = "NAME")]
    systems: Vec<String>,
    /// Repetitions of each measurement; the median counts.
    #[arg(long, default_value_t = 5)]
    repetitions: usize,
    /// Draw the invocations as they are played, instead of holding them in memory: for jobs of any
    /// length. The rates then include the drawing, and no bare loop is run.
    #[arg(long)]
    stream: bool,
    /// Threads that share the racks, with --stream.
    #[arg(long, default_value_t = 1, requires = "stream")]
    threads: usize,
}

/// dslab-faas (commit a6c155e), the fastest published simulator of its kind, against the bare loop of
/// the same machine: standard job of 10 M invocations, 0.31 M/s (median of 3) where the bare loop makes
/// 23.5 M/s (median of 5).
const PEER_OF_BARE_LOOP: f64 = 0.31 / 23.5;

/// Runs it.
///
/// # Errors
/// If a system is not known, or the racks do not divide the nodes.
pub fn run(folders: &Folders, args: &SimArgs) -> anyhow::Result<()> {
    let mut job = Job::standard(args.invocations, 1);
    job.functions = args.functions;
    anyhow::ensure!(
        args.racks > 0 && args.nodes.is_multiple_of(args.racks),
        "{} nodes do not fill {} racks equally: choose a divisor",
        args.nodes,
        args.racks
    );
    println!(
        "{} invocations of {} functions on {} nodes in {} racks, {} thread(s)",
        args.invocations, job.functions, args.nodes, args.racks, args.threads
    );
    let specs = specs(folders, args)?;
    if args.stream { streamed(args, &job, &specs) } else { held(args, &job, &specs) }
}

fn held(args: &SimArgs, job: &Job, specs: &[Spec]) -> anyhow::Result<()> {
    let workload = job.generate()?;
    println!(
        "{:<14} {:>9} {:>14} {:>10} {:>14} {:>12} {:>11}",
        "system", "M inv/s", "ns/invocation", "bare loop", "of bare loop", "x dslab-faas", "events/inv"
    );
    for spec in specs {
        let (mut model, mut bare, mut events) = (Vec::new(), Vec::new(), 0);
        for _ in 0..args.repetitions.max(1) {
            let began = Instant::now();
            events =
                sim::simulate(spec, play(&workload, workload.invocations.iter().copied())).counters.events;
            model.push(began.elapsed().as_secs_f64());
            let began = Instant::now();
            let invocations = workload.invocations.iter().copied();
            std::hint::black_box(sim::bare_loop(workload.functions.len(), invocations, spec.keep_alive.ttl));
            bare.push(began.elapsed().as_secs_f64());
        }
        let (model, bare, n) = (median(model), median(bare), args.invocations as f64);
        println!(
            "{:<14} {:>9.2} {:>14.0} {:>10.2} {:>14.3} {:>12.1} {:>11.2}",
            spec.system.name,
            n / model / 1e6,
            model / n * 1e9,
            n / bare / 1e6,
            bare / model,
            bare / model / PEER_OF_BARE_LOOP,
            events as f64 / n
        );
    }
    println!("x dslab-faas: times its rate, each against the bare loop of its own machine");
    Ok(())
}

fn streamed(args: &SimArgs, job: &Job, specs: &[Spec]) -> anyhow::Result<()> {
    let head = job.head()?;
    let first = job.invocations()?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(args.threads).build()?;
    println!(
        "{:<14} {:>9} {:>9} {:>14} {:>11} {:>14}",
        "system", "seconds", "M inv/s", "ns/invocation", "events/inv", "peak RSS MB"
    );
    for spec in specs {
        let mut seconds = Vec::new();
        let mut record = RunRecord::default();
        for _ in 0..args.repetitions.max(1) {
            let began = Instant::now();
            let play = play(&head, || first.clone());
            record = pool.install(|| sim::simulate_sharded(spec, &play, args.threads));
            seconds.push(began.elapsed().as_secs_f64());
        }
        let (seconds, n) = (median(seconds), args.invocations as f64);
        println!(
            "{:<14} {:>9.1} {:>9.2} {:>14.0} {:>11.2} {:>14}",
            spec.system.name,
            seconds,
            n / seconds / 1e6,
            seconds / n * 1e9,
            record.counters.events as f64 / n,
            peak_resident()?.0 / 1_000_000,
        );
    }
    Ok(())
}

fn play<I>(workload: &Workload, invocations: I) -> sim::Play<'_, I> {
    let (burn_in, span) = (Duration::ZERO, workload.span);
    sim::Play { functions: &workload.functions, invocations, burn_in, span, seed: 1 }
}

fn specs(folders: &Folders, args: &SimArgs) -> anyhow::Result<Vec<Spec>> {
    let named = args.systems.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let sets = if named.is_empty() { Vec::new() } else { vec![format!("systems=[{named}]")] };
    let points = folders.experiment("e04", Tier::Kick, &sets)?.points;
    Ok(points
        .into_iter()
        .map(|point| {
            let mut spec = point.spec;
            spec.cluster.nodes = args.nodes;
            spec.cluster.racks = args.racks;
            spec.cluster.cores = 64;
            spec.cluster.dram = Bytes::from_gib(64);
            spec.cluster.memory_cap = Bytes::from_gib(64);
            spec.keep_alive.ttl = Duration::from_secs(600);
            spec.output.memory_every = Duration::from_secs(60);
            spec.output.distributions = 1000;
            // Templates of thousands of functions: what is measured is the simulator, not the pool.
            spec.machine.cxl.capacity = Bytes::from_gib(1 << 20);
            if args.racks > 1 {
                spec.placement = Placement::RackLocality { spill: false };
            }
            spec
        })
        .collect())
}

/// The most memory this process has held.
fn peak_resident() -> anyhow::Result<Bytes> {
    let status = std::fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = line
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|kib| kib.trim().parse().ok())
        .context("no VmHWM in /proc/self/status")?;
    Ok(Bytes(kib * 1024))
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
