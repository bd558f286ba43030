//! `trenvx emu`: the real world.

mod agents;
mod bench;
mod clean;
mod functions;
mod sandbox;

use crate::common::Folders;
use clap::{Args, Subcommand};

/// Work with real sandboxes on this machine.
#[derive(Debug, Args)]
pub struct EmuArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make, repurpose, use and destroy sandboxes by hand.
    Sandbox(sandbox::SandboxArgs),
    /// Remove everything that killed managers have left: processes, cgroups, links, folders.
    Clean(clean::CleanArgs),
    /// List and check the benchmark functions.
    Functions(functions::FunctionsArgs),
    /// Run agents with a mock model, a web site and shared browsers.
    Agents(agents::AgentsArgs),
    /// Measure the real world.
    Bench(bench::BenchArgs),
}

/// Runs `trenvx emu`.
///
/// # Errors
/// As the subcommand says.
pub fn run(folders: &Folders, args: EmuArgs) -> anyhow::Result<()> {
    match args.command {
        Command::Sandbox(args) => sandbox::run(args),
        Command::Clean(args) => clean::run(&args),
        Command::Functions(args) => functions::run(folders, &args),
        Command::Agents(args) => agents::run(folders, args),
        Command::Bench(args) => bench::run(args),
    }
}
