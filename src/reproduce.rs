//! `trenvx reproduce`: run, draw, judge and report in one go. A rerun does only what is missing.

use crate::common::{Ended, Folders};
use crate::meant::Meant;
use crate::run::{How, execute, execute_in, finish};
use crate::{measure, report};
use clap::{Args, ValueEnum};
use configs::{Experiment, WorldKind};

/// Run, draw, judge and report.
#[derive(Debug, Args)]
pub struct ReproduceArgs {
    /// Names (`e04`) or files of experiments, or of claims (`c01`); none or `all`: every shipped experiment.
    experiments: Vec<String>,
    #[command(flatten)]
    how: How,
    /// The worlds to run in. Real sandboxes are used as far as this machine allows, and what is left out is said.
    #[arg(long, value_enum, default_value_t = Worlds::Both)]
    world: Worlds,
}

/// Which worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Worlds {
    /// The simulator, and this machine.
    Both,
    /// The simulator alone.
    Sim,
    /// This machine alone.
    Emu,
}

/// Runs the experiments one after the other, then reports over all of them. A run that fails is
/// reported at the end and does not keep the report from being written.
pub fn run(folders: &Folders, args: &ReproduceArgs) -> anyhow::Result<()> {
    let mut experiments = Vec::new();
    let meant = Meant::of(folders, &args.experiments)?;
    if meant.experiments.is_empty() {
        // Claims that no experiment here can refute.
        report::print_verdicts(&meant.shown(Vec::new()));
        return Ok(());
    }
    for name in &meant.experiments {
        let name = name.as_str();
        experiments.push(folders.experiment(name, args.how.tier.into(), &args.how.sets)?);
    }
    let mut failed = 0;
    for experiment in &experiments {
        if args.world != Worlds::Emu && experiment.worlds.contains(&WorldKind::Sim) {
            eprintln!("{}: {}", experiment.id, experiment.title);
            let plan = folders.plan(experiment.clone());
            let outcome = execute(folders, &plan, &args.how)?;
            failed += usize::from(finish(&plan, &outcome).is_err());
        }
    }
    if args.world != Worlds::Sim {
        let real = |experiment: &&Experiment| {
            experiment.worlds.contains(&WorldKind::Emu)
                && (args.world == Worlds::Emu || meant.is_measured(&experiment.id))
        };
        for experiment in experiments.iter().filter(real) {
            failed += usize::from(!on_this_machine(folders, experiment, &args.how)?);
        }
    }
    let loaded = report::reload(folders, experiments)?;
    let all = args.experiments.is_empty() || args.experiments.iter().any(|word| word == "all");
    let (path, judged) = report::write(folders, &report::Page::of(&loaded, all), &loaded)?;
    report::print_verdicts(&meant.shown(judged));
    println!("report: {}", std::path::absolute(&path).unwrap_or(path).display());
    if failed > 0 {
        return Err(Ended { code: 1, message: format!("{failed} experiments have failed runs") }.into());
    }
    Ok(())
}

/// Runs the real side of an experiment, if it has one and this machine can; whether nothing failed.
fn on_this_machine(folders: &Folders, experiment: &Experiment, how: &How) -> anyhow::Result<bool> {
    if experiment.measure.is_none() && !experiment.is_fitted {
        eprintln!(
            "{} on this machine: NOT-RUN: {} measures nothing and has no [emu] that fits its workload to a small \
             machine: {} plays all of it",
            experiment.id,
            experiment.file.display(),
            folders.line(experiment, "run", WorldKind::Emu)
        );
        return Ok(true);
    }
    eprintln!("{} on this machine: {}", experiment.id, experiment.title);
    if let Some(why) = measure::lacking(folders, experiment.measure.as_ref()) {
        eprintln!("  NOT-RUN: {why}");
        return Ok(true);
    }
    if experiment.measure.is_some() {
        let measured = measure::measured(folders, experiment, false);
        return match measured.and_then(|measured| measure::right(&measured)) {
            Ok(()) => Ok(true),
            Err(error) => {
                eprintln!("  failed: {error:#}");
                Ok(false)
            }
        };
    }
    let plan = folders.plan(experiment.clone().in_world(WorldKind::Emu));
    let outcome = execute_in(folders, &plan, how, WorldKind::Emu)?;
    Ok(finish(&plan, &outcome).is_ok())
}
