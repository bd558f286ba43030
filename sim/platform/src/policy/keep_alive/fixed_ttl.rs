//! Fixed keep-alive, counted again from every use.
//!
//! An idle sandbox is given up when it has not been used for a fixed time; memory pressure may
//! take it earlier, least recently used first. This is the baselines' policy in TrEnv's artifact
//! (default 10 min; 2 min for W1, 3 min for W2) and the production default that "Serverless in the
//! Wild" (ATC'20) reports (AWS 10 min, Azure 20 min). A sandbox used at t is still there for an
//! arrival before t + ttl, and gone for one at t + ttl.

use super::{Keep, KeepAlivePolicy};
use crate::ids::SandboxId;
use traces::{Duration, FunctionId, Instant};

/// Keeps for a fixed time after the last use.
#[derive(Clone, Copy, Debug)]
pub struct FixedTtl {
    /// How long.
    pub ttl: Duration,
}

impl KeepAlivePolicy for FixedTtl {
    fn after_use(&mut self, now: Instant, _sandbox: SandboxId, _function: FunctionId) -> Keep {
        Keep::Until(now + self.ttl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_use_counts_the_time_anew() {
        let mut policy = FixedTtl { ttl: Duration::from_secs(600) };
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        assert_eq!(policy.after_use(at(10), SandboxId(0), FunctionId(0)), Keep::Until(at(610)));
        assert_eq!(policy.after_use(at(300), SandboxId(0), FunctionId(0)), Keep::Until(at(900)));
    }
}
