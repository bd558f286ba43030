//! `trenvx bench`: this build against baselines that are measured in the same run.

mod sim;

use crate::common::Folders;
use clap::{Args, Subcommand};

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
    /// Simulating: a suite of jobs with goals, or one standard job (1,000 functions, Zipf popularity, fixed
    /// 10-minute keep-alive) of your own size.
    Sim(sim::SimArgs),
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
        Command::Sim(args) => sim::run(folders, &args),
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
