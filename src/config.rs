//! `trenvx config`: which experiments there are, and which values are in force.

use crate::common::{Folders, TierArg};
use clap::{Args, Subcommand};

/// List experiments and show the values in force.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the experiments.
    List,
    /// Show every value in force for an experiment and where it was set.
    Show {
        /// Name (`e04`) or file of the experiment.
        experiment: String,
        /// How much of it.
        #[arg(long, value_enum, default_value_t = TierArg::Kick)]
        tier: TierArg,
        /// Another value for a key (repeat for several).
        #[arg(long = "set", value_name = "KEY=VALUE")]
        sets: Vec<String>,
    },
}

/// Prints what was asked for.
pub fn run(folders: &Folders, args: &ConfigArgs) -> anyhow::Result<()> {
    match &args.command {
        Command::List => {
            for listed in configs::list(&folders.configs()?)? {
                let experiment = configs::load(&listed.path, configs::Tier::Kick, &[])?;
                println!("{:<14} {}\n{:<14} {}", listed.name, experiment.title, "", experiment.question);
            }
        }
        Command::Show { experiment, tier, sets } => {
            for value in folders.experiment(experiment, (*tier).into(), sets)?.effective {
                println!("{} = {}  # {}", value.key, value.value, value.origin);
            }
        }
    }
    Ok(())
}
