//! Counts and latency histograms while a run lasts, the same for every world.

use crate::records::{Distribution, FunctionRecord, InvocationRecord, Outcome, StartKind, StartRecord};
use traces::Duration;

/// Buckets that double in width every `HALF` buckets: exact below 2 x HALF us, within 1 part in HALF
/// above, as [`Distribution`] promises. The layout is that of HdrHistogram with two significant digits;
/// recording is one shift and one increment, which is why it is written here (three to four of them are
/// made for every invocation).
#[derive(Debug, Default)]
pub struct Latencies {
    counts: Vec<u32>,
    /// Values of zero: most start-up and queueing times are, and need no look-up.
    zeros: u64,
    sum_us: u64,
}

const HALF: usize = 128;

/// A length of time as a histogram takes it.
#[derive(Clone, Copy)]
struct Value {
    us: u64,
    bucket: u32,
}

impl Value {
    fn of(length: Duration) -> Self {
        let us = length.as_micros();
        let shift = (us | (2 * HALF as u64 - 1)).ilog2() - HALF.ilog2();
        Self { us, bucket: shift * HALF as u32 + (us >> shift) as u32 }
    }
}

impl Latencies {
    /// Adds a length of time.
    pub fn record(&mut self, length: Duration) {
        self.enter(Value::of(length));
    }

    fn enter(&mut self, value: Value) {
        if value.us == 0 {
            self.zeros += 1;
            return;
        }
        self.sum_us += value.us;
        let bucket = value.bucket as usize;
        if bucket >= self.counts.len() {
            // To the end of its power of two: a histogram grows a few times at most.
            self.counts.resize((bucket / HALF + 1) * HALF, 0);
        }
        self.counts[bucket] += 1;
    }

    /// Number of values.
    fn count(&self) -> u64 {
        self.zeros + self.counts.iter().map(|&count| u64::from(count)).sum::<u64>()
    }

    fn add(&mut self, other: &Self) {
        self.zeros += other.zeros;
        self.sum_us += other.sum_us;
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
    }

    /// The record of what was added.
    pub fn distribution(&self) -> Distribution {
        let zeros = (self.zeros > 0).then_some((0, self.zeros));
        let recorded = self.counts.iter().enumerate().filter(|&(_, &count)| count > 0);
        // Of its exact size: there may be thousands of distributions.
        let mut buckets = Vec::with_capacity(zeros.iter().len() + recorded.clone().count());
        buckets.extend(zeros);
        buckets.extend(recorded.map(|(bucket, &count)| (largest_in(bucket), u64::from(count))));
        Distribution { buckets, sum_us: self.sum_us }
    }
}

/// The largest value in us that falls into a bucket.
fn largest_in(bucket: usize) -> u64 {
    let shift = (bucket / HALF).saturating_sub(1);
    (((bucket - shift * HALF + 1) as u64) << shift) - 1
}

#[derive(Debug, Default)]
struct FunctionRecorder {
    arrivals_in_burn_in: u64,
    outcomes: [u64; Outcome::COUNT],
    starts: [u64; StartKind::COUNT],
}

#[derive(Debug, Default)]
struct FunctionLatencies {
    end_to_end: Latencies,
    startup: Latencies,
}

/// Warm starts of one function that were nothing but service, as most invocations are: one entry
/// here stands for one in each of its counts and distributions, which is seen to at the end.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Plain(Latencies);

#[derive(Debug, Default)]
struct StartLatencies {
    queueing: Latencies,
    startup: Latencies,
    service: Latencies,
    end_to_end: Latencies,
    /// Service times that are the whole latency, as nearly all are: entered once, counted in both.
    nothing_else: Latencies,
}

/// Latencies over all functions by how the sandbox was got.
#[derive(Debug, Default)]
pub struct Starts([StartLatencies; StartKind::COUNT]);

impl Starts {
    /// Those of two cells together.
    pub fn merge(mut self, other: &Self) -> Self {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            mine.queueing.add(&theirs.queueing);
            mine.startup.add(&theirs.startup);
            mine.service.add(&theirs.service);
            mine.end_to_end.add(&theirs.end_to_end);
            mine.nothing_else.add(&theirs.nothing_else);
        }
        self
    }

    /// The records, one per start kind.
    pub fn finish(mut self) -> [StartRecord; StartKind::COUNT] {
        self.0.each_mut().map(|start| {
            let zeros = start.nothing_else.count();
            start.queueing.zeros += zeros;
            start.startup.zeros += zeros;
            start.service.add(&start.nothing_else);
            start.end_to_end.add(&start.nothing_else);
            StartRecord {
                queueing: start.queueing.distribution(),
                startup: start.startup.distribution(),
                service: start.service.distribution(),
                end_to_end: start.end_to_end.distribution(),
            }
        })
    }
}

/// Takes one record per invocation and keeps what the experiment asks for.
#[derive(Debug)]
pub struct Recorder {
    functions: Vec<FunctionRecorder>,
    /// Of those functions that have distributions of their own.
    latencies: Vec<FunctionLatencies>,
    plain: Vec<Plain>,
    starts: Starts,
    pending: Vec<Pending>,
    pending_plain: Vec<(u32, Duration)>,
    invocations: Option<Vec<InvocationRecord>>,
}

/// An invocation whose counts and distributions do not know of it yet.
///
/// What is kept of thousands of functions does not fit into a processor's caches, so nearly every
/// value goes to memory that is far away. They are put off and entered many at a time, when the
/// processor waits for several of them at once. Those that are [`Plain`] are put off apart.
#[derive(Clone, Copy, Debug)]
struct Pending {
    function: u32,
    outcome: Outcome,
    start: Option<StartKind>,
    burn_in: bool,
    queueing: Duration,
    startup: Duration,
    service: Duration,
}

/// Invocations that are put off.
const PENDING: usize = 512;

impl Recorder {
    /// A recorder for so many functions, of which the first `distributions` have distributions of
    /// their own, that keeps every invocation if `keep_all`.
    pub fn new(functions: usize, distributions: usize, keep_all: bool) -> Self {
        Self {
            functions: (0..functions).map(|_| FunctionRecorder::default()).collect(),
            latencies: (0..distributions).map(|_| FunctionLatencies::default()).collect(),
            plain: (0..distributions).map(|_| Plain::default()).collect(),
            starts: Starts::default(),
            pending: Vec::with_capacity(PENDING),
            pending_plain: Vec::with_capacity(PENDING),
            invocations: keep_all.then(Vec::new),
        }
    }

    /// An invocation has ended.
    #[inline]
    pub fn record(&mut self, record: &InvocationRecord) {
        if let Some(all) = &mut self.invocations {
            all.push(*record);
        }
        let at_once = record.queueing_ns + record.startup_ns == Duration::ZERO;
        let warm = record.outcome == Outcome::Completed && record.start == Some(StartKind::Warm);
        if at_once && warm && !record.burn_in && (record.function as usize) < self.plain.len() {
            self.pending_plain.push((record.function, record.service_ns));
            if self.pending_plain.len() == PENDING {
                self.enter_plain();
            }
            return;
        }
        self.put_off(record);
    }

    #[inline(never)]
    fn put_off(&mut self, record: &InvocationRecord) {
        self.pending.push(Pending {
            function: record.function,
            outcome: record.outcome,
            start: record.start,
            burn_in: record.burn_in,
            queueing: record.queueing_ns,
            startup: record.startup_ns,
            service: record.service_ns,
        });
        if self.pending.len() == PENDING {
            self.enter_pending();
        }
    }

    fn enter_pending(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        for one in pending.drain(..) {
            self.enter(one);
        }
        self.pending = pending;
    }

    #[inline(never)]
    fn enter_plain(&mut self) {
        for &(function, service) in &self.pending_plain {
            self.plain[function as usize].0.record(service);
        }
        self.pending_plain.clear();
    }

    fn enter(&mut self, one: Pending) {
        let function = &mut self.functions[one.function as usize];
        if one.burn_in {
            function.arrivals_in_burn_in += 1;
            return;
        }
        function.outcomes[one.outcome as usize] += 1;
        let (Outcome::Completed, Some(kind)) = (one.outcome, one.start) else { return };
        function.starts[kind as usize] += 1;
        let end_to_end = Value::of(one.queueing + one.startup + one.service);
        if let Some(own) = self.latencies.get_mut(one.function as usize) {
            own.end_to_end.enter(end_to_end);
            own.startup.record(one.startup);
        }
        let start = &mut self.starts.0[kind as usize];
        if one.queueing + one.startup == Duration::ZERO {
            start.nothing_else.enter(end_to_end);
            return;
        }
        start.end_to_end.enter(end_to_end);
        start.queueing.record(one.queueing);
        start.startup.record(one.startup);
        start.service.record(one.service);
    }

    /// The records: one per function with its name, latencies by start kind, and every invocation
    /// where they were kept.
    pub fn finish(mut self, names: &[String]) -> (Vec<FunctionRecord>, Starts, Vec<InvocationRecord>) {
        self.enter_pending();
        self.enter_plain();
        // Histograms go as soon as their records are made, so that never all of both are there.
        let mut latencies = self.latencies.into_iter().zip(self.plain);
        let mut starts = self.starts;
        let of_functions = self.functions.into_iter().zip(names);
        let functions = of_functions
            .map(|(mut function, name)| {
                let (mut own, Plain(plain)) = latencies.next().unwrap_or_default();
                // What was entered once counts everywhere.
                let count = plain.count();
                function.outcomes[Outcome::Completed as usize] += count;
                function.starts[StartKind::Warm as usize] += count;
                starts.0[StartKind::Warm as usize].nothing_else.add(&plain);
                own.end_to_end.add(&plain);
                own.startup.zeros += count;
                FunctionRecord {
                    name: name.clone(),
                    arrivals_in_burn_in: function.arrivals_in_burn_in,
                    outcomes: function.outcomes,
                    starts: function.starts,
                    end_to_end: own.end_to_end.distribution(),
                    startup: own.startup.distribution(),
                    agent: None,
                }
            })
            .collect();
        (functions, starts, self.invocations.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_exact_below_256_us_and_within_1_in_128_above() {
        let around = |power: u32| {
            [(1 << power) - 1, 1 << power, (1 << power) + 12_345 % (1 << power), (5 << power) / 3]
        };
        for us in (0..3_000u64).chain((11..40).flat_map(around)) {
            let mut latencies = Latencies::default();
            latencies.record(Duration::from_micros(us));
            let distribution = latencies.distribution();
            let (value, count) = distribution.buckets[0];
            assert_eq!((distribution.buckets.len(), count, distribution.sum_us), (1, 1, us));
            assert!(value >= us && value - us <= us / 128, "{us} us recorded as {value}");
            assert!(us >= 256 || value == us);
        }
    }
}
