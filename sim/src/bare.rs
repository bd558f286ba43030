//! The least that any simulator of keep-alive must do: the baseline of `trenvx bench sim`.
//!
//! Arrivals from a table of 16-byte records are merged with the ends of running invocations in a 4-ary
//! heap; idle sandboxes of a function are kept for a fixed time: no nodes, no memory, no costs, no
//! records. It is the loop that the published comparison of simulators takes as its lower bound, on the
//! heap of this simulator (whose keys say whose end it is, so that equal times have an order). What a
//! run of the full model takes beyond this is what the model is.

use crate::queue::{Key, KeyHeap};
use std::collections::VecDeque;
use traces::{Duration, Instant, Invocation};

/// Plays invocations of `functions` functions with a fixed keep-alive; answers with the number of
/// cold starts.
pub fn bare_loop(functions: usize, invocations: impl Iterator<Item = Invocation>, ttl: Duration) -> u64 {
    // (end, function), the end in the upper half.
    let mut running = KeyHeap::new();
    // When each idle sandbox became idle, by function; the last one is used first.
    let mut idle: Vec<VecDeque<Instant>> = vec![VecDeque::new(); functions];
    let mut cold = 0;
    let key = |end: Instant, function: u32| Key::from(end.as_nanos()) << 64 | Key::from(function);
    for invocation in invocations {
        let now = invocation.arrival();
        while running.first() <= key(now, u32::MAX) {
            let Some(key) = running.pop() else { break };
            idle[key as u32 as usize].push_back(Instant::from_nanos((key >> 64) as u64));
        }
        let function = invocation.function();
        let kept = &mut idle[function.index()];
        while kept.front().is_some_and(|&since| now.since(since) >= ttl) {
            kept.pop_front();
        }
        cold += u64::from(kept.pop_back().is_none());
        running.push(key(now + invocation.service(), function.0));
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
