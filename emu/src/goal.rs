//! Goals: what a measurement is held against, and whether it keeps to it in this run.

use serde::Serialize;

/// One goal, with what was measured beside it.
#[derive(Clone, Debug, Serialize)]
pub struct Goal {
    /// What is measured.
    pub what: String,
    /// Of what.
    pub of: String,
    /// What was measured; nothing where it was not.
    pub measured: Option<f64>,
    /// What it is held against.
    pub limit: f64,
    /// Whether the limit is the most; otherwise it is the least.
    pub at_most: bool,
    /// Unit of both.
    pub unit: &'static str,
    /// Whether it was met in this run; nothing where nothing was measured.
    pub met: Option<bool>,
    /// Why nothing was measured.
    pub why_not: Option<String>,
}

impl Goal {
    /// At most `limit`.
    #[must_use]
    pub fn at_most(what: &str, of: &str, measured: f64, limit: f64, unit: &'static str) -> Self {
        Self::new((what, of), measured, limit, true, unit)
    }

    /// At least `limit`.
    #[must_use]
    pub fn at_least(what: &str, of: &str, measured: f64, limit: f64, unit: &'static str) -> Self {
        Self::new((what, of), measured, limit, false, unit)
    }

    fn new((what, of): (&str, &str), measured: f64, limit: f64, at_most: bool, unit: &'static str) -> Self {
        let met = if at_most { measured <= limit } else { measured >= limit };
        Self {
            what: what.to_owned(),
            of: of.to_owned(),
            measured: Some(measured),
            limit,
            at_most,
            unit,
            met: Some(met),
            why_not: None,
        }
    }

    /// The same goal where there is nothing to hold against it.
    #[must_use]
    pub fn not_run(self, why: &str) -> Self {
        Self { measured: None, met: None, why_not: Some(why.to_owned()), ..self }
    }
}

/// Goals as text.
#[must_use]
pub fn table(goals: &[Goal]) -> String {
    let mut text =
        format!("{:<52} {:<22} {:>12} {:>14}  {}\n", "goal", "of", "measured", "limit", "in this run");
    for goal in goals {
        let number = |value: f64| match value.abs() {
            large if large >= 1e4 => format!("{value:.0}"),
            _ => format!("{value:.2}"),
        };
        let limit =
            format!("{} {} {}", if goal.at_most { "<=" } else { ">=" }, number(goal.limit), goal.unit);
        let verdict = match (goal.met, &goal.why_not) {
            (Some(true), _) => "met".to_owned(),
            (Some(false), _) => "missed".to_owned(),
            (None, why) => format!("NOT-RUN {}", why.as_deref().unwrap_or_default()),
        };
        text.push_str(&format!(
            "{:<52} {:<22} {:>12} {limit:>14}  {verdict}\n",
            goal.what,
            goal.of,
            goal.measured.map_or_else(|| "-".to_owned(), number),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_met_missed_or_not_run() {
        let goals = [
            Goal::at_most("attach", "one", 0.9, 1.0, "ms"),
            Goal::at_most("attach", "two", 1.1, 1.0, "ms"),
            Goal::at_least("pages", "all", 600_000.0, 600_000.0, "pages/s"),
            Goal::at_least("pages", "none", f64::NAN, 1.0, "pages/s").not_run("no such row"),
        ];
        assert_eq!(goals.each_ref().map(|goal| goal.met), [Some(true), Some(false), Some(true), None]);
        let text = table(&goals);
        let ends = ["met", "missed", "met", "NOT-RUN no such row"];
        assert!(text.lines().skip(1).zip(ends).all(|(line, end)| line.ends_with(end)), "{text}");
    }
}
