//! Hybrid histogram ("Serverless in the Wild", Shahrad et al., ATC'20), as coded in faascache-sim
//! (policy HIST).
//!
//! Each function has a histogram of the times between its arrivals. Where they are regular, a sandbox
//! is given up after a use and made again shortly before the next arrival is likely, or kept if that
//! is soon; it is then kept for as long as nearly all arrivals took. Where they are not, it is kept
//! for a long fixed time.
//!
//! | times between arrivals                          | answer                                          |
//! |-------------------------------------------------|-------------------------------------------------|
//! | fewer than `min_samples`                        | kept for `default_ttl`                          |
//! | variance / mean > `max_dispersion`              | kept for `default_ttl`                          |
//! | head in the first bin                           | kept for 1.1 × tail                             |
//! | else                                            | pre-warm at 0.9 × head, kept for 1.1 × tail     |
//!
//! A time is counted in whole bins, rounded down. Head is the bin below that of the 5th percentile (0
//! if there is none), tail the bin above that of the 99th, at most the last one's end; a percentile
//! lies in the first bin up to which more than that share of the times have been counted. Variance
//! (of the population) and mean are those of whole bins; a mean of zero counts as regular. Times out
//! of bounds (4 h and more) are not counted, and leave the answer as it is; the paper's forecast for
//! functions that mostly have such times (ARIMA) is in the paper only, as is its test of the
//! histogram by the variation of the bins' counts. All lengths count from the function's last
//! arrival, a pre-warmed sandbox's keep-alive from the pre-warm. If the pre-warm's time has passed
//! when the invocation ends, the sandbox is kept instead.
//!
//! Where this differs from the source: that code makes the pre-warmed sandbox when any later
//! invocation of any function comes, and another one each time; here it is made once, at its time. It
//! counts the keep-alive of a kept sandbox from the arrival that used it, which is the function's last
//! one unless several run at once.

use super::{Keep, KeepAlivePolicy};
use crate::ids::SandboxId;
use serde::{Deserialize, Serialize};
use traces::{Duration, FunctionId, Instant};

/// Parameters; `Default` is the source's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HybridHistogramParameters {
    /// Width of a bin. Source: 1 min.
    pub bin: Duration,
    /// Number of bins; longer times are not counted. Source: 240, that is 4 h.
    pub bins: u32,
    /// Percentile before which no arrival is expected. Source: 5.
    pub head_percent: u32,
    /// Percentile after which no arrival is expected. Source: 99.
    pub tail_percent: u32,
    /// How much earlier than the head and later than the tail, in percent of them. Source: 10.
    pub margin_percent: u32,
    /// Largest variance / mean of the times, in bins, at which they count as regular. Source: 2.
    pub max_dispersion: f64,
    /// Counted times below which nothing is concluded. Source: 2.
    pub min_samples: u32,
    /// Keep-alive where nothing is concluded. Source: 2 h.
    pub default_ttl: Duration,
}

impl Default for HybridHistogramParameters {
    fn default() -> Self {
        Self {
            bin: Duration::MINUTE,
            bins: 240,
            head_percent: 5,
            tail_percent: 99,
            margin_percent: 10,
            max_dispersion: 2.0,
            min_samples: 2,
            default_ttl: Duration::MINUTE * 120,
        }
    }
}

/// Learns when each function is likely to be asked for again.
#[derive(Clone, Debug)]
pub struct HybridHistogram {
    parameters: HybridHistogramParameters,
    functions: Vec<Function>,
}

#[derive(Clone, Debug, Default)]
struct Function {
    last_arrival: Option<Instant>,
    /// Made with the first time that is counted.
    histogram: Option<Box<Histogram>>,
}

/// Times between arrivals in whole bins, with both percentiles at hand: a new time moves them by a
/// few bins at most, so that nothing is summed anew.
#[derive(Clone, Debug)]
struct Histogram {
    counts: Vec<u32>,
    total: u64,
    sum: u128,
    sum_of_squares: u128,
    head: Percentile,
    tail: Percentile,
}

/// The first bin up to which more than `percent` of the times have been counted.
#[derive(Clone, Copy, Debug)]
struct Percentile {
    percent: u64,
    bin: usize,
    /// Times in lower bins.
    below: u64,
}

impl Percentile {
    fn at(percent: u32) -> Self {
        Self { percent: u64::from(percent), bin: 0, below: 0 }
    }

    fn counted(&mut self, bin: usize, counts: &[u32], total: u64) {
        let exceeds = |count: u64| count * 100 > self.percent * total;
        self.below += u64::from(bin < self.bin);
        while !exceeds(self.below + u64::from(counts[self.bin])) && self.bin + 1 < counts.len() {
            self.below += u64::from(counts[self.bin]);
            self.bin += 1;
        }
        while self.bin > 0 && exceeds(self.below) {
            self.bin -= 1;
            self.below -= u64::from(counts[self.bin]);
        }
    }
}

impl Histogram {
    fn new(parameters: &HybridHistogramParameters) -> Self {
        Self {
            counts: vec![0; parameters.bins as usize],
            total: 0,
            sum: 0,
            sum_of_squares: 0,
            head: Percentile::at(parameters.head_percent),
            tail: Percentile::at(parameters.tail_percent),
        }
    }

    fn count(&mut self, bin: usize) {
        self.counts[bin] += 1;
        self.total += 1;
        self.sum += bin as u128;
        self.sum_of_squares += (bin * bin) as u128;
        self.head.counted(bin, &self.counts, self.total);
        self.tail.counted(bin, &self.counts, self.total);
    }

    /// Whether variance / mean is at most that; of `n` times, (n × sum of squares - sum²) / (n × sum).
    fn is_regular(&self, max_dispersion: f64) -> bool {
        let n = u128::from(self.total);
        let spread = n * self.sum_of_squares - self.sum * self.sum;
        self.sum == 0 || spread as f64 <= max_dispersion * (n * self.sum) as f64
    }
}

impl HybridHistogram {
    /// Nothing is known yet of so many functions.
    pub fn new(parameters: HybridHistogramParameters, functions: usize) -> Self {
        Self { parameters, functions: vec![Function::default(); functions] }
    }

    /// When a sandbox is likely to be needed after an arrival, and for how long to keep it.
    fn windows(&self, function: &Function) -> (Duration, Duration) {
        let p = &self.parameters;
        let conclusive =
            |h: &&Histogram| h.total >= u64::from(p.min_samples) && h.is_regular(p.max_dispersion);
        let Some(histogram) = function.histogram.as_deref().filter(conclusive) else {
            return (Duration::ZERO, p.default_ttl);
        };
        let head = histogram.head.bin.saturating_sub(1) as u64;
        let tail = (histogram.tail.bin as u64 + 1).min(u64::from(p.bins));
        let percent = |bins: u64, percent: u32| p.bin * bins * u64::from(percent) / 100;
        (percent(head, 100 - p.margin_percent.min(100)), percent(tail, 100 + p.margin_percent))
    }
}

impl KeepAlivePolicy for HybridHistogram {
    fn watches_arrivals(&self) -> bool {
        true
    }

    fn arrived(&mut self, now: Instant, function: FunctionId) {
        let known = &mut self.functions[function.index()];
        let Some(last) = known.last_arrival.replace(now) else { return };
        let bin = now.since(last).as_nanos() / self.parameters.bin.as_nanos().max(1);
        if bin < u64::from(self.parameters.bins) {
            let make = || Box::new(Histogram::new(&self.parameters));
            known.histogram.get_or_insert_with(make).count(bin as usize);
        }
    }

    fn after_use(&mut self, now: Instant, _sandbox: SandboxId, function: FunctionId) -> Keep {
        let known = &self.functions[function.index()];
        let last = known.last_arrival.unwrap_or(now);
        let (pre_warm, keep_alive) = self.windows(known);
        let at = last + pre_warm;
        if pre_warm > Duration::ZERO && at > now {
            return Keep::PreWarm { at, until: at + keep_alive };
        }
        match last + keep_alive {
            until if until > now => Keep::Until(until),
            _ => Keep::Evict,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const F: FunctionId = FunctionId(0);

    fn seconds(s: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(s)
    }

    /// The answer two seconds after the last of these arrivals (in seconds).
    fn answer(arrivals: &[u64]) -> Keep {
        let mut policy = HybridHistogram::new(HybridHistogramParameters::default(), 1);
        arrivals.iter().for_each(|&s| policy.arrived(seconds(s), F));
        policy.after_use(seconds(arrivals[arrivals.len() - 1] + 2), SandboxId(0), F)
    }

    #[test]
    fn few_times_conclude_nothing() {
        // One arrival: no time. Two: one time. Both keep for 2 h after the last arrival.
        assert_eq!(answer(&[5]), Keep::Until(seconds(5 + 7200)));
        assert_eq!(answer(&[5, 605]), Keep::Until(seconds(605 + 7200)));
    }

    #[test]
    fn a_regular_function_is_made_again_before_it_is_asked_for() {
        // Every 600 s: bin 10, twice. Head: bin 9; pre-warm at 0.9 × 9 min = 486 s. Tail: bin 11;
        // kept for 1.1 × 11 min = 726 s from then.
        let at = 1200 + 486;
        assert_eq!(answer(&[0, 600, 1200]), Keep::PreWarm { at: seconds(at), until: seconds(at + 726) });
    }

    #[test]
    fn a_frequent_function_is_kept() {
        // Every 90 s: bin 1, twice. Head: bin 0, so no pre-warm. Tail: bin 2; 1.1 × 2 min = 132 s.
        assert_eq!(answer(&[0, 90, 180]), Keep::Until(seconds(180 + 132)));
        // Every 20 s: bin 0; a mean of zero counts as regular. Tail: bin 1; 66 s.
        assert_eq!(answer(&[0, 20, 40]), Keep::Until(seconds(40 + 66)));
    }

    #[test]
    fn an_irregular_function_is_kept_for_long() {
        // Bins 0 and 10: mean 5, variance 25, ratio 5 > 2.
        assert_eq!(answer(&[0, 10, 610]), Keep::Until(seconds(610 + 7200)));
        // Bins 2 and 6: mean 4, variance 4, ratio 1: regular. Head: the 5th percentile is in bin 2, so
        // bin 1, 54 s; tail: bin 7, 462 s.
        let at = 480 + 54;
        assert_eq!(answer(&[0, 120, 480]), Keep::PreWarm { at: seconds(at), until: seconds(at + 462) });
    }

    #[test]
    fn times_out_of_bounds_change_nothing() {
        // 240 min is the first time not counted: what 600 s taught still holds.
        let far = 1200 + 14_400;
        let at = far + 486;
        assert_eq!(answer(&[0, 600, 1200, far]), Keep::PreWarm { at: seconds(at), until: seconds(at + 726) });
        // Only such times: nothing is known.
        assert_eq!(answer(&[0, 14_400, 28_800]), Keep::Until(seconds(28_800 + 7200)));
    }

    #[test]
    fn a_pre_warm_that_comes_too_late_keeps_the_sandbox() {
        // As the regular function, but the last invocation takes 10 min: 1.1 × 11 min after its
        // arrival are left. One that takes longer than even that is not kept.
        let mut policy = HybridHistogram::new(HybridHistogramParameters::default(), 1);
        [0, 600, 1200].iter().for_each(|&s| policy.arrived(seconds(s), F));
        assert_eq!(policy.after_use(seconds(1800), SandboxId(0), F), Keep::Until(seconds(1200 + 726)));
        assert_eq!(policy.after_use(seconds(1926), SandboxId(0), F), Keep::Evict);
    }

    #[test]
    fn percentiles_are_those_of_a_full_count() {
        let parameters = HybridHistogramParameters { bins: 24, ..Default::default() };
        let mut histogram = Histogram::new(&parameters);
        let mut state = 1u64;
        for _ in 0..5000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            // The mean wanders, so that the percentiles go both ways.
            let wander = (histogram.total / 500) % 2 * 12;
            histogram.count(((state >> 40) % 12 + wander) as usize);
            for percentile in [histogram.head, histogram.tail] {
                let mut counted = 0;
                let bin = histogram.counts.iter().position(|&count| {
                    counted += u64::from(count);
                    counted * 100 > percentile.percent * histogram.total
                });
                assert_eq!(Some(percentile.bin), bin);
            }
        }
    }
}
