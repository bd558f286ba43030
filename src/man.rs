//! `trenvx man`: manual pages of the command and of every subcommand.

use anyhow::Context;
use clap::{Args, CommandFactory};
use std::path::PathBuf;

/// Write the manual pages of the command and of every subcommand.
#[derive(Debug, Args)]
#[command(
    after_help = "To read one: man FOLDER/trenvx.1. To install them: a folder of `manpath`, such as ~/.local/share/man/man1."
)]
pub struct ManArgs {
    /// Folder to write them into; made if it is not there.
    folder: PathBuf,
}

/// Writes them.
pub fn run(args: &ManArgs) -> anyhow::Result<()> {
    let folder = &args.folder;
    std::fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    clap_mangen::generate_to(crate::Cli::command(), folder)
        .with_context(|| format!("{}: cannot write manual pages there", folder.display()))?;
    println!("{}", folder.join("trenvx.1").display());
    Ok(())
}
