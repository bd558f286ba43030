//! Estimators: quantiles of values, and 95 % intervals over seeds.
//!
//! * **Quantiles of values**: R-7 (linear interpolation between order statistics), [`quantile`].
//! * **Quantiles of a [`platform::records::Distribution`]**: the inverse of the empirical
//!   distribution of its two-significant-digit histogram (relative error below 1/128).
//! * **Means over seeds**: Student t, [`mean_over_seeds`].
//! * **Quantiles over seeds** (and anything not near normal): the median over seeds with a
//!   percentile bootstrap of 2000 resamples, [`median_over_seeds`]. The resamples depend only on
//!   the number of seeds, so the same values always give the same interval.
//! * **Medians of measurements** (rows, not seeds): the interval between two of the values, by their ranks,
//!   without any assumption about their distribution.
//! * **Ratios and differences** are taken seed by seed (both systems saw the same arrivals), then
//!   summarised like any other value, [`paired`].
//!
//! Fewer than [`MIN_SEEDS`] values give a value without an interval.

use crate::files::{number, optional};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Below this many seeds no interval is given.
pub const MIN_SEEDS: usize = 5;
/// Resamples of a bootstrap.
pub const RESAMPLES: usize = 2000;
/// Confidence of every interval.
pub const CONFIDENCE: f64 = 0.95;
/// Seed of the bootstrap's generator: a constant, so that results are the same everywhere.
const BOOTSTRAP_SEED: u64 = 0x7472_656e_7678;

/// How a value and its interval were obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Estimator {
    /// Mean over seeds, Student-t interval.
    MeanT,
    /// Median over seeds, percentile-bootstrap interval.
    MedianBootstrap,
    /// Median of measurements, interval between two of them.
    MedianRanks,
}

impl Estimator {
    /// Column name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MeanT => "mean-t",
            Self::MedianBootstrap => "median-bootstrap",
            Self::MedianRanks => "median-ranks",
        }
    }

    /// The estimate of one value per seed.
    pub fn of(self, values: &[f64]) -> Option<Estimate> {
        match self {
            Self::MeanT => mean_over_seeds(values),
            Self::MedianBootstrap => median_over_seeds(values),
            Self::MedianRanks => median_by_ranks(values),
        }
    }

    /// Values that an interval takes at least.
    pub const fn least(self) -> usize {
        match self {
            Self::MeanT | Self::MedianBootstrap => MIN_SEEDS,
            Self::MedianRanks => runs::MIN_RANKS,
        }
    }
}

/// A value over seeds with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The point estimate.
    pub value: f64,
    /// Both ends of the 95 % interval; `None` of fewer than [`MIN_SEEDS`] seeds.
    pub interval: Option<(f64, f64)>,
    /// Number of seeds.
    pub n: usize,
    /// How.
    pub estimator: Estimator,
}

impl Estimate {
    /// Its cells in a table: value, both ends of the interval, number of seeds, estimator.
    pub fn cells(&self) -> [String; 5] {
        [
            number(self.value),
            optional(self.low()),
            optional(self.high()),
            self.n.to_string(),
            self.estimator.name().to_owned(),
        ]
    }

    /// Lower end of the interval.
    pub fn low(&self) -> Option<f64> {
        self.interval.map(|(low, _)| low)
    }

    /// Upper end of the interval.
    pub fn high(&self) -> Option<f64> {
        self.interval.map(|(_, high)| high)
    }

    /// Largest value to be shown: the upper end, or the value.
    pub fn top(&self) -> f64 {
        self.high().unwrap_or(self.value).max(self.value)
    }

    /// Smallest value to be shown: the lower end, or the value.
    pub fn bottom(&self) -> f64 {
        self.low().unwrap_or(self.value).min(self.value)
    }
}

/// Median of measurements with the interval that [`runs::median_interval`] gives; `None` of no values.
fn median_by_ranks(values: &[f64]) -> Option<Estimate> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let value = quantile_of_sorted(&sorted, 0.5)?;
    let interval = runs::median_interval(&sorted);
    Some(Estimate { value, interval, n: sorted.len(), estimator: Estimator::MedianRanks })
}

/// Exact quantile of sorted values by R-7: at position `q × (n − 1)`, interpolated linearly.
/// `None` of no values.
pub fn quantile_of_sorted(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = q.clamp(0.0, 1.0) * last as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (at - below as f64) * (sorted[above] - sorted[below]))
}

/// Exact quantile of values in any order; values that are not finite are left out.
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    quantile_of_sorted(&sorted(values), q)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Arithmetic mean; `None` of no values.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Mean over seeds with the Student-t interval `mean ± t(0.975, n − 1) × s / √n`.
pub fn mean_over_seeds(values: &[f64]) -> Option<Estimate> {
    let values = sorted(values);
    let n = values.len();
    let value = mean(&values)?;
    let interval = (n >= MIN_SEEDS).then(|| {
        let variance = values.iter().map(|v| (v - value).powi(2)).sum::<f64>() / (n - 1) as f64;
        let half = t_quantile(n - 1) * (variance / n as f64).sqrt();
        (value - half, value + half)
    });
    Some(Estimate { value, interval, n, estimator: Estimator::MeanT })
}

/// The two-sided 95 % point of Student's t.
fn t_quantile(freedom: usize) -> f64 {
    StudentsT::new(0.0, 1.0, freedom as f64).map_or(f64::NAN, |t| t.inverse_cdf(0.5 + CONFIDENCE / 2.0))
}

/// Median over seeds with a percentile-bootstrap interval: the 2.5 % and 97.5 % points
/// (inverse empirical distribution) of the medians of [`RESAMPLES`] resamples.
pub fn median_over_seeds(values: &[f64]) -> Option<Estimate> {
    let values = sorted(values);
    let n = values.len();
    let value = quantile_of_sorted(&values, 0.5)?;
    let interval = (n >= MIN_SEEDS).then(|| bootstrap_median(&values));
    Some(Estimate { value, interval, n, estimator: Estimator::MedianBootstrap })
}

/// Two ranks whose values are averaged to a resample's median, and how many resamples have them.
type MedianRanks = Vec<((usize, usize), usize)>;

fn bootstrap_median(sorted: &[f64]) -> (f64, f64) {
    let tail = (1.0 - CONFIDENCE) / 2.0;
    let mut medians: Vec<(f64, usize)> = median_ranks(sorted.len())
        .iter()
        .map(|&((a, b), count)| (sorted[a] + (sorted[b] - sorted[a]) / 2.0, count))
        .collect();
    medians.sort_by(|a, b| a.0.total_cmp(&b.0));
    let at = |q: f64| {
        let rank = (q * RESAMPLES as f64).ceil().max(1.0) as usize;
        let mut seen = 0;
        medians
            .iter()
            .find_map(|&(median, count)| {
                seen += count;
                (seen >= rank).then_some(median)
            })
            .unwrap_or(sorted[sorted.len() - 1])
    };
    (at(tail), at(1.0 - tail))
}

/// The medians of the resamples of `n` values, as ranks. A resample of sorted values is a multiset
/// of ranks, so its median's ranks are the same for every data set of that size: drawn once.
fn median_ranks(n: usize) -> Arc<MedianRanks> {
    static DRAWN: Mutex<BTreeMap<usize, Arc<MedianRanks>>> = Mutex::new(BTreeMap::new());
    let mut drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
    drawn.entry(n).or_insert_with(|| Arc::new(draw_median_ranks(n))).clone()
}

fn draw_median_ranks(n: usize) -> MedianRanks {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(BOOTSTRAP_SEED);
    let mut counts = BTreeMap::new();
    let mut ranks = vec![0; n];
    for _ in 0..RESAMPLES {
        for rank in &mut ranks {
            *rank = ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize;
        }
        ranks.sort_unstable();
        *counts.entry((ranks[(n - 1) / 2], ranks[n / 2])).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

/// Values of two systems that share a seed, combined seed by seed (`a / b`, `a − b`, …), in the
/// order of the seeds. Seeds that only one of them has are left out.
pub fn paired(a: &BTreeMap<u64, f64>, b: &BTreeMap<u64, f64>, combine: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    a.iter().filter_map(|(seed, &x)| b.get(seed).map(|&y| combine(x, y))).filter(|v| v.is_finite()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_between_two_values_is_interpolated() {
        // R: quantile(c(10, 20, 30, 40), c(.5, .75, .99), type = 7) = 25, 32.5, 39.7
        let values = [40.0, 10.0, 30.0, 20.0];
        let got: Vec<_> = [0.5, 0.75, 0.99].map(|q| quantile(&values, q).unwrap()).into();
        assert!(got.iter().zip([25.0, 32.5, 39.7]).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?}");
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[7.0, f64::NAN], 0.99), Some(7.0));
    }

    #[test]
    fn the_interval_of_a_mean_is_students() {
        // mean 3, s² = 2.5, s/√5 = 0.70711, t(0.975, 4) = 2.77645 → ± 1.96324
        let estimate = mean_over_seeds(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert_eq!((estimate.value, estimate.n), (3.0, 5));
        let (low, high) = estimate.interval.unwrap();
        assert!((low - 1.036_757).abs() < 1e-4 && (high - 4.963_243).abs() < 1e-4, "{low} {high}");
    }

    #[test]
    fn the_interval_of_a_median_of_five_is_their_range() {
        // P(median is the smallest of 5) = P(at least 3 of 5 draws hit it)
        //   = 10·0.2³·0.8² + 5·0.2⁴·0.8 + 0.2⁵ = 0.058 > 0.025: the 2.5 % point is the smallest.
        let estimate = median_over_seeds(&[30.0, 10.0, 50.0, 20.0, 40.0]).unwrap();
        assert_eq!((estimate.value, estimate.interval), (30.0, Some((10.0, 50.0))));
    }

    #[test]
    fn the_interval_of_a_median_of_eleven_leaves_the_extremes_out() {
        // The median of 11 draws is among the three smallest with P(Bin(11, 3/11) ≥ 6) = 0.050,
        // among the two smallest with P(Bin(11, 2/11) ≥ 6) = 0.0067: the 2.5 % point is the third.
        let values: Vec<f64> = (1..=11).map(f64::from).collect();
        let estimate = median_over_seeds(&values).unwrap();
        assert_eq!((estimate.value, estimate.interval), (6.0, Some((3.0, 9.0))));
    }

    #[test]
    fn fewer_than_five_seeds_have_a_value_and_no_interval() {
        let estimate = median_over_seeds(&[1.0, 2.0, 9.0, 3.0]).unwrap();
        assert_eq!((estimate.value, estimate.interval, estimate.n), (2.5, None, 4));
        assert_eq!(mean_over_seeds(&[]), None);
    }

    #[test]
    fn ratios_are_taken_between_runs_of_the_same_seed() {
        let a = BTreeMap::from([(1, 10.0), (2, 30.0), (3, 5.0)]);
        let b = BTreeMap::from([(2, 10.0), (1, 20.0), (9, 1.0)]);
        assert_eq!(paired(&a, &b, |x, y| x / y), vec![0.5, 3.0]);
    }
}
