//! Keep-alive: what happens to a sandbox whose invocation has ended, and who goes first when
//! memory is needed.

pub mod fixed_ttl;
pub mod fixed_ttl_from_start;
pub mod greedy_dual;
pub mod hybrid_histogram;
pub mod layers;
pub mod lru;
pub mod none;
pub mod oracle;

use super::{FunctionFacts, PolicyEntry};
use crate::ids::{NodeId, SandboxId};
use crate::system::{KeepAlive, Layer};
use greedy_dual::Worth;
use serde::{Deserialize, Serialize};
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
    /// Given up at once; one is made again at `at`, before it is asked for, and kept until `until`.
    PreWarm {
        /// When a new sandbox of the function is started, unless an invocation of it arrives first.
        at: Instant,
        /// When that one is given up if not used by then.
        until: Instant,
    },
}

/// Decides about sandboxes that have become idle.
///
/// Calls come in order of time. A policy may keep state by function and by sandbox; sandbox names
/// are used again after [`Self::gone`].
pub trait KeepAlivePolicy: Send {
    /// An invocation of `function` has arrived. Called only if [`Self::watches_arrivals`].
    fn arrived(&mut self, _now: Instant, _function: FunctionId) {}

    /// Whether [`Self::arrived`] wants to be called.
    fn watches_arrivals(&self) -> bool {
        false
    }

    /// A sandbox has begun to be one of `function`: made new or repurposed.
    fn started(&mut self, _now: Instant, _sandbox: SandboxId, _function: FunctionId) {}

    /// An invocation of `function` has ended in a sandbox, which may take a waiting one at once.
    /// Called before [`Self::after_use`], only if [`Self::ranks`].
    fn used(&mut self, _node: NodeId, _sandbox: SandboxId, _function: FunctionId) {}

    /// A sandbox of `function` has become idle after a use. (One that was pre-warmed is kept as
    /// [`Keep::PreWarm`] said.)
    fn after_use(&mut self, now: Instant, sandbox: SandboxId, function: FunctionId) -> Keep;

    /// The keep-alive of an idle sandbox has ended: what is kept of it, and for how long. `None`:
    /// nothing, it is given up.
    fn next_layer(&mut self, _now: Instant, _held: Layer) -> Option<(Layer, Keep)> {
        None
    }

    /// Whether idle sandboxes are evicted in order of [`Self::rank`] rather than of their last use.
    fn ranks(&self) -> bool {
        false
    }

    /// How much an idle sandbox is worth: the least goes first, the least recently used of equals.
    /// Called once each time it becomes idle, after [`Self::after_use`], only if [`Self::ranks`].
    /// Ranks are compared with those of the same node.
    fn rank(&mut self, _now: Instant, _node: NodeId, _sandbox: SandboxId, _function: FunctionId) -> u64 {
        0
    }

    /// A sandbox of `function` is gone or given to another function. `rank` is what it was worth,
    /// if it was evicted because memory was needed.
    fn gone(&mut self, _node: NodeId, _sandbox: SandboxId, _function: FunctionId, _rank: Option<u64>) {}
}

/// Parameters of the policies that have any.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeepAliveParameters {
    /// Time to live of `fixed-ttl` and `fixed-ttl-from-start`.
    pub ttl: Duration,
    /// Times of `layers`.
    pub layers: layers::LayerTimes,
    /// Parameters of `hybrid-histogram`.
    pub hybrid_histogram: hybrid_histogram::HybridHistogramParameters,
}

impl Default for KeepAliveParameters {
    /// 10 min to live (TrEnv's artifact, AWS); the others as their own defaults say.
    fn default() -> Self {
        Self {
            ttl: Duration::MINUTE * 10,
            layers: layers::LayerTimes::default(),
            hybrid_histogram: hybrid_histogram::HybridHistogramParameters::default(),
        }
    }
}

/// What a policy may be built from.
pub struct Knowledge<'a> {
    /// The experiment's parameters.
    pub parameters: &'a KeepAliveParameters,
    /// What is known of each function.
    pub functions: &'a [FunctionFacts],
    /// Arrivals of each function in order of time, for the policy that looks into the future; empty
    /// for all others.
    pub arrivals: Vec<Vec<Instant>>,
}

/// Every keep-alive policy.
pub const KEEP_ALIVES: &[PolicyEntry] = &[
    PolicyEntry {
        name: "fixed-ttl",
        about: "kept for keep_alive.ttl after the last use; least recently used first under memory pressure",
        source: "baselines of TrEnv's artifact; production default (Serverless in the Wild, ATC'20)",
    },
    PolicyEntry {
        name: "fixed-ttl-from-start",
        about: "kept until keep_alive.ttl after its start, however often it is used",
        source: "default of dslab-faas, as OpenWhisk is said to do",
    },
    PolicyEntry {
        name: "lru",
        about: "kept until memory is needed, least recently used first",
        source: "TrEnv (SOSP'24), faasd branch `switch`",
    },
    PolicyEntry {
        name: "layers",
        about: "function, then runtime, then bare sandbox, each kept for a time of its own; runtimes serve any function of theirs",
        source: "RainbowCake (ASPLOS'24): start-up in three stages whose layers are cached separately",
    },
    PolicyEntry {
        name: "hybrid-histogram",
        about: "a histogram of each function's inter-arrival times says when to pre-warm and how long to keep",
        source: "Serverless in the Wild (ATC'20), as coded in faascache-sim (HIST)",
    },
    PolicyEntry {
        name: "greedy-dual",
        about: "kept until memory is needed; least clock + frequency x cost / size first",
        source: "FaaSCache (ASPLOS'21), as coded in faascache-sim (GD)",
    },
    PolicyEntry {
        name: "greedy-dual-freq",
        about: "as greedy-dual without size: clock + frequency x cost",
        source: "faascache-sim (FREQ)",
    },
    PolicyEntry {
        name: "greedy-dual-size",
        about: "as greedy-dual without cost: clock + frequency / size",
        source: "faascache-sim (SIZE)",
    },
    PolicyEntry {
        name: "landlord",
        about: "as greedy-dual without frequency: clock + cost / size",
        source: "Young (SODA'98); faascache-sim (LND)",
    },
    PolicyEntry {
        name: "oracle",
        about: "knows all arrivals: kept if needed again, needed last goes first; a bound, not a system",
        source: "Belady (IBM Systems Journal 1966)",
    },
    PolicyEntry {
        name: "none",
        about: "given up after every invocation",
        source: "the paper's runs without reuse (Figures 11b, 12)",
    },
];

/// The policy of a system.
///
/// # Panics
/// If a policy that [looks ahead](KeepAlive::looks_ahead) is not told the arrivals of every function.
pub fn build(kind: KeepAlive, knowledge: Knowledge<'_>) -> Box<dyn KeepAlivePolicy> {
    let ttl = knowledge.parameters.ttl;
    let greedy_dual = |worth| Box::new(greedy_dual::GreedyDual::new(worth, knowledge.functions));
    let (functions, told) = (knowledge.functions.len(), knowledge.arrivals.len());
    assert!(
        !kind.looks_ahead() || told == functions,
        "keep-alive {}: arrivals of {told} functions of {functions}; tell those of every function",
        kind.word(),
    );
    match kind {
        KeepAlive::FixedTtl => Box::new(fixed_ttl::FixedTtl { ttl }),
        KeepAlive::FixedTtlFromStart => Box::new(fixed_ttl_from_start::FixedTtlFromStart::new(ttl)),
        KeepAlive::Lru => Box::new(lru::Lru),
        KeepAlive::None => Box::new(none::None),
        KeepAlive::Layers => Box::new(layers::Layers { parameters: knowledge.parameters.layers.clone() }),
        KeepAlive::HybridHistogram => Box::new(hybrid_histogram::HybridHistogram::new(
            knowledge.parameters.hybrid_histogram.clone(),
            functions,
        )),
        KeepAlive::GreedyDual => greedy_dual(Worth::FrequencyCostSize),
        KeepAlive::GreedyDualFreq => greedy_dual(Worth::FrequencyCost),
        KeepAlive::GreedyDualSize => greedy_dual(Worth::FrequencySize),
        KeepAlive::Landlord => greedy_dual(Worth::CostSize),
        KeepAlive::Oracle => Box::new(oracle::Oracle::new(knowledge.arrivals)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_and_the_words_name_the_same_policies() {
        let (mut table, mut words): (Vec<&str>, Vec<&str>) =
            (KEEP_ALIVES.iter().map(|entry| entry.name).collect(), KeepAlive::WORDS.to_vec());
        table.sort_unstable();
        words.sort_unstable();
        assert_eq!(table, words);
    }
}
