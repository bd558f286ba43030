//! Policies: the questions the control plane asks, one answer per file.

pub mod keep_alive;
pub mod placement;

pub use keep_alive::{Keep, KeepAlivePolicy};
pub use placement::{NodeLoads, Placement, PlacementPolicy, Scope};

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
