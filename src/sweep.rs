//! `trenvx sweep`: many points, here or on many machines.

use crate::common::{Axes, Ended, Folders};
use crate::run::{How, WorldArg, finish, simulated};
use clap::{Args, ValueEnum};
use figures::metric::{self, Metric};
use figures::reduce::RunSummary;
use runs::{
    Executor, ExecutorError, Forecast, Index, Local, Options, Plan, Range, Shard, ShardReport, Slurm, Store,
};
use sim::SimulatedWorld as World;
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
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
    let mut plan = Plan::only(experiment, &args.points, &args.seeds)?;
    plan.globals = folders.options();
    if args.dry_run {
        return dry_run(folders, &plan, &args.how);
    }
    let store = Store::open(&folders.out)?;
    if args.shard.is_some() || args.worker {
        return part(folders, plan, args, &store);
    }
    let outcome = if args.merge {
        let survey = runs::survey(&plan, &store, &World, args.how.options().jobs);
        runs::merge(&plan, &folders.out, &store, &World, &survey)?
    } else {
        let executor: Box<dyn Executor> = match args.executor {
            ExecutorArg::Local => Box::new(Local { options: args.how.options() }),
            ExecutorArg::Slurm => Box::new(slurm(folders, &plan, args)?),
        };
        executor.execute(&plan, &folders.out, &store, &World).map_err(ended)?
    };
    let finished = finish(&plan, &outcome);
    if !outcome.done.is_empty() {
        eprintln!("one row per run: {}", table(folders, &plan, &store)?.display());
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
    let options = Options { wait: !args.worker, ..args.how.options() };
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

/// Prints what would be run, what is in the store, and what the rest will probably take.
pub fn dry_run(folders: &Folders, plan: &Plan, how: &How) -> anyhow::Result<()> {
    let store = Store::open(&folders.out)?;
    let jobs = how.options().jobs;
    let survey = runs::survey(plan, &store, &World, jobs);
    let mut points: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for run in &survey.runs {
        let (there, all) = points.entry(run.job.point).or_default();
        *there += usize::from(run.is_done);
        *all += 1;
        if let Err(why) = &run.key {
            eprintln!("{}, seed {}: {why}", plan.point(run.job).label, run.job.seed);
        }
    }
    for (point, (there, all)) in &points {
        let label = &plan.experiment.points[*point].label;
        println!("{label:<40} {} to run, {there} in the store", all - there);
    }
    let missing = survey.missing().count();
    let all = survey.runs.len();
    println!("{} points, {all} runs: {} in the store, {missing} to run", points.len(), all - missing);
    let forecast = runs::forecast(plan, &survey, &store, SIM);
    print!("{}", told(&forecast, survey.building, jobs.min(missing.max(1))));
    Ok(())
}

/// A forecast in words.
fn told(forecast: &Forecast, building: Duration, jobs: usize) -> String {
    let Forecast { missing, known, earlier, .. } = *forecast;
    if missing == 0 {
        return String::new();
    }
    if known == 0 {
        return "no earlier run to go by: time, memory and disk are known after the first runs\n".to_owned();
    }
    let whose = if forecast.elsewhere { ", some on another machine or by another kind of build" } else { "" };
    let mut text = format!("by {earlier} earlier runs of the same systems and workloads{whose}:\n");
    let time = forecast.seconds.map(|seconds| building.as_secs_f64() + seconds / jobs as f64);
    text += &format!("  time    {} on {jobs} threads\n", range(time, seconds));
    match forecast.peak {
        Some((bytes, at_a_time)) => {
            let process = format!("a process with {at_a_time} runs at a time took");
            text += &format!("  memory  {process} {} (this one has {jobs})\n", size(bytes as f64));
        }
        None => text += "  memory  was not measured\n",
    }
    text += &format!("  disk    {}\n", range(forecast.bytes, size));
    if known < missing {
        text += &format!("  not included: {} runs that have no earlier run to go by\n", missing - known);
    }
    text
}

fn range(range: Range, shown: fn(f64) -> String) -> String {
    let Range { low, middle, high } = range;
    format!("about {} ({} to {})", shown(middle), shown(low), shown(high))
}

fn seconds(s: f64) -> String {
    match s {
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

fn size(bytes: f64) -> String {
    match bytes {
        b if b < 1e6 => format!("{:.0} kB", b / 1e3),
        b if b < 1e9 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.1} GB", b / 1e9),
    }
}

/// Writes the table of a sweep beside its index: one row per run, read one after the other, so that
/// memory does not grow with their number.
fn table(folders: &Folders, plan: &Plan, store: &Store) -> anyhow::Result<PathBuf> {
    let index = Index::load(&folders.out, &plan.experiment, SIM)?;
    let path = Index::path(&folders.out, &plan.experiment, SIM).with_extension("csv");
    let metrics: Vec<_> =
        Metric::all().into_iter().flat_map(|m| m.statistics().iter().map(move |&s| (m, s))).collect();
    let partial = path.with_extension(format!("csv-{}", std::process::id()));
    let mut file = BufWriter::new(std::fs::File::create(&partial)?);
    let axes = index.runs.first().map(|run| run.axes.iter().map(|(axis, _)| cell(axis)));
    let named = metrics.iter().map(|&(m, s)| format!("{} {} {}", m.name(), s.name(), metric::unit(m)));
    let header = axes.into_iter().flatten().chain(["seed".into(), "key".into()]).chain(named);
    writeln!(file, "{}", header.collect::<Vec<_>>().join(","))?;
    for run in &index.runs {
        let summary = RunSummary::of(&store.load(&run.key)?.record);
        let values = metrics.iter().map(|&(metric, statistic)| {
            summary.value(metric, statistic, None).map_or_else(String::new, |value| value.to_string())
        });
        let axes = run.axes.iter().map(|(_, value)| cell(value));
        let row = axes.chain([run.seed.to_string(), run.key.to_string()]).chain(values);
        writeln!(file, "{}", row.collect::<Vec<_>>().join(","))?;
    }
    file.into_inner()?.sync_all()?;
    std::fs::rename(&partial, &path)?;
    Ok(path)
}

/// A text as CSV has it.
fn cell(text: &str) -> String {
    let plain = !text.contains([',', '"', '\n', '\r']);
    if plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}
