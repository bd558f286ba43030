//! [`ServiceTime`]: how long a function computes, for workloads whose source does not say.

use crate::error::{Error, Result};
use crate::percentiles::{Percentiles, milliseconds};
use crate::read::Source;
use crate::rng::unit;
use crate::time::Duration;
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The distribution of a function's service time, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ServiceTime {
    /// Always the same.
    Constant {
        /// The time, in milliseconds.
        ms: f64,
    },
    /// Log-normal.
    LogNormal {
        /// Median, in milliseconds.
        median_ms: f64,
        /// Standard deviation of the natural logarithm.
        sigma: f64,
    },
    /// Known percentiles, linear between them, in milliseconds.
    Percentiles(Percentiles),
}

/// Where a generator finds the service time of a function, by the function's name.
pub type ServiceLookup<'a> = &'a dyn Fn(&str) -> Option<ServiceTime>;

impl ServiceTime {
    /// Always `time`.
    pub fn constant(time: Duration) -> Self {
        Self::Constant { ms: time.as_millis_f64() }
    }

    /// One draw. A distribution uses at most a few random words of `rng`; a constant uses none.
    pub fn draw(&self, rng: &mut impl Rng) -> Duration {
        match self {
            Self::Constant { ms } => milliseconds(*ms),
            Self::LogNormal { median_ms, sigma } => {
                let z: f64 = StandardNormal.sample(rng);
                milliseconds(median_ms * (sigma * z).exp())
            }
            Self::Percentiles(percentiles) => milliseconds(percentiles.at(unit(rng))),
        }
    }

    /// The mean, in milliseconds.
    pub fn mean_ms(&self) -> f64 {
        match self {
            Self::Constant { ms } => *ms,
            Self::LogNormal { median_ms, sigma } => median_ms * (sigma * sigma / 2.0).exp(),
            Self::Percentiles(percentiles) => percentiles.mean(),
        }
    }

    /// Checks the parameters.
    ///
    /// # Errors
    /// [`Error::Value`] if a parameter is negative or not finite.
    pub fn check(&self, function: &str) -> Result<()> {
        let (parameter, value) = match self {
            Self::Constant { ms } => ("ms", *ms),
            Self::LogNormal { median_ms, sigma } if sigma.is_finite() && *sigma >= 0.0 => {
                ("median_ms", *median_ms)
            }
            Self::LogNormal { sigma, .. } => ("sigma", *sigma),
            Self::Percentiles(_) => return Ok(()),
        };
        if value.is_finite() && value >= 0.0 {
            return Ok(());
        }
        Err(Error::value(
            format!("service time of {function}"),
            format!("{parameter} = {value}"),
            "a finite number that is not negative",
        ))
    }
}

/// Service times by function name, with an optional one for all others; as given by a user.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceTable {
    named: BTreeMap<String, ServiceTime>,
    other: Option<ServiceTime>,
}

impl ServiceTable {
    /// Adds all entries of a JSON object such as
    /// `{"pyaes": {"constant": {"ms": 100}}, "crypto": {"log-normal": {"median_ms": 80, "sigma": 0.3}}}`.
    ///
    /// # Errors
    /// [`Error::Table`] if it does not read, [`Error::Value`] if a parameter is out of range.
    pub fn add_json(&mut self, source: &Source) -> Result<()> {
        let entries: BTreeMap<String, ServiceTime> =
            serde_json::from_reader(source.reader()?).map_err(|error| Error::Table {
                file: source.name().to_owned(),
                problem: format!("not a table of service times ({error})"),
                remedy: "it must be an object such as {\"pyaes\": {\"constant\": {\"ms\": 100}}}".to_owned(),
            })?;
        self.extend(entries)
    }

    /// Adds service times by function name.
    ///
    /// # Errors
    /// [`Error::Value`] if a parameter is out of range.
    pub fn extend(&mut self, entries: impl IntoIterator<Item = (String, ServiceTime)>) -> Result<()> {
        for (name, time) in entries {
            time.check(&name)?;
            self.named.insert(name, time);
        }
        Ok(())
    }

    /// Adds `pyaes=100 ms` for one function, or `100 ms` for all that are not named.
    ///
    /// # Errors
    /// [`Error::Value`] if the time does not read.
    pub fn add(&mut self, option: &str) -> Result<()> {
        match option.split_once('=') {
            Some((name, time)) => {
                self.named.insert(name.trim().to_owned(), ServiceTime::constant(time.trim().parse()?));
            }
            None => self.other = Some(ServiceTime::constant(option.trim().parse()?)),
        }
        Ok(())
    }

    /// The service time of the function called `name`.
    pub fn get(&self, name: &str) -> Option<ServiceTime> {
        self.named.get(name).or(self.other.as_ref()).cloned()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.other.is_none()
    }
}

/// The service time of `name`, or else of `base` (the function that `name` is a copy of).
///
/// # Errors
/// [`Error::NoServiceTime`] if neither is known, [`Error::Value`] if its parameters are not sound.
pub(crate) fn look_up(service: ServiceLookup<'_>, name: &str, base: &str) -> Result<ServiceTime> {
    let found = service(name).or_else(|| service(base));
    let time = found.ok_or_else(|| Error::NoServiceTime { function: name.to_owned() })?;
    time.check(name)?;
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Streams;

    #[test]
    fn draws_follow_the_distribution() {
        let mut rng = Streams::new(1).stream("service", 0);
        let time = ServiceTime::LogNormal { median_ms: 100.0, sigma: 0.5 };
        let mut draws: Vec<f64> = (0..20_001).map(|_| time.draw(&mut rng).as_millis_f64()).collect();
        draws.sort_by(f64::total_cmp);
        assert!((draws[10_000] - 100.0).abs() < 2.0, "median {}", draws[10_000]);
        assert_eq!(ServiceTime::constant(Duration::from_millis(7)).draw(&mut rng), Duration::from_millis(7));
    }

    #[test]
    fn a_table_answers_for_named_functions_first() {
        let mut table = ServiceTable::default();
        table.add_json(&Source::bytes("s.json", &br#"{"crypto": {"constant": {"ms": 5}}}"#[..])).unwrap();
        table.add("100 ms").unwrap();
        table.add("pyaes=1 s").unwrap();
        let ms = |name: &str| table.get(name).unwrap().mean_ms();
        assert_eq!([ms("crypto"), ms("pyaes"), ms("other")], [5.0, 1000.0, 100.0]);
    }

    #[test]
    fn a_service_time_reads_from_json_and_bad_ones_are_named() {
        let time: ServiceTime = serde_json::from_str(r#"{"percentiles": [[0, 1], [100, 3]]}"#).unwrap();
        assert_eq!(time.mean_ms(), 2.0);
        let error = ServiceTime::Constant { ms: -1.0 }.check("pyaes").unwrap_err();
        assert_eq!(
            error.to_string(),
            "service time of pyaes: ms = -1; expected a finite number that is not negative"
        );
    }
}
