//! Hash affinity with bounded load (Mirrokni, Thorup, Zadimoghaddam: "Consistent Hashing with
//! Bounded Loads", SODA'18): a function has a home node by hash; while a node carries more than
//! `bound` times the average load, the invocation goes on to the function's next node.
//!
//! The sequence of a function's nodes is a fixed probe sequence of its own (double hashing), so
//! the overflow of one home node does not all fall on its neighbour.

use super::{NodeLoads, PlacementPolicy, Scope};
use crate::ids::NodeId;
use traces::rng::mix;
use traces::{Bytes, FunctionId};

/// Home node by hash, next nodes above the bound.
#[derive(Clone, Copy, Debug)]
pub struct HashAffinity {
    /// Load bound in thousandths of the average load, above 1000.
    pub bound_permille: u32,
}

impl HashAffinity {
    /// Nodes asked before the one with the least committed memory is taken: a decision must not cost
    /// O(nodes). At most 1000 / `bound_permille` of the nodes can be above the bound, so that so many in
    /// a row (70 at 1.25) are with a chance below e^-14, one in a million.
    fn probes(self) -> u64 {
        let bound = u64::from(self.bound_permille);
        (14 * bound).checked_div(bound.saturating_sub(1000)).unwrap_or(u64::MAX)
    }
}

impl PlacementPolicy for HashAffinity {
    fn scope(&self) -> Scope {
        Scope::Node
    }

    fn choose(&mut self, function: FunctionId, _need: Bytes, loads: &NodeLoads) -> NodeId {
        let nodes = u64::from(loads.nodes());
        let hash = mix(u64::from(function.0));
        // A node may carry one more invocation than the bound allows on average, so that an empty
        // cluster takes the first one.
        let limit = (loads.total_running() + 1) * u64::from(self.bound_permille);
        let mut slot = (hash >> 32) % nodes;
        let step = 1 + (hash & 0xffff_ffff) % nodes.saturating_sub(1).max(1);
        for _ in 0..nodes.min(self.probes()) {
            let node = NodeId(slot as u32);
            if loads.is_up(node) && (u64::from(loads.running(node)) * nodes * 1000) < limit {
                return node;
            }
            slot = (slot + step) % nodes;
        }
        loads.least_committed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_stays_home_until_its_home_is_above_the_bound() {
        let mut loads = NodeLoads::new(4, 1, false);
        let mut policy = HashAffinity { bound_permille: 1250 };
        let home = policy.choose(FunctionId(3), Bytes::ZERO, &loads);
        assert_eq!(policy.choose(FunctionId(3), Bytes::ZERO, &loads), home);
        // Two invocations at home, none elsewhere: average 0.75 with the next one, bound 0.94.
        loads.begin(home);
        loads.begin(home);
        assert_ne!(policy.choose(FunctionId(3), Bytes::ZERO, &loads), home);
    }
}
