//! A part of a run in detail: what every sandbox was at, what every place held.

use super::StartKind;
use crate::memory::MemoryClass;
use serde::{Deserialize, Serialize};
use traces::{Duration, Instant};

/// The part of a run that a timeline shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineWindow {
    /// Its beginning.
    pub from: Instant,
    /// Its end.
    pub until: Instant,
}

/// What happened in a window of a run, in order of cells, then of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// The window: nothing in it lies outside.
    pub window: TimelineWindow,
    /// Nodes of the cluster.
    pub nodes: u32,
    /// What sandboxes were at, by the end of each slice. Slices of one sandbox do not overlap.
    pub slices: Vec<TimelineSlice>,
    /// Invocations that waited for memory or a start slot, by the end of the invocation.
    pub waits: Vec<TimelineWait>,
    /// What happened at an instant.
    pub marks: Vec<TimelineMark>,
    /// What nodes and racks held and used, from each change on.
    pub levels: Vec<TimelineLevel>,
    /// Events that were left out because there were too many.
    pub dropped: u64,
}

impl Timeline {
    /// A timeline of no nodes and no events.
    pub fn new(window: TimelineWindow) -> Self {
        Self {
            window,
            nodes: 0,
            slices: Vec::new(),
            waits: Vec::new(),
            marks: Vec::new(),
            levels: Vec::new(),
            dropped: 0,
        }
    }
}

/// One sandbox at one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineSlice {
    /// Its node.
    pub node: u32,
    /// The sandbox. Numbers are used again after a sandbox is gone.
    pub sandbox: u32,
    /// Since when.
    pub begin: Instant,
    /// For how long.
    pub length: Duration,
    /// What it was at.
    pub step: Step,
    /// Whether it waited for others to get there.
    pub waits: bool,
    /// For which function.
    pub function: u32,
    /// For which invocation; `None` if it was made before it was asked for.
    pub invocation: Option<u64>,
    /// How that invocation got it.
    pub start: Option<StartKind>,
}

/// An invocation that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineWait {
    /// Position in the workload.
    pub invocation: u64,
    /// Its function.
    pub function: u32,
    /// Since when.
    pub begin: Instant,
    /// For how long.
    pub length: Duration,
}

/// Something at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineMark {
    /// When.
    pub at: Instant,
    /// Where.
    pub place: TimelinePlace,
    /// To which sandbox of that node, if to one.
    pub sandbox: Option<u32>,
    /// What.
    pub what: Happening,
    /// The function it is about: of a repurposed sandbox the new one.
    pub function: Option<u32>,
}

/// A place with an account of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TimelinePlace {
    /// The whole cluster.
    Cluster,
    /// A node.
    Node(u32),
    /// A rack's CXL device.
    Device(u32),
}

/// An amount from an instant on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineLevel {
    /// Since when.
    pub at: Instant,
    /// Where.
    pub place: TimelinePlace,
    /// Of what.
    pub of: Amount,
    /// How much: bytes, or cores.
    pub value: u64,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Amount {
    /// Bytes of a class.
    Memory(MemoryClass),
    /// Cores in use.
    Cores,
}

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// The name on a timeline.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }
    };
}

named! {
    /// What a sandbox is at.
    Step {
        /// Waits until its template is in the rack's CXL memory.
        TemplateFill = "template fill",
        /// Makes a network namespace: holds the node's rtnl lock.
        NetnsLock = "netns lock",
        /// Takes a ready network namespace.
        EnterNetns = "enter netns",
        /// The container runtime's bookkeeping.
        Runtime = "container runtime",
        /// Mounts or changes the root file system: holds the node's mount lock.
        MountLock = "mount lock",
        /// Makes a cgroup, or moves a process into one: holds the node's cgroup lock.
        CgroupLock = "cgroup lock",
        /// Rewrites the limits of its cgroup.
        CgroupLimits = "cgroup limits",
        /// Starts its process.
        Spawn = "spawn",
        /// Kills the processes of the function it had before.
        Kill = "kill",
        /// The function, or its runtime, initialises itself.
        Init = "init",
        /// CRIU sets up a restore.
        Criu = "CRIU set-up",
        /// Threads are made again.
        Threads = "threads",
        /// Memory is copied from where the system keeps it.
        Copy = "copy pages",
        /// The platform takes the restored task over.
        TakeOver = "take over",
        /// The VMM starts and loads the state of the devices.
        Vmm = "VMM",
        /// Regions of an image are mapped.
        Map = "map regions",
        /// The agent in the guest is connected again.
        Reconnect = "reconnect guest",
        /// The template is attached.
        Attach = "attach template",
        /// A zygote forks.
        ZygoteFork = "fork zygote",
        /// The parent's page tables are read over RDMA.
        Descriptor = "read descriptor",
        /// Pages that the invocation touches are fetched.
        Fetch = "fetch pages",
        /// The handler runs.
        Handler = "handler",
        /// The handler waits for somebody else.
        HandlerWaits = "handler waits",
    }
}

named! {
    /// What happens at an instant.
    Happening {
        /// An idle sandbox is given up because its keep-alive has ended.
        Expired = "expired",
        /// An idle sandbox is given up because memory is needed.
        Evicted = "evicted",
        /// An idle sandbox is given another function.
        Repurposed = "repurposed",
        /// An idle sandbox goes down a layer.
        Demoted = "demoted",
        /// Read-only pages were copied to local memory.
        Promoted = "promoted",
        /// A sandbox is lost.
        Lost = "lost",
        /// An invocation has waited for too long.
        TimedOut = "timed out",
        /// An invocation could never run.
        Rejected = "rejected",
        /// A node fails.
        NodeLost = "node lost",
        /// A node is back.
        NodeBack = "node back",
        /// A CXL device fails.
        DeviceLost = "CXL device lost",
        /// A CXL device is back, empty.
        DeviceBack = "CXL device back",
        /// The RDMA pool fails.
        PoolLost = "RDMA pool lost",
        /// The RDMA pool is back, empty.
        PoolBack = "RDMA pool back",
        /// A NIC gets slower.
        NicSlow = "NIC slowed",
        /// A NIC has its capacity again.
        NicBack = "NIC back",
    }
}

impl Step {
    /// Whether the handler has begun.
    pub const fn is_handler(self) -> bool {
        matches!(self, Self::Handler | Self::HandlerWaits)
    }
}
