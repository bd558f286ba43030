//! [`Profile`]: how a function behaves once it runs, apart from when it is asked for.

use crate::memory::{Behaviour, Content, PageGroups};
use serde::{Deserialize, Serialize};
use traces::{Duration, Pages};

/// Memory and initialisation behaviour of a function. Written by `trenvx emu calibrate` from real
/// functions, or stated by hand with a source in `configs/profiles/`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Language runtime: functions of one runtime can share an initialised one.
    pub runtime: String,
    /// The part of `init` that initialises the runtime and what every function of it loads.
    pub runtime_init: Duration,
    /// Processor time from exec to the first accepted call, on an idle core.
    pub init: Duration,
    /// Anonymous memory of one instance at the end of an invocation.
    pub pages: PageGroups,
    /// File-backed pages (runtime, shared libraries, sources) that are resident while it runs.
    /// Sandboxes that share a host page cache hold them once; a guest holds its own.
    pub file_pages: Pages,
    /// Mapped regions (VMAs); the cost of an attach grows with them, not with the footprint.
    pub regions: u32,
    /// Threads, each re-created by a restore.
    pub threads: u32,
    /// Share of the service time that waits for DRAM when all memory is local, 0 to 1. It decides
    /// how much slower the function gets when its read-only pages stay in CXL memory.
    pub memory_intensity: f64,
    /// Share of memory accesses that go to read-only pages, 0 to 1.
    pub read_only_accesses: f64,
}

impl Profile {
    /// Pages of the initialised runtime, without libraries and function.
    pub fn runtime_pages(&self) -> Pages {
        let of = |content| Behaviour::ALL.iter().map(|&b| self.pages.get(content, b)).sum::<Pages>();
        of(Content::Runtime)
    }
}
