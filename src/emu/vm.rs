//! `trenvx emu vm`: microVMs, their templates and clones.

use std::time::Duration;

use ::emu::goal::Goal;
use ::emu::vm::bench::{self, Setting};
use ::emu::vm::{Accelerator, Host, Image, Lazily, Machine, Method, RootDevice, Template, template};
use anyhow::Context;
use clap::{Args, Subcommand};
use runs::MeasuredRow;
use serde_json::json;

use crate::common::Folders;
use crate::measure::table;

/// How long a clone may take over what it is asked.
const PATIENCE: Duration = Duration::from_secs(60);

/// Make, clone and measure microVMs.
#[derive(Debug, Args)]
pub struct VmArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Boot a guest, warm it up and keep it.
    Template(TemplateArgs),
    /// Start guests from a template, one after the other, and show what that took.
    Clone(CloneArgs),
    /// Measure starts and page caches, with templates made for it.
    Bench(BenchArgs),
    /// List templates.
    List,
    /// Remove templates.
    Remove {
        /// Their names.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct TemplateArgs {
    /// Its name: small letters, digits and -.
    name: String,
    /// Guest memory, MiB.
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = memory())]
    memory: u32,
    /// How the root is reached: pmem (page-cache bypass) or blk.
    #[arg(long, default_value = "pmem", value_parser = root)]
    root: RootDevice,
    /// Python that the agent runs to get warm; what it defines is there in every clone.
    #[arg(long, value_name = "CODE", default_value = "")]
    warm: String,
}

#[derive(Debug, Args)]
struct CloneArgs {
    /// The template.
    name: String,
    /// How: vanilla-ch, reap+, e2b, e2b+, trenvx-vm-guest-cache, trenvx-vm; default: what its root is for.
    #[arg(long, value_parser = method)]
    method: Option<Method>,
    /// Guest memory comes when it is touched, through userfaultfd; what clones touch up to their first reply is recorded
    /// the first time, and installed before they run.
    #[arg(long)]
    lazy: bool,
    /// With --lazy: install nothing beforehand.
    #[arg(long, requires = "lazy")]
    no_prefetch: bool,
    /// With --lazy: a stated latency of the pages' source, us.
    #[arg(long, requires = "lazy", value_name = "US")]
    latency: Option<u64>,
    /// How many, one after the other.
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    n: u32,
    /// Python to run in each; what it leaves in `result` is shown.
    #[arg(long, value_name = "CODE")]
    run: Option<String>,
}

#[derive(Debug, Args)]
struct BenchArgs {
    #[command(subcommand)]
    what: What,
    /// Print JSON instead of tables: accelerator, rows, goals.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Starts by each method.
    Starts {
        /// Methods; default: all.
        #[arg(long = "method", value_name = "NAME", value_parser = method)]
        methods: Vec<Method>,
        /// Sizes of guest memory, MiB.
        #[arg(long, value_name = "MIB", value_delimiter = ',', default_value = "512", value_parser = memory())]
        memory: Vec<u32>,
        /// Starts per method and size.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        starts: u32,
    },
    /// Page caches of guests that read the same file.
    PageCache {
        /// Guests at most.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=4))]
        vms: u32,
        /// Guest memory, MiB.
        #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = memory())]
        memory: u32,
        /// How much of the file they read, MiB.
        #[arg(long, value_name = "MIB", value_delimiter = ',', default_value = "100", value_parser = clap::value_parser!(u32).range(1..=100))]
        files: Vec<u32>,
    },
}

/// Guests of less do not boot, and more is more than anybody here has.
fn memory() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(192..=16384)
}

fn root(name: &str) -> Result<RootDevice, String> {
    RootDevice::parse(name).ok_or_else(|| "the root devices are pmem and blk".to_owned())
}

fn method(name: &str) -> Result<Method, String> {
    Method::parse(name).ok_or_else(|| format!("the methods are {}", Method::ALL.map(Method::name).join(", ")))
}

/// Runs `trenvx emu vm`.
///
/// # Errors
/// As the guests do.
pub fn run(folders: &Folders, args: VmArgs) -> anyhow::Result<()> {
    match args.command {
        Command::Template(args) => make(folders, &args),
        Command::Clone(args) => clone(folders, &args),
        Command::Bench(args) => measure(folders, args),
        Command::List => list(folders),
        Command::Remove { names } => {
            for name in names {
                template::remove(&folders.out, &name)?;
                println!("removed {name}");
            }
            Ok(())
        }
    }
}

fn setting(folders: &Folders) -> anyhow::Result<Setting> {
    let image = Image::find(&folders.out)?;
    let accelerator = Accelerator::of_this_machine(&image)?;
    if let Some(stand_in) = accelerator.stand_in() {
        eprintln!("note: {stand_in}");
    }
    Ok(Setting { image, accelerator, launcher: None })
}

fn make(folders: &Folders, args: &TemplateArgs) -> anyhow::Result<()> {
    let Setting { image, accelerator, .. } = setting(folders)?;
    let host = Host::start(usual(args.root), &image, accelerator, None)?;
    let made = Template::make(&host, &args.name, &Machine::new(args.memory, args.root), &args.warm)?;
    let folder = made.template.save(&folders.out)?;
    let about = made.template.manifest();
    println!(
        "{}: booted in {:.0} ms, kept in {:.0} ms: {} MiB of memory, {} KiB of devices: {}",
        about.name,
        about.boot_ms,
        about.made_ms - about.boot_ms,
        about.memory_data_bytes >> 20,
        about.state_bytes >> 10,
        folder.display()
    );
    Ok(())
}

/// The method for templates of a root device, where none is named.
fn usual(root: RootDevice) -> Method {
    match root {
        RootDevice::Pmem => Method::TrenvxVm,
        RootDevice::Blk => Method::E2b,
    }
}

fn clone(folders: &Folders, args: &CloneArgs) -> anyhow::Result<()> {
    let Setting { image, accelerator, .. } = setting(folders)?;
    let template = Template::load(&folders.out, &args.name, &image, &accelerator)?;
    let machine = &template.manifest().machine;
    let method = args.method.unwrap_or_else(|| usual(machine.root));
    let host = Host::start(method, &image, accelerator, None)?;
    let lazily = lazily(folders, args, &host, &template)?;
    for _ in 0..args.n {
        host.prepare(machine)?;
        let mut started = match &lazily {
            Some(how) => host.clone_lazily(&template, how)?,
            None => host.clone(&template)?,
        };
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let steps = started.steps.done.iter().map(|(step, time)| format!("{step} {:.1}", ms(*time)));
        let steps: Vec<String> = steps.collect();
        println!(
            "{}: {:.1} ms to the first reply ({})",
            method.name(),
            ms(started.steps.whole),
            steps.join(", ")
        );
        if let Some(code) = &args.run {
            let answer = started.vm.ask("run", json!({ "code": code }), PATIENCE)?;
            println!("result: {answer}");
        }
        let memory = started.vm.memory()?;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        println!(
            "memory: {:.1} MiB of the guest its own, {:.1} MiB of the template's, {:.1} MiB of the VMM",
            mib(memory.guest_own_bytes()),
            mib(memory.guest_shared_bytes()),
            mib(memory.own_bytes() - memory.guest_own_bytes())
        );
        if let Some(served) = host.end_served(started.vm)? {
            println!(
                "served: {} pages before it ran, {} faults, {} pages by faults",
                served.prefetched, served.faults, served.pages
            );
        }
    }
    Ok(())
}

/// How memory is served, if it is to be; records what clones touch where nobody has yet.
fn lazily(
    folders: &Folders,
    args: &CloneArgs,
    host: &Host,
    template: &Template,
) -> anyhow::Result<Option<Lazily>> {
    if !args.lazy {
        return Ok(None);
    }
    let working_set = if args.no_prefetch {
        None
    } else {
        let set = host.working_set(template)?;
        if let Err(error) = template.save_working_set(&folders.out) {
            eprintln!("note: recorded for this once: {error}");
        }
        Some(set)
    };
    Ok(Some(Lazily { working_set, record: false, latency: args.latency.map(Duration::from_micros) }))
}

fn measure(folders: &Folders, args: BenchArgs) -> anyhow::Result<()> {
    let setting = setting(folders)?;
    let (rows, goals): (Vec<MeasuredRow>, Vec<Goal>) = match args.what {
        What::Starts { methods, memory, starts } => {
            let methods = if methods.is_empty() { Method::ALL.to_vec() } else { methods };
            let rows = bench::starts(&setting, &methods, &memory, starts)?;
            let goals = bench::goals_of_starts(&rows);
            (rows, goals)
        }
        What::PageCache { vms, memory, files } => {
            let rows = bench::page_cache(&setting, memory, vms, &files)?;
            let goals = bench::goals_of_page_cache(&rows);
            (rows, goals)
        }
    };
    if args.json {
        let accelerator = &setting.accelerator;
        let all = json!({ "accelerator": accelerator.name(), "stand_in": accelerator.stand_in(), "rows": rows, "goals": goals });
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        table(&rows);
        print!("\n{}", ::emu::goal::table(&goals));
    }
    Ok(())
}

fn list(folders: &Folders) -> anyhow::Result<()> {
    let names = template::list(&folders.out).context("cannot read the folder of templates")?;
    for name in names {
        match template::about(&folders.out, &name) {
            Ok(about) => println!(
                "{name}: {} MiB, root on {}, {} MiB of memory and {} KiB of devices, {}, Linux {}, Python {}, QEMU {}",
                about.machine.memory_mib,
                about.machine.root.name(),
                about.memory_data_bytes >> 20,
                about.state_bytes >> 10,
                about.accelerator,
                about.kernel,
                about.python,
                about.vmm
            ),
            Err(error) => println!("{name}: {error}"),
        }
    }
    Ok(())
}
