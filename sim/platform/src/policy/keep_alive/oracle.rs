//! Oracle: keep-alive by a look into the future (Belady, "A study of replacement algorithms for a
//! virtual-storage computer", IBM Systems Journal 1966).
//!
//! A sandbox is kept while its function will be asked for again, and given up at once if not. When
//! memory is needed, the sandbox goes whose function is asked for last. This cannot be built; it
//! shows how much is left to gain.
//!
//! | the function's next arrival | answer           | rank                       |
//! |-----------------------------|------------------|----------------------------|
//! | none                        | given up at once | -                          |
//! | at t                        | kept             | the later t, the less worth |
//!
//! It is a bound on cold starts in this sense: on one node, with sandboxes of equal size, where
//! invocations follow each other (none arrives while another runs), no keep-alive that starts
//! sandboxes only for arrivals has fewer starts that are not warm. It is none beyond that:
//! - with unequal sizes the best choice is a knapsack (farthest-first may give up a large sandbox
//!   where two small ones would have done);
//! - with unequal costs fewer cold starts may be the dearer ones;
//! - a policy that pre-warms can have fewer: it has starts that nobody waits for;
//! - where several sandboxes of a function are idle, the one not taken by its next arrival goes on
//!   being ranked by that arrival, which is then past, until it is used again;
//! - it does not minimise memory: what is needed again stays, however long that takes.

use super::{Keep, KeepAlivePolicy};
use crate::ids::{NodeId, SandboxId};
use traces::{FunctionId, Instant};

/// Knows all arrivals.
#[derive(Clone, Debug)]
pub struct Oracle {
    arrivals: Vec<Vec<Instant>>,
    /// How many of a function's arrivals have come.
    come: Vec<usize>,
}

impl Oracle {
    /// Knows these arrivals, by function and in order of time: every one that will be.
    pub fn new(arrivals: Vec<Vec<Instant>>) -> Self {
        Self { come: vec![0; arrivals.len()], arrivals }
    }

    fn next(&self, function: FunctionId) -> Option<Instant> {
        let come = self.come[function.index()];
        self.arrivals[function.index()].get(come).copied()
    }
}

impl KeepAlivePolicy for Oracle {
    fn watches_arrivals(&self) -> bool {
        true
    }

    fn arrived(&mut self, _now: Instant, function: FunctionId) {
        self.come[function.index()] += 1;
    }

    fn after_use(&mut self, _now: Instant, _sandbox: SandboxId, function: FunctionId) -> Keep {
        self.next(function).map_or(Keep::Evict, |_| Keep::UntilNeeded)
    }

    fn ranks(&self) -> bool {
        true
    }

    fn rank(&mut self, _now: Instant, _node: NodeId, _sandbox: SandboxId, function: FunctionId) -> u64 {
        self.next(function).map_or(0, |next| u64::MAX - next.as_nanos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use traces::Duration;

    #[test]
    fn the_arrivals_of_a_long_run_are_held_once() {
        let arrivals = vec![vec![Instant::ZERO; 1_000]];
        let place = arrivals[0].as_ptr();
        assert_eq!(Oracle::new(arrivals).arrivals[0].as_ptr(), place);
    }

    #[test]
    fn what_is_needed_last_is_worth_least_and_what_is_never_needed_goes() {
        // f arrives at 1, 5 and 5 s, g at 2 and 9 s. After f's first and g's first arrival f is needed
        // at 5 and g at 9 s, so g is worth less. Of two arrivals at 5 s the first leaves one to come.
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        let (f, g) = (FunctionId(0), FunctionId(1));
        let mut policy = Oracle::new(vec![vec![at(1), at(5), at(5)], vec![at(2), at(9)]]);
        policy.arrived(at(1), f);
        policy.arrived(at(2), g);
        let mut rank = |function| policy.rank(at(3), NodeId(0), SandboxId(0), function);
        assert!(rank(g) < rank(f));
        policy.arrived(at(5), f);
        assert_eq!(policy.after_use(at(5), SandboxId(0), f), Keep::UntilNeeded);
        policy.arrived(at(5), f);
        assert_eq!(policy.after_use(at(6), SandboxId(0), f), Keep::Evict);
    }
}
