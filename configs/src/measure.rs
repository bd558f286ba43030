//! [`Measure`]: what is measured on a real machine without any workload.

use serde::{Deserialize, Serialize};

/// One kind of measurement and its extent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Making, repurposing and destroying sandboxes, step by step.
    Sandboxes {
        /// How many at a time, one panel each.
        ways: Vec<u32>,
        /// Starts per mode and number of ways.
        starts: u32,
    },
    /// Each function, started cold in a sandbox: start, service time, memory, threads.
    Functions {
        /// Their names; empty for all.
        functions: Vec<String>,
        /// Processes of each.
        starts: u32,
        /// Calls of each process after the first.
        calls: u32,
    },
    /// What an invocation does to the pages of each function's template, and which pages are alike.
    PageGroups {
        /// Their names; empty for all.
        functions: Vec<String>,
    },
    /// Memory of instances of one function that live at once, booted and attached.
    Instances {
        /// The functions, one panel each.
        functions: Vec<String>,
        /// Instances at once.
        count: u32,
    },
    /// Starts of each function by each way to bring its state back.
    Starts {
        /// Their names; empty for all.
        functions: Vec<String>,
        /// Starts by each way; a tenth of it by those that take long.
        starts: u32,
    },
    /// Starts of microVMs by each method.
    VmStarts {
        /// The methods, by the names of the simulated systems.
        methods: Vec<String>,
        /// Sizes of guest memory, MiB, one panel each.
        memory_mib: Vec<u32>,
        /// Starts per method and size.
        starts: u32,
    },
    /// Page caches of microVMs that read the same file, by each root device.
    PageCache {
        /// VMs at most; measured with one, two, four … of them.
        vms: u32,
        /// Guest memory, MiB.
        memory_mib: u32,
        /// How much of the file they read, MiB, one panel each.
        files_mib: Vec<u32>,
    },
    /// Attach and first reply of a function from each tier, in a guest that has a CXL device.
    Pools {
        /// The function.
        function: String,
        /// The tiers.
        tiers: Vec<String>,
        /// Starts from each tier.
        starts: u32,
        /// Guests: with 2, the pool that is read by RDMA is a guest of its own.
        guests: u32,
    },
    /// Agents at once, with a browser each and with shared ones: all kinds in sandboxes, and some in microVMs, started
    /// E2B's way and TrEnv-X's.
    Agents {
        /// Agents at once in sandboxes, of all kinds in turn.
        count: u32,
        /// Kinds of agents that run at once in microVMs, one of each mention; none for no VMs.
        in_vms: Vec<String>,
        /// How often, each time with other recordings.
        rounds: u32,
        /// Agents to a shared browser.
        per_browser: u32,
        /// By what the model's waits are divided.
        speed: u32,
    },
    /// Browsers of agents that have a page open each, by how many share one.
    Browsers {
        /// Agents at once.
        agents: u32,
        /// Agents to a browser on this machine; others are compared with the first.
        per_browser: Vec<u32>,
        /// Agents to a browser that has a microVM of its own, TrEnv-X's way; compared with E2B's, one in each agent's.
        in_vms: Vec<u32>,
    },
}

impl Measure {
    /// Methods of [`Measure::VmStarts`].
    pub const VM_METHODS: &'static [&'static str] =
        &["vanilla-ch", "reap+", "e2b", "e2b+", "trenvx-vm-guest-cache", "trenvx-vm"];
    /// Tiers of [`Measure::Pools`].
    pub const TIERS: &'static [&'static str] = &[
        "dram",
        "cxl-fsdax",
        "cxl-node",
        "cxl-devdax",
        "rdma-lazy",
        "rdma-batch",
        "rdma-private",
        "criu",
        "criu-lazy",
    ];
    /// Most microVMs at a time: more would wait for each other on a small machine instead of showing anything.
    pub const MOST_VMS: u32 = 4;
    /// The largest file of [`Measure::PageCache`], MiB: what the image holds.
    pub const MOST_FILE_MIB: u32 = 100;

    /// Agents of [`Measure::Agents`].
    pub const AGENTS: &'static [&'static str] =
        &["blackjack", "blog-summary", "bug-fixer", "game-design", "map-reduce", "shop-assistant"];

    /// Words of the alternatives, as in files.
    pub(crate) const KINDS: &'static [&'static str] = &[
        "sandboxes",
        "functions",
        "page-groups",
        "instances",
        "starts",
        "vm-starts",
        "page-cache",
        "agents",
        "browsers",
        "pools",
    ];

    /// The word of its kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sandboxes { .. } => "sandboxes",
            Self::Functions { .. } => "functions",
            Self::PageGroups { .. } => "page-groups",
            Self::Instances { .. } => "instances",
            Self::Starts { .. } => "starts",
            Self::VmStarts { .. } => "vm-starts",
            Self::PageCache { .. } => "page-cache",
            Self::Pools { .. } => "pools",
            Self::Agents { .. } => "agents",
            Self::Browsers { .. } => "browsers",
        }
    }
}
