//! `trenvx reproduce`: run, draw, judge and report in one go. A rerun does only what is missing.

use crate::common::{Ended, Folders};
use crate::report;
use crate::run::{How, execute, finish};
use clap::Args;
use runs::Plan;

/// Run, draw, judge and report.
#[derive(Debug, Args)]
pub struct ReproduceArgs {
    /// Names (`e04`) or files of experiments; none or `all`: every shipped one.
    experiments: Vec<String>,
    #[command(flatten)]
    how: How,
}

/// Runs the experiments one after the other, then reports over all of them. A run that fails is
/// reported at the end and does not keep the report from being written.
pub fn run(folders: &Folders, args: &ReproduceArgs) -> anyhow::Result<()> {
    let mut experiments = Vec::new();
    for name in folders.names(&args.experiments)? {
        experiments.push(folders.experiment(&name, args.how.tier.into(), &args.how.sets)?);
    }
    let mut failed = 0;
    for experiment in &experiments {
        eprintln!("{}: {}", experiment.id, experiment.title);
        let plan = Plan::new(experiment.clone());
        let outcome = execute(folders, &plan, &args.how)?;
        failed += usize::from(finish(&plan, &outcome).is_err());
    }
    let loaded = report::reload(folders, experiments)?;
    let (path, judged) = report::write(folders, args.how.tier.into(), &loaded)?;
    report::print_verdicts(&judged);
    println!("report: {}", std::path::absolute(&path).unwrap_or(path).display());
    if failed > 0 {
        return Err(Ended { code: 1, message: format!("{failed} experiments have failed runs") }.into());
    }
    Ok(())
}
