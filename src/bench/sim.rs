//! `trenvx bench sim`: how fast the simulator is. Without options a suite of named jobs, each in a
//! process of its own, with goals; with options one job under each system, and the bare loop on the
//! same invocations in turn.

mod job;
mod result;
mod suite;

use crate::common::Folders;
use anyhow::Context;
use clap::Args;
use configs::{Spec, Tier};
use platform::policy::Placement;
use platform::records::RunRecord;
use result::{Peer, Report};
use std::path::PathBuf;
use std::time::Instant;
use traces::generate::zipf::Job;
use traces::workload::Workload;
use traces::{Bytes, Duration};

#[derive(Debug, Args)]
pub struct SimArgs {
    #[command(flatten)]
    suite: SuiteArgs,
    #[command(flatten)]
    one: OneArgs,
}

/// The suite.
#[derive(Debug, Args)]
struct SuiteArgs {
    /// A thousandth of each job on a tenth of the nodes: shows that everything runs, judges nothing.
    #[arg(long)]
    quick: bool,
    /// Only these jobs of the suite.
    #[arg(long = "only", value_name = "JOB")]
    only: Vec<String>,
    /// Keep the results in this file, beside those of other jobs that are there.
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
    /// Measure nothing: show the results of that file.
    #[arg(long, value_name = "FILE")]
    show: Option<PathBuf>,
    /// Measure one job of the suite in this process, and print what it came to as JSON.
    #[arg(long, value_name = "JOB", hide = true)]
    job: Option<String>,
}

/// One job with parameters of its own.
#[derive(Debug, Args)]
#[command(next_help_heading = "One job, instead of the suite")]
struct OneArgs {
    /// Invocations over 24 hours [default: 1000000].
    #[arg(long)]
    invocations: Option<u64>,
    /// Nodes of 64 GiB and 64 cores [default: 100].
    #[arg(long)]
    nodes: Option<u32>,
    /// Functions [default: 1000].
    #[arg(long)]
    functions: Option<u32>,
    /// Racks; with more than one, every function stays in its home rack [default: 1].
    #[arg(long)]
    racks: Option<u32>,
    /// Systems to run; default: all of TrEnv's container figures.
    #[arg(long = "system", value_name = "NAME")]
    systems: Vec<String>,
    /// Repetitions of each measurement; the median counts [default: 5].
    #[arg(long)]
    repetitions: Option<usize>,
    /// Draw the invocations as they are played, instead of holding them in memory: for jobs of any
    /// length. The rates then include the drawing, and no bare loop is run.
    #[arg(long)]
    stream: bool,
    /// Threads that share the racks, with --stream [default: 1].
    #[arg(long, requires = "stream")]
    threads: Option<usize>,
}

impl OneArgs {
    fn is_asked_for(&self) -> bool {
        let numbers = [self.nodes, self.functions, self.racks].iter().any(Option::is_some);
        let counts = self.invocations.is_some() || self.repetitions.is_some();
        numbers || counts || self.stream || !self.systems.is_empty()
    }
}

/// Runs it.
///
/// # Errors
/// If a system or job is not known, the racks do not divide the nodes, or a job's process fails.
pub fn run(folders: &Folders, args: &SimArgs) -> anyhow::Result<()> {
    if let Some(file) = &args.suite.show {
        Report::load(file)?.show();
        return Ok(());
    }
    if let Some(name) = &args.suite.job {
        let measured = job::measure(folders, name, args.suite.quick)?;
        println!("{}", serde_json::to_string(&measured)?);
        return Ok(());
    }
    if args.one.is_asked_for() { one(folders, &args.one) } else { suite::run(folders, &args.suite) }
}

fn one(folders: &Folders, args: &OneArgs) -> anyhow::Result<()> {
    let mut job = Job::standard(args.invocations.unwrap_or(1_000_000), 1);
    job.functions = args.functions.unwrap_or(job.functions);
    let (nodes, racks) = (args.nodes.unwrap_or(100), args.racks.unwrap_or(1));
    anyhow::ensure!(
        racks > 0 && nodes.is_multiple_of(racks),
        "{nodes} nodes do not fill {racks} racks equally: choose a divisor"
    );
    println!(
        "{} invocations of {} functions on {nodes} nodes in {racks} racks, {} thread(s)",
        job.invocations,
        job.functions,
        args.threads.unwrap_or(1)
    );
    let specs = specs(folders, &args.systems, nodes, racks)?;
    if args.stream { streamed(args, &job, &specs) } else { held(args, &job, &specs) }
}

fn held(args: &OneArgs, job: &Job, specs: &[Spec]) -> anyhow::Result<()> {
    let workload = job.generate()?;
    let peer = Peer::of_standard_job(job.invocations);
    println!(
        "{:<14} {:>9} {:>14} {:>10} {:>14} {:>12} {:>11}",
        "system", "M inv/s", "ns/invocation", "bare loop", "of bare loop", "x dslab-faas", "events/inv"
    );
    for spec in specs {
        let (mut model, mut bare, mut events) = (Vec::new(), Vec::new(), 0);
        for _ in 0..args.repetitions.unwrap_or(5).max(1) {
            let began = Instant::now();
            events =
                sim::simulate(spec, play(&workload, workload.invocations.iter().copied())).counters.events;
            model.push(began.elapsed().as_secs_f64());
            let began = Instant::now();
            let invocations = workload.invocations.iter().copied();
            std::hint::black_box(sim::bare_loop(workload.functions.len(), invocations, spec.keep_alive.ttl));
            bare.push(began.elapsed().as_secs_f64());
        }
        let (model, bare, n) = (median(model), median(bare), job.invocations as f64);
        println!(
            "{:<14} {:>9.2} {:>14.0} {:>10.2} {:>14.3} {:>12.1} {:>11.2}",
            spec.system.name,
            n / model / 1e6,
            model / n * 1e9,
            n / bare / 1e6,
            bare / model,
            bare / model / peer.of_bare_loop(),
            events as f64 / n
        );
    }
    println!("x dslab-faas: times its rate ({}), each against the bare loop of its own machine", peer.job);
    Ok(())
}

fn streamed(args: &OneArgs, job: &Job, specs: &[Spec]) -> anyhow::Result<()> {
    let head = job.head()?;
    let first = job.invocations()?;
    let threads = args.threads.unwrap_or(1);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    println!(
        "{:<14} {:>9} {:>9} {:>14} {:>11} {:>14}",
        "system", "seconds", "M inv/s", "ns/invocation", "events/inv", "peak RSS MB"
    );
    for spec in specs {
        let mut seconds = Vec::new();
        let mut record = RunRecord::default();
        for _ in 0..args.repetitions.unwrap_or(5).max(1) {
            let began = Instant::now();
            let play = play(&head, || first.clone());
            record = pool.install(|| sim::simulate_sharded(spec, &play, threads));
            seconds.push(began.elapsed().as_secs_f64());
        }
        let (seconds, n) = (median(seconds), job.invocations as f64);
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

/// The standard job's cluster under each of the systems.
fn specs(folders: &Folders, systems: &[String], nodes: u32, racks: u32) -> anyhow::Result<Vec<Spec>> {
    let named = systems.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let sets = if named.is_empty() { Vec::new() } else { vec![format!("systems=[{named}]")] };
    let points = folders.experiment("e04", Tier::Kick, &sets)?.points;
    Ok(points
        .into_iter()
        .map(|point| {
            let mut spec = point.spec;
            spec.cluster.nodes = nodes;
            spec.cluster.racks = racks;
            spec.cluster.cores = 64;
            spec.cluster.dram = Bytes::from_gib(64);
            spec.cluster.memory_cap = Bytes::from_gib(64);
            spec.keep_alive.ttl = Duration::from_secs(600);
            spec.output.memory_every = Duration::from_secs(60);
            spec.output.distributions = 1000;
            // Templates of thousands of functions: what is measured is the simulator, not the pool.
            spec.machine.cxl.capacity = Bytes::from_gib(1 << 20);
            if racks > 1 {
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
