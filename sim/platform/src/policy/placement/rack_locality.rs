//! Rack locality: a new sandbox goes to the function's home rack, whose pool holds its template.
//!
//! An idle sandbox of the function is used wherever it is. A new one goes to the node of the home
//! rack with the most uncommitted memory; if it does not fit there, the other racks are asked in
//! turn, from the home rack on. If it fits nowhere, the home rack's node is the answer, and the
//! control plane makes room where it does in the whole cluster: on the node of the least recently used
//! idle sandbox, whatever its rack. (Without spilling, racks never meet: each is played as a cluster of
//! its own under the sandbox-aware placement.)

use super::{NodeLoads, PlacementPolicy, Scope, home_rack};
use crate::ids::NodeId;
use traces::{Bytes, FunctionId};

/// Home rack first.
#[derive(Clone, Copy, Debug)]
pub struct RackLocality {
    /// Limit on the declared memory of a node's sandboxes.
    pub memory_cap: Bytes,
}

impl PlacementPolicy for RackLocality {
    fn scope(&self) -> Scope {
        Scope::Cluster
    }

    fn choose(&mut self, function: FunctionId, need: Bytes, loads: &NodeLoads) -> NodeId {
        let racks = loads.racks();
        let home = home_rack(function, racks);
        let mut emptiest =
            (0..racks).filter_map(|step| loads.least_committed_in((home + step) % racks)).peekable();
        let first = emptiest.peek().copied();
        let fits = |&node: &NodeId| loads.committed(node) + need <= self.memory_cap;
        // Where the emptiest node of all has no room, no rack need be asked.
        let found = if fits(&loads.least_committed()) { emptiest.find(fits) } else { None };
        found.or(first).unwrap_or(NodeId(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_home_rack_spills_into_the_next_one() {
        // Two racks of two nodes with room for 10 MiB each.
        let mut loads = NodeLoads::new(4, 2, false);
        let mut policy = RackLocality { memory_cap: Bytes::from_mib(10) };
        let home = home_rack(FunctionId(0), 2);
        let (first, second) = (NodeId(2 * home), NodeId(2 * home + 1));
        let mut choose = |loads: &NodeLoads| policy.choose(FunctionId(0), Bytes::from_mib(8), loads);
        assert_eq!(choose(&loads), first);
        loads.commit(first, Bytes::from_mib(5));
        assert_eq!(choose(&loads), second);
        loads.commit(second, Bytes::from_mib(4));
        assert_eq!(choose(&loads), NodeId(2 * (1 - home)));
        for node in [0, 1, 2, 3] {
            loads.commit(NodeId(node), Bytes::from_mib(5));
        }
        assert_eq!(choose(&loads), second, "nothing fits: the emptiest of the home rack");
    }
}
