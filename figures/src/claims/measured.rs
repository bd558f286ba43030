//! Verdicts on claims about measurements: rows with a median and its 95 % interval instead of seeds.
//!
//! The interval of a sum of parts is the sum of the parts' intervals, that of a ratio goes from the smallest possible
//! ratio to the largest: both are wider than they need be, so a PASS or FAIL is never by their doing.

use super::{Evidence, Judged, Measured, Verdict, decide_all};
use crate::estimate::{Estimate, Estimator};
use configs::claims::measured::{Expectation, Expected, Unit, Value, is_meant};
use configs::claims::{Claim, Range, Take};
use runs::{MeasuredRow, Measurement};

/// A value of one subject in one panel.
#[derive(Clone, Copy, Debug)]
struct Cell {
    value: f64,
    interval: Option<(f64, f64)>,
    n: u64,
}

impl Cell {
    fn times(self, scale: f64) -> Self {
        let interval = self.interval.map(|(low, high)| (low * scale, high * scale));
        Self { value: self.value * scale, interval, ..self }
    }
}

/// Judges a claim about a measurement.
pub(super) fn judge(claim: &Claim, expected: &Expected, evidence: &Evidence<'_>) -> Judged {
    let judged =
        |verdict, measured| Judged { claim: claim.clone(), verdict, measured, stand_ins: Vec::new() };
    let id = &claim.experiment;
    let Some(measurement) = evidence.measurements.iter().find(|one| one.experiment == *id) else {
        let why = evidence.unmeasured.get(id).map_or_else(String::new, |why| format!(": {why}"));
        return judged(Verdict::NotRun { reason: format!("{id} was not measured{why}") }, Vec::new());
    };
    let stand_ins = measurement.stand_ins.clone();
    match measure(expected, measurement) {
        Err(reason) => Judged { stand_ins, ..judged(Verdict::NotRun { reason }, Vec::new()) },
        Ok(compared) => {
            let verdict = undecided(claim, expected, measurement).unwrap_or_else(|| decide_all(&compared));
            let measured = compared.into_iter().map(|(measured, _)| measured).collect();
            Judged { stand_ins, ..judged(verdict, measured) }
        }
    }
}

/// Why the measurement as a whole decides nothing.
fn undecided(claim: &Claim, expected: &Expected, measurement: &Measurement) -> Option<Verdict> {
    let reason = if measurement.tier < claim.tier {
        format!("needs tier {}, this was measured at tier {}", claim.tier.name(), measurement.tier.name())
    } else if expected.without_stand_in && !measurement.stand_ins.is_empty() {
        format!("what stood in decides it: {}", measurement.stand_ins.join("; "))
    } else if measurement.environment.debug_build
        && matches!(expected.unit, Unit::Milliseconds | Unit::Seconds)
    {
        "measured by a debug build, whose times mean nothing".to_owned()
    } else {
        return None;
    };
    Some(Verdict::Inconclusive { reason })
}

fn measure(expected: &Expected, of: &Measurement) -> Result<Vec<(Measured, Range)>, String> {
    let panels = panels(expected, of)?;
    let mut found = Vec::new();
    let what = |subject: &str, panel: &str| {
        let parts = if expected.parts.is_empty() {
            String::new()
        } else {
            format!(" ({})", expected.parts.join(" + "))
        };
        let panel = if panel.is_empty() { String::new() } else { format!(", {panel}") };
        let value = if expected.value == Value::P99 { "p99 " } else { "" };
        format!("{value}{}{parts} of {subject}{panel}", expected.metric)
    };
    match &expected.expectation {
        Expectation::Ratio { subject, rivals, take, range } => {
            let mut ratios = Vec::new();
            for panel in &panels {
                let own = meant(expected, of, panel, subject)?;
                for rival in rivals {
                    let other =
                        cell(expected, of, panel, &meant(expected, of, panel, rival)?, &expected.parts)?;
                    let mine = cell(expected, of, panel, &own, &expected.parts)?;
                    ratios.push((ratio(other, mine), format!("{rival} / {}", what(&own, panel))));
                }
            }
            found.push((taken(*take, &ratios, "×")?, *range));
        }
        Expectation::Bound { subjects, take, range } => {
            let unit = expected.unit.text();
            // Shares are judged, and told in percent.
            let scale = if expected.unit == Unit::Percent { 0.01 } else { 1.0 };
            let cells = each(expected, of, &panels, subjects, |panel, subject| {
                let cell = cell(expected, of, panel, subject, &expected.parts)?;
                Ok((cell.times(scale), what(subject, panel)))
            })?;
            let of_share = |end: Option<f64>| end.map(|end| end * scale);
            let range = Range { at_least: of_share(range.at_least), at_most: of_share(range.at_most) };
            found.extend(judged_each(*take, cells, unit, range)?);
        }
        Expectation::Share { subjects, of: whole, take, range } => {
            let cells = each(expected, of, &panels, subjects, |panel, subject| {
                let part = cell(expected, of, panel, subject, &expected.parts)?;
                let all = cell(expected, of, panel, subject, whole)?;
                Ok((ratio(part, all), format!("share: {}", what(subject, panel))))
            })?;
            found.extend(judged_each(*take, cells, "%", *range)?);
        }
    }
    Ok(found)
}

/// One comparison of what is taken of all, or one of each.
fn judged_each(
    take: Option<Take>,
    cells: Vec<(Cell, String)>,
    unit: &'static str,
    range: Range,
) -> Result<Vec<(Measured, Range)>, String> {
    match take {
        Some(take) => Ok(vec![(taken(take, &cells, unit)?, range)]),
        None => cells.into_iter().map(|cell| Ok((taken(Take::Mean, &[cell], unit)?, range))).collect(),
    }
}

/// The panels that are asked for, or all that have rows of the metric.
fn panels<'a>(expected: &'a Expected, of: &'a Measurement) -> Result<Vec<&'a str>, String> {
    let mut known: Vec<&str> = Vec::new();
    for row in of.rows.iter().filter(|row| row.metric == expected.metric) {
        if !known.contains(&row.panel.as_str()) {
            known.push(&row.panel);
        }
    }
    if known.is_empty() {
        return Err(format!("{} measured no {}{}", of.experiment, expected.metric, failed(of.rows.iter())));
    }
    if expected.panels.is_empty() {
        return Ok(known);
    }
    match expected.panels.iter().find(|panel| !known.contains(&panel.as_str())) {
        Some(lacking) => Err(format!("{} measured nothing in \"{lacking}\"", of.experiment)),
        None => Ok(expected.panels.iter().map(String::as_str).collect()),
    }
}

/// Notes of rows that could not be measured, each once.
fn failed<'a>(rows: impl Iterator<Item = &'a MeasuredRow>) -> String {
    let mut notes: Vec<String> = Vec::new();
    for row in rows.filter(|row| row.median.is_none()) {
        let note = row.note.strip_prefix("NOT-RUN: ").unwrap_or(&row.note);
        let told = format!("{}: {note}", row.subject);
        if !note.is_empty() && !notes.contains(&told) {
            notes.push(told);
        }
    }
    if notes.is_empty() { String::new() } else { format!(": {}", notes.join("; ")) }
}

fn rows<'a>(
    expected: &'a Expected,
    of: &'a Measurement,
    panel: &'a str,
) -> impl Iterator<Item = &'a MeasuredRow> {
    of.rows.iter().filter(move |row| row.metric == expected.metric && row.panel == panel)
}

/// The subject that a pattern means.
fn meant(expected: &Expected, of: &Measurement, panel: &str, pattern: &str) -> Result<String, String> {
    rows(expected, of, panel)
        .find(|row| is_meant(pattern, &row.subject))
        .map(|row| row.subject.clone())
        .ok_or_else(|| format!("{} measured no {} of {pattern}", of.experiment, expected.metric))
}

/// Something of every subject that is asked for, or of all, in every panel.
fn each<T>(
    expected: &Expected,
    of: &Measurement,
    panels: &[&str],
    patterns: &[String],
    make: impl Fn(&str, &str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let mut made = Vec::new();
    for panel in panels {
        let mut subjects: Vec<&str> = Vec::new();
        for row in rows(expected, of, panel) {
            let asked = patterns.is_empty() || patterns.iter().any(|pattern| is_meant(pattern, &row.subject));
            if asked && !subjects.contains(&row.subject.as_str()) {
                subjects.push(&row.subject);
            }
        }
        for subject in subjects {
            made.push(make(panel, subject)?);
        }
    }
    if made.is_empty() {
        return Err(format!("{} measured no {} of {}", of.experiment, expected.metric, patterns.join(", ")));
    }
    Ok(made)
}

/// The sum of a subject's parts in a panel; of all its parts where none is named.
fn cell(
    expected: &Expected,
    of: &Measurement,
    panel: &str,
    subject: &str,
    parts: &[String],
) -> Result<Cell, String> {
    let own = || rows(expected, of, panel).filter(|row| row.subject == subject);
    let wanted: Vec<&MeasuredRow> =
        own().filter(|row| parts.is_empty() || parts.contains(&row.part)).collect();
    if wanted.is_empty() {
        return Err(format!("{subject} has no {} ({}){}", expected.metric, parts.join(", "), failed(own())));
    }
    let mut sum: Option<Cell> = None;
    for row in wanted {
        let value = match expected.value {
            Value::Median => row.median,
            Value::P99 => row.p99,
        };
        let Some(value) = value else {
            let why = failed(std::iter::once(row));
            let few = format!(": {} measurements are too few for a p99", row.n);
            let why = if why.is_empty() { few } else { why };
            return Err(format!("{subject} has no {} {}{why}", expected.value.name(), expected.metric));
        };
        if row.unit != expected.unit.text() {
            return Err(format!(
                "{} is in \"{}\", not in \"{}\"",
                expected.metric,
                row.unit,
                expected.unit.text()
            ));
        }
        let interval = match expected.value {
            _ if expected.enough.is_some_and(|enough| row.n >= u64::from(enough)) => Some((value, value)),
            Value::Median => row.interval,
            // Its own interval would need many more measurements.
            Value::P99 => None,
        };
        let one = Cell { value, interval, n: row.n };
        sum = Some(sum.map_or(one, |sum| Cell {
            value: sum.value + one.value,
            interval: sum.interval.zip(one.interval).map(|(a, b)| (a.0 + b.0, a.1 + b.1)),
            n: sum.n.min(one.n),
        }));
    }
    sum.ok_or_else(|| format!("{subject} has no {}", expected.metric))
}

fn ratio(above: Cell, below: Cell) -> Cell {
    Cell {
        value: above.value / below.value,
        interval: above.interval.zip(below.interval).map(|(a, b)| (a.0 / b.1, a.1 / b.0)),
        n: above.n.min(below.n),
    }
}

/// The largest, smallest or mean of some values, with the same of their intervals.
fn taken(take: Take, cells: &[(Cell, String)], unit: &'static str) -> Result<Measured, String> {
    let finite: Vec<&(Cell, String)> = cells.iter().filter(|(cell, _)| cell.value.is_finite()).collect();
    let of = |pick: &dyn Fn(&Cell) -> Option<f64>| {
        let values: Option<Vec<f64>> = finite.iter().map(|(cell, _)| pick(cell)).collect();
        take.of(&values?)
    };
    let value =
        of(&|cell| Some(cell.value)).ok_or_else(|| "nothing that can be divided was measured".to_owned())?;
    let low = of(&|cell| Some(cell.interval?.0));
    let high = of(&|cell| Some(cell.interval?.1));
    let word = match take {
        Take::Max => "largest ",
        Take::Min => "smallest ",
        Take::Mean => "mean ",
    };
    let what = match &finite[..] {
        [(_, what)] => what.clone(),
        several => {
            let names: Vec<&str> = several.iter().map(|(_, what)| what.as_str()).collect();
            format!("{word}of {}", names.join("; "))
        }
    };
    let n = finite.iter().map(|(cell, _)| cell.n).min().unwrap_or(0);
    let n = usize::try_from(n).unwrap_or(usize::MAX);
    let estimate = Estimate { value, interval: low.zip(high), n, estimator: Estimator::MedianRanks };
    Ok(Measured { what, estimate, unit })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::judge_by;
    use crate::synthetic;
    use configs::{Measure, Tier};
    use runs::Environment;

    fn row(subject: &str, part: &str, value: f64, spread: f64) -> MeasuredRow {
        MeasuredRow {
            subject: subject.into(),
            part: part.into(),
            metric: "start".into(),
            unit: "ms".into(),
            n: 30,
            median: Some(value),
            interval: Some((value - spread, value + spread)),
            ..MeasuredRow::default()
        }
    }

    fn measurement(rows: Vec<MeasuredRow>) -> Measurement {
        Measurement {
            experiment: "e08".into(),
            tier: Tier::Kick,
            measure: Measure::Starts { functions: Vec::new(), starts: 30 },
            version: 1,
            environment: Environment { debug_build: false, ..Environment::default() },
            command: Vec::new(),
            started_unix_s: 0,
            wall_s: 0.0,
            warnings: Vec::new(),
            wrong: Vec::new(),
            stand_ins: Vec::new(),
            facilities: Default::default(),
            made_with: Default::default(),
            charts: Vec::new(),
            rows,
        }
    }

    fn expected(expectation: Expectation) -> Expected {
        Expected {
            metric: "start".into(),
            unit: Unit::Milliseconds,
            parts: Vec::new(),
            panels: Vec::new(),
            value: Value::Median,
            enough: None,
            without_stand_in: false,
            expectation,
        }
    }

    fn faster(at_least: f64) -> Expectation {
        Expectation::Ratio {
            subject: "attach".into(),
            rivals: vec!["boot".into()],
            take: Take::Min,
            range: Range { at_least: Some(at_least), at_most: None },
        }
    }

    fn verdict(expected: &Expected, measurement: &Measurement) -> Judged {
        let nothing = configs::claims::Expectation::Ordering { systems: Vec::new() };
        let claim = synthetic::claim("g1", synthetic::peak(), nothing);
        let claim = Claim { experiment: "e08".into(), measured: Some(expected.clone()), ..claim };
        let evidence = Evidence { measurements: vec![measurement], ..Evidence::default() };
        judge_by(&[claim], &evidence).remove(0)
    }

    #[test]
    fn a_ratio_passes_fails_or_straddles_with_its_widest_interval() {
        // 100 ± 10 over 10 ± 1: from 90 / 11 to 110 / 9.
        let rows =
            vec![row("boot", "", 100.0, 10.0), row("attach", "a", 6.0, 0.5), row("attach", "b", 4.0, 0.5)];
        let of = measurement(rows);
        let judged = verdict(&expected(faster(8.0)), &of);
        assert_eq!(judged.verdict, Verdict::Pass, "{judged:?}");
        let estimate = &judged.measured[0].estimate;
        assert_eq!(
            (estimate.value, estimate.interval, estimate.n),
            (10.0, Some((90.0 / 11.0, 110.0 / 9.0)), 30)
        );
        assert_eq!(verdict(&expected(faster(13.0)), &of).verdict, Verdict::Fail);
        assert!(verdict(&expected(faster(10.0)), &of).verdict.reason().contains("straddles"));
        let part = Expected { parts: vec!["a".into()], ..expected(faster(8.0)) };
        assert!(
            verdict(&part, &of).verdict.reason().contains("boot has no start (a)"),
            "a part that is not there"
        );
    }

    #[test]
    fn a_share_is_of_the_named_parts_and_each_subject_must_lie_in_the_range() {
        let share = Expectation::Share {
            subjects: Vec::new(),
            of: vec!["read".into(), "written".into()],
            take: None,
            range: Range { at_least: Some(0.24), at_most: Some(0.9) },
        };
        let parts = vec!["read".to_owned()];
        let exact = Expected { enough: Some(1), parts, ..expected(share) };
        let rows = |read| {
            let of = |part, value| MeasuredRow { n: 1, interval: None, ..row("crypto", part, value, 0.0) };
            vec![of("read", read), of("written", 1.0), of("untouched", 100.0)]
        };
        let judged = verdict(&exact, &measurement(rows(3.0)));
        assert_eq!((judged.verdict, judged.measured[0].estimate.value), (Verdict::Pass, 0.75));
        assert_eq!(verdict(&exact, &measurement(rows(99.0))).verdict, Verdict::Fail);
    }

    #[test]
    fn percents_are_told_as_percents() {
        let range = Range { at_least: Some(24.0), at_most: Some(90.0) };
        let bound = Expectation::Bound { subjects: Vec::new(), take: None, range };
        let expected = Expected { unit: Unit::Percent, enough: Some(1), ..expected(bound) };
        let rows = vec![MeasuredRow { unit: "%".into(), ..row("crypto", "", 42.8, 0.0) }];
        let judged = verdict(&expected, &measurement(rows));
        assert_eq!(judged.verdict, Verdict::Pass, "{judged:?}");
        assert!(judged.measured[0].text().starts_with("42.8\u{a0}%"), "{}", judged.measured[0].text());
    }

    #[test]
    fn what_was_not_measured_says_why_and_few_measurements_decide_nothing() {
        let at_most = |most| Expectation::Bound {
            subjects: vec!["att*".into()],
            take: None,
            range: Range { at_least: None, at_most: Some(most) },
        };
        let none =
            MeasuredRow { median: None, note: "NOT-RUN: no kernel".into(), ..row("attach", "", 0.0, 0.0) };
        let reason = verdict(&expected(at_most(1.0)), &measurement(vec![none])).verdict.reason().to_owned();
        assert!(reason.contains("no kernel"), "{reason}");
        let few = MeasuredRow { n: 3, interval: None, ..row("attach", "", 0.5, 0.0) };
        let judged = verdict(&expected(at_most(1.0)), &measurement(vec![few]));
        assert!(judged.verdict.reason().starts_with("3 "), "{judged:?}");
        let evidence =
            Evidence { unmeasured: [("e08".to_owned(), "no root".to_owned())].into(), ..Evidence::default() };
        let claim = Claim { measured: Some(expected(at_most(1.0))), ..judged.claim };
        assert_eq!(judge_by(&[claim], &evidence)[0].verdict.reason(), "e08 was not measured: no root");
    }

    #[test]
    fn a_stand_in_is_told_and_decides_nothing_where_it_must_not() {
        let mut of = measurement(vec![row("boot", "", 100.0, 1.0), row("attach", "", 1.0, 0.1)]);
        of.stand_ins.push("software emulation".into());
        let judged = verdict(&expected(faster(8.0)), &of);
        assert_eq!((judged.verdict, judged.stand_ins.len()), (Verdict::Pass, 1));
        let strict = Expected { without_stand_in: true, ..expected(faster(8.0)) };
        assert!(verdict(&strict, &of).verdict.reason().contains("software emulation"));
        of.stand_ins.clear();
        of.environment.debug_build = true;
        assert!(verdict(&expected(faster(8.0)), &of).verdict.reason().contains("debug"));
    }
}
