//! The least that any simulator of keep-alive must do: the baseline of `trenvx bench sim`.
//!
//! Arrivals are merged with the ends of running invocations, idle sandboxes of a function are kept
//! for a fixed time: no nodes, no memory, no costs, no records. What a run of the full model takes
//! beyond this is what the model is.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use traces::{Duration, Instant, Invocation};

/// Plays invocations of `functions` functions with a fixed keep-alive; answers with the number of
/// cold starts.
pub fn bare_loop(functions: usize, invocations: impl Iterator<Item = Invocation>, ttl: Duration) -> u64 {
    let mut running: BinaryHeap<Reverse<(Instant, u32)>> = BinaryHeap::new();
    // When each idle sandbox became idle, by function; the last one is used first.
    let mut idle: Vec<VecDeque<Instant>> = vec![VecDeque::new(); functions];
    let mut cold = 0;
    for invocation in invocations {
        let now = invocation.arrival();
        while let Some(&Reverse((end, function))) = running.peek() {
            if end > now {
                break;
            }
            running.pop();
            idle[function as usize].push_back(end);
        }
        let function = invocation.function();
        let kept = &mut idle[function.index()];
        while kept.front().is_some_and(|&since| now.since(since) >= ttl) {
            kept.pop_front();
        }
        cold += u64::from(kept.pop_back().is_none());
        running.push(Reverse((now + invocation.service(), function.0)));
    }
    cold
}

#[cfg(test)]
mod tests {
    use super::*;
    use traces::FunctionId;

    #[test]
    fn a_sandbox_is_kept_for_the_time_to_live_after_its_use() {
        let call = |s| {
            Invocation::new(Instant::ZERO + Duration::from_secs(s), FunctionId(0), Duration::from_secs(1))
        };
        // Cold at 0; warm at 5 (idle since 1); cold at 16 (idle since 6, kept until 16).
        assert_eq!(bare_loop(1, [0, 5, 16].map(call).into_iter(), Duration::from_secs(10)), 2);
    }
}
