//! Amounts with units, as written in files: `"10 ms"`, `"4 GiB"`, `"25 GB/s"`.
//!
//! A number without a unit is refused: nobody should have to remember whether a timeout is in
//! seconds. `GB` is 10^9 bytes and `GiB` is 2^30.

use crate::suggest;

/// A unit and how many base units it is.
type Units = &'static [(&'static str, f64)];

const DURATIONS: Units =
    &[("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("min", 60e9), ("h", 3600e9), ("d", 86400e9)];

const SIZES: Units = &[
    ("B", 1.0),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("TiB", 1_099_511_627_776.0),
    ("kB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
];

const BANDWIDTHS: Units = &[
    ("B/s", 1.0),
    ("MB/s", 1e6),
    ("GB/s", 1e9),
    ("MiB/s", 1_048_576.0),
    ("GiB/s", 1_073_741_824.0),
    ("Mbit/s", 1e6 / 8.0),
    ("Gbit/s", 1e9 / 8.0),
];

const READ_RATES: Units = &[("reads/s", 1.0)];

const TOKEN_RATES: Units = &[("tokens/s", 1.0)];

/// In nano-dollars.
const HOUR_PRICES: Units = &[("USD/h", 1e9)];

/// In nano-dollars a million tokens.
const TOKEN_PRICES: Units = &[("USD/Mtoken", 1e9)];

/// Words people write for the units above.
const ALIASES: &[(&str, &str)] = &[
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("m", "min"),
    ("mins", "min"),
    ("minute", "min"),
    ("minutes", "min"),
    ("hr", "h"),
    ("hour", "h"),
    ("hours", "h"),
    ("day", "d"),
    ("days", "d"),
    ("µs", "us"),
    ("μs", "us"),
    ("usec", "us"),
    ("msec", "ms"),
    ("K", "KiB"),
    ("M", "MiB"),
    ("G", "GiB"),
    ("k", "KiB"),
    ("Gb/s", "Gbit/s"),
    ("Gbps", "Gbit/s"),
    ("GBps", "GB/s"),
    ("IOPS", "reads/s"),
    ("iops", "reads/s"),
    ("/s", "reads/s"),
    ("token/s", "tokens/s"),
    ("$/h", "USD/h"),
    ("USD/hour", "USD/h"),
    ("$/Mtoken", "USD/Mtoken"),
    ("USD/Mtokens", "USD/Mtoken"),
];

/// What a kind of amount is called and looks like.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    name: &'static str,
    units: Units,
    example: &'static str,
}

pub(crate) const DURATION: Kind = Kind { name: "a duration", units: DURATIONS, example: "ms" };
pub(crate) const SIZE: Kind = Kind { name: "a size", units: SIZES, example: "GiB" };
pub(crate) const BANDWIDTH: Kind = Kind { name: "a bandwidth", units: BANDWIDTHS, example: "GB/s" };
pub(crate) const READ_RATE: Kind = Kind { name: "a rate of reads", units: READ_RATES, example: "reads/s" };
pub(crate) const TOKEN_RATE: Kind =
    Kind { name: "a rate of tokens", units: TOKEN_RATES, example: "tokens/s" };
pub(crate) const HOUR_PRICE: Kind =
    Kind { name: "a price for an hour", units: HOUR_PRICES, example: "USD/h" };
pub(crate) const TOKEN_PRICE: Kind =
    Kind { name: "a price of a million tokens", units: TOKEN_PRICES, example: "USD/Mtoken" };

impl Kind {
    /// What it is called, with its article.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// The complaint about a number without a unit.
    pub fn needs_unit(self, written: &str) -> String {
        format!(
            "{written} is not {}: write a unit, for example \"{} {}\"",
            self.name,
            written.trim_matches('"'),
            self.example
        )
    }

    /// The amount in base units (nanoseconds, bytes, bytes per second, reads per second), to the
    /// nearest whole one.
    pub fn parse(self, text: &str) -> Result<u64, String> {
        let trimmed = text.trim();
        let split = trimmed
            .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '_' | '+' | '-')))
            .unwrap_or(trimmed.len());
        let (number, unit) = (&trimmed[..split], trimmed[split..].trim());
        let what = format!("{text:?} is not {}", self.name);
        let Ok(value) = number.replace('_', "").parse::<f64>() else {
            return Err(format!("{what}: write a number and a unit, for example \"10 {}\"", self.example));
        };
        if unit.is_empty() {
            return Err(self.needs_unit(&format!("{text:?}")));
        }
        if value < 0.0 {
            return Err(format!("{what}: it must not be negative"));
        }
        let Some(&(_, factor)) = self.units.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("{what}: {}", self.unit_hint(number, unit)));
        };
        exact(number, factor)
            .or_else(|| {
                let scaled = (value * factor).round();
                (scaled < u64::MAX as f64).then_some(scaled as u64)
            })
            .ok_or_else(|| format!("{what}: it is too large"))
    }

    fn unit_hint(self, number: &str, unit: &str) -> String {
        let names = self.units.iter().map(|&(name, _)| name);
        let meant = ALIASES
            .iter()
            .find(|(alias, name)| *alias == unit && self.units.iter().any(|(known, _)| known == name))
            .map(|&(_, name)| name)
            .or_else(|| self.units.iter().map(|&(name, _)| name).find(|name| name.eq_ignore_ascii_case(unit)))
            .or_else(|| suggest::nearest(unit, names.clone()).filter(|_| unit.len() > 2));
        match meant {
            Some(name) => format!("did you mean \"{number} {name}\"?"),
            None => format!("its unit must be one of {}", names.collect::<Vec<_>>().join(", ")),
        }
    }
}

/// Whole numbers times whole factors, without going through floating point.
fn exact(number: &str, factor: f64) -> Option<u64> {
    number.replace('_', "").parse::<u64>().ok()?.checked_mul(factor as u64).filter(|_| factor.fract() == 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_whole_base_units() {
        assert_eq!(DURATION.parse("10 ms"), Ok(10_000_000));
        assert_eq!(DURATION.parse("2min"), Ok(120_000_000_000));
        assert_eq!(DURATION.parse("2.35 us"), Ok(2350));
        assert_eq!(SIZE.parse("64 GiB"), Ok(64 << 30));
        assert_eq!(SIZE.parse("64 GB"), Ok(64_000_000_000));
        assert_eq!(SIZE.parse("1_000 B"), Ok(1000));
        assert_eq!(BANDWIDTH.parse("100 Gbit/s"), Ok(12_500_000_000));
        assert_eq!(READ_RATE.parse("600000 reads/s"), Ok(600_000));
    }

    #[test]
    fn what_is_refused_says_what_to_write() {
        let duration = |text| DURATION.parse(text).unwrap_err();
        assert_eq!(duration("10m"), "\"10m\" is not a duration: did you mean \"10 min\"?");
        assert_eq!(duration("10 sec"), "\"10 sec\" is not a duration: did you mean \"10 s\"?");
        assert_eq!(duration("10 MS"), "\"10 MS\" is not a duration: did you mean \"10 ms\"?");
        assert_eq!(
            duration("soon"),
            "\"soon\" is not a duration: write a number and a unit, for example \"10 ms\""
        );
        assert_eq!(duration("-1 s"), "\"-1 s\" is not a duration: it must not be negative");
        assert_eq!(duration("99999999 d"), "\"99999999 d\" is not a duration: it is too large");
        assert_eq!(
            SIZE.parse("64").unwrap_err(),
            "\"64\" is not a size: write a unit, for example \"64 GiB\""
        );
        assert_eq!(SIZE.parse("64 gib").unwrap_err(), "\"64 gib\" is not a size: did you mean \"64 GiB\"?");
        assert_eq!(
            SIZE.parse("3 ms").unwrap_err(),
            "\"3 ms\" is not a size: its unit must be one of B, KiB, MiB, GiB, TiB, kB, MB, GB, TB"
        );
    }
}
