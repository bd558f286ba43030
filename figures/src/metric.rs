//! What can be asked of a run. The words are those of `claims.toml`.

use crate::estimate::Estimator;
pub use configs::claims::{Metric, Statistic};

/// The four latencies of an invocation; the first is the sum of the others.
pub const LATENCIES: [Metric; 4] = [Metric::EndToEnd, Metric::Startup, Metric::Queueing, Metric::Service];

/// Percentiles that are kept of every latency, with their level.
pub const PERCENTILES: [(Statistic, f64); 4] =
    [(Statistic::P50, 0.50), (Statistic::P75, 0.75), (Statistic::P90, 0.90), (Statistic::P99, 0.99)];

/// Position among [`PERCENTILES`]; `None` of a statistic that is no percentile.
pub fn percentile(statistic: Statistic) -> Option<usize> {
    PERCENTILES.iter().position(|&(s, _)| s == statistic)
}

/// Unit of a metric's values.
pub const fn unit(metric: Metric) -> &'static str {
    match metric {
        Metric::EndToEnd | Metric::Startup | Metric::Queueing | Metric::Service => "ms",
        Metric::StartShare(_) | Metric::ColdFraction => "share",
        Metric::Outcomes(_) => "invocations",
        Metric::Local => "GiB",
        Metric::GibSeconds(_) => "GiB·s",
    }
}

/// How values of a statistic, one per seed, are summarised: medians for percentiles and peaks, means
/// for means, shares, counts and sums.
pub const fn over_seeds(statistic: Statistic) -> Estimator {
    match statistic {
        Statistic::P50 | Statistic::P75 | Statistic::P90 | Statistic::P99 | Statistic::Peak => {
            Estimator::MedianBootstrap
        }
        Statistic::Mean | Statistic::Total => Estimator::MeanT,
    }
}
