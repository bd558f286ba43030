//! One hour of eleven functions and their copies, played by counts per minute of a real trace:
//! common part of the Azure and Huawei hours of TrEnv's evaluation.
//!
//! Source: SOSP'24 artifact (`faasd-testdriver`, `gen_trace.py`). A minute is split over its
//! seconds either skewed (few busy seconds) or at random; a skewed minute whose busiest second
//! would exceed the function's cap is split at random instead. The first five minutes are burn-in.

use super::functions;
use crate::error::Result;
use crate::rng::{Streams, unit};
use crate::service::{ServiceLookup, look_up};
use crate::spread::{in_bins, random_bins, skewed_bins};
use crate::time::{Duration, Instant};
use crate::workload::{FunctionId, Invocation, Workload, sort_by_arrival};

pub(crate) const MINUTES: usize = 60;
const BURN_IN_MINUTES: u64 = 5;

/// Largest number of invocations of a function in one second of a skewed minute.
const CAPS: [(&str, u32); 11] = [
    ("chameleon", 17),
    ("image-processing", 12),
    ("image-flip-rotate", 15),
    ("pyaes", 18),
    ("crypto", 20),
    ("image-recognition", 7),
    ("video-processing", 10),
    ("dynamic-html", 80),
    ("pagerank", 18),
    ("json-serde", 25),
    ("js-json-serde", 25),
];

/// A function of the hour.
pub(crate) struct HourFunction {
    /// One of the eleven functions.
    pub base: &'static str,
    /// 0, or 1 or 2 for its copies.
    pub copy: usize,
    /// Invocations in each minute.
    pub minutes: [u32; MINUTES],
    /// Chance that a minute is split skewed.
    pub skew: f64,
    /// Whether the busiest minute is always split skewed.
    pub skew_peak: bool,
}

/// The cap of a function's seconds.
pub(crate) fn cap(base: &str) -> u32 {
    CAPS.iter().find(|(name, _)| *name == base).map_or(u32::MAX, |(_, cap)| *cap)
}

/// The workload of an hour.
pub(crate) fn workload(
    name: &str,
    hour: &[HourFunction],
    seed: u64,
    service: ServiceLookup<'_>,
    provenance: Vec<String>,
) -> Result<Workload> {
    let streams = Streams::new(seed);
    let (mut table, mut invocations, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
    for (index, function) in hour.iter().enumerate() {
        let called = functions::copy_name(function.base, function.copy);
        let time = look_up(service, &called, function.base)?;
        let mut arrivals = streams.stream(&format!("arrivals/{called}"), 0);
        let mut services = streams.stream(&format!("service/{called}"), 0);
        let peak = function
            .minutes
            .iter()
            .enumerate()
            .max_by_key(|(minute, n)| (**n, MINUTES - minute))
            .map(|(at, _)| at);
        for (minute, count) in function.minutes.iter().enumerate() {
            let drawn = unit(&mut arrivals) < function.skew;
            let mut bins = random_bins(&mut arrivals, *count);
            if drawn || (function.skew_peak && Some(minute) == peak) {
                let skewed = skewed_bins(&mut arrivals, *count);
                if skewed.iter().all(|n| *n <= cap(function.base)) {
                    bins = skewed;
                }
            }
            offsets.clear();
            in_bins(&mut arrivals, &bins, Duration::MINUTE.as_nanos(), &mut offsets);
            let start = Instant::ZERO + Duration::MINUTE * minute as u64;
            invocations.extend(offsets.iter().map(|offset| {
                let arrival = start + Duration::from_nanos(*offset);
                Invocation::new(arrival, FunctionId(index as u32), time.draw(&mut services))
            }));
        }
        table.push(
            functions::function(function.base, function.copy).expect("the hour names the eleven functions"),
        );
    }
    sort_by_arrival(&mut invocations);
    let mut lines = vec![format!("generated: {name}, {} functions, 60 minutes, seed {seed}", hour.len())];
    lines.extend(provenance);
    Ok(Workload {
        name: name.to_owned(),
        functions: table,
        invocations: invocations.into(),
        burn_in: Duration::MINUTE * BURN_IN_MINUTES,
        span: Duration::MINUTE * MINUTES as u64,
        provenance: lines,
    })
}

/// Counts for tests: uneven, reproducible.
#[cfg(test)]
pub(crate) fn some_minutes(seed: u64) -> [u32; MINUTES] {
    let mut rng = Streams::new(seed).stream("minutes", 0);
    std::array::from_fn(|_| crate::rng::below(&mut rng, 40) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::ServiceTime;

    #[test]
    fn every_count_is_kept_and_no_skewed_second_exceeds_the_cap() {
        let hour =
            [HourFunction { base: "pyaes", copy: 1, minutes: some_minutes(1), skew: 1.0, skew_peak: false }];
        let service = |_: &str| Some(ServiceTime::Constant { ms: 1.0 });
        let workload = workload("test-hour", &hour, 1, &service, vec![]).unwrap();
        workload.validate().unwrap();
        let mut minutes = [0; MINUTES];
        let mut seconds = vec![0u32; 3600];
        for invocation in &workload.invocations {
            let second = (invocation.arrival().as_nanos() / 1_000_000_000) as usize;
            minutes[second / 60] += 1;
            seconds[second] += 1;
        }
        assert_eq!(minutes, some_minutes(1));
        assert!(seconds.iter().all(|n| *n <= cap("pyaes")));
        assert_eq!(
            (&*workload.functions[0].name, workload.functions[0].profile.as_deref()),
            ("pyaes_1", Some("pyaes"))
        );
    }
}
