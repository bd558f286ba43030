//! Keep-alive: what happens to a sandbox whose invocation has ended.

pub mod fixed_ttl;
pub mod lru;
pub mod none;

use super::PolicyEntry;
use crate::system::KeepAlive;
use traces::{Duration, FunctionId, Instant};

/// The answer of a keep-alive policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Kept idle; given up at that instant if not used by then.
    Until(Instant),
    /// Kept idle until its memory is needed.
    UntilNeeded,
    /// Given up at once.
    Evict,
}

/// Decides about sandboxes that have become idle.
pub trait KeepAlivePolicy: Send {
    /// A sandbox of `function` has become idle at `now`. Called after every use.
    fn after_use(&mut self, now: Instant, function: FunctionId) -> Keep;
}

/// Every keep-alive policy.
pub const KEEP_ALIVES: &[PolicyEntry] = &[
    PolicyEntry {
        name: "fixed-ttl",
        about: "kept for keep_alive.ttl after the last use; least recently used first under memory pressure",
        source: "baselines of TrEnv's artifact; production default (Serverless in the Wild, ATC'20)",
    },
    PolicyEntry {
        name: "lru",
        about: "kept until memory is needed, least recently used first",
        source: "TrEnv (SOSP'24), faasd branch `switch`",
    },
    PolicyEntry {
        name: "none",
        about: "given up after every invocation",
        source: "the paper's runs without reuse (Figures 11b, 12)",
    },
];

/// The policy of a system; `ttl` is the experiment's fixed keep-alive.
pub fn build(kind: KeepAlive, ttl: Duration) -> Box<dyn KeepAlivePolicy> {
    match kind {
        KeepAlive::FixedTtl => Box::new(fixed_ttl::FixedTtl { ttl }),
        KeepAlive::Lru => Box::new(lru::Lru),
        KeepAlive::None => Box::new(none::None),
    }
}
