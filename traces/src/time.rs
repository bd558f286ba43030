//! Points in time and lengths of time, as integer nanoseconds.
//!
//! [`Instant`] and [`Duration`] are different types, so a point cannot be added to a point and a
//! length cannot be mistaken for a date. Both are 64-bit: 584 years of nanoseconds.

use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Sub, SubAssign};
use std::str::FromStr;

/// A point in time: nanoseconds since the workload's own zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Instant(u64);

/// A length of time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Duration(u64);

impl Instant {
    /// The workload's zero.
    pub const ZERO: Self = Self(0);
    /// Later than anything that happens; used as a sentinel by queues, never stored in results.
    pub const MAX: Self = Self(u64::MAX);

    /// The point `ns` nanoseconds after zero.
    pub const fn from_nanos(ns: u64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since zero.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Seconds since zero, for output only.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// The length from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// One second.
    pub const SECOND: Self = Self(1_000_000_000);
    /// One minute.
    pub const MINUTE: Self = Self(60_000_000_000);

    /// `ns` nanoseconds.
    pub const fn from_nanos(ns: u64) -> Self {
        Self(ns)
    }

    /// `us` microseconds.
    pub const fn from_micros(us: u64) -> Self {
        Self(us * 1_000)
    }

    /// `ms` milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms * 1_000_000)
    }

    /// `s` seconds.
    pub const fn from_secs(s: u64) -> Self {
        Self(s * 1_000_000_000)
    }

    /// The nearest nanosecond to `s` seconds; negative and not-a-number become zero.
    pub fn from_secs_f64(s: f64) -> Self {
        Self((s * 1e9).round() as u64)
    }

    /// Nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole microseconds, rounded down.
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    /// Milliseconds, for output only.
    pub fn as_millis_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Seconds, for output only.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// This length times a non-negative factor, to the nearest nanosecond.
    pub fn scale(self, factor: f64) -> Self {
        Self((self.0 as f64 * factor).round() as u64)
    }

    /// `self - other`, or zero where `other` is longer.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, length: Duration) -> Self {
        Self(self.0 + length.0)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, length: Duration) {
        self.0 += length.0;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, length: Duration) -> Self {
        Self(self.0 - length.0)
    }
}

impl Add for Duration {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for Duration {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Sub for Duration {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl SubAssign for Duration {
    fn sub_assign(&mut self, other: Self) {
        self.0 -= other.0;
    }
}

impl Mul<u64> for Duration {
    type Output = Self;
    fn mul(self, n: u64) -> Self {
        Self(self.0 * n)
    }
}

impl Div<u64> for Duration {
    type Output = Self;
    fn div(self, n: u64) -> Self {
        Self(self.0 / n)
    }
}

impl Sum for Duration {
    fn sum<I: Iterator<Item = Self>>(lengths: I) -> Self {
        lengths.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Duration {
    /// The shortest exact-enough form with a unit: `10 min`, `2.5 s`, `40 us`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0;
        let (unit, name): (u64, &str) = match ns {
            0 => return f.write_str("0 s"),
            _ if ns >= 60_000_000_000 && ns.is_multiple_of(60_000_000_000) => (60_000_000_000, "min"),
            _ if ns >= 1_000_000_000 => (1_000_000_000, "s"),
            _ if ns >= 1_000_000 => (1_000_000, "ms"),
            _ if ns >= 1_000 => (1_000, "us"),
            _ => (1, "ns"),
        };
        write!(f, "{} {name}", ns as f64 / unit as f64)
    }
}

impl FromStr for Duration {
    type Err = Error;

    /// A number and a unit (ns, us, ms, s, min, h, d), with or without a space: `2.5 s`, `100ms`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong =
            || Error::value("duration", format!("\"{text}\""), "a number and a unit, such as \"100 ms\"");
        let split = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
        let (number, unit) = text.split_at(split);
        let nanos = match unit.trim() {
            "ns" => 1.0,
            "us" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "min" => 60e9,
            "h" => 3600e9,
            "d" => 86_400e9,
            _ => return Err(wrong()),
        };
        let number: f64 = number.trim().parse().map_err(|_| wrong())?;
        let total = (number * nanos).round();
        // A finite number below 2^63 and not negative fits.
        if (0.0..9.2e18).contains(&total) { Ok(Self(total as u64)) } else { Err(wrong()) }
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t={:.6} s", self.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_shows_its_natural_unit() {
        let shown: Vec<String> = [
            Duration::from_secs(600),
            Duration::from_millis(2_500),
            Duration::from_micros(40),
            Duration::from_nanos(7),
            Duration::ZERO,
        ]
        .iter()
        .map(ToString::to_string)
        .collect();
        assert_eq!(shown, ["10 min", "2.5 s", "40 us", "7 ns", "0 s"]);
    }

    #[test]
    fn a_length_reads_back_as_it_is_shown() {
        for text in ["10 min", "2.5 s", "40 us", "7 ns"] {
            assert_eq!(text.parse::<Duration>().unwrap().to_string(), text);
        }
        assert_eq!("100ms".parse::<Duration>().unwrap(), Duration::from_millis(100));
        let error = "10".parse::<Duration>().unwrap_err();
        assert_eq!(error.to_string(), "duration: \"10\"; expected a number and a unit, such as \"100 ms\"");
    }

    #[test]
    fn points_and_lengths_combine_in_the_only_meaningful_ways() {
        let start = Instant::from_nanos(5);
        let end = start + Duration::from_nanos(7);
        assert_eq!(end.since(start), Duration::from_nanos(7));
        assert_eq!(start.since(end), Duration::ZERO);
    }
}
