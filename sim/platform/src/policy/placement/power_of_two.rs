//! Power of two choices (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", IEEE
//! TPDS 2001): of two nodes drawn by chance, the one with fewer invocations running or starting.
//!
//! Asking two nodes instead of one cuts the longest queue exponentially, asking more gains little;
//! and nobody has to know all nodes. Both are drawn uniformly among those that are up, independently
//! of each other, as in the paper; of equals the first drawn is taken. Draws come from the stream
//! `placement/power-of-two`.

use super::random::draw;
use super::{NodeLoads, PlacementPolicy, Scope};
use crate::ids::NodeId;
use traces::rng::{Streams, Xoshiro256PlusPlus};
use traces::{Bytes, FunctionId};

/// The better of two by chance.
#[derive(Clone, Debug)]
pub struct PowerOfTwo {
    rng: Xoshiro256PlusPlus,
}

impl PowerOfTwo {
    /// Draws from its stream of these.
    pub fn new(streams: &Streams) -> Self {
        Self { rng: streams.stream("placement/power-of-two", 0) }
    }
}

impl PlacementPolicy for PowerOfTwo {
    fn scope(&self) -> Scope {
        Scope::Node
    }

    fn choose(&mut self, _function: FunctionId, _need: Bytes, loads: &NodeLoads) -> NodeId {
        let (first, second) = (draw(&mut self.rng, loads), draw(&mut self.rng, loads));
        if loads.running(second) < loads.running(first) { second } else { first }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busier_of_two_nodes_is_chosen_only_if_drawn_twice() {
        // Node 0 runs one invocation, node 1 none: node 0 is the answer if both draws are node 0, one
        // time in four. 4000 choices: 1000 with a standard deviation of 27.
        let mut loads = NodeLoads::new(2, 1, false);
        let mut policy = PowerOfTwo::new(&Streams::new(1));
        loads.begin(NodeId(0));
        let mut choose = |loads: &NodeLoads| policy.choose(FunctionId(0), Bytes::ZERO, loads);
        let busier = (0..4000).filter(|_| choose(&loads) == NodeId(0)).count();
        assert!((850..1150).contains(&busier), "{busier}");
        // The other one is down: the busy node takes everything.
        loads.set_up(NodeId(1), false);
        assert!((0..100).all(|_| choose(&loads) == NodeId(0)));
    }

    #[test]
    fn two_choices_keep_the_longest_queue_short() {
        // 1000 invocations that never end on 1000 nodes: with one choice the fullest node has about
        // ln n / ln ln n (here 5 to 7), with two ln ln n / ln 2 + O(1) (here 3 or 4).
        let streams = Streams::new(3);
        let fullest = |policy: &mut dyn PlacementPolicy| {
            let mut loads = NodeLoads::new(1000, 1, false);
            for _ in 0..1000 {
                let node = policy.choose(FunctionId(0), Bytes::ZERO, &loads);
                loads.begin(node);
            }
            (0..1000).map(|node| loads.running(NodeId(node))).max()
        };
        assert!(fullest(&mut PowerOfTwo::new(&streams)) <= Some(4));
        assert!(fullest(&mut super::super::random::Random::new(&streams)) >= Some(5));
    }
}
