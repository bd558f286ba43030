//! Verdicts on claims. Nothing is fitted: a claim states what the paper says and in which range a
//! result agrees; the verdict follows from the runs' values and their interval over seeds.
//!
//! | verdict | when |
//! |---|---|
//! | PASS | the whole 95 % interval lies in the range |
//! | FAIL | the whole interval lies outside |
//! | INCONCLUSIVE | the interval straddles an end of the range, there are fewer than five common seeds, or the tier is smaller than the claim needs |
//! | NOT-RUN | runs or values that it needs do not exist |
//!
//! Systems are compared seed by seed: within a seed, in every panel and function that is asked for;
//! what the claim takes of these (largest, smallest, mean) is that seed's value. One value is
//! summarised like its statistic, one taken of several by its median over seeds.

mod measured;

use crate::estimate::{Estimate, Estimator};
use crate::input::{ExperimentData, PointData};
use crate::metric::{self, Metric, Statistic, unit};
use configs::Tier;
use configs::claims::measured::Expectation as OfRows;
pub use configs::claims::{Claim, Comparison, Expectation, Functions, Measure, Range, Take};
use runs::Measurement;
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

/// The outcome of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Holds.
    Pass,
    /// Does not hold.
    Fail,
    /// Cannot be told yet.
    Inconclusive {
        /// What would tell.
        reason: String,
    },
    /// Was not tested.
    NotRun {
        /// What it needs.
        reason: String,
    },
}

impl Verdict {
    /// Every word, in the order of a table.
    pub const NAMES: [&'static str; 4] = ["PASS", "FAIL", "INCONCLUSIVE", "NOT-RUN"];

    /// The word shown.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pass => Self::NAMES[0],
            Self::Fail => Self::NAMES[1],
            Self::Inconclusive { .. } => Self::NAMES[2],
            Self::NotRun { .. } => Self::NAMES[3],
        }
    }

    /// Why it is not decided; nothing for PASS and FAIL.
    pub fn reason(&self) -> &str {
        match self {
            Self::Inconclusive { reason } | Self::NotRun { reason } => reason,
            Self::Pass | Self::Fail => "",
        }
    }
}

/// A claim with its verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The claim.
    pub claim: Claim,
    /// The verdict.
    pub verdict: Verdict,
    /// What was measured; for an order, of each system and the next the largest ratio (must be
    /// below 1).
    pub measured: Vec<Measured>,
    /// What stood in for something that the machine lacks.
    pub stand_ins: Vec<String>,
}

/// What claims are judged by.
#[derive(Clone, Debug, Default)]
pub struct Evidence<'a> {
    /// Experiments with their runs.
    pub experiments: Vec<&'a ExperimentData>,
    /// What experiments measured without any workload.
    pub measurements: Vec<&'a Measurement>,
    /// Why nothing was run of an experiment, by its id.
    pub not_run: BTreeMap<String, String>,
    /// Why an experiment measured nothing, by its id.
    pub unmeasured: BTreeMap<String, String>,
}

impl Judged {
    /// The range or order that must hold, for reading.
    pub fn bound(&self) -> String {
        let measure = &self.claim.measure;
        if let Some(expected) = &self.claim.measured {
            return match &expected.expectation {
                OfRows::Ratio { range, .. } => bound(*range, |v| format!("{}\u{a0}×", short(v))),
                OfRows::Share { range, .. } => bound(*range, percent),
                OfRows::Bound { range, .. } => bound(*range, |v| with_unit(v, expected.unit.text())),
            };
        }
        match &self.claim.expectation {
            Expectation::Speedup(c) => bound(c.range, |v| format!("{}\u{a0}×", short(v))),
            Expectation::Saving(c) => bound(c.range, percent),
            Expectation::Value { range, .. } => bound(*range, |v| of_metric(v, measure.metric)),
            Expectation::Ordering { systems } => systems.join(" < "),
        }
    }

    /// What the paper reports, for reading; nothing where it gives no number.
    pub fn published(&self) -> String {
        let Some(value) = self.claim.published else { return String::new() };
        if let Some(expected) = &self.claim.measured {
            return match &expected.expectation {
                OfRows::Ratio { .. } => format!("{}\u{a0}×", short(value)),
                OfRows::Share { .. } => percent(value),
                OfRows::Bound { .. } => with_unit(value, expected.unit.text()),
            };
        }
        match &self.claim.expectation {
            Expectation::Speedup(_) => format!("{}\u{a0}×", short(value)),
            Expectation::Saving(_) => percent(value),
            _ => of_metric(value, self.claim.measure.metric),
        }
    }
}

/// One measured quantity.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Such as `p99 end_to_end of reap+ / t-cxl`.
    pub what: String,
    /// Over the common seeds.
    pub estimate: Estimate,
    /// Unit of the value; a share is in percent.
    pub unit: &'static str,
}

impl Measured {
    /// Value, interval and number of seeds, for reading.
    pub fn text(&self) -> String {
        let write = |v: f64| short(if self.unit == "%" { v * 100.0 } else { v });
        let unit = if self.unit.is_empty() { String::new() } else { format!("\u{a0}{}", self.unit) };
        let estimate = &self.estimate;
        let interval = estimate.interval.map_or_else(
            || "no interval".to_owned(),
            |(low, high)| format!("{} to {}", write(low), write(high)),
        );
        format!("{}{unit} ({interval}, n = {})", write(estimate.value), estimate.n)
    }
}

fn with_unit(value: f64, unit: &str) -> String {
    if unit.is_empty() { short(value) } else { format!("{}\u{a0}{unit}", short(value)) }
}

/// With the metric's unit; a share in percent.
fn of_metric(value: f64, metric: Metric) -> String {
    match unit(metric) {
        "share" => percent(value),
        unit => with_unit(value, unit),
    }
}

fn percent(share: f64) -> String {
    format!("{}\u{a0}%", short(share * 100.0))
}

/// Three significant digits.
fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return crate::files::number(value);
    }
    let scale = 10f64.powi(2 - value.abs().log10().floor() as i32);
    crate::files::number((value * scale).round() / scale)
}

fn bound(range: Range, write: impl Fn(f64) -> String) -> String {
    match (range.at_least, range.at_most) {
        (Some(low), Some(high)) => format!("{} to {}", write(low), write(high)),
        (Some(low), None) => format!("at least {}", write(low)),
        (None, Some(high)) => format!("at most {}", write(high)),
        (None, None) => "any value".into(),
    }
}

/// Judges claims by runs alone; a claim about another experiment is NOT-RUN.
pub fn judge<D: Borrow<ExperimentData>>(claims: &[Claim], experiments: &[D]) -> Vec<Judged> {
    let experiments = experiments.iter().map(Borrow::borrow).collect();
    judge_by(claims, &Evidence { experiments, ..Evidence::default() })
}

/// Judges claims by what is there; what is not there is NOT-RUN, with the reason.
pub fn judge_by(claims: &[Claim], evidence: &Evidence<'_>) -> Vec<Judged> {
    let judged = |claim: &Claim| match (&claim.not_run, &claim.measured) {
        (Some(reason), _) => Judged {
            claim: claim.clone(),
            verdict: Verdict::NotRun { reason: reason.clone() },
            measured: Vec::new(),
            stand_ins: Vec::new(),
        },
        (None, Some(expected)) => measured::judge(claim, expected, evidence),
        (None, None) => by_runs(claim, evidence),
    };
    claims.iter().map(judged).collect()
}

fn by_runs(claim: &Claim, evidence: &Evidence<'_>) -> Judged {
    let found = evidence.experiments.iter().find(|one| one.id == claim.experiment);
    let found = found.ok_or_else(|| format!("experiment {} was not run", claim.experiment));
    let outcome = found.and_then(|data| Ok((*data, measure(claim, data)?)));
    let (verdict, measured) = match outcome {
        Err(reason) => {
            // Where nothing was run at all, what to do about it says more than which point is missing.
            let all =
                evidence.not_run.get(&claim.experiment).map(|how| format!("{} was {how}", claim.experiment));
            let failed = found_failures(claim, evidence);
            let reason = if failed.is_empty() { all.unwrap_or(reason) } else { reason };
            (Verdict::NotRun { reason }, Vec::new())
        }
        Ok((data, compared)) => {
            let mut verdict = decide(&compared, claim, data);
            if let Verdict::Inconclusive { reason } = &mut verdict {
                for failed in found_failures(claim, evidence) {
                    reason.push_str(&format!("; {failed}"));
                }
            }
            (verdict, compared.into_iter().map(|(measured, _)| measured).collect())
        }
    };
    let stand_ins = Vec::new();
    Judged { claim: claim.clone(), verdict, measured, stand_ins }
}

/// The points of a claim's systems whose runs failed, each with the reason.
fn found_failures(claim: &Claim, evidence: &Evidence<'_>) -> Vec<String> {
    let systems = claim.expectation.systems();
    let Some(data) = evidence.experiments.iter().find(|one| one.id == claim.experiment) else {
        return Vec::new();
    };
    let meant = |point: &&PointData| systems.contains(&point.system.as_str());
    let told = |point: &PointData| Some(format!("{}: {}", point.label, point.missing.as_ref()?));
    data.points.iter().filter(meant).filter_map(told).collect()
}

/// Fails if one comparison fails, passes if all pass.
fn decide(compared: &[(Measured, Range)], claim: &Claim, data: &ExperimentData) -> Verdict {
    let tier = Tier::ALL.into_iter().find(|t| t.name() == data.tier);
    if tier.is_some_and(|tier| tier < claim.tier) {
        let reason = format!("needs tier {}, these runs are of tier {}", claim.tier.name(), data.tier);
        return Verdict::Inconclusive { reason };
    }
    decide_all(compared)
}

fn decide_all(compared: &[(Measured, Range)]) -> Verdict {
    let verdicts: Vec<Verdict> = compared.iter().map(decide_one).collect();
    let undecided = verdicts.iter().find(|v| matches!(v, Verdict::Inconclusive { .. }));
    match (verdicts.contains(&Verdict::Fail), undecided) {
        (true, _) => Verdict::Fail,
        (false, Some(undecided)) => undecided.clone(),
        (false, None) => Verdict::Pass,
    }
}

fn decide_one((measured, range): &(Measured, Range)) -> Verdict {
    let n = measured.estimate.n;
    let outside = |low: f64, high: f64| {
        range.at_least.is_some_and(|b| high < b) || range.at_most.is_some_and(|b| low > b)
    };
    match measured.estimate.interval {
        None => {
            let estimator = measured.estimate.estimator;
            let what = if estimator == Estimator::MedianRanks { "measurements" } else { "common seeds" };
            let reason = format!("{n} {what}; an interval needs at least {}", estimator.least());
            Verdict::Inconclusive { reason }
        }
        Some((low, high)) if range.contains(low) && range.contains(high) => Verdict::Pass,
        Some((low, high)) if outside(low, high) => Verdict::Fail,
        Some(_) => {
            let ranks = measured.estimate.estimator == Estimator::MedianRanks;
            let more = if ranks { "measure more often" } else { "run more seeds" };
            let reason = format!("the interval (n = {n}) straddles the bound: {more}");
            Verdict::Inconclusive { reason }
        }
    }
}

fn measure(claim: &Claim, data: &ExperimentData) -> Result<Vec<(Measured, Range)>, String> {
    let asked = &claim.measure;
    let starts: Vec<_> = asked.starts.iter().map(|s| s.name()).collect();
    let starts = if starts.is_empty() { String::new() } else { format!(" ({} starts)", starts.join(", ")) };
    let metric = match asked.statistic {
        Statistic::Total => asked.metric.name(),
        statistic => format!("{} {}", statistic.name(), asked.metric.name()),
    };
    let of = |systems: &str| format!("{metric} of {systems}{starts}");
    match &claim.expectation {
        Expectation::Speedup(c) => {
            let cells = Cells::of(asked, data, &against(c))?;
            let what = of(&format!("{} / {}", c.rivals.join(", "), c.system));
            Ok(vec![(cells.taken(c.take, |x, y| y / x, what, "×")?, c.range)])
        }
        Expectation::Saving(c) => {
            let cells = Cells::of(asked, data, &against(c))?;
            let what = of(&format!("{} less than {}", c.system, c.rivals.join(", ")));
            Ok(vec![(cells.taken(c.take, |x, y| 1.0 - x / y, what, "%")?, c.range)])
        }
        Expectation::Value { system, take, range } => {
            let cells = Cells::of(asked, data, &[(system, system)])?;
            let unit = if unit(asked.metric) == "share" { "%" } else { unit(asked.metric) };
            Ok(vec![(cells.taken(*take, |x, _| x, of(system), unit)?, *range)])
        }
        Expectation::Ordering { systems } => {
            // The largest number below 1: values that are equal do not rise.
            let below = Range { at_least: None, at_most: Some(1.0 - f64::EPSILON / 2.0) };
            systems
                .windows(2)
                .map(|pair| {
                    let cells = Cells::of(asked, data, &[(&pair[0], &pair[1])])?;
                    let what = of(&format!("{} / {}", pair[0], pair[1]));
                    Ok((cells.taken(Take::Max, |x, y| x / y, what, "×")?, below))
                })
                .collect()
        }
    }
}

fn against(comparison: &Comparison) -> Vec<(&str, &str)> {
    comparison.rivals.iter().map(|rival| (comparison.system.as_str(), rival.as_str())).collect()
}

/// Pairs of values to compare: of two systems in the same panel, function and seed.
struct Cells {
    by_seed: BTreeMap<u64, Vec<(f64, f64)>>,
    /// Pairs that every seed should have.
    each: usize,
    /// For the estimate of a single pair.
    estimator: Estimator,
}

impl Cells {
    fn of(asked: &Measure, data: &ExperimentData, pairs: &[(&str, &str)]) -> Result<Self, String> {
        let mut by_seed: BTreeMap<u64, Vec<(f64, f64)>> = BTreeMap::new();
        let mut seeds: Option<BTreeSet<u64>> = None;
        let mut each = 0;
        for &(a, b) in pairs {
            for (a, b) in points(asked, data, a, b)? {
                for point in [a, b] {
                    let have: BTreeSet<u64> = point.seeds.iter().map(|s| s.seed).collect();
                    seeds = Some(seeds.map_or_else(|| have.clone(), |s| &s & &have));
                }
                for function in functions(asked, a, b) {
                    each += 1;
                    let (of_a, of_b) = (values(asked, a, function), values(asked, b, function));
                    for (seed, x) in of_a {
                        let pair = of_b.get(&seed).map(|&y| (x, y));
                        by_seed.entry(seed).or_default().extend(pair);
                    }
                }
            }
        }
        let common = seeds.unwrap_or_default();
        by_seed.retain(|seed, _| common.contains(seed));
        Ok(Self { by_seed, each, estimator: metric::over_seeds(asked.statistic) })
    }

    fn taken(
        &self,
        take: Take,
        combine: impl Fn(f64, f64) -> f64,
        what: String,
        unit: &'static str,
    ) -> Result<Measured, String> {
        let mut without = 0;
        let mut per_seed = Vec::new();
        for pairs in self.by_seed.values() {
            let combined: Vec<f64> =
                pairs.iter().map(|&(x, y)| combine(x, y)).filter(|v| v.is_finite()).collect();
            without += self.each - combined.len();
            per_seed.extend(take.of(&combined));
        }
        let several = self.each > 1;
        let estimator = if several { Estimator::MedianBootstrap } else { self.estimator };
        let estimate = estimator.of(&per_seed).ok_or_else(|| format!("no seed has a {what}"))?;
        let mut what = if several { format!("{} {what}", word(take)) } else { what };
        if without > 0 {
            let all = self.each * self.by_seed.len();
            what.push_str(&format!("; {without} of {all} comparisons had no value"));
        }
        Ok(Measured { what, estimate, unit })
    }
}

const fn word(take: Take) -> &'static str {
    match take {
        Take::Max => "largest",
        Take::Min => "smallest",
        Take::Mean => "average",
    }
}

/// The two systems' points in every panel that is asked for.
fn points<'a>(
    asked: &Measure,
    data: &'a ExperimentData,
    a: &str,
    b: &str,
) -> Result<Vec<(&'a PointData, &'a PointData)>, String> {
    let wanted = |p: &&PointData| asked.panels.is_empty() || asked.panels.contains(&p.panel);
    let of = |system: &str| data.points.iter().filter(wanted).filter(|p| p.system == system).collect();
    let (of_a, of_b): (Vec<&PointData>, Vec<&PointData>) = (of(a), of(b));
    for (system, points) in [(a, &of_a), (b, &of_b)] {
        if points.is_empty() {
            return Err(format!("{} has no point of {system}", data.id));
        }
        if let Some(lacking) = points.iter().find(|p| p.seeds.is_empty()) {
            let why = lacking.missing.as_ref().map_or_else(String::new, |why| format!(": {why}"));
            return Err(format!("{} was not run{why}", lacking.label));
        }
    }
    of_a.into_iter()
        .map(|p| {
            let other = of_b.iter().find(|q| q.panel == p.panel && q.swept == p.swept);
            let other = other.ok_or_else(|| format!("{} has no point of {b} beside {}", data.id, p.label))?;
            Ok((p, *other))
        })
        .collect()
}

/// `None` stands for all functions together.
fn functions<'a>(asked: &'a Measure, a: &'a PointData, b: &'a PointData) -> Vec<Option<&'a str>> {
    match &asked.functions {
        Functions::Together => vec![None],
        Functions::Each => a.functions().union(&b.functions()).map(|f| Some(*f)).collect(),
        Functions::Named(names) => names.iter().map(|f| Some(f.as_str())).collect(),
    }
}

fn values(asked: &Measure, point: &PointData, function: Option<&str>) -> BTreeMap<u64, f64> {
    match function {
        None if !asked.starts.is_empty() => {
            point.values_of_starts(asked.metric, asked.statistic, &asked.starts)
        }
        _ => point.values(asked.metric, asked.statistic, function),
    }
}

#[cfg(test)]
mod tests;
