//! Counts and latency histograms while a run lasts.

use platform::records::{Distribution, FunctionRecord, InvocationRecord, Outcome, StartKind, StartRecord};
use traces::Duration;

/// Buckets that double in width every [`HALF`] buckets: exact below 2 x HALF us, within 1 part in HALF
/// above, as [`Distribution`] promises. The layout is that of HdrHistogram with two significant digits;
/// recording is one shift and one increment, which is why it is written here (three to four of them are
/// made for every invocation).
#[derive(Default)]
struct Latencies {
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
    fn record(&mut self, value: Value) {
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

    fn distribution(&self) -> Distribution {
        let zeros = (self.zeros > 0).then_some((0, self.zeros));
        let recorded = self.counts.iter().enumerate().filter(|&(_, &count)| count > 0);
        let recorded = recorded.map(|(bucket, &count)| (largest_in(bucket), u64::from(count)));
        Distribution { buckets: zeros.into_iter().chain(recorded).collect(), sum_us: self.sum_us }
    }
}

/// The largest value in us that falls into a bucket.
fn largest_in(bucket: usize) -> u64 {
    let shift = (bucket / HALF).saturating_sub(1);
    (((bucket - shift * HALF + 1) as u64) << shift) - 1
}

#[derive(Default)]
struct FunctionRecorder {
    arrivals_in_burn_in: u64,
    outcomes: [u64; Outcome::COUNT],
    starts: [u64; StartKind::COUNT],
}

#[derive(Default)]
struct FunctionLatencies {
    end_to_end: Latencies,
    startup: Latencies,
}

#[derive(Default)]
struct StartLatencies {
    queueing: Latencies,
    startup: Latencies,
    service: Latencies,
    end_to_end: Latencies,
}

/// Latencies over all functions by how the sandbox was got.
#[derive(Default)]
pub struct Starts([StartLatencies; StartKind::COUNT]);

impl Starts {
    /// Those of two cells together.
    pub fn merge(mut self, other: &Self) -> Self {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            mine.queueing.add(&theirs.queueing);
            mine.startup.add(&theirs.startup);
            mine.service.add(&theirs.service);
            mine.end_to_end.add(&theirs.end_to_end);
        }
        self
    }

    /// The records, one per start kind.
    pub fn finish(&self) -> [StartRecord; StartKind::COUNT] {
        self.0.each_ref().map(|start| StartRecord {
            queueing: start.queueing.distribution(),
            startup: start.startup.distribution(),
            service: start.service.distribution(),
            end_to_end: start.end_to_end.distribution(),
        })
    }
}

/// Takes one record per invocation and keeps what the experiment asks for.
pub struct Recorder {
    functions: Vec<FunctionRecorder>,
    /// Of those functions that have distributions of their own.
    latencies: Vec<FunctionLatencies>,
    starts: Starts,
    /// Completed invocations whose function's distributions do not know of them yet.
    pending: Vec<Pending>,
    invocations: Option<Vec<InvocationRecord>>,
}

/// The distributions of thousands of functions do not fit into a processor's caches, so nearly every
/// value goes to memory that is far away. They are put off and entered many at a time, when the
/// processor waits for several of them at once.
struct Pending {
    function: u32,
    end_to_end: Value,
    startup: Duration,
}

/// Values that are put off.
const PENDING: usize = 512;

impl Recorder {
    /// A recorder for so many functions, of which the first `distributions` have distributions of
    /// their own, that keeps every invocation if `keep_all`.
    pub fn new(functions: usize, distributions: usize, keep_all: bool) -> Self {
        Self {
            functions: (0..functions).map(|_| FunctionRecorder::default()).collect(),
            latencies: (0..distributions).map(|_| FunctionLatencies::default()).collect(),
            starts: Starts::default(),
            pending: Vec::with_capacity(PENDING),
            invocations: keep_all.then(Vec::new),
        }
    }

    /// An invocation has ended.
    pub fn record(&mut self, record: &InvocationRecord) {
        if let Some(all) = &mut self.invocations {
            all.push(*record);
        }
        let function = &mut self.functions[record.function as usize];
        if record.burn_in {
            function.arrivals_in_burn_in += 1;
            return;
        }
        function.outcomes[record.outcome as usize] += 1;
        let (Outcome::Completed, Some(kind)) = (record.outcome, record.start) else { return };
        function.starts[kind as usize] += 1;
        let end_to_end = Value::of(record.end_to_end());
        if (record.function as usize) < self.latencies.len() {
            self.pending.push(Pending { function: record.function, end_to_end, startup: record.startup_ns });
            if self.pending.len() == PENDING {
                self.enter_pending();
            }
        }
        let start = &mut self.starts.0[kind as usize];
        start.end_to_end.record(end_to_end);
        start.queueing.record(Value::of(record.queueing_ns));
        start.startup.record(Value::of(record.startup_ns));
        start.service.record(Value::of(record.service_ns));
    }

    fn enter_pending(&mut self) {
        for pending in self.pending.drain(..) {
            let own = &mut self.latencies[pending.function as usize];
            own.end_to_end.record(pending.end_to_end);
            own.startup.record(Value::of(pending.startup));
        }
    }

    /// The records: one per function with its name, latencies by start kind, and every invocation
    /// where they were kept.
    pub fn finish(mut self, names: &[String]) -> (Vec<FunctionRecord>, Starts, Vec<InvocationRecord>) {
        self.enter_pending();
        let functions = self
            .functions
            .iter()
            .zip(names)
            .enumerate()
            .map(|(index, (recorder, name))| FunctionRecord {
                name: name.clone(),
                arrivals_in_burn_in: recorder.arrivals_in_burn_in,
                outcomes: recorder.outcomes,
                starts: recorder.starts,
                end_to_end: self
                    .latencies
                    .get(index)
                    .map(|l| l.end_to_end.distribution())
                    .unwrap_or_default(),
                startup: self.latencies.get(index).map(|l| l.startup.distribution()).unwrap_or_default(),
                agent: None,
            })
            .collect();
        (functions, self.starts, self.invocations.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_exact_below_256_us_and_within_1_in_128_above() {
        for us in (0..2_000).chain(
            (11..40).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 12_345 % (1 << power)]),
        ) {
            let mut latencies = Latencies::default();
            latencies.record(Value::of(Duration::from_micros(us)));
            let distribution = latencies.distribution();
            let (value, count) = distribution.buckets[0];
            assert_eq!((distribution.buckets.len(), count, distribution.sum_us), (1, 1, us));
            assert!(value >= us && value - us <= us / 128, "{us} us recorded as {value}");
            assert!(us >= 256 || value == us);
        }
    }
}
