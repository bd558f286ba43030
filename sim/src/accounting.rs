//! Memory of the cluster, class by class: now, at its peak, and over time.

use platform::memory::{ByClass, MemoryClass};
use platform::records::{MemoryRecord, MemorySample, PlaceRecord};
use traces::{Bytes, Duration, Instant};

/// The time that is measured.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// End of the burn-in.
    pub from: Instant,
    /// End of the workload.
    pub until: Instant,
}

/// Memory of one place (a node, a device): exact peak and memory-time, kept at every change.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    now: Bytes,
    updated: Instant,
    peak: Bytes,
    byte_nanos: u128,
}

impl Place {
    /// What it holds now.
    pub fn held(&self) -> Bytes {
        self.now
    }

    /// It holds more, or less, from `at` on.
    pub fn change(&mut self, measured: Measured, at: Instant, change: impl FnOnce(&mut Bytes)) {
        self.advance(measured, at);
        change(&mut self.now);
    }

    fn advance(&mut self, measured: Measured, at: Instant) {
        let held = overlap(measured, self.updated, at);
        self.updated = at;
        if held > Duration::ZERO {
            self.byte_nanos += u128::from(self.now.0) * u128::from(held.as_nanos());
            self.peak = self.peak.max(self.now);
        }
    }

    /// The record of the whole run.
    pub fn finish(mut self, measured: Measured) -> PlaceRecord {
        self.advance(measured, measured.until.max(self.updated));
        PlaceRecord { peak: self.peak, gib_seconds: gib_seconds(self.byte_nanos) }
    }
}

/// What happened between two samples.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    peak: ByClass,
    peak_local: Bytes,
}

/// Accounts of a cluster, or of a rack that is played apart.
pub struct Accounting {
    now: ByClass,
    updated: Instant,
    measured: Measured,
    window: Window,
    windows: Vec<Window>,
    byte_nanos: [u128; MemoryClass::COUNT],
    samples: Vec<MemorySample>,
    is_closed: bool,
}

impl Accounting {
    /// Accounts that start with `held`.
    pub fn new(held: ByClass, measured: Measured) -> Self {
        Self {
            now: held,
            updated: Instant::ZERO,
            measured,
            window: Window::default(),
            windows: Vec::new(),
            byte_nanos: [0; MemoryClass::COUNT],
            samples: Vec::new(),
            is_closed: false,
        }
    }

    /// Adds memory at `at`.
    pub fn add(&mut self, at: Instant, bytes: &ByClass) {
        self.advance(at);
        for class in MemoryClass::ALL {
            self.now.add(class, bytes.get(class));
        }
    }

    /// Memory at `at` goes from one amount to another.
    pub fn change(&mut self, at: Instant, from: &ByClass, to: &ByClass) {
        self.advance(at);
        for class in MemoryClass::ALL {
            self.now.add(class, to.get(class));
            self.now.take(class, from.get(class));
        }
    }

    /// Takes memory at `at`.
    pub fn take(&mut self, at: Instant, bytes: &ByClass) {
        self.advance(at);
        for class in MemoryClass::ALL {
            self.now.take(class, bytes.get(class));
        }
    }

    /// Notes the state at `at`, and closes the interval that ends there.
    pub fn sample(&mut self, at: Instant, busy: u32, idle: u32, core_time: Duration) {
        self.advance(at);
        self.samples.push(MemorySample { at, bytes: self.now, busy, idle, core_time });
        self.windows.push(std::mem::take(&mut self.window));
    }

    /// The accounts of several racks, one after the other, as those of the cluster.
    pub fn merge(self, other: Self) -> Self {
        let (mut mine, theirs) = (self.closed(), other.closed());
        for (mine, theirs) in mine.windows.iter_mut().zip(&theirs.windows) {
            mine.peak = mine.peak.with(&theirs.peak);
            mine.peak_local += theirs.peak_local;
        }
        for (mine, theirs) in mine.samples.iter_mut().zip(&theirs.samples) {
            mine.bytes = mine.bytes.with(&theirs.bytes);
            mine.busy += theirs.busy;
            mine.idle += theirs.idle;
            mine.core_time += theirs.core_time;
        }
        for (mine, theirs) in mine.byte_nanos.iter_mut().zip(theirs.byte_nanos) {
            *mine += theirs;
        }
        mine
    }

    /// The record of the whole run.
    pub fn finish(self) -> MemoryRecord {
        let closed = self.closed();
        let mut peak = ByClass::default();
        let mut peak_local = Bytes::ZERO;
        for window in &closed.windows {
            for class in MemoryClass::ALL {
                peak.0[class as usize] = peak.get(class).max(window.peak.get(class));
            }
            peak_local = peak_local.max(window.peak_local);
        }
        MemoryRecord {
            peak_local,
            peak,
            nodes: Vec::new(),
            devices: Vec::new(),
            gib_seconds: closed.byte_nanos.map(gib_seconds),
            measured: closed.measured.until.since(closed.measured.from),
            samples: closed.samples,
        }
    }

    /// With the time after the last sample accounted as an interval of its own.
    fn closed(mut self) -> Self {
        if !self.is_closed {
            self.advance(self.measured.until.max(self.updated));
            self.windows.push(std::mem::take(&mut self.window));
            self.is_closed = true;
        }
        self
    }

    /// Books the time until `at` with what was held during it.
    fn advance(&mut self, at: Instant) {
        let held = overlap(self.measured, self.updated, at);
        self.updated = at;
        if held == Duration::ZERO {
            return;
        }
        let mut local = Bytes::ZERO;
        for class in MemoryClass::ALL {
            let (index, bytes) = (class as usize, self.now.get(class));
            self.byte_nanos[index] += u128::from(bytes.0) * u128::from(held.as_nanos());
            self.window.peak.0[index] = self.window.peak.0[index].max(bytes);
            if class.is_local() {
                local += bytes;
            }
        }
        self.window.peak_local = self.window.peak_local.max(local);
    }
}

/// How much of the time from `begin` to `end` is measured.
fn overlap(measured: Measured, begin: Instant, end: Instant) -> Duration {
    let (begin, end) = (begin.max(measured.from), end.min(measured.until));
    if end > begin { end.since(begin) } else { Duration::ZERO }
}

fn gib_seconds(byte_nanos: u128) -> f64 {
    byte_nanos as f64 / (1u64 << 30) as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(s)
    }

    fn gib(n: u64) -> ByClass {
        let mut bytes = ByClass::default();
        bytes.add(MemoryClass::InstancePrivate, Bytes::from_gib(n));
        bytes
    }

    const MEASURED: fn(u64, u64) -> Measured = |from, until| Measured { from: at(from), until: at(until) };

    #[test]
    fn peaks_and_memory_time_cover_the_measured_part_only() {
        let mut accounts = Accounting::new(ByClass::default(), MEASURED(10, 20));
        accounts.add(at(0), &gib(8));
        accounts.take(at(5), &gib(6));
        accounts.add(at(15), &gib(1));
        accounts.add(at(20), &gib(9));
        let record = accounts.finish();
        assert_eq!(record.peak_local, Bytes::from_gib(3));
        assert_eq!(record.gib_seconds[0], 2.0 * 5.0 + 3.0 * 5.0);
        assert_eq!(record.mean_local_gib(), Some(2.5));
    }

    #[test]
    fn peaks_of_racks_add_up_interval_by_interval() {
        // One rack holds 5 GiB from 1 to 2, the other 3 GiB from 12 to 13; samples at 0, 10 and 20. In
        // no interval are there more than 5 GiB, although the sum of the peaks is 8.
        let rack = |begin, end, n| {
            let mut accounts = Accounting::new(ByClass::default(), MEASURED(0, 20));
            let mut sampled = 0;
            for (when, add) in [(begin, true), (end, false)] {
                while sampled <= when {
                    accounts.sample(at(sampled), 1, 0, Duration::ZERO);
                    sampled += 10;
                }
                if add { accounts.add(at(when), &gib(n)) } else { accounts.take(at(when), &gib(n)) }
            }
            while sampled <= 20 {
                accounts.sample(at(sampled), 1, 0, Duration::ZERO);
                sampled += 10;
            }
            accounts
        };
        let record = rack(1, 2, 5).merge(rack(12, 13, 3)).finish();
        assert_eq!((record.peak_local, record.gib_seconds[0]), (Bytes::from_gib(5), 8.0));
        assert_eq!(record.samples.iter().map(|s| s.busy).collect::<Vec<_>>(), [2, 2, 2]);
    }
}
