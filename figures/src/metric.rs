//! What can be asked of a run. The words are those of `claims.toml`.

use crate::estimate::Estimator;
pub use configs::claims::{Counter, Metric, Statistic};

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
        Metric::StartShare(_) | Metric::ColdFraction | Metric::OutcomeShare(_) | Metric::AgentCost => "share",
        Metric::Outcomes(_) => "invocations",
        Metric::Local | Metric::Pool | Metric::Memory | Metric::Class(_) => "GiB",
        Metric::GibSeconds(_) => "GiB·s",
        Metric::Cores => "cores",
        Metric::Counter(_) => "times",
        Metric::CpuSeconds => "s",
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

/// What is made of one value per seed, in words.
pub const fn over(statistic: Statistic) -> &'static str {
    match over_seeds(statistic) {
        Estimator::MedianBootstrap | Estimator::MedianRanks => "median over seeds with its 95 % interval",
        Estimator::MeanT => "mean over seeds with its 95 % interval",
    }
}

/// What an axis calls a statistic of a metric, with its unit where the ticks do not show it.
pub fn title(metric: Metric, statistic: Statistic) -> String {
    let of = |what: &str| match statistic {
        Statistic::Total => what.to_owned(),
        Statistic::Mean => format!("Mean {what}"),
        Statistic::Peak => format!("Peak {what}"),
        percentile => format!("{} {what}", percentile.name().to_uppercase()),
    };
    match metric {
        Metric::EndToEnd => of("end-to-end latency"),
        Metric::Startup => of("start-up latency"),
        Metric::Queueing => of("queueing"),
        Metric::Service => of("service time"),
        Metric::ColdFraction => "Cold starts".into(),
        Metric::StartShare(kind) => format!("{} starts", capitalised(kind.name())),
        Metric::Outcomes(outcome) => format!("{} invocations", capitalised(&words(outcome.name()))),
        Metric::OutcomeShare(outcome) => format!("Invocations {}", words(outcome.name())),
        Metric::AgentCost => "Sandbox cost / model cost".into(),
        Metric::Local => of("local memory (GiB)"),
        Metric::Pool => of("pool memory (GiB)"),
        Metric::Memory => of("memory and pools (GiB)"),
        Metric::Class(class) => of(&format!("{} (GiB)", words(class.name()))),
        Metric::GibSeconds(class) => format!("{} (GiB·s)", capitalised(&words(class.name()))),
        Metric::Cores => of("cores in use"),
        Metric::Counter(counter) => match counter {
            Counter::WithoutTemplate => "Starts without a template".into(),
            Counter::Filled | Counter::Displaced => format!("Templates {}", counter.name()),
            _ => format!("Sandboxes {}", counter.name()),
        },
        Metric::CpuSeconds => "Simulator's CPU time (s)".into(),
    }
}

fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// With its first letter in upper case.
pub fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
