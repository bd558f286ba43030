//! Mooncake: requests to a language model service, one JSON object a line.
//!
//! Source: Qin et al., "Mooncake", FAST 2025; kvcache-ai/Mooncake, `FAST25-release/traces`. Fields
//! `timestamp` (milliseconds), `input_length`, `output_length` (tokens) and `hash_ids` (512-token
//! prefix blocks; not kept here).

use crate::error::{Error, Result};
use crate::llm::{LlmRequest, LlmTrace};
use crate::read::Source;
use crate::time::{Duration, Instant};
use serde::Deserialize;
use std::io::BufRead;

const FORMAT: &str = "mooncake";

/// A hundred years in milliseconds.
const LATEST_MS: u64 = 100 * 366 * 86_400_000;

#[derive(Deserialize)]
struct Line {
    timestamp: u64,
    input_length: u32,
    output_length: u32,
}

/// Reads the trace.
///
/// # Errors
/// A line that is not such an object, by file and line.
pub fn import(source: &Source) -> Result<LlmTrace> {
    let mut requests = Vec::new();
    for (index, line) in source.reader()?.lines().enumerate() {
        let line = line.map_err(Error::io(source.name(), "read"))?;
        if line.trim().is_empty() {
            continue;
        }
        let Line { timestamp, input_length, output_length } =
            serde_json::from_str(&line).map_err(|error| Error::Table {
                file: format!("{}:{}", source.name(), index + 1),
                problem: format!("not a request ({error})"),
                remedy: "each line must be an object with timestamp, input_length and output_length"
                    .to_owned(),
            })?;
        if timestamp > LATEST_MS {
            return Err(Error::Table {
                file: format!("{}:{}", source.name(), index + 1),
                problem: format!("timestamp {timestamp} is beyond 100 years"),
                remedy: "timestamps must be milliseconds since the start of the trace".to_owned(),
            });
        }
        let arrival = Instant::ZERO + Duration::from_millis(timestamp);
        requests.push(LlmRequest::new(arrival, input_length, output_length));
    }
    requests.sort_by_key(|request| request.arrival());
    let last = requests.last().map_or(0, |request| request.arrival().as_nanos());
    Ok(LlmTrace {
        name: FORMAT.to_owned(),
        requests: requests.into(),
        span: Duration::from_secs(last / 1_000_000_000 + 1),
        provenance: vec![format!("{FORMAT} from {}", source.short_name())],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn the_bundled_trace_holds_3993_requests_of_1022_seconds() {
        let trace = import(&samples::get("mooncake-fast25/synthetic_trace.jsonl.zst").unwrap()).unwrap();
        assert_eq!((trace.requests.len(), trace.span), (3993, Duration::from_secs(1023)));
        assert_eq!(trace.requests[0], LlmRequest::new(Instant::ZERO, 40_160, 6));
    }

    #[test]
    fn a_line_that_is_no_request_is_named() {
        let error = import(&Source::bytes("m.jsonl", &b"{\"timestamp\": 0}\n"[..])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "m.jsonl:1: not a request (missing field `input_length` at line 1 column 16); each line must be an object \
             with timestamp, input_length and output_length"
        );
    }
}
