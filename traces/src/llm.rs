//! [`LlmTrace`]: requests to a language model, as published by Azure and Mooncake.

use crate::records::Records;
use crate::time::{Duration, Instant};

/// One request to a language model: 16 bytes, in memory as in the binary file.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LlmRequest {
    /// When the request arrives, in nanoseconds since the trace's zero.
    arrival_ns: u64,
    /// Tokens of the prompt.
    pub context_tokens: u32,
    /// Tokens of the answer.
    pub generated_tokens: u32,
}

impl LlmRequest {
    /// A request at `arrival` with so many tokens in and out.
    pub const fn new(arrival: Instant, context_tokens: u32, generated_tokens: u32) -> Self {
        Self { arrival_ns: arrival.as_nanos(), context_tokens, generated_tokens }
    }

    /// When the request arrives.
    pub const fn arrival(self) -> Instant {
        Instant::from_nanos(self.arrival_ns)
    }
}

/// Requests to a language model in order of arrival; the first arrives at zero or later.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LlmTrace {
    /// Short name.
    pub name: String,
    /// The requests, in order of arrival.
    pub requests: Records<LlmRequest>,
    /// Length of the trace; every request arrives before it.
    pub span: Duration,
    /// Source, and each transform since.
    pub provenance: Vec<String>,
}
