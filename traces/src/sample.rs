//! A few functions that stand for all: several random choices are made, and the one whose
//! distributions lie closest to the whole is kept.
//!
//! Source of the idea: Ustiugov et al., "Enabling In-Vitro Serverless Systems Research", SESAME
//! 2023 (InVitro). Closeness is the Wasserstein-1 distance between the distributions, over
//! functions, of log10 of the rate, log10 of the mean service time, and memory.

use crate::error::{Error, Result};
use crate::rng::{Streams, below};
use crate::transform::keep_functions;
use crate::workload::Workload;
use serde::Serialize;

/// Distances of a sample from the whole.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Distances {
    /// Of log10(invocations of a function).
    pub rate_log10: f64,
    /// Of log10(mean service time of a function in milliseconds).
    pub duration_log10: f64,
    /// Of the memory of a function, in MiB; zero where the workload knows none.
    pub memory_mib: f64,
}

/// A sample of `count` functions, the best of `candidates` random choices, and its distances.
/// Functions without invocations are not chosen. The best choice is that with the smallest sum of
/// distances, each divided by the standard deviation of the whole.
///
/// # Errors
/// [`Error::Value`] if there are fewer functions with invocations than `count`, or no candidates.
pub fn sample_functions(
    workload: &Workload,
    count: usize,
    candidates: u32,
    seed: u64,
) -> Result<(Workload, Distances)> {
    let features = features(workload);
    if count == 0 || count > features.len() {
        return Err(Error::value("functions to sample", count, format!("1 to {}", features.len())));
    }
    if candidates == 0 {
        return Err(Error::value("candidates", candidates, "at least 1"));
    }
    let whole: [Vec<f64>; 3] = std::array::from_fn(|k| sorted(features.iter().filter_map(|f| f.values[k])));
    let scales = [0, 1, 2].map(|k| deviation(&whole[k]));
    let streams = Streams::new(seed);
    let mut best: Option<(f64, [f64; 3], Vec<usize>)> = None;
    for candidate in 0..candidates {
        let mut rng = streams.stream("sample", u64::from(candidate));
        let mut places: Vec<usize> = (0..features.len()).collect();
        for i in 0..count {
            let j = i + below(&mut rng, (places.len() - i) as u64) as usize;
            places.swap(i, j);
        }
        places.truncate(count);
        let distances: [f64; 3] = std::array::from_fn(|k| {
            wasserstein(&sorted(places.iter().filter_map(|place| features[*place].values[k])), &whole[k])
        });
        let score: f64 = distances.iter().zip(scales).map(|(distance, scale)| distance / scale).sum();
        if best.as_ref().is_none_or(|(lowest, _, _)| score < *lowest) {
            best = Some((score, distances, places));
        }
    }
    let (_, [rate_log10, duration_log10, memory_mib], places) =
        best.expect("there is at least one candidate");
    let mut chosen: Vec<usize> = places.into_iter().map(|place| features[place].index).collect();
    chosen.sort_unstable();
    let line = format!(
        "{count} of {} functions, the best of {candidates} random choices (Wasserstein-1 distances: rate {rate_log10:.4} \
         and duration {duration_log10:.4} in log10, memory {memory_mib:.2} MiB), seed {seed}",
        workload.functions.len()
    );
    Ok((keep_functions(workload, &chosen, line), Distances { rate_log10, duration_log10, memory_mib }))
}

struct Features {
    index: usize,
    /// log10 of invocations, log10 of mean service in ms, memory in MiB.
    values: [Option<f64>; 3],
}

fn features(workload: &Workload) -> Vec<Features> {
    let counts = workload.counts();
    let mut service = vec![0.0; counts.len()];
    for invocation in &workload.invocations {
        service[invocation.function().index()] += invocation.service().as_millis_f64();
    }
    let of = |index: usize| {
        let count = counts[index] as f64;
        let mean = (service[index] / count).max(0.001);
        let memory = workload.functions[index].memory.map(|memory| memory.as_mib_f64());
        Features { index, values: [Some(count.log10()), Some(mean.log10()), memory] }
    };
    (0..counts.len()).filter(|index| counts[*index] > 0).map(of).collect()
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Standard deviation; 1 where it is zero, so that it can divide.
fn deviation(values: &[f64]) -> f64 {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let square = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
    if square > 0.0 { square.sqrt() } else { 1.0 }
}

/// The Wasserstein-1 distance of two samples, each sorted: the area between their distribution
/// functions. Zero if either is empty.
pub fn wasserstein(a: &[f64], b: &[f64]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return 0.0;
    }
    let (mut i, mut j, mut area) = (0, 0, 0.0);
    let mut at = a[0].min(b[0]);
    while i < a.len() || j < b.len() {
        let next = match (a.get(i), b.get(j)) {
            (Some(x), Some(y)) => x.min(*y),
            (Some(x), None) => *x,
            (None, Some(y)) => *y,
            (None, None) => break,
        };
        area += (next - at) * (i as f64 / a.len() as f64 - j as f64 / b.len() as f64).abs();
        at = next;
        i += a[i..].iter().take_while(|x| **x <= at).count();
        j += b[j..].iter().take_while(|y| **y <= at).count();
    }
    area
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::zipf::Job;

    #[test]
    fn the_distance_is_the_area_between_the_distribution_functions() {
        assert_eq!(wasserstein(&[0.0, 1.0], &[0.0, 1.0]), 0.0);
        assert_eq!(wasserstein(&[0.0, 1.0], &[5.0, 6.0]), 5.0);
        assert_eq!(wasserstein(&[0.0], &[0.0, 4.0]), 2.0);
    }

    #[test]
    fn a_sample_keeps_all_invocations_of_its_functions_and_more_candidates_come_closer() {
        let whole = Job { functions: 200, ..Job::standard(20_000, 1) }.generate().unwrap();
        let (one, far) = sample_functions(&whole, 30, 1, 4).unwrap();
        let (_, near) = sample_functions(&whole, 30, 50, 4).unwrap();
        one.validate().unwrap();
        let kept: u64 =
            one.functions.iter().map(|f| whole.counts()[whole.function(&f.name).unwrap().index()]).sum();
        assert_eq!((one.functions.len(), one.invocations.len() as u64), (30, kept));
        let sum = |d: Distances| d.rate_log10 + d.duration_log10 + d.memory_mib / 74.0;
        assert!(sum(near) < sum(far), "{near:?} {far:?}");
    }

    #[test]
    fn more_functions_than_there_are_is_refused() {
        let whole = Job { functions: 5, ..Job::standard(1000, 1) }.generate().unwrap();
        assert_eq!(
            sample_functions(&whole, 6, 1, 1).unwrap_err().to_string(),
            "functions to sample: 6; expected 1 to 5"
        );
    }
}
