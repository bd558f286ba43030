//! Greedy-Dual keep-alive (FaaSCache, Fuerst and Sharma, ASPLOS'21) and its relatives, as coded in
//! faascache-sim; Landlord is Young's (SODA'98).
//!
//! Idle sandboxes are a cache: each is worth what it saves, how often, for the memory it takes. When
//! memory is needed the one worth least goes, and the node's clock moves up to its worth. What comes
//! in later starts from that clock, so that what is not used any more ages.
//!
//! | word               | worth of a sandbox when it becomes idle |
//! |--------------------|-----------------------------------------|
//! | `greedy-dual`      | clock + frequency × cost / size         |
//! | `greedy-dual-freq` | clock + frequency × cost                |
//! | `greedy-dual-size` | clock + frequency / size                |
//! | `landlord`         | clock + cost / size                     |
//!
//! cost: what a start costs beyond a warm one (`start_cost`; the source: cold run time - warm run
//! time). size: declared memory. frequency: uses so far of all the function's sandboxes on the node;
//! those of a sandbox are forgotten when it is gone. clock: the worth of the node's last victim; every
//! node has its own, as every server of the source has. There is no time limit.
//!
//! Where this differs from the source: it works out the worth when an invocation begins (here: when it
//! ends, as nobody evicts a running sandbox) and gives it to every sandbox of the function (here: to
//! the one that was used, so that a decision does not cost O(sandboxes); the paper's text, too, lets
//! the oldest sandbox of a function go first). It codes Landlord as rent taken from every sandbox once
//! for each round of evictions, with the warm run time as cost (here `start_cost`), and evicts the
//! lowest credit rather than the lowest credit for a byte. Young's rent for a byte, added to a clock
//! instead of taken from everybody, gives the same order of victims at O(log n).
//!
//! The worth is a whole number, so that equal ones are equal on every machine; see [`Worth`].

use super::{Keep, KeepAlivePolicy};
use crate::ids::{NodeId, SandboxId};
use crate::policy::FunctionFacts;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use traces::rng::mix;
use traces::{FunctionId, Instant};

/// What a sandbox is worth beyond the clock.
///
/// The scales leave room for the clock, which grows by at most a victim's worth with each: if every
/// victim had a thousand uses and saved 1 s for 128 MiB each time, it would stand still (and evictions
/// go by last use) after two thousand million victims on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// `greedy-dual`: frequency × cost / size, in 2^-20 nanoseconds a byte. A start of 1 s saved once
    /// for 128 MiB is about 7.8 million.
    FrequencyCostSize,
    /// `greedy-dual-freq`: frequency × cost, in microseconds.
    FrequencyCost,
    /// `greedy-dual-size`: frequency / size, in 2^-48 uses a byte. One use of 128 MiB is 2^21.
    FrequencySize,
    /// `landlord`: cost / size, in 2^-20 nanoseconds a byte.
    CostSize,
}

impl Worth {
    /// The worth of one use, a sum of which is divided once, so that rounding does not add up.
    fn of(self, frequency: u64, facts: &FunctionFacts) -> u64 {
        let frequency = u128::from(frequency);
        let cost = u128::from(facts.start_cost.as_nanos());
        let size = u128::from(facts.declared.0.max(1));
        let worth = match self {
            Self::FrequencyCostSize => ((frequency * cost) << 20) / size,
            Self::FrequencyCost => frequency * cost / 1000,
            Self::FrequencySize => (frequency << 48) / size,
            Self::CostSize => (cost << 20) / size,
        };
        u64::try_from(worth).unwrap_or(u64::MAX)
    }
}

/// Evicts what is worth least.
#[derive(Clone, Debug)]
pub struct GreedyDual {
    worth: Worth,
    functions: Vec<FunctionFacts>,
    /// Worth of the last victim, by node.
    clocks: Vec<u64>,
    /// Uses so far, by sandbox.
    uses: Vec<u64>,
    /// Uses so far of all the function's sandboxes on the node; no zeros.
    frequencies: Frequencies,
}

/// Looked up, never iterated: the order of a hash map decides nothing.
type Frequencies = HashMap<u64, u64, BuildHasherDefault<Mixed>>;

/// A fixed hash of one integer.
#[derive(Clone, Copy, Debug, Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = mix(key);
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.0 = mix(self.0 ^ u64::from(byte)));
    }
}

fn key(function: FunctionId, node: NodeId) -> u64 {
    u64::from(function.0) << 32 | u64::from(node.0)
}

impl GreedyDual {
    /// One of the family, for functions of which this is known.
    pub fn new(worth: Worth, functions: &[FunctionFacts]) -> Self {
        Self {
            worth,
            functions: functions.to_vec(),
            clocks: Vec::new(),
            uses: Vec::new(),
            frequencies: Frequencies::default(),
        }
    }

    fn clock(&self, node: NodeId) -> u64 {
        self.clocks.get(node.index()).copied().unwrap_or(0)
    }
}

impl KeepAlivePolicy for GreedyDual {
    fn after_use(&mut self, _now: Instant, _sandbox: SandboxId, _function: FunctionId) -> Keep {
        Keep::UntilNeeded
    }

    fn ranks(&self) -> bool {
        true
    }

    fn used(&mut self, node: NodeId, sandbox: SandboxId, function: FunctionId) {
        if self.uses.len() <= sandbox.index() {
            self.uses.resize(sandbox.index() + 1, 0);
        }
        self.uses[sandbox.index()] += 1;
        *self.frequencies.entry(key(function, node)).or_default() += 1;
    }

    fn rank(&mut self, _now: Instant, node: NodeId, _sandbox: SandboxId, function: FunctionId) -> u64 {
        let Some(facts) = self.functions.get(function.index()) else { return 0 };
        let frequency = self.frequencies.get(&key(function, node)).copied().unwrap_or(0);
        self.clock(node).saturating_add(self.worth.of(frequency, facts))
    }

    fn gone(&mut self, node: NodeId, sandbox: SandboxId, function: FunctionId, rank: Option<u64>) {
        let uses = self.uses.get_mut(sandbox.index()).map_or(0, std::mem::take);
        if uses > 0
            && let Some(frequency) = self.frequencies.get_mut(&key(function, node))
        {
            *frequency -= uses;
            if *frequency == 0 {
                self.frequencies.remove(&key(function, node));
            }
        }
        if let Some(rank) = rank {
            if self.clocks.len() <= node.index() {
                self.clocks.resize(node.index() + 1, 0);
            }
            self.clocks[node.index()] = rank;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use traces::{Bytes, Duration};

    const N: NodeId = NodeId(0);
    const T: Instant = Instant::ZERO;

    /// f: 1 ms for 1 MiB; g: 3 ms for 4 MiB.
    fn policy(worth: Worth) -> GreedyDual {
        let facts = |ms, mib| FunctionFacts {
            declared: Bytes::from_mib(mib),
            tenant: 0,
            runtime: 0,
            runtime_memory: Bytes::ZERO,
            start_cost: Duration::from_millis(ms),
        };
        GreedyDual::new(worth, &[facts(1, 1), facts(3, 4)])
    }

    /// What the function's sandbox is worth after one more use of it.
    fn use_of(policy: &mut GreedyDual, sandbox: u32, function: u32) -> u64 {
        policy.used(N, SandboxId(sandbox), FunctionId(function));
        policy.rank(T, N, SandboxId(sandbox), FunctionId(function))
    }

    #[test]
    fn each_relative_weighs_what_it_says() {
        // A MiB is 2^20 bytes and the scale 2^20, so f's cost / size is 10^6 (1 ms in ns) and g's
        // 3/4 of that. The second use doubles what counts frequency.
        for (worth, f_once, f_twice, g_once) in [
            (Worth::FrequencyCostSize, 1_000_000, 2_000_000, 750_000),
            (Worth::FrequencyCost, 1000, 2000, 3000),
            (Worth::FrequencySize, 1 << 28, 1 << 29, 1 << 26),
            (Worth::CostSize, 1_000_000, 1_000_000, 750_000),
        ] {
            let mut p = policy(worth);
            let worths = [use_of(&mut p, 0, 0), use_of(&mut p, 0, 0), use_of(&mut p, 1, 1)];
            assert_eq!(worths, [f_once, f_twice, g_once], "{worth:?}");
        }
    }

    #[test]
    fn a_victim_moves_the_clock_of_its_node_and_takes_its_uses_with_it() {
        // f runs twice in sandbox 0 and once in sandbox 1: 3 uses. Sandbox 0 is evicted at 2 million:
        // the clock is 2 million, one use is left, and g (750,000) begins at 2,750,000. On another node
        // the clock still stands at zero. Sandbox 1 is lost by itself: the clock stays.
        let mut p = policy(Worth::FrequencyCostSize);
        use_of(&mut p, 0, 0);
        assert_eq!(use_of(&mut p, 0, 0), 2_000_000);
        assert_eq!(use_of(&mut p, 1, 0), 3_000_000);
        p.gone(N, SandboxId(0), FunctionId(0), Some(2_000_000));
        assert_eq!(p.rank(T, N, SandboxId(1), FunctionId(0)), 3_000_000, "2 million and one use");
        assert_eq!(use_of(&mut p, 0, 1), 2_750_000);
        p.used(NodeId(1), SandboxId(2), FunctionId(1));
        assert_eq!(p.rank(T, NodeId(1), SandboxId(2), FunctionId(1)), 750_000);
        p.gone(N, SandboxId(1), FunctionId(0), None);
        assert_eq!(use_of(&mut p, 1, 0), 3_000_000, "the clock and its first use");
    }
}
