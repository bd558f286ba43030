//! Random: every node equally often, by chance.
//!
//! The placement that knows nothing: it needs no state and no message, and spreads the invocations of
//! every function over all nodes, so that few find an idle sandbox. A node is drawn, uniformly; one
//! that is down is drawn again. A baseline of the dispatch literature (Mitzenmacher, "The Power of Two
//! Choices in Randomized Load Balancing", 2001, has it as one choice). Draws come from the stream
//! `placement/random`.

use super::{NodeLoads, PlacementPolicy, Scope};
use crate::ids::NodeId;
use traces::rng::{Streams, Xoshiro256PlusPlus, below};
use traces::{Bytes, FunctionId};

/// Nodes by chance.
#[derive(Clone, Debug)]
pub struct Random {
    rng: Xoshiro256PlusPlus,
}

impl Random {
    /// Draws from its stream of these.
    pub fn new(streams: &Streams) -> Self {
        Self { rng: streams.stream("placement/random", 0) }
    }
}

impl PlacementPolicy for Random {
    fn scope(&self) -> Scope {
        Scope::Node
    }

    fn choose(&mut self, _function: FunctionId, _need: Bytes, loads: &NodeLoads) -> NodeId {
        draw(&mut self.rng, loads)
    }
}

/// Draws before the next node that is up is taken instead: only where most nodes are down does that
/// come about, and only then is the choice uneven.
const DRAWS: u32 = 32;

/// A node that is up, by chance; any if all are down.
pub(super) fn draw(rng: &mut Xoshiro256PlusPlus, loads: &NodeLoads) -> NodeId {
    let nodes = loads.nodes();
    let mut node = NodeId(below(rng, u64::from(nodes)) as u32);
    for _ in 1..DRAWS {
        if loads.is_up(node) {
            return node;
        }
        node = NodeId(below(rng, u64::from(nodes)) as u32);
    }
    let after = (0..nodes).map(|step| NodeId((node.0 + step) % nodes));
    after.into_iter().find(|&node| loads.is_up(node)).unwrap_or(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(policy: &mut Random, loads: &NodeLoads, n: usize) -> Vec<usize> {
        let mut counts = vec![0; loads.nodes() as usize];
        (0..n).for_each(|_| counts[policy.choose(FunctionId(0), Bytes::ZERO, loads).index()] += 1);
        counts
    }

    #[test]
    fn nodes_that_are_up_are_chosen_equally_often_and_no_others() {
        // 4000 draws of one in four: 1000 each with a standard deviation of 27; 150 is beyond five.
        let mut loads = NodeLoads::new(4, 1, false);
        let mut policy = Random::new(&Streams::new(1));
        assert!(chosen(&mut policy, &loads, 4000).iter().all(|&n| (850..1150).contains(&n)));
        // One in three of those left: 1333 each.
        loads.set_up(NodeId(2), false);
        let counts = chosen(&mut policy, &loads, 4000);
        assert_eq!(counts[2], 0);
        assert!([0, 1, 3].iter().all(|&n| (1180..1490).contains(&counts[n])), "{counts:?}");
        // One of many: found by walking on.
        let mut loads = NodeLoads::new(500, 1, false);
        (0..500).filter(|&n| n != 7).for_each(|n| loads.set_up(NodeId(n), false));
        assert_eq!(chosen(&mut policy, &loads, 50)[7], 50);
    }
}
