//! Recorded cold starts in numbers: how long, and what of it each component took.

use crate::describe::Quantiles;
use crate::describe_text::quantile_table;
use crate::formats::huawei_2025::ColdStart;
use crate::time::Duration;
use serde::Serialize;
use std::fmt;

/// Cold starts in numbers, all times in milliseconds; `None` where there are no cold starts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ColdStartDescription {
    /// Cold starts.
    pub cold_starts: u64,
    /// Different functions among them.
    pub functions: u64,
    /// Whole cold starts.
    pub total_ms: Option<Quantiles>,
    /// Getting a pod from the pool.
    pub pod_allocation_ms: Option<Quantiles>,
    /// Fetching and loading code.
    pub deploy_code_ms: Option<Quantiles>,
    /// Fetching and loading dependencies.
    pub deploy_dependency_ms: Option<Quantiles>,
    /// Deciding where to run.
    pub scheduling_ms: Option<Quantiles>,
}

/// Describes recorded cold starts.
pub fn describe_cold_starts(cold_starts: &[ColdStart]) -> ColdStartDescription {
    let of = |part: fn(&ColdStart) -> Duration| {
        Quantiles::of(cold_starts.iter().map(|cold_start| part(cold_start).as_millis_f64()).collect())
    };
    let mut functions: Vec<&str> =
        cold_starts.iter().map(|cold_start| cold_start.function.as_str()).collect();
    functions.sort_unstable();
    functions.dedup();
    ColdStartDescription {
        cold_starts: cold_starts.len() as u64,
        functions: functions.len() as u64,
        total_ms: of(|cold_start| cold_start.total),
        pod_allocation_ms: of(|cold_start| cold_start.pod_allocation),
        deploy_code_ms: of(|cold_start| cold_start.deploy_code),
        deploy_dependency_ms: of(|cold_start| cold_start.deploy_dependency),
        scheduling_ms: of(|cold_start| cold_start.scheduling),
    }
}

impl fmt::Display for ColdStartDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} cold starts of {} functions, times in ms", self.cold_starts, self.functions)?;
        let rows = [
            ("whole", self.total_ms),
            ("pod allocation", self.pod_allocation_ms),
            ("code", self.deploy_code_ms),
            ("dependencies", self.deploy_dependency_ms),
            ("scheduling", self.scheduling_ms),
        ];
        quantile_table(f, &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{OnDefect, huawei_2025};
    use crate::samples;

    #[test]
    fn the_components_of_the_fixture_add_up_on_average() {
        let source = samples::get("huawei-fixtures/cold_starts_R2.csv").unwrap();
        let (cold_starts, _) = huawei_2025::read_cold_starts(&source, OnDefect::Stop).unwrap();
        let found = describe_cold_starts(&cold_starts);
        let mean = |quantiles: Option<Quantiles>| quantiles.unwrap().mean;
        let parts = mean(found.pod_allocation_ms)
            + mean(found.deploy_code_ms)
            + mean(found.deploy_dependency_ms)
            + mean(found.scheduling_ms);
        assert!((mean(found.total_ms) - parts).abs() < 0.05 * parts, "{} {parts}", mean(found.total_ms));
        assert_eq!((found.cold_starts, found.functions), (10, 8));
    }
}
