//! Least loaded: the node with the fewest invocations running or starting; of equals the first.
//!
//! The dispatcher that knows every queue (join the shortest queue; Mitzenmacher 2001 compares it with
//! choices by chance). It evens out processors and pays no regard to where idle sandboxes are, except
//! that an idle cluster goes on using its first node. The answer is kept at hand by a tournament over
//! the nodes: O(log nodes) for a change of load, nothing for a decision.

use super::{NodeLoads, PlacementPolicy, Scope};
use crate::ids::NodeId;
use traces::{Bytes, FunctionId};

/// Fewest running invocations.
#[derive(Clone, Copy, Debug)]
pub struct LeastLoaded;

impl PlacementPolicy for LeastLoaded {
    fn scope(&self) -> Scope {
        Scope::Node
    }

    fn needs_running(&self) -> bool {
        true
    }

    fn choose(&mut self, _function: FunctionId, _need: Bytes, loads: &NodeLoads) -> NodeId {
        loads.least_running()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_with_the_fewest_invocations_is_chosen() {
        // Three nodes, each choice begins an invocation: 0, 1, 2, and 0 again. Node 1 ends its own: 1.
        // With node 1 down, 2 is the first of those with one invocation.
        let mut loads = NodeLoads::new(3, 1, true);
        let choose = |loads: &mut NodeLoads| {
            let node = LeastLoaded.choose(FunctionId(0), Bytes::ZERO, loads);
            loads.begin(node);
            node.0
        };
        assert_eq!([(); 4].map(|()| choose(&mut loads)), [0, 1, 2, 0]);
        loads.end(NodeId(1));
        assert_eq!(choose(&mut loads), 1);
        loads.set_up(NodeId(1), false);
        assert_eq!(choose(&mut loads), 2);
    }
}
