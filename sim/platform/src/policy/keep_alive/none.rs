//! No keep-alive: every sandbox is given up after one invocation.
//!
//! The setting of the paper's "no reuse" runs (Figures 11b and 12).

use super::{Keep, KeepAlivePolicy};
use crate::ids::SandboxId;
use traces::{FunctionId, Instant};

/// Keeps nothing.
#[derive(Clone, Copy, Debug)]
pub struct None;

impl KeepAlivePolicy for None {
    fn after_use(&mut self, _now: Instant, _sandbox: SandboxId, _function: FunctionId) -> Keep {
        Keep::Evict
    }
}
