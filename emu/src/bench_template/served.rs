//! Templates whose pages a page server brings: the server, and what each engine asks of it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Engine;
use crate::pager::export::{Export, Exported};
use crate::pager::lab::Child;
use crate::pager::source::dram::Dram;
use crate::pager::stats::Report;
use crate::pager::{Attachment, Client, Mode, Options, Placement, Prefetch};
use crate::sandbox::{Manager, Program, Sandbox};
use crate::template::pages::{PAGES, PageTable, TABLE};
use crate::template::{Attached, Backing, Error, Prepared, Scratch, Served, Template};

/// What engines with a page server need of a machine.
pub(crate) const NEEDS: &[&str] =
    &["userfaultfd", "userfaultfd-device", "userfaultfd-features", "userfaultfd-minor"];
/// How long a server may take to write a working set down.
const RECORDING: Duration = Duration::from_secs(10);

/// One engine's way to a served process. The parts end in this order.
pub(crate) struct Way {
    prepared: Prepared,
    client: Client,
    options: Options,
    folder: PathBuf,
    device: File,
    server: Child,
    _export: Option<Export>,
    scratch: Scratch,
}

impl Way {
    /// For an engine that a page server takes part in.
    pub(crate) fn new(template: &Template, engine: Engine, batch: usize) -> Result<Self, Error> {
        let io = |what: &str| Error::step(what.to_owned());
        let scratch = Scratch::new()?;
        let export = match engine {
            Engine::FaultTcp => Some(export(template).map_err(io("give the pages of a template away"))?),
            _ => None,
        };
        let source = export.as_ref().map_or("dram".to_owned(), |export| format!("tcp:{}", export.address()));
        let folder = scratch.store().folder().to_owned();
        let socket = folder.join("pages.socket");
        let records = Some(folder.join("records"));
        let server = crate::bench_pager::serve(Placement::Same, &source, &socket, records);
        let server = server.map_err(io("start a page server"))?;
        let (backing, mode) = match engine {
            Engine::FaultShared => (Backing::FaultShared, Mode::Shared),
            _ => (Backing::Fault, Mode::Private),
        };
        let device = File::options().read(true).write(true).open("/dev/userfaultfd");
        Ok(Self {
            prepared: Prepared::new(template, backing)?,
            client: Client::connect(&socket).map_err(Error::Server)?,
            options: Options { batch, ..Options::new(mode) },
            folder: template.folder().to_owned(),
            device: device.map_err(io("open /dev/userfaultfd"))?,
            server,
            _export: export,
            scratch,
        })
    }

    /// A process of the template.
    pub(crate) fn start(
        &self,
        manager: &Manager,
        used: Option<Sandbox>,
        program: &Program,
    ) -> Result<(Attached, Attachment), Error> {
        let served = Served {
            client: &self.client,
            folder: &self.folder,
            options: self.options,
            device: self.device.as_fd(),
        };
        self.prepared.start_served(manager, used, program, &served)
    }

    /// Number of the server's process.
    pub(crate) fn server(&self) -> i32 {
        self.server.pid()
    }

    /// What the server has counted.
    pub(super) fn report(&self) -> Result<Report, Error> {
        self.client.report().map_err(Error::Server)
    }

    /// Waits until nothing is attached any more; what the server has counted.
    pub(crate) fn settle(&self, within: Duration) -> Result<Report, Error> {
        let end = Instant::now() + within;
        loop {
            let report = self.client.report().map_err(Error::Server)?;
            if report.attachments == 0 && self.client.attached() == 0 {
                return Ok(report);
            }
            if Instant::now() > end {
                let what = format!("{} processes that have ended are still attached", report.attachments);
                return Err(Error::step("wait for the page server")(io::Error::other(what)));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Has what the next process touches first written down, page by page.
    pub(crate) fn record(&mut self) {
        self.options = Options { record: true, batch: 1, ..self.options };
    }

    /// From now on, what was written down is installed before a process goes on.
    ///
    /// # Errors
    /// If nothing was written down.
    pub(crate) fn replay(&mut self, batch: usize) -> Result<(), Error> {
        let records = self.scratch.store().folder().join("records");
        let end = Instant::now() + RECORDING;
        while std::fs::read_dir(&records).map_or(true, |mut found| found.next().is_none()) {
            if Instant::now() > end {
                let late = io::Error::other(format!("the server wrote none within {RECORDING:?}"));
                return Err(Error::step("record a working set")(late));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.options = Options { record: false, batch, prefetch: Prefetch::WorkingSet, ..self.options };
        Ok(())
    }
}

/// Gives a template away at a port of the loopback interface.
fn export(template: &Template) -> io::Result<Export> {
    let folder = template.folder();
    let table = PageTable::read(&folder.join(TABLE)).map_err(io::Error::other)?;
    let source = Dram::open(&File::open(folder.join(PAGES))?, &table).map_err(io::Error::other)?;
    Export::start("127.0.0.1:0", vec![Exported { root: table.root(), source: Arc::new(source) }])
}
