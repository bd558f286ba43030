//! A run reduced to what figures, summaries and claims need. Done while loading, so that a sweep
//! needs memory by the number of metrics, not by the number of invocations.

use crate::estimate;
use crate::metric::{LATENCIES, Metric, PERCENTILES, Statistic, percentile};
use crate::packed::Packed;
use crate::steady::Steadiness;
use platform::memory::MemoryClass;
use platform::records::{
    AgentRecord, Counters, Distribution, FunctionRecord, InvocationRecord, MemorySample, Outcome, RunRecord,
    StartKind, StartRecord,
};
use std::borrow::Borrow;
use std::collections::BTreeMap;
use traces::Bytes;

/// Most points kept of a run's memory over time; more samples are joined by their maximum.
pub const MEMORY_POINTS: usize = 1200;

/// Most points kept of a run's use of cores, which jumps from sample to sample; more are averaged.
pub const CORE_POINTS: usize = 120;

/// A run, reduced.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunSummary {
    /// By name.
    functions: Vec<(Box<str>, FunctionSummary)>,
    latencies: [LatencySummary; 4],
    /// By start kind, then latency.
    by_start: Vec<[Packed; 4]>,
    outcomes: [u64; Outcome::COUNT],
    starts: [u64; StartKind::COUNT],
    peak_local_gib: f64,
    mean_local_gib: Option<f64>,
    gib_seconds: [f64; MemoryClass::COUNT],
    peak_gib: [f64; MemoryClass::COUNT],
    /// Classes at the sample of the measured part that had most node DRAM in use, GiB.
    at_peak_gib: Option<[f64; MemoryClass::COUNT]>,
    measured_s: f64,
    counters: Counters,
    cores_mean: Option<f64>,
    cores_peak: Option<f64>,
    /// Node DRAM in use: `(seconds, GiB)`, burn-in included; empty where no figure shows it.
    pub memory: Vec<(f64, f64)>,
    /// Cores in use: `(seconds, cores)`, burn-in included; empty where no figure shows it.
    pub cores: Vec<(f64, f64)>,
    /// End of the burn-in in seconds: last sample less the measured length.
    pub burn_in_s: f64,
    /// What to check before believing the results.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct FunctionSummary {
    end_to_end: LatencySummary,
    startup: LatencySummary,
    outcomes: [u64; Outcome::COUNT],
    starts: [u64; StartKind::COUNT],
    agent: Option<Box<AgentRecord>>,
}

/// Percentiles and mean in milliseconds; `None` of no completed invocation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct LatencySummary {
    percentiles: Option<[f64; PERCENTILES.len()]>,
    mean: Option<f64>,
}

impl LatencySummary {
    fn of(distribution: &Distribution) -> Self {
        let levels = PERCENTILES.map(|(_, q)| distribution.quantile_us(q));
        let all = levels.iter().all(Option::is_some);
        Self {
            percentiles: all.then(|| levels.map(|us| us.unwrap_or(0) as f64 / 1e3)),
            mean: distribution.mean_us().map(|us| us / 1e3),
        }
    }

    fn value(&self, statistic: Statistic) -> Option<f64> {
        match (statistic, percentile(statistic)) {
            (Statistic::Mean, _) => self.mean,
            (_, Some(which)) => self.percentiles.map(|p| p[which]),
            _ => None,
        }
    }
}

impl RunSummary {
    /// Reduces a record. Quantiles over all functions are exact where every invocation was recorded
    /// else those of the histograms.
    pub fn of(record: &RunRecord) -> Self {
        let mut latencies =
            [0, 1, 2, 3].map(|l| LatencySummary::of(&merge(record.starts.iter().map(|s| parts(s)[l]))));
        refine(&mut latencies, record);
        let samples: Vec<(f64, f64)> = record
            .memory
            .samples
            .iter()
            .map(|s| (s.at.as_secs_f64(), s.bytes.local().as_gib_f64()))
            .collect();
        let end = samples.last().map_or(0.0, |&(t, _)| t);
        let measured_s = record.memory.measured.as_secs_f64();
        let burn_in_s = (end - measured_s).max(0.0);
        let cores = cores(&record.memory.samples);
        let mut functions: Vec<_> =
            record.functions.iter().map(|f| (f.name.as_str().into(), function(f))).collect();
        functions.sort_by(|a: &(Box<str>, _), b| a.0.cmp(&b.0));
        let measured_cores: Vec<Use> = cores.iter().filter(|c| c.from >= burn_in_s - 1e-9).copied().collect();
        Self {
            functions,
            latencies,
            by_start: record.starts.iter().map(|start| parts(start).map(Packed::of)).collect(),
            outcomes: sum(record.functions.iter().map(|f| f.outcomes)),
            starts: sum(record.functions.iter().map(|f| f.starts)),
            peak_local_gib: record.memory.peak_local.as_gib_f64(),
            mean_local_gib: record.memory.mean_local_gib(),
            gib_seconds: record.memory.gib_seconds,
            peak_gib: record.memory.peak.0.map(Bytes::as_gib_f64),
            at_peak_gib: at_peak(&record.memory.samples, burn_in_s),
            measured_s,
            counters: record.counters.clone(),
            cores_mean: mean_use(&measured_cores),
            cores_peak: measured_cores.iter().map(Use::cores).reduce(f64::max),
            memory: thin(&samples),
            cores: thin_use(&cores),
            burn_in_s,
            warnings: record.warnings.iter().cloned().chain(unsteady(&samples, &cores, burn_in_s)).collect(),
        }
    }

    /// One latency value of the invocations that got their sandbox in one of these ways; of all where
    /// none is named.
    pub fn value_of_starts(&self, metric: Metric, statistic: Statistic, starts: &[StartKind]) -> Option<f64> {
        if starts.is_empty() {
            return self.value(metric, statistic, None);
        }
        let latency = LATENCIES.iter().position(|&l| l == metric)?;
        let chosen = StartKind::ALL.into_iter().filter(|kind| starts.contains(kind));
        let parts = chosen.filter_map(|kind| self.by_start.get(kind as usize));
        LatencySummary::of(&merge(parts.map(|s| s[latency].unpacked()))).value(statistic)
    }

    /// One value: over all invocations, or of one function. `None` where there is none (nothing
    /// completed, no such function, no such statistic).
    pub fn value(&self, metric: Metric, statistic: Statistic, function: Option<&str>) -> Option<f64> {
        let value = match function {
            None => self.overall(metric, statistic),
            Some(name) => self.function(name)?.value(metric, statistic),
        };
        value.filter(|v| v.is_finite())
    }

    fn overall(&self, metric: Metric, statistic: Statistic) -> Option<f64> {
        if let Some(latency) = LATENCIES.iter().position(|&l| l == metric) {
            return self.latencies[latency].value(statistic);
        }
        match (metric, statistic) {
            (Metric::AgentCost, Statistic::Total) => {
                cost(self.functions.iter().filter_map(|(_, f)| f.agent.as_deref()))
            }
            (Metric::Local, Statistic::Peak) => Some(self.peak_local_gib),
            (Metric::Local, Statistic::Mean) => self.mean_local_gib,
            (Metric::GibSeconds(class), Statistic::Total) => Some(self.gib_seconds[class as usize]),
            (Metric::Class(class), Statistic::Peak) => Some(self.peak_gib[class as usize]),
            (Metric::Class(class), Statistic::Mean) => self.mean_gib(|other| other == class),
            (Metric::Pool, Statistic::Peak) => Some(
                MemoryClass::ALL.iter().filter(|c| !c.is_local()).map(|&c| self.peak_gib[c as usize]).sum(),
            ),
            (Metric::Pool, Statistic::Mean) => self.mean_gib(|class| !class.is_local()),
            (Metric::Memory, Statistic::Mean) => self.mean_gib(|_| true),
            (Metric::Cores, Statistic::Mean) => self.cores_mean,
            (Metric::Cores, Statistic::Peak) => self.cores_peak,
            (Metric::Counter(counter), Statistic::Total) => Some(counter.of(&self.counters) as f64),
            (_, Statistic::Total) => counted(metric, &self.outcomes, &self.starts),
            _ => None,
        }
    }

    /// What the agents of a function asked for and cost, if it is one and any of them completed.
    pub fn agent(&self, function: &str) -> Option<&AgentRecord> {
        self.function(function)?.agent.as_deref().filter(|agent| agent.completed > 0)
    }

    fn function(&self, name: &str) -> Option<&FunctionSummary> {
        let at = self.functions.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        Some(&self.functions[at].1)
    }

    /// Average memory of some classes, GiB; `None` of an empty run.
    fn mean_gib(&self, of: impl Fn(MemoryClass) -> bool) -> Option<f64> {
        let sum: f64 =
            MemoryClass::ALL.into_iter().filter(|&c| of(c)).map(|c| self.gib_seconds[c as usize]).sum();
        (self.measured_s > 0.0).then(|| sum / self.measured_s)
    }

    /// Memory of a class in GiB: on average, or when node DRAM was fullest.
    pub fn class_gib(&self, class: MemoryClass, statistic: Statistic) -> Option<f64> {
        match statistic {
            Statistic::Mean => self.mean_gib(|other| other == class),
            _ => self.at_peak_gib.map(|classes| classes[class as usize]),
        }
    }

    /// Names of the functions, sorted.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        self.functions.iter().map(|(name, _)| &**name)
    }

    /// Completed measured invocations.
    pub fn completed(&self) -> u64 {
        self.outcomes[Outcome::Completed as usize]
    }

    /// End-to-end latencies of all completed invocations.
    pub fn end_to_end(&self) -> Distribution {
        merge(self.by_start.iter().map(|start| start[0].unpacked()))
    }
}

impl FunctionSummary {
    fn value(&self, metric: Metric, statistic: Statistic) -> Option<f64> {
        match (metric, statistic) {
            (Metric::EndToEnd, _) => self.end_to_end.value(statistic),
            (Metric::Startup, _) => self.startup.value(statistic),
            (Metric::AgentCost, Statistic::Total) => cost(self.agent.as_deref().into_iter()),
            (_, Statistic::Total) => counted(metric, &self.outcomes, &self.starts),
            _ => None,
        }
    }
}

/// What agents' sandboxes cost over what their language model does; `None` where that is nothing.
fn cost<'a>(agents: impl Iterator<Item = &'a AgentRecord>) -> Option<f64> {
    let (sandbox, model) = agents.fold((0.0, 0.0), |(sandbox, model), agent| {
        (sandbox + agent.sandbox_cost as f64, model + agent.model_cost as f64)
    });
    (model > 0.0).then(|| sandbox / model)
}

/// Counts and shares of invocations.
fn counted(
    metric: Metric,
    outcomes: &[u64; Outcome::COUNT],
    starts: &[u64; StartKind::COUNT],
) -> Option<f64> {
    match metric {
        Metric::StartShare(kind) => share(starts, kind),
        Metric::ColdFraction => share(starts, StartKind::Cold),
        Metric::Outcomes(outcome) => Some(outcomes[outcome as usize] as f64),
        Metric::OutcomeShare(outcome) => {
            let all: u64 = outcomes.iter().sum();
            (all > 0).then(|| outcomes[outcome as usize] as f64 / all as f64)
        }
        _ => None,
    }
}

/// Distributions of a start kind in the order of [`LATENCIES`].
fn parts(record: &StartRecord) -> [&Distribution; 4] {
    let StartRecord { queueing, startup, service, end_to_end } = record;
    [end_to_end, startup, queueing, service]
}

fn function(record: &FunctionRecord) -> FunctionSummary {
    FunctionSummary {
        end_to_end: LatencySummary::of(&record.end_to_end),
        startup: LatencySummary::of(&record.startup),
        outcomes: record.outcomes,
        starts: record.starts,
        agent: record.agent.map(Box::new),
    }
}

/// Replaces histogram percentiles by exact ones where every invocation was recorded.
fn refine(latencies: &mut [LatencySummary; 4], record: &RunRecord) {
    let measured: Vec<_> =
        record.invocations.iter().filter(|i| !i.burn_in && i.outcome == Outcome::Completed).collect();
    if measured.is_empty() {
        return;
    }
    let parts: [fn(&InvocationRecord) -> traces::Duration; 4] =
        [InvocationRecord::end_to_end, |i| i.startup_ns, |i| i.queueing_ns, |i| i.service_ns];
    for (latency, part) in latencies.iter_mut().zip(parts) {
        let mut values: Vec<f64> = measured.iter().map(|i| part(i).as_millis_f64()).collect();
        values.sort_by(f64::total_cmp);
        *latency = LatencySummary {
            percentiles: Some(
                PERCENTILES.map(|(_, q)| estimate::quantile_of_sorted(&values, q).unwrap_or(0.0)),
            ),
            mean: estimate::mean(&values),
        };
    }
}

/// The distribution of all values of several distributions.
pub fn merge(parts: impl Iterator<Item = impl Borrow<Distribution>>) -> Distribution {
    let mut buckets = BTreeMap::new();
    let mut sum_us = 0u64;
    for part in parts {
        let part: &Distribution = part.borrow();
        sum_us = sum_us.saturating_add(part.sum_us);
        for &(value, n) in &part.buckets {
            *buckets.entry(value).or_insert(0) += n;
        }
    }
    Distribution { buckets: buckets.into_iter().collect(), sum_us }
}

fn share(counts: &[u64; StartKind::COUNT], kind: StartKind) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    (all > 0).then(|| counts[kind as usize] as f64 / all as f64)
}

fn sum<const N: usize>(parts: impl Iterator<Item = [u64; N]>) -> [u64; N] {
    parts.fold([0; N], |mut sum, part| {
        for (total, n) in sum.iter_mut().zip(part) {
            *total += n;
        }
        sum
    })
}

/// At most [`MEMORY_POINTS`] points; each stands for equally many samples and is their maximum, so
/// that no peak is lost.
fn thin(samples: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let each = samples.len().div_ceil(MEMORY_POINTS).max(1);
    samples.chunks(each).map(|chunk| (chunk[0].0, chunk.iter().map(|s| s.1).fold(0.0, f64::max))).collect()
}

/// Use of cores between two samples.
#[derive(Clone, Copy)]
struct Use {
    from: f64,
    to: f64,
    core_seconds: f64,
}

impl Use {
    fn cores(&self) -> f64 {
        self.core_seconds / (self.to - self.from)
    }
}

/// What says that a burn-in was too short. Without one nothing is claimed to be steady.
fn unsteady(memory: &[(f64, f64)], cores: &[Use], burn_in_s: f64) -> Vec<String> {
    if burn_in_s <= 0.0 {
        return Vec::new();
    }
    let cores: Vec<(f64, f64)> = cores.iter().map(|u| (u.from, u.cores())).collect();
    [(memory, "node DRAM in use"), (&cores, "the use of cores")]
        .into_iter()
        .filter_map(|(samples, what)| Steadiness::of(samples, burn_in_s)?.warning(what))
        .collect()
}

fn cores(samples: &[MemorySample]) -> Vec<Use> {
    let pairs = samples.iter().zip(samples.iter().skip(1));
    pairs
        .map(|(before, after)| Use {
            from: before.at.as_secs_f64(),
            to: after.at.as_secs_f64(),
            core_seconds: after.core_time.as_secs_f64(),
        })
        .filter(|between| between.to > between.from)
        .collect()
}

fn mean_use(uses: &[Use]) -> Option<f64> {
    let (first, last) = (uses.first()?, uses.last()?);
    Some(uses.iter().map(|u| u.core_seconds).sum::<f64>() / (last.to - first.from))
}

/// At most [`CORE_POINTS`] points; each is the mean over equally many intervals.
fn thin_use(uses: &[Use]) -> Vec<(f64, f64)> {
    let each = uses.len().div_ceil(CORE_POINTS).max(1);
    uses.chunks(each).filter_map(|chunk| Some((chunk[0].from, mean_use(chunk)?))).collect()
}

/// Classes at the sample with most node DRAM in use after the burn-in, GiB.
fn at_peak(samples: &[MemorySample], burn_in_s: f64) -> Option<[f64; MemoryClass::COUNT]> {
    let measured = samples.iter().filter(|s| s.at.as_secs_f64() >= burn_in_s - 1e-9);
    // The first of equals, so that the answer does not depend on an order of comparison.
    let fullest = measured.reduce(|best, s| if s.bytes.local() > best.bytes.local() { s } else { best })?;
    Some(fullest.bytes.0.map(Bytes::as_gib_f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{RunShape, run};

    #[test]
    fn a_run_in_which_nothing_completed_has_counts_and_no_latencies() {
        let summary = RunSummary::of(&run(&RunShape { completed: 0, ..RunShape::default() }));
        assert_eq!(summary.value(Metric::EndToEnd, Statistic::P99, None), None);
        assert_eq!(summary.value(Metric::ColdFraction, Statistic::Total, None), None);
        assert_eq!(summary.value(Metric::Outcomes(Outcome::Completed), Statistic::Total, None), Some(0.0));
    }

    #[test]
    fn thinning_keeps_the_peak() {
        let samples: Vec<(f64, f64)> =
            (0..10_000).map(|i| (f64::from(i), if i == 7777 { 64.0 } else { 1.0 })).collect();
        let thinned = thin(&samples);
        assert!(thinned.len() <= MEMORY_POINTS);
        assert_eq!(thinned.iter().map(|p| p.1).fold(0.0, f64::max), 64.0);
    }

    #[test]
    fn cores_are_core_time_over_the_time_between_samples() {
        let sample = |at: u64, core_time| MemorySample {
            at: traces::Instant::from_nanos(at * 1_000_000_000),
            bytes: platform::memory::ByClass::default(),
            busy: 0,
            idle: 0,
            core_time: traces::Duration::from_secs(core_time),
        };
        let uses = cores(&[sample(0, 0), sample(2, 6), sample(4, 2)]);
        assert_eq!(uses.iter().map(Use::cores).collect::<Vec<_>>(), [3.0, 1.0]);
        assert_eq!((mean_use(&uses), mean_use(&[])), (Some(2.0), None));
        assert_eq!(thin_use(&uses), [(0.0, 3.0), (2.0, 1.0)]);
    }

    #[test]
    fn merged_distributions_hold_every_value_once() {
        let a = Distribution { buckets: vec![(1, 2), (5, 1)], sum_us: 7 };
        let b = Distribution { buckets: vec![(5, 3)], sum_us: 15 };
        let both = Distribution { buckets: vec![(1, 2), (5, 4)], sum_us: 22 };
        assert_eq!(merge([&a, &b].into_iter()), both);
    }
}
