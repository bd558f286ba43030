//! What placements may know of the nodes: running invocations and committed memory, kept so that
//! the emptiest node is found in O(1) and a change costs O(log nodes).

use super::tournament::Tournament;
use crate::ids::NodeId;
use traces::Bytes;

/// Loads of all nodes. Nodes are numbered rack by rack, every rack has equally many.
#[derive(Clone, Debug)]
pub struct NodeLoads {
    nodes: Vec<Load>,
    total_running: u64,
    start_slots: u32,
    nodes_per_rack: u32,
    /// Over committed memory, one for each rack.
    emptiest: Vec<Tournament>,
    /// Over the racks, by committed memory of the emptiest node in each.
    emptiest_rack: Tournament,
    /// Over running invocations; kept only for the placement that asks for it.
    idlest: Option<Tournament>,
    /// Kept only where new sandboxes may go anywhere.
    roomiest: Option<Roomiest>,
}

/// Load of one node, in one place: every use of a sandbox needs most of it.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Load {
    committed: Bytes,
    /// Part of the committed memory that idle sandboxes hold.
    idle: Bytes,
    running: u32,
    /// Starts under way.
    starting: u32,
    up: bool,
    /// Whether the answer to [`NodeLoads::most_room`] may be another one since the last question.
    is_changed: bool,
}

/// The node with the least memory of busy sandboxes, those without a free start slot left out. That
/// changes at every use of a sandbox and is seldom asked for, so a change is only noted, and the next
/// question catches up: O(log nodes) for a change, but one for all of a node's changes since the last
/// question.
#[derive(Clone, Debug)]
struct Roomiest {
    tournament: Tournament,
    changed: Vec<NodeId>,
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
            nodes: vec![
                Load {
                    committed: Bytes::ZERO,
                    idle: Bytes::ZERO,
                    running: 0,
                    starting: 0,
                    up: true,
                    is_changed: false,
                };
                count
            ],
            total_running: 0,
            start_slots: u32::MAX,
            nodes_per_rack,
            emptiest: vec![Tournament::new(nodes_per_rack as usize); racks as usize],
            emptiest_rack: Tournament::new(racks as usize),
            idlest: by_running.then(|| Tournament::new(count)),
            roomiest: None,
        }
    }

    /// So many starts may be under way at once on a node.
    pub fn with_start_slots(mut self, start_slots: u32) -> Self {
        self.start_slots = start_slots;
        self
    }

    /// As [`Self::with_start_slots`]; keeps the node on which most room can be made at hand.
    pub fn with_room(mut self, start_slots: u32) -> Self {
        let count = self.nodes.len();
        self.start_slots = start_slots;
        self.roomiest =
            Some(Roomiest { tournament: Tournament::new(count), changed: Vec::with_capacity(count) });
        (0..self.nodes()).for_each(|node| self.room_changed(NodeId(node)));
        self
    }

    /// Number of nodes, those that are down included.
    pub fn nodes(&self) -> u32 {
        self.nodes.len() as u32
    }

    /// Number of racks.
    pub fn racks(&self) -> u32 {
        self.emptiest.len() as u32
    }

    /// Whether the node is there.
    pub fn is_up(&self, node: NodeId) -> bool {
        self.nodes[node.index()].up
    }

    /// Declared memory of the node's sandboxes.
    pub fn committed(&self, node: NodeId) -> Bytes {
        self.nodes[node.index()].committed
    }

    /// Declared memory of the node's sandboxes that are not idle.
    pub fn busy(&self, node: NodeId) -> Bytes {
        self.nodes[node.index()].committed.saturating_sub(self.nodes[node.index()].idle)
    }

    /// Whether one more start may be under way on the node.
    pub fn has_slot(&self, node: NodeId) -> bool {
        self.nodes[node.index()].starting < self.start_slots
    }

    /// Invocations running or starting on the node.
    pub fn running(&self, node: NodeId) -> u32 {
        self.nodes[node.index()].running
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

    /// The first rack, from `home` on and round to it again, that has a node with at most that much
    /// committed memory.
    pub fn next_rack_with(&self, home: u32, committed: Bytes) -> Option<u32> {
        let racks = &self.emptiest_rack;
        // Round again up to `home`: whoever comes after it has just been asked in vain.
        racks.next_at_most(home as usize, committed.0).or_else(|| racks.next_at_most(0, committed.0))
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

    /// Of the nodes that are up and have a free start slot, the one with the least memory of busy
    /// sandboxes: what does not fit there once its idle ones are gone fits nowhere. `None` if there is
    /// no such node, or if the loads were not made to know it.
    pub fn most_room(&mut self) -> Option<NodeId> {
        let mut roomiest = self.roomiest.take()?;
        for node in roomiest.changed.drain(..) {
            self.nodes[node.index()].is_changed = false;
            let open = self.is_up(node) && self.has_slot(node);
            let key = if open { self.busy(node).0 } else { u64::MAX };
            roomiest.tournament.set(node.index(), key);
        }
        let least = roomiest.tournament.least().map(NodeId);
        self.roomiest = Some(roomiest);
        least
    }

    /// A sandbox of the node becomes idle.
    pub fn rest(&mut self, node: NodeId, declared: Bytes) {
        self.nodes[node.index()].idle += declared;
        self.room_changed(node);
    }

    /// A sandbox of the node is not idle any more.
    pub fn rise(&mut self, node: NodeId, declared: Bytes) {
        self.nodes[node.index()].idle -= declared;
        self.room_changed(node);
    }

    /// A start begins on the node.
    pub fn begin_start(&mut self, node: NodeId) {
        self.nodes[node.index()].starting += 1;
        self.room_changed(node);
    }

    /// A start on the node has ended.
    pub fn end_start(&mut self, node: NodeId) {
        self.nodes[node.index()].starting -= 1;
        self.room_changed(node);
    }

    /// Declared memory of a node grows.
    pub fn commit(&mut self, node: NodeId, bytes: Bytes) {
        self.nodes[node.index()].committed += bytes;
        self.enter(node);
    }

    /// Declared memory of a node shrinks.
    pub fn release(&mut self, node: NodeId, bytes: Bytes) {
        self.nodes[node.index()].committed -= bytes;
        self.enter(node);
    }

    /// An invocation was bound to the node.
    pub fn begin(&mut self, node: NodeId) {
        self.nodes[node.index()].running += 1;
        self.total_running += 1;
        self.enter_running(node);
    }

    /// An invocation bound to the node has ended.
    pub fn end(&mut self, node: NodeId) {
        self.nodes[node.index()].running -= 1;
        self.total_running -= 1;
        self.enter_running(node);
    }

    /// The node comes or goes.
    pub fn set_up(&mut self, node: NodeId, up: bool) {
        self.nodes[node.index()].up = up;
        self.enter(node);
        self.enter_running(node);
    }

    fn room_changed(&mut self, node: NodeId) {
        if let Some(roomiest) = &mut self.roomiest
            && !std::mem::replace(&mut self.nodes[node.index()].is_changed, true)
        {
            roomiest.changed.push(node);
        }
    }

    fn enter(&mut self, node: NodeId) {
        self.room_changed(node);
        let rack = (node.0 / self.nodes_per_rack) as usize;
        let key = if self.nodes[node.index()].up { self.nodes[node.index()].committed.0 } else { u64::MAX };
        let tournament = &mut self.emptiest[rack];
        tournament.set((node.0 % self.nodes_per_rack) as usize, key);
        let least = tournament.least().map_or(u64::MAX, |winner| tournament.key(winner as usize));
        if least != self.emptiest_rack.key(rack) {
            self.emptiest_rack.set(rack, least);
        }
    }

    fn enter_running(&mut self, node: NodeId) {
        let up = self.nodes[node.index()].up;
        if let Some(idlest) = &mut self.idlest {
            idlest.set(node.index(), if up { u64::from(self.nodes[node.index()].running) } else { u64::MAX });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_room_is_where_least_is_busy_and_a_slot_is_free() {
        let mut loads = NodeLoads::new(2, 1, false).with_room(1);
        let mib = Bytes::from_mib;
        loads.commit(NodeId(0), mib(10));
        loads.commit(NodeId(1), mib(8));
        assert_eq!(loads.most_room(), Some(NodeId(1)));
        loads.rest(NodeId(0), mib(4));
        assert_eq!((loads.most_room(), loads.busy(NodeId(0))), (Some(NodeId(0)), mib(6)));
        loads.begin_start(NodeId(0));
        assert_eq!(loads.most_room(), Some(NodeId(1)), "the slot is taken");
        loads.set_up(NodeId(1), false);
        assert_eq!(loads.most_room(), None);
        loads.end_start(NodeId(0));
        loads.rise(NodeId(0), mib(4));
        assert_eq!((loads.most_room(), loads.busy(NodeId(0))), (Some(NodeId(0)), mib(10)));
    }

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
