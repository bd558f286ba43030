//! Placement: which node an invocation goes to.
//!
//! A placement either looks for an idle sandbox in the whole cluster and asks for a node only when
//! it must start one ([`Scope::Cluster`]), or chooses the node first and looks for idle sandboxes
//! there ([`Scope::Node`]). No decision costs O(nodes).

pub mod hash_affinity;
pub mod least_loaded;
pub mod loads;
pub mod power_of_two;
pub mod rack_locality;
pub mod random;
pub mod round_robin;
pub mod sandbox_aware;
pub mod tournament;

pub use loads::NodeLoads;

use super::PolicyEntry;
use crate::ids::NodeId;
use serde::{Deserialize, Serialize};
use traces::rng::Streams;
use traces::{Bytes, FunctionId};

/// How a node is chosen for an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Any idle sandbox of the function, wherever it is; else the node with most free memory.
    SandboxAware,
    /// As sandbox-aware, but new sandboxes go to the function's home rack, where its template is.
    RackLocality {
        /// Whether they go to other racks when the home rack is full.
        spill: bool,
    },
    /// The function's own node by hash, or the next ones while it is above `bound_permille` times
    /// the average load.
    HashAffinity {
        /// Load bound in thousandths of the average: 1250 = 1.25.
        bound_permille: u32,
    },
    /// Nodes in turn.
    RoundRobin,
    /// Any node, by chance.
    Random,
    /// The node with the fewest running invocations.
    LeastLoaded,
    /// Of two nodes by chance, the one with fewer running invocations.
    PowerOfTwo,
}

impl Placement {
    /// Whether every function stays in its home rack, so that racks have nothing to do with each
    /// other and can be played apart.
    pub const fn racks_are_independent(self) -> bool {
        matches!(self, Self::RackLocality { spill: false })
    }
}

/// The rack, of so many, in which a function is at home.
pub fn home_rack(function: FunctionId, racks: u32) -> u32 {
    function.home(racks)
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

    /// Whether it asks for [`NodeLoads::least_running`].
    fn needs_running(&self) -> bool {
        false
    }

    /// The node for an invocation of `function` ([`Scope::Node`]) or for a new sandbox of it that
    /// declares `need` ([`Scope::Cluster`]). A node that is down only if all are.
    fn choose(&mut self, function: FunctionId, need: Bytes, loads: &NodeLoads) -> NodeId;
}

/// Every placement policy.
pub const PLACEMENTS: &[PolicyEntry] = &[
    PolicyEntry {
        name: "sandbox-aware",
        about: "an idle sandbox of the function on any node; a new one where most memory is free",
        source: "the paper's single-node pool policy, on many nodes",
    },
    PolicyEntry {
        name: "rack-locality",
        about: "as sandbox-aware inside the function's home rack, where its template is; on other racks only with spill",
        source: "one copy of a template for each CXL pool (TrEnv SOSP'24, multi-node protocol); home rack by hash",
    },
    PolicyEntry {
        name: "hash-affinity",
        about: "the function's home node by hash; its next node above bound_permille of the average load",
        source: "consistent hashing with bounded loads (SODA'18)",
    },
    PolicyEntry {
        name: "round-robin",
        about: "nodes in turn",
        source: "common practice; a scheduler of dslab-faas",
    },
    PolicyEntry {
        name: "random",
        about: "any node, by chance",
        source: "one choice of Mitzenmacher (TPDS 2001)",
    },
    PolicyEntry {
        name: "least-loaded",
        about: "the node with the fewest running invocations",
        source: "join the shortest queue; compared in Mitzenmacher (TPDS 2001)",
    },
    PolicyEntry {
        name: "power-of-two",
        about: "of two nodes by chance, the one with fewer running invocations",
        source: "the power of two choices, Mitzenmacher (TPDS 2001)",
    },
];

/// What a placement is built from.
pub struct Surroundings {
    /// Limit on the declared memory of a node's sandboxes.
    pub memory_cap: Bytes,
    /// Random streams of the run, for placements that draw.
    pub streams: Streams,
}

/// The policy of that name and parameters.
pub fn build(placement: Placement, surroundings: &Surroundings) -> Box<dyn PlacementPolicy> {
    match placement {
        Placement::SandboxAware => Box::new(sandbox_aware::SandboxAware),
        // Without spilling a rack is a cluster of its own.
        Placement::RackLocality { spill: false } => Box::new(sandbox_aware::SandboxAware),
        Placement::RackLocality { spill: true } => {
            Box::new(rack_locality::RackLocality { memory_cap: surroundings.memory_cap })
        }
        Placement::HashAffinity { bound_permille } => {
            Box::new(hash_affinity::HashAffinity { bound_permille })
        }
        Placement::RoundRobin => Box::new(round_robin::RoundRobin::default()),
        Placement::Random => Box::new(random::Random::new(&surroundings.streams)),
        Placement::LeastLoaded => Box::new(least_loaded::LeastLoaded),
        Placement::PowerOfTwo => Box::new(power_of_two::PowerOfTwo::new(&surroundings.streams)),
    }
}
