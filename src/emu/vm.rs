//! `trenvx emu vm`: microVMs, their templates and clones.

use std::time::Duration;

use ::emu::vm::bench::{self, Setting};
use ::emu::vm::{Accelerator, Host, Image, Machine, Method, RootDevice, Template, template};
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
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(192..=16384))]
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
    /// How: vanilla-ch, e2b, e2b+, trenvx-vm-guest-cache, trenvx-vm; default: what its root is for.
    #[arg(long, value_parser = method)]
    method: Option<Method>,
    /// How many, one after the other.
    #[arg(short, long, default_value_t = 1)]
    n: u32,
    /// Python to run in each; what it leaves in `result` is shown.
    #[arg(long, value_name = "CODE")]
    run: Option<String>,
}

#[derive(Debug, Args)]
struct BenchArgs {
    #[command(subcommand)]
    what: What,
    /// Print JSON instead of a table.
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
        #[arg(long, value_name = "MIB", value_delimiter = ',', default_value = "512")]
        memory: Vec<u32>,
        /// Starts per method and size.
        #[arg(long, default_value_t = 5)]
        starts: u32,
    },
    /// Page caches of guests that read the same file.
    PageCache {
        /// Guests at most.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=3))]
        vms: u32,
        /// Guest memory, MiB.
        #[arg(long, value_name = "MIB", default_value_t = 512)]
        memory: u32,
    },
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
    for _ in 0..args.n {
        host.prepare(machine)?;
        let mut started = host.clone(&template)?;
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
        host.end(started.vm)?;
    }
    Ok(())
}

fn measure(folders: &Folders, args: BenchArgs) -> anyhow::Result<()> {
    let setting = setting(folders)?;
    let rows: Vec<MeasuredRow> = match args.what {
        What::Starts { methods, memory, starts } => {
            let methods = if methods.is_empty() { Method::ALL.to_vec() } else { methods };
            bench::starts(&setting, &methods, &memory, starts)?
        }
        What::PageCache { vms, memory } => bench::page_cache(&setting, memory, vms)?,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        table(&rows);
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
