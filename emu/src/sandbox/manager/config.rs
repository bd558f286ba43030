//! How a manager works, and what it counts.

use std::path::PathBuf;
use std::time::Duration;

use crate::kernel::linux::Base;
use crate::sandbox::fingerprint::Part;

/// How isolation is obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything is made for each start.
    New,
    /// As `New`, but network namespaces come from a pool. Each is used once: nothing has to be shown clean.
    PooledNetns,
    /// A used sandbox gets a new root and new cheap namespaces; network namespace and cgroup are kept.
    Repurpose,
    /// As published: every namespace but pid is kept and entered, and only the function's own tree is swapped.
    /// Functions see what their predecessors left; for ablation only.
    Setns,
}

/// How a function process comes into its cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Birth {
    /// Version 2: it is born there. Version 1: its init is a member since its own birth.
    IntoCgroup,
    /// It is moved there after its birth, in each hierarchy.
    Migrate,
}

/// When the writable layer of a function that is gone is taken apart. The kernel waits for all processors then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldLayer {
    /// Behind the start of the next function.
    Behind,
    /// In it, to see what that costs.
    Within,
}

/// A step that makes a used sandbox clean. Suites leave one out to see that it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reset {
    /// Kill every process of the old function.
    Kill,
    /// A new root.
    Root,
    /// A new ipc namespace.
    Ipc,
    /// A new uts namespace.
    HostName,
    /// A new session keyring.
    Keyring,
    /// Close descriptors in the new process.
    Descriptors,
    /// Destroy what is left of connections, forget neighbours.
    Sockets,
    /// Compare network namespace and cgroup with how they looked at first.
    Check,
    /// Set the new function's limits.
    Limits,
    /// Put counters of the cgroup back.
    Counters,
    /// A new channel.
    Channel,
}

impl Reset {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Kill,
        Self::Root,
        Self::Ipc,
        Self::HostName,
        Self::Keyring,
        Self::Descriptors,
        Self::Sockets,
        Self::Check,
        Self::Limits,
        Self::Counters,
        Self::Channel,
    ];
}

/// How a manager works.
#[derive(Clone, Debug)]
pub struct Config {
    /// Program that calls [`crate::sandbox::enter_if_asked`] first and becomes the nursery.
    pub launcher: PathBuf,
    /// Under all layers.
    pub base: Base,
    /// How isolation is obtained.
    pub mode: Mode,
    /// How functions come into their cgroup.
    pub birth: Birth,
    /// When the writable layer of the function before is taken apart.
    pub old_layer: OldLayer,
    /// Give sandboxes a network: a veth pair to the manager's bridge. Without it they have a lone loopback.
    pub network: bool,
    /// Roots to keep ready for each set of layers, and network namespaces in [`Mode::PooledNetns`].
    pub ready: usize,
    /// How long an order inside a sandbox may take before the sandbox is given up: far more than any needs, so that a
    /// machine that hardly comes to run does not lose its sandboxes.
    pub patience: Duration,
    /// Programs are lent files in memory that outlive them, such as a template of guest memory: its pages stay charged to
    /// the sandbox that touches them first, and are not held against it.
    pub lends_memory: bool,
    /// Resets to leave out, for suites.
    pub without: Vec<Reset>,
}

impl Config {
    /// The usual: this very program as launcher, the machine's programs as base.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self {
            launcher: PathBuf::from("/proc/self/exe"),
            base: Base::HostPrograms,
            mode,
            birth: Birth::IntoCgroup,
            old_layer: OldLayer::Behind,
            network: true,
            ready: 2,
            patience: Duration::from_secs(60),
            lends_memory: false,
            without: Vec::new(),
        }
    }

    pub(super) fn resets(&self, reset: Reset) -> bool {
        !self.without.contains(&reset)
    }
}

/// What a manager has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Sandboxes made.
    pub created: u64,
    /// Functions started in a used sandbox.
    pub repurposed: u64,
    /// Sandboxes taken away, for whatever reason.
    pub destroyed: u64,
    /// Used sandboxes that were not as when new, by the part that differed (several may differ in one).
    pub unclean: std::collections::BTreeMap<Part, u64>,
    /// Roots that were ready when one was needed.
    pub roots_ready: u64,
    /// Roots that had to be built on the way.
    pub roots_built: u64,
}
