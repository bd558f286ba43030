//! Reads of a rack's CXL memory in place: how they slow down who reads, the more the busier the device.

use configs::Spec;

/// Who reads from one device.
pub struct Reads {
    bandwidth: f64,
    /// Nanoseconds of additional latency for each unit of u / (1 - u).
    queueing_ns: f64,
    latency_ns: f64,
    dram_ns: f64,
    /// Bytes a second that running instances read in place.
    demand: u64,
}

/// Utilisation from which on the model of the latency does not go further.
const SATURATED: f64 = 0.95;

impl Reads {
    /// A device that nobody reads.
    pub fn new(spec: &Spec) -> Self {
        let cxl = &spec.machine.cxl;
        let line_ns = 64.0 / cxl.bandwidth as f64 * 1e9;
        Self {
            bandwidth: cxl.bandwidth as f64,
            queueing_ns: cxl.queued_lines * line_ns,
            latency_ns: cxl.latency.as_nanos() as f64,
            dram_ns: spec.machine.dram.latency.as_nanos().max(1) as f64,
            demand: 0,
        }
    }

    /// An instance that reads `demand` bytes a second in place begins to run: how its service time
    /// grows, in parts per million of it, when its share `stalled` of it waits for this memory.
    pub fn begin(&mut self, stalled: f64, demand: u64) -> u64 {
        self.demand += demand;
        let utilisation = (self.demand as f64 / self.bandwidth).min(SATURATED);
        let latency = self.latency_ns + self.queueing_ns * utilisation / (1.0 - utilisation);
        let slower = stalled * (latency / self.dram_ns - 1.0).max(0.0);
        (slower * 1e6).round() as u64
    }

    /// It has ended.
    pub fn end(&mut self, demand: u64) {
        self.demand -= demand;
    }
}
