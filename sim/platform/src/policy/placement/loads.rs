//! What placements may know of the nodes: running invocations and committed memory, kept so that
//! the emptiest node is found in O(1) and a change costs O(log nodes).

use super::tournament::Tournament;
use crate::ids::NodeId;
use traces::Bytes;

/// Loads of all nodes. Nodes are numbered rack by rack, every rack has equally many.
#[derive(Clone, Debug)]
pub struct NodeLoads {
    committed: Vec<Bytes>,
    running: Vec<u32>,
    up: Vec<bool>,
    total_running: u64,
    nodes_per_rack: u32,
    /// Over committed memory, one for each rack.
    emptiest: Vec<Tournament>,
    /// Over the racks, by committed memory of the emptiest node in each.
    emptiest_rack: Tournament,
    /// Over running invocations; kept only for the placement that asks for it.
    idlest: Option<Tournament>,
}

impl NodeLoads {
    /// `nodes` empty nodes in `racks` racks. `by_running` keeps the node with the fewest running
    /// invocations at hand.
    ///
    /// # Panics
    /// If the racks do not divide the nodes.
    pub fn new(nodes: u32, racks: u32, by_running: bool) -> Self {
        assert!(racks > 0 && nodes.is_multiple_of(racks), "{nodes} nodes do not fill {racks} racks");
        let (count, nodes_per_rack) = (nodes as usize, nodes / racks);
        Self {
            committed: vec![Bytes::ZERO; count],
            running: vec![0; count],
            up: vec![true; count],
            total_running: 0,
            nodes_per_rack,
            emptiest: vec![Tournament::new(nodes_per_rack as usize); racks as usize],
            emptiest_rack: Tournament::new(racks as usize),
            idlest: by_running.then(|| Tournament::new(count)),
        }
    }

    /// Number of nodes, those that are down included.
    pub fn nodes(&self) -> u32 {
        self.up.len() as u32
    }

    /// Number of racks.
    pub fn racks(&self) -> u32 {
        self.emptiest.len() as u32
    }

    /// Whether the node is there.
    pub fn is_up(&self, node: NodeId) -> bool {
        self.up[node.index()]
    }

    /// Declared memory of the node's sandboxes.
    pub fn committed(&self, node: NodeId) -> Bytes {
        self.committed[node.index()]
    }

    /// Invocations running or starting on the node.
    pub fn running(&self, node: NodeId) -> u32 {
        self.running[node.index()]
    }

    /// Invocations running or starting on all nodes.
    pub fn total_running(&self) -> u64 {
        self.total_running
    }

    /// The node with the least committed memory; of equals the first. The first node if all are down.
    pub fn least_committed(&self) -> NodeId {
        self.emptiest_rack.least().and_then(|rack| self.least_committed_in(rack)).unwrap_or(NodeId(0))
    }

    /// The node of the rack with the least committed memory; of equals the first. `None` if all are
    /// down.
    pub fn least_committed_in(&self, rack: u32) -> Option<NodeId> {
        let node = self.emptiest[rack as usize].least()?;
        Some(NodeId(rack * self.nodes_per_rack + node))
    }

    /// The node with the fewest running invocations; of equals the first. The first node if all are
    /// down.
    ///
    /// # Panics
    /// If the loads were not made to know it.
    pub fn least_running(&self) -> NodeId {
        let idlest = self.idlest.as_ref().expect("loads that know the running invocations");
        NodeId(idlest.least().unwrap_or(0))
    }

    /// Declared memory of a node grows.
    pub fn commit(&mut self, node: NodeId, bytes: Bytes) {
        self.committed[node.index()] += bytes;
        self.enter(node);
    }

    /// Declared memory of a node shrinks.
    pub fn release(&mut self, node: NodeId, bytes: Bytes) {
        self.committed[node.index()] -= bytes;
        self.enter(node);
    }

    /// An invocation was bound to the node.
    pub fn begin(&mut self, node: NodeId) {
        self.running[node.index()] += 1;
        self.total_running += 1;
        self.enter_running(node);
    }

    /// An invocation bound to the node has ended.
    pub fn end(&mut self, node: NodeId) {
        self.running[node.index()] -= 1;
        self.total_running -= 1;
        self.enter_running(node);
    }

    /// The node comes or goes.
    pub fn set_up(&mut self, node: NodeId, up: bool) {
        self.up[node.index()] = up;
        self.enter(node);
        self.enter_running(node);
    }

    fn enter(&mut self, node: NodeId) {
        let rack = (node.0 / self.nodes_per_rack) as usize;
        let key = if self.up[node.index()] { self.committed[node.index()].0 } else { u64::MAX };
        let tournament = &mut self.emptiest[rack];
        tournament.set((node.0 % self.nodes_per_rack) as usize, key);
        let least = tournament.least().map_or(u64::MAX, |winner| tournament.key(winner as usize));
        if least != self.emptiest_rack.key(rack) {
            self.emptiest_rack.set(rack, least);
        }
    }

    fn enter_running(&mut self, node: NodeId) {
        let up = self.up[node.index()];
        if let Some(idlest) = &mut self.idlest {
            idlest.set(node.index(), if up { u64::from(self.running[node.index()]) } else { u64::MAX });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_committed_node_that_is_up_is_known_over_all_racks_and_in_each() {
        let mut loads = NodeLoads::new(6, 3, true);
        for (node, mib) in [(0, 5), (1, 4), (2, 3), (3, 9), (4, 2), (5, 8)] {
            loads.commit(NodeId(node), Bytes::from_mib(mib));
        }
        assert_eq!((loads.least_committed(), loads.least_committed_in(1)), (NodeId(4), Some(NodeId(2))));
        loads.set_up(NodeId(4), false);
        loads.set_up(NodeId(2), false);
        assert_eq!((loads.least_committed(), loads.least_committed_in(1)), (NodeId(1), Some(NodeId(3))));
        loads.release(NodeId(5), Bytes::from_mib(7));
        assert_eq!(loads.least_committed(), NodeId(5));
        loads.begin(NodeId(0));
        assert_eq!(loads.least_running(), NodeId(1));
        (0..6).for_each(|node| loads.set_up(NodeId(node), false));
        assert_eq!((loads.least_committed(), loads.least_committed_in(0)), (NodeId(0), None));
    }
}
