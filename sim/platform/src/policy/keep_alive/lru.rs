//! No time limit: idle sandboxes stay until memory is needed, least recently used first.
//!
//! TrEnv's own policy (faasd branch `switch`: no time-based collection of sandboxes; only memory
//! pressure evicts). The order of eviction is the control plane's list of idle sandboxes.

use super::{Keep, KeepAlivePolicy};
use crate::ids::SandboxId;
use traces::{FunctionId, Instant};

/// Keeps until memory is needed.
#[derive(Clone, Copy, Debug)]
pub struct Lru;

impl KeepAlivePolicy for Lru {
    fn after_use(&mut self, _now: Instant, _sandbox: SandboxId, _function: FunctionId) -> Keep {
        Keep::UntilNeeded
    }
}
