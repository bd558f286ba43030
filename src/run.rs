//! `trenvx run`: every point of an experiment with every seed.

use crate::common::{Ended, Folders, TierArg};
use crate::config;
use crate::measure;
use crate::report::{self, Loaded};
use crate::sweep;
use clap::{Args, ValueEnum};
use configs::{Experiment, WorldKind};
use runs::{Failed, Options, Outcome, Plan, Store, World};

/// Most runs listed that nobody has tried: there may be thousands, and one command makes them all.
const MISSING_LISTED: usize = 20;

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
    /// Print every value in force and where it was set, and run nothing.
    #[arg(long)]
    show_config: bool,
    /// Measure again what was measured on this machine before; only where there is no workload.
    #[arg(long)]
    again: bool,
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
    pub jobs: Option<usize>,
    /// Stop at the first run that fails.
    #[arg(long)]
    pub fail_fast: bool,
    /// No progress.
    #[arg(long, short)]
    pub quiet: bool,
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
    /// In the emulated world: a second run would be part of what the first one measures.
    fn one_at_a_time(&self) -> Self {
        Self { jobs: Some(1), ..self.clone() }
    }

    /// For runs in this process.
    pub fn options(&self, folders: &Folders) -> anyhow::Result<Options> {
        let default = Options::default();
        Ok(Options {
            jobs: self.jobs.unwrap_or(default.jobs).max(1),
            keep_going: !self.fail_fast,
            progress: !self.quiet,
            facilities: folders.facilities()?,
            ..default
        })
    }
}

/// Runs the experiment and says what came of it.
pub fn run(folders: &Folders, args: &RunArgs) -> anyhow::Result<()> {
    let experiment = folders.experiment(&args.experiment, args.how.tier.into(), &args.how.sets)?;
    if args.show_config {
        config::show(&experiment);
        return Ok(());
    }
    let world = args.world.map_or(experiment.worlds[0], WorldArg::kind);
    if world == WorldKind::Emu && experiment.measure.is_some() {
        return measure::run(folders, &experiment, args.dry_run, args.again);
    }
    let experiment = in_world(experiment, world)?;
    let mut plan = Plan::only(experiment, &args.points, &args.seeds)?;
    plan.globals = folders.options();
    if args.dry_run {
        return match world {
            WorldKind::Sim => sweep::dry_run(folders, &plan, &args.how, &sim::SimulatedWorld),
            WorldKind::Emu => sweep::dry_run(folders, &plan, &args.how.one_at_a_time(), &emulated(folders)?),
        };
    }
    let outcome = execute_in(folders, &plan, &args.how, world)?;
    let finished = finish(&plan, &outcome);
    if !outcome.done.is_empty() {
        eprintln!("figures: {}", folders.line(&plan.experiment, "figure", world));
        report::table(&Loaded::new(folders, plan.experiment, world)?);
        outcome
            .timelines(&Store::open(&folders.out)?)
            .iter()
            .for_each(|path| eprintln!("timeline for ui.perfetto.dev: {}", path.display()));
    }
    finished
}

/// Whether a sweep can be run in the world that was asked for.
pub fn simulated(world: Option<WorldArg>) -> anyhow::Result<()> {
    if world == Some(WorldArg::Emu) {
        let message =
            "sweeps are run in the simulated world: leave --world out, or use trenvx run".to_owned();
        return Err(Ended { code: 2, message }.into());
    }
    Ok(())
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

/// The same in a world that is named.
pub fn execute_in(folders: &Folders, plan: &Plan, how: &How, world: WorldKind) -> anyhow::Result<Outcome> {
    let store = Store::open(&folders.out)?;
    if world == WorldKind::Sim {
        return Ok(runs::execute(plan, &folders.out, &store, &sim::SimulatedWorld, &how.options(folders)?)?);
    }
    let options = how.one_at_a_time().options(folders)?;
    Ok(runs::execute(plan, &folders.out, &store, &emulated(folders)?, &options)?)
}

/// The world of this machine's sandboxes.
fn emulated(folders: &Folders) -> anyhow::Result<impl World> {
    let places = ::emu::functions::Places::here(&folders.out)?;
    Ok(::emu::world::EmulatedWorld::new(::emu::world::Installed(places)))
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
    let list = |word: &str, runs: &[Failed]| {
        for run in runs {
            let Failed { label, error, rerun, .. } = run;
            eprintln!("  {word}: {label}, seed {}: {error}\n    rerun: {rerun}", run.job.seed);
        }
    };
    list("failed", &outcome.failed);
    let (missing, failed) = (outcome.missing.len(), outcome.failed.len());
    list("missing", &outcome.missing[..missing.min(MISSING_LISTED)]);
    if missing > MISSING_LISTED {
        eprintln!("  and {} more are missing", missing - MISSING_LISTED);
    }
    if outcome.skipped > 0 {
        eprintln!("  not tried after the failure: {} runs", outcome.skipped);
    }
    if missing > 0 {
        return Err(Ended { code: 1, message: format!("{failed} runs failed, {missing} are missing") }.into());
    }
    if failed > 0 {
        return Err(Ended { code: 1, message: format!("{failed} runs failed") }.into());
    }
    Ok(())
}
