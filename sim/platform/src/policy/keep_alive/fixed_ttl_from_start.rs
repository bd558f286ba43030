//! Fixed keep-alive, counted once from the sandbox's start.
//!
//! A sandbox is given up a fixed time after it was started for its function, however often it was
//! used meanwhile. dslab-faas keeps containers so by default (its pull request 265 says that
//! OpenWhisk seems to); a "10-minute keep-alive" of this kind and one that is reset at every use
//! give different numbers of cold starts, so the two have names of their own here. An idle sandbox
//! past its time goes at once.

use super::{Keep, KeepAlivePolicy};
use crate::ids::SandboxId;
use traces::{Duration, FunctionId, Instant};

/// Keeps until a fixed time after the start.
#[derive(Clone, Debug)]
pub struct FixedTtlFromStart {
    ttl: Duration,
    /// When each sandbox was started for its function.
    started: Vec<Instant>,
}

impl FixedTtlFromStart {
    /// Keeps for `ttl` after the start.
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, started: Vec::new() }
    }
}

impl KeepAlivePolicy for FixedTtlFromStart {
    fn started(&mut self, now: Instant, sandbox: SandboxId, _function: FunctionId) {
        if self.started.len() <= sandbox.index() {
            self.started.resize(sandbox.index() + 1, Instant::ZERO);
        }
        self.started[sandbox.index()] = now;
    }

    fn after_use(&mut self, now: Instant, sandbox: SandboxId, _function: FunctionId) -> Keep {
        let started = self.started.get(sandbox.index()).copied().unwrap_or(now);
        let end = started + self.ttl;
        if end > now { Keep::Until(end) } else { Keep::Evict }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_do_not_count_the_time_anew() {
        // Started at 0 with a time to live of 600 s: used at 10 and 300, kept until 600 both times;
        // a use that ends at 600 or later is the last one.
        let mut policy = FixedTtlFromStart::new(Duration::from_secs(600));
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        policy.started(at(0), SandboxId(3), FunctionId(0));
        assert_eq!(policy.after_use(at(10), SandboxId(3), FunctionId(0)), Keep::Until(at(600)));
        assert_eq!(policy.after_use(at(300), SandboxId(3), FunctionId(0)), Keep::Until(at(600)));
        assert_eq!(policy.after_use(at(600), SandboxId(3), FunctionId(0)), Keep::Evict);
    }
}
