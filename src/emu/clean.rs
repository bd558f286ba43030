//! `trenvx emu clean`: nothing of ours stays behind.

use anyhow::Context;
use clap::Args;

use crate::common::{Ended, Folders};

/// Remove everything that killed managers have left.
#[derive(Debug, Args)]
pub struct CleanArgs {
    /// Only list what carries a label of ours, of managers that live too.
    #[arg(long)]
    list: bool,
}

/// Removes leftovers, or lists everything that is labelled.
pub fn run(folders: &Folders, args: &CleanArgs) -> anyhow::Result<()> {
    if args.list {
        for (label, things) in ::emu::clean::find().context("cannot search the machine")? {
            for thing in things {
                println!("{} {thing}", label.id());
            }
        }
        return Ok(());
    }
    let mut report = ::emu::clean::clean().context("cannot search the machine (which needs root)")?;
    report
        .removed
        .extend(::emu::vm::clean::clean(&folders.out).context("cannot search the templates of VMs")?);
    report.removed.extend(
        ::emu::guest::leftovers::remove_logs(&folders.out).context("cannot search the logs of labs")?,
    );
    for thing in &report.removed {
        println!("removed {thing}");
    }
    for label in &report.living {
        println!("in use  {}", label.id());
    }
    if report.failed.is_empty() {
        return Ok(());
    }
    let message = format!("could not remove: {}", report.failed.join("; "));
    Err(Ended { code: 1, message }.into())
}
