//! Empirical distribution functions, as bundled from ServerlessBench: rows of value, F(value).

use crate::error::{Error, Result};
use crate::read::Source;
use std::io::BufRead;

/// An empirical distribution function.
#[derive(Clone, Debug, PartialEq)]
pub struct Cdf {
    /// (value, F(value)), both rising.
    points: Vec<(f64, f64)>,
}

impl Cdf {
    /// Reads rows of value and F(value); a first row of names is skipped.
    ///
    /// # Errors
    /// A row that is not two rising numbers, by file and line.
    pub fn read(source: &Source) -> Result<Self> {
        let mut points: Vec<(f64, f64)> = Vec::new();
        for (index, line) in source.reader()?.lines().enumerate() {
            let line = line.map_err(Error::io(source.name(), "read"))?;
            let mut fields = line.split(',').map(|field| field.trim().parse::<f64>());
            let point = match (fields.next(), fields.next()) {
                (Some(Ok(value)), Some(Ok(share))) => Some((value, share)),
                _ if index == 0 || line.trim().is_empty() => continue,
                _ => None,
            };
            let rises =
                |point: &(f64, f64)| points.last().is_none_or(|last| last.0 <= point.0 && last.1 <= point.1);
            let sound = point.filter(|point| (0.0..=1.0).contains(&point.1) && rises(point));
            points.push(sound.ok_or_else(|| Error::Table {
                file: format!("{}:{}", source.name(), index + 1),
                problem: "not a value and its share, both rising".to_owned(),
                remedy: "each row must be value,F(value)".to_owned(),
            })?);
        }
        if points.is_empty() {
            return Err(Error::Table {
                file: source.name().to_owned(),
                problem: "no rows".to_owned(),
                remedy: "each row must be value,F(value)".to_owned(),
            });
        }
        Ok(Self { points })
    }

    /// The value at share `u` in `[0, 1]`, linear between points; the ends where `u` is outside.
    pub fn at(&self, u: f64) -> f64 {
        let after = self.points.partition_point(|point| point.1 < u);
        match (after.checked_sub(1).map(|before| self.points[before]), self.points.get(after)) {
            (None, Some(first)) => first.0,
            (Some(last), None) => last.0,
            (Some((low, from)), Some((high, to))) => low + (high - low) * (u - from) / (to - from),
            (None, None) => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_points_the_value_is_linear_and_outside_it_is_the_end() {
        let cdf = Cdf::read(&Source::bytes("c.csv", &b"x,F\n10, 0.2\n20, 0.6\n40, 1.0\n"[..])).unwrap();
        assert_eq!([0.1, 0.2, 0.4, 1.0].map(|u| cdf.at(u)), [10.0, 10.0, 15.0, 40.0]);
    }

    #[test]
    fn a_falling_row_is_named() {
        let error = Cdf::read(&Source::bytes("c.csv", &b"10,0.5\n20,0.4\n"[..])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "c.csv:2: not a value and its share, both rising; each row must be value,F(value)"
        );
    }
}
