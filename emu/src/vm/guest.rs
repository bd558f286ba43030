//! One guest: asked through its agent, and told apart when it does not answer.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::lazy::{self, Lazily};
use super::machine::{Origin, arguments, descriptor};
use super::qmp::Qmp;
use super::{Accelerator, Error, Image, Machine, RootDevice, account, launch, memory, remote};
use crate::pager::source::PageSource;
use crate::sandbox::channel::{Channel, Failure};
use crate::sandbox::{Function, Sandbox};

/// What is kept of a guest's console in messages, bytes.
const CONSOLE_END: u64 = 400;
/// Error number of a full file system, in guests too.
const NO_SPACE: i64 = libc::ENOSPC as i64;

/// A guest that runs, or is about to.
#[derive(Debug)]
pub struct Vm {
    pub(super) sandbox: Sandbox,
    pub(super) qmp: Qmp,
    agent: Channel,
    /// The host's end of its browser's DevTools pipe, where it has a browser.
    browser: Option<UnixStream>,
    console: File,
    machine: Machine,
    memory: File,
    state: File,
    root: File,
    private: bool,
    /// What serves its memory, where that is served. After the sandbox: it is gone first.
    pages: Option<lazy::Server>,
}

/// Tells a VMM's memory.
#[derive(Debug)]
pub struct Watcher {
    pid: u32,
    memory: File,
    root: Option<File>,
    private: bool,
}

impl Watcher {
    /// Whose memory the VMM has, by what it is for.
    ///
    /// # Errors
    /// If the VMM is gone.
    pub fn memory(&self) -> Result<account::Memory, Error> {
        account::Memory::of(self.pid, &self.memory, self.root.as_ref(), self.private)
            .map_err(Error::at(format!("read the memory of process {}", self.pid)))
    }
}

/// What a VMM is started from.
pub(super) struct Parts<'a> {
    pub(super) machine: &'a Machine,
    pub(super) origin: Origin,
    pub(super) accelerator: &'a Accelerator,
    /// Type of the machine, with its version for clones.
    pub(super) kind: &'a str,
    pub(super) image: &'a Image,
    pub(super) memory: File,
    /// Where the state of the devices is, or goes.
    pub(super) state: File,
    /// The kernel, or its beginning.
    pub(super) kernel: &'a File,
    /// The userfaultfd device, if its memory will be served.
    pub(super) faults: Option<File>,
}

impl Vm {
    /// Makes the waiting routine of a sandbox the VMM, and waits until it is there. The guest does not run yet.
    pub(super) fn launch(sandbox: Sandbox, parts: Parts<'_>) -> Result<Self, Error> {
        let Parts { machine, origin, accelerator, kind, image, memory, state, kernel, faults } = parts;
        let root = image.open("root.img")?;
        let root_bytes = root.metadata().map_err(Error::at("look at the root image"))?.len();
        let initramfs = match origin {
            Origin::Boot => Some(image.open("initramfs")?),
            Origin::State { .. } => None,
        };
        let (qmp, their_qmp) = Qmp::new().map_err(Error::at("make a channel"))?;
        let (agent, their_agent) = Channel::new().map_err(Error::at("make a channel"))?;
        let browser = machine.browser.then(UnixStream::pair).transpose();
        let (browser, their_browser) = browser.map_err(Error::at("make a channel"))?.unzip();
        let console = memory::file("trenvx-vm-console", 0).map_err(Error::at("make a console"))?;
        let mut descriptors = vec![
            (descriptor::MEMORY, memory.as_fd()),
            (descriptor::ROOT, root.as_fd()),
            (descriptor::QMP, their_qmp.as_fd()),
            (descriptor::AGENT, their_agent.as_fd()),
            (descriptor::CONSOLE, console.as_fd()),
            (descriptor::STATE, state.as_fd()),
            (descriptor::KERNEL, kernel.as_fd()),
        ];
        if let Some(initramfs) = &initramfs {
            descriptors.push((descriptor::INITRAMFS, initramfs.as_fd()));
        }
        if let Some(faults) = &faults {
            descriptors.push((descriptor::FAULTS, faults.as_fd()));
        }
        if let Some(browser) = &their_browser {
            descriptors.push((descriptor::BROWSER, browser.as_fd()));
        }
        let line = arguments(machine, origin, accelerator, kind, root_bytes);
        let function = sandbox.function().expect("its routine was just started");
        launch::order(function, line, &descriptors)?;
        drop(descriptors);
        close(their_qmp, their_agent);
        drop(their_browser);
        let private = origin == Origin::State { private: true };
        let mut vm = Self {
            sandbox,
            qmp,
            agent,
            browser,
            console,
            machine: machine.clone(),
            memory,
            state,
            root,
            private,
            pages: None,
        };
        vm.qmp.greet().map_err(|error| vm.explain(error, "before it was there"))?;
        Ok(vm)
    }

    /// Has the memory, which is empty, served from now on. The guest must not run yet.
    pub(super) fn serve(&mut self, source: Arc<dyn PageSource>, how: &Lazily) -> Result<(), Error> {
        self.pages = Some(lazy::Server::start(self.alive()?, &self.memory, source, how)?);
        Ok(())
    }

    /// Has only those pages of the root image read that the guest touches: its page cache is the host's memory. For a
    /// root that is persistent memory.
    pub(super) fn read_no_more_than_touched(&mut self) -> Result<(), Error> {
        remote::read_no_more_than_touched(self.alive()?, &self.root)
    }

    /// Waits for the line that a booted guest's agent writes when it is ready: the version of its runtime.
    pub(super) fn ready(&mut self, within: Duration) -> Result<String, Error> {
        let line =
            self.agent.line(within).map_err(|failure| self.diagnose(&failure, "while it booted", within))?;
        let said: Value = serde_json::from_slice(&line).unwrap_or_default();
        said["python"].as_str().map(str::to_owned).ok_or_else(|| Error::Agent {
            when: "while it booted".to_owned(),
            why: format!("its first line is {}", String::from_utf8_lossy(&line)),
        })
    }

    /// Asks the agent for an action; see `guest/agent.py` for those that there are.
    ///
    /// # Errors
    /// The agent's own, or how the guest or the VMM ended.
    #[allow(clippy::needless_pass_by_value, reason = "calls read better with a literal")]
    pub fn ask(&mut self, action: &str, arguments: Value, within: Duration) -> Result<Value, Error> {
        let mut input = arguments;
        input["action"] = json!(action);
        let when = format!("during {action}");
        let mut answer = match self.agent.request(&input, within) {
            Ok(answer) => answer,
            Err(failure) => return Err(self.diagnose(&failure, &when, within)),
        };
        if answer["ok"] == true {
            return Ok(answer["output"].take());
        }
        if answer["errno"].as_i64() == Some(NO_SPACE) {
            return Err(Error::Full { when, bytes: u64::from(self.machine.writable_mib) << 20 });
        }
        Err(Error::Agent { when, why: answer["error"].as_str().unwrap_or("no error is named").to_owned() })
    }

    /// What its browser is called through, where it has one: the DevTools pipe of the guest's.
    ///
    /// # Errors
    /// If this process has no descriptor left.
    pub fn browser(&self) -> io::Result<Option<UnixStream>> {
        self.browser.as_ref().map(UnixStream::try_clone).transpose()
    }

    /// What the guest consists of.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The VMM's number in the host, while it lives.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.function().pid().and_then(|pid| u32::try_from(pid).ok())
    }

    /// The same, where it has to live.
    fn alive(&self) -> Result<u32, Error> {
        self.pid().ok_or_else(gone)
    }

    /// Its sandbox.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Whose memory the VMM has, by what it is for.
    ///
    /// # Errors
    /// If the VMM is gone.
    pub fn memory(&self) -> Result<account::Memory, Error> {
        self.watcher()?.ok_or_else(gone)?.memory()
    }

    /// What tells the VMM's memory while the guest is being asked; `None` if the VMM is gone.
    ///
    /// # Errors
    /// If this process has no descriptor left.
    pub fn watcher(&self) -> Result<Option<Watcher>, Error> {
        let Some(pid) = self.pid() else { return Ok(None) };
        let at = || Error::at("hold the guest's memory");
        let root = (self.machine.root == RootDevice::Pmem).then(|| self.root.try_clone());
        Ok(Some(Watcher {
            pid,
            memory: self.memory.try_clone().map_err(at())?,
            root: root.transpose().map_err(at())?,
            private: self.private,
        }))
    }

    /// The end of what the guest's console showed.
    #[must_use]
    pub fn console(&self) -> String {
        let length = self.console.metadata().map_or(0, |about| about.len());
        let from = length.saturating_sub(CONSOLE_END);
        let mut bytes = vec![0; (length - from) as usize];
        let got = self.console.read_at(&mut bytes, from).unwrap_or(0);
        String::from_utf8_lossy(&bytes[..got]).replace('\r', "").trim().to_owned()
    }

    /// Gives the sandbox back with the VMM still in it, for whoever takes it apart, and what serves its memory until then.
    pub(super) fn into_sandbox(self) -> (Sandbox, Option<lazy::Server>) {
        (self.sandbox, self.pages)
    }

    /// Gives the VMM the place of its devices' state, as `state`.
    pub(super) fn give_state(&mut self) -> Result<(), Error> {
        self.qmp.give("state", self.state.as_fd())
    }

    /// The same, with guest memory and the place of the devices' state.
    pub(super) fn into_files(self) -> (Sandbox, File, File) {
        (self.sandbox, self.memory, self.state)
    }

    fn function(&self) -> &Function {
        self.sandbox.function().expect("a VMM is the function of its sandbox")
    }

    /// Why an answer did not come.
    pub(super) fn diagnose(&self, failure: &Failure, when: &str, within: Duration) -> Error {
        if let Some(message) = self.panic_message() {
            return Error::Panicked { when: when.to_owned(), message };
        }
        match failure {
            Failure::Late(_) if !self.function().has_ended() => {
                Error::Late { when: when.to_owned(), within, console: self.console() }
            }
            Failure::TooLong => Error::Agent { when: when.to_owned(), why: failure.to_string() },
            _ => self.ended(when),
        }
    }

    /// A failure of the VMM's own channel; the end of the VMM explains it better.
    pub(super) fn explain(&self, error: Error, when: &str) -> Error {
        let is_end = matches!(&error, Error::System { source, .. } if matches!(
            source.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
        ));
        if !is_end {
            return error;
        }
        self.panic_message()
            .map_or_else(|| self.ended(when), |message| Error::Panicked { when: when.to_owned(), message })
    }

    fn ended(&self, when: &str) -> Error {
        let log = self.function().log.tail(CONSOLE_END as usize).unwrap_or_default();
        let mut met = self.sandbox.limits_met().unwrap_or_default();
        // A full log would be told by the log itself.
        met.retain(|met| !matches!(met, crate::sandbox::LimitMet::Log { .. }));
        Error::Ended { when: when.to_owned(), met, log: String::from_utf8_lossy(&log).trim().to_owned() }
    }

    /// The line of the guest's kernel, if it gave up.
    fn panic_message(&self) -> Option<String> {
        let length = self.console.metadata().ok()?.len();
        let most = length.min(1 << 20);
        let mut bytes = vec![0; usize::try_from(most).ok()?];
        let got = self.console.read_at(&mut bytes, length - most).ok()?;
        let text = String::from_utf8_lossy(&bytes[..got]);
        let at = text.find("Kernel panic - not syncing")?;
        text[at..].lines().next().map(|line| line.trim().to_owned())
    }
}

fn gone() -> Error {
    Error::at("find the VMM")(io::ErrorKind::NotFound.into())
}

/// The VMM's ends are its own alone, so that their closing tells its end.
fn close(qmp: OwnedFd, agent: OwnedFd) {
    drop((qmp, agent));
}
