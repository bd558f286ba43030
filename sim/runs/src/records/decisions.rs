//! `decisions.jsonl.zst`: what the control plane was told and what it answered, one JSON object a line.

use super::sink::Sink;
use crate::error::StoreError;
use platform::records::Decision;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

pub(crate) fn write(decisions: &[Decision], sink: &mut Sink) -> Result<(), StoreError> {
    let path = sink.path().to_owned();
    for decision in decisions {
        let line = serde_json::to_string(decision)
            .map_err(|error| StoreError::malformed(&path, None, error.to_string()))?;
        writeln!(sink, "{line}").map_err(StoreError::io(&path, "writing"))?;
    }
    Ok(())
}

pub(crate) fn read(path: &Path) -> Result<Vec<Decision>, StoreError> {
    let file = BufReader::new(File::open(path).map_err(StoreError::io(path, "opening"))?);
    let lines =
        BufReader::new(zstd::Decoder::with_buffer(file).map_err(StoreError::io(path, "reading"))?).lines();
    (1..)
        .zip(lines)
        .map(|(number, line)| {
            let line = line.map_err(StoreError::io(path, "reading"))?;
            serde_json::from_str(&line)
                .map_err(|error| StoreError::malformed(path, Some(number), error.to_string()))
        })
        .collect()
}
