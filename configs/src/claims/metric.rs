//! What can be asked of a run: by claims, by figures, and in summary tables.

use platform::memory::MemoryClass;
use platform::records::{Counters, Outcome, StartKind};

/// A quantity of a run. Names are those of the summary tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Arrival to answer, ms.
    EndToEnd,
    /// From the end of queueing to the handler's first instruction, ms.
    Startup,
    /// Wait for memory or a start slot, ms.
    Queueing,
    /// The handler, ms.
    Service,
    /// Share of completed invocations with a cold start.
    ColdFraction,
    /// Share of completed invocations with this start.
    StartShare(StartKind),
    /// Measured arrivals that ended this way.
    Outcomes(Outcome),
    /// Share of measured arrivals that ended this way.
    OutcomeShare(Outcome),
    /// What the sandboxes of completed agents cost over what their language model does, a share.
    AgentCost,
    /// Node DRAM in use over the cluster, GiB.
    Local,
    /// Memory of the pools in use, one copy for all that share it, GiB. Its peak is the sum of the
    /// pools' own peaks.
    Pool,
    /// Node DRAM and pools together, GiB.
    Memory,
    /// One class of memory, GiB.
    Class(MemoryClass),
    /// Memory-time of one class, GiB·s.
    GibSeconds(MemoryClass),
    /// Cores in use over the cluster, on average between two samples.
    Cores,
    /// How often something was done, burn-in included.
    Counter(Counter),
    /// Processor time that the simulator needed, s. In no summary: it differs from machine to machine.
    CpuSeconds,
}

/// Which statistic of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// Median.
    P50,
    /// 75th percentile.
    P75,
    /// 90th percentile.
    P90,
    /// 99th percentile.
    P99,
    /// Mean; of memory and cores over time.
    Mean,
    /// Largest.
    Peak,
    /// The quantity itself: shares, counts, sums.
    Total,
}

/// A count of [`Counters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Sandboxes made.
    Created,
    /// Sandboxes given another function.
    Repurposed,
    /// Idle sandboxes given up because their keep-alive ended.
    Expired,
    /// Idle sandboxes given up to make room.
    Evicted,
    /// Sandboxes lost with a node or a pool.
    Lost,
    /// Templates brought into a rack's pool while the run lasted.
    Filled,
    /// Templates given up to make room in a rack's pool.
    Displaced,
    /// Starts that had to do without their template or parent.
    WithoutTemplate,
}

impl Counter {
    /// Every one of them.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Repurposed,
        Self::Expired,
        Self::Evicted,
        Self::Lost,
        Self::Filled,
        Self::Displaced,
        Self::WithoutTemplate,
    ];

    /// The word used in files and summary tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Repurposed => "repurposed",
            Self::Expired => "expired",
            Self::Evicted => "evicted",
            Self::Lost => "lost",
            Self::Filled => "filled",
            Self::Displaced => "displaced",
            Self::WithoutTemplate => "without_template",
        }
    }

    /// The count.
    pub const fn of(self, counters: &Counters) -> u64 {
        match self {
            Self::Created => counters.created,
            Self::Repurposed => counters.repurposed,
            Self::Expired => counters.expired,
            Self::Evicted => counters.evicted,
            Self::Lost => counters.lost,
            Self::Filled => counters.filled,
            Self::Displaced => counters.displaced,
            Self::WithoutTemplate => counters.without_template,
        }
    }
}

impl Metric {
    /// Every metric that records decide.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::EndToEnd, Self::Startup, Self::Queueing, Self::Service, Self::ColdFraction];
        all.extend(StartKind::ALL.map(Self::StartShare));
        all.extend(Outcome::ALL.map(Self::Outcomes));
        all.extend(Outcome::ALL.map(Self::OutcomeShare));
        all.extend([Self::AgentCost, Self::Local, Self::Pool, Self::Memory]);
        all.extend(MemoryClass::ALL.map(Self::Class));
        all.extend(MemoryClass::ALL.map(Self::GibSeconds));
        all.push(Self::Cores);
        all.extend(Counter::ALL.map(Self::Counter));
        all
    }

    /// Every metric that can be drawn: those of records, and what runs cost the simulator.
    pub fn drawable() -> Vec<Self> {
        let mut all = Self::all();
        all.push(Self::CpuSeconds);
        all
    }

    /// The word used in files and summary tables.
    pub fn name(self) -> String {
        match self {
            Self::EndToEnd => "end_to_end".into(),
            Self::Startup => "startup".into(),
            Self::Queueing => "queueing".into(),
            Self::Service => "service".into(),
            Self::ColdFraction => "cold_fraction".into(),
            Self::StartShare(start) => format!("start_share.{}", start.name()),
            Self::Outcomes(outcome) => format!("outcomes.{}", outcome.name()),
            Self::OutcomeShare(outcome) => format!("outcome_share.{}", outcome.name()),
            Self::AgentCost => "agent_cost".into(),
            Self::Local => "local".into(),
            Self::Pool => "pool".into(),
            Self::Memory => "memory".into(),
            Self::Class(class) => format!("memory.{}", class.name()),
            Self::GibSeconds(class) => format!("gib_seconds.{}", class.name()),
            Self::Cores => "cores".into(),
            Self::Counter(counter) => format!("counter.{}", counter.name()),
            Self::CpuSeconds => "simulator.cpu_seconds".into(),
        }
    }

    /// The statistics it has.
    pub const fn statistics(self) -> &'static [Statistic] {
        match self {
            Self::EndToEnd | Self::Startup | Self::Queueing | Self::Service => {
                &[Statistic::P50, Statistic::P75, Statistic::P90, Statistic::P99, Statistic::Mean]
            }
            Self::Local | Self::Pool | Self::Class(_) | Self::Cores => &[Statistic::Peak, Statistic::Mean],
            Self::Memory => &[Statistic::Mean],
            _ => &[Statistic::Total],
        }
    }

    /// Whether it is kept for every function.
    pub const fn per_function(self) -> bool {
        matches!(
            self,
            Self::EndToEnd
                | Self::Startup
                | Self::ColdFraction
                | Self::Outcomes(_)
                | Self::OutcomeShare(_)
                | Self::AgentCost
        )
    }

    /// Whether it is a latency.
    pub const fn is_latency(self) -> bool {
        matches!(self, Self::EndToEnd | Self::Startup | Self::Queueing | Self::Service)
    }
}

impl Statistic {
    /// Every statistic.
    pub const ALL: [Self; 7] =
        [Self::P50, Self::P75, Self::P90, Self::P99, Self::Mean, Self::Peak, Self::Total];

    /// The word used in files and summary tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P75 => "p75",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::Mean => "mean",
            Self::Peak => "peak",
            Self::Total => "total",
        }
    }
}
