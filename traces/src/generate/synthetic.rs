//! A cluster's worth of functions drawn from distributions measured over all of Azure Functions
//! 2019, streamed in order of time.
//!
//! Source of the distributions: ServerlessBench (Yu et al., SoCC 2020), test case 11: invocations
//! a day, coefficient of variation of inter-arrival times, execution time, memory. Each function
//! draws one value of each, independently: correlations between them are not in the data.
//!
//! A function's arrivals are a renewal process with its rate and its variation c: constant gaps
//! for c < 0.01, gamma gaps for c < 0.95, a Poisson process for c up to 1.05, and above that
//! hyper-exponential gaps of two phases with balanced means. The first gap is cut at a uniform
//! point. Service times are log-normal around the function's mean with a stated sigma, which is an
//! assumption: the data hold averages only.

use super::cdf::Cdf;
use crate::error::{Error, Result};
use crate::records::Records;
use crate::rng::{Streams, Xoshiro256PlusPlus, unit};
use crate::samples;
use crate::service::ServiceTime;
use crate::size::Bytes;
use crate::time::{Duration, Instant};
use crate::workload::{Function, FunctionId, Invocation, Workload};
use rand::Rng;
use rand_distr::{Distribution, Exp1, Gamma};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

const DAY_SECONDS: f64 = 86_400.0;

/// Parameters of the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Functions.
    pub functions: u32,
    /// Length of the workload.
    pub span: Duration,
    /// Every function's rate is multiplied by this.
    pub rate_scale: f64,
    /// Standard deviation of the logarithm of a function's service time.
    pub sigma: f64,
    /// Seed.
    pub seed: u64,
}

impl Cluster {
    /// `functions` functions over `span` at the published rates, with sigma 0.5.
    pub fn new(functions: u32, span: Duration, seed: u64) -> Self {
        Self { functions, span, rate_scale: 1.0, sigma: 0.5, seed }
    }

    /// The functions and the stream of their invocations. Everything but the invocations is in
    /// the workload: for a [`WorkloadWriter`](crate::binary::WorkloadWriter).
    ///
    /// # Errors
    /// [`Error::Value`] if a parameter is out of range.
    pub fn open(&self) -> Result<(Workload, Synthetic)> {
        self.check()?;
        let cdf = |name: &str| Cdf::read(&samples::get(&format!("serverlessbench-cdfs/{name}.csv.zst"))?);
        let (daily, variation) = (cdf("invokesCDF")?, cdf("CVs")?);
        let (execution, memory) = (cdf("execTimeCDF")?, cdf("memCDF")?);
        let streams = Streams::new(self.seed);
        let mut table = Vec::with_capacity(self.functions as usize);
        let mut sources = Vec::with_capacity(self.functions as usize);
        let mut upcoming = BinaryHeap::with_capacity(self.functions as usize);
        for index in 0..self.functions {
            let mut rng = streams.stream("synthetic/parameters", u64::from(index));
            let rate = daily.at(unit(&mut rng)) / DAY_SECONDS * self.rate_scale;
            let gaps = Gaps::new(1.0 / rate, variation.at(unit(&mut rng)));
            let mean_ms = execution.at(unit(&mut rng)).max(1.0);
            let memory = Bytes::from_mib(1).scale(memory.at(unit(&mut rng)));
            table.push(Function {
                name: format!("synthetic-{index:07}"),
                tenant: "synthetic".to_owned(),
                profile: None,
                memory: Some(memory),
            });
            let median_ms = mean_ms * (-self.sigma * self.sigma / 2.0).exp();
            let mut source = FunctionSource {
                rng: streams.stream("synthetic/function", u64::from(index)),
                gaps,
                service: ServiceTime::LogNormal { median_ms, sigma: self.sigma },
            };
            let first = source.gaps.draw(&mut source.rng) * unit(&mut source.rng);
            push(&mut upcoming, first, index, self.span);
            sources.push(source);
        }
        let head = Workload {
            name: format!("synthetic-{}", self.functions),
            functions: table,
            invocations: Records::default(),
            burn_in: Duration::ZERO,
            span: self.span,
            provenance: vec![format!(
                "generated: synthetic, {} functions over {}, rates x {}, service log-normal with sigma {}, seed {}; \
                 distributions of Azure Functions 2019 as published by ServerlessBench",
                self.functions, self.span, self.rate_scale, self.sigma, self.seed
            )],
        };
        Ok((head, Synthetic { sources, upcoming, span: self.span }))
    }

    /// The whole workload in memory.
    ///
    /// # Errors
    /// [`Error::Value`] if a parameter is out of range.
    pub fn generate(&self) -> Result<Workload> {
        let (head, invocations) = self.open()?;
        Ok(Workload { invocations: invocations.collect(), ..head })
    }

    fn check(&self) -> Result<()> {
        if self.functions == 0 || u64::from(self.functions) > Invocation::MAX_FUNCTIONS {
            return Err(Error::value("functions", self.functions, "1 to 16777216"));
        }
        if !(self.rate_scale.is_finite() && self.rate_scale > 0.0) {
            return Err(Error::value("rate scale", self.rate_scale, "more than 0"));
        }
        if !(0.0..=5.0).contains(&self.sigma) {
            return Err(Error::value("sigma", self.sigma, "0 to 5"));
        }
        Ok(())
    }
}

/// The stream of invocations of a [`Cluster`], in order of arrival; memory proportional to the
/// functions.
pub struct Synthetic {
    sources: Vec<FunctionSource>,
    /// Next arrival of each function that still has one, in nanoseconds; equal times by function.
    upcoming: BinaryHeap<Reverse<(u64, u32)>>,
    span: Duration,
}

struct FunctionSource {
    rng: Xoshiro256PlusPlus,
    gaps: Gaps,
    service: ServiceTime,
}

impl Iterator for Synthetic {
    type Item = Invocation;

    fn next(&mut self) -> Option<Invocation> {
        let Reverse((at, index)) = self.upcoming.pop()?;
        let source = &mut self.sources[index as usize];
        let service = source.service.draw(&mut source.rng);
        let gap = source.gaps.draw(&mut source.rng);
        push(&mut self.upcoming, at as f64 / 1e9 + gap, index, self.span);
        Some(Invocation::new(Instant::from_nanos(at), FunctionId(index), service))
    }
}

fn push(upcoming: &mut BinaryHeap<Reverse<(u64, u32)>>, seconds: f64, index: u32, span: Duration) {
    let at = Duration::from_secs_f64(seconds);
    if at < span {
        upcoming.push(Reverse((at.as_nanos(), index)));
    }
}

/// Distribution of the gaps between arrivals, in seconds.
enum Gaps {
    Constant(f64),
    Gamma(Gamma<f64>),
    Exponential(f64),
    /// Probability of the first phase; mean of the first and of the second.
    TwoPhases(f64, f64, f64),
}

impl Gaps {
    fn new(mean: f64, variation: f64) -> Self {
        if variation < 0.01 {
            return Self::Constant(mean);
        }
        if variation < 0.95 {
            let shape = 1.0 / (variation * variation);
            return Gamma::new(shape, mean / shape).map_or(Self::Exponential(mean), Self::Gamma);
        }
        if variation <= 1.05 {
            return Self::Exponential(mean);
        }
        let square = variation * variation;
        let first = (1.0 + ((square - 1.0) / (square + 1.0)).sqrt()) / 2.0;
        Self::TwoPhases(first, mean / (2.0 * first), mean / (2.0 * (1.0 - first)))
    }

    fn draw(&self, rng: &mut impl Rng) -> f64 {
        match self {
            Self::Constant(gap) => *gap,
            Self::Gamma(gamma) => gamma.sample(rng),
            Self::Exponential(mean) => mean * Distribution::<f64>::sample(&Exp1, rng),
            Self::TwoPhases(first, short, long) => {
                let mean = if unit(rng) < *first { short } else { long };
                mean * Distribution::<f64>::sample(&Exp1, rng)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_have_the_mean_and_the_variation_asked_for() {
        for variation in [0.005, 0.3, 1.0, 3.0] {
            let gaps = Gaps::new(2.0, variation);
            let mut rng = Streams::new(1).stream("gaps", 0);
            let draws: Vec<f64> = (0..200_000).map(|_| gaps.draw(&mut rng)).collect();
            let mean = draws.iter().sum::<f64>() / draws.len() as f64;
            let square = draws.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / draws.len() as f64;
            let found = square.sqrt() / mean;
            assert!((mean - 2.0).abs() < 0.05, "mean {mean} for {variation}");
            assert!((found - variation).abs() < 0.05 * variation + 0.01, "{found} for {variation}");
        }
    }

    #[test]
    fn a_cluster_is_sound_and_depends_on_the_seed_only() {
        let cluster = Cluster::new(500, Duration::from_secs(3600), 3);
        let workload = cluster.generate().unwrap();
        workload.validate().unwrap();
        assert!(workload.invocations.len() > 1000, "{}", workload.invocations.len());
        assert_eq!(cluster.generate().unwrap().hash(), workload.hash());
    }
}
