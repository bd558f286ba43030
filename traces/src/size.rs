//! Amounts of memory: [`Bytes`] and 4 KiB [`Pages`], which convert only on purpose.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Sub, SubAssign};

/// Size of a page in bytes. All page counts of this testbed are of 4 KiB pages.
pub const PAGE_BYTES: u64 = 4096;

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

/// A number of 4 KiB pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pages(pub u64);

impl Bytes {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// `n` MiB.
    pub const fn from_mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// `n` GiB.
    pub const fn from_gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// MiB, for output only.
    pub fn as_mib_f64(self) -> f64 {
        self.0 as f64 / (1u64 << 20) as f64
    }

    /// GiB, for output only.
    pub fn as_gib_f64(self) -> f64 {
        self.0 as f64 / (1u64 << 30) as f64
    }

    /// The number of pages that hold this many bytes (rounded up).
    pub const fn pages(self) -> Pages {
        Pages(self.0.div_ceil(PAGE_BYTES))
    }

    /// This amount times a non-negative factor, to the nearest byte.
    pub fn scale(self, factor: f64) -> Self {
        Self((self.0 as f64 * factor).round() as u64)
    }

    /// `self - other`, or zero where `other` is larger.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Pages {
    /// No pages.
    pub const ZERO: Self = Self(0);

    /// The bytes these pages occupy.
    pub const fn bytes(self) -> Bytes {
        Bytes(self.0 * PAGE_BYTES)
    }

    /// This count times a non-negative factor, to the nearest page.
    pub fn scale(self, factor: f64) -> Self {
        Self((self.0 as f64 * factor).round() as u64)
    }
}

macro_rules! arithmetic {
    ($($name:ident),*) => {$(
        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self { Self(self.0 + other.0) }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) { self.0 += other.0; }
        }
        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self { Self(self.0 - other.0) }
        }
        impl SubAssign for $name {
            fn sub_assign(&mut self, other: Self) { self.0 -= other.0; }
        }
        impl Mul<u64> for $name {
            type Output = Self;
            fn mul(self, n: u64) -> Self { Self(self.0 * n) }
        }
        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self { amounts.fold(Self(0), Add::add) }
        }
    )*};
}
arithmetic!(Bytes, Pages);

/// At most three decimals, without trailing zeros.
pub(crate) fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl fmt::Display for Bytes {
    /// With the largest unit that keeps at least one whole unit and at most three decimals: `64 GiB`,
    /// `1.5 MiB`, `300 B`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = match self.0 {
            n if n >= 1 << 30 => (1u64 << 30, "GiB"),
            n if n >= 1 << 20 => (1 << 20, "MiB"),
            n if n >= 1 << 10 => (1 << 10, "KiB"),
            _ => (1, "B"),
        };
        write!(f, "{} {name}", short(self.0 as f64 / unit as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_round_up_to_pages() {
        assert_eq!(Bytes(1).pages(), Pages(1));
        assert_eq!(Bytes(4096).pages(), Pages(1));
        assert_eq!(Bytes(4097).pages(), Pages(2));
        assert_eq!(Pages(3).bytes(), Bytes(12288));
    }

    #[test]
    fn an_amount_shows_its_natural_unit() {
        assert_eq!(Bytes::from_gib(64).to_string(), "64 GiB");
        assert_eq!(Bytes(1_572_864).to_string(), "1.5 MiB");
        assert_eq!(Bytes(300).to_string(), "300 B");
        assert_eq!(Bytes(128_000_000_000).to_string(), "119.209 GiB");
    }
}
