//! Round robin: invocations go to the nodes in turn, whatever is idle where.

use super::{NodeLoads, PlacementPolicy, Scope};
use crate::ids::NodeId;
use traces::FunctionId;

/// Nodes in turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobin {
    next: u32,
}

impl PlacementPolicy for RoundRobin {
    fn scope(&self) -> Scope {
        Scope::Node
    }

    fn choose(&mut self, _function: FunctionId, loads: &NodeLoads) -> NodeId {
        let node = NodeId(self.next);
        self.next = (self.next + 1) % loads.nodes() as u32;
        node
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_nodes_take_turns() {
        let loads = NodeLoads::new(3);
        let mut policy = RoundRobin::default();
        let chosen: Vec<u32> = (0..5).map(|_| policy.choose(FunctionId(9), &loads).0).collect();
        assert_eq!(chosen, [0, 1, 2, 0, 1]);
    }
}
