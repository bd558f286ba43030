//! Templates of a run's functions: captured once before the workload begins, attached at every start.

use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use configs::Spec;
use platform::memory::MemoryClass;
use platform::system::{PageSource, State};
use traces::Bytes;

use super::catalog::Real;
use super::error::Refused;
use crate::pager::source::spec::SourceSpec;
use crate::pager::{self, Attachment, Client, Mode as Install, Options};
use crate::sandbox::{Config, Manager, Mode, Origin, Program, Sandbox};
use crate::template::{self, Backing, Prepared, Request, Scratch, Served, Store, capture};

/// How long a function may take to get ready and to answer while it is captured.
const WITHIN: Duration = Duration::from_secs(60);
/// Calls before a function is captured: the published artifact's checkpoints are of functions that were called.
const WARM_UPS: u32 = 3;

/// Templates of all functions of a run.
#[derive(Debug)]
pub(super) struct Templates {
    /// In the order of the functions.
    pub attachable: Vec<Attachable>,
    /// What their pages are in the accounts.
    pub class: MemoryClass,
    /// What all of them hold.
    pub bytes: Bytes,
}

/// A function's template, ready to be attached.
#[derive(Debug)]
pub(super) struct Attachable {
    prepared: Prepared,
    served: Option<(Arc<Serving>, PathBuf)>,
}

impl Attachable {
    /// A process of the template, in a new sandbox or a used one; how it came by it; what tells why it ended, if its pages
    /// are served.
    pub fn start(
        &self,
        manager: &Manager,
        used: Option<Sandbox>,
        program: &Program,
    ) -> Result<(Sandbox, Origin, Option<Attachment>), template::Error> {
        let Some((serving, folder)) = &self.served else {
            let attached = self.prepared.start(manager, used, program, None)?;
            return Ok((attached.sandbox, attached.origin, None));
        };
        let served = Served {
            client: &serving.client,
            folder,
            options: serving.options,
            device: serving.device.as_fd(),
        };
        let (attached, attachment) = self.prepared.start_served(manager, used, program, &served)?;
        Ok((attached.sandbox, attached.origin, Some(attachment)))
    }
}

/// The page server of a run, with the files that it serves. The parts end in this order.
struct Serving {
    client: Client,
    options: Options,
    device: OwnedFd,
    _server: pager::Server,
    _scratch: Scratch,
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("options", &self.options).finish_non_exhaustive()
    }
}

/// How the pages of a system's templates come.
#[derive(Clone, Debug)]
pub(super) struct Pages {
    class: MemoryClass,
    /// What serves them; `None`: they are mapped.
    source: Option<SourceSpec>,
    /// Pages that are installed for one fault.
    batch: usize,
}

/// How the pages of a system's templates come; `None` where its functions boot.
///
/// # Errors
/// If its state or its pages cannot be had here.
pub(super) fn pages(spec: &Spec) -> Result<Option<Pages>, Refused> {
    let system = &spec.system;
    let batch = spec.emu.as_ref().map_or(1, |emu| emu.batch as usize);
    let mapped = |class| Ok(Some(Pages { class, source: None, batch }));
    match (system.state, system.pages) {
        (State::Boot, _) => Ok(None),
        (State::Attach, PageSource::Cxl) => mapped(MemoryClass::PoolCxl),
        (State::Attach, PageSource::Dram) => mapped(MemoryClass::NodeShared),
        (State::Attach, PageSource::Rdma) => {
            let rdma = &spec.machine.rdma;
            // The middle of an even spread with the deviation of the model: its half width is sqrt(3) deviations.
            let spread = (rdma.read_variation * 3f64.sqrt() * 100.0).min(100.0).round();
            let source = format!(
                "dram,latency={}ns,spread={spread}%,bandwidth={}MB/s,iops={}",
                rdma.read_4k.as_nanos(),
                (rdma.bandwidth / 1_000_000).max(1),
                rdma.reads_per_second
            );
            let source =
                source.parse().map_err(|error| Refused::Experiment(format!("machine.rdma: {error}")))?;
            Ok(Some(Pages { class: MemoryClass::PoolRdma, source: Some(source), batch }))
        }
        (State::Attach, pages) => {
            let what = format!("a template whose pages come by \"{}\"", pages.word());
            Err(Refused::System { system: system.name.clone(), what })
        }
        (state, _) => Err(Refused::State { system: system.name.clone(), state: state.word() }),
    }
}

/// Starts every function once, calls it until it is warm, and captures it.
///
/// # Errors
/// If one does not start, does not answer or cannot be captured: which one, and why.
pub(super) fn capture_all(config: &Config, functions: &[Real], pages: &Pages) -> Result<Templates, Refused> {
    // Templates depend on files of the functions and on this machine: they are made for the run and gone with it.
    let scratch = Scratch::new()?;
    let manager = Manager::start(Config { mode: Mode::New, ..config.clone() })?;
    let backing = if pages.source.is_some() { Backing::Fault } else { Backing::Map };
    let mut captured = Vec::new();
    let mut bytes = Bytes(0);
    for real in functions {
        let name = &real.program.hostname;
        let template = capture_one(&manager, scratch.store(), real)
            .map_err(|what| Refused::Template { function: name.clone(), what })?;
        bytes = Bytes(bytes.0 + template.manifest().pages.present * template::pages::PAGE as u64);
        captured.push((Prepared::new(&template, backing)?, template.folder().to_owned()));
    }
    let serving = match &pages.source {
        Some(source) => Some(Arc::new(serve(source, pages.batch, scratch)?)),
        None => None,
    };
    let with = |folder: PathBuf| serving.as_ref().map(|serving| (Arc::clone(serving), folder));
    let attachable = captured
        .into_iter()
        .map(|(prepared, folder)| Attachable { prepared, served: with(folder) })
        .collect();
    Ok(Templates { attachable, class: pages.class, bytes })
}

fn capture_one(manager: &Manager, store: &Store, real: &Real) -> Result<template::Template, String> {
    let mut sandbox = manager.create(&real.program).map_err(|error| error.to_string())?;
    let function = sandbox.function_mut().expect("just started");
    function.channel.line(WITHIN).map_err(|failure| failure.to_string())?;
    for _ in 0..WARM_UPS {
        let answer = function.channel.request(&real.input, WITHIN).map_err(|failure| failure.to_string())?;
        if answer["ok"] != true {
            return Err(format!("it answered with an error: {}", answer["error"]));
        }
    }
    let request = Request::new(&real.program.hostname, WARM_UPS);
    let template = capture(store, function, &request).map_err(|error| error.to_string());
    manager.destroy(sandbox);
    template
}

/// A page server for the templates of this run, which copies `batch` pages into a process at each fault (published: one).
fn serve(source: &SourceSpec, batch: usize, scratch: Scratch) -> Result<Serving, Refused> {
    let io = |step| move |source| Refused::Io { step, source };
    let socket = scratch.store().folder().join("pages.socket");
    let config = pager::Config::new(socket.clone(), vec![Arc::new(source.clone())]);
    let server = pager::Server::start(config).map_err(io("start a page server"))?;
    let client = Client::connect(&socket).map_err(template::Error::Server)?;
    let device = File::options().read(true).write(true).open("/dev/userfaultfd");
    let device = device.map_err(io("open /dev/userfaultfd"))?.into();
    let options = Options { batch, ..Options::new(Install::Private) };
    Ok(Serving { client, options, device, _server: server, _scratch: scratch })
}

#[cfg(test)]
mod tests {
    use super::*;
    use configs::Tier;
    use std::path::Path;

    #[test]
    fn pages_of_shipped_systems_are_mapped_served_or_refused() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/experiments/e04-w1.toml");
        let experiment = configs::load(&file, Tier::Kick, &[]).unwrap();
        let of = |system: &str| {
            let point = experiment.emulated.iter().find(|point| point.spec.system.name == system).unwrap();
            pages(&point.spec).unwrap()
        };
        assert!(of("faasd").is_none());
        assert!(of("t-cxl").unwrap().source.is_none());
        let rdma = of("t-rdma").unwrap();
        assert_eq!((rdma.class, rdma.source.is_some()), (MemoryClass::PoolRdma, true));
        assert_eq!(rdma.batch, 1, "as published");
        let sets = ["emu.batch=16".to_owned()];
        let many = configs::load(&file, Tier::Kick, &sets).unwrap();
        let point = many.emulated.iter().find(|point| point.spec.system.name == "t-rdma").unwrap();
        assert_eq!(pages(&point.spec).unwrap().unwrap().batch, 16);
        let mut spec = experiment.emulated[0].spec.clone();
        spec.system.state = State::CriuCopy;
        assert!(matches!(pages(&spec), Err(Refused::State { .. })));
    }
}
