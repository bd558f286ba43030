//! Whether the measured part of a run is steady: a burn-in that is configured is also verified.
//!
//! After Geweke (1992): the measured part is cut into `BATCHES` equally long batches, whose means are
//! nearly independent although neighbouring samples are not. The batches of its beginning are compared
//! with those of its second half, by whose scatter (Student's t): a ramp at the beginning then does not
//! hide itself. It counts as not steady where the beginning is off by more than `TOLERANCE`, and by more
//! than that scatter explains (one chance in a thousand). A workload without burn-in is one that is looked
//! at from its beginning: nothing is said about it.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// Batches of the measured part.
const BATCHES: usize = 20;
/// Those of them that are its beginning.
const BEGINNING: usize = 4;
/// Fewest samples in a batch.
const FEWEST: usize = 2;
/// Difference that does not matter, as a share of the second half's mean.
const TOLERANCE: f64 = 0.05;
/// Chance of taking a steady run for one that is not.
const LEVEL: f64 = 0.001;

/// How the beginning of the measured part compares with its second half.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steadiness {
    /// Mean of the beginning.
    pub beginning: f64,
    /// Mean of the second half.
    pub later: f64,
    /// Whether they are the same but for what does not matter or what scatter explains.
    pub is_steady: bool,
}

impl Steadiness {
    /// Of samples `(seconds, value)` from `from` on, taken at equal distances. `None` where there are too
    /// few.
    pub fn of(samples: &[(f64, f64)], from: f64) -> Option<Self> {
        let measured: Vec<f64> = samples.iter().filter(|(t, _)| *t >= from - 1e-9).map(|(_, v)| *v).collect();
        if measured.len() < BATCHES * FEWEST {
            return None;
        }
        let bound = |batch: usize| batch * measured.len() / BATCHES;
        let means: Vec<f64> = (0..BATCHES).map(|b| mean(&measured[bound(b)..bound(b + 1)])).collect();
        let (first, last) = (&means[..BEGINNING], &means[BATCHES / 2..]);
        let (beginning, later) = (mean(first), mean(last));
        let matters = (beginning - later).abs() > TOLERANCE * later.abs();
        Some(Self { beginning, later, is_steady: !(matters && is_significant(first, last)) })
    }

    /// The warning, if it is not steady. It has no numbers in it, so that runs that are alike share one.
    pub fn warning(self, what: &str) -> Option<String> {
        let way = if self.later > self.beginning { "rises" } else { "falls" };
        (!self.is_steady).then(|| {
            format!(
                "the measured part is not steady: {what} {way} by more than {:.0} % from its beginning to its second half; a \
                 longer burn-in or a longer run is needed before averages mean anything",
                TOLERANCE * 100.0
            )
        })
    }
}

/// Whether the means of two lists differ, by Student's t with the second list's variance.
fn is_significant(a: &[f64], b: &[f64]) -> bool {
    let difference = (mean(b) - mean(a)).abs();
    let scatter = (variance(b) * (1.0 / a.len() as f64 + 1.0 / b.len() as f64)).sqrt();
    if scatter == 0.0 {
        return difference > 0.0;
    }
    let beyond =
        StudentsT::new(0.0, 1.0, b.len() as f64 - 1.0).map(|t| 2.0 * (1.0 - t.cdf(difference / scatter)));
    beyond.is_ok_and(|chance| chance < LEVEL)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_xoshiro::Xoshiro256PlusPlus;
    use rand_xoshiro::rand_core::{Rng, SeedableRng};

    /// A series of 1,000 s with noise of up to `noise`, whose level is given by the second.
    fn series(seed: u64, noise: f64, level: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut draw = || (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64 - 0.5;
        (0..1000).map(|t| (f64::from(t), level(f64::from(t)) + noise * draw())).collect()
    }

    fn is_steady(samples: &[(f64, f64)], from: f64) -> bool {
        Steadiness::of(samples, from).unwrap().is_steady
    }

    #[test]
    fn a_ramp_is_found_and_a_burn_in_that_covers_it_is_enough() {
        let ramp = series(1, 2.0, |t| 10.0 + (t / 100.0).min(5.0));
        assert!(!is_steady(&ramp, 0.0));
        assert!(is_steady(&ramp, 500.0), "what rises during the burn-in does not count");
        let falling = Steadiness::of(&series(2, 1.0, |t| if t < 200.0 { 12.0 } else { 10.0 }), 0.0).unwrap();
        assert!((falling.beginning - falling.later - 2.0).abs() < 0.1);
        let text = falling.warning("node DRAM in use").unwrap();
        assert!(text.contains("not steady") && text.contains("falls"), "{text}");
    }

    #[test]
    fn noise_and_bursts_that_come_back_are_steady() {
        let alarms = (0..1000).filter(|seed| !is_steady(&series(*seed, 20.0, |_| 10.0), 0.0)).count();
        assert!(alarms <= 5, "{alarms} of 1000 steady runs are called unsteady");
        let bursts = series(3, 1.0, |t| if t % 100.0 < 20.0 { 50.0 } else { 5.0 });
        assert!(is_steady(&bursts, 0.0));
    }

    #[test]
    fn a_significant_difference_that_does_not_matter_is_left_alone() {
        let tiny = series(4, 0.01, |t| if t < 200.0 { 10.0 } else { 10.2 });
        assert!(is_steady(&tiny, 0.0));
        assert_eq!(Steadiness::of(&tiny[..30], 0.0), None, "too few samples to tell");
    }
}
