//! `trenvx emu clean`: nothing of ours stays behind.

use anyhow::Context;
use clap::Args;

use crate::common::Ended;

/// Remove everything that killed managers have left.
#[derive(Debug, Args)]
pub struct CleanArgs {
    /// Only list what carries a label of ours, of managers that live too.
    #[arg(long)]
    list: bool,
}

/// Removes leftovers, or lists everything that is labelled.
pub fn run(args: &CleanArgs) -> anyhow::Result<()> {
    if args.list {
        for (label, things) in ::emu::clean::find().context("cannot search the machine")? {
            for thing in things {
                println!("{} {thing}", label.id());
            }
        }
        return Ok(());
    }
    let report = ::emu::clean::clean().context("cannot search the machine")?;
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
