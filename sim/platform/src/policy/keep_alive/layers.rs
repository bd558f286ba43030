//! Keep-alive by layers (RainbowCake, ASPLOS'24): start-up has three stages (bare sandbox, language
//! runtime, user function), and what each stage made is kept and shared separately.
//!
//! A sandbox that has not been used for the function layer's time loses its function and keeps the
//! runtime, which then serves any function of that runtime; after the runtime layer's time it keeps
//! only its isolation, which serves any function; after the bare layer's time it is given up.
//! RainbowCake adapts these times to each function's arrivals and costs; its parameters were not
//! found, so here they are fixed and named (`keep_alive.layers`).

use super::{Keep, KeepAlivePolicy};
use crate::ids::SandboxId;
use crate::system::Layer;
use serde::{Deserialize, Serialize};
use traces::{Duration, FunctionId, Instant};

/// How long each layer is kept after the last use, or after the layer above it was given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerTimes {
    /// The function, after its last use.
    pub function: Duration,
    /// The runtime, after the function was given up.
    pub runtime: Duration,
    /// The bare sandbox, after the runtime was given up.
    pub bare: Duration,
}

impl Default for LayerTimes {
    /// 1, 5 and 10 min: assumed. No source gives fixed times; the order is RainbowCake's (the more a
    /// layer can be shared, the longer it is kept), and the function's is that of Huawei's production
    /// keep-alive (1 min).
    fn default() -> Self {
        Self { function: Duration::MINUTE, runtime: Duration::MINUTE * 5, bare: Duration::MINUTE * 10 }
    }
}

/// Gives sandboxes up layer by layer.
#[derive(Clone, Debug)]
pub struct Layers {
    /// The times.
    pub parameters: LayerTimes,
}

impl KeepAlivePolicy for Layers {
    fn after_use(&mut self, now: Instant, _sandbox: SandboxId, _function: FunctionId) -> Keep {
        Keep::Until(now + self.parameters.function)
    }

    fn next_layer(&mut self, now: Instant, held: Layer) -> Option<(Layer, Keep)> {
        match held {
            Layer::Function => Some((Layer::Runtime, Keep::Until(now + self.parameters.runtime))),
            Layer::Runtime => Some((Layer::Bare, Keep::Until(now + self.parameters.bare))),
            Layer::Bare => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unused_sandbox_goes_down_layer_by_layer() {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let parameters = LayerTimes { function: minutes(1), runtime: minutes(5), bare: minutes(10) };
        let mut policy = Layers { parameters };
        let at = |n| Instant::ZERO + minutes(n);
        assert_eq!(policy.after_use(at(0), SandboxId(0), FunctionId(0)), Keep::Until(at(1)));
        assert_eq!(policy.next_layer(at(1), Layer::Function), Some((Layer::Runtime, Keep::Until(at(6)))));
        assert_eq!(policy.next_layer(at(6), Layer::Runtime), Some((Layer::Bare, Keep::Until(at(16)))));
        assert_eq!(policy.next_layer(at(16), Layer::Bare), None);
    }
}
