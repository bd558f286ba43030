//! `trenvx reproduce`: run, draw, judge and report in one go. A rerun does only what is missing.

use crate::common::{Ended, Folders};
use crate::run::{How, execute, execute_in, finish};
use crate::{measure, report};
use clap::{Args, ValueEnum};
use configs::{Experiment, Measure, WorldKind};
use emu::functions::Places;
use figures::Judged;
use runs::Plan;
use std::path::Path;

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
        let claims = meant.claims.as_deref().unwrap_or_default();
        report::print_verdicts(&figures::judge::<figures::ExperimentData>(claims, &[]));
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
            let plan = Plan::new(experiment.clone());
            let outcome = execute(folders, &plan, &args.how)?;
            failed += usize::from(finish(&plan, &outcome).is_err());
        }
    }
    // Claims are judged in the simulated world: for them alone nothing is measured here.
    if args.world == Worlds::Emu || (args.world == Worlds::Both && meant.claims.is_none()) {
        for experiment in experiments.iter().filter(|experiment| experiment.worlds.contains(&WorldKind::Emu))
        {
            failed += usize::from(!on_this_machine(folders, experiment, &args.how)?);
        }
    }
    let loaded = report::reload(folders, experiments)?;
    let (path, judged) = report::write(folders, args.how.tier.into(), &loaded)?;
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
             machine: trenvx run {} --world emu plays all of it",
            experiment.id,
            experiment.file.display(),
            experiment.id
        );
        return Ok(true);
    }
    eprintln!("{} on this machine: {}", experiment.id, experiment.title);
    if let Some(why) = lacking(folders, experiment.measure.as_ref())? {
        eprintln!("  NOT-RUN: {why}");
        return Ok(true);
    }
    if experiment.measure.is_some() {
        return match measure::measured(folders, experiment, false) {
            Ok(_) => Ok(true),
            Err(error) => {
                eprintln!("  failed: {error:#}");
                Ok(false)
            }
        };
    }
    let plan = Plan::new(experiment.clone().in_world(WorldKind::Emu));
    let outcome = execute_in(folders, &plan, how, WorldKind::Emu)?;
    Ok(finish(&plan, &outcome).is_ok())
}

/// What keeps real sandboxes from being used here, and what to do about it.
fn lacking(folders: &Folders, measure: Option<&Measure>) -> anyhow::Result<Option<String>> {
    // SAFETY: reads a number of this process.
    if unsafe { libc::geteuid() } != 0 {
        return Ok(Some("real sandboxes need root: run it as root or with sudo".to_owned()));
    }
    let places = match Places::here(&folders.out) {
        Ok(places) => places,
        Err(error) => return Ok(Some(error.to_string())),
    };
    let missing = |path: &Path, option: &str| {
        let there = path.is_dir();
        (!there).then(|| format!("{} is not there: run scripts/setup {option}", path.display()))
    };
    Ok(match measure {
        Some(Measure::Sandboxes { .. }) => None,
        Some(Measure::VmStarts { .. } | Measure::PageCache { .. }) => missing(&places.out.join("vm"), "--vm"),
        Some(Measure::Pools { .. }) => {
            emu::doctor::lacking(&["qemu", "guest-kernel", "guest-cxl", "guest-rdma"])
                .or_else(|| missing(&places.image(), "--functions"))
        }
        Some(Measure::Agents { .. } | Measure::Browsers { .. }) => emu::agents::browser::program()
            .is_none()
            .then(|| "there is no Chromium: run scripts/setup --with-emulator".to_owned()),
        _ => missing(&places.image(), "--functions").or_else(|| missing(&places.layers(), "--functions")),
    })
}

/// What the words on the line stand for.
struct Meant {
    experiments: Vec<String>,
    /// Claims whose verdicts are shown; `None` for those of the experiments.
    claims: Option<Vec<figures::Claim>>,
}

impl Meant {
    fn of(folders: &Folders, words: &[String]) -> anyhow::Result<Self> {
        let claims = configs::claims::load(&folders.configs()?)?;
        let named = |word: &String| claims.iter().find(|claim| claim.id == word.to_lowercase());
        if words.is_empty()
            || words.iter().any(|word| word == "all")
            || !words.iter().any(|w| named(w).is_some())
        {
            return Ok(Self { experiments: folders.names(words)?, claims: None });
        }
        let mut meant = Self { experiments: Vec::new(), claims: None };
        let mut shown: Vec<figures::Claim> = Vec::new();
        for word in words {
            let experiment = match named(word) {
                Some(claim) => {
                    shown.push(claim.clone());
                    claim.experiment.clone()
                }
                None => {
                    shown.extend(claims.iter().filter(|claim| claim.experiment == *word).cloned());
                    word.clone()
                }
            };
            if !experiment.is_empty() && !meant.experiments.contains(&experiment) {
                meant.experiments.push(experiment);
            }
        }
        meant.claims = Some(shown);
        Ok(meant)
    }

    /// The verdicts that were asked for.
    fn shown(&self, judged: Vec<Judged>) -> Vec<Judged> {
        let Some(claims) = &self.claims else { return judged };
        let of = |claim: &figures::Claim| judged.iter().find(|one| one.claim.id == claim.id).cloned();
        let undecidable = |claim: &figures::Claim| {
            figures::judge::<figures::ExperimentData>(std::slice::from_ref(claim), &[]).pop()
        };
        claims.iter().filter_map(|claim| of(claim).or_else(|| undecidable(claim))).collect()
    }
}
