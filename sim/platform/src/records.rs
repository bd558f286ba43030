//! What a run leaves behind, whichever world ran it. Schemas only: writing is the business of
//! package `runs`, estimating that of package `figures`.
//!
//! `queueing + startup + service = end_to_end` for every completed invocation:
//! queueing is the wait for memory or a start slot, startup everything from there to the handler's
//! first instruction, service the handler itself (page faults and slow memory included).

mod timeline;

pub use timeline::*;

use crate::control::{Command, Input};
use crate::memory::{ByClass, MemoryClass};
use serde::{Deserialize, Serialize};
use traces::{Bytes, Duration, Instant};

/// Version of the schemas of this module; part of every run's key.
pub const RECORD_SCHEMA: u32 = 2;

/// How an invocation got its sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartKind {
    /// New sandbox, initialised from nothing.
    Cold,
    /// New sandbox, state from a template or snapshot.
    Restored,
    /// Idle sandbox of another function, its user state replaced by a template.
    Repurposed,
    /// Idle sandbox of the same function.
    Warm,
}

impl StartKind {
    /// Number of kinds.
    pub const COUNT: usize = 4;
    /// Every kind, in the order of output columns.
    pub const ALL: [Self; Self::COUNT] = [Self::Cold, Self::Restored, Self::Repurposed, Self::Warm];

    /// Column and key name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Restored => "restored",
            Self::Repurposed => "repurposed",
            Self::Warm => "warm",
        }
    }
}

/// How an invocation ended. Every arrival ends in exactly one outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The handler ran to its end.
    Completed,
    /// Still queued when its queue timeout passed.
    TimedOut,
    /// Can never run: its declared memory exceeds every node's cap.
    Rejected,
    /// Still queued, starting or running when the run ended.
    Unfinished,
    /// Lost with its sandbox: a node or a pool device failed, or the start did.
    Failed,
}

impl Outcome {
    /// Number of outcomes.
    pub const COUNT: usize = 5;
    /// Every outcome, in the order of output columns.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Completed, Self::TimedOut, Self::Rejected, Self::Unfinished, Self::Failed];

    /// Column and key name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::TimedOut => "timed_out",
            Self::Rejected => "rejected",
            Self::Unfinished => "unfinished",
            Self::Failed => "failed",
        }
    }
}

/// One invocation's fate. Written where the experiment asks for every invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvocationRecord {
    /// Position in the workload, from 0.
    pub number: u64,
    /// Index of the function in the workload's table.
    pub function: u32,
    /// Node that ran it; `None` if none did.
    pub node: Option<u32>,
    /// How it got its sandbox; `None` if it got none.
    pub start: Option<StartKind>,
    /// How it ended.
    pub outcome: Outcome,
    /// Arrived before the end of the burn-in: in no statistic.
    pub burn_in: bool,
    /// Arrival.
    pub arrival_ns: Instant,
    /// Wait for memory or a start slot.
    pub queueing_ns: Duration,
    /// From the end of queueing to the handler's first instruction.
    pub startup_ns: Duration,
    /// The handler.
    pub service_ns: Duration,
}

impl InvocationRecord {
    /// Arrival to answer.
    pub fn end_to_end(&self) -> Duration {
        self.queueing_ns + self.startup_ns + self.service_ns
    }
}

/// A latency distribution: sorted `(value in microseconds, count)` pairs.
///
/// Values are exact below 256 us and rounded to 1 part in 128 above (the histogram keeps two
/// significant digits); a bucket is named by its largest value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    /// Sorted by value; no zero counts.
    pub buckets: Vec<(u64, u64)>,
    /// Sum of the exact values in microseconds, for the mean.
    pub sum_us: u64,
}

impl Distribution {
    /// Number of values.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|&(_, n)| n).sum()
    }

    /// Mean in microseconds; `None` of nothing.
    pub fn mean_us(&self) -> Option<f64> {
        let n = self.count();
        (n > 0).then(|| self.sum_us as f64 / n as f64)
    }

    /// The value in microseconds at or below which `q` (0 to 1) of the values lie: the smallest
    /// bucket whose cumulated count reaches `q × n` (the inverse of the empirical distribution).
    pub fn quantile_us(&self, q: f64) -> Option<u64> {
        let rank = (q * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.buckets.iter().find_map(|&(value, n)| {
            seen += n;
            (seen >= rank).then_some(value)
        })
    }
}

/// Counts and latencies of one function, burn-in left out (except `arrivals_in_burn_in`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionRecord {
    /// Name in the workload.
    pub name: String,
    /// Arrivals before the end of the burn-in.
    pub arrivals_in_burn_in: u64,
    /// Measured arrivals by outcome, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::COUNT],
    /// Completed measured invocations by start, in the order of [`StartKind::ALL`].
    pub starts: [u64; StartKind::COUNT],
    /// Arrival to answer.
    pub end_to_end: Distribution,
    /// Start-up latency, warm starts included.
    pub startup: Distribution,
    /// What its agents asked for and cost, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentRecord>,
}

/// Sums over the completed agents of one function, burn-in left out. Costs are in nano-dollars
/// (10^-9 USD).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// Agents.
    pub completed: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Tokens of their answers.
    pub answer_tokens: u64,
    /// Waits for the language model.
    pub llm_wait: Duration,
    /// Processor time of their own processes and of tools, as asked for.
    pub tool_time: Duration,
    /// Processor time of browsers for them, as asked for; starts of browsers are not in it.
    pub browser_time: Duration,
    /// How long they had a sandbox: from the beginning of its start to the answer.
    pub held: Duration,
    /// What the sandboxes cost, by what was allocated.
    pub sandbox_cost: u64,
    /// What the requests to the language model cost.
    pub model_cost: u64,
}

/// Latencies over all functions by how the sandbox was got, burn-in left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartRecord {
    /// Wait for memory or a start slot.
    pub queueing: Distribution,
    /// From the end of queueing to the handler's first instruction.
    pub startup: Distribution,
    /// The handler.
    pub service: Distribution,
    /// Arrival to answer.
    pub end_to_end: Distribution,
}

/// Memory of the whole cluster at one instant, and its use of cores up to then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemorySample {
    /// When.
    pub at: Instant,
    /// Bytes by class.
    pub bytes: ByClass,
    /// Sandboxes running an invocation or starting.
    pub busy: u32,
    /// Sandboxes kept idle.
    pub idle: u32,
    /// Core time used since the sample before.
    pub core_time: Duration,
}

/// Memory of one node, or of one pool device, over the measured part of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlaceRecord {
    /// Largest amount in use at once.
    pub peak: Bytes,
    /// Memory-time in GiB·s.
    pub gib_seconds: f64,
}

/// Memory over the measured part of the run (burn-in left out), computed at every change, not from
/// the samples.
///
/// Racks that are played apart are added up interval by interval between samples: a peak of the
/// cluster is then the largest sum of the racks' peaks within one interval, which is the peak itself
/// or above it by what their peaks missed each other. With one rack, or racks that are played
/// together, it is exact.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryRecord {
    /// Largest amount of node DRAM in use at once over the cluster.
    pub peak_local: Bytes,
    /// Largest amount of each class at once.
    pub peak: ByClass,
    /// Node DRAM, one for each node.
    pub nodes: Vec<PlaceRecord>,
    /// CXL devices, one for each rack; none where no system uses them.
    pub devices: Vec<PlaceRecord>,
    /// Memory-time of each class in GiB·s.
    pub gib_seconds: [f64; MemoryClass::COUNT],
    /// Length of the measured part.
    pub measured: Duration,
    /// The samples, burn-in included.
    pub samples: Vec<MemorySample>,
}

impl MemoryRecord {
    /// Average node DRAM in use, in GiB; `None` of an empty run.
    pub fn mean_local_gib(&self) -> Option<f64> {
        let seconds = self.measured.as_secs_f64();
        let local: f64 =
            MemoryClass::ALL.iter().filter(|c| c.is_local()).map(|&c| self.gib_seconds[c as usize]).sum();
        (seconds > 0.0).then(|| local / seconds)
    }
}

/// How often things were done, burn-in included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Sandboxes made.
    pub created: u64,
    /// Sandboxes given another function.
    pub repurposed: u64,
    /// Idle sandboxes given up because their keep-alive ended.
    pub expired: u64,
    /// Idle sandboxes given up to make room.
    pub evicted: u64,
    /// Invocations that had to wait for memory or a start slot.
    pub queued: u64,
    /// Times a node's DRAM was exceeded with nothing idle left to evict.
    pub overcommitted: u64,
    /// Sandboxes made before they were asked for.
    pub pre_warmed: u64,
    /// Idle sandboxes taken down to a lower layer.
    pub demoted: u64,
    /// Sandboxes whose read-only pages were copied to local DRAM.
    pub promoted: u64,
    /// Sandboxes lost with a node or a pool.
    pub lost: u64,
    /// Templates, or parts of them, brought into a pool while the run lasted.
    pub filled: u64,
    /// Templates given up to make room for others in a pool.
    pub displaced: u64,
    /// Starts that had to do without their template or parent.
    pub without_template: u64,
    /// Browsers started for agents.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub browsers: u64,
    /// Events the engine took from its queues.
    pub events: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Everything one run produced. The same run gives the same bytes, whatever the thread count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// One per function of the workload, in its order.
    pub functions: Vec<FunctionRecord>,
    /// One per start kind, in the order of [`StartKind::ALL`].
    pub starts: [StartRecord; StartKind::COUNT],
    /// Memory of the cluster.
    pub memory: MemoryRecord,
    /// How often things were done.
    pub counters: Counters,
    /// What to check before believing the results.
    pub warnings: Vec<String>,
    /// Every invocation, where the experiment asked for them; else empty.
    pub invocations: Vec<InvocationRecord>,
    /// A part of the run in detail, where the experiment asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
    /// How long after its planned time each arrival reached the control plane: of worlds that play in
    /// real time; else empty.
    #[serde(default)]
    pub lateness: Distribution,
    /// What the control plane was told and what it answered: of worlds that cannot be played again;
    /// else empty.
    #[serde(default)]
    pub decisions: Vec<Decision>,
}

/// One input of the control plane and the commands that followed from it. The inputs of a run, given
/// to a fresh control plane of the same run, lead to the same commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// When it was told, since the beginning of the run.
    pub at: Instant,
    /// What it was told.
    pub input: Input,
    /// What it answered, in order.
    pub commands: Vec<Command>,
}
