//! Reading what a claim expects of a measurement.

use super::measured::{Expectation, Expected, Unit, Value};
use super::read::{range, take, word};
use crate::section::{Parse, Section};
use crate::tree::join;
use crate::values;

/// `measured = { metric = "…", unit = "…", … }` and `expect.ratio`, `expect.bound` or `expect.share`.
pub(crate) fn expected(section: &Section<'_, '_>) -> Option<Expected> {
    let of = section.optional_section("measured")?;
    let units = Unit::ALL.map(|unit| {
        let word = if unit == Unit::One { "count" } else { unit.text() };
        (word.to_owned(), unit)
    });
    let unit = word(&of, "unit", &units, true).unwrap_or(Unit::One);
    let values = [Value::Median, Value::P99].map(|value| (value.name().to_owned(), value));
    let expected = Expected {
        metric: of.get("metric", values::text),
        unit,
        parts: texts(&of, "parts"),
        panels: texts(&of, "panels"),
        value: word(&of, "value", &values, false).unwrap_or(Value::Median),
        enough: of.optional("enough", values::count),
        without_stand_in: of.optional("without_stand_in", values::flag).unwrap_or(false),
        expectation: expectation(section, unit)?,
    };
    if let (Expectation::Share { .. }, []) = (&expected.expectation, &expected.parts[..]) {
        of.problem("parts", "a share is that of some parts: name them");
    }
    of.finish();
    Some(expected)
}

fn expectation(section: &Section<'_, '_>, unit: Unit) -> Option<Expectation> {
    let (kind, node) = section.choice("expect", &["ratio", "bound", "share"])?;
    let inner = Section::of(section.checker, &join(&join(&section.path, "expect"), kind), node);
    let one_of_several = || inner.has("take").then(|| take(&inner));
    let expectation = match kind {
        "ratio" => {
            let rivals = texts(&inner, "rivals");
            if rivals.is_empty() {
                inner.problem("rivals", "no rival to compare with");
            }
            Expectation::Ratio {
                subject: inner.get("subject", values::text),
                rivals,
                take: take(&inner),
                range: range(&inner, values::number),
            }
        }
        "bound" => {
            let parse: Parse<f64> = match unit {
                Unit::Milliseconds => |value| values::duration(value).map(|time| time.as_millis_f64()),
                Unit::Seconds => |value| values::duration(value).map(|time| time.as_secs_f64()),
                Unit::MiB => |value| values::size(value).map(|size| size.as_gib_f64() * 1024.0),
                Unit::Percent | Unit::One => values::number,
            };
            Expectation::Bound {
                subjects: texts(&inner, "subjects"),
                take: one_of_several(),
                range: range(&inner, parse),
            }
        }
        _ => {
            let of = texts(&inner, "of");
            if of.is_empty() {
                inner.problem("of", "a share of nothing: name the parts that are the whole");
            }
            Expectation::Share {
                subjects: texts(&inner, "subjects"),
                of,
                take: one_of_several(),
                range: range(&inner, values::number),
            }
        }
    };
    inner.finish();
    Some(expectation)
}

fn texts(section: &Section<'_, '_>, key: &'static str) -> Vec<String> {
    section.list(key, values::text).into_iter().map(|(text, _)| text).collect()
}
