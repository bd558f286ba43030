//! [`forecast`]: what the runs that are missing will probably take, from earlier runs of the same
//! system and workload.
//!
//! A run goes by earlier runs of its system under its workload, whatever their seeds and other
//! settings. Runs on processors of the same name and of builds of the same kind count; if there are
//! none, others do, and the forecast says so. Where there are none at all, no figure is made up.

use crate::plan::Plan;
use crate::store::Store;
use crate::survey::Survey;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::AddAssign;

use crate::environment::Environment;

/// Something between `low` and `high`, probably near `middle`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Range {
    /// Sum of the smallest of earlier runs.
    pub low: f64,
    /// Sum of their medians.
    pub middle: f64,
    /// Sum of their largest.
    pub high: f64,
}

/// What missing runs will probably take.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forecast {
    /// Runs that are missing.
    pub missing: usize,
    /// Of those, runs that have earlier ones to go by.
    pub known: usize,
    /// Earlier runs that were gone by.
    pub earlier: usize,
    /// Whether those were made on another machine or by another kind of build.
    pub elsewhere: bool,
    /// Seconds that one thread needs for the known ones: playing and writing. Building workloads is
    /// not in it.
    pub seconds: Range,
    /// Bytes on disk of the known ones.
    pub bytes: Range,
    /// Largest resident memory of a process that made one of the earlier runs, and how many runs that
    /// process had at a time.
    pub peak: Option<(u64, u64)>,
}

/// What a forecast needs of a manifest.
#[derive(Deserialize)]
struct Earlier {
    world: String,
    environment: Environment,
    jobs: u64,
    wall_s: f64,
    write_s: f64,
    process_peak_rss_bytes: Option<u64>,
    spec: Likeness,
}

/// What makes two runs alike.
#[derive(Deserialize)]
struct Likeness {
    system: Named,
    workload: serde_json::Value,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// Earlier runs of one system under one workload.
#[derive(Default)]
struct Class {
    seconds: Vec<f64>,
    bytes: Vec<f64>,
    elsewhere: bool,
}

/// Forecasts the missing runs of a plan in `world` from what the store has.
pub fn forecast(plan: &Plan, survey: &Survey, store: &Store, world: &str) -> Forecast {
    let mut wanted: BTreeMap<(String, String), usize> = BTreeMap::new();
    for run in survey.missing() {
        let spec = &plan.point(run.job).spec;
        // Through `Value`, so that fields have the order that they have in what is read back.
        let workload = serde_json::to_value(&spec.workload).map_or_else(|_| String::new(), |v| v.to_string());
        *wanted.entry((spec.system.name.clone(), workload)).or_default() += 1;
    }
    let mut forecast = Forecast { missing: wanted.values().sum(), ..Forecast::default() };
    if wanted.is_empty() {
        return forecast;
    }
    let here = Environment::look();
    let mut classes: BTreeMap<(String, String), Class> = BTreeMap::new();
    for key in store.keys().unwrap_or_default() {
        let Some(earlier) = store.read_manifest::<Earlier>(&key) else { continue };
        let likeness = (earlier.spec.system.name, earlier.spec.workload.to_string());
        if earlier.world != world || !wanted.contains_key(&likeness) {
            continue;
        }
        let elsewhere = earlier.environment.cpu_model != here.cpu_model
            || earlier.environment.debug_build != here.debug_build;
        let class = classes.entry(likeness).or_insert_with(|| Class { elsewhere, ..Class::default() });
        if class.elsewhere && !elsewhere {
            *class = Class::default();
        }
        if class.elsewhere == elsewhere {
            class.seconds.push(earlier.wall_s + earlier.write_s);
            class.bytes.extend(store.bytes(&key).map(|bytes| bytes as f64));
            let peak = earlier.process_peak_rss_bytes.map(|peak| (peak, earlier.jobs));
            forecast.peak = forecast.peak.max(peak);
        }
    }
    for (likeness, class) in classes {
        let n = wanted[&likeness];
        forecast.known += n;
        forecast.earlier += class.seconds.len();
        forecast.elsewhere |= class.elsewhere;
        forecast.seconds += Range::of(class.seconds, n);
        forecast.bytes += Range::of(class.bytes, n);
    }
    forecast
}

impl Range {
    /// The same of another amount that grows with this one.
    pub fn map(self, of: impl Fn(f64) -> f64) -> Self {
        Self { low: of(self.low), middle: of(self.middle), high: of(self.high) }
    }

    /// `n` times what the values are.
    fn of(mut values: Vec<f64>, n: usize) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |i: usize| values.get(i).copied().unwrap_or(0.0) * n as f64;
        Self { low: at(0), middle: at(values.len() / 2), high: at(values.len().saturating_sub(1)) }
    }
}

impl AddAssign for Range {
    fn add_assign(&mut self, other: Self) {
        self.low += other.low;
        self.middle += other.middle;
        self.high += other.high;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_smallest_median_and_largest_times_the_number() {
        assert_eq!(Range::of(vec![3.0, 1.0, 2.0], 10), Range { low: 10.0, middle: 20.0, high: 30.0 });
        assert_eq!(Range::of(Vec::new(), 10), Range::default());
    }
}
