//! `trenvx sweep`: many points, here or on many machines.

mod dry_run;
mod table;

use crate::common::{Axes, Ended, Folders};
use crate::config;
use crate::run::{How, WorldArg, finish, simulated};
use clap::{Args, ValueEnum};
pub use dry_run::dry_run;
use runs::{Executor, ExecutorError, Local, Options, Plan, Shard, ShardReport, Slurm, Store};
use sim::SimulatedWorld as World;
use std::path::Path;
use std::time::Duration;

/// Name of the one world of this version.
const SIM: &str = "sim";

/// Run many points: every combination of an experiment's axes and of those on the line, with every
/// seed, that is not in the store yet.
///
/// Several processes may work on one --out folder, on one machine or on many: each run is made once.
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// Name (`e04`) or file of the experiment.
    experiment: String,
    #[command(flatten)]
    axes: Axes,
    /// The world to run it in; default: the first that the experiment names.
    #[arg(long, value_enum)]
    world: Option<WorldArg>,
    #[command(flatten)]
    how: How,
    /// Only this point (repeat for several).
    #[arg(long = "point", value_name = "LABEL")]
    points: Vec<String>,
    /// This seed instead of the experiment's (repeat for several).
    #[arg(long = "seed", value_name = "N")]
    seeds: Vec<u64>,
    /// Print what would be run, what is in the store, and what the rest will probably take.
    #[arg(long, conflicts_with_all = ["shard", "worker", "merge"])]
    dry_run: bool,
    /// Print every value in force and where it was set, and run nothing.
    #[arg(long)]
    show_config: bool,
    /// Only this part of the runs, such as 2/4; every part may run anywhere, at any time.
    #[arg(long, value_name = "I/N", conflicts_with_all = ["worker", "merge", "executor"])]
    shard: Option<Shard>,
    /// Take runs that nobody is at until there are none, beside other workers.
    #[arg(long, conflicts_with_all = ["merge", "executor"])]
    worker: bool,
    /// Run nothing: note what shards and workers have made, list what is missing.
    #[arg(long, conflicts_with = "executor")]
    merge: bool,
    /// Where the runs are made.
    #[arg(long, value_enum, default_value_t = ExecutorArg::Local)]
    executor: ExecutorArg,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExecutorArg {
    /// Here.
    Local,
    /// An array of shards on a Slurm cluster.
    Slurm,
}

/// How a cluster is used.
#[derive(Clone, Debug, Args)]
struct Cluster {
    /// Shards of the array (slurm).
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    shards: u32,
    /// The array's tasks are workers: each takes any run that nobody is at (slurm).
    #[arg(long)]
    workers: bool,
    /// Another option for sbatch, such as `--partition=short` (repeat for several).
    #[arg(long = "sbatch", value_name = "OPTION", allow_hyphen_values = true)]
    options: Vec<String>,
    /// Times that what is missing is submitted again (slurm).
    #[arg(long, value_name = "N", default_value_t = 2)]
    retries: u32,
    /// Seconds between two looks at the queue (slurm).
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = poll)]
    poll: Duration,
}

/// Runs the sweep, or the part of it that is asked for.
pub fn run(folders: &Folders, args: &SweepArgs) -> anyhow::Result<()> {
    simulated(args.world)?;
    let typed = args.axes.with(&args.how.sets);
    let experiment = folders.swept(&args.experiment, args.how.tier.into(), &typed)?;
    if args.show_config {
        config::show(&experiment);
        return Ok(());
    }
    let mut plan = Plan::only(experiment, &args.points, &args.seeds)?;
    plan.globals = folders.options();
    if args.dry_run {
        return dry_run(folders, &plan, &args.how, &World);
    }
    let store = Store::open(&folders.out)?;
    if args.shard.is_some() || args.worker {
        return part(folders, plan, args, &store);
    }
    let outcome = if args.merge {
        let survey = runs::survey(&plan, &store, &World, args.how.options(folders)?.jobs);
        runs::merge(&plan, &folders.out, &store, &World, &survey)?
    } else {
        let executor: Box<dyn Executor> = match args.executor {
            ExecutorArg::Local => Box::new(Local { options: args.how.options(folders)? }),
            ExecutorArg::Slurm => Box::new(slurm(folders, &plan, args)?),
        };
        executor.execute(&plan, &folders.out, &store, &World).map_err(ended)?
    };
    let finished = finish(&plan, &outcome);
    if !outcome.done.is_empty() {
        eprintln!("one row per run: {}", table::table(folders, &plan, &store)?.display());
    }
    finished
}

/// A shard or a worker: runs its part and reports on it, for whoever merges.
fn part(folders: &Folders, plan: Plan, args: &SweepArgs, store: &Store) -> anyhow::Result<()> {
    let plan = match args.shard {
        Some(shard) => plan.shard(shard),
        // Workers that begin apart seldom meet.
        None => plan.rotated(scattered()),
    };
    // A worker whose last runs are other workers' has nothing left to do; a shard's runs are its own
    // business, and it takes them over from whoever dies.
    let options = Options { wait: !args.worker, ..args.how.options(folders)? };
    let outcome = runs::execute(&plan, &folders.out, store, &World, &options)?;
    ShardReport::new(args.shard, &outcome).save(&folders.out, &plan, SIM)?;
    let finished = finish(&plan, &outcome);
    if outcome.elsewhere > 0 {
        eprintln!("  left to the processes that are at them: {} runs", outcome.elsewhere);
    }
    finished
}

/// A number that other processes, here or elsewhere, hardly have.
fn scattered() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // Where a worker begins reaches no result.
    RandomState::new().hash_one(std::process::id())
}

/// A time between two looks, in seconds.
fn poll(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|s| (0.1..=3600.0).contains(s));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "write seconds, from 0.1 to 3600".to_owned())
}

fn slurm(folders: &Folders, plan: &Plan, args: &SweepArgs) -> anyhow::Result<Slurm> {
    let absolute = |path: &Path| std::path::absolute(path).map(|path| path.display().to_string());
    let mut plan = plan.clone();
    plan.experiment.file = absolute(&plan.experiment.file)?.into();
    plan.globals = ["--configs", &absolute(&folders.configs()?)?, "--out", &absolute(&folders.out)?]
        .map(str::to_owned)
        .to_vec();
    let program = std::env::current_exe()?.display().to_string();
    let mut command = plan.command_of("sweep", &program, SIM);
    command.extend(args.points.iter().flat_map(|label| ["--point".to_owned(), label.clone()]));
    command.extend(args.seeds.iter().flat_map(|seed| ["--seed".to_owned(), seed.to_string()]));
    Ok(Slurm {
        command,
        shards: args.cluster.shards,
        workers: args.cluster.workers,
        jobs: args.how.jobs.unwrap_or(1).max(1),
        options: args.cluster.options.clone(),
        retries: args.cluster.retries,
        poll: args.cluster.poll,
        progress: !args.how.quiet,
    })
}

/// What the cluster lacks is the environment's fault.
fn ended(error: ExecutorError) -> anyhow::Error {
    match error {
        ExecutorError::Store(error) => error.into(),
        error => Ended { code: 3, message: error.to_string() }.into(),
    }
}
