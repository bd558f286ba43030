//! From counts to arrivals: where inside its minute (or other step) each invocation arrives.

use crate::error::{Error, Result};
use crate::rng::{below, small_poisson};
use rand::Rng;
use rand_distr::{Distribution, Poisson};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How the invocations counted in one step are spread over it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spread {
    /// Each invocation independently uniform over the step. This is what a Poisson process looks
    /// like once its count is known.
    #[default]
    Uniform,
    /// A Poisson process at the rate of the step: the count itself is drawn anew, Poisson around
    /// the published count; then as `Uniform`. The totals of the trace are kept on average only.
    Poisson,
    /// Bunched: the step is cut into 60 equal bins (seconds, where the step is a minute), each
    /// weighted by an independent Poisson(0.1) number; a bin gets the whole part of its share of
    /// the count, what is left over goes to random bins; uniform inside a bin. If all weights are
    /// zero (one step in 400), every invocation goes to a random bin. This is the split that the
    /// authors of TrEnv used for the skewed minutes of their Azure and Huawei hours.
    Skewed,
}

/// Bins of a skewed step.
pub(crate) const BINS: usize = 60;
/// Mean of the Poisson weight of a bin in a skewed step.
const BIN_WEIGHT: f64 = 0.1;

impl Spread {
    /// Names of all spreads.
    pub const NAMES: [&'static str; 3] = ["uniform", "poisson", "skewed"];

    /// Appends to `offsets` the arrivals of `count` invocations, in nanoseconds from the start of
    /// a step of `step_ns`, in no particular order.
    pub(crate) fn offsets(self, rng: &mut impl Rng, count: u32, step_ns: u64, offsets: &mut Vec<u64>) {
        match self {
            Self::Uniform => uniform(rng, count, step_ns, offsets),
            Self::Poisson => {
                let drawn = Poisson::new(f64::from(count)).map_or(0.0, |poisson| poisson.sample(rng));
                uniform(rng, drawn as u32, step_ns, offsets);
            }
            Self::Skewed => {
                let bins = skewed_bins(rng, count);
                in_bins(rng, &bins, step_ns, offsets);
            }
        }
    }
}

fn uniform(rng: &mut impl Rng, count: u32, step_ns: u64, offsets: &mut Vec<u64>) {
    offsets.extend((0..count).map(|_| below(rng, step_ns)));
}

/// The skewed split of `count` over the bins of a step.
pub(crate) fn skewed_bins(rng: &mut impl Rng, count: u32) -> [u32; BINS] {
    let weights: [u32; BINS] = std::array::from_fn(|_| small_poisson(rng, BIN_WEIGHT));
    let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let mut bins = [0; BINS];
    if total > 0 {
        bins = weights.map(|weight| (u64::from(weight) * u64::from(count) / total) as u32);
    }
    for _ in bins.iter().sum()..count {
        bins[below(rng, BINS as u64) as usize] += 1;
    }
    bins
}

/// Each of `count` invocations in a random bin.
pub(crate) fn random_bins(rng: &mut impl Rng, count: u32) -> [u32; BINS] {
    let mut bins = [0; BINS];
    for _ in 0..count {
        bins[below(rng, BINS as u64) as usize] += 1;
    }
    bins
}

/// Uniform inside each bin.
pub(crate) fn in_bins(rng: &mut impl Rng, bins: &[u32; BINS], step_ns: u64, offsets: &mut Vec<u64>) {
    let width = step_ns / BINS as u64;
    for (bin, count) in bins.iter().enumerate() {
        let start = step_ns * bin as u64 / BINS as u64;
        offsets.extend((0..*count).map(|_| start + below(rng, width)));
    }
}

impl FromStr for Spread {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "uniform" => Ok(Self::Uniform),
            "poisson" => Ok(Self::Poisson),
            "skewed" => Ok(Self::Skewed),
            _ => Err(Error::unknown_name("spread", name, &Self::NAMES)),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uniform => "uniform",
            Self::Poisson => "poisson",
            Self::Skewed => "skewed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Streams;

    #[test]
    fn uniform_and_skewed_keep_the_count_and_the_step() {
        for spread in [Spread::Uniform, Spread::Skewed] {
            let mut rng = Streams::new(5).stream("spread", 0);
            for count in [0, 1, 7, 1000] {
                let mut offsets = Vec::new();
                spread.offsets(&mut rng, count, 60_000_000_000, &mut offsets);
                assert_eq!(offsets.len(), count as usize);
                assert!(offsets.iter().all(|offset| *offset < 60_000_000_000));
            }
        }
    }

    #[test]
    fn skewed_minutes_are_burstier_than_uniform_ones() {
        let mut rng = Streams::new(5).stream("spread", 1);
        let busiest = |bins: [u32; BINS]| bins.into_iter().max().unwrap();
        let skewed: u32 = (0..100).map(|_| busiest(skewed_bins(&mut rng, 600))).sum();
        let random: u32 = (0..100).map(|_| busiest(random_bins(&mut rng, 600))).sum();
        assert!(skewed > 4 * random, "{skewed} {random}");
    }
}
