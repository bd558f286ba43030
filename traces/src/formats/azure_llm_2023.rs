//! Azure LLM inference 2023: one row a request, with tokens in and out.
//!
//! Source: Patel et al., "Splitwise", ISCA 2024; Azure/AzurePublicDataset,
//! `AzureLLMInferenceTrace_{code,conv}.csv`. Columns `TIMESTAMP` (date and time to 100 ns),
//! `ContextTokens`, `GeneratedTokens`. The first request arrives at zero.

use crate::error::Result;
use crate::llm::{LlmRequest, LlmTrace};
use crate::read::Source;
use crate::table::Table;
use crate::time::{Duration, Instant};

const FORMAT: &str = "azure-llm-2023";
const TIMESTAMP: &str = "a date and time such as 2023-11-16 18:17:03.9799600";

/// Reads the trace.
///
/// # Errors
/// A missing column, or a malformed row by file, line and column.
pub fn import(source: &Source) -> Result<LlmTrace> {
    let mut table = Table::open(source, FORMAT)?;
    let time = table.column("TIMESTAMP")?;
    let (context, generated) = (table.column("ContextTokens")?, table.column("GeneratedTokens")?);
    let mut rows = Vec::new();
    while table.next()? {
        let at = nanos(table.text(time)?).ok_or_else(|| table.wrong(time, TIMESTAMP))?;
        rows.push((at, table.count(context)?, table.count(generated)?));
    }
    let unsorted = rows.windows(2).filter(|pair| pair[1].0 < pair[0].0).count();
    rows.sort_by_key(|row| row.0);
    let zero = rows.first().map_or(0, |row| row.0);
    let requests: Vec<LlmRequest> =
        rows.iter().map(|row| LlmRequest::new(Instant::from_nanos(row.0 - zero), row.1, row.2)).collect();
    let last = rows.last().map_or(0, |row| row.0 - zero);
    let mut provenance =
        vec![format!("{FORMAT} from {}", source.short_name()), "the first request is at zero".to_owned()];
    if unsorted > 0 {
        provenance.push(format!("{unsorted} rows were not in order of time and were sorted"));
    }
    Ok(LlmTrace {
        name: FORMAT.to_owned(),
        requests: requests.into(),
        span: Duration::from_secs(last / 1_000_000_000 + 1),
        provenance,
    })
}

/// Nanoseconds since 1970 of `2023-11-16 18:17:03.9799600`.
fn nanos(text: &str) -> Option<u64> {
    let (date, time) = text.split_once([' ', 'T'])?;
    let mut parts = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let (hms, fraction) =
        time.trim_end_matches('Z').split_once('.').unwrap_or((time.trim_end_matches('Z'), "0"));
    let mut parts = hms.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let in_range = (1970..2500).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second)
        && fraction.len() <= 9
        && !fraction.is_empty()
        && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !in_range {
        return None;
    }
    // Days since 1970 in the Gregorian calendar, counting years from March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 306 + 5) / 10 + day - 1 - 719_468;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    let below: u64 = format!("{fraction:0<9}").parse().ok()?;
    Some(u64::try_from(seconds).ok()? * 1_000_000_000 + below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn the_bundled_traces_hold_the_requests_that_were_counted_in_them() {
        for (kind, count, first) in [("code", 8819, (4808, 10)), ("conv", 19_366, (374, 44))] {
            let trace = import(
                &samples::get(&format!("azure-llm-2023/AzureLLMInferenceTrace_{kind}.csv.zst")).unwrap(),
            );
            let trace = trace.unwrap();
            assert_eq!(trace.requests.len(), count);
            assert_eq!(trace.requests[0], LlmRequest::new(Instant::ZERO, first.0, first.1));
            assert!(trace.span > Duration::from_secs(56 * 60) && trace.span < Duration::from_secs(60 * 60));
        }
    }

    #[test]
    fn dates_count_from_1970() {
        assert_eq!(nanos("1970-01-02 00:00:01.5"), Some(86_401_500_000_000));
        assert_eq!(nanos("2023-11-16 18:17:03.9799600"), Some(1_700_158_623_979_960_000));
        assert_eq!(nanos("2023-13-16 18:17:03"), None);
    }

    #[test]
    fn a_malformed_timestamp_is_named() {
        let text = "TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,2\n";
        assert_eq!(
            import(&Source::bytes("l.csv", text.as_bytes())).unwrap_err().to_string(),
            "l.csv:2: column \"TIMESTAMP\": \"yesterday\" is not a date and time such as 2023-11-16 18:17:03.9799600; \
             correct or remove this row"
        );
    }
}
