//! `functions.csv` and `starts.csv`: counts and sums; the distributions are in `latency.csv`.

use super::sink::Sink;
use super::table::{Rows, each_row};
use crate::error::StoreError;
use platform::records::{FunctionRecord, Outcome, StartKind, StartRecord};
use std::path::Path;

fn function_header() -> Vec<&'static str> {
    let mut header = vec!["function", "arrivals_in_burn_in"];
    header.extend(Outcome::ALL.iter().map(|outcome| outcome.name()));
    header.extend(StartKind::ALL.iter().map(|start| start.name()));
    header.extend(["end_to_end_sum_us", "startup_sum_us"]);
    header
}

const START_HEADER: [&str; 5] =
    ["start", "queueing_sum_us", "startup_sum_us", "service_sum_us", "end_to_end_sum_us"];

pub(crate) fn write_functions(functions: &[FunctionRecord], sink: &mut Sink) -> Result<(), StoreError> {
    let mut rows = Rows::new(sink, &function_header())?;
    for function in functions {
        let mut row = vec![function.name.clone(), function.arrivals_in_burn_in.to_string()];
        row.extend(function.outcomes.iter().map(u64::to_string));
        row.extend(function.starts.iter().map(u64::to_string));
        row.push(function.end_to_end.sum_us.to_string());
        row.push(function.startup.sum_us.to_string());
        rows.push(&row)?;
    }
    rows.finish()
}

/// The functions, their distributions still empty.
pub(crate) fn read_functions(path: &Path) -> Result<Vec<FunctionRecord>, StoreError> {
    let mut functions = Vec::new();
    each_row(path, &function_header(), |row| {
        let mut function = FunctionRecord {
            name: row.text()?.to_owned(),
            arrivals_in_burn_in: row.value()?,
            ..Default::default()
        };
        for count in function.outcomes.iter_mut().chain(&mut function.starts) {
            *count = row.value()?;
        }
        function.end_to_end.sum_us = row.value()?;
        function.startup.sum_us = row.value()?;
        functions.push(function);
        Ok(())
    })?;
    Ok(functions)
}

pub(crate) fn write_starts(
    starts: &[StartRecord; StartKind::COUNT],
    sink: &mut Sink,
) -> Result<(), StoreError> {
    let mut rows = Rows::new(sink, &START_HEADER)?;
    for (kind, start) in StartKind::ALL.iter().zip(starts) {
        let sums = [&start.queueing, &start.startup, &start.service, &start.end_to_end]
            .map(|d| d.sum_us.to_string());
        let [queueing, startup, service, end_to_end] = sums;
        rows.push(&[kind.name(), &queueing, &startup, &service, &end_to_end])?;
    }
    rows.finish()
}

/// The start kinds, their distributions still empty.
pub(crate) fn read_starts(path: &Path) -> Result<[StartRecord; StartKind::COUNT], StoreError> {
    let mut starts: [StartRecord; StartKind::COUNT] = Default::default();
    let mut seen = 0;
    each_row(path, &START_HEADER, |row| {
        let expected = StartKind::ALL.get(seen).map_or("nothing", |kind| kind.name());
        if row.text()? != expected {
            return Err(row.problem(format!("the start kind must be {expected}")));
        }
        let start = &mut starts[seen];
        for distribution in
            [&mut start.queueing, &mut start.startup, &mut start.service, &mut start.end_to_end]
        {
            distribution.sum_us = row.value()?;
        }
        seen += 1;
        Ok(())
    })?;
    if seen == StartKind::COUNT {
        Ok(starts)
    } else {
        Err(StoreError::malformed(path, None, "start kinds are missing"))
    }
}
