//! `trenvx emu agents`: agents, their mock model, their web site, their browsers.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::emu::agents::bench::{self, Where};
use ::emu::agents::harness::{Lab, Settings, record};
use ::emu::agents::llm::Llm;
use ::emu::agents::pace::Rates;
use ::emu::agents::place::{Guests, System};
use ::emu::agents::site::Site;
use ::emu::agents::{catalog, profile};
use ::emu::vm::Method;
use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};

use crate::common::{Ended, Folders};

/// Agents that ask a mock model, use tools and share browsers.
#[derive(Debug, Args)]
pub struct AgentsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the agents.
    List,
    /// Run agents at once: are their answers right, and what do they cost?
    Run(RunArgs),
    /// Measure without agents.
    Bench(BenchArgs),
    /// Serve the mock model and the web site on loopback until killed.
    Serve(ServeArgs),
    /// Make the recordings that the mock model plays, after an agent was changed.
    Record(RecordArgs),
}

/// What to run.
#[derive(Debug, Args)]
struct RunArgs {
    /// Where they run: process, sandbox, or in microVMs started by vanilla-ch, reap+, e2b, e2b+, trenvx-vm-guest-cache
    /// or trenvx-vm. VMs take a template, which is booted the first time.
    #[arg(long, value_name = "NAME", default_value = "process", value_parser = system)]
    system: System,
    /// How many agents at once; default: one of each kind.
    #[arg(long, value_name = "N")]
    agents: Option<usize>,
    /// Agents that share a browser; default: as many as the system of that name, and 1 for those without one.
    #[arg(long, value_name = "K")]
    per_browser: Option<usize>,
    /// Kinds of agents, taken in turn; default: all.
    #[arg(long = "agent", value_name = "NAME", num_args = 1..)]
    names: Vec<String>,
    /// By what the model's waits are divided.
    #[arg(long, value_name = "F", default_value_t = 1.0)]
    speed: f64,
    /// With which recordings to begin.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How long one agent may take, s.
    #[arg(long, value_name = "S", default_value_t = 600)]
    deadline: u64,
    /// How often memory is looked at, ms.
    #[arg(long, value_name = "MS", default_value_t = 250)]
    sample: u64,
    /// The interpreter.
    #[arg(long, value_name = "FILE", default_value = "/usr/bin/python3")]
    python: PathBuf,
    /// Write profiles of the agents for the simulator.
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// A table for people, or JSON to keep.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, Args)]
struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Memory of browsers by the number of agents that share one.
    Browser {
        /// Agents, each with one page open.
        #[arg(long, default_value_t = 8, value_parser = few)]
        agents: usize,
        /// Agents to a browser. All rows are compared with the first.
        #[arg(long, value_delimiter = ',', default_value = "1,2,4,8")]
        per_browser: Vec<usize>,
        /// Browsers in microVMs started by this method, one in each; may be given several times. Without it, on this
        /// machine beside each other.
        #[arg(long, value_name = "NAME", value_parser = method)]
        system: Vec<Method>,
        /// A table for people, or JSON to keep.
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Port of the model; 0: any.
    #[arg(long, default_value_t = 0)]
    llm_port: u16,
    /// Port of the site; 0: any.
    #[arg(long, default_value_t = 0)]
    site_port: u16,
    /// By what the model's waits are divided.
    #[arg(long, value_name = "F", default_value_t = 1.0)]
    speed: f64,
}

#[derive(Debug, Args)]
struct RecordArgs {
    /// Kinds of agents; default: all.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// How many recordings of each.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Aligned columns.
    Table,
    /// One record.
    Json,
}

/// Runs the subcommand.
///
/// # Errors
/// As the subcommand says.
pub fn run(folders: &Folders, args: AgentsArgs) -> anyhow::Result<()> {
    match args.command {
        Command::List => list(),
        Command::Run(args) => agents(folders, &args),
        Command::Bench(BenchArgs {
            command: BenchCommand::Browser { agents, per_browser, system, format },
        }) => {
            let guests = (!system.is_empty()).then(|| Guests::find(&folders.out)).transpose()?;
            let places =
                guests.iter().flat_map(|guests| system.iter().map(|method| Where::Vms(*method, guests)));
            let mut places: Vec<Where<'_>> = places.collect();
            if places.is_empty() {
                places.push(Where::Here);
            }
            let ways = places.iter().flat_map(|place| per_browser.iter().map(|count| (*place, *count)));
            let rows = bench::browsers(agents, &ways.collect::<Vec<_>>())?;
            let goals = bench::goals(&rows);
            let all = serde_json::json!({ "rows": rows, "goals": goals });
            let text = || format!("{}\n{}", bench::table(&rows), ::emu::goal::table(&goals));
            print(format, || serde_json::to_string_pretty(&all), text)
        }
        Command::Serve(args) => serve(&args),
        Command::Record(args) => {
            for manifest in catalog::find(&catalog::here()?, &args.names)? {
                for seed in 0..args.seeds {
                    let recording = record(&manifest, seed)?;
                    println!(
                        "{} {seed}: {} turns, {}",
                        manifest.name,
                        recording.turns.len(),
                        recording.answer
                    );
                }
            }
            Ok(())
        }
    }
}

fn system(name: &str) -> Result<System, String> {
    let names = || System::all().into_iter().map(System::name).collect::<Vec<_>>().join(", ");
    System::parse(name).ok_or_else(|| format!("the systems are {}", names()))
}

fn method(name: &str) -> Result<Method, String> {
    let names = || Method::ALL.into_iter().map(Method::name).collect::<Vec<_>>().join(", ");
    Method::parse(name).ok_or_else(|| format!("the methods are {}", names()))
}

/// So many agents that memory of a large machine has room for a browser of each.
fn few(text: &str) -> Result<usize, String> {
    const MOST: usize = 1024;
    let number = text.parse().map_err(|error| format!("{error}"))?;
    if (1..=MOST).contains(&number) { Ok(number) } else { Err(format!("{number} is not in 1..={MOST}")) }
}

fn list() -> anyhow::Result<()> {
    for one in catalog::list(&catalog::here()?)? {
        let browser = if one.browser { "browser" } else { "-" };
        println!("{:14}  {browser:7}  {:18}  {}", one.name, one.tokens.name(), one.summary);
    }
    Ok(())
}

fn agents(folders: &Folders, args: &RunArgs) -> anyhow::Result<()> {
    let mut settings = Settings::new(catalog::find(&catalog::here()?, &args.names)?);
    settings.count = args.agents.unwrap_or(settings.count);
    settings.system = args.system;
    settings.per_browser = args.per_browser.unwrap_or_else(|| args.system.per_browser());
    match args.system {
        System::Process => {}
        System::Sandbox => {
            let base = folders.out.join("images/base");
            settings.base = base.join("usr").is_dir().then_some(base);
        }
        System::Vm(_) => settings.guests = Some(Arc::new(Guests::find(&folders.out)?)),
    }
    settings.rates.speed = args.speed;
    settings.seed = args.seed;
    settings.deadline = Duration::from_secs(args.deadline);
    settings.sample = Duration::from_millis(args.sample.max(1));
    settings.python.clone_from(&args.python);
    let profile = args.profile.as_ref();
    let profile = profile.map(|file| anyhow::Ok((folders.configs()?.join("profiles/agents.toml"), file)));
    let profile = profile.transpose()?;
    if let Some((base, file)) = &profile {
        profile::can_write(base, file)?;
    }
    let report = Lab::start(settings)?.run()?;
    if let Some((base, file)) = &profile {
        profile::write(&report, base, file)?;
    }
    print(args.format, || serde_json::to_string_pretty(&report), || report.table())?;
    match report.failed() {
        0 => Ok(()),
        failed => {
            let message =
                format!("{failed} of {} agents did not come to the right answer", report.agents.len());
            Err(Ended { code: 1, message }.into())
        }
    }
}

fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    let rates = Rates { speed: args.speed, ..Rates::default() };
    let llm = Llm::start(&catalog::list(&catalog::here()?)?, rates, (Ipv4Addr::LOCALHOST, args.llm_port))?;
    let site = Site::start((Ipv4Addr::LOCALHOST, args.site_port))?;
    println!("model http://{}/v1/chat/completions", llm.address());
    println!("site  http://{}/", site.address());
    loop {
        std::thread::park();
    }
}

fn print(
    format: Format,
    json: impl FnOnce() -> serde_json::Result<String>,
    table: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    match format {
        Format::Table => print!("{}", table()),
        Format::Json => println!("{}", json().context("cannot write JSON")?),
    }
    Ok(())
}
