//! Where agents run: as processes of this machine, in container sandboxes, or in microVMs.
//!
//! Every place gives an agent a processor and memory that are accounted for it alone, and a way to the model, the site
//! and the broker, which listen at the place's address. However an agent ends there, its row says so and nothing of it
//! stays.

mod guests;
mod process;
mod sandbox;
mod vm;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::browser::launch::Launcher;
use super::harness::Settings;
use super::report::Spent;
use super::ward::Ward;
use super::{Error, Manifest};
use crate::vm::Method;

pub use guests::Guests;
pub(super) use vm::browsers;

/// How much of what an agent printed is shown when it ends without a word.
const SHOWN: usize = 600;

/// How agents are isolated, and with it what a run is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Processes of this machine, as root, in cgroups of their own: for profiles and recordings.
    Process,
    /// Container sandboxes, one made for each.
    Sandbox,
    /// MicroVMs, started from a template by this method.
    Vm(Method),
}

impl System {
    /// All of them.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let vms = Method::ALL.into_iter().map(Self::Vm);
        [Self::Process, Self::Sandbox].into_iter().chain(vms).collect()
    }

    /// Its name; microVMs have those of the simulated systems.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Sandbox => "sandbox",
            Self::Vm(method) => method.name(),
        }
    }

    /// How many of its agents share a browser, as the simulated system of that name has it.
    #[must_use]
    pub fn per_browser(self) -> usize {
        platform::system::system(self.name()).map_or(1, |known| known.agents_per_browser as usize)
    }

    /// From its name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|system| system.name() == name)
    }
}

/// One agent to be run.
pub(super) struct Job<'a> {
    pub(super) number: usize,
    pub(super) manifest: &'a Manifest,
    /// Its number among those with a browser.
    pub(super) place: Option<usize>,
    /// Everything that it is told.
    pub(super) environment: BTreeMap<String, String>,
    pub(super) deadline: Duration,
}

/// How it ended.
pub(super) struct Done {
    /// From the call until its place was there, ms: a sandbox, or a VM that has answered.
    pub(super) start_ms: f64,
    /// From the call to its end, ms; what is taken away afterwards is not in it.
    pub(super) latency_ms: f64,
    /// Processor time of the place, ms.
    pub(super) cpu_ms: f64,
    /// What it printed last, or how it ended instead.
    pub(super) ended: Result<Ended, Told>,
}

/// What an agent prints.
#[derive(Debug, Deserialize)]
pub(super) struct Ended {
    pub(super) answer: Option<Value>,
    pub(super) error: Option<Told>,
    #[serde(default)]
    pub(super) spent: Spent,
}

/// What went wrong with it.
#[derive(Debug, Deserialize)]
pub(super) struct Told {
    pub(super) name: String,
    pub(super) message: String,
}

impl Told {
    fn new(name: &str, message: impl Into<String>) -> Self {
        Self { name: name.to_owned(), message: message.into() }
    }

    fn deadline(deadline: Duration) -> Self {
        Self::new("deadline", format!("it did not end within {deadline:?}, and was killed"))
    }
}

impl Ended {
    /// The last line that is one; else what it printed to standard error.
    fn read(printed: &str, ended: &str, log: &str) -> Result<Self, Told> {
        let found = printed.lines().rev().find_map(|line| serde_json::from_str(line).ok());
        found.ok_or_else(|| {
            let from = log.char_indices().rev().nth(SHOWN).map_or(0, |(at, _)| at);
            Told::new("died", format!("{ended} without an answer; it printed: {}", log[from..].trim()))
        })
    }
}

/// The end of what is printed: whoever prints for ever is not to take this process along.
#[derive(Debug, Default)]
struct Tail(Vec<u8>);

impl Tail {
    /// So much is kept at least; twice that at most.
    const KEPT: usize = 1 << 20;

    fn add(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(piece);
        if self.0.len() > 2 * Self::KEPT {
            self.0.drain(..self.0.len() - Self::KEPT);
        }
    }

    /// Everything until whoever prints has ended.
    fn of(mut from: impl std::io::Read) -> Self {
        let mut tail = Self::default();
        let mut piece = vec![0; 64 << 10];
        loop {
            match from.read(&mut piece) {
                Ok(0) => return tail,
                Ok(count) => tail.add(&piece[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return tail,
            }
        }
    }

    fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

/// Memory of one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Use {
    /// Everything but the next (PSS), bytes.
    pub(super) bytes: u64,
    /// Code that software emulation translated, which a processor's own virtualisation has none of, bytes.
    pub(super) emulation_bytes: u64,
}

/// Something whose memory can be told while it is there.
pub(super) trait Measured: Send + Sync {
    fn memory(&self) -> Use;
}

/// One agent's seat: what is there of it now, and the most that it had.
#[derive(Default)]
pub(super) struct Seat {
    now: Mutex<Option<Arc<dyn Measured>>>,
    peak: AtomicU64,
}

impl Seat {
    pub(super) fn sit(&self, measured: Arc<dyn Measured>) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = Some(measured);
    }

    pub(super) fn leave(&self) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Looks at it.
    pub(super) fn look(&self) -> Use {
        // Not under the lock: looking takes milliseconds.
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let found = now.map_or_else(Use::default, |one| one.memory());
        self.peak.fetch_max(found.bytes, Ordering::Relaxed);
        found
    }

    pub(super) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

/// Where agents run.
pub(super) trait Place: std::fmt::Debug + Send + Sync {
    /// Where model, site and broker are to listen.
    fn address(&self) -> Ipv4Addr;

    /// Makes ready what it keeps ready for `count` agents at once.
    fn prepare(&self, count: usize) -> Result<(), Error>;

    /// Runs one agent from its start to its end.
    fn run(&self, job: &Job<'_>, seat: &Seat) -> Result<Done, Error>;

    /// Where browser number so-and-so comes from, if not from this machine's programs.
    fn launcher(&self, _number: usize) -> Option<Arc<dyn Launcher>> {
        None
    }

    /// Memory of no agent alone that they all need: page cache of their root images, bytes.
    fn shared_bytes(&self) -> u64 {
        0
    }
}

/// The place of this run's system.
pub(super) fn start(settings: &Settings, ward: &Arc<Ward>) -> Result<Box<dyn Place>, Error> {
    Ok(match settings.system {
        System::Process => Box::new(process::Processes::new(ward, settings.python.clone())),
        System::Sandbox => Box::new(sandbox::Sandboxes::start(settings, ward)?),
        System::Vm(method) => {
            let guests = settings.guests.as_ref().ok_or_else(|| Error::Setting {
                what: "guests",
                found: "none".to_owned(),
                expected: "an image to boot: scripts/setup --vm makes it",
            })?;
            Box::new(vm::Vms::start(method, guests, settings)?)
        }
    })
}

/// The files that an agent needs, by their paths under the folder of agents: the runtime's and its own, without
/// recordings and without what plays its model.
fn files(manifest: &Manifest) -> Result<Vec<(PathBuf, PathBuf)>, Error> {
    let all = manifest.folder.parent().unwrap_or(&manifest.folder);
    let mut found = Vec::new();
    for folder in [all.join("runtime"), manifest.folder.clone()] {
        take(all, &folder, &mut found)?;
    }
    Ok(found)
}

fn take(
    all: &std::path::Path,
    folder: &std::path::Path,
    found: &mut Vec<(PathBuf, PathBuf)>,
) -> Result<(), Error> {
    const NOT: [&str; 4] = ["recordings", "__pycache__", "manifest.toml", "model.py"];
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))?.flatten() {
        let path = entry.path();
        if NOT.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if path.is_dir() {
            take(all, &path, found)?;
        } else if let Ok(name) = path.strip_prefix(all) {
            found.push((name.to_owned(), path.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_have_the_names_of_the_simulated_ones() {
        for system in System::all() {
            assert_eq!(System::parse(system.name()), Some(system));
        }
        assert_eq!(System::parse("e2b"), Some(System::Vm(Method::E2b)));
        assert_eq!(System::parse("e3b"), None);
    }

    #[test]
    fn of_endless_output_the_end_is_kept() {
        use std::io::Read;
        let endless = std::io::repeat(b'x').take(50 << 20);
        let answer: &[u8] = b"\n{\"answer\": 4}\n";
        let tail = Tail::of(endless.chain(answer));
        assert!((Tail::KEPT..=2 * Tail::KEPT).contains(&tail.0.len()), "{}", tail.0.len());
        assert_eq!(Ended::read(&tail.text(), "it ended", "").unwrap().answer, Some(4.into()));
    }

    #[test]
    fn the_last_line_counts_and_else_what_was_printed() {
        let ended = Ended::read("hello\n{\"answer\": 4}\n", "exit status: 0", "").unwrap();
        assert_eq!(ended.answer, Some(4.into()));
        let told = Ended::read("hello\n", "exit status: 1", &"x".repeat(5000)).unwrap_err();
        assert!(told.name == "died" && told.message.len() < 700, "{told:?}");
    }
}
