//! `places.csv`: memory of each node, of each CXL device and of the RDMA pool.

use super::sink::Sink;
use super::table::{Rows, each_row};
use crate::error::StoreError;
use platform::memory::MemoryClass;
use platform::records::{MemoryRecord, PlaceRecord};
use std::path::Path;
use traces::Bytes;

const HEADER: [&str; 4] = ["place", "number", "peak_bytes", "gib_seconds"];
const NODE: &str = "node";
const DEVICE: &str = "cxl-device";
const POOL: &str = "rdma-pool";

pub(crate) fn write(memory: &MemoryRecord, sink: &mut Sink) -> Result<(), StoreError> {
    let mut rows = Rows::new(sink, &HEADER)?;
    // There is one: its memory is what the cluster has of the class, which is where it is read from.
    let rdma = MemoryClass::PoolRdma;
    let pool = PlaceRecord { peak: memory.peak.get(rdma), gib_seconds: memory.gib_seconds[rdma as usize] };
    let pools = if pool.peak > Bytes::ZERO { vec![pool] } else { Vec::new() };
    for (name, places) in [(NODE, &memory.nodes), (DEVICE, &memory.devices), (POOL, &pools)] {
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
        let place = PlaceRecord { peak: Bytes(row.value()?), gib_seconds: row.value()? };
        match name.as_str() {
            DEVICE => memory.devices.push(place),
            POOL => {}
            _ => memory.nodes.push(place),
        }
        Ok(())
    })
}
