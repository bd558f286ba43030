//! What several subcommands share: folders, tiers, experiments by name, exit codes.

use anyhow::Context;
use clap::{Args, ValueEnum};
use configs::{Experiment, Tier, Typed, WorldKind};
use emu::doctor::{Host, Said, Status};
use runs::Plan;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where outputs go unless another folder is named.
const OUT: &str = "out";

/// What programs of this machine have said about themselves, in the folder of outputs.
const PROGRAMS: &str = "programs.json";

/// Where things are.
#[derive(Clone, Debug, Args)]
pub struct Folders {
    /// Folder of configurations; default: `configs` here or above, or $TRENVX_CONFIGS.
    #[arg(long, global = true, value_name = "DIR")]
    configs: Option<PathBuf>,
    /// Folder of all outputs.
    #[arg(long, global = true, value_name = "DIR", default_value = OUT)]
    pub out: PathBuf,
}

impl Folders {
    /// The folder of configurations.
    pub fn configs(&self) -> anyhow::Result<PathBuf> {
        Ok(configs::root(self.configs.as_deref())?)
    }

    /// The experiment of that name or file, checked.
    pub fn experiment(&self, name: &str, tier: Tier, sets: &[String]) -> anyhow::Result<Experiment> {
        self.swept(name, tier, &Typed::sets(sets))
    }

    /// The same with axes that were typed.
    pub fn swept(&self, name: &str, tier: Tier, typed: &Typed) -> anyhow::Result<Experiment> {
        let file = configs::find(name, &self.configs()?)?;
        Ok(configs::load_typed(&file, tier, typed)?)
    }

    /// What this machine can do, in a word or two for each facility. Everything is tried anew, so that what a set-up has
    /// changed counts; only what programs have said is kept in the folder of outputs, until they change or `trenvx
    /// doctor` asks them again.
    pub fn facilities(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let known = std::fs::read(self.out.join(PROGRAMS)).ok();
        let known: Said = known.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let host = Host::this().knowing(known.clone());
        let report = emu::doctor::examine_host(&host);
        std::fs::create_dir_all(&self.out).with_context(|| format!("cannot make {}", self.out.display()))?;
        if host.said() != known {
            self.remember(&host)?;
        }
        let found = report.checks.iter().map(|check| {
            let word = check.status.word();
            let found = match &check.status {
                Status::Ok => word.to_owned(),
                Status::Degraded { fallback } => format!("{word}: {fallback}"),
                Status::Missing { .. } => format!("{word}: {}", check.detail),
            };
            (check.facility.to_owned(), found)
        });
        Ok(found.collect())
    }

    /// Keeps what programs have said, if there is a folder of outputs.
    pub fn remember(&self, host: &Host) -> anyhow::Result<()> {
        if self.out.is_dir() {
            traces::atomic::write_file(&self.out.join(PROGRAMS), &serde_json::to_vec_pretty(&host.said())?)?;
        }
        Ok(())
    }

    /// The options that lead another command to the same folders, from the same place.
    pub fn options(&self) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(configs) = &self.configs {
            words.extend(["--configs".to_owned(), configs.display().to_string()]);
        }
        if self.out != Path::new(OUT) {
            words.extend(["--out".to_owned(), self.out.display().to_string()]);
        }
        words
    }

    /// The word that leads to an experiment: its id if the folder of configurations has it, else its file's path.
    pub fn word(&self, experiment: &Experiment) -> String {
        let same = |found: PathBuf| found.canonicalize().ok() == experiment.file.canonicalize().ok();
        let shipped = self.configs().ok().and_then(|root| configs::find(&experiment.id, &root).ok());
        if shipped.is_some_and(same) {
            return experiment.id.clone();
        }
        experiment.file.display().to_string()
    }

    /// The command that a person types about an experiment in a world, from the same place as this one.
    pub fn line(&self, experiment: &Experiment, subcommand: &str, world: WorldKind) -> String {
        let words = runs::words_of(experiment, &self.word(experiment), subcommand, world.name());
        let all: Vec<String> =
            std::iter::once("trenvx".to_owned()).chain(self.options()).chain(words).collect();
        runs::shell(&all)
    }

    /// A plan of all runs of an experiment, whose commands lead to the same folders.
    pub fn plan(&self, experiment: Experiment) -> Plan {
        let mut plan = Plan::new(experiment);
        plan.globals = self.options();
        plan
    }

    /// Names of the experiments meant: the given ones, or every one for none or `all`.
    pub fn names(&self, given: &[String]) -> anyhow::Result<Vec<String>> {
        if given.is_empty() || given.iter().any(|name| name == "all") {
            let listed = configs::list(&self.configs()?)?;
            return Ok(listed.into_iter().map(|experiment| experiment.name).collect());
        }
        Ok(given.to_vec())
    }
}

/// How much of an experiment is meant.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum TierArg {
    /// Minutes on two cores.
    Kick,
    /// Tens of minutes.
    Short,
    /// Everything.
    Full,
}

impl TierArg {
    /// The word used on the command line.
    pub fn name(self) -> &'static str {
        Tier::from(self).name()
    }
}

impl From<TierArg> for Tier {
    fn from(tier: TierArg) -> Self {
        match tier {
            TierArg::Kick => Self::Kick,
            TierArg::Short => Self::Short,
            TierArg::Full => Self::Full,
        }
    }
}

/// The command did what it was asked to, and that came out badly: its exit code is not 2.
#[derive(Debug)]
pub struct Ended {
    /// Exit code.
    pub code: u8,
    /// Last line on standard error; empty: none.
    pub message: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Ended {}

/// What is not set up on this machine is no failure of the command: exit code 3.
pub fn as_lack(error: anyhow::Error) -> anyhow::Error {
    use ::emu::{agents, measure, vm};
    fn of<E: std::error::Error + Send + Sync + 'static>(
        error: &anyhow::Error,
        is_lack: fn(&E) -> bool,
    ) -> Option<String> {
        error.downcast_ref::<E>().filter(|known| is_lack(known)).map(ToString::to_string)
    }
    let lack = of(&error, vm::Error::is_lack)
        .or_else(|| of(&error, agents::Error::is_lack))
        .or_else(|| of(&error, measure::Error::is_lack));
    lack.map_or(error, |message| Ended { code: 3, message }.into())
}

/// An error with its causes, each told once: many messages end with their cause already.
pub fn sentence(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.is_empty() {
            told = cause;
        } else if !told.ends_with(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

/// Axes typed on the command line.
#[derive(Clone, Debug, Default, Args)]
pub struct Axes {
    /// One more axis: every value of this key, such as `cluster.nodes=[8,16,32]` (repeat for several:
    /// every combination).
    #[arg(long = "sweep", value_name = "KEY=[VALUES]")]
    pub sweeps: Vec<String>,
    /// Keys that change together (repeat: first values together, then second ones).
    #[arg(long = "zip", value_name = "KEY=[VALUES]")]
    pub zips: Vec<String>,
}

impl Axes {
    /// With `--set`.
    pub fn with(&self, sets: &[String]) -> Typed {
        Typed { sets: sets.to_vec(), sweeps: self.sweeps.clone(), zips: self.zips.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let cause = || std::io::Error::other("no such thing");
        let repeats = ::emu::vm::Error::System { step: "look".to_owned(), source: cause() };
        assert_eq!(sentence(&repeats.into()), "cannot look: no such thing");
        let adds = anyhow::Error::from(cause()).context("cannot look");
        assert_eq!(sentence(&adds), "cannot look: no such thing");
    }
}
