//! Policies: the questions the control plane asks, one answer per file.

pub mod keep_alive;
pub mod placement;

pub use keep_alive::{Keep, KeepAliveParameters, KeepAlivePolicy, Knowledge};
pub use placement::{NodeLoads, Placement, PlacementPolicy, Scope};

use traces::{Bytes, Duration};

/// What policies may know of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionFacts {
    /// Declared memory.
    pub declared: Bytes,
    /// Whose it is: sandboxes and memory are shared inside a tenant where the experiment says so.
    pub tenant: u32,
    /// Its language runtime: sandboxes that keep only a runtime serve any function of it.
    pub runtime: u32,
    /// What a sandbox that keeps only that runtime counts against the node's cap.
    pub runtime_memory: Bytes,
    /// How much longer a start that finds no idle sandbox takes than a warm one, on an idle node.
    pub start_cost: Duration,
}

/// A registry entry of a policy: `trenvx policies` prints it.
#[derive(Clone, Copy, Debug)]
pub struct PolicyEntry {
    /// The word used in files.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Where its definition comes from.
    pub source: &'static str,
}
