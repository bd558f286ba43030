//! What starts from templates are held against.

use super::{Engine, Row};
use crate::goal::Goal;

/// Calls that take less than this when they are warm say something about a start that ends with a reply.
const QUICK_US: f64 = 1_000.0;

/// The goals that these rows can say something about.
#[must_use]
pub fn goals(rows: &[Row]) -> Vec<Goal> {
    let mut goals = Vec::new();
    for row in rows.iter().filter(|row| row.engine == Engine::Attach && row.starts > 0) {
        let of = |engine: Engine| {
            rows.iter()
                .find(|other| other.function == row.function && other.engine == engine && other.starts > 0)
        };
        let name = &row.function;
        let (what, limit) = match row.threads {
            1 => ("attach and resume, one thread", 1.0),
            _ => ("attach and resume, several threads", 2.5),
        };
        goals.push(Goal::at_most(what, name, row.engine_time.median_us / 1e3, limit, "ms"));
        if row.threads == 1 && row.warm_reply.median_us <= QUICK_US {
            let whole = row.first_reply.median_us / 1e3;
            goals.push(Goal::at_most("sandbox, attach and first reply, one thread", name, whole, 6.0, "ms"));
        }
        if let Some(cold) = of(Engine::Cold) {
            let ratio = cold.ready.median_us / row.ready.median_us;
            goals.push(Goal::at_least("times quicker to be ready than a cold start", name, ratio, 40.0, "x"));
            let share = 100.0 * row.private_bytes as f64 / cold.private_bytes.max(1) as f64;
            goals.push(Goal::at_most("memory of its own beside a cold process's", name, share, 15.0, "%"));
        }
        let what = "times quicker to be ready than plain CRIU";
        match of(Engine::Criu) {
            Some(criu) => {
                let ratio = criu.ready.median_us / row.ready.median_us;
                goals.push(Goal::at_least(what, name, ratio, 10.0, "x"));
            }
            None => {
                let why = rows.iter().find(|other| other.function == *name && other.engine == Engine::Criu);
                let why = why.and_then(|row| row.not_run.clone()).unwrap_or_else(|| "no such row".into());
                goals.push(Goal::at_least(what, name, f64::NAN, 10.0, "x").not_run(&why));
            }
        }
    }
    let synthetic = |row: &&Row| {
        let size = row.function.strip_prefix("sized-").and_then(|size| size.parse::<u64>().ok());
        size.is_some() && row.engine == Engine::Attach && row.starts > 0
    };
    let small = rows.iter().filter(synthetic).min_by_key(|row| row.footprint_bytes);
    let large = rows.iter().filter(synthetic).max_by_key(|row| row.footprint_bytes);
    if let (Some(small), Some(large)) = (small, large)
        && large.footprint_bytes > small.footprint_bytes
    {
        let of = format!("{} / {}", large.function, small.function);
        let ratio = large.engine_time.median_us / small.engine_time.median_us;
        goals.push(Goal::at_most("attach and resume, large beside small", &of, ratio, 1.2, "x"));
    }
    goals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench_sandbox::Quantiles;

    fn row(function: &str, engine: Engine, ready_us: f64, mib: u64) -> Row {
        let time =
            |median_us| Quantiles { min_us: median_us, median_us, p99_us: median_us, interval_us: None };
        Row {
            function: function.into(),
            engine,
            not_run: None,
            starts: 10,
            footprint_bytes: mib << 20,
            threads: 1,
            sandbox: time(ready_us / 2.0),
            engine_time: time(ready_us / 2.0),
            ready: time(ready_us),
            reply: time(500.0),
            warm_reply: time(100.0),
            first_reply: time(ready_us + 500.0),
            overhead: time(ready_us + 400.0),
            steps: std::collections::BTreeMap::new(),
            private_bytes: mib << 10,
            proportional_bytes: mib << 10,
        }
    }

    #[test]
    fn every_goal_is_held_against_its_rows() {
        let criu =
            Row { not_run: Some("no CRIU".into()), starts: 0, ..row("sized-50", Engine::Criu, 0.0, 50) };
        let rows = [
            row("sized-50", Engine::Attach, 1500.0, 50),
            Row { private_bytes: 50 << 20, ..row("sized-50", Engine::Cold, 90_000.0, 50) },
            criu,
            row("sized-1600", Engine::Attach, 2500.0, 1600),
        ];
        let found = goals(&rows);
        let met = |what: &str, of: &str| {
            found.iter().find(|goal| goal.what.contains(what) && goal.of.contains(of)).unwrap().met
        };
        assert_eq!(met("attach and resume, one", "sized-50"), Some(true));
        assert_eq!(met("attach and resume, one", "sized-1600"), Some(false));
        assert_eq!(met("first reply", "sized-50"), Some(true));
        assert_eq!(met("than a cold start", "sized-50"), Some(true));
        assert_eq!(met("memory of its own", "sized-50"), Some(true));
        assert_eq!(met("CRIU", "sized-50"), None);
        assert_eq!(met("large beside small", "sized-1600 / sized-50"), Some(false));
    }
}
