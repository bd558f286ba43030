//! The standard job: popularity by Zipf's law, Poisson arrivals, log-normal durations.
//!
//! "SJ-N" is N invocations over 24 hours with the defaults below: the job with which simulators of
//! this field are compared. It is drawn as one superposed stream (arrival, then which function by
//! an alias table), in order of time, in memory proportional to the functions, at some tens of
//! nanoseconds an invocation.
//!
//! A job for many racks has its functions in many copies. It is drawn in as many parts: a part is the
//! functions that are [at home](FunctionId::home) in it, and a Poisson process of its own once its count
//! is known. So whoever plays the parts apart draws each of them once and none in vain, and whoever
//! wants the whole merges them.

use crate::error::{Error, Result};
use crate::records::Records;
use crate::rng::{Streams, Xoshiro256PlusPlus, below};
use crate::size::Bytes;
use crate::time::{Duration, Instant};
use crate::workload::{Function, FunctionId, Invocation, Workload};
use rand::Rng;
use rand_distr::{Binomial, Distribution, Exp1, StandardNormal};
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// Parameters of the job.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Invocations, exactly.
    pub invocations: u64,
    /// Functions.
    pub functions: u32,
    /// How many times the functions exist: each copy is another tenant's and gets an equal share of the
    /// invocations. The job is drawn in as many parts.
    pub copies: u32,
    /// Length of time over which the invocations arrive.
    pub span: Duration,
    /// Zipf's exponent: function k (from 1) has weight 1 / k^exponent.
    pub exponent: f64,
    /// Mean of the natural logarithm of the service time in seconds.
    pub mu: f64,
    /// Standard deviation of that logarithm.
    pub sigma: f64,
    /// Service times are clipped to this range.
    pub service: (Duration, Duration),
    /// A function's memory is uniform between these, in MiB, both included.
    pub memory_mib: (u64, u64),
    /// Seed.
    pub seed: u64,
}

impl Job {
    /// SJ-N: the standard job of `invocations` invocations.
    pub fn standard(invocations: u64, seed: u64) -> Self {
        Self {
            invocations,
            functions: 1000,
            copies: 1,
            span: Duration::from_secs(24 * 3600),
            exponent: 1.0,
            mu: -0.38,
            sigma: 2.36,
            service: (Duration::from_millis(1), Duration::from_secs(300)),
            memory_mib: (64, 319),
            seed,
        }
    }

    /// Everything of the workload but its invocations: for a
    /// [`WorkloadWriter`](crate::binary::WorkloadWriter).
    ///
    /// # Errors
    /// [`Error::Value`] if a parameter is out of range.
    pub fn head(&self) -> Result<Workload> {
        self.check()?;
        let mut rng = Streams::new(self.seed).stream("zipf/memory", 0);
        let (low, high) = self.memory_mib;
        let memory: Vec<Bytes> =
            (0..self.functions).map(|_| Bytes::from_mib(low + below(&mut rng, high - low + 1))).collect();
        let tenant = |copy: u32| if self.copies == 1 { "zipf".into() } else { format!("zipf-{copy}") };
        let functions = (0..self.copies)
            .flat_map(|copy| (1..).zip(&memory).map(move |(k, &memory)| (copy, k, memory)))
            .map(|(copy, k, memory)| Function {
                name: format!("{}-{k:05}", tenant(copy)),
                tenant: tenant(copy),
                profile: None,
                memory: Some(memory),
            })
            .collect();
        let copies = if self.copies == 1 { String::new() } else { format!(" in {} copies", self.copies) };
        Ok(Workload {
            name: format!("zipf-{}", self.invocations),
            functions,
            invocations: Records::default(),
            burn_in: Duration::ZERO,
            span: self.span,
            provenance: vec![format!(
                "generated: zipf, {} invocations over {}, {} functions{copies} with exponent {}, service log-normal (mu {}, \
                 sigma {}) within {} and {}, seed {}",
                self.invocations,
                self.span,
                self.functions,
                self.exponent,
                self.mu,
                self.sigma,
                self.service.0,
                self.service.1,
                self.seed
            )],
        })
    }

    /// The invocations, in order of arrival; of those of the same instant, the lower part's first.
    ///
    /// # Errors
    /// [`Error::Value`] if a parameter is out of range.
    pub fn invocations(&self) -> Result<Merged> {
        let mut parts: Vec<Zipf> = self.parts()?.iter().map(|part| self.draw(part)).collect();
        let mut heads: BinaryHeap<_> = (0..)
            .zip(&mut parts)
            .filter_map(|(part, stream)| stream.next().map(|first| Reverse(Head { part, first })))
            .collect();
        let first = heads.pop().map(|Reverse(head)| head);
        Ok(Merged { parts, heads, first })
    }

    /// The parts that the job is drawn in, with the invocations of each.
    ///
    /// # Errors
    /// [`Error::Value`] if a parameter is out of range.
    pub fn parts(&self) -> Result<Vec<Part>> {
        self.check()?;
        let mut parts: Vec<Part> =
            (0..self.copies).map(|number| Part { number, invocations: 0, functions: Vec::new() }).collect();
        (0..self.functions * self.copies).for_each(|function| {
            parts[FunctionId(function).home(self.copies) as usize].functions.push(function);
        });
        // One part after the other: how many of the invocations that are left are in it.
        let weights: Vec<f64> = parts.iter().map(|part| self.weights(part).sum()).collect();
        let mut rng = Streams::new(self.seed).stream("zipf/parts", 0);
        let (mut left, mut weight_left) = (self.invocations, weights.iter().sum::<f64>());
        let last = weights.iter().rposition(|&weight| weight > 0.0).unwrap_or_default();
        for (part, weight) in parts[..last].iter_mut().zip(&weights) {
            let share = (weight / weight_left).clamp(0.0, 1.0);
            part.invocations = Binomial::new(left, share).map_or(0, |count| count.sample(&mut rng));
            left -= part.invocations;
            weight_left -= weight;
        }
        parts[last].invocations = left;
        Ok(parts)
    }

    /// The invocations of one of the job's [parts](Self::parts), in order of arrival.
    pub fn draw(&self, part: &Part) -> Zipf {
        let streams = Streams::new(self.seed);
        // A job of one part is drawn as it was when no job had several.
        let streams =
            if self.copies == 1 { streams } else { streams.within("zipf/part", part.number.into()) };
        let weights: Vec<f64> = self.weights(part).collect();
        Zipf {
            arrivals: streams.stream("zipf/arrivals", 0),
            choices: streams.stream("zipf/functions", 0),
            services: streams.stream("zipf/service", 0),
            table: AliasTable::new(&weights),
            functions: part.functions.clone(),
            left: part.invocations,
            now_ns: 0.0,
            span_ns: self.span.as_nanos() as f64,
            last_ns: self.span.as_nanos() - 1,
            mu: self.mu,
            sigma: self.sigma,
            shortest_us: self.service.0.as_nanos() as f64 / 1e3,
            longest_us: self.service.1.as_nanos() as f64 / 1e3,
        }
    }

    /// The weight of each function of a part.
    fn weights<'a>(&'a self, part: &'a Part) -> impl Iterator<Item = f64> + 'a {
        part.functions.iter().map(|function| f64::from(function % self.functions + 1).powf(-self.exponent))
    }

    /// The whole workload in memory.
    ///
    /// # Errors
    /// [`Error::Value`] if a parameter is out of range.
    pub fn generate(&self) -> Result<Workload> {
        Ok(Workload { invocations: self.invocations()?.collect(), ..self.head()? })
    }

    fn check(&self) -> Result<()> {
        let wrong = |what: &str, value: &dyn std::fmt::Display, expected: &str| {
            Err(Error::value(what, value, expected))
        };
        if self.functions == 0 || u64::from(self.functions) > Invocation::MAX_FUNCTIONS {
            return wrong("functions", &self.functions, "1 to 16777216");
        }
        if self.copies == 0 || u64::from(self.functions) * u64::from(self.copies) > Invocation::MAX_FUNCTIONS
        {
            return wrong("copies", &self.copies, "1 to as many as make 16777216 functions");
        }
        if self.span == Duration::ZERO {
            return wrong("span", &self.span, "more than 0 s");
        }
        if !(0.0..=10.0).contains(&self.exponent) {
            return wrong("exponent", &self.exponent, "0 to 10");
        }
        if !(self.mu.is_finite() && self.sigma.is_finite() && self.sigma >= 0.0) {
            return wrong("sigma", &self.sigma, "a finite number that is not negative, and a finite mu");
        }
        if self.service.0 > self.service.1 || self.service.1 > Invocation::MAX_SERVICE {
            return wrong("service range", &self.service.1, "a range from low to high, at most 12 days");
        }
        if self.memory_mib.0 > self.memory_mib.1 || self.memory_mib.1 > 1 << 40 {
            return wrong("memory range", &self.memory_mib.1, "a range from low to high, at most 2^40 MiB");
        }
        Ok(())
    }
}

/// A part of a [`Job`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 0.
    pub number: u32,
    /// Its invocations.
    pub invocations: u64,
    /// Its functions, by their numbers in the job.
    pub functions: Vec<u32>,
}

/// The stream of all invocations of a [`Job`].
#[derive(Clone)]
pub struct Merged {
    parts: Vec<Zipf>,
    /// The next invocation of each part but the one whose turn it is.
    heads: BinaryHeap<Reverse<Head>>,
    /// The next of all.
    first: Option<Head>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Head {
    part: u32,
    first: Invocation,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.first.arrival(), self.part).cmp(&(other.first.arrival(), other.part))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Iterator for Merged {
    type Item = Invocation;

    fn next(&mut self) -> Option<Invocation> {
        let Head { part, first } = self.first?;
        let next = self.parts[part as usize].next().map(|first| Head { part, first });
        self.first = match (next, self.heads.peek_mut()) {
            (Some(next), Some(mut other)) if other.0 < next => {
                Some(std::mem::replace(&mut *other, Reverse(next)).0)
            }
            (None, Some(other)) => Some(PeekMut::pop(other).0),
            (next, _) => next,
        };
        Some(first)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left: usize = self.parts.iter().map(|part| part.left as usize).sum();
        let left = left + self.heads.len() + usize::from(self.first.is_some());
        (left, Some(left))
    }
}

/// The stream of invocations of a [`Part`] of a [`Job`].
#[derive(Clone)]
pub struct Zipf {
    arrivals: Xoshiro256PlusPlus,
    choices: Xoshiro256PlusPlus,
    services: Xoshiro256PlusPlus,
    table: AliasTable,
    functions: Vec<u32>,
    left: u64,
    now_ns: f64,
    span_ns: f64,
    last_ns: u64,
    mu: f64,
    sigma: f64,
    shortest_us: f64,
    longest_us: f64,
}

impl Iterator for Zipf {
    type Item = Invocation;

    fn next(&mut self) -> Option<Invocation> {
        if self.left == 0 {
            return None;
        }
        // Of k points uniform over the rest of the time, the first comes after the share
        // 1 - exp(-E/k), E exponential: a Poisson process conditioned on its count, in order.
        let exponential: f64 = Exp1.sample(&mut self.arrivals);
        let x = exponential / self.left as f64;
        let share = if x < 1e-4 { x * (1.0 - x / 2.0 * (1.0 - x / 3.0)) } else { -(-x).exp_m1() };
        self.now_ns += (self.span_ns - self.now_ns) * share;
        self.left -= 1;
        let arrival = Instant::from_nanos((self.now_ns as u64).min(self.last_ns));
        let function = FunctionId(self.functions[self.table.draw(&mut self.choices) as usize]);
        let z: f64 = StandardNormal.sample(&mut self.services);
        let us = ((self.mu + self.sigma * z).exp() * 1e6).clamp(self.shortest_us, self.longest_us);
        Some(Invocation::new(arrival, function, Duration::from_micros(us as u64)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

/// Draws an index with given weights in constant time (Walker 1977, built as by Vose 1991).
#[derive(Clone)]
pub(crate) struct AliasTable {
    /// (chance of staying, in 2^64ths; where to go otherwise)
    places: Vec<(u64, u32)>,
}

impl AliasTable {
    /// For weights that are not negative and not all zero.
    pub fn new(weights: &[f64]) -> Self {
        let mean = weights.iter().sum::<f64>() / weights.len() as f64;
        let mut shares: Vec<f64> = weights.iter().map(|weight| weight / mean).collect();
        let mut places: Vec<(u64, u32)> = (0..weights.len()).map(|i| (u64::MAX, i as u32)).collect();
        let (mut poor, mut rich): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|i| shares[*i] < 1.0);
        while let (Some(low), Some(high)) = (poor.pop(), rich.pop()) {
            places[low] = ((shares[low] * 2f64.powi(64)) as u64, high as u32);
            shares[high] -= 1.0 - shares[low];
            if shares[high] < 1.0 { poor.push(high) } else { rich.push(high) }
        }
        Self { places }
    }

    /// An index.
    pub fn draw(&self, rng: &mut impl Rng) -> u32 {
        let product = u128::from(rng.next_u64()) * self.places.len() as u128;
        let place = (product >> 64) as usize;
        // The low half of the product is uniform within the place (to n / 2^64).
        let (stay, other) = self.places[place];
        if (product as u64) < stay { place as u32 } else { other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_job_has_its_count_its_popularity_and_its_durations() {
        let workload = Job::standard(200_000, 7).generate().unwrap();
        workload.validate().unwrap();
        assert_eq!(workload.invocations.len(), 200_000);
        let counts = workload.counts();
        let harmonic: f64 = (1..=1000).map(|k| 1.0 / f64::from(k)).sum();
        let expected = 200_000.0 / harmonic;
        assert!((counts[0] as f64 - expected).abs() < 0.03 * expected, "{} {expected}", counts[0]);
        assert!((counts[9] as f64 - expected / 10.0).abs() < 0.1 * expected / 10.0);
        let mean = workload.invocations.iter().map(|i| i.service().as_secs_f64()).sum::<f64>() / 200_000.0;
        // The mean of the clipped distribution, in closed form, is 7.98 s.
        assert!((mean - 7.98).abs() < 0.25, "mean service {mean} s");
        assert!(workload.functions.iter().all(|f| (64..=319).contains(&(f.memory.unwrap().0 >> 20))));
    }

    #[test]
    fn arrivals_are_uniform_over_the_span() {
        let job = Job::standard(100_000, 1);
        let hours = job.invocations().unwrap().fold([0u32; 24], |mut hours, i| {
            hours[(i.arrival().as_secs_f64() / 3600.0) as usize] += 1;
            hours
        });
        assert!(hours.iter().all(|n| n.abs_diff(4167) < 300), "{hours:?}");
    }

    #[test]
    fn the_stream_depends_on_the_seed_only() {
        let first = |seed| Job::standard(1000, seed).generate().unwrap().hash_hex();
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
    }

    #[test]
    fn copies_have_equal_shares_and_the_whole_is_its_parts_merged() {
        let job = Job { functions: 20, copies: 50, ..Job::standard(200_000, 3) };
        let workload = job.generate().unwrap();
        workload.validate().unwrap();
        assert_eq!((workload.functions.len(), workload.invocations.len()), (1000, 200_000));
        let counts = workload.counts();
        let of_copy = |copy: usize| counts[20 * copy..][..20].iter().sum::<u64>();
        // 4,000 on average, with a standard deviation of about 63.
        assert!((0..50).all(|copy| of_copy(copy).abs_diff(4_000) < 300), "{counts:?}");
        let memory = |function: usize| workload.functions[function].memory;
        assert!((0..1000).all(|function| memory(function) == memory(function % 20)));
        let parts = job.parts().unwrap();
        for part in &parts {
            let own: Vec<Invocation> = job.draw(part).collect();
            assert_eq!(own.len() as u64, part.invocations);
            let in_part = |call: &&Invocation| call.function().home(50) == part.number;
            assert!(workload.invocations.iter().filter(in_part).eq(&own), "part {}", part.number);
        }
        assert_eq!(parts.iter().map(|part| part.invocations).sum::<u64>(), 200_000);
        assert_eq!(job.invocations().unwrap().size_hint().0, 200_000);
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        let job = Job { functions: 0, ..Job::standard(1, 1) };
        assert_eq!(job.generate().unwrap_err().to_string(), "functions: 0; expected 1 to 16777216");
    }
}
