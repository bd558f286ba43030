//! `trenvx emu template`: memory templates of functions.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use ::emu::criu::{Criu, Dump, Way};
use ::emu::functions::{self, Places};
use ::emu::pager::{Client, Mode, Options, Prefetch};
use ::emu::sandbox::{Base, Config, Manager, Mode as Isolation};
use ::emu::template::{self, Backing, Prepared, Served, Store, Subject, store};

use crate::common::{Ended, Folders};

/// Memory templates: functions that have started, kept to be attached.
#[derive(Debug, Args)]
pub struct TemplateArgs {
    /// Folder of templates; default: in memory.
    #[arg(long, global = true, value_name = "DIR", default_value = store::DRAM)]
    store: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a function in a sandbox, call it some times, and capture it.
    Capture {
        /// The function.
        function: String,
        /// Calls before it is captured.
        #[arg(long, value_name = "N", default_value_t = 3)]
        warmups: u32,
    },
    /// Attach a template in a sandbox, call it, and print replies and times.
    Attach {
        /// The template, or how its name begins; with `--by criu` also a function.
        id: String,
        /// Calls.
        #[arg(long, value_name = "N", default_value_t = 2)]
        calls: u32,
        /// Input of each call, as JSON; default: the function's base input, whose answer is checked.
        #[arg(long, value_name = "JSON")]
        input: Option<String>,
        /// How its pages become reachable.
        #[arg(long, value_enum, default_value_t = By::Map)]
        by: By,
        /// Socket of a page server (`trenvx emu serve --socket`), with `--by fault` and `--by fault-shared`.
        #[arg(long, value_name = "PATH")]
        server: Option<PathBuf>,
        #[command(flatten)]
        serving: Serving,
    },
    /// Show what a template holds.
    Inspect {
        /// The template, or how its name begins.
        id: String,
        /// Its whole manifest, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Call a process of a template, and count the pages that each call touches and writes.
    Groups {
        /// The template, or how its name begins.
        id: String,
        /// Calls with the base input.
        #[arg(long, value_name = "N", default_value_t = 3)]
        calls: usize,
        /// JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Measure functions and print their profiles for the simulator: a file that an experiment names with
    /// `profiles = "FILE"`.
    Profile {
        /// The functions; the first is the profile of functions without a name.
        #[arg(required = true, value_name = "FUNCTION")]
        functions: Vec<String>,
        /// Calls before it is captured.
        #[arg(long, value_name = "N", default_value_t = 3)]
        warmups: u32,
        /// Calls that are timed.
        #[arg(long, value_name = "N", default_value_t = 15)]
        timed: usize,
        /// Calls whose pages are counted.
        #[arg(long, value_name = "N", default_value_t = 1)]
        calls: usize,
    },
    /// Compare two templates page by page.
    Diff {
        /// One template.
        one: String,
        /// The other.
        other: String,
    },
    /// Read every page of a template and compare it with its hash.
    Verify {
        /// The template; default: all.
        id: Option<String>,
    },
    /// List the templates, and how many of their pages are alike.
    List {
        /// JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Remove a template. Functions that are attached to it keep its pages.
    Remove {
        /// The template, or how its name begins.
        id: String,
    },
}

/// How a page server serves the process.
#[derive(Debug, Args)]
struct Serving {
    /// Pages that are installed for one fault.
    #[arg(long, value_name = "K", default_value_t = 16, requires = "server")]
    batch: usize,
    /// What is installed before the process goes on: none, working-set, regions (pages at most 32 apart), or all.
    #[arg(long, value_enum, default_value_t = Before::None, requires = "server")]
    prefetch: Before,
    /// Write the working set down when the process has ended.
    #[arg(long, requires = "server")]
    record: bool,
    /// Install the other pages in idle moments.
    #[arg(long, requires = "server")]
    background: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Before {
    /// Nothing.
    None,
    /// What was recorded, as REAP does.
    WorkingSet,
    /// What was recorded, and what lies between, as FaaSnap does.
    Regions,
    /// Everything.
    All,
}

impl Serving {
    fn options(&self, by: Backing) -> Options {
        let mode = if by == Backing::Fault { Mode::Private } else { Mode::Shared };
        let prefetch = match self.prefetch {
            Before::None => Prefetch::None,
            Before::WorkingSet => Prefetch::WorkingSet,
            Before::Regions => Prefetch::Regions { gap: 32 },
            Before::All => Prefetch::All,
        };
        let (batch, record, background) = (self.batch, self.record, self.background);
        Options { batch, prefetch, record, background, ..Options::new(mode) }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    /// Private mappings: shared until written.
    Map,
    /// Copies.
    Copy,
    /// A page server copies each page when it is touched.
    Fault,
    /// A page server fills a cache that all processes share.
    FaultShared,
    /// CRIU restores a process that it has dumped, from images whose memory is mapped: without a template, and so
    /// for functions, too, that cannot be captured.
    Criu,
}

/// Runs `trenvx emu template`.
///
/// # Errors
/// What is wrong with the template or the function.
pub fn run(folders: &Folders, args: TemplateArgs) -> anyhow::Result<()> {
    let store = Store::open(&args.store)?;
    match args.command {
        Command::Capture { function, warmups } => capture(folders, &store, &function, warmups),
        Command::Attach { id, calls, input, by, server, serving } => {
            let by = match by {
                By::Criu if server.is_some() => bail!("--server is for --by fault and --by fault-shared"),
                By::Criu => return restore(folders, &store, &id, calls, input.as_deref()),
                By::Map => Backing::Map,
                By::Copy => Backing::Copy,
                By::Fault => Backing::Fault,
                By::FaultShared => Backing::FaultShared,
            };
            let server = match (by.is_served(), server) {
                (true, Some(socket)) => Some(PageServer::connect(&socket, serving.options(by))?),
                (false, None) => None,
                (true, None) => bail!("--by {} needs the socket of a page server: --server PATH", by.name()),
                (false, Some(_)) => bail!("--server is for --by fault and --by fault-shared"),
            };
            attach(folders, &store.find(&id)?, calls, input.as_deref(), by, server.as_ref())
        }
        Command::Inspect { id, json } => {
            let template = store.find(&id)?;
            if json {
                println!("{}", serde_json::to_string_pretty(template.manifest())?);
            } else {
                print!("{}", template::inspect::describe(&template));
            }
            Ok(())
        }
        Command::Groups { id, calls, json } => groups(folders, &store.find(&id)?, calls, json),
        Command::Profile { functions, warmups, timed, calls } => {
            profile(folders, &functions, warmups, timed, calls)
        }
        Command::Diff { one, other } => {
            let difference = template::inspect::compare(&store.find(&one)?, &store.find(&other)?)?;
            println!("{}", serde_json::to_string_pretty(&difference)?);
            Ok(())
        }
        Command::Verify { id } => verify(&store, id),
        Command::List { json } => list(&store, json),
        Command::Remove { id } => {
            let id = store.find(&id).map(|template| template.id().to_owned()).unwrap_or(id);
            store.remove(&id)?;
            println!("removed {id}");
            Ok(())
        }
    }
}

fn manager(places: &Places) -> anyhow::Result<Manager> {
    let mut config = Config::new(Isolation::Repurpose);
    config.base = Base::Image(places.image());
    Ok(Manager::start(config)?)
}

fn subject(places: &Places, name: &str) -> anyhow::Result<Subject> {
    let lacking = |error: functions::Error| -> anyhow::Error {
        if error.needs_setup() {
            return Ended { code: 3, message: error.to_string() }.into();
        }
        error.into()
    };
    let manifest = functions::find(places, name).map_err(lacking)?;
    Ok(Subject::from(manifest.locate(places).map_err(lacking)?))
}

fn capture(folders: &Folders, store: &Store, name: &str, warmups: u32) -> anyhow::Result<()> {
    let places = Places::here(&folders.out)?;
    let subject = subject(&places, name)?;
    let manager = manager(&places)?;
    let (_, template) = subject.capture(&manager, store, warmups)?;
    print!("{}", template::inspect::describe(&template));
    Ok(())
}

fn attach(
    folders: &Folders,
    template: &template::Template,
    calls: u32,
    input: Option<&str>,
    by: Backing,
    server: Option<&PageServer>,
) -> anyhow::Result<()> {
    let places = Places::here(&folders.out)?;
    let subject = subject(&places, &template.manifest().function)?;
    let stated: Option<Value> =
        input.map(|text| serde_json::from_str(text).context("the input is not JSON")).transpose()?;
    let manager = manager(&places)?;
    let prepared = Prepared::new(template, by)?;
    // A used sandbox, as a platform has them.
    let used = subject.boot(&manager)?;
    manager.prepare(&subject.program);
    manager.settle();
    let began = Instant::now();
    let mut attached = match server {
        None => prepared.start(&manager, Some(used), &subject.program, None)?,
        Some(server) => {
            let served = server.serve(template.folder());
            prepared.start_served(&manager, Some(used), &subject.program, &served)?.0
        }
    };
    let ms = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
    println!("{}", json!({ "attached_ms": ms(began), "steps": attached.steps }));
    for _ in 0..calls {
        let called = Instant::now();
        let output = match &stated {
            None => subject.call(&mut attached.sandbox, &subject.inputs.base)?,
            Some(input) => {
                let within = std::time::Duration::from_secs(60);
                attached.function().channel.request(input, within)?
            }
        };
        println!("{}", json!({ "reply_ms": ms(called), "since_start_ms": ms(began), "output": output }));
    }
    if let Some(pid) = attached.function().pid() {
        println!("{}", json!({ "memory": template::usage::of(pid)? }));
    }
    Ok(())
}

/// The function of a template, or of this name, by CRIU.
fn restore(
    folders: &Folders,
    store: &Store,
    id: &str,
    calls: u32,
    input: Option<&str>,
) -> anyhow::Result<()> {
    let (name, warm_ups) = match store.find(id) {
        Ok(template) => (template.manifest().function.clone(), template.manifest().warm_ups),
        Err(_) => (id.to_owned(), 3),
    };
    let places = Places::here(&folders.out)?;
    let subject = subject(&places, &name)?;
    let stated: Option<Value> =
        input.map(|text| serde_json::from_str(text).context("the input is not JSON")).transpose()?;
    let criu = Criu::find(&places.out);
    if let Some(why) = criu.lacking() {
        return Err(Ended { code: 3, message: why }.into());
    }
    let dump = Dump::new(&criu, &subject, &places.image(), warm_ups, false)?;
    // The first one has the images rewritten.
    drop(dump.restore(Way::Attach)?);
    let began = Instant::now();
    let mut one = dump.restore(Way::Attach)?;
    let ms = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
    let steps = json!({ "sandbox": one.sandbox, "criu": one.engine });
    println!("{}", json!({ "attached_ms": ms(began), "steps": steps }));
    for _ in 0..calls {
        let called = Instant::now();
        let output = match &stated {
            None => one.call(&subject.inputs.base)?,
            Some(input) => one.ask(input)?,
        };
        println!("{}", json!({ "reply_ms": ms(called), "since_start_ms": ms(began), "output": output }));
    }
    println!("{}", json!({ "memory": one.memory()? }));
    Ok(())
}

fn groups(
    folders: &Folders,
    template: &template::Template,
    calls: usize,
    as_json: bool,
) -> anyhow::Result<()> {
    let places = Places::here(&folders.out)?;
    let subject = subject(&places, &template.manifest().function)?;
    let manager = manager(&places)?;
    let inputs = vec![&subject.inputs.base; calls.max(1)];
    let counted = template::groups::measure(&manager, template, &subject, &inputs)?;
    if as_json {
        println!("{}", serde_json::to_string_pretty(&counted)?);
    } else {
        print!("{}", template::groups::table(&counted));
    }
    Ok(())
}

fn profile(
    folders: &Folders,
    names: &[String],
    warmups: u32,
    timed: usize,
    calls: usize,
) -> anyhow::Result<()> {
    use template::groups::profile::{measure, render};
    let places = Places::here(&folders.out)?;
    let manager = manager(&places)?;
    let scratch = template::Scratch::new()?;
    let mut profiles = Vec::new();
    for name in names {
        eprintln!("measuring {name}");
        let (subject, language) = (subject(&places, name)?, functions::find(&places, name)?.language);
        profiles.push(measure(&manager, scratch.store(), (&subject, language), warmups, timed, calls)?);
    }
    let machine = ::emu::doctor::Machine::describe(&::emu::doctor::Host::this());
    let machine = format!("{} cores of {}, Linux {}", machine.cores, machine.cpu_model, machine.kernel);
    print!("{}", render(&profiles, &machine));
    Ok(())
}

/// A page server that somebody has started.
struct PageServer {
    client: Client,
    options: Options,
    device: File,
}

impl PageServer {
    fn connect(socket: &Path, options: Options) -> anyhow::Result<Self> {
        let device = File::options().read(true).write(true).open("/dev/userfaultfd");
        let device = device.context("cannot open /dev/userfaultfd")?;
        Ok(Self { client: Client::connect(socket)?, options, device })
    }

    fn serve<'a>(&'a self, folder: &'a Path) -> Served<'a> {
        Served { client: &self.client, folder, options: self.options, device: self.device.as_fd() }
    }
}

fn verify(store: &Store, id: Option<String>) -> anyhow::Result<()> {
    let ids = match id {
        Some(id) => vec![store.find(&id)?.id().to_owned()],
        None => store.ids()?,
    };
    let mut bad = 0;
    for id in ids {
        match store.find(&id).and_then(|template| template.verify()) {
            Ok(()) => println!("{id} ok"),
            Err(error) => {
                bad += 1;
                println!("{error}");
            }
        }
    }
    if bad > 0 {
        return Err(Ended { code: 1, message: format!("damaged templates: {bad}") }.into());
    }
    Ok(())
}

fn list(store: &Store, as_json: bool) -> anyhow::Result<()> {
    let sharing = store.sharing()?;
    if as_json {
        println!("{}", serde_json::to_string_pretty(&sharing)?);
        return Ok(());
    }
    println!("{:<33} {:<20} {:>9} {:>10} {:>10}", "template", "function", "pages", "alike", "elsewhere");
    for row in &sharing.templates {
        println!(
            "{:<33} {:<20} {:>9} {:>10} {:>10}",
            row.id, row.function, row.pages, row.duplicates_within, row.duplicates_across
        );
    }
    for reason in &sharing.unreadable {
        println!("{reason}");
    }
    let mib = sharing.unique_bytes as f64 / f64::from(1 << 20);
    println!("{} pages, {mib:.1} MiB when each is kept once", sharing.pages);
    Ok(())
}
