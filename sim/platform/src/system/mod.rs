//! A **system** (a row of the paper's figures) is a composition of answers to a few questions.
//!
//! [`SYSTEMS`] is the one registry: `trenvx systems`, the checks of experiment files and the
//! reference read it. A new rival that combines existing answers is one more line here.

mod registry;

pub use registry::{SYSTEMS, SystemEntry, system};

use crate::records::StartKind;
use serde::{Deserialize, Serialize};
use traces::Bytes;

/// Declares an enum whose variants have words in files, so that the words are said once.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// The words used in files, in order of declaration.
            pub const WORDS: &[&str] = &[$($word),*];

            /// The word used in files.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }
    };
}

words! {
    /// Where a function runs.
    Isolation {
        /// Namespaces and cgroups; the page cache is the host's.
        Container = "container",
        /// A virtual machine with its own kernel and page cache.
        MicroVm = "micro-vm",
    }
}

words! {
    /// How isolation is obtained for an invocation that finds no idle sandbox of its function.
    Isolating {
        /// Everything is made new and destroyed at eviction.
        Create = "create",
        /// A network namespace from a pool, the rest new; the namespace returns to the pool.
        PooledNetns = "pooled-netns",
        /// Everything comes ready from a pool that is refilled off the critical path.
        Pooled = "pooled",
        /// An idle sandbox of another function is cleaned and given to this one; new only if none is idle.
        Repurpose = "repurpose",
    }
}

words! {
    /// How a process gets into its cgroup.
    CgroupEntry {
        /// Started elsewhere and moved: takes the global threadgroup lock.
        Migrate = "migrate",
        /// Born there (`CLONE_INTO_CGROUP`).
        CloneInto = "clone-into",
    }
}

words! {
    /// How a function's memory comes back.
    State {
        /// It does not: the process starts and initialises itself.
        Boot = "boot",
        /// CRIU copies every dumped page before the first instruction.
        CriuCopy = "criu-copy",
        /// CRIU lazy-pages: every touched page is copied by a userfaultfd handler at its first touch.
        CriuLazy = "criu-lazy",
        /// REAP: the recorded working set is read as one file and installed through userfaultfd; the
        /// rest faults one page at a time.
        WorkingSetPrefetch = "working-set-prefetch",
        /// FaaSnap: the recorded regions are mapped from the loading-set file; pages fault in from the
        /// host page cache and are copied when written.
        WorkingSetRegions = "working-set-regions",
        /// The whole guest memory of a snapshot is copied before the guest resumes.
        VmCopy = "vm-copy",
        /// The guest memory of a snapshot is mapped privately: pages fault in one by one.
        VmMap = "vm-map",
        /// Template attached: mapped without copying, pages as `pages` says.
        Attach = "attach",
        /// Forked from a zygote process on the node that has the runtime and the libraries loaded.
        ZygoteFork = "zygote-fork",
        /// Forked from a running instance on another node: page tables copied, pages read remotely.
        RemoteFork = "remote-fork",
        /// Everything is always there: a bound, not a system.
        Ready = "ready",
    }
}

words! {
    /// Where the pages of templates, snapshots and images live, and how they arrive.
    PageSource {
        /// In the node's own DRAM (tmpfs, page cache).
        Dram = "dram",
        /// In the rack's CXL memory: read in place where mapped, copied when written.
        Cxl = "cxl",
        /// In the RDMA pool: every touched page is fetched at its first touch, and private.
        Rdma = "rdma",
        /// In the RDMA pool: the recorded working set is fetched in one batch before the start ends.
        RdmaPrefetch = "rdma-prefetch",
        /// Pages that an invocation touches in CXL memory, the others in the RDMA pool.
        Tiered = "tiered",
        /// On a local SSD.
        Ssd = "ssd",
        /// On network storage.
        Nas = "nas",
    }
}

words! {
    /// What the template pool holds only once.
    Dedup {
        /// Nothing: every function's template is whole.
        PerFunction = "per-function",
        /// Pages of equal content: the runtime and the libraries that functions have in common.
        AcrossFunctions = "across-functions",
    }
}

words! {
    /// What happens to a sandbox whose invocation has ended.
    KeepAlive {
        /// Kept for the experiment's `keep_alive.ttl`, counted again from every use.
        FixedTtl = "fixed-ttl",
        /// Kept until `keep_alive.ttl` after its start.
        FixedTtlFromStart = "fixed-ttl-from-start",
        /// Kept until memory is needed: least recently used goes first.
        Lru = "lru",
        /// Given up at once.
        None = "none",
        /// Given up layer by layer, each kept for a time of its own and shared as far as it goes.
        Layers = "layers",
        /// Kept, or given up and made again in time, as the function's inter-arrival times suggest.
        HybridHistogram = "hybrid-histogram",
        /// Kept until memory is needed: what saves least time for its memory and frequency goes first.
        GreedyDual = "greedy-dual",
        /// As greedy-dual, whatever the memory.
        GreedyDualFreq = "greedy-dual-freq",
        /// As greedy-dual, whatever the time saved.
        GreedyDualSize = "greedy-dual-size",
        /// As greedy-dual, whatever the frequency.
        Landlord = "landlord",
        /// Kept if it will be needed again; what is needed last goes first.
        Oracle = "oracle",
    }
}

impl KeepAlive {
    /// Whether the policy must be told all arrivals before the run.
    pub const fn looks_ahead(self) -> bool {
        matches!(self, Self::Oracle)
    }
}

words! {
    /// How much of a function an idle sandbox holds.
    Layer {
        /// Isolation alone.
        Bare = "bare",
        /// Isolation and an initialised language runtime.
        Runtime = "runtime",
        /// Everything: an instance of the function.
        Function = "function",
    }
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
    /// Where the state's pages live.
    pub pages: PageSource,
    /// What the template pool holds only once.
    pub dedup: Dedup,
    /// What happens after the invocation.
    pub keep_alive: KeepAlive,
    /// Whether an idle sandbox serves its own function again. Off only where starts are looked at.
    pub reuse: bool,
    /// Starts that may be under way at once on a node.
    pub start_slots: u32,
    /// Empty sandboxes, of no function, that every node holds when the run begins.
    pub prepopulated: u32,
    /// Memory that each of those counts against the node's cap.
    pub prepopulated_memory: Bytes,
    /// Network namespaces that every node holds when the run begins.
    pub pooled_netns: u32,
    /// After so many invocations in a sandbox its read-only pages are copied from CXL memory to local
    /// DRAM, off the critical path; 0 for never.
    pub promote_after: u32,
    /// Whether guests read files from the host's page cache (virtio-pmem with DAX) instead of caching
    /// them once more.
    pub page_cache_bypass: bool,
    /// Agents that share one browser.
    pub agents_per_browser: u32,
}

impl System {
    /// How a new sandbox of this system gets its state.
    pub fn new_sandbox_start(&self) -> StartKind {
        match self.state {
            State::Boot => StartKind::Cold,
            State::Ready => StartKind::Warm,
            _ => StartKind::Restored,
        }
    }

    /// Whether an idle sandbox of another function can be used.
    pub fn repurposes(&self) -> bool {
        self.isolating == Isolating::Repurpose
    }

    /// Whether templates lie in the rack's CXL memory, wholly or in part.
    pub fn uses_cxl(&self) -> bool {
        self.state.has_image() && matches!(self.pages, PageSource::Cxl | PageSource::Tiered)
    }

    /// Whether single pages come over RDMA.
    pub fn reads_rdma(&self) -> bool {
        self.state == State::RemoteFork
            || matches!(self.pages, PageSource::Rdma | PageSource::RdmaPrefetch | PageSource::Tiered)
    }

    /// Whether sandboxes go on reading their template in CXL memory after they have started.
    pub fn reads_in_place(&self) -> bool {
        let maps = matches!(self.state, State::Attach | State::WorkingSetRegions | State::VmMap);
        maps && matches!(self.pages, PageSource::Cxl | PageSource::Tiered)
    }
}

impl State {
    /// Whether there is an image, snapshot or template from which the state comes.
    pub const fn has_image(self) -> bool {
        !matches!(self, Self::Boot | Self::Ready)
    }
}
