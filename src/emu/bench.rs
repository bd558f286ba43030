//! `trenvx emu bench`: what the real world costs here.

use std::path::PathBuf;

use ::emu::bench_sandbox::{Settings, Way, goals, run as measure, table};
use ::emu::sandbox::{Base, Config, Mode, Program};
use clap::{Args, Subcommand};

use crate::common::Ended;

/// Measure the real world.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// New and repurposed sandboxes, step by step.
    Sandbox(SandboxArgs),
    /// Starts from a template beside cold starts and other ways.
    Template(super::bench_template::TemplateArgs),
    /// Page faults, served by the page server and by the bare kernel.
    Pager(super::bench_pager::PagerArgs),
    /// Attach and first reply from each tier: local memory, CXL devices, CRIU.
    Tiers(super::bench_tiers::TiersArgs),
}

#[derive(Debug, Args)]
struct SandboxArgs {
    /// How many starts at a time.
    #[arg(long, value_delimiter = ',', default_value = "1,4,16")]
    ways: Vec<usize>,
    /// Starts per mode and number of ways.
    #[arg(long, default_value_t = 300)]
    starts: usize,
    /// Folder with a root file system; default: the programs of this machine.
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// Only these modes (new, pooled-netns, repurpose, setns, repurpose-migrate, repurpose-close); default: all but the last.
    #[arg(long = "mode", value_name = "NAME", value_parser = mode)]
    modes: Vec<Way>,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// Fail if a goal is missed.
    #[arg(long)]
    strict: bool,
    /// A program to execute inside instead of a routine that does nothing.
    #[arg(last = true, value_name = "PROGRAM")]
    program: Vec<String>,
}

fn mode(name: &str) -> Result<Way, String> {
    let spelt = |way: &Way| way.name().replace(", ", "-");
    Way::KNOWN.into_iter().find(|way| spelt(way) == name).ok_or_else(|| {
        let known: Vec<String> = Way::KNOWN.iter().map(spelt).collect();
        format!("the modes are {}", known.join(", "))
    })
}

/// Runs `trenvx emu bench`.
///
/// # Errors
/// If a sandbox cannot be made.
pub fn run(folders: &crate::common::Folders, args: BenchArgs) -> anyhow::Result<()> {
    let args = match args.command {
        Command::Sandbox(args) => args,
        Command::Template(args) => return super::bench_template::run(folders, &args),
        Command::Pager(args) => return super::bench_pager::run(args),
        Command::Tiers(args) => return super::bench_tiers::run(folders, args),
    };
    let mut config = Config::new(Mode::New);
    if let Some(base) = args.base {
        config.base = Base::Image(base);
    }
    let program =
        if args.program.is_empty() { Program::call("pause", [""; 0]) } else { Program::new(args.program) };
    let modes = if args.modes.is_empty() { Way::ALL.to_vec() } else { args.modes };
    // Roots for as many starts at a time as there are.
    config.ready = args.ways.iter().copied().max().unwrap_or(1) * 2;
    let rows = measure(&Settings { config, program, ways: args.ways, starts: args.starts, modes })?;
    let goals = goals(&rows);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&serde_json::json!({ "rows": rows, "goals": goals }))?);
    } else {
        print!("{}", table(&rows));
        if !goals.is_empty() {
            print!("\n{}", ::emu::goal::table(&goals));
        }
    }
    let missed = goals.iter().filter(|goal| goal.met == Some(false)).count();
    if args.strict && missed > 0 {
        return Err(Ended { code: 1, message: format!("{missed} of {} goals missed", goals.len()) }.into());
    }
    Ok(())
}
