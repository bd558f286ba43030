//! `trenvx run`: every point of an experiment with every seed.

use crate::common::{Ended, Folders, TierArg};
use crate::report::{self, Loaded};
use clap::{Args, ValueEnum};
use configs::{Experiment, WorldKind};
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
pub enum WorldArg {
    /// The simulator.
    Sim,
    /// The emulator.
    Emu,
}

impl WorldArg {
    /// The world meant.
    pub fn kind(self) -> WorldKind {
        match self {
            Self::Sim => WorldKind::Sim,
            Self::Emu => WorldKind::Emu,
        }
    }
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
    let experiment = folders.experiment(&args.experiment, args.how.tier.into(), &args.how.sets)?;
    let world = args.world.map_or(experiment.worlds[0], WorldArg::kind);
    let experiment = in_world(experiment, world)?;
    let plan = Plan::only(experiment, &args.points, &args.seeds)?;
    if args.dry_run {
        return dry_run(folders, &plan, world);
    }
    let outcome = execute_in(folders, &plan, &args.how, world)?;
    let finished = finish(&plan, &outcome);
    if !outcome.done.is_empty() {
        let name = plan.experiment.file.display().to_string();
        report::table(&Loaded::new(folders, plan.experiment, world)?);
        let tier = args.how.tier.name();
        eprintln!("figures: trenvx figure {name} --world {} --tier {tier}", world.name());
    }
    finished
}

/// The experiment with the points of a world that it says can run it.
pub fn in_world(experiment: Experiment, world: WorldKind) -> anyhow::Result<Experiment> {
    anyhow::ensure!(
        experiment.worlds.contains(&world),
        "{}: the world \"{}\" cannot run it: its file says worlds = {:?}",
        experiment.id,
        world.name(),
        experiment.worlds.iter().map(|world| world.name()).collect::<Vec<_>>()
    );
    Ok(experiment.in_world(world))
}

/// Runs what the plan asks for and the store does not have, in the simulated world.
pub fn execute(folders: &Folders, plan: &Plan, how: &How) -> anyhow::Result<Outcome> {
    execute_in(folders, plan, how, WorldKind::Sim)
}

fn execute_in(folders: &Folders, plan: &Plan, how: &How, world: WorldKind) -> anyhow::Result<Outcome> {
    let store = Store::open(&folders.out)?;
    if world == WorldKind::Sim {
        return Ok(runs::execute(plan, &folders.out, &store, &sim::SimulatedWorld, &how.options())?);
    }
    let places = ::emu::functions::Places::here(&folders.out)?;
    let emulated = ::emu::world::EmulatedWorld::new(::emu::world::Installed(places));
    // One at a time: a second run would be part of what the first one measures.
    Ok(runs::execute(plan, &folders.out, &store, &emulated, &Options { jobs: 1, ..how.options() })?)
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
fn dry_run(folders: &Folders, plan: &Plan, world: WorldKind) -> anyhow::Result<()> {
    let experiment = &plan.experiment;
    let index = Index::load(&folders.out, &experiment.id, experiment.tier, world.name(), &experiment.sets);
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
