//! The measurements for people.

use super::Measured;

const HEADER: [&str; 10] = [
    "function",
    "language",
    "start ms",
    "first ms",
    "service ms",
    "peak MB",
    "PSS MB",
    "own MB",
    "threads",
    "limit MB",
];

/// Aligned columns, one row per function; below them what was wrong. MB are 10^6 bytes, as declared limits are. The
/// peak counts file pages, which others may have brought; "own" is anonymous memory after the base calls.
#[must_use]
pub fn table(rows: &[Measured]) -> String {
    let mut lines: Vec<Vec<String>> = vec![HEADER.map(str::to_owned).to_vec()];
    lines[0].push("check".to_owned());
    for row in rows {
        let limit = row.memory_limit_bytes.map_or_else(String::new, mb);
        let check = if row.faults.is_empty() { "ok" } else { "FAILED" };
        lines.push(vec![
            row.function.clone(),
            row.language.name().to_owned(),
            format!("{:.0}", row.start_ms),
            ms(row.first_call_ms),
            ms(row.service_ms),
            mb(row.usage.peak_rss_bytes),
            mb(row.usage.pss_bytes),
            mb(row.usage.anonymous_bytes),
            row.usage.threads.to_string(),
            limit,
            check.to_owned(),
        ]);
    }
    let columns = HEADER.len() + 1;
    let widths: Vec<usize> =
        (0..columns).map(|i| lines.iter().map(|line| line[i].len()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for line in lines {
        for (i, cell) in line.iter().enumerate() {
            // Words to the left, numbers to the right.
            let words = i < 2 || i + 1 == columns;
            let width = if i + 1 == columns { 0 } else { widths[i] };
            let gap = if i == 0 { "" } else { "  " };
            text += &if words { format!("{gap}{cell:width$}") } else { format!("{gap}{cell:>width$}") };
        }
        text.push('\n');
    }
    for row in rows {
        for fault in &row.faults {
            text += &format!("{}: {fault}\n", row.function);
        }
        if row.memory_limit_bytes.is_some_and(|limit| row.usage.anonymous_bytes > limit) {
            text += &format!("{}: its own memory is above its declared limit\n", row.function);
        }
    }
    text
}

fn ms(value: f64) -> String {
    if value.is_nan() { "-".to_owned() } else { format!("{value:.1}") }
}

fn mb(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / 1e6)
}
