//! [`Spec`]: what one run does, fully checked. Units are resolved, ranges proven, names known.
//!
//! A spec is data: its canonical JSON ([`Spec::canonical`]) is part of the run's key, so two specs
//! that are written differently and mean the same are the same run.

use platform::Profile;
pub use platform::policy::{KeepAliveParameters, Placement};
pub use platform::records::TimelineWindow;
use platform::system::System;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
pub use traces::generate::agents::Arrivals;
use traces::{Bytes, Duration};
pub use traces::{ServiceTime, Spread};

/// How much of an experiment is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Minutes on two cores.
    Kick,
    /// Tens of minutes.
    Short,
    /// Everything.
    Full,
}

impl Tier {
    /// Every tier, smallest first.
    pub const ALL: [Self; 3] = [Self::Kick, Self::Short, Self::Full];

    /// The word used in files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kick => "kick",
            Self::Short => "short",
            Self::Full => "full",
        }
    }
}

/// One run, apart from its seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// The system under test.
    pub system: System,
    /// The machines.
    pub cluster: Cluster,
    /// Parameters of the keep-alive policies.
    pub keep_alive: KeepAliveParameters,
    /// How a node is chosen.
    pub placement: Placement,
    /// Who may share with whom.
    pub sharing: Sharing,
    /// What the pools hold, and when.
    pub pools: Pools,
    /// What fails and comes back while the run lasts.
    pub faults: Faults,
    /// What is played.
    pub workload: WorkloadSpec,
    /// Step costs and device constants.
    pub machine: Machine,
    /// Function profiles by name, shared by the points of an experiment.
    pub profiles: Arc<BTreeMap<String, Profile>>,
    /// Service times by function name, for generators that have none of their own.
    pub service_times: Arc<BTreeMap<String, ServiceTime>>,
    /// Profile of functions whose workload names none; scaled to the function's memory.
    pub default_profile: String,
    /// What is recorded.
    pub output: Output,
    /// How it is fitted to a real machine; only of runs in the emulated world.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emu: Option<EmuSpec>,
}

impl Spec {
    /// Canonical JSON: fields in declaration order, maps sorted, integers in base units.
    ///
    /// Of paths only the file names remain: where the data lies is not part of what a run does, and
    /// what it holds is hashed on its own.
    pub fn canonical(&self) -> String {
        let spec = Self { workload: self.workload.without_folders(), ..self.clone() };
        serde_json::to_string(&spec).expect("a spec is plain data")
    }
}

/// The machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Number of nodes, at least 1.
    pub nodes: u32,
    /// Racks they stand in, equally many in each; a rack shares a CXL device.
    pub racks: u32,
    /// Cores of a node.
    pub cores: u32,
    /// DRAM of a node: a hard limit on what its sandboxes really use.
    pub dram: Bytes,
    /// Limit on the sum of declared memory of a node's sandboxes: what the platform accounts.
    pub memory_cap: Bytes,
    /// How long an invocation may wait for memory or a start slot.
    pub queue_timeout: Duration,
}

/// Who may share sandboxes and memory with whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sharing {
    /// Whether idle sandboxes, and pages that functions have in common, are shared only by functions
    /// of one tenant (the paper's security rule).
    pub within_tenant: bool,
    /// Deals the functions to so many tenants in turn; 0 leaves them with the workload's own.
    pub tenants: u32,
}

/// What the pools hold, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pools {
    /// Racks whose CXL device holds a function's template when the run begins, counted from its home
    /// rack; 0 for all. In the others the first start fills it in from network storage.
    pub replicas: u32,
}

/// What fails and comes back while the run lasts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Faults {
    /// Single events.
    pub events: Vec<Fault>,
    /// Nodes that come and go all the time.
    pub churn: Option<Churn>,
}

/// One failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// When.
    pub at: Duration,
    /// For how long.
    pub lasts: Duration,
    /// What fails.
    pub what: FaultKind,
}

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// A node with everything on it.
    Node {
        /// Which.
        node: u32,
    },
    /// The CXL device of a rack with all templates on it.
    CxlDevice {
        /// Of which rack.
        rack: u32,
    },
    /// A node's NIC gets slower.
    Nic {
        /// Of which node.
        node: u32,
        /// Times the capacity it had, above 0 and up to 1.
        factor: f64,
    },
}

/// Nodes that come and go: each fails after an exponential time and is back after another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Churn {
    /// Mean time from a node's coming to its failure.
    pub up: Duration,
    /// Mean time from its failure to its return.
    pub down: Duration,
}

/// What is played.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadSpec {
    /// The paper's W1.
    W1,
    /// The paper's W2.
    W2,
    /// The paper's functional workload.
    Func,
    /// Named functions, so many calls at once, round after round.
    Calls {
        /// Called in turn.
        functions: Vec<String>,
        /// Calls of a function at the same instant.
        at_once: u32,
        /// Rounds of calls of each function.
        rounds: u32,
        /// Rounds that are burn-in.
        burn_in_rounds: u32,
        /// Time from one function's calls to the next function's.
        every: Duration,
    },
    /// The paper's Azure hour, from the user's copy of the full 2019 set.
    AzureHour {
        /// Folder with the day-3 files.
        folder: PathBuf,
    },
    /// The same construction on the bundled 500-function sample.
    AzureHourSample,
    /// The paper's Huawei hours, from the user's copy of the full 2023 set.
    HuaweiHour {
        /// Folder with the requests-per-minute files.
        folder: PathBuf,
    },
    /// An Azure Functions 2019 trace: invocations, durations, memory.
    Azure2019 {
        /// Invocations per minute.
        invocations: PathBuf,
        /// Duration percentiles.
        durations: PathBuf,
        /// Memory percentiles.
        memory: Option<PathBuf>,
        /// How the calls of a minute are spread over it.
        spread: Spread,
        /// Arrivals before this are burn-in.
        burn_in: Duration,
        /// Only this much of the trace, from its beginning.
        window: Option<Duration>,
    },
    /// The standard job of simulator benchmarks: Zipf popularity, Poisson arrivals.
    Zipf {
        /// Number of functions.
        functions: u32,
        /// How many times they exist, each copy with an equal share of the invocations.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        copies: u32,
        /// Number of invocations.
        invocations: u64,
        /// Length of the workload.
        span: Duration,
        /// Arrivals before this are burn-in.
        burn_in: Duration,
    },
    /// Agents: so many instances of each kind.
    Agents {
        /// Which kinds, by the names of their profiles; empty for every one of the profiles file.
        agents: Vec<String>,
        /// Instances of each kind.
        instances: u32,
        /// When they arrive.
        arrivals: Arrivals,
        /// How long is looked at; every agent arrives before it ends.
        span: Duration,
    },
    /// A binary workload file.
    File {
        /// The file, as `trenvx trace` writes it.
        path: PathBuf,
    },
}

impl WorkloadSpec {
    /// The word used in files.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::W1 => "w1",
            Self::W2 => "w2",
            Self::Func => "func",
            Self::Calls { .. } => "calls",
            Self::AzureHour { .. } => "azure-hour",
            Self::AzureHourSample => "azure-hour-sample",
            Self::HuaweiHour { .. } => "huawei-hour",
            Self::Azure2019 { .. } => "azure-2019",
            Self::Zipf { .. } => "zipf",
            Self::Agents { .. } => "agents",
            Self::File { .. } => "file",
        }
    }

    fn without_folders(&self) -> Self {
        let bare = |path: &mut PathBuf| *path = path.file_name().map(PathBuf::from).unwrap_or_default();
        let mut workload = self.clone();
        match &mut workload {
            Self::W1
            | Self::W2
            | Self::Func
            | Self::Calls { .. }
            | Self::AzureHourSample
            | Self::Zipf { .. }
            | Self::Agents { .. } => {}
            Self::AzureHour { folder } | Self::HuaweiHour { folder } => bare(folder),
            Self::Azure2019 { invocations, durations, memory, .. } => {
                bare(invocations);
                bare(durations);
                memory.iter_mut().for_each(bare);
            }
            Self::File { path } => bare(path),
        }
        workload
    }
}

/// What is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Whether every invocation is written, beside the distributions.
    pub invocations: bool,
    /// Time between memory samples.
    pub memory_every: Duration,
    /// Functions that get latency distributions of their own: the first so many of the workload. All
    /// others are in the counts and in the distributions by start kind.
    pub distributions: u32,
    /// Steps in which an instance's memory grows during its first invocation.
    pub growth_steps: u32,
    /// The part of the run that is written as a timeline, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<TimelineWindow>,
}

/// How a workload is fitted to a real machine, which is smaller than the experiment's and cannot play
/// faster than real time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EmuSpec {
    /// Only this much of the workload, from its beginning; `None` for all.
    pub window: Option<Duration>,
    /// Arrivals before this are burn-in, instead of those that the workload says.
    pub burn_in: Duration,
    /// Times of arrivals, and those for which idle sandboxes are kept, are divided by this.
    pub speed: f64,
    /// Only calls of these functions; empty: all.
    pub functions: Vec<String>,
    /// Pages that the page server installs for one fault.
    #[serde(default = "one")]
    pub batch: u32,
}

fn one() -> u32 {
    1
}

// By reference, as serde asks for it.
fn is_one(n: &u32) -> bool {
    *n == 1
}

/// Step costs and device constants of a machine, as `configs/machines/*.toml` states them with
/// source for source. Durations are on an idle machine; contention comes from the model's queues.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Costs of making and changing sandboxes.
    pub sandbox: SandboxCosts,
    /// Costs of restoring memory.
    pub restore: RestoreCosts,
    /// Costs of single page faults.
    pub fault: FaultCosts,
    /// Local memory.
    pub dram: DramConstants,
    /// CXL memory.
    pub cxl: CxlConstants,
    /// RDMA pool.
    pub rdma: RdmaConstants,
    /// Local SSD of a node.
    pub ssd: StorageConstants,
    /// Network storage, as one rack sees it.
    pub nas: StorageConstants,
    /// Virtual machines.
    pub vm: VmCosts,
}

/// Costs of making and changing sandboxes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SandboxCosts {
    /// Container runtime bookkeeping around a new container (no kernel lock held).
    pub runtime: Duration,
    /// Network namespace with veth, address and route: serial on a node (rtnl lock).
    pub netns_create: Duration,
    /// Its destruction: serial on the same lock.
    pub netns_destroy: Duration,
    /// Taking a ready network namespace from the pool.
    pub netns_enter: Duration,
    /// Root file system mounted and pivoted into: serial on a node (mount lock).
    pub rootfs_mount: Duration,
    /// Overlay of the old function unmounted and that of the new one bound: serial on the mount lock.
    pub rootfs_swap: Duration,
    /// Cgroup directories and limits made: serial on a node (cgroup lock).
    pub cgroup_create: Duration,
    /// A process moved into its cgroup: serial on the cgroup lock.
    pub cgroup_migrate: Duration,
    /// Limits of an existing cgroup rewritten.
    pub cgroup_limits: Duration,
    /// A process started (in its cgroup, where it is born there).
    pub spawn: Duration,
    /// Processes of the old function killed and reaped, before a sandbox is repurposed.
    pub kill: Duration,
}

/// Costs of restoring memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestoreCosts {
    /// CRIU's own set-up for a restore, whatever is restored.
    pub criu_setup: Duration,
    /// Copy of one page from the image into new anonymous memory.
    pub criu_page: Duration,
    /// A thread re-created with its registers.
    pub thread: Duration,
    /// Attach of a template, whatever it holds.
    pub attach: Duration,
    /// Attach of one mapped region of a template.
    pub attach_region: Duration,
    /// Restored task taken over by the platform.
    pub take_over: Duration,
    /// Working-set page installed through userfaultfd in a batch.
    pub prefetch_page: Duration,
    /// Share of an invocation's working set that the recorded working set covers, 0 to 1.
    pub prefetch_coverage: f64,
    /// One region of the loading-set file mapped.
    pub map_region: Duration,
    /// Pages in one such region, on average.
    pub pages_per_region: u32,
    /// Fork of a zygote that has the runtime and the libraries loaded.
    pub zygote_fork: Duration,
    /// Share of the runtime's and libraries' pages that are equal, byte for byte, in every function of
    /// the runtime, 0 to 1.
    pub identical: f64,
}

/// Costs of single page faults, as the faulting thread sees them on an idle machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultCosts {
    /// Page already in the host page cache or pool, mapped.
    pub minor: Duration,
    /// Shared page copied into a new local page (source in DRAM).
    pub copy_on_write: Duration,
    /// Missing page served by a userfaultfd handler.
    pub userfaultfd: Duration,
    /// Kernel's part of a fault that fetches over RDMA (the transfer is extra).
    pub major: Duration,
}

/// Local memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DramConstants {
    /// Load latency.
    pub latency: Duration,
}

/// CXL memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CxlConstants {
    /// Load latency.
    pub latency: Duration,
    /// Bandwidth of the device in bytes per second.
    pub bandwidth: u64,
    /// Loads in flight during a 4 KiB copy (memory-level parallelism).
    pub copy_parallelism: f64,
    /// Cache lines queued in front of a load, for each unit of u / (1 - u) at utilisation u: how the
    /// latency rises with load. 0 for a device whose latency does not.
    pub queued_lines: f64,
    /// Nodes that can be attached to one device.
    pub ports: u32,
    /// Capacity of the pool.
    pub capacity: Bytes,
}

/// RDMA pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RdmaConstants {
    /// One 4 KiB read, unloaded.
    pub read_4k: Duration,
    /// 4 KiB reads a second that a node's NIC sustains.
    pub reads_per_second: u64,
    /// Bandwidth of a node's NIC in bytes per second, for reads in batches.
    pub bandwidth: u64,
    /// Standard deviation of a 4 KiB read over its mean; 0 for a constant latency.
    pub read_variation: f64,
    /// Capacity of the pool.
    pub capacity: Bytes,
}

/// A storage tier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StorageConstants {
    /// One 4 KiB read, unloaded.
    pub read_4k: Duration,
    /// Bandwidth in bytes per second, for large reads.
    pub bandwidth: u64,
}

/// Virtual machines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VmCosts {
    /// VMM process started.
    pub start: Duration,
    /// Device state of a snapshot loaded.
    pub load: Duration,
    /// Connection to the agent in the guest restored.
    pub reconnect: Duration,
    /// Memory of the VMM process.
    pub vmm_memory: Bytes,
    /// Memory of the guest's kernel and agent that a restored guest touches.
    pub guest_memory: Bytes,
    /// Memory size of a guest: what its snapshot occupies in the pool.
    pub guest_size: Bytes,
    /// One page of guest memory copied at restore, by a VMM that copies all of it.
    pub copy_page: Duration,
    /// Share of a snapshot's pages that are zero, and need no memory where templates leave them out.
    pub snapshot_zero: f64,
}
