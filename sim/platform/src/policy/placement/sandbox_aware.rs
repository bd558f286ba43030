//! Sandbox-aware: an idle sandbox of the function is used wherever it is; a new one goes to the
//! node with the most uncommitted memory.
//!
//! The generalisation to many nodes of the paper's single-node pool policy: reuse first, and the
//! idle sandbox given up or repurposed is the least recently used of the whole cluster.

use super::{NodeLoads, PlacementPolicy, Scope};
use crate::ids::NodeId;
use traces::{Bytes, FunctionId};

/// Looks everywhere, starts where memory is free.
#[derive(Clone, Copy, Debug)]
pub struct SandboxAware;

impl PlacementPolicy for SandboxAware {
    fn scope(&self) -> Scope {
        Scope::Cluster
    }

    fn choose(&mut self, _function: FunctionId, _need: Bytes, loads: &NodeLoads) -> NodeId {
        loads.least_committed()
    }
}
