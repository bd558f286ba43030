//! Round-robin peaks: in every cycle each function owns a slot of some seconds, and inside it
//! there are bursts. Common part of W1, W2 and Func.

use super::functions;
use crate::error::Result;
use crate::records::Invocations;
use crate::rng::{Streams, below};
use crate::service::{ServiceLookup, look_up};
use crate::time::{Duration, Instant};
use crate::workload::{FunctionId, Invocation, Workload, sort_by_arrival};

/// What a function does in its slot.
pub(crate) struct Slot {
    /// Name of the function.
    pub function: &'static str,
    /// Invocations in a burst (on average, where bursts vary).
    pub concurrency: u32,
    /// Bursts in the slot.
    pub peaks: u64,
    /// Idle seconds between two bursts: burst j begins j * (interval + 1) seconds into the slot.
    pub interval: u64,
    /// Length of the slot in seconds.
    pub seconds: u64,
}

/// A slot from the columns of the published table: concurrency, peaks, interval, slot seconds.
pub(crate) const fn slot(function: &'static str, row: (u32, u64, u64, u64)) -> Slot {
    Slot { function, concurrency: row.0, peaks: row.1, interval: row.2, seconds: row.3 }
}

/// A workload of slots in turn, cycle after cycle.
pub(crate) struct Plan<'a> {
    pub name: &'static str,
    pub slots: &'a [Slot],
    pub cycles: u64,
    pub burn_in_cycles: u64,
    /// Extra lines of provenance.
    pub provenance: String,
}

impl Plan<'_> {
    /// The workload. `burst` gives the size of each burst and is called function by function,
    /// cycle by cycle, burst by burst. An invocation arrives uniformly within the burst's second.
    pub fn workload(
        &self,
        seed: u64,
        service: ServiceLookup<'_>,
        mut burst: impl FnMut(&Slot) -> u32,
    ) -> Result<Workload> {
        let streams = Streams::new(seed);
        let cycle: u64 = self.slots.iter().map(|slot| slot.seconds).sum();
        let mut table = Vec::new();
        let mut invocations = Vec::new();
        let mut slot_start = 0;
        for (index, slot) in self.slots.iter().enumerate() {
            let time = look_up(service, slot.function, slot.function)?;
            let mut arrivals = streams.stream(&format!("arrivals/{}", slot.function), 0);
            let mut services = streams.stream(&format!("service/{}", slot.function), 0);
            for second in (0..self.cycles)
                .flat_map(|n| (0..slot.peaks).map(move |j| n * cycle + slot_start + j * (slot.interval + 1)))
            {
                for _ in 0..burst(slot) {
                    let offset = second * 1_000_000_000 + below(&mut arrivals, 1_000_000_000);
                    let arrival = Instant::from_nanos(offset);
                    invocations.push(Invocation::new(
                        arrival,
                        FunctionId(index as u32),
                        time.draw(&mut services),
                    ));
                }
            }
            table.push(
                functions::function(slot.function, 0).expect("a slot names one of the eleven functions"),
            );
            slot_start += slot.seconds;
        }
        sort_by_arrival(&mut invocations);
        Ok(Workload {
            name: self.name.to_owned(),
            functions: table,
            invocations: Invocations::from(invocations),
            burn_in: Duration::from_secs(self.burn_in_cycles * cycle),
            span: Duration::from_secs(self.cycles * cycle),
            provenance: vec![
                format!("generated: {}, {} cycles of {cycle} s, seed {seed}", self.name, self.cycles),
                self.provenance.clone(),
            ],
        })
    }
}
