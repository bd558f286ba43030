//! `latency.csv`: every filled bucket of every distribution.

use super::sink::Sink;
use super::table::{Rows, each_row};
use crate::error::StoreError;
use platform::RunRecord;
use platform::records::{Distribution, FunctionRecord, StartKind, StartRecord};
use std::collections::BTreeMap;
use std::path::Path;

const HEADER: [&str; 5] = ["scope", "function_or_start", "metric", "value_us", "count"];

pub(crate) fn write(record: &RunRecord, sink: &mut Sink) -> Result<(), StoreError> {
    let mut rows = Rows::new(sink, &HEADER)?;
    let mut distribution = |scope: &str, name: &str, metric: &str, distribution: &Distribution| {
        distribution.buckets.iter().try_for_each(|(value, count)| {
            rows.push(&[scope, name, metric, &value.to_string(), &count.to_string()])
        })
    };
    for function in &record.functions {
        distribution("function", &function.name, "end_to_end", &function.end_to_end)?;
        distribution("function", &function.name, "startup", &function.startup)?;
    }
    for (kind, start) in StartKind::ALL.iter().zip(&record.starts) {
        distribution("start", kind.name(), "queueing", &start.queueing)?;
        distribution("start", kind.name(), "startup", &start.startup)?;
        distribution("start", kind.name(), "service", &start.service)?;
        distribution("start", kind.name(), "end_to_end", &start.end_to_end)?;
    }
    rows.finish()
}

/// Fills the distributions.
pub(crate) fn read(
    path: &Path,
    functions: &mut [FunctionRecord],
    starts: &mut [StartRecord; StartKind::COUNT],
) -> Result<(), StoreError> {
    let by_name: BTreeMap<String, usize> =
        functions.iter().enumerate().map(|(i, function)| (function.name.clone(), i)).collect();
    each_row(path, &HEADER, |row| {
        let scope = row.text()?.to_owned();
        let name = row.text()?.to_owned();
        let metric = row.text()?.to_owned();
        let bucket = (row.value()?, row.value()?);
        let function = by_name.get(&name).and_then(|&i| functions.get_mut(i));
        let start = StartKind::ALL.iter().position(|kind| kind.name() == name).map(|i| &mut starts[i]);
        let target = match (scope.as_str(), metric.as_str(), function, start) {
            ("function", "end_to_end", Some(function), _) => &mut function.end_to_end,
            ("function", "startup", Some(function), _) => &mut function.startup,
            ("start", "queueing", _, Some(start)) => &mut start.queueing,
            ("start", "startup", _, Some(start)) => &mut start.startup,
            ("start", "service", _, Some(start)) => &mut start.service,
            ("start", "end_to_end", _, Some(start)) => &mut start.end_to_end,
            _ => return Err(row.problem(format!("no such distribution: {scope} {name} {metric}"))),
        };
        target.buckets.push(bucket);
        Ok(())
    })
}
