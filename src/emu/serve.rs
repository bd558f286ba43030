//! `trenvx emu serve`: the page server, and the export of templates to other machines.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use emu::pager::export::{Export, Exported};
use emu::pager::metrics::{Target, Teller};
use emu::pager::source::dram::Dram;
use emu::pager::source::spec::{OpenSource, SYNTAX, SourceSpec};
use emu::pager::{ALONE, Config, Server};
use emu::template::pages::{PAGES, PageTable, TABLE};

/// Serve the pages of templates: to processes of this machine, or to page servers of others.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub struct ServeArgs {
    /// Serve page faults; managers connect to this unix socket.
    #[arg(long, value_name = "PATH", group = "what")]
    socket: Option<PathBuf>,
    /// Give pages away over TCP at this address and port; see --template.
    #[arg(long, value_name = "ADDRESS", group = "what", requires = "template")]
    export: Option<String>,
    /// Folder of a template that is given away; may be repeated.
    #[arg(long, value_name = "DIR", requires = "export")]
    template: Vec<PathBuf>,
    #[arg(long = "source", value_name = "SOURCE", help = SYNTAX, default_value = "dram")]
    sources: Vec<SourceSpec>,
    /// Where the threads run that serve faults.
    #[arg(long, value_enum, default_value_t = Placement::Same)]
    placement: Placement,
    /// Threads with `--placement float`.
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Folder for recorded working sets; default: the folders of the templates.
    #[arg(long, value_name = "DIR")]
    records: Option<PathBuf>,
    /// What all shared caches may hold, MiB; beyond it, processes get pages of their own.
    #[arg(long, value_name = "MIB")]
    cache_limit: Option<u64>,
    /// How long a source may take to answer before the next is asked, ms.
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    patience: u64,
    /// How long the last source may take, connecting included, before a process is ended, ms.
    #[arg(long, value_name = "MS", default_value_t = ALONE.as_millis() as u64, value_parser = clap::value_parser!(u64).range(1..))]
    alone: u64,
    /// Write OpenMetrics text to this file every second.
    #[arg(long, value_name = "PATH")]
    metrics: Option<PathBuf>,
    /// Give OpenMetrics text to everybody who connects to this unix socket.
    #[arg(long, value_name = "PATH", conflicts_with = "metrics")]
    metrics_socket: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Placement {
    /// On the core of the process.
    Same,
    /// On the next core.
    Other,
    /// On the next core, without sleeping.
    Spin,
    /// Where the kernel puts them.
    Float,
}

impl From<Placement> for emu::pager::Placement {
    fn from(placement: Placement) -> Self {
        match placement {
            Placement::Same => Self::Same,
            Placement::Other => Self::Other,
            Placement::Spin => Self::Spin,
            Placement::Float => Self::Float,
        }
    }
}

/// Serves until it is told to end by SIGTERM or SIGINT.
pub fn run(args: ServeArgs) -> anyhow::Result<()> {
    // Before there are threads, so that they all inherit it.
    let signals = signals()?;
    let export = match &args.export {
        None => None,
        Some(address) => {
            let export = Export::start(address.as_str(), exported(&args.template)?)
                .with_context(|| format!("cannot listen at {address}"))?;
            eprintln!("exporting {} templates at {}", args.template.len(), export.address());
            Some(export)
        }
    };
    let mut server = None;
    if let Some(socket) = args.socket {
        let sources = args.sources.into_iter().map(|source| Arc::new(source) as Arc<dyn OpenSource>);
        let mut config = Config::new(socket.clone(), sources.collect());
        config.placement = args.placement.into();
        config.threads = args.threads;
        config.records = args.records;
        config.cache_limit = args.cache_limit.map(|mib| mib << 20);
        config.patience = Duration::from_millis(args.patience);
        config.alone = Duration::from_millis(args.alone);
        let started =
            Server::start(config).with_context(|| format!("cannot serve at {}", socket.display()))?;
        eprintln!("serving page faults at {}", socket.display());
        server = Some(started);
    }
    let target = args.metrics.map(Target::File).or(args.metrics_socket.map(Target::Socket));
    let teller = match (&server, target) {
        (Some(server), Some(target)) => {
            Some(Teller::start(target, server.reporter()).context("cannot give metrics away")?)
        }
        _ => None,
    };
    wait(&signals)?;
    drop((teller, server, export));
    Ok(())
}

fn exported(folders: &[PathBuf]) -> anyhow::Result<Vec<Exported>> {
    let mut templates = Vec::new();
    for folder in folders {
        let open = || -> anyhow::Result<Exported> {
            let table = PageTable::read(&folder.join(TABLE))?;
            let source = Dram::open(&File::open(folder.join(PAGES))?, &table)?;
            Ok(Exported { root: table.root(), source: Arc::new(source) })
        };
        templates.push(open().with_context(|| format!("cannot export {}", folder.display()))?);
    }
    Ok(templates)
}

/// A descriptor that is readable when the program is told to end.
fn signals() -> anyhow::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: the set is made and used here; blocking signals changes this thread and those it will start.
    let fd = unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::sigaddset(&raw mut set, libc::SIGINT);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC)
    };
    anyhow::ensure!(fd >= 0, "cannot wait for signals: {}", std::io::Error::last_os_error());
    // SAFETY: made above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn wait(signals: &OwnedFd) -> anyhow::Result<()> {
    use std::io::Read;
    let mut entry = [0; 128];
    File::from(signals.as_fd().try_clone_to_owned()?).read_exact(&mut entry)?;
    Ok(())
}
