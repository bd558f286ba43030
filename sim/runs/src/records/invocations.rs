//! `invocations.csv.zst`: the fate of every invocation.

use super::sink::Sink;
use super::table::{Rows, each_row};
use crate::error::StoreError;
use platform::records::{InvocationRecord, Outcome, StartKind};
use std::path::Path;
use traces::{Duration, Instant};

const HEADER: [&str; 10] = [
    "number",
    "function_index",
    "node",
    "start",
    "outcome",
    "burn_in",
    "arrival_ns",
    "queueing_ns",
    "startup_ns",
    "service_ns",
];

pub(crate) fn write(invocations: &[InvocationRecord], sink: &mut Sink) -> Result<(), StoreError> {
    let mut rows = Rows::new(sink, &HEADER)?;
    for one in invocations {
        rows.push(&[
            one.number.to_string().as_str(),
            &one.function.to_string(),
            &one.node.map(|node| node.to_string()).unwrap_or_default(),
            one.start.map_or("", StartKind::name),
            one.outcome.name(),
            if one.burn_in { "1" } else { "0" },
            &one.arrival_ns.as_nanos().to_string(),
            &one.queueing_ns.as_nanos().to_string(),
            &one.startup_ns.as_nanos().to_string(),
            &one.service_ns.as_nanos().to_string(),
        ])?;
    }
    rows.finish()
}

pub(crate) fn read(path: &Path) -> Result<Vec<InvocationRecord>, StoreError> {
    let mut invocations = Vec::new();
    each_row(path, &HEADER, |row| {
        let (number, function, node) = (row.value()?, row.value()?, row.optional()?);
        let start = match row.text()?.to_owned().as_str() {
            "" => None,
            name => Some(
                StartKind::ALL
                    .into_iter()
                    .find(|kind| kind.name() == name)
                    .ok_or_else(|| row.problem(format!("start: no kind {name:?}")))?,
            ),
        };
        let name = row.text()?.to_owned();
        let outcome = Outcome::ALL
            .into_iter()
            .find(|outcome| outcome.name() == name)
            .ok_or_else(|| row.problem(format!("outcome: no {name:?}")))?;
        let burn_in = row.value::<u8>()? == 1;
        let arrival_ns = Instant::from_nanos(row.value()?);
        let queueing_ns = Duration::from_nanos(row.value()?);
        let startup_ns = Duration::from_nanos(row.value()?);
        let service_ns = Duration::from_nanos(row.value()?);
        invocations.push(InvocationRecord {
            number,
            function,
            node,
            start,
            outcome,
            burn_in,
            arrival_ns,
            queueing_ns,
            startup_ns,
            service_ns,
        });
        Ok(())
    })?;
    Ok(invocations)
}
