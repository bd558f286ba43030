//! `counters.json`: how often things were done, and memory over the measured part.

use super::sink::Sink;
use crate::error::StoreError;
use platform::records::{Counters, MemoryRecord};
use platform::{ByClass, MemoryClass, RunRecord};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use traces::{Bytes, Duration};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    counters: Counters,
    memory: Memory,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    measured_ns: Duration,
    peak_local_bytes: Bytes,
    classes: BTreeMap<String, Class>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Class {
    peak_bytes: Bytes,
    gib_seconds: f64,
}

pub(crate) fn write(record: &RunRecord, sink: &mut Sink) -> Result<(), StoreError> {
    let memory = &record.memory;
    let classes = MemoryClass::ALL
        .iter()
        .map(|&class| {
            let totals =
                Class { peak_bytes: memory.peak.get(class), gib_seconds: memory.gib_seconds[class as usize] };
            (class.name().to_owned(), totals)
        })
        .collect();
    let file = File {
        counters: record.counters.clone(),
        memory: Memory { measured_ns: memory.measured, peak_local_bytes: memory.peak_local, classes },
    };
    let path = sink.path().to_owned();
    let text =
        serde_json::to_string_pretty(&file).map_err(|e| StoreError::malformed(&path, None, e.to_string()))?;
    writeln!(sink, "{text}").map_err(StoreError::io(&path, "writing"))
}

/// Counters, and memory without its samples and places.
pub(crate) fn read(path: &Path) -> Result<(Counters, MemoryRecord), StoreError> {
    let text = std::fs::read_to_string(path).map_err(StoreError::io(path, "reading"))?;
    let file: File = serde_json::from_str(&text)
        .map_err(|error| StoreError::malformed(path, Some(error.line() as u64), error.to_string()))?;
    let mut peak = ByClass::default();
    let mut gib_seconds = [0.0; MemoryClass::COUNT];
    for class in MemoryClass::ALL {
        let totals =
            file.memory.classes.get(class.name()).ok_or_else(|| {
                StoreError::malformed(path, None, format!("no memory class {}", class.name()))
            })?;
        peak.add(class, totals.peak_bytes);
        gib_seconds[class as usize] = totals.gib_seconds;
    }
    let memory = MemoryRecord {
        peak_local: file.memory.peak_local_bytes,
        peak,
        nodes: Vec::new(),
        devices: Vec::new(),
        gib_seconds,
        measured: file.memory.measured_ns,
        samples: Vec::new(),
    };
    Ok((file.counters, memory))
}
