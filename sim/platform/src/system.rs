//! A **system** (a row of the paper's figures) is a composition of answers to six questions.
//!
//! [`SYSTEMS`] is the one registry: `trenvx systems`, the checks of experiment files and the
//! reference read it. A new rival that combines existing answers is one more line here.

use crate::records::StartKind;
use serde::{Deserialize, Serialize};
use traces::Bytes;

/// Where a function runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Namespaces and cgroups; the page cache is the host's.
    Container,
    /// A virtual machine with its own kernel and page cache.
    MicroVm,
}

/// How isolation is obtained for an invocation that finds no idle sandbox of its function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolating {
    /// Everything is made new and destroyed at eviction.
    Create,
    /// A network namespace from a pool, the rest new; the namespace returns to the pool.
    PooledNetns,
    /// An idle sandbox of another function is cleaned and given to this one; new only if none is idle.
    Repurpose,
}

/// How a process gets into its cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupEntry {
    /// Started elsewhere and moved: takes the global threadgroup lock.
    Migrate,
    /// Born there (`CLONE_INTO_CGROUP`).
    CloneInto,
}

/// How a function's memory comes back, and where its pages live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It does not: the process starts and initialises itself.
    Boot,
    /// CRIU copies every dumped page before the first instruction.
    CriuCopy,
    /// REAP: the recorded working set is read as one file and installed through userfaultfd; the
    /// rest faults one page at a time.
    WorkingSetPrefetch,
    /// FaaSnap: the recorded regions are mapped from the loading-set file; pages fault in from the
    /// host page cache and are copied when written.
    WorkingSetRegions,
    /// Template in CXL memory: mapped, read in place, copied when written.
    TemplateCxl,
    /// Template in the RDMA pool: every touched page is fetched on its first touch and private.
    TemplateRdma,
}

/// What happens to a sandbox whose invocation has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeepAlive {
    /// Kept for the experiment's `keep_alive.ttl`, counted again from every use.
    FixedTtl,
    /// Kept until memory is needed: least recently used goes first.
    Lru,
    /// Given up at once.
    None,
}

/// A composition of policies with a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct System {
    /// The name in figures and files.
    pub name: String,
    /// Where it runs.
    pub isolation: Isolation,
    /// How isolation is obtained.
    pub isolating: Isolating,
    /// How the process enters its cgroup.
    pub cgroup: CgroupEntry,
    /// How state comes back.
    pub state: State,
    /// What happens after the invocation.
    pub keep_alive: KeepAlive,
    /// Starts that may be under way at once on a node.
    pub start_slots: u32,
    /// Empty sandboxes, of no function, that every node holds when the run begins.
    pub prepopulated: u32,
    /// Memory that each of those counts against the node's cap.
    pub prepopulated_memory: Bytes,
    /// Network namespaces that every node holds when the run begins.
    pub pooled_netns: u32,
}

impl System {
    /// How a new sandbox of this system gets its state.
    pub fn new_sandbox_start(&self) -> StartKind {
        match self.state {
            State::Boot => StartKind::Cold,
            _ => StartKind::Restored,
        }
    }

    /// Whether an idle sandbox of another function can be used.
    pub fn repurposes(&self) -> bool {
        self.isolating == Isolating::Repurpose
    }
}

/// A registry entry: the composition, what it stands for and where that was read.
#[derive(Clone, Copy, Debug)]
pub struct SystemEntry {
    /// The name in figures and files.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Where its definition comes from.
    pub source: &'static str,
    isolation: Isolation,
    isolating: Isolating,
    cgroup: CgroupEntry,
    state: State,
    keep_alive: KeepAlive,
    start_slots: u32,
    prepopulated: u32,
    pooled_netns: u32,
}

/// Memory that one prepopulated sandbox counts against the cap (faasd branch `switch`: 70
/// hello-world containers, each accounted 256 MB).
const PREPOPULATED_MEMORY: Bytes = Bytes::from_mib(256);

/// Every system, in the order of the paper's figures.
pub const SYSTEMS: &[SystemEntry] = &[
    SystemEntry {
        name: "faasd",
        about: "a new container for every start, the function initialises itself",
        source: "faasd on containerd; TrEnv SOSP'24 artifact, branch `switch`: 10 start workers",
        isolation: Isolation::Container,
        isolating: Isolating::Create,
        cgroup: CgroupEntry::Migrate,
        state: State::Boot,
        keep_alive: KeepAlive::FixedTtl,
        start_slots: 10,
        prepopulated: 0,
        pooled_netns: 0,
    },
    SystemEntry {
        name: "criu",
        about: "a new container, all memory copied from a CRIU image",
        source: "vanilla CRIU restore through runc, images on CXL tmpfs; TrEnv SOSP'24 artifact",
        isolation: Isolation::Container,
        isolating: Isolating::Create,
        cgroup: CgroupEntry::Migrate,
        state: State::CriuCopy,
        keep_alive: KeepAlive::FixedTtl,
        start_slots: 10,
        prepopulated: 0,
        pooled_netns: 0,
    },
    SystemEntry {
        name: "reap+",
        about: "a microVM, recorded working set installed through userfaultfd, pooled netns",
        source: "REAP (ASPLOS'21); + = pooled network namespaces, TrEnv SOSP'24 artifact: 6 start workers, 80 namespaces",
        isolation: Isolation::MicroVm,
        isolating: Isolating::PooledNetns,
        cgroup: CgroupEntry::Migrate,
        state: State::WorkingSetPrefetch,
        keep_alive: KeepAlive::FixedTtl,
        start_slots: 6,
        prepopulated: 0,
        pooled_netns: 80,
    },
    SystemEntry {
        name: "faasnap+",
        about: "a microVM, recorded regions mapped from the loading-set file, pooled netns",
        source: "FaaSnap (EuroSys'22); + = pooled network namespaces, TrEnv SOSP'24 artifact: 6 start workers, 80 namespaces",
        isolation: Isolation::MicroVm,
        isolating: Isolating::PooledNetns,
        cgroup: CgroupEntry::Migrate,
        state: State::WorkingSetRegions,
        keep_alive: KeepAlive::FixedTtl,
        start_slots: 6,
        prepopulated: 0,
        pooled_netns: 80,
    },
    SystemEntry {
        name: "t-cxl",
        about: "TrEnv: repurposed container, template mapped from CXL memory",
        source: "TrEnv (SOSP'24), pool policy of faasd branch `switch`: 70 prepopulated sandboxes, LRU under memory pressure only",
        isolation: Isolation::Container,
        isolating: Isolating::Repurpose,
        cgroup: CgroupEntry::CloneInto,
        state: State::TemplateCxl,
        keep_alive: KeepAlive::Lru,
        start_slots: 10,
        prepopulated: 70,
        pooled_netns: 0,
    },
    SystemEntry {
        name: "t-rdma",
        about: "TrEnv: repurposed container, template pages fetched over RDMA on first touch",
        source: "TrEnv (SOSP'24) with the `rdma` pool option; faults of kernel branch `dax`",
        isolation: Isolation::Container,
        isolating: Isolating::Repurpose,
        cgroup: CgroupEntry::CloneInto,
        state: State::TemplateRdma,
        keep_alive: KeepAlive::Lru,
        start_slots: 10,
        prepopulated: 70,
        pooled_netns: 0,
    },
];

impl SystemEntry {
    /// The composition.
    pub fn system(&self) -> System {
        System {
            name: self.name.to_owned(),
            isolation: self.isolation,
            isolating: self.isolating,
            cgroup: self.cgroup,
            state: self.state,
            keep_alive: self.keep_alive,
            start_slots: self.start_slots,
            prepopulated: self.prepopulated,
            prepopulated_memory: PREPOPULATED_MEMORY,
            pooled_netns: self.pooled_netns,
        }
    }
}

/// The registered system of that name.
pub fn system(name: &str) -> Option<System> {
    SYSTEMS.iter().find(|entry| entry.name == name).map(SystemEntry::system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for entry in SYSTEMS {
            assert_eq!(SYSTEMS.iter().filter(|e| e.name == entry.name).count(), 1);
            assert_eq!(system(entry.name), Some(entry.system()));
        }
        assert_eq!(system("t-cxxl"), None);
    }
}
