//! Descriptions as tables for people.

use crate::describe::{Description, LlmDescription, Quantiles};
use std::fmt;

/// Characters of a function's name that a table shows.
const NAME_WIDTH: usize = 24;

/// A number with four significant digits, or whole if it is large.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 10_000.0 => format!("{value:.0}"),
        v if v >= 100.0 => format!("{value:.1}"),
        v if v >= 1.0 || v == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

pub(crate) fn quantile_table(f: &mut fmt::Formatter<'_>, rows: &[(&str, Option<Quantiles>)]) -> fmt::Result {
    write!(f, "\n{:<20}", "")?;
    for head in ["mean", "p1", "p25", "p50", "p75", "p90", "p99", "max"] {
        write!(f, " {head:>10}")?;
    }
    for (name, quantiles) in rows {
        write!(f, "\n{name:<20}")?;
        match quantiles {
            None => write!(f, " {:>10}", "none")?,
            Some(q) => {
                for value in [q.mean, q.p1, q.p25, q.p50, q.p75, q.p90, q.p99, q.max] {
                    write!(f, " {:>10}", number(value))?;
                }
            }
        }
    }
    writeln!(f)
}

fn lines(f: &mut fmt::Formatter<'_>, head: &str, provenance: &[String]) -> fmt::Result {
    if provenance.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{head}")?;
    for line in provenance {
        writeln!(f, "  {line}")?;
    }
    Ok(())
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}  {}", self.name, &self.hash[..self.hash.len().min(16)])?;
        writeln!(
            f,
            "{} invocations of {} functions over {} s; burn-in {} s with {} invocations",
            self.invocations,
            self.functions,
            number(self.span_s),
            number(self.burn_in_s),
            self.burn_in_invocations
        )?;
        writeln!(
            f,
            "rate         {} a second on average, {} in the busiest minute ({})",
            number(self.rate.mean_per_s),
            self.rate.peak_per_min,
            self.rate.peak_minute
        )?;
        writeln!(
            f,
            "concurrency  {} on average, P99 {}, largest {}",
            number(self.concurrency.mean),
            self.concurrency.p99,
            self.concurrency.max
        )?;
        writeln!(
            f,
            "burstiness   CV of gaps {} (median of functions {}), Fano factor a minute {}",
            number(self.burstiness.gap_cv),
            number(self.burstiness.function_gap_cv_median),
            number(self.burstiness.fano_per_min)
        )?;
        quantile_table(f, &[("service, ms", self.service_ms), ("memory, MiB", self.memory_mib)])?;
        if !self.top.is_empty() {
            writeln!(
                f,
                "\n{:<NAME_WIDTH$} {:>12} {:>8} {:>14} {:>12}",
                "busiest functions", "invocations", "share", "service, ms", "memory, MiB"
            )?;
        }
        for top in &self.top {
            let mut name: String = top.name.chars().take(NAME_WIDTH).collect();
            if name.len() < top.name.len() {
                name = format!("{}…", name.chars().take(NAME_WIDTH - 1).collect::<String>());
            }
            writeln!(
                f,
                "{name:<NAME_WIDTH$} {:>12} {:>7.2}% {:>14} {:>12}",
                top.invocations,
                100.0 * top.share,
                number(top.mean_service_ms),
                top.memory_mib.map_or_else(|| "-".to_owned(), number)
            )?;
        }
        let odd: Vec<String> = self.defects.iter().map(|(name, count)| format!("{count} {name}")).collect();
        lines(f, "odd", &odd)?;
        lines(f, "provenance", &self.provenance)
    }
}

impl fmt::Display for LlmDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.name)?;
        writeln!(
            f,
            "{} requests to a language model over {} s, {} a second on average",
            self.requests,
            number(self.span_s),
            number(self.mean_per_s)
        )?;
        quantile_table(f, &[("tokens in", self.context_tokens), ("tokens out", self.generated_tokens)])?;
        lines(f, "provenance", &self.provenance)
    }
}
