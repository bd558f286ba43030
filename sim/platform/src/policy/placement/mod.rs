//! Placement: which node an invocation goes to.
//!
//! A placement either looks for an idle sandbox in the whole cluster and asks for a node only when
//! it must start one ([`Scope::Cluster`]), or chooses the node first and looks for idle sandboxes
//! there ([`Scope::Node`]). No decision costs O(nodes).

pub mod hash_affinity;
pub mod loads;
pub mod round_robin;
pub mod sandbox_aware;

pub use loads::NodeLoads;

use super::PolicyEntry;
use crate::ids::NodeId;
use serde::{Deserialize, Serialize};
use traces::FunctionId;

/// How a node is chosen for an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Any idle sandbox of the function, wherever it is; else the node with most free memory.
    SandboxAware,
    /// The function's own node by hash, or the next ones while it is above `bound_permille` times
    /// the average load.
    HashAffinity {
        /// Load bound in thousandths of the average: 1250 = 1.25.
        bound_permille: u32,
    },
    /// Nodes in turn.
    RoundRobin,
}

/// Where idle sandboxes are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// On every node: the node is chosen only for a new sandbox.
    Cluster,
    /// On the node chosen at arrival.
    Node,
}

/// Chooses nodes.
pub trait PlacementPolicy: Send {
    /// Where idle sandboxes are looked for.
    fn scope(&self) -> Scope;

    /// The node for an invocation of `function` ([`Scope::Node`]) or for a new sandbox of it
    /// ([`Scope::Cluster`]).
    fn choose(&mut self, function: FunctionId, loads: &NodeLoads) -> NodeId;
}

/// Every placement policy.
pub const PLACEMENTS: &[PolicyEntry] = &[
    PolicyEntry {
        name: "sandbox-aware",
        about: "an idle sandbox of the function on any node; a new one where most memory is free",
        source: "the paper's single-node pool policy, on many nodes",
    },
    PolicyEntry {
        name: "hash-affinity",
        about: "the function's home node by hash; its next node above bound_permille of the average load",
        source: "consistent hashing with bounded loads (SODA'18)",
    },
    PolicyEntry { name: "round-robin", about: "nodes in turn", source: "common practice" },
];

/// The policy of that name and parameters.
pub fn build(placement: Placement) -> Box<dyn PlacementPolicy> {
    match placement {
        Placement::SandboxAware => Box::new(sandbox_aware::SandboxAware),
        Placement::HashAffinity { bound_permille } => {
            Box::new(hash_affinity::HashAffinity { bound_permille })
        }
        Placement::RoundRobin => Box::new(round_robin::RoundRobin::default()),
    }
}
