//! `trenvx config`: which experiments there are, and which values are in force.

use crate::common::{Ended, Folders, TierArg};
use anyhow::Context;
use clap::{Args, Subcommand};
use configs::Experiment;

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
    /// Write reference.md and schema.json: every key with its type, unit, default and meaning.
    Reference {
        /// Only say whether they are up to date; exit with 1 if not.
        #[arg(long)]
        check: bool,
    },
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
        Command::Reference { check } => reference(folders, *check)?,
        Command::Show { experiment, tier, sets } => {
            show(&folders.experiment(experiment, (*tier).into(), sets)?);
        }
    }
    Ok(())
}

/// Prints every value in force and where it was set.
pub fn show(experiment: &Experiment) {
    for value in &experiment.effective {
        println!("{} = {}  # {}", value.key, value.value, value.origin);
    }
}

fn reference(folders: &Folders, check: bool) -> anyhow::Result<()> {
    let root = folders.configs()?;
    let reference = configs::Reference::of(&root)?;
    let mut stale = Vec::new();
    for (name, text) in [("reference.md", reference.markdown()), ("schema.json", reference.schema())] {
        let path = root.join(name);
        if std::fs::read_to_string(&path).is_ok_and(|kept| kept == text) {
            continue;
        }
        stale.push(name);
        if !check {
            std::fs::write(&path, text).with_context(|| format!("{}: cannot be written", path.display()))?;
            println!("{}", path.display());
        }
    }
    if check && !stale.is_empty() {
        let message = format!("{} stale: run trenvx config reference", stale.join(" and "));
        return Err(Ended { code: 1, message }.into());
    }
    Ok(())
}
