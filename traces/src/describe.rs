//! What a workload is like: rates, concurrency, durations, memory, burstiness, the busiest
//! functions, and what is odd.

use crate::llm::LlmTrace;
use crate::time::Duration;
use crate::workload::{Invocation, Workload};
use serde::Serialize;

/// A workload in numbers. All invocations count, also those of the burn-in.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// Name of the workload.
    pub name: String,
    /// Hash of its content.
    pub hash: String,
    /// Functions in the table.
    pub functions: u64,
    /// Invocations.
    pub invocations: u64,
    /// Invocations of the burn-in.
    pub burn_in_invocations: u64,
    /// Length of the burn-in in seconds.
    pub burn_in_s: f64,
    /// Length of the workload in seconds.
    pub span_s: f64,
    /// Invocations over time.
    pub rate: Rate,
    /// Invocations running at once.
    pub concurrency: Concurrency,
    /// Service time of an invocation, in milliseconds.
    pub service_ms: Option<Quantiles>,
    /// Memory of a function, in MiB, over the functions that state it.
    pub memory_mib: Option<Quantiles>,
    /// How unevenly invocations arrive.
    pub burstiness: Burstiness,
    /// The functions with the most invocations.
    pub top: Vec<TopFunction>,
    /// What is odd, by name.
    pub defects: Vec<(String, u64)>,
    /// Where the workload comes from.
    pub provenance: Vec<String>,
}

/// Invocations over time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rate {
    /// Invocations a second, on average.
    pub mean_per_s: f64,
    /// Invocations in the busiest minute.
    pub peak_per_min: u64,
    /// The busiest minute, counted from 0.
    pub peak_minute: u64,
}

/// Invocations running at once if each started when it arrives: what the workload asks for,
/// before any platform delays it. Weighted by time, from zero to the end of the workload.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Concurrency {
    /// Average.
    pub mean: f64,
    /// Exceeded in 1 % of the time.
    pub p99: u64,
    /// Largest.
    pub max: u64,
}

/// Quantiles of some values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Number of values.
    pub n: u64,
    /// Average.
    pub mean: f64,
    /// 1st percentile (nearest rank, as all of these).
    pub p1: f64,
    /// 25th percentile.
    pub p25: f64,
    /// Median.
    pub p50: f64,
    /// 75th percentile.
    pub p75: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

/// How unevenly invocations arrive; a Poisson process has 1 everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Burstiness {
    /// Coefficient of variation of the gaps between arrivals, all functions together.
    pub gap_cv: f64,
    /// Median over functions (with three or more invocations) of that coefficient.
    pub function_gap_cv_median: f64,
    /// Variance over mean of the invocations in a minute.
    pub fano_per_min: f64,
}

/// A function with many invocations.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopFunction {
    /// Its name.
    pub name: String,
    /// Its invocations.
    pub invocations: u64,
    /// Its share of all invocations, 0 to 1.
    pub share: f64,
    /// Its average service time in milliseconds.
    pub mean_service_ms: f64,
    /// Its memory in MiB, where stated.
    pub memory_mib: Option<f64>,
}

impl Quantiles {
    /// Of some values; `None` if there are none.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        values.sort_unstable_by(f64::total_cmp);
        let n = values.len();
        let at = |rank: f64| values[((n as f64 * rank).ceil() as usize).clamp(1, n) - 1];
        Some(Self {
            n: n as u64,
            mean: values.iter().sum::<f64>() / n as f64,
            p1: at(0.01),
            p25: at(0.25),
            p50: at(0.50),
            p75: at(0.75),
            p90: at(0.90),
            p99: at(0.99),
            max: values[n - 1],
        })
    }
}

/// Describes a workload, with its `top` busiest functions.
pub fn describe(workload: &Workload, top: usize) -> Description {
    let per_minute = per_minute(&workload.invocations, workload.span);
    let seconds = workload.span.as_secs_f64().max(1e-9);
    let peak = per_minute.iter().enumerate().max_by_key(|(minute, n)| (**n, usize::MAX - minute));
    let counts = workload.counts();
    let memory = workload.functions.iter().filter_map(|f| f.memory).map(|memory| memory.as_mib_f64());
    let service = workload.invocations.iter().map(|i| i.service().as_millis_f64()).collect();
    Description {
        name: workload.name.clone(),
        hash: workload.hash_hex(),
        functions: workload.functions.len() as u64,
        invocations: workload.invocations.len() as u64,
        burn_in_invocations: workload.burn_in_count() as u64,
        burn_in_s: workload.burn_in.as_secs_f64(),
        span_s: workload.span.as_secs_f64(),
        rate: Rate {
            mean_per_s: workload.invocations.len() as f64 / seconds,
            peak_per_min: peak.map_or(0, |(_, n)| *n),
            peak_minute: peak.map_or(0, |(minute, _)| minute as u64),
        },
        concurrency: concurrency(&workload.invocations, workload.span),
        service_ms: Quantiles::of(service),
        memory_mib: Quantiles::of(memory.collect()),
        burstiness: burstiness(workload, &per_minute),
        top: busiest(workload, &counts, top),
        defects: defects(workload, &counts),
        provenance: workload.provenance.clone(),
    }
}

/// Invocations in each minute of the span.
pub(crate) fn per_minute(invocations: &[Invocation], span: Duration) -> Vec<u64> {
    let minute = Duration::MINUTE.as_nanos();
    let mut minutes = vec![0; span.as_nanos().div_ceil(minute) as usize];
    for invocation in invocations {
        if let Some(n) = minutes.get_mut((invocation.arrival().as_nanos() / minute) as usize) {
            *n += 1;
        }
    }
    minutes
}

fn concurrency(invocations: &[Invocation], span: Duration) -> Concurrency {
    let mut ends: Vec<u64> =
        invocations.iter().map(|i| i.arrival().as_nanos().saturating_add(i.service().as_nanos())).collect();
    ends.sort_unstable();
    let end = span.as_nanos();
    let mut time_at: Vec<u64> = vec![0];
    let (mut now, mut level, mut max, mut next_end) = (0, 0usize, 0, 0);
    let mut spend = |until: u64, level: usize, now: &mut u64| {
        if time_at.len() <= level {
            time_at.resize(level + 1, 0);
        }
        time_at[level] += until.saturating_sub(*now);
        *now = until.max(*now);
    };
    for arrival in invocations.iter().map(|i| i.arrival().as_nanos()) {
        while ends[next_end] < arrival {
            spend(ends[next_end], level, &mut now);
            level -= 1;
            next_end += 1;
        }
        spend(arrival, level, &mut now);
        level += 1;
        max = max.max(level);
    }
    for at in &ends[next_end..] {
        spend((*at).min(end), level, &mut now);
        level -= 1;
    }
    spend(end, level, &mut now);
    let total = now.max(1) as f64;
    let area: f64 = time_at.iter().enumerate().map(|(level, time)| level as f64 * *time as f64).sum();
    let mut below = 0.0;
    let p99 = time_at.iter().position(|time| {
        below += *time as f64;
        below >= 0.99 * total
    });
    Concurrency { mean: area / total, p99: p99.unwrap_or(0) as u64, max: max as u64 }
}

/// Count, sum and sum of squares of gaps.
#[derive(Clone, Copy, Default)]
struct GapSums {
    last: Option<u64>,
    n: f64,
    sum: f64,
    squares: f64,
}

impl GapSums {
    fn arrive(&mut self, at: u64) {
        if let Some(last) = self.last.replace(at) {
            let gap = (at - last) as f64;
            self.n += 1.0;
            self.sum += gap;
            self.squares += gap * gap;
        }
    }

    fn variation(&self) -> Option<f64> {
        let mean = self.sum / self.n;
        let variance = self.squares / self.n - mean * mean;
        (self.n >= 2.0 && mean > 0.0).then(|| variance.max(0.0).sqrt() / mean)
    }
}

fn burstiness(workload: &Workload, per_minute: &[u64]) -> Burstiness {
    let mut all = GapSums::default();
    let mut each = vec![GapSums::default(); workload.functions.len()];
    for invocation in &workload.invocations {
        let at = invocation.arrival().as_nanos();
        all.arrive(at);
        each[invocation.function().index()].arrive(at);
    }
    let variations: Vec<f64> = each.iter().filter_map(GapSums::variation).collect();
    let n = per_minute.len().max(1) as f64;
    let mean = per_minute.iter().sum::<u64>() as f64 / n;
    let variance = per_minute.iter().map(|count| (*count as f64 - mean).powi(2)).sum::<f64>() / n;
    Burstiness {
        gap_cv: all.variation().unwrap_or(0.0),
        function_gap_cv_median: Quantiles::of(variations).map_or(0.0, |quantiles| quantiles.p50),
        fano_per_min: if mean > 0.0 { variance / mean } else { 0.0 },
    }
}

fn busiest(workload: &Workload, counts: &[u64], top: usize) -> Vec<TopFunction> {
    let mut order: Vec<usize> = (0..counts.len()).filter(|index| counts[*index] > 0).collect();
    order.sort_by_key(|index| std::cmp::Reverse(counts[*index]));
    order.truncate(top);
    let mut service_ms = vec![0.0; counts.len()];
    for invocation in &workload.invocations {
        service_ms[invocation.function().index()] += invocation.service().as_millis_f64();
    }
    let of = |index: usize| TopFunction {
        name: workload.functions[index].name.clone(),
        invocations: counts[index],
        share: counts[index] as f64 / workload.invocations.len() as f64,
        mean_service_ms: service_ms[index] / counts[index] as f64,
        memory_mib: workload.functions[index].memory.map(|memory| memory.as_mib_f64()),
    };
    order.into_iter().map(of).collect()
}

fn defects(workload: &Workload, counts: &[u64]) -> Vec<(String, u64)> {
    let count =
        |odd: &dyn Fn(&Invocation) -> bool| workload.invocations.iter().filter(|i| odd(i)).count() as u64;
    let together =
        workload.invocations.windows(2).filter(|pair| pair[0].arrival() == pair[1].arrival()).count();
    let all = [
        ("functions without invocations", counts.iter().filter(|count| **count == 0).count() as u64),
        ("functions without memory", workload.functions.iter().filter(|f| f.memory.is_none()).count() as u64),
        ("invocations without service time", count(&|i| i.service() == Duration::ZERO)),
        (
            "invocations at the longest service time that fits",
            count(&|i| i.service() == Invocation::MAX_SERVICE),
        ),
        ("invocations that arrive together with the one before", together as u64),
    ];
    all.into_iter().filter(|(_, count)| *count > 0).map(|(name, count)| (name.to_owned(), count)).collect()
}

/// Requests to a language model in numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LlmDescription {
    /// Name of the trace.
    pub name: String,
    /// Requests.
    pub requests: u64,
    /// Length in seconds.
    pub span_s: f64,
    /// Requests a second, on average.
    pub mean_per_s: f64,
    /// Tokens of a prompt.
    pub context_tokens: Option<Quantiles>,
    /// Tokens of an answer.
    pub generated_tokens: Option<Quantiles>,
    /// Where the trace comes from.
    pub provenance: Vec<String>,
}

/// Describes requests to a language model.
pub fn describe_llm(trace: &LlmTrace) -> LlmDescription {
    let tokens = |of: fn(&crate::LlmRequest) -> u32| {
        Quantiles::of(trace.requests.iter().map(|r| f64::from(of(r))).collect())
    };
    LlmDescription {
        name: trace.name.clone(),
        requests: trace.requests.len() as u64,
        span_s: trace.span.as_secs_f64(),
        mean_per_s: trace.requests.len() as f64 / trace.span.as_secs_f64().max(1e-9),
        context_tokens: tokens(|request| request.context_tokens),
        generated_tokens: tokens(|request| request.generated_tokens),
        provenance: trace.provenance.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;
    use crate::workload::{Function, FunctionId};

    fn workload(rows: &[(u64, u64)], span_s: u64) -> Workload {
        let row = |(at, service): &(u64, u64)| {
            Invocation::new(
                Instant::ZERO + Duration::from_secs(*at),
                FunctionId(0),
                Duration::from_secs(*service),
            )
        };
        Workload {
            name: "w".into(),
            functions: vec![Function { name: "f".into(), tenant: "t".into(), profile: None, memory: None }],
            invocations: rows.iter().map(row).collect(),
            span: Duration::from_secs(span_s),
            ..Workload::default()
        }
    }

    #[test]
    fn concurrency_is_weighted_by_time() {
        // 0-2: one, 2-4: two, 4-10: one, 10-20: none; the last one outlives the workload.
        let found = describe(&workload(&[(0, 4), (2, 8), (19, 50)], 20), 5).concurrency;
        assert_eq!(found, Concurrency { mean: (2.0 + 4.0 + 6.0 + 1.0) / 20.0, p99: 2, max: 2 });
    }

    #[test]
    fn evenly_spaced_arrivals_have_no_burstiness_and_the_peak_is_found() {
        let rows: Vec<(u64, u64)> = (0..100).map(|i| (i * 3, 1)).collect();
        let found = describe(&workload(&rows, 300), 5);
        assert_eq!((found.rate.peak_per_min, found.rate.peak_minute, found.burstiness.gap_cv), (20, 0, 0.0));
        assert_eq!(found.burstiness.fano_per_min, 0.0);
        assert_eq!(found.defects, [("functions without memory".to_owned(), 1)]);
        assert_eq!((found.top[0].share, found.top[0].mean_service_ms), (1.0, 1000.0));
    }

    #[test]
    fn an_empty_workload_has_a_description_too() {
        let found = describe(&workload(&[], 60), 5);
        assert_eq!((found.invocations, found.service_ms, found.concurrency.max), (0, None, 0));
        assert!(found.to_string().contains("0 invocations"));
    }
}
