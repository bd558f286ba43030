//! Rack locality: a new sandbox goes to the function's home rack, whose pool holds its template (TrEnv,
//! SOSP'24, multi-node protocol: one copy on the device that the nodes of a rack share).
//!
//! An idle sandbox of the function is used wherever it is. A new one goes to the node of the home
//! rack with the most uncommitted memory; if it does not fit there, the other racks are asked in
//! turn, from the home rack on. If it fits nowhere, the home rack's node is the answer, and the
//! control plane makes room where it does in the whole cluster: on the node of the least recently used
//! idle sandbox, whatever its rack. A decision costs O(log racks), however many are full: the racks'
//! emptiest nodes meet in a tournament, which knows the next one below a limit. (Without spilling, racks never meet: each is played as a cluster of
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
        // Of a rack only the emptiest node counts: the first rack with room, else the first with a node.
        let room = self.memory_cap.0.checked_sub(need.0).map(Bytes);
        let rack = room
            .and_then(|room| loads.next_rack_with(home, room))
            .or_else(|| loads.next_rack_with(home, Bytes(u64::MAX)));
        rack.and_then(|rack| loads.least_committed_in(rack)).unwrap_or(NodeId(0))
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

    /// As [`RackLocality::choose`], asking rack after rack.
    fn asking_all(policy: RackLocality, function: FunctionId, need: Bytes, loads: &NodeLoads) -> NodeId {
        let racks = loads.racks();
        let home = home_rack(function, racks);
        let mut emptiest =
            (0..racks).filter_map(|step| loads.least_committed_in((home + step) % racks)).peekable();
        let first = emptiest.peek().copied();
        let found = emptiest.find(|&node| loads.committed(node) + need <= policy.memory_cap);
        found.or(first).unwrap_or(NodeId(0))
    }

    #[test]
    fn the_rack_is_the_one_that_asking_all_of_them_finds() {
        // Memory comes and goes at random, nodes are down at times; caps so small that most racks are
        // full. The random walk is the same in every run.
        let mut rng = traces::rng::Streams::new(3).stream("test", 0);
        let mut draw = |below: u64| traces::rng::below(&mut rng, below);
        let (mut homes, mut spilled, mut nowhere) = (0, 0, 0);
        for (racks, nodes_per_rack) in [(1, 1), (2, 3), (5, 2), (13, 1), (40, 4)] {
            let mut policy = RackLocality { memory_cap: Bytes(100) };
            let nodes = racks * nodes_per_rack;
            let mut loads = NodeLoads::new(nodes, racks, false);
            for _ in 0..4_000 {
                let node = NodeId(draw(nodes.into()) as u32);
                match draw(10) {
                    0 => loads.set_up(node, draw(4) > 0),
                    1..=7 => {
                        let room = 100u64.saturating_sub(loads.committed(node).0);
                        loads.commit(node, Bytes(draw(room + 1)));
                    }
                    _ => loads.release(node, Bytes(draw(loads.committed(node).0 + 1))),
                }
                let (function, need) = (FunctionId(draw(1_000) as u32), Bytes(draw(120)));
                let chosen = policy.choose(function, need, &loads);
                assert_eq!(chosen, asking_all(policy, function, need, &loads), "{racks} racks, {need}");
                match loads.committed(chosen) + need <= policy.memory_cap {
                    true if chosen.0 / nodes_per_rack == home_rack(function, racks) => homes += 1,
                    true => spilled += 1,
                    false => nowhere += 1,
                }
            }
        }
        assert!(
            homes.min(spilled).min(nowhere) > 1_000,
            "{homes} at home, {spilled} elsewhere, {nowhere} nowhere"
        );
    }
}
