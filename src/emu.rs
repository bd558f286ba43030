//! `trenvx emu`: the real world.

mod agents;
mod bench;
mod bench_pager;
mod bench_template;
mod bench_tiers;
mod calibrate;
mod clean;
mod functions;
mod guest;
mod pool;
mod sandbox;
mod serve;
mod soak;
mod template;
mod vm;

use crate::common::{Folders, as_lack};
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
    /// Capture, attach and look at memory templates.
    Template(template::TemplateArgs),
    /// List and check the benchmark functions.
    Functions(functions::FunctionsArgs),
    /// Serve the pages of templates.
    Serve(serve::ServeArgs),
    /// Let processes come and go at a page server, and see that nothing grows.
    Soak(soak::SoakArgs),
    /// Run agents with a mock model, a web site and shared browsers.
    Agents(agents::AgentsArgs),
    /// Measure the real world.
    Bench(bench::BenchArgs),
    /// Write what was measured here into a machine file, which the simulator reads.
    Calibrate(calibrate::CalibrateArgs),
    /// Boot virtual machines that have CXL memory and RDMA, and run commands in them.
    Guest(guest::GuestArgs),
    /// Put templates into CXL memory or serve them by RDMA, and read them.
    Pool(pool::PoolArgs),
    /// Make, clone and measure microVMs.
    Vm(vm::VmArgs),
}

impl EmuArgs {
    /// Whether it makes sandboxes in this process. The page server, pools and the manager of sandboxes that stay wait for
    /// signals themselves.
    pub fn has_sandboxes(&self) -> bool {
        !matches!(self.command, Command::Serve(_) | Command::Pool(_) | Command::Sandbox(_))
    }
}

/// Runs `trenvx emu`.
///
/// # Errors
/// As the subcommand says.
pub fn run(folders: &Folders, args: EmuArgs) -> anyhow::Result<()> {
    match args.command {
        Command::Sandbox(args) => sandbox::run(args),
        Command::Clean(args) => clean::run(folders, &args),
        Command::Template(args) => template::run(folders, args),
        Command::Functions(args) => functions::run(folders, &args),
        Command::Serve(args) => serve::run(args),
        Command::Bench(args) => bench::run(folders, args),
        Command::Calibrate(args) => calibrate::run(folders, &args),
        Command::Soak(args) => soak::run(folders, &args),
        Command::Guest(args) => guest::run(folders, args),
        Command::Pool(args) => pool::run(args),
        Command::Vm(args) => vm::run(folders, args).map_err(as_lack),
        Command::Agents(args) => agents::run(folders, args).map_err(as_lack),
    }
}
