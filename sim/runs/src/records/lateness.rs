//! `lateness.csv`: how late arrivals were handed to the control plane.

use super::sink::Sink;
use super::table::{Rows, each_row};
use crate::error::StoreError;
use platform::records::Distribution;
use std::path::Path;

/// The sum stands in every row: it is one number, and the table stays a plain one.
const HEADER: [&str; 3] = ["late_us", "arrivals", "sum_us"];

pub(crate) fn write(lateness: &Distribution, sink: &mut Sink) -> Result<(), StoreError> {
    let mut rows = Rows::new(sink, &HEADER)?;
    for (value, count) in &lateness.buckets {
        rows.push(&[value.to_string(), count.to_string(), lateness.sum_us.to_string()])?;
    }
    rows.finish()
}

pub(crate) fn read(path: &Path) -> Result<Distribution, StoreError> {
    let mut lateness = Distribution::default();
    each_row(path, &HEADER, |row| {
        lateness.buckets.push((row.value()?, row.value()?));
        lateness.sum_us = row.value()?;
        Ok(())
    })?;
    Ok(lateness)
}
