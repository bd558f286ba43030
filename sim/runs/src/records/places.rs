//! `places.csv`: memory of each node and of each CXL device.

use super::sink::Sink;
use super::table::{Rows, each_row};
use crate::error::StoreError;
use platform::records::{MemoryRecord, PlaceRecord};
use std::path::Path;

const HEADER: [&str; 4] = ["place", "number", "peak_bytes", "gib_seconds"];
const NODE: &str = "node";
const DEVICE: &str = "cxl-device";

pub(crate) fn write(memory: &MemoryRecord, sink: &mut Sink) -> Result<(), StoreError> {
    let mut rows = Rows::new(sink, &HEADER)?;
    for (name, places) in [(NODE, &memory.nodes), (DEVICE, &memory.devices)] {
        for (number, place) in places.iter().enumerate() {
            let row = [
                name.to_owned(),
                number.to_string(),
                place.peak.0.to_string(),
                place.gib_seconds.to_string(),
            ];
            rows.push(&row)?;
        }
    }
    rows.finish()
}

/// Puts nodes and devices into the record, in the order of the file.
pub(crate) fn read(path: &Path, memory: &mut MemoryRecord) -> Result<(), StoreError> {
    each_row(path, &HEADER, |row| {
        let name: String = row.value()?;
        let _number: u32 = row.value()?;
        let place = PlaceRecord { peak: traces::Bytes(row.value()?), gib_seconds: row.value()? };
        if name == DEVICE {
            memory.devices.push(place);
        } else {
            memory.nodes.push(place);
        }
        Ok(())
    })
}
