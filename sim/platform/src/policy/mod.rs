//! Policies: the questions the control plane asks, one answer per file.

pub mod keep_alive;
pub mod placement;

pub use keep_alive::{Keep, KeepAlivePolicy};
pub use placement::{NodeLoads, Placement, PlacementPolicy, Scope};
