//! `trenvx bench`: this build against baselines that are measured in the same run.

use crate::common::Folders;
use clap::{Args, Subcommand};
use configs::Tier;
use std::time::Instant;
use traces::generate::zipf;
use traces::{Bytes, Duration};

/// Measure this build against baselines in the same run.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Reading, importing and generating workloads.
    Traces(TracesArgs),
    /// Simulating the standard job: 1,000 functions, Zipf popularity, fixed 10-minute keep-alive.
    Sim(SimArgs),
}

#[derive(Debug, Args)]
struct SimArgs {
    /// Invocations over 24 hours.
    #[arg(long, default_value_t = 1_000_000)]
    invocations: u64,
    /// Nodes of 64 GiB and 64 cores.
    #[arg(long, default_value_t = 100)]
    nodes: u32,
    /// Systems to run; default: all.
    #[arg(long = "system", value_name = "NAME")]
    systems: Vec<String>,
    /// Repetitions of each measurement; the median counts.
    #[arg(long, default_value_t = 5)]
    repetitions: usize,
}

#[derive(Debug, Args)]
struct TracesArgs {
    /// Repetitions of each measurement; the median counts.
    #[arg(long, default_value_t = 5)]
    repetitions: usize,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Runs `trenvx bench`.
///
/// # Errors
/// If a measurement cannot write its temporary file.
pub fn run(folders: &Folders, args: BenchArgs) -> anyhow::Result<()> {
    match args.command {
        Command::Traces(args) => traces(&args),
        Command::Sim(args) => sim(folders, &args),
    }
}

fn traces(args: &TracesArgs) -> anyhow::Result<()> {
    let sizes = traces::bench::Sizes { repetitions: args.repetitions, ..traces::bench::Sizes::default() };
    let rows = traces::bench::run(sizes, &std::env::temp_dir())?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    println!(
        "{:<32} {:>10} {:<14} {:>10} {:>7}  baseline",
        "measurement", "rate", "unit", "baseline", "ratio"
    );
    for row in rows {
        println!(
            "{:<32} {:>10.2} {:<14} {:>10.2} {:>7.2}  {}",
            row.name, row.rate, row.unit, row.baseline_rate, row.ratio_to_baseline, row.baseline
        );
    }
    Ok(())
}

/// Simulates the standard job under each system, and the bare loop on the same invocations in turn.
fn sim(folders: &Folders, args: &SimArgs) -> anyhow::Result<()> {
    let job = zipf::Job::standard(args.invocations, 1);
    let workload = job.generate()?;
    let ttl = Duration::from_secs(600);
    println!(
        "{} invocations of {} functions on {} nodes, one core",
        args.invocations, job.functions, args.nodes
    );
    println!(
        "{:<12} {:>12} {:>14} {:>10} {:>14} {:>12}",
        "system", "M inv/s", "ns/invocation", "bare loop", "of bare loop", "events/inv"
    );
    for point in folders.experiment("e04", Tier::Kick, &[])?.points {
        let mut spec = point.spec;
        if !args.systems.is_empty() && !args.systems.contains(&spec.system.name) {
            continue;
        }
        spec.cluster.nodes = args.nodes;
        spec.cluster.cores = 64;
        spec.cluster.dram = Bytes::from_gib(64);
        spec.cluster.memory_cap = Bytes::from_gib(64);
        spec.keep_alive.ttl = ttl;
        spec.output.memory_every = Duration::from_secs(60);
        let (mut model, mut bare, mut events) = (Vec::new(), Vec::new(), 0);
        for _ in 0..args.repetitions.max(1) {
            let began = Instant::now();
            let play = sim::Play {
                functions: &workload.functions,
                invocations: workload.invocations.iter().copied(),
                burn_in: Duration::ZERO,
                span: workload.span,
                seed: 1,
            };
            events = sim::simulate(&spec, play).counters.events;
            model.push(began.elapsed().as_secs_f64());
            let began = Instant::now();
            let cold = sim::bare_loop(workload.functions.len(), workload.invocations.iter().copied(), ttl);
            std::hint::black_box(cold);
            bare.push(began.elapsed().as_secs_f64());
        }
        let (model, bare, n) = (median(model), median(bare), args.invocations as f64);
        println!(
            "{:<12} {:>12.2} {:>14.0} {:>10.2} {:>14.3} {:>12.2}",
            spec.system.name,
            n / model / 1e6,
            model / n * 1e9,
            n / bare / 1e6,
            bare / model,
            events as f64 / n
        );
    }
    Ok(())
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
