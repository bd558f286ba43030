//! Counts and latency histograms while a run lasts.

use hdrhistogram::Histogram;
use platform::records::{Distribution, FunctionRecord, InvocationRecord, Outcome, StartKind, StartRecord};
use traces::Duration;

/// Two significant digits: exact below 256 us, 1 part in 128 above.
const DIGITS: u8 = 2;

struct Latencies {
    histogram: Histogram<u32>,
    /// Values of zero: most start-up and queueing times are, and need no look-up.
    zeros: u64,
    sum_us: u64,
}

impl Latencies {
    fn new() -> Self {
        let histogram = Histogram::new(DIGITS).expect("two digits are within the histogram's range");
        Self { histogram, zeros: 0, sum_us: 0 }
    }

    fn record(&mut self, length: Duration) {
        let us = length.as_micros();
        if us == 0 {
            self.zeros += 1;
            return;
        }
        self.histogram.record(us).expect("the histogram resizes itself");
        self.sum_us += us;
    }

    fn distribution(&self) -> Distribution {
        let zeros = (self.zeros > 0).then_some((0, self.zeros));
        let recorded = self
            .histogram
            .iter_recorded()
            .map(|bucket| (bucket.value_iterated_to(), bucket.count_since_last_iteration()));
        let buckets = zeros.into_iter().chain(recorded).collect();
        Distribution { buckets, sum_us: self.sum_us }
    }
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
                    end_to_end: Latencies::new(),
                    startup: Latencies::new(),
                })
                .collect(),
            starts: std::array::from_fn(|_| StartRecorder {
                queueing: Latencies::new(),
                startup: Latencies::new(),
                service: Latencies::new(),
                end_to_end: Latencies::new(),
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
