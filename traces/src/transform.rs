//! From one workload to another: a window of it, more or fewer invocations, fewer functions.
//!
//! Every transform adds a line to the provenance and keeps the order of equal arrivals.

use crate::error::{Error, Result};
use crate::rng::{Streams, Xoshiro256PlusPlus, below, unit};
use crate::time::{Duration, Instant};
use crate::workload::{FunctionId, Invocation, Workload, sort_by_arrival};

/// The invocations from `start` (included) to `start + length` (excluded), `start` becoming zero.
/// What is left of the burn-in stays burn-in. The function table stays whole.
///
/// # Errors
/// [`Error::Value`] if the window is empty or begins after the end of the workload.
pub fn window(workload: &Workload, start: Duration, length: Duration) -> Result<Workload> {
    if length == Duration::ZERO || start >= workload.span {
        let problem = format!("{length} from {start}");
        return Err(Error::value(
            "window",
            problem,
            format!("a length above zero and a start before {}", workload.span),
        ));
    }
    let span = Duration::from_nanos(length.as_nanos().min((workload.span - start).as_nanos()));
    let place =
        |at: Duration| workload.invocations.partition_point(|i| i.arrival().as_nanos() < at.as_nanos());
    let kept = &workload.invocations[place(start)..place(start + span)];
    let burn_in = workload.burn_in.saturating_sub(start);
    let moved = |i: &Invocation| Invocation::new(i.arrival() - start, i.function(), i.service());
    Ok(Workload {
        invocations: kept.iter().map(moved).collect(),
        burn_in: if burn_in > span { span } else { burn_in },
        span,
        ..with_line(workload, format!("window of {span} from {start}"))
    })
}

/// Each invocation kept with probability `keep`, independently. Each function decides from a
/// stream of its own name.
///
/// # Errors
/// [`Error::Value`] if `keep` is not in `0..=1`.
pub fn thin(workload: &Workload, keep: f64, seed: u64) -> Result<Workload> {
    if !(0.0..=1.0).contains(&keep) {
        return Err(Error::value("keep", keep, "a probability from 0 to 1"));
    }
    let mut streams = streams_of(workload, "thin", seed);
    let kept = |i: &&Invocation| unit(&mut streams[i.function().index()]) < keep;
    Ok(Workload {
        invocations: workload.invocations.iter().filter(kept).copied().collect(),
        ..with_line(workload, format!("each invocation kept with probability {keep}, seed {seed}"))
    })
}

/// How far a superposed copy of an invocation may lie from the original.
pub const JITTER: Duration = Duration::from_secs(30);

/// The rate times `factor`, the span unchanged. Below 1 the workload is thinned. Above 1 it is
/// superposed: each invocation stays and gets `factor - 1` copies (a last one with the
/// probability of the fraction), each moved by up to 30 s either way, uniformly, and reflected at
/// both ends. Totals per function and shapes over minutes survive; bursts within a minute do not:
/// to keep them use [`compress`].
///
/// # Errors
/// [`Error::Value`] if `factor` is not above zero, or above a million.
pub fn scale_rate(workload: &Workload, factor: f64, seed: u64) -> Result<Workload> {
    if !(factor > 0.0 && factor <= 1e6) {
        return Err(Error::value("rate factor", factor, "a number above 0, at most 1000000"));
    }
    if factor <= 1.0 {
        return thin(workload, factor, seed);
    }
    let mut streams = streams_of(workload, "superpose", seed);
    let span = workload.span.as_nanos();
    let reach = JITTER.as_nanos().min(span / 2);
    let mut all = Vec::with_capacity((workload.invocations.len() as f64 * factor) as usize);
    for invocation in &workload.invocations {
        all.push(*invocation);
        let rng = &mut streams[invocation.function().index()];
        let copies = (factor - 1.0) as u64 + u64::from(unit(rng) < (factor - 1.0).fract());
        for _ in 0..copies {
            // Positions are counted from `reach` before zero, so that all of them are positive.
            let moved = invocation.arrival().as_nanos() + below(rng, 2 * reach + 1);
            let inside = moved.abs_diff(reach);
            let arrival = Instant::from_nanos(if inside >= span {
                2 * (span - 1) - inside.min(2 * (span - 1))
            } else {
                inside
            });
            all.push(Invocation::new(arrival, invocation.function(), invocation.service()));
        }
    }
    sort_by_arrival(&mut all);
    Ok(Workload {
        invocations: all.into(),
        ..with_line(workload, format!("rate x {factor} by copies moved up to {JITTER}, seed {seed}"))
    })
}

/// Time runs `factor` times as fast: arrivals, burn-in and span are divided by `factor`, service
/// times stay. The rate grows and every burst keeps its shape.
///
/// # Errors
/// [`Error::Value`] if `factor` is not above zero, or so small that the span would not fit.
pub fn compress(workload: &Workload, factor: f64) -> Result<Workload> {
    if !(factor > 0.0 && workload.span.as_nanos() as f64 / factor < i64::MAX as f64) {
        return Err(Error::value(
            "time factor",
            factor,
            "a number above 0 that keeps the span below 292 years",
        ));
    }
    let shrink = |ns: u64| (ns as f64 / factor) as u64;
    let moved = |i: &Invocation| {
        Invocation::new(Instant::from_nanos(shrink(i.arrival().as_nanos())), i.function(), i.service())
    };
    Ok(Workload {
        invocations: workload.invocations.iter().map(moved).collect(),
        burn_in: Duration::from_nanos(shrink(workload.burn_in.as_nanos())),
        span: Duration::from_nanos(shrink(workload.span.as_nanos()) + 1),
        ..with_line(workload, format!("time compressed {factor} times"))
    })
}

/// The same invocations with another burn-in.
///
/// # Errors
/// [`Error::Value`] if it is longer than the workload.
pub fn set_burn_in(workload: &Workload, burn_in: Duration) -> Result<Workload> {
    if burn_in > workload.span {
        return Err(Error::value("burn-in", burn_in, format!("at most {}", workload.span)));
    }
    let invocations = workload.invocations.clone();
    Ok(Workload { invocations, burn_in, ..with_line(workload, format!("burn-in {burn_in}")) })
}

/// Only the functions of `chosen` (in rising order) and their invocations.
pub(crate) fn keep_functions(workload: &Workload, chosen: &[usize], line: String) -> Workload {
    let mut places = vec![None; workload.functions.len()];
    for (place, index) in chosen.iter().enumerate() {
        places[*index] = Some(FunctionId(place as u32));
    }
    let renamed =
        |i: &Invocation| places[i.function().index()].map(|id| Invocation::new(i.arrival(), id, i.service()));
    Workload {
        functions: chosen.iter().map(|index| workload.functions[*index].clone()).collect(),
        invocations: workload.invocations.iter().filter_map(renamed).collect(),
        ..with_line(workload, line)
    }
}

/// Everything but the invocations, with one more line of provenance.
fn with_line(workload: &Workload, line: String) -> Workload {
    let mut provenance = workload.provenance.clone();
    provenance.push(line);
    Workload {
        name: workload.name.clone(),
        functions: workload.functions.clone(),
        invocations: Vec::new().into(),
        burn_in: workload.burn_in,
        span: workload.span,
        provenance,
    }
}

/// One stream a function, by its name.
fn streams_of(workload: &Workload, kind: &str, seed: u64) -> Vec<Xoshiro256PlusPlus> {
    let streams = Streams::new(seed);
    workload
        .functions
        .iter()
        .map(|function| streams.stream(&format!("{kind}/{}", function.name), 0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::zipf::Job;

    fn workload() -> Workload {
        let job = Job { functions: 20, span: Duration::from_secs(3600), ..Job::standard(10_000, 1) };
        Workload { burn_in: Duration::from_secs(600), ..job.generate().unwrap() }
    }

    #[test]
    fn windows_side_by_side_hold_every_invocation_once() {
        let whole = workload();
        let cut = Duration::from_secs(1000);
        let (left, right) =
            (window(&whole, Duration::ZERO, cut).unwrap(), window(&whole, cut, whole.span).unwrap());
        left.validate().unwrap();
        right.validate().unwrap();
        assert_eq!(left.invocations.len() + right.invocations.len(), whole.invocations.len());
        let sums: Vec<u64> = left.counts().iter().zip(right.counts()).map(|(a, b)| a + b).collect();
        assert_eq!(sums, whole.counts());
        assert_eq!((left.burn_in, right.burn_in), (whole.burn_in, Duration::ZERO));
        assert_eq!(left.span + right.span, whole.span);
        assert_eq!(right.provenance.last().unwrap(), "window of 2600 s from 1000 s");
    }

    #[test]
    fn an_empty_window_is_refused() {
        let error = window(&workload(), Duration::from_secs(3600), Duration::SECOND).unwrap_err();
        assert_eq!(
            error.to_string(),
            "window: 1 s from 60 min; expected a length above zero and a start before 60 min"
        );
    }

    #[test]
    fn rates_scale_to_the_factor_and_whole_factors_scale_every_function_exactly() {
        let whole = workload();
        for factor in [0.3, 1.5, 3.0] {
            let scaled = scale_rate(&whole, factor, 2).unwrap();
            scaled.validate().unwrap();
            let found = scaled.invocations.len() as f64 / whole.invocations.len() as f64;
            assert!((found - factor).abs() < 0.02, "{found} for {factor}");
        }
        let tripled: Vec<u64> = whole.counts().iter().map(|count| 3 * count).collect();
        assert_eq!(scale_rate(&whole, 3.0, 2).unwrap().counts(), tripled);
    }

    #[test]
    fn thinning_by_one_changes_nothing_but_the_provenance() {
        let whole = workload();
        assert_eq!(thin(&whole, 1.0, 5).unwrap().hash(), whole.hash());
        assert_eq!(thin(&whole, 0.0, 5).unwrap().invocations.len(), 0);
    }

    #[test]
    fn compressing_keeps_every_invocation_and_shortens_the_rest() {
        let whole = workload();
        let fast = compress(&whole, 4.0).unwrap();
        fast.validate().unwrap();
        assert_eq!(fast.counts(), whole.counts());
        assert_eq!(fast.burn_in, Duration::from_secs(150));
    }
}
