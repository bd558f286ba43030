//! `trenvx run`: every point of an experiment with every seed.

use crate::common::{Ended, Folders, TierArg};
use crate::report::{self, Loaded};
use clap::{Args, ValueEnum};
use runs::{Index, Options, Outcome, Plan, Store};

/// Run an experiment: every point with every seed that is not in the store yet.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Name (`e04`) or file of the experiment.
    experiment: String,
    /// The world to run it in; default: the first that the experiment names.
    #[arg(long, value_enum)]
    world: Option<WorldArg>,
    #[command(flatten)]
    pub how: How,
    /// Only this point (repeat for several).
    #[arg(long = "point", value_name = "LABEL")]
    points: Vec<String>,
    /// This seed instead of the experiment's (repeat for several).
    #[arg(long = "seed", value_name = "N")]
    seeds: Vec<u64>,
    /// Print what would be run, and what is in the store already.
    #[arg(long)]
    dry_run: bool,
}

/// How experiments are run.
#[derive(Clone, Debug, Args)]
pub struct How {
    /// How much of it.
    #[arg(long, value_enum, default_value_t = TierArg::Kick)]
    pub tier: TierArg,
    /// Another value for a key, such as `cluster.memory_cap='32 GiB'` (repeat for several).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Runs at a time; default: one a processor.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Stop at the first run that fails.
    #[arg(long)]
    fail_fast: bool,
    /// No progress.
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WorldArg {
    /// The simulator.
    Sim,
    /// The emulator.
    Emu,
}

impl How {
    fn options(&self) -> Options {
        let default = Options::default();
        Options {
            jobs: self.jobs.unwrap_or(default.jobs).max(1),
            keep_going: !self.fail_fast,
            progress: !self.quiet,
        }
    }
}

/// Runs the experiment and says what came of it.
pub fn run(folders: &Folders, args: &RunArgs) -> anyhow::Result<()> {
    if args.world == Some(WorldArg::Emu) {
        let message = "the emulated world runs no experiment in this version: use --world sim".to_owned();
        return Err(Ended { code: 3, message }.into());
    }
    let experiment = folders.experiment(&args.experiment, args.how.tier.into(), &args.how.sets)?;
    let plan = Plan::only(experiment, &args.points, &args.seeds)?;
    if args.dry_run {
        return dry_run(folders, &plan);
    }
    let outcome = execute(folders, &plan, &args.how)?;
    let finished = finish(&plan, &outcome);
    if !outcome.done.is_empty() {
        let name = plan.experiment.file.display().to_string();
        report::table(&Loaded::new(folders, plan.experiment)?);
        eprintln!("figures: trenvx figure {name} --tier {}", args.how.tier.name());
        outcome
            .timelines(&Store::open(&folders.out)?)
            .iter()
            .for_each(|path| eprintln!("timeline for ui.perfetto.dev: {}", path.display()));
    }
    finished
}

/// Runs what the plan asks for and the store does not have.
pub fn execute(folders: &Folders, plan: &Plan, how: &How) -> anyhow::Result<Outcome> {
    let store = Store::open(&folders.out)?;
    Ok(runs::execute(plan, &folders.out, &store, &sim::SimulatedWorld, &how.options())?)
}

/// Says what came of a plan; an error if anything failed.
pub fn finish(plan: &Plan, outcome: &Outcome) -> anyhow::Result<()> {
    let cached = outcome.done.iter().filter(|done| done.cached).count();
    eprintln!(
        "{}: {} runs done ({} new, {cached} in the store before), {} failed",
        plan.experiment.id,
        outcome.done.len(),
        outcome.done.len() - cached,
        outcome.failed.len(),
    );
    for failed in &outcome.failed {
        eprintln!(
            "  failed: {}, seed {}: {}\n    rerun: {}",
            failed.label, failed.job.seed, failed.error, failed.rerun
        );
    }
    if outcome.failed.is_empty() {
        return Ok(());
    }
    Err(Ended { code: 1, message: format!("{} runs failed", outcome.failed.len()) }.into())
}

/// Prints what would be run. What is in the store is known from the last run of this experiment
/// with the same tier and `--set`; a changed input shows when it is run.
fn dry_run(folders: &Folders, plan: &Plan) -> anyhow::Result<()> {
    let experiment = &plan.experiment;
    let index = Index::load(&folders.out, &experiment.id, experiment.tier, "sim", &experiment.sets);
    let known = index.map(|index| index.runs).unwrap_or_default();
    let mut missing = 0;
    for job in &plan.jobs {
        let label = &plan.point(*job).label;
        let there = known.iter().any(|run| run.seed == job.seed && run.label == *label);
        missing += usize::from(!there);
        println!("{:<40} seed {:<6} {}", label, job.seed, if there { "in the store" } else { "to run" });
    }
    println!("{} runs, {} in the store, {missing} to run", plan.jobs.len(), plan.jobs.len() - missing);
    Ok(())
}
