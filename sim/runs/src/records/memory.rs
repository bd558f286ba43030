//! `memory.csv`: memory of the cluster over time.

use super::sink::Sink;
use super::table::{Rows, each_row};
use crate::error::StoreError;
use platform::MemoryClass;
use platform::records::MemorySample;
use std::path::Path;
use traces::{Bytes, Duration, Instant};

fn header() -> Vec<String> {
    let mut header = vec!["at_ns".to_owned()];
    header.extend(MemoryClass::ALL.iter().map(|class| format!("{}_bytes", class.name())));
    header.extend(["busy_sandboxes", "idle_sandboxes", "core_time_ns"].map(str::to_owned));
    header
}

pub(crate) fn write(samples: &[MemorySample], sink: &mut Sink) -> Result<(), StoreError> {
    let header = header();
    let mut rows = Rows::new(sink, &header.iter().map(String::as_str).collect::<Vec<_>>())?;
    for sample in samples {
        let mut row = vec![sample.at.as_nanos().to_string()];
        row.extend(sample.bytes.0.iter().map(|bytes| bytes.0.to_string()));
        row.extend([sample.busy.to_string(), sample.idle.to_string()]);
        row.push(sample.core_time.as_nanos().to_string());
        rows.push(&row)?;
    }
    rows.finish()
}

pub(crate) fn read(path: &Path) -> Result<Vec<MemorySample>, StoreError> {
    let header = header();
    let mut samples = Vec::new();
    each_row(path, &header.iter().map(String::as_str).collect::<Vec<_>>(), |row| {
        let at = Instant::from_nanos(row.value()?);
        let mut bytes = platform::ByClass::default();
        for class in &mut bytes.0 {
            *class = Bytes(row.value()?);
        }
        let (busy, idle) = (row.value()?, row.value()?);
        samples.push(MemorySample { at, bytes, busy, idle, core_time: Duration::from_nanos(row.value()?) });
        Ok(())
    })?;
    Ok(samples)
}
