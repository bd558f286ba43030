//! What repurposed starts are held against.
//!
//! On the reference machine (`figures/reference/epyc-2-cores/bench-sandbox.txt`) one start at a time is 15.9 times quicker
//! than a new one and takes 0.87 ms; 16 at a time it is 6.2 times quicker. The old function's end, the message to the init
//! and the clone of the new process take 0.15 to 0.2 ms each. A look at the network namespace makes its dumps only when the
//! kernel has announced a change; before this and other changes a start took 1.05 ms. What an init does after its answer is waited for between starts and
//! timed apart. Most of a new start is its move into cgroups of version 1 (10 of 14 ms), so the ratio depends on it.

use super::{Row, Way};
use crate::goal::Goal;

/// How many times quicker a repurposed start is than a new one: at so many at a time, at least. Both up to the moment when
/// the function process runs, without the destruction that only new ones bring with them.
const TIMES: [(usize, f64); 2] = [(1, 15.0), (16, 4.0)];
/// The longest median of a repurposed start, one at a time, ms.
const LONGEST_MS: f64 = 1.0;

/// The goals that these rows can say something about.
#[must_use]
pub fn goals(rows: &[Row]) -> Vec<Goal> {
    let find = |way: Way, ways: usize| rows.iter().find(|row| row.way == way && row.ways == ways);
    let mut goals = Vec::new();
    for (ways, least) in TIMES {
        let (Some(new), Some(repurpose)) = (find(Way::New, ways), find(Way::Repurpose, ways)) else {
            continue;
        };
        let times = new.start.median_us / repurpose.start.median_us;
        goals.push(Goal::at_least("repurpose: times quicker than new", &of(ways), times, least, "x"));
    }
    if let Some(repurpose) = find(Way::Repurpose, 1) {
        let median = repurpose.start.median_us / 1e3;
        goals.push(Goal::at_most("repurpose: median", &of(1), median, LONGEST_MS, "ms"));
    }
    goals
}

fn of(ways: usize) -> String {
    format!("{ways} at a time")
}

#[cfg(test)]
mod tests {
    use super::super::Quantiles;
    use super::*;

    fn row(way: Way, ways: usize, median_us: f64) -> Row {
        let start = Quantiles { median_us, ..Quantiles::default() };
        let steps = std::collections::BTreeMap::new();
        Row { way, ways, starts: 10, start, destroy: None, rate: 1.0, steps }
    }

    #[test]
    fn goals_are_held_against_the_rows_that_are_there() {
        let rows = [
            row(Way::New, 1, 16_000.0),
            row(Way::Repurpose, 1, 1_000.0),
            row(Way::New, 16, 30_000.0),
            row(Way::Repurpose, 16, 10_000.0),
            row(Way::Setns, 16, 1.0),
        ];
        let found = goals(&rows);
        let met: Vec<_> = found.iter().map(|goal| (goal.of.as_str(), goal.measured, goal.met)).collect();
        assert_eq!(
            met,
            [
                ("1 at a time", Some(16.0), Some(true)),
                ("16 at a time", Some(3.0), Some(false)),
                ("1 at a time", Some(1.0), Some(true)),
            ]
        );
        assert_eq!(goals(&rows[..1]).len(), 0);
    }
}
