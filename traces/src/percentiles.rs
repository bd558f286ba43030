//! A distribution known by some of its percentiles, and draws from it.

use crate::error::{Error, Result};
use crate::time::Duration;
use serde::{Deserialize, Serialize};

/// A distribution given by points (rank in percent, value); between points the value is linear.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(f64, f64)>", into = "Vec<(f64, f64)>")]
pub struct Percentiles(Vec<(f64, f64)>);

impl Percentiles {
    /// From points (rank 0..=100, value), ranks strictly rising from 0 to 100, values not falling.
    ///
    /// # Errors
    /// [`Error::Value`] with the first point that breaks this.
    pub fn new(points: Vec<(f64, f64)>) -> Result<Self> {
        let expected =
            "ranks that rise from 0 to 100 and values that are finite, not negative and do not fall";
        let wrong = |problem: String| Err(Error::value("percentiles", problem, expected));
        if points.first().is_none_or(|point| point.0 != 0.0)
            || points.last().is_none_or(|point| point.0 != 100.0)
        {
            return wrong("the first rank is not 0 or the last is not 100".into());
        }
        if let Some(point) = points.iter().find(|point| !point.1.is_finite() || point.1 < 0.0) {
            return wrong(format!("value {} at rank {}", point.1, point.0));
        }
        for pair in points.windows(2) {
            if !(pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1) {
                return wrong(format!(
                    "({}, {}) is followed by ({}, {})",
                    pair[0].0, pair[0].1, pair[1].0, pair[1].1
                ));
            }
        }
        Ok(Self(points))
    }

    /// The points: (rank 0..=100, value).
    pub fn points(&self) -> &[(f64, f64)] {
        &self.0
    }

    /// The value at rank `u` in `[0, 1]`: the piecewise-linear inverse of the distribution
    /// function, so that a uniform `u` gives a draw.
    pub fn at(&self, u: f64) -> f64 {
        let rank = u * 100.0;
        let after = self.0.partition_point(|point| point.0 <= rank).clamp(1, self.0.len() - 1);
        let ((low, from), (high, to)) = (self.0[after - 1], self.0[after]);
        from + (to - from) * ((rank - low) / (high - low)).clamp(0.0, 1.0)
    }

    /// The mean of the piecewise-linear distribution.
    pub fn mean(&self) -> f64 {
        self.0.windows(2).map(|pair| (pair[1].0 - pair[0].0) / 100.0 * (pair[0].1 + pair[1].1) / 2.0).sum()
    }
}

impl TryFrom<Vec<(f64, f64)>> for Percentiles {
    type Error = Error;
    fn try_from(points: Vec<(f64, f64)>) -> Result<Self> {
        Self::new(points)
    }
}

impl From<Percentiles> for Vec<(f64, f64)> {
    fn from(percentiles: Percentiles) -> Self {
        percentiles.0
    }
}

/// Milliseconds as a length of time, to the nearest nanosecond.
pub(crate) fn milliseconds(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_percentiles_the_value_is_linear() {
        let table = Percentiles::new(vec![(0.0, 0.0), (50.0, 10.0), (100.0, 110.0)]).unwrap();
        assert_eq!([0.0, 0.25, 0.5, 0.75, 1.0].map(|u| table.at(u)), [0.0, 5.0, 10.0, 60.0, 110.0]);
        assert_eq!(table.mean(), 2.5 + 30.0);
    }

    #[test]
    fn falling_values_are_refused() {
        let error = Percentiles::new(vec![(0.0, 5.0), (100.0, 4.0)]).unwrap_err();
        assert!(error.to_string().starts_with("percentiles: (0, 5) is followed by (100, 4); expected ranks"));
    }
}
