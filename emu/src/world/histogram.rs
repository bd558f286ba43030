//! Latency distributions as the records want them.

use std::collections::BTreeMap;

use platform::records::Distribution;
use traces::Duration;

/// Exact below 256 us, within 1 part in 128 above: the buckets that [`Distribution`] promises.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    counts: BTreeMap<u64, u64>,
    sum_us: u64,
}

impl Histogram {
    pub fn record(&mut self, length: Duration) {
        let us = length.as_micros();
        // The seven bits below the highest one are kept.
        let shift = (us | 255).ilog2() - 7;
        let largest = (((us >> shift) + 1) << shift) - 1;
        *self.counts.entry(largest).or_default() += 1;
        self.sum_us += us;
    }

    pub fn distribution(self) -> Distribution {
        Distribution { buckets: self.counts.into_iter().collect(), sum_us: self.sum_us }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_exact_below_256_us_and_within_1_in_128_above() {
        for us in
            (0..3_000).chain((12..40).flat_map(|power| [(1 << power) - 1, 1 << power, (5 << power) / 3]))
        {
            let mut histogram = Histogram::default();
            histogram.record(Duration::from_micros(us));
            let distribution = histogram.distribution();
            let value = distribution.buckets[0].0;
            assert_eq!((distribution.count(), distribution.sum_us), (1, us));
            assert!(value >= us && value - us <= us / 128, "{us} us as {value}");
            assert!(us >= 256 || value == us, "{us} us as {value}");
        }
    }
}
