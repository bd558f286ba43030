//! What single values must be. Each function is the whole rule for one kind of value.

use crate::tree::Value;
use crate::units::{self, Kind};
use traces::{Bytes, Duration};

fn amount(value: &Value, kind: Kind) -> Result<u64, String> {
    match value {
        Value::Text(text) => kind.parse(text),
        Value::Integer(_) | Value::Float(_) => Err(kind.needs_unit(&value.written())),
        other => Err(format!("{} where {} belongs", other.kind(), kind.name())),
    }
}

/// A length of time.
pub(crate) fn duration(value: &Value) -> Result<Duration, String> {
    amount(value, units::DURATION).map(Duration::from_nanos)
}

/// A length of time above zero.
pub(crate) fn positive_duration(value: &Value) -> Result<Duration, String> {
    positive(value, duration(value)?)
}

/// An amount of memory.
pub(crate) fn size(value: &Value) -> Result<Bytes, String> {
    amount(value, units::SIZE).map(Bytes)
}

/// An amount of memory above zero.
pub(crate) fn positive_size(value: &Value) -> Result<Bytes, String> {
    positive(value, size(value)?)
}

/// Bytes per second, above zero.
pub(crate) fn bandwidth(value: &Value) -> Result<u64, String> {
    positive(value, amount(value, units::BANDWIDTH)?)
}

/// Reads per second, above zero.
pub(crate) fn read_rate(value: &Value) -> Result<u64, String> {
    positive(value, amount(value, units::READ_RATE)?)
}

/// Tokens a second, above zero.
pub(crate) fn token_rate(value: &Value) -> Result<u64, String> {
    positive(value, amount(value, units::TOKEN_RATE)?)
}

/// A price for an hour, in nano-dollars.
pub(crate) fn price_hour(value: &Value) -> Result<u64, String> {
    amount(value, units::HOUR_PRICE)
}

/// A price of a million tokens, in nano-dollars.
pub(crate) fn price_tokens(value: &Value) -> Result<u64, String> {
    amount(value, units::TOKEN_PRICE)
}

fn positive<T: PartialEq + Default>(value: &Value, amount: T) -> Result<T, String> {
    if amount == T::default() { Err(format!("{} must be above zero", value.written())) } else { Ok(amount) }
}

/// A whole number from 0.
pub(crate) fn whole(value: &Value) -> Result<u64, String> {
    match value {
        Value::Integer(n) => {
            u64::try_from(*n).map_err(|_| format!("{n} is out of range: write a whole number from 0"))
        }
        Value::Float(_) => Err(format!("{} is not a whole number", value.written())),
        Value::Text(text) if text.parse::<u64>().is_ok() => {
            Err(format!("{text:?} is a text: write the number without quotes"))
        }
        other => Err(format!("{} where a whole number belongs", other.kind())),
    }
}

/// A whole number from 1 that fits 32 bits.
pub(crate) fn count(value: &Value) -> Result<u32, String> {
    match small(value)? {
        0 => Err("0 is too small: it must be at least 1".into()),
        n => Ok(n),
    }
}

/// A number of nodes.
pub(crate) fn nodes(value: &Value) -> Result<u32, String> {
    match count(value)? {
        n if n > MOST_NODES => Err(format!("{n} is too large: at most {MOST_NODES} nodes")),
        n => Ok(n),
    }
}

/// Ten times what the largest experiment needs; beyond it the tables of sandboxes no longer fit memory.
const MOST_NODES: u32 = 100_000;

/// A whole number from 1.
pub(crate) fn large_count(value: &Value) -> Result<u64, String> {
    match whole(value)? {
        0 => Err("0 is too small: it must be at least 1".into()),
        n => Ok(n),
    }
}

/// A whole percentage up to 100.
pub(crate) fn percent(value: &Value) -> Result<u32, String> {
    let percent = small(value)?;
    if percent > 100 { Err(format!("{percent} %: at most 100")) } else { Ok(percent) }
}

/// Bins of a function's histogram: few enough that thousands of functions can have one.
pub(crate) fn bins(value: &Value) -> Result<u32, String> {
    let bins = count(value)?;
    if bins > 100_000 { Err(format!("{bins} bins: at most 100,000")) } else { Ok(bins) }
}

/// Steps of a growth: few enough that each instance's first invocation stays cheap.
pub(crate) fn growth_steps(value: &Value) -> Result<u32, String> {
    let steps = count(value)?;
    if steps > 16 { Err(format!("{steps} steps: at most 16")) } else { Ok(steps) }
}

/// A whole number from 0 that fits 32 bits.
pub(crate) fn small(value: &Value) -> Result<u32, String> {
    whole(value)?.try_into().map_err(|_| format!("{} is too large: it must be below 2^32", value.written()))
}

/// A number that is finite.
pub(crate) fn number(value: &Value) -> Result<f64, String> {
    match value {
        Value::Integer(n) => Ok(*n as f64),
        Value::Float(n) if n.is_finite() => Ok(*n),
        Value::Float(n) => Err(format!("{n} is not a finite number")),
        other => Err(format!("{} where a number belongs", other.kind())),
    }
}

/// A share, 0 to 1.
pub(crate) fn share(value: &Value) -> Result<f64, String> {
    match number(value)? {
        n if (0.0..=1.0).contains(&n) => Ok(n),
        n => Err(format!("{n} is out of range: it must lie between 0 and 1")),
    }
}

/// A number from 0.
pub(crate) fn non_negative(value: &Value) -> Result<f64, String> {
    match number(value)? {
        n if n >= 0.0 => Ok(n),
        n => Err(format!("{n} is out of range: it must not be negative")),
    }
}

/// A number above 0.
pub(crate) fn factor(value: &Value) -> Result<f64, String> {
    match number(value)? {
        n if n > 0.0 => Ok(n),
        n => Err(format!("{n} is out of range: it must be above zero")),
    }
}

/// A number from 1.
pub(crate) fn at_least_one(value: &Value) -> Result<f64, String> {
    match number(value)? {
        n if n >= 1.0 => Ok(n),
        n => Err(format!("{n} is out of range: it must be at least 1")),
    }
}

/// True or false.
pub(crate) fn flag(value: &Value) -> Result<bool, String> {
    match value {
        Value::Flag(flag) => Ok(*flag),
        other => Err(format!("{} where true or false belongs", other.kind())),
    }
}

/// A text that is not empty.
pub(crate) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::Text(text) if text.trim().is_empty() => Err("an empty text: write something".into()),
        Value::Text(text) => Ok(text.clone()),
        other => Err(format!("{} where a text belongs: write it in quotes", other.kind())),
    }
}
