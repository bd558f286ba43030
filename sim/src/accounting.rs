//! Memory of the cluster, class by class: now, at its peak, and over time.

use platform::memory::{ByClass, MemoryClass};
use platform::records::{MemoryRecord, MemorySample};
use traces::{Bytes, Duration, Instant};

/// Exact accounts: peaks and memory-time are kept at every change, not sampled.
pub struct Accounting {
    now: ByClass,
    updated: Instant,
    from: Instant,
    until: Instant,
    peak: ByClass,
    peak_local: Bytes,
    byte_nanos: [u128; MemoryClass::COUNT],
    samples: Vec<MemorySample>,
}

impl Accounting {
    /// Accounts that start with `held` and measure between two instants.
    pub fn new(held: ByClass, from: Instant, until: Instant) -> Self {
        Self {
            now: held,
            updated: Instant::ZERO,
            from,
            until,
            peak: ByClass::default(),
            peak_local: Bytes::ZERO,
            byte_nanos: [0; MemoryClass::COUNT],
            samples: Vec::new(),
        }
    }

    /// Adds memory at `at`.
    pub fn add(&mut self, at: Instant, bytes: &ByClass) {
        self.advance(at);
        for class in MemoryClass::ALL {
            self.now.add(class, bytes.get(class));
        }
    }

    /// Takes memory at `at`.
    pub fn take(&mut self, at: Instant, bytes: &ByClass) {
        self.advance(at);
        for class in MemoryClass::ALL {
            self.now.take(class, bytes.get(class));
        }
    }

    /// Notes the state at `at`.
    pub fn sample(&mut self, at: Instant, busy: u32, idle: u32) {
        self.samples.push(MemorySample { at, bytes: self.now, busy, idle });
    }

    /// The record of the whole run.
    pub fn finish(mut self) -> MemoryRecord {
        self.advance(self.until.max(self.updated));
        MemoryRecord {
            peak_local: self.peak_local,
            peak: self.peak,
            gib_seconds: self.byte_nanos.map(|sum| sum as f64 / (1u64 << 30) as f64 / 1e9),
            measured: self.until.since(self.from),
            samples: self.samples,
        }
    }

    /// Books the time until `at` with what was held during it.
    fn advance(&mut self, at: Instant) {
        let (begin, end) = (self.updated.max(self.from), at.min(self.until));
        self.updated = at;
        if end <= begin {
            return;
        }
        let held: Duration = end.since(begin);
        let mut local = Bytes::ZERO;
        for class in MemoryClass::ALL {
            let (index, bytes) = (class as usize, self.now.get(class));
            self.byte_nanos[index] += u128::from(bytes.0) * u128::from(held.as_nanos());
            self.peak.0[index] = self.peak.0[index].max(bytes);
            if class.is_local() {
                local += bytes;
            }
        }
        self.peak_local = self.peak_local.max(local);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_and_memory_time_cover_the_measured_part_only() {
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        let gib = |n| {
            let mut bytes = ByClass::default();
            bytes.add(MemoryClass::InstancePrivate, Bytes::from_gib(n));
            bytes
        };
        let mut accounts = Accounting::new(ByClass::default(), at(10), at(20));
        accounts.add(at(0), &gib(8));
        accounts.take(at(5), &gib(6));
        accounts.add(at(15), &gib(1));
        accounts.add(at(20), &gib(9));
        let record = accounts.finish();
        assert_eq!(record.peak_local, Bytes::from_gib(3));
        assert_eq!(record.gib_seconds[0], 2.0 * 5.0 + 3.0 * 5.0);
        assert_eq!(record.mean_local_gib(), Some(2.5));
    }
}
