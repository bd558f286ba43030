//! The rows of the bench of starts as text.

use super::{Engine, Row};
use crate::bench_sandbox::Quantiles;

/// The rows as text.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<20} {:<13} {:>6} {:>8} {:>4} {:>9} {:>17} {:>9} {:>9} {:>17} {:>9} {:>9}\n",
        "function",
        "engine",
        "starts",
        "MiB",
        "thr",
        "sandbox",
        "engine [P99]",
        "reply",
        "warm",
        "to reply [P99]",
        "private",
        "PSS",
    );
    // What an engine has no moment for is no time.
    let ms = |us: f64| if us == 0.0 { "-".into() } else { format!("{:.2}", us / 1e3) };
    let both = |times: Quantiles| match times.median_us {
        0.0 => "-".into(),
        median => format!("{:.2} [{:.2}]", median / 1e3, times.p99_us / 1e3),
    };
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
    for row in rows {
        text.push_str(&format!("{:<20} {:<13} ", row.function, row.engine.name()));
        if let Some(reason) = &row.not_run {
            text.push_str(&format!("NOT-RUN {reason}\n"));
            continue;
        }
        text.push_str(&format!(
            "{:>6} {:>8} {:>4} {:>9} {:>17} {:>9} {:>9} {:>17} {:>9} {:>9}\n",
            row.starts,
            mib(row.footprint_bytes),
            row.threads,
            ms(row.sandbox.median_us),
            both(row.engine_time),
            ms(row.reply.median_us),
            ms(row.warm_reply.median_us),
            both(row.first_reply),
            mib(row.private_bytes),
            mib(row.proportional_bytes),
        ));
    }
    text.push_str("times in ms: medians; memory in MiB after the first reply; warm: a second call\n");
    text.push_str(&ratios(rows));
    text.push_str("\nsteps of an attach, us\n");
    let names = ["files", "program", "unmap", "map", "threads", "seal"];
    text.push_str(&format!("{:<20} {:<13}", "function", "engine"));
    names.iter().for_each(|name| text.push_str(&format!(" {name:>9}")));
    text.push('\n');
    for row in rows.iter().filter(|row| !row.steps.is_empty()) {
        text.push_str(&format!("{:<20} {:<13}", row.function, row.engine.name()));
        for name in names {
            text.push_str(&format!(" {:>9.1}", row.steps.get(name).copied().unwrap_or(0.0)));
        }
        text.push('\n');
    }
    text
}

/// How many times quicker each engine is than a cold start, and than plain CRIU, in three spans.
fn ratios(rows: &[Row]) -> String {
    type Span = fn(&Row) -> Quantiles;
    let spans: [(&str, Span); 3] =
        [("ready", |row| row.ready), ("reply", |row| row.first_reply), ("without", |row| row.overhead)];
    let mut text = format!("\n{:<20} {:<13}", "times quicker than", "");
    let rivals = [(Engine::Cold, "a cold start"), (Engine::Criu, "plain CRIU")];
    rivals.iter().for_each(|(_, name)| text.push_str(&format!(" {name:>29}")));
    text.push_str(&format!("\n{:<20} {:<13}", "function", "engine"));
    rivals.iter().flat_map(|_| &spans).for_each(|(name, _)| text.push_str(&format!(" {name:>9}")));
    text.push('\n');
    for row in rows.iter().filter(|row| row.starts > 0) {
        text.push_str(&format!("{:<20} {:<13}", row.function, row.engine.name()));
        for (rival, _) in rivals {
            let same = |other: &&Row| other.function == row.function && other.engine == rival;
            for (_, span) in spans {
                let its = rows.iter().find(same).map_or(0.0, |rival| span(rival).median_us);
                let own = span(row).median_us;
                let ratio = if its * own > 0.0 { format!("{:.1}", its / own) } else { "-".into() };
                text.push_str(&format!(" {ratio:>9}"));
            }
        }
        text.push('\n');
    }
    text + "ready: until it waits for a request; reply: until the first reply; without: the same without a warm call\n"
}

/// The rows as comma-separated values: one line each, times in microseconds.
#[must_use]
pub fn csv(rows: &[Row]) -> String {
    let mut text = String::from(
        "function,engine,not_run,starts,footprint_bytes,threads,sandbox_us,sandbox_p99_us,engine_us,engine_p99_us,\
         ready_us,ready_p99_us,reply_us,reply_p99_us,warm_reply_us,warm_reply_p99_us,first_reply_us,first_reply_p99_us,\
         overhead_us,overhead_p99_us,private_bytes,proportional_bytes\n",
    );
    for row in rows {
        let reason = row.not_run.clone().unwrap_or_default().replace('"', "'");
        let mut words = vec![
            row.function.clone(),
            row.engine.name().to_owned(),
            format!("\"{reason}\""),
            row.starts.to_string(),
            row.footprint_bytes.to_string(),
            row.threads.to_string(),
        ];
        for times in [
            row.sandbox,
            row.engine_time,
            row.ready,
            row.reply,
            row.warm_reply,
            row.first_reply,
            row.overhead,
        ] {
            words.extend([format!("{:.1}", times.median_us), format!("{:.1}", times.p99_us)]);
        }
        words.extend([row.private_bytes.to_string(), row.proportional_bytes.to_string()]);
        text.push_str(&words.join(","));
        text.push('\n');
    }
    text
}
