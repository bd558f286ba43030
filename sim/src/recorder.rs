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

impl Latencies {
    fn record(&mut self, length: Duration) {
        let us = length.as_micros();
        if us == 0 {
            self.zeros += 1;
            return;
        }
        self.sum_us += us;
        let shift = (us | (2 * HALF as u64 - 1)).ilog2() - HALF.ilog2();
        let bucket = shift as usize * HALF + (us >> shift) as usize;
        if bucket >= self.counts.len() {
            // To the end of its power of two: a histogram grows a few times at most.
            self.counts.resize((bucket / HALF + 1) * HALF, 0);
        }
        self.counts[bucket] += 1;
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

struct FunctionRecorder {
    arrivals_in_burn_in: u64,
    outcomes: [u64; Outcome::COUNT],
    starts: [u64; StartKind::COUNT],
    end_to_end: Latencies,
    startup: Latencies,
}

struct StartRecorder {
    queueing: Latencies,
    startup: Latencies,
    service: Latencies,
    end_to_end: Latencies,
}

/// Takes one record per invocation and keeps what the experiment asks for.
pub struct Recorder {
    functions: Vec<FunctionRecorder>,
    starts: [StartRecorder; StartKind::COUNT],
    invocations: Option<Vec<InvocationRecord>>,
}

impl Recorder {
    /// A recorder for so many functions that keeps every invocation if `keep_all`.
    pub fn new(functions: usize, keep_all: bool) -> Self {
        Self {
            functions: (0..functions)
                .map(|_| FunctionRecorder {
                    arrivals_in_burn_in: 0,
                    outcomes: [0; Outcome::COUNT],
                    starts: [0; StartKind::COUNT],
                    end_to_end: Latencies::default(),
                    startup: Latencies::default(),
                })
                .collect(),
            starts: std::array::from_fn(|_| StartRecorder {
                queueing: Latencies::default(),
                startup: Latencies::default(),
                service: Latencies::default(),
                end_to_end: Latencies::default(),
            }),
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
        let end_to_end = record.end_to_end();
        function.starts[kind as usize] += 1;
        function.end_to_end.record(end_to_end);
        function.startup.record(record.startup_ns);
        let start = &mut self.starts[kind as usize];
        start.queueing.record(record.queueing_ns);
        start.startup.record(record.startup_ns);
        start.service.record(record.service_ns);
        start.end_to_end.record(end_to_end);
    }

    /// The records: one per function with its name, one per start kind, and every invocation in
    /// workload order where they were kept.
    pub fn finish(
        self,
        names: &[traces::Function],
    ) -> (Vec<FunctionRecord>, [StartRecord; StartKind::COUNT], Vec<InvocationRecord>) {
        let functions = self
            .functions
            .iter()
            .zip(names)
            .map(|(recorder, function)| FunctionRecord {
                name: function.name.clone(),
                arrivals_in_burn_in: recorder.arrivals_in_burn_in,
                outcomes: recorder.outcomes,
                starts: recorder.starts,
                end_to_end: recorder.end_to_end.distribution(),
                startup: recorder.startup.distribution(),
            })
            .collect();
        let starts = self.starts.each_ref().map(|start| StartRecord {
            queueing: start.queueing.distribution(),
            startup: start.startup.distribution(),
            service: start.service.distribution(),
            end_to_end: start.end_to_end.distribution(),
        });
        let mut invocations = self.invocations.unwrap_or_default();
        invocations.sort_by_key(|record| record.number);
        (functions, starts, invocations)
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
            latencies.record(Duration::from_micros(us));
            let distribution = latencies.distribution();
            let (value, count) = distribution.buckets[0];
            assert_eq!((distribution.buckets.len(), count, distribution.sum_us), (1, 1, us));
            assert!(value >= us && value - us <= us / 128, "{us} us recorded as {value}");
            assert!(us >= 256 || value == us);
        }
    }
}
