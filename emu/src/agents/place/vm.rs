//! Agents in microVMs: each in a guest of its own, started from a template, and given its program by the guest's agent.

use std::fs::File;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use super::{Done, Ended, Error, Guests, Job, Measured, Place, Seat, Settings, Told, Use, files};
use crate::vm::{self, Host, Method, Started, Template, Vm, Watcher, account};

/// Where the agent's program lies inside.
const INSIDE: &str = "/opt/trenvx/agents";
/// How long the guest may take to write the agent's files.
const WRITING: Duration = Duration::from_secs(60);
/// How much longer than its program the guest may take to tell how that ended.
const TELLING: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Vms {
    host: Host,
    template: Arc<Template>,
    /// The image that all guests read.
    root: File,
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
        let path = guests.image().root();
        let root = File::open(&path).map_err(Error::io("open", &path))?;
        let template = guests.template(method)?;
        // What earlier guests have read is forgotten while nobody has it mapped: its cache is part of what is measured.
        account::forget(&root).map_err(Error::io("forget", &path))?;
        Ok(Self {
            host: guests.host(method)?,
            template,
            root,
            python_path: format!("{INSIDE}/runtime"),
            disk_bytes: settings.disk_bytes,
        })
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
        let Ok(memory) = self.memory() else { return Use::default() };
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
        Ok(self.host.prepare_many(&self.template.manifest().machine, count)?)
    }

    fn run(&self, job: &Job<'_>, seat: &Seat) -> Result<Done, Error> {
        let begun = Instant::now();
        let Started { mut vm, .. } = self.host.clone(&self.template)?;
        let start_ms = begun.elapsed().as_secs_f64() * 1e3;
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

    fn shared_bytes(&self) -> u64 {
        account::cached_bytes(&self.root, None).unwrap_or(0)
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
