//! What placements may know of the nodes: running invocations and committed memory, kept so that
//! the emptiest node is found in O(1) and a change costs O(log nodes).

use crate::ids::NodeId;
use traces::Bytes;

/// Loads of all nodes.
#[derive(Clone, Debug)]
pub struct NodeLoads {
    committed: Vec<Bytes>,
    running: Vec<u32>,
    total_running: u64,
    /// Tournament over `committed`: inner nodes of a complete binary tree, each holding the index
    /// of the least committed node below it; ties go to the lower index.
    winners: Vec<u32>,
    leaves: usize,
}

impl NodeLoads {
    /// `nodes` empty nodes.
    pub fn new(nodes: usize) -> Self {
        let leaves = nodes.next_power_of_two();
        let mut loads = Self {
            committed: vec![Bytes::ZERO; nodes],
            running: vec![0; nodes],
            total_running: 0,
            winners: vec![0; leaves],
            leaves,
        };
        for slot in (1..leaves).rev() {
            loads.winners[slot] = loads.winner_below(slot);
        }
        loads
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.committed.len()
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

    /// The node with the least committed memory; of equals the first.
    pub fn least_committed(&self) -> NodeId {
        NodeId(if self.leaves == 1 { 0 } else { self.winners[1] })
    }

    /// Declared memory of a node grows.
    pub fn commit(&mut self, node: NodeId, bytes: Bytes) {
        self.committed[node.index()] += bytes;
        self.replay(node);
    }

    /// Declared memory of a node shrinks.
    pub fn release(&mut self, node: NodeId, bytes: Bytes) {
        self.committed[node.index()] -= bytes;
        self.replay(node);
    }

    /// An invocation was bound to the node.
    pub fn begin(&mut self, node: NodeId) {
        self.running[node.index()] += 1;
        self.total_running += 1;
    }

    /// An invocation bound to the node has ended.
    pub fn end(&mut self, node: NodeId) {
        self.running[node.index()] -= 1;
        self.total_running -= 1;
    }

    fn replay(&mut self, node: NodeId) {
        let mut slot = (self.leaves + node.index()) / 2;
        while slot >= 1 {
            let winner = self.winner_below(slot);
            self.winners[slot] = winner;
            slot /= 2;
        }
    }

    fn winner_below(&self, slot: usize) -> u32 {
        let entrant = |child: usize| {
            if child >= self.leaves { (child - self.leaves) as u32 } else { self.winners[child] }
        };
        let (left, right) = (entrant(2 * slot), entrant(2 * slot + 1));
        let bytes = |node: u32| self.committed.get(node as usize).copied();
        match (bytes(left), bytes(right)) {
            (Some(a), Some(b)) if b < a => right,
            (None, Some(_)) => right,
            _ => left,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_committed_node_is_known_after_every_change() {
        for nodes in [1, 2, 3, 5, 8] {
            let mut loads = NodeLoads::new(nodes);
            let mut truth = vec![0u64; nodes];
            let mut state = 7u64;
            for _ in 0..500 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let node = (state >> 33) as usize % nodes;
                let bytes = (state >> 20) % 1000;
                if state.is_multiple_of(3) && truth[node] >= bytes {
                    truth[node] -= bytes;
                    loads.release(NodeId(node as u32), Bytes(bytes));
                } else {
                    truth[node] += bytes;
                    loads.commit(NodeId(node as u32), Bytes(bytes));
                }
                let least = (0..nodes).min_by_key(|&n| truth[n]).unwrap();
                assert_eq!(loads.least_committed(), NodeId(least as u32));
            }
        }
    }
}
