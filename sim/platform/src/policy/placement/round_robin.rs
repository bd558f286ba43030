//! Round robin: invocations go to the nodes in turn, whatever is idle where. Common practice; one of the
//! schedulers of dslab-faas.

use super::{NodeLoads, PlacementPolicy, Scope};
use crate::ids::NodeId;
use traces::{Bytes, FunctionId};

/// Nodes in turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobin {
    next: u32,
}

impl PlacementPolicy for RoundRobin {
    fn scope(&self) -> Scope {
        Scope::Node
    }

    fn choose(&mut self, _function: FunctionId, _need: Bytes, loads: &NodeLoads) -> NodeId {
        let nodes = loads.nodes();
        // Only where nodes are down is more than one asked.
        let up = (0..nodes).map(|step| (self.next + step) % nodes).find(|&node| loads.is_up(NodeId(node)));
        let node = up.unwrap_or(self.next);
        self.next = (node + 1) % nodes;
        NodeId(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_nodes_take_turns() {
        let loads = NodeLoads::new(3, 1, false);
        let mut policy = RoundRobin::default();
        let chosen: Vec<u32> = (0..5).map(|_| policy.choose(FunctionId(9), Bytes::ZERO, &loads).0).collect();
        assert_eq!(chosen, [0, 1, 2, 0, 1]);
    }
}
