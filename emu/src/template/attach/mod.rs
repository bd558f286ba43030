//! Attach: a new process of a sandbox becomes the process of a template, without copying its memory.
//!
//! ```text
//! manager    Prepared::new    once for a template: the program as a file in memory
//!            Prepared::start  a new or used sandbox, whose process calls the routine `attach`
//! carrier    opens files, makes descriptors, maps the program, fills in what only it knows, and enters it
//! program    takes its own memory away, maps the template's, makes the threads, gives up privileges, goes on
//! ```
//!
//! Nobody traces anybody: the manager only sends the order and reads the report.

mod backing;
mod carrier;
mod files;
mod frame;
mod guard;
mod interpreter;
mod lent;
mod program;
mod report;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;

pub use self::backing::{Backing, HandOver, Region, RegionKind};
use self::carrier::Plan;
pub use self::carrier::{ENTRY, ROUTINE};
use self::report::Outcome;
pub use self::report::Steps;
use super::error::Error;
use super::store::Template;
use crate::pager::{self, Attachment, Client, Fate, Options};
use crate::sandbox::wire;
use crate::sandbox::{Function, Manager, Origin, Program, Sandbox, Start};

/// How long an attach may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// A template that is ready to be attached: everything that can be done once has been done.
#[derive(Debug)]
pub struct Prepared {
    id: String,
    backing: Backing,
    program: program::Program,
    /// The image and the plan.
    file: OwnedFd,
    pages: OwnedFd,
    /// Mapped files that each process is given.
    lent: lent::Lent,
    /// What answers for processes that have it mapped.
    guard: Arc<guard::Guard>,
}

/// A function that came from a template.
#[derive(Debug)]
pub struct Attached {
    /// Where it runs.
    pub sandbox: Sandbox,
    /// How it came by its sandbox.
    pub origin: Origin,
    /// What each step took.
    pub steps: Steps,
    /// When the carrier ran its first instruction, and the program its last before the template's; ns of the
    /// monotonic clock.
    pub moments: (u64, u64),
}

impl Attached {
    /// The function.
    #[must_use]
    pub fn function(&mut self) -> &mut Function {
        self.sandbox.function_mut().expect("an attached sandbox has its function")
    }
}

/// What serves the pages of a process, where they are not mapped.
#[derive(Clone, Copy, Debug)]
pub struct Server<'a> {
    /// A socket that keeps messages apart. The process sends a [`HandOver`] as JSON with its userfaultfd, and goes on
    /// when it has read one byte.
    pub socket: BorrowedFd<'a>,
    /// `/dev/userfaultfd`.
    pub device: BorrowedFd<'a>,
    /// With [`Backing::FaultShared`]: the cache, a file in memory laid out as the file of pages.
    pub cache: Option<BorrowedFd<'a>>,
}

/// A page server that a client speaks to, and what it is asked to do.
#[derive(Clone, Copy)]
pub struct Served<'a> {
    /// The connection, which also watches the process.
    pub client: &'a Client,
    /// Folder of the template, for the server.
    pub folder: &'a Path,
    /// How the process is served; its mode is that of the backing.
    pub options: Options,
    /// `/dev/userfaultfd`.
    pub device: BorrowedFd<'a>,
}

impl Prepared {
    /// Prepares a template.
    ///
    /// # Errors
    /// If it cannot be attached on this machine, or a page is not what its table says. (A page server checks what it
    /// installs itself.)
    pub fn new(template: &Template, backing: Backing) -> Result<Self, Error> {
        template.check_machine()?;
        if !backing.is_served() {
            template.verify()?;
        }
        let manifest = template.manifest();
        let program = program::Program::new(manifest, backing)
            .map_err(|what| Error::Damaged { id: template.id().to_owned(), what })?;
        let plan = Plan {
            at: program.at,
            length: program.image.len() as u64,
            places: program.places.clone(),
            numbers: program.numbers,
            cwd: manifest.process.cwd.clone(),
            umask: manifest.process.umask,
            executable: manifest.process.executable.clone(),
            files: program.files.clone(),
            descriptors: manifest.descriptors.clone(),
            own_files: manifest.own_files.clone(),
            known_files: manifest.known_files.clone(),
            faults: backing.features(),
        };
        let step = |what: &str| Error::step(format!("{what} the program of {}", template.id()));
        let file = rustix::fs::memfd_create("trenvx-program", MemfdFlags::CLOEXEC)
            .map_err(|errno| step("make")(errno.into()))?;
        let mut file = File::from(file);
        let plan = serde_json::to_vec(&plan).map_err(|error| step("write")(io::Error::other(error)))?;
        file.write_all(&program.image).and_then(|()| file.write_all(&plan)).map_err(step("write"))?;
        let pages = template.open_pages()?;
        let lent = lent::Lent::new(manifest, &program.files);
        Ok(Self {
            id: template.id().to_owned(),
            backing,
            program,
            file: file.into(),
            pages: pages.into(),
            lent,
            guard: guard::Guard::new(manifest),
        })
    }

    /// How its pages become reachable.
    #[must_use]
    pub fn backing(&self) -> Backing {
        self.backing
    }

    /// What a page server must have for it.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.program.regions
    }

    /// Attaches in a new sandbox, or in a used one, which is repurposed. `program` says everything about the sandbox
    /// but what runs: that is the template.
    ///
    /// # Errors
    /// If the sandbox cannot be made, or the process could not become the template's: the step, with the reason.
    pub fn start(
        &self,
        manager: &Manager,
        used: Option<Sandbox>,
        program: &Program,
        server: Option<Server<'_>>,
    ) -> Result<Attached, Error> {
        let (begun, report) = self.begin(manager, used, program, server)?;
        self.finish(begun, &report, server.and_then(|server| server.cache))
    }

    /// The same, with the pages of a server that a [`Client`] speaks to. What becomes of the process if the server
    /// dies or a page cannot be had, the second part of the result tells.
    ///
    /// # Errors
    /// As [`Prepared::start`]; if the server refuses.
    pub fn start_served(
        &self,
        manager: &Manager,
        used: Option<Sandbox>,
        program: &Program,
        served: &Served<'_>,
    ) -> Result<(Attached, Attachment), Error> {
        let (ours, theirs) = wire::pair().map_err(|errno| Error::step("make a socket")(errno.into()))?;
        let cache = match self.backing {
            Backing::FaultShared => Some(served.client.cache(served.folder).map_err(Error::Server)?.0),
            _ => None,
        };
        let server =
            Server { socket: theirs.as_fd(), device: served.device, cache: cache.as_ref().map(AsFd::as_fd) };
        let (begun, report) = self.begin(manager, used, program, Some(server))?;
        drop(theirs);
        let attachment = self.hand_over(&begun.0, &ours, served)?;
        let attached = match self.finish(begun, &report, cache.as_ref().map(AsFd::as_fd)) {
            Ok(attached) => attached,
            // The server knows more than the process that it has ended.
            Err(error) => match attachment.and_then(|attachment| attachment.fate(Duration::from_secs(1))) {
                Some(Fate::Ended(reason)) => return Err(self.failed(&reason)),
                _ => return Err(error),
            },
        };
        let attachment = attachment.ok_or_else(|| self.failed("it did not ask for its pages"))?;
        Ok((attached, attachment))
    }

    /// Waits for the process's userfaultfd, has it served, and lets the process go on. Nothing if the process ends
    /// before: its report says why.
    fn hand_over(
        &self,
        sandbox: &Sandbox,
        ours: &OwnedFd,
        served: &Served<'_>,
    ) -> Result<Option<Attachment>, Error> {
        self.readable(ours.as_fd(), "ask for its pages")?;
        let received =
            wire::receive::<HandOver>(ours).map_err(Error::step("read what the process hands over"))?;
        let Some((asked, mut files)) = received else { return Ok(None) };
        let Some(faults) = files.pop() else {
            return Err(self.failed("no userfaultfd came with its request"));
        };
        let function = sandbox.function().expect("a sandbox that was just made has its function");
        let regions: Vec<pager::Region> = asked
            .regions
            .iter()
            .map(|region| (region.address, region.length, region.first_page).into())
            .collect();
        let process = function.process.as_fd();
        let attachment = served.client.attach(faults, process, served.folder, &regions, served.options);
        let attachment = attachment.map_err(Error::Server)?;
        rustix::io::write(ours, &[1]).map_err(|errno| Error::step("let the process go on")(errno.into()))?;
        Ok(Some(attachment))
    }

    /// Makes the sandbox with the carrier in it, anew where the used one does not work any more.
    fn begin(
        &self,
        manager: &Manager,
        used: Option<Sandbox>,
        program: &Program,
        server: Option<Server<'_>>,
    ) -> Result<((Sandbox, Origin), OwnedFd), Error> {
        let (report, status) = wire::pair().map_err(|errno| Error::step("make a socket")(errno.into()))?;
        let lent = self.lent.files(manager, program);
        let args = [self.program.image.len(), self.program.numbers.status() as usize, lent.len()];
        let args = args.map(|number| number.to_string()).to_vec();
        let program = Program { start: Start::Call { entry: ENTRY.to_owned(), args }, ..program.clone() };
        let pages = server.and_then(|server| server.cache).unwrap_or(self.pages.as_fd());
        let mut given = vec![status.as_fd(), self.file.as_fd(), pages];
        match (server, self.backing.is_served()) {
            (Some(server), true) => given.extend([server.socket, server.device]),
            (None, false) => {}
            _ => {
                return Err(
                    self.failed("a page server is needed with the backings fault, and only with them")
                );
            }
        }
        given.extend(lent);
        Ok((manager.start_in(used, &program, &given)?, report))
    }

    /// Waits until the process is the template's.
    fn finish(
        &self,
        (sandbox, origin): (Sandbox, Origin),
        report: &OwnedFd,
        cache: Option<BorrowedFd<'_>>,
    ) -> Result<Attached, Error> {
        let (outcome, listener) = self.wait(report)?;
        match outcome {
            Outcome::Runs(steps, first, last) => {
                if self.backing.maps() {
                    let listener = listener.ok_or_else(|| self.failed("it has no guard"))?;
                    let pages = cache.unwrap_or(self.pages.as_fd()).try_clone_to_owned();
                    let watched = pages.and_then(|pages| self.guard.watch(listener, &pages.into()));
                    watched.map_err(Error::step("guard the new process"))?;
                }
                Ok(Attached { sandbox, origin, steps, moments: (first, last) })
            }
            Outcome::Failed(entry, result) => {
                let reason = io::Error::from_raw_os_error((-result).clamp(0, 4095) as i32);
                let label = self.program.label(entry);
                Err(self.failed(&format!("{label}: result {result} ({reason})")))
            }
            Outcome::Unready(text) => Err(self.failed(&text)),
            Outcome::Nothing => {
                Err(self.failed("the process ended without a word: a signal, or it ran out of memory"))
            }
        }
    }

    fn failed(&self, what: &str) -> Error {
        Error::Attach { id: self.id.clone(), what: what.to_owned() }
    }

    /// The record of the process, with its guard's listener if it has one; nothing when it ended.
    fn wait(&self, report: &OwnedFd) -> Result<(Outcome, Option<OwnedFd>), Error> {
        self.readable(report.as_fd(), "end")?;
        let mut record = [0; 1024];
        let (got, listener) =
            wire::receive_bytes(report, &mut record).map_err(Error::step("read the report"))?;
        Ok((report::read(&record[..got]), listener))
    }

    /// Waits until the new process has written something, or has ended. Signals to this process do not count.
    fn readable(&self, from: BorrowedFd<'_>, what: &str) -> Result<(), Error> {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.failed(&format!("it did not {what} within {PATIENCE:?}")));
            }
            let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            match poll(&mut [PollFd::new(&from, PollFlags::IN)], Some(&left)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(Error::step("wait for the new process")(errno.into())),
            }
        }
    }
}
