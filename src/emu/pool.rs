//! `trenvx emu pool`: template pages on CXL devices and on other hosts.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use emu::pager::source::spec::{SYNTAX, SourceSpec};
use emu::pager::{self, ALONE, lab::visit};
use emu::pool::device::Device;
use emu::pool::folder::{self, Folder};
use emu::pool::namespace::{self, Mode};
use emu::pool::rdma::{Attempt, Client, Key, Remote, Server};
use emu::pool::survey::{survey, synthetic};
use emu::pool::{PageReader, node, online, orders, region};
use emu::template::pages::{PageTable, TABLE};

use crate::common::Ended;

/// Template pages in memory that hosts share.
#[derive(Debug, Args)]
pub struct PoolArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a CXL device usable: its region, a namespace, and for files a mounted file system.
    Device(DeviceArgs),
    /// Make an empty pool of a device that is mapped as a whole. Forgets what was on it.
    Format(OnDevice),
    /// Put a template into a pool.
    Fill(FillArgs),
    /// List the templates on a device.
    List(OnDevice),
    /// Give the space of a template on a device back.
    Remove(RemoveArgs),
    /// Break the lock that a dead host has left on a device.
    Unlock(OnDevice),
    /// Register templates and let other hosts read them by RDMA.
    Serve(ServeArgs),
    /// Read a template from end to end, compare every page with its hash, and say how fast that was.
    Read(ReadArgs),
    /// Have processes touch all of a template, served from these sources, and compare everything that they saw.
    Touch(TouchArgs),
    /// Try what a pool must refuse.
    Attempt(AttemptArgs),
    /// Make a template of random pages.
    Synthetic(SyntheticArgs),
}

#[derive(Debug, Args)]
struct DeviceArgs {
    /// What it is to be.
    #[arg(long, value_enum)]
    mode: ModeArg,
    /// Size of the namespace, MiB; default: all that is left.
    #[arg(long, value_name = "MIB")]
    mib: Option<u64>,
    /// Where to mount its file system (fsdax, node).
    #[arg(long, value_name = "DIR")]
    mount: Option<PathBuf>,
    /// Give this device (/dev/dax…) to the kernel as system memory first: what is on it is lost, and it is a node until
    /// the machine starts again (node).
    #[arg(long, value_name = "DEVICE", conflicts_with = "read_only")]
    online: Option<PathBuf>,
    /// Another host fills it: make nothing, and mount only to read.
    #[arg(long, conflicts_with = "mib")]
    read_only: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    /// A block device for a file system whose files are mapped directly.
    Fsdax,
    /// A character device that is mapped as a whole.
    Devdax,
    /// A tmpfs whose memory comes from a node that has memory and no processors (the first, or that of --online): CXL
    /// memory that the kernel has made system memory.
    Node,
}

#[derive(Debug, Args)]
struct OnDevice {
    /// The device: /dev/dax… (or a file in its place).
    #[arg(long, value_name = "FILE")]
    device: PathBuf,
}

#[derive(Debug, Args)]
struct FillArgs {
    /// A device that is mapped as a whole.
    #[arg(long, value_name = "FILE", required_unless_present = "mount", conflicts_with = "mount")]
    device: Option<PathBuf>,
    /// A file system whose files are mapped directly.
    #[arg(long, value_name = "DIR")]
    mount: Option<PathBuf>,
    /// Name in the pool; default: the folder's.
    #[arg(long)]
    name: Option<String>,
    /// Folder of the template.
    template: PathBuf,
}

#[derive(Debug, Args)]
struct RemoveArgs {
    #[command(flatten)]
    on: OnDevice,
    /// The template.
    #[arg(required_unless_present = "slot")]
    name: Option<String>,
    /// A damaged slot of the directory, as `list` shows it.
    #[arg(long, value_name = "N", conflicts_with = "name")]
    slot: Option<usize>,
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Address of an RDMA device of this host, and port.
    #[arg(long, value_name = "HOST:PORT")]
    listen: SocketAddr,
    /// File with the pool's key; made if it is not there. Clients need the same.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Let in only this address (repeat for several).
    #[arg(long = "allow", value_name = "ADDRESS")]
    allowed: Vec<IpAddr>,
    /// Folders of templates.
    #[arg(required_unless_present = "device")]
    templates: Vec<PathBuf>,
    /// A device that is mapped as a whole: the templates on it are registered where they lie, when they are asked for.
    #[arg(long, value_name = "FILE")]
    device: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ReadArgs {
    /// A pool on another host.
    #[arg(long, value_name = "HOST:PORT", requires = "key", requires = "table")]
    from: Option<SocketAddr>,
    /// File with that pool's key.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Table of the template, or its folder: says which template is wanted, and what its pages must be.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// A device that is mapped as a whole.
    #[arg(long, value_name = "FILE", conflicts_with = "from", requires = "name")]
    device: Option<PathBuf>,
    /// Name of the template on that device.
    #[arg(long)]
    name: Option<String>,
    /// Folder of a template on a file system whose files are mapped directly.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["from", "device"])]
    folder: Option<PathBuf>,
    /// Pages asked for at a time.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=4096))]
    batch: u16,
    /// Read all of it so many times.
    #[arg(long, value_name = "N", default_value_t = 1)]
    times: u32,
    /// Seconds that a read may take with all that it needs: connecting again, a link that is down.
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0)]
    patience: f64,
    /// Break the queue pair before each further reading, as a failing card does.
    #[arg(long)]
    spoil: bool,
}

#[derive(Debug, Args)]
struct TouchArgs {
    /// Where pages come from (repeat for those that are asked when one fails).
    #[arg(long = "source", value_name = "SOURCE", required = true, help = SYNTAX)]
    sources: Vec<SourceSpec>,
    /// One cache for all processes instead of copies.
    #[arg(long)]
    shared: bool,
    /// Pages that are installed for one fault.
    #[arg(long, value_name = "K", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=512))]
    batch: u16,
    /// Random reads and writes of each process before it reads everything.
    #[arg(long, value_name = "N", default_value_t = 500)]
    steps: usize,
    /// So many processes, one after another.
    #[arg(long, value_name = "N", default_value_t = 1)]
    times: u32,
    /// How long a source may take to answer before the next is asked, ms.
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    patience: u64,
    /// How long the last source may take, connecting included, before a process is ended, ms.
    #[arg(long, value_name = "MS", default_value_t = ALONE.as_millis() as u64, value_parser = clap::value_parser!(u64).range(1..))]
    alone: u64,
    /// Folder of the template.
    template: PathBuf,
}

#[derive(Debug, Args)]
struct AttemptArgs {
    /// The pool.
    #[arg(long, value_name = "HOST:PORT")]
    from: SocketAddr,
    /// File with its key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Table of a template in it, or the template's folder.
    #[arg(long, value_name = "FILE")]
    table: PathBuf,
    /// Table of another template in it, or that template's folder: must not be reached on a connection for the first.
    #[arg(long, value_name = "FILE")]
    other: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct SyntheticArgs {
    /// Pages; every eighth is absent.
    #[arg(long, value_name = "N")]
    pages: u64,
    /// Seed of their contents.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Folder to make.
    folder: PathBuf,
}

/// Runs the subcommand.
///
/// # Errors
/// As the subcommand says.
pub fn run(args: PoolArgs) -> anyhow::Result<()> {
    match args.command {
        Command::Device(args) => device(&args),
        Command::Format(on) => {
            Device::open_mut(&on.device)?.format();
            Ok(())
        }
        Command::Fill(args) => fill(&args),
        Command::List(on) => list(&on.device),
        Command::Remove(args) => remove(&args),
        Command::Unlock(on) => {
            match Device::open_mut(&on.device)?.unlock()? {
                0 => println!("not locked"),
                host => println!("taken from host {host:x}"),
            }
            Ok(())
        }
        Command::Serve(args) => serve(args),
        Command::Read(args) => read(&args),
        Command::Touch(args) => touch(args),
        Command::Attempt(args) => attempt(&args),
        Command::Synthetic(args) => {
            let table = synthetic(&args.folder, args.pages, args.seed)
                .with_context(|| format!("cannot make {}", args.folder.display()))?;
            println!("{}", table.root());
            Ok(())
        }
    }
}

fn device(args: &DeviceArgs) -> anyhow::Result<()> {
    let mode = match args.mode {
        ModeArg::Fsdax => Mode::Fsdax,
        ModeArg::Devdax => Mode::Devdax,
        ModeArg::Node => {
            anyhow::ensure!(
                !args.read_only,
                "--read-only is for devices that hosts share, and a node is this host's"
            );
            let place = args.mount.as_ref().context("--mode node needs a place: --mount DIR")?;
            let online = args.online.as_ref();
            let made = online.map(|device| online::make_node(Path::new(online::SYS), device)).transpose()?;
            let node = node::mount_bound(place, made, args.mib)?;
            println!("node {}, {} MiB", node.number, node.bytes >> 20);
            return Ok(());
        }
    };
    anyhow::ensure!(args.online.is_none(), "--online is for --mode node");
    let region = region::ensure(Path::new(region::BUS), namespace::reread_labels)?;
    let device = if args.read_only {
        namespace::find(&region.name, mode)?
    } else {
        namespace::ensure(&region.name, mode, args.mib)?
    };
    println!("{}", device.display());
    if let Some(place) = &args.mount {
        anyhow::ensure!(
            mode == Mode::Fsdax,
            "--mount is for --mode fsdax: a devdax device has no file system"
        );
        namespace::mount_direct(&device, place, args.read_only)?;
    }
    Ok(())
}

fn fill(args: &FillArgs) -> anyhow::Result<()> {
    let own = args.template.file_name().map(|name| name.to_string_lossy().into_owned());
    let name =
        args.name.clone().or(own).context("the template's folder has no name: give one with --name")?;
    let begin = Instant::now();
    let place = match (&args.device, &args.mount) {
        (Some(device), _) => {
            let entry = Device::open_mut(device)?.fill(&name, &args.template)?;
            format!("{} at {:#x}", device.display(), entry.start)
        }
        (None, Some(mount)) => folder::fill(mount, &name, &args.template)?.display().to_string(),
        (None, None) => unreachable!("one of both is asked for"),
    };
    println!("{name}: {place}, {:.2} s", begin.elapsed().as_secs_f64());
    Ok(())
}

fn list(device: &Path) -> anyhow::Result<()> {
    let (entries, damages) = Device::open(device)?.list()?;
    for entry in entries {
        let state = if entry.is_ready { "ready" } else { "being filled" };
        println!("{:24}  {:>9} pages at {:#12x}  {state}", entry.name, entry.pages, entry.start);
    }
    for damage in damages {
        println!("slot {:19}  damaged: {}", damage.slot, damage.what);
    }
    Ok(())
}

fn remove(args: &RemoveArgs) -> anyhow::Result<()> {
    let device = Device::open_mut(&args.on.device)?;
    match (&args.name, args.slot) {
        (Some(name), _) => device.remove(name)?,
        (None, Some(slot)) => device.clear(slot)?,
        (None, None) => unreachable!("one of both is asked for"),
    }
    Ok(())
}

fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let key = Key::read_or_make(&args.key).with_context(|| format!("{}", args.key.display()))?;
    let orders = orders::Orders::new().context("cannot watch for signals")?;
    let mut server = Server::start(args.listen, key, args.allowed, &args.templates, args.device)?;
    for (root, pages) in server.templates() {
        let root: String = root.iter().map(|byte| format!("{byte:02x}")).collect();
        println!("template {root}, {pages} pages");
    }
    println!("serving on {}", args.listen);
    Ok(server.serve(orders.fd(), || orders.next(), |notice| println!("{notice}"))?)
}

/// The root hash in a table, or in the table of a template's folder.
fn root(path: &Path) -> anyhow::Result<[u8; 32]> {
    let path = if path.is_dir() { path.join(TABLE) } else { path.to_owned() };
    let table = PageTable::read(&path).with_context(|| format!("{}", path.display()))?;
    Ok(*table.root().as_bytes())
}

fn remote(address: SocketAddr, key: &Path, table: &Path, patience: f64) -> anyhow::Result<Remote> {
    let key = Key::read(key).with_context(|| format!("{}", key.display()))?;
    let patience = Duration::try_from_secs_f64(patience).context("--patience")?;
    Ok(Remote { address, key, root: root(table)?, patience })
}

fn read(args: &ReadArgs) -> anyhow::Result<()> {
    if let Some(address) = args.from {
        let (key, table) = (args.key.as_ref().context("--key")?, args.table.as_ref().context("--table")?);
        let mut client = Client::connect(remote(address, key, table, args.patience)?)?;
        repeat(&mut client, args, |client| if args.spoil { Ok(client.spoil()?) } else { Ok(()) })?;
        eprintln!("trenvx: {} connections", client.connections());
        return Ok(());
    }
    if let Some(path) = &args.folder {
        return repeat(&mut Folder::open(path)?, args, |_| Ok(()));
    }
    if let (Some(device), Some(name)) = (&args.device, &args.name) {
        return repeat(&mut Device::open(device)?.template(name)?, args, |_| Ok(()));
    }
    anyhow::bail!("say where to read: --from HOST:PORT, --device FILE --name NAME, or --folder DIR")
}

/// Reads all of it as often as asked, with a line of JSON for each time.
fn repeat<R: PageReader>(
    reader: &mut R,
    args: &ReadArgs,
    between: impl Fn(&mut R) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for time in 0..args.times {
        if time > 0 {
            between(reader)?;
        }
        let survey = survey(reader, usize::from(args.batch))?;
        println!("{}", serde_json::to_string(&survey).context("cannot write JSON")?);
    }
    Ok(())
}

fn touch(args: TouchArgs) -> anyhow::Result<()> {
    let mode = if args.shared { pager::Mode::Shared } else { pager::Mode::Private };
    let settings = visit::Settings {
        template: args.template,
        sources: args.sources,
        options: pager::Options { batch: args.batch.into(), ..pager::Options::new(mode) },
        patience: Duration::from_millis(args.patience),
        alone: Duration::from_millis(args.alone),
        steps: args.steps,
    };
    let tell = |visit: &visit::Visit| println!("{}", serde_json::to_string(visit).expect("plain data"));
    Ok(visit::run(&settings, args.times, tell)?)
}

fn attempt(args: &AttemptArgs) -> anyhow::Result<()> {
    let remote = remote(args.from, &args.key, &args.table, 20.0)?;
    let other = args.other.as_deref().map(root).transpose()?;
    let mut allowed = 0;
    for attempt in Attempt::ALL.into_iter().filter(|attempt| other.is_some() || !attempt.needs_other()) {
        let refused = attempt.is_refused(&remote, other)?;
        println!("{attempt:?}: {}", if refused { "refused" } else { "ALLOWED" });
        allowed += usize::from(!refused);
    }
    if allowed > 0 {
        let message = format!("the pool allowed {allowed} things that it must refuse");
        return Err(Ended { code: 1, message }.into());
    }
    Ok(())
}
