//! What a function's answer must be.
//!
//! An expectation points at one value of the answer and says what it must be: equal, near, or in a range. Digests
//! of bytes that a library is bound to produce (AES, JSON) are compared exactly; sizes, mean levels, ranks and
//! scores are compared with the tolerance that the manifest states, because the last bits of JPEG or of floating
//! point depend on a library's version and on the processor.

use serde::Deserialize;
use serde_json::Value;

/// One demand on an answer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Expect {
    at: String,
    demand: Demand,
}

#[derive(Clone, Debug, PartialEq)]
enum Demand {
    Equal(Value),
    Near(Value, f64),
    Between(f64, f64),
}

/// As in the manifest.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    at: String,
    equal: Option<Value>,
    near: Option<Value>,
    by: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
}

impl TryFrom<Written> for Expect {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { at, equal, near, by, min, max } = written;
        if !at.is_empty() && !at.starts_with('/') {
            return Err(format!("`at` is a path such as \"/mean/0\", not {at:?}"));
        }
        let demand = match (equal, near, by, min, max) {
            (Some(value), None, None, None, None) => Demand::Equal(value),
            (None, Some(value), Some(by), None, None) if by >= 0.0 => Demand::Near(value, by),
            (None, None, None, min, max) if min.is_some() || max.is_some() => {
                Demand::Between(min.unwrap_or(f64::NEG_INFINITY), max.unwrap_or(f64::INFINITY))
            }
            _ => {
                return Err(format!(
                    "{at}: an expectation is `equal`, or `near` with `by`, or `min` and `max` (one of them may be left out)"
                ));
            }
        };
        Ok(Self { at, demand })
    }
}

impl Expect {
    /// What is wrong with `output`, if anything.
    #[must_use]
    pub fn fault(&self, output: &Value) -> Option<String> {
        let Some(found) = output.pointer(&self.at) else {
            return Some(format!("{}: not in the answer", self.at));
        };
        let (holds, wanted) = match &self.demand {
            Demand::Equal(value) => (found == value, value.to_string()),
            Demand::Near(value, by) => (near(found, value, *by), format!("{value} within {by}")),
            Demand::Between(min, max) => (
                found.as_f64().is_some_and(|number| (*min..=*max).contains(&number)),
                format!("{min} to {max}"),
            ),
        };
        (!holds).then(|| format!("{}: {found}, expected {wanted}", self.at))
    }
}

/// Whether two numbers, or all numbers of two lists of the same length, differ by at most `by`.
fn near(found: &Value, wanted: &Value, by: f64) -> bool {
    match (found, wanted) {
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found.iter().zip(wanted).all(|(found, wanted)| near(found, wanted, by))
        }
        _ => match (found.as_f64(), wanted.as_f64()) {
            (Some(found), Some(wanted)) => (found - wanted).abs() <= by,
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expect(text: &str) -> Result<Expect, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn answers_are_told_from_wrong_ones() {
        let output = serde_json::json!({"digest": "ab", "mean": [10.0, 20.4], "count": 3, "flag": true});
        let holds = [
            "at = '/digest'\nequal = 'ab'",
            "at = '/flag'\nequal = true",
            "at = '/mean'\nnear = [10, 20]\nby = 0.5",
            "at = '/mean/1'\nnear = 20.4\nby = 0",
            "at = '/count'\nmin = 3\nmax = 3",
            "at = '/count'\nmax = 4",
        ];
        for text in holds {
            assert_eq!(expect(text).unwrap().fault(&output), None, "{text}");
        }
        let fails = [
            ("at = '/digest'\nequal = 'ac'", "/digest: \"ab\", expected \"ac\""),
            ("at = '/mean'\nnear = [10, 20]\nby = 0.3", "/mean: [10.0,20.4], expected [10,20] within 0.3"),
            ("at = '/mean'\nnear = [10]\nby = 9", "/mean: [10.0,20.4], expected [10] within 9"),
            ("at = '/digest'\nnear = 1\nby = 9", "/digest: \"ab\", expected 1 within 9"),
            ("at = '/count'\nmin = 4", "/count: 3, expected 4 to inf"),
            ("at = '/no'\nequal = 1", "/no: not in the answer"),
        ];
        for (text, fault) in fails {
            assert_eq!(expect(text).unwrap().fault(&output).as_deref(), Some(fault), "{text}");
        }
    }

    #[test]
    fn an_expectation_that_demands_nothing_is_refused() {
        for text in ["at = '/a'", "at = '/a'\nnear = 1", "at = '/a'\nby = 1", "at = '/a'\nequal = 1\nmax = 2"]
        {
            assert!(expect(text).unwrap_err().contains("`near` with `by`"), "{text}");
        }
        assert!(expect("at = 'a'\nequal = 1").unwrap_err().contains("/mean/0"));
    }
}
