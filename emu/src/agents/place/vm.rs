//! Agents in microVMs: each in a guest of its own, started from a template, and given its program by the guest's agent.
//!
//! An agent that shares no browser has one in its own guest, E2B's way; browsers that are shared have guests of their own,
//! TrEnv-X's way. Both are clones of a template in which the browser is warm, and called by the broker over a port of the
//! guest.

use std::fs::File;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use super::{Done, Ended, Error, Guests, Job, Measured, Place, Seat, Settings, Told, Use, files};
use crate::agents::browser::launch::{Body, Launcher, OfGuest, Running};
use crate::vm::{self, Host, Method, Started, Template, Vm, Watcher, account};

/// Where the agent's program lies inside.
const INSIDE: &str = "/opt/trenvx/agents";
/// How long the guest may take to write the agent's files.
const WRITING: Duration = Duration::from_secs(60);
/// How much longer than its program the guest may take to tell how that ended.
const TELLING: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Vms {
    host: Arc<Host>,
    /// Guests without a browser, if an agent needs one.
    plain: Option<Arc<Template>>,
    /// Guests with a browser, if an agent needs one.
    browser: Option<Arc<Template>>,
    /// Browsers in their agents' own guests, by the agents' places; none if they are shared.
    own: Vec<Arc<OfGuest>>,
    /// Guests for browsers alone.
    shared: usize,
    /// The images that guests read.
    roots: Vec<File>,
    python_path: String,
    disk_bytes: Option<u64>,
}

/// What the guest tells of a program.
#[derive(Deserialize)]
struct Program {
    #[serde(default)]
    late: bool,
    #[serde(default)]
    code: i32,
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    stderr: String,
    full: bool,
}

impl Vms {
    pub(super) fn start(method: Method, guests: &Guests, settings: &Settings) -> Result<Self, Error> {
        let kinds = settings.agents.iter().cycle().take(settings.count);
        let (browsing, others): (Vec<_>, Vec<_>) = kinds.partition(|agent| agent.browser);
        let apart = settings.per_browser == 1;
        let plain = !others.is_empty() || !apart;
        let template = |wanted: bool, browser| wanted.then(|| guests.template(method, browser)).transpose();
        let (plain, browser) = (template(plain, false)?, template(!browsing.is_empty(), true)?);
        let roots = plain.iter().chain(&browser).map(|template| forgotten_root(template));
        let roots = roots.collect::<Result<_, _>>()?;
        Ok(Self {
            host: Arc::new(guests.host(method)?),
            plain,
            browser,
            own: if apart { browsing.iter().map(|_| Arc::default()).collect() } else { Vec::new() },
            shared: if apart { 0 } else { browsing.len().div_ceil(settings.per_browser.max(1)) },
            roots,
            python_path: format!("{INSIDE}/runtime"),
            disk_bytes: settings.disk_bytes,
        })
    }

    /// What an agent's guest is a clone of, and where the broker gets its browser from, if that is in it.
    fn template(&self, job: &Job<'_>) -> (&Arc<Template>, Option<&Arc<OfGuest>>) {
        let own = job.place.and_then(|place| self.own.get(place));
        let template = if own.is_some() { &self.browser } else { &self.plain };
        (template.as_ref().expect("there is a template for each agent of the run"), own)
    }

    /// What a VM is asked for, one after the other.
    fn work(&self, vm: &mut Vm, job: &Job<'_>) -> Result<Result<Ended, Told>, Asked> {
        for (name, file) in files(job.manifest)? {
            let text = std::fs::read_to_string(&file).map_err(Error::io("read", &file))?;
            let path = format!("{INSIDE}/{}", name.display());
            vm.ask("write", json!({ "path": path, "text": text }), WRITING)?;
        }
        if let Some(left) = self.disk_bytes {
            vm.ask("leave", json!({ "size": left }), WRITING)?;
        }
        let mut environment = job.environment.clone();
        environment.extend(
            [("PATH", "/usr/bin:/bin"), ("HOME", "/tmp/work"), ("LANG", "C.UTF-8")]
                .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        environment.insert("PYTHONPATH".to_owned(), self.python_path.clone());
        let program = json!({
            "path": format!("{INSIDE}/{}/agent.py", job.manifest.name),
            "environment": environment,
            "folders": [self.python_path],
            "within_s": job.deadline.as_secs_f64(),
        });
        let told = vm.ask("program", program, job.deadline + TELLING)?;
        let told: Program = serde_json::from_value(told).map_err(|error| vm::Error::Agent {
            when: "during program".to_owned(),
            why: error.to_string(),
        })?;
        if told.late {
            return Ok(Err(Told::deadline(job.deadline)));
        }
        let ended = Ended::read(&told.stdout, &format!("it ended with {}", told.code), &told.stderr);
        Ok(ended.map_err(|why| if told.full { Told::new("disk-full", why.message) } else { why }))
    }
}

/// What went wrong while a VM was asked: the VM's end is the agent's, all else concerns the run.
enum Asked {
    Vm(vm::Error),
    Run(Error),
}

impl From<vm::Error> for Asked {
    fn from(error: vm::Error) -> Self {
        Self::Vm(error)
    }
}

impl From<Error> for Asked {
    fn from(error: Error) -> Self {
        Self::Run(error)
    }
}

impl Measured for Watcher {
    fn memory(&self) -> Use {
        let Ok(memory) = Watcher::memory(self) else { return Use::default() };
        let code = memory.code.pss_bytes;
        // Pages of the root image are told with the page cache that they are.
        Use { bytes: memory.pss_bytes() - code - memory.root.pss_bytes, emulation_bytes: code }
    }
}

impl Place for Vms {
    fn address(&self) -> Ipv4Addr {
        self.host.gateway()
    }

    fn prepare(&self, count: usize) -> Result<(), Error> {
        let Some(template) = self.browser.as_ref().or(self.plain.as_ref()) else { return Ok(()) };
        Ok(self.host.prepare_many(&template.manifest().machine, count + self.shared)?)
    }

    fn run(&self, job: &Job<'_>, seat: &Seat) -> Result<Done, Error> {
        let begun = Instant::now();
        let (template, own) = self.template(job);
        let Started { mut vm, .. } = Host::clone(&self.host, template)?;
        let start_ms = begun.elapsed().as_secs_f64() * 1e3;
        if let (Some(own), Some(pipe)) =
            (own, vm.browser().map_err(Error::io("hold the pipe of", "the browser"))?)
        {
            own.give(pipe);
        }
        if let Some(watcher) = vm.watcher()? {
            seat.sit(Arc::new(watcher));
        }
        let ended = match self.work(&mut vm, job) {
            Ok(ended) => ended,
            Err(Asked::Vm(error)) => Err(told(&error)),
            Err(Asked::Run(error)) => return Err(error),
        };
        let latency_ms = begun.elapsed().as_secs_f64() * 1e3;
        let cpu_ms = vm.sandbox().usage()?.cpu_us as f64 / 1e3;
        // Before it goes: its number may be somebody else's then.
        seat.leave();
        self.host.end(vm)?;
        Ok(Done { start_ms, latency_ms, cpu_ms, ended })
    }

    fn launcher(&self, number: usize) -> Option<Arc<dyn Launcher>> {
        if let Some(own) = self.own.get(number) {
            return Some(own.clone());
        }
        let (host, template) = (Arc::clone(&self.host), Arc::clone(self.browser.as_ref()?));
        Some(Arc::new(Browsers { host, template }))
    }

    fn shared_bytes(&self) -> u64 {
        self.roots.iter().map(|root| account::cached_bytes(root, None).unwrap_or(0)).sum()
    }
}

/// The root image of a template's guests. What earlier guests have read of it is forgotten while nobody has it mapped: its
/// cache is part of what is measured.
fn forgotten_root(template: &Template) -> Result<File, Error> {
    let path = template.image().root();
    let root = File::open(&path).map_err(Error::io("open", &path))?;
    account::forget(&root).map_err(Error::io("forget", &path))?;
    Ok(root)
}

/// Guests for browsers that agents share.
#[derive(Debug)]
struct Browsers {
    host: Arc<Host>,
    template: Arc<Template>,
}

/// Browsers in guests of their own, without agents beside them: how they are started, the address that their guests have
/// this machine at, and the image that they read.
pub(in crate::agents) fn browsers(
    method: Method,
    guests: &Guests,
    count: usize,
) -> Result<(Arc<dyn Launcher>, Ipv4Addr, File), Error> {
    let (host, template) = (Arc::new(guests.host(method)?), guests.template(method, true)?);
    let root = forgotten_root(&template)?;
    host.prepare_many(&template.manifest().machine, count)?;
    let address = host.gateway();
    Ok((Arc::new(Browsers { host, template }), address, root))
}

/// One of them.
#[derive(Debug)]
struct BrowserVm {
    host: Arc<Host>,
    /// None once it has ended.
    vm: Mutex<Option<Vm>>,
    watcher: Option<Watcher>,
    pid: Option<u32>,
}

/// Ends the guest when it is dropped.
#[derive(Debug)]
struct Hold(Arc<BrowserVm>);

impl Launcher for Browsers {
    fn launch(&self, _: &str, seen: &mut dyn FnMut(Weak<dyn Body>)) -> Result<Running, String> {
        let begun = Instant::now();
        let why = |error: vm::Error| format!("no guest for it: {error}");
        let Started { vm, .. } = Host::clone(&self.host, &self.template).map_err(why)?;
        let pipe = vm.browser().map_err(|error| error.to_string())?;
        let (watcher, pid) = (vm.watcher().map_err(why)?, vm.pid());
        let host = Arc::clone(&self.host);
        let guest = Arc::new(BrowserVm { host, vm: Mutex::new(Some(vm)), watcher, pid });
        let hold = Hold(Arc::clone(&guest));
        let body: Arc<dyn Body> = guest;
        seen(Arc::downgrade(&body));
        Running::in_guest(pipe.ok_or("its guest has no browser")?, body, Box::new(hold), begun)
    }
}

impl BrowserVm {
    fn vm(&self) -> std::sync::MutexGuard<'_, Option<Vm>> {
        self.vm.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body for BrowserVm {
    fn processor_time(&self) -> Duration {
        let vm = self.vm();
        let usage = vm.as_ref().and_then(|vm| vm.sandbox().usage().ok());
        usage.map_or(Duration::ZERO, |usage| Duration::from_micros(usage.cpu_us))
    }

    fn memory(&self) -> Use {
        // Not under the lock: looking takes milliseconds. A number that is somebody else's by now has another memory.
        self.watcher.as_ref().map_or_else(Use::default, Measured::memory)
    }

    fn processes(&self) -> Vec<u32> {
        self.vm().as_ref().and(self.pid).into_iter().collect()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(vm) = self.0.vm().take() {
            // What cannot be removed now is found by its label later.
            let _ = self.0.host.end(vm);
        }
    }
}

/// How a VM's end is named.
fn told(error: &vm::Error) -> Told {
    let name = match error {
        vm::Error::Ended { .. } => "vmm-ended",
        vm::Error::Panicked { .. } => "guest-panicked",
        vm::Error::Late { .. } => "guest-late",
        vm::Error::Full { .. } => "disk-full",
        _ => "guest-failed",
    };
    Told::new(name, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_guests_have_names_of_their_own() {
        let when = || "during program".to_owned();
        let panicked =
            vm::Error::Panicked { when: when(), message: "Kernel panic - not syncing: x".to_owned() };
        let said = told(&panicked);
        assert!(said.name == "guest-panicked" && said.message.contains("not syncing: x"), "{said:?}");
        let late = vm::Error::Late { when: when(), within: WRITING, console: String::new() };
        let ended = vm::Error::Ended { when: when(), met: Vec::new(), log: String::new() };
        let full = vm::Error::Full { when: when(), bytes: 1 };
        assert_eq!(
            [late, ended, full].map(|error| told(&error).name),
            ["guest-late", "vmm-ended", "disk-full"]
        );
    }
}
