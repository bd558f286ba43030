//! How fast the mock model answers.
//!
//! The sizes of a request, in tokens, are those of one request of a bundled trace of a real service (Azure LLM
//! inference 2023, Mooncake FAST 2025), drawn with equal chances from a stream that is named after agent, seed and
//! turn. The traces have no times of answers. So the model reads and writes tokens at two stated rates, and the time
//! to the first token is that of its prompt: the same reckoning as the simulator's
//! ([`traces::generate::agents::Dialogue`]).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use traces::generate::agents::TokenTrace;
use traces::llm::LlmRequest;
use traces::rng::{Streams, below};

use super::Error;

/// The least and the most that a rate or the speed may be; with the largest request of a trace both make a time.
const SLOWEST: f64 = 1e-6;
const FASTEST: f64 = 1e9;

/// Rates of a model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rates {
    /// Tokens of a prompt read in a second.
    pub prompt_per_s: f64,
    /// Tokens of an answer written in a second.
    pub answer_per_s: f64,
    /// By what all waits are divided.
    pub speed: f64,
}

impl Default for Rates {
    /// Those of `configs/profiles/agents.toml`, which says where they come from.
    fn default() -> Self {
        Self { prompt_per_s: 2500.0, answer_per_s: 36.0, speed: 1.0 }
    }
}

/// Sizes of one request, and how long it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Pace {
    /// Tokens of its prompt.
    pub prompt_tokens: u32,
    /// Tokens of its answer.
    pub answer_tokens: u32,
    /// From the request to the first token.
    #[serde(skip)]
    pub first: Duration,
    /// From the request to the last token.
    #[serde(skip)]
    pub last: Duration,
}

/// Draws requests from the traces.
#[derive(Debug)]
pub struct Paces {
    rates: Rates,
    traces: BTreeMap<TokenTrace, Vec<LlmRequest>>,
}

impl Paces {
    /// For these rates and traces.
    ///
    /// # Errors
    /// If a rate is nothing that a model could have, or a bundled trace does not read.
    pub fn new(rates: Rates, traces: impl IntoIterator<Item = TokenTrace>) -> Result<Self, Error> {
        let all = [
            ("prompt rate", rates.prompt_per_s),
            ("answer rate", rates.answer_per_s),
            ("speed", rates.speed),
        ];
        for (what, found) in all {
            // Not what is too large or small for times either: no number is no bound, so it is not within these.
            if !(SLOWEST..=FASTEST).contains(&found) {
                let found = format!("{found:?}");
                return Err(Error::Setting { what, found, expected: "a number above zero, 1e-6 to 1e9" });
            }
        }
        let mut read = BTreeMap::new();
        for name in traces {
            let trace = name
                .read()
                .map_err(|error| Error::file(format!("traces/data: {}", name.name()).as_ref(), error))?;
            read.insert(name, trace.requests.iter().copied().collect());
        }
        Ok(Self { rates, traces: read })
    }

    /// The pace of one turn.
    #[must_use]
    pub fn of(&self, trace: TokenTrace, agent: &str, seed: u64, turn: u64) -> Pace {
        let requests = self.traces.get(&trace).map_or(&[][..], Vec::as_slice);
        let mut rng = Streams::new(seed).stream(&format!("agents/mock/{agent}"), turn);
        let drawn = if requests.is_empty() { 0 } else { below(&mut rng, requests.len() as u64) as usize };
        let (prompt_tokens, answer_tokens) =
            requests.get(drawn).map_or((0, 0), |one| (one.context_tokens, one.generated_tokens));
        let seconds = |tokens: u32, rate: f64| f64::from(tokens) / rate / self.rates.speed;
        let first = seconds(prompt_tokens, self.rates.prompt_per_s);
        let last = first + seconds(answer_tokens, self.rates.answer_per_s);
        Pace {
            prompt_tokens,
            answer_tokens,
            first: Duration::from_secs_f64(first),
            last: Duration::from_secs_f64(last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_has_a_size_of_its_trace_and_the_time_that_follows_from_it() {
        let rates = Rates { prompt_per_s: 1000.0, answer_per_s: 10.0, speed: 2.0 };
        let paces = Paces::new(rates, [TokenTrace::AzureCode]).unwrap();
        let trace = TokenTrace::AzureCode.read().unwrap();
        let mut sizes = std::collections::BTreeSet::new();
        for turn in 0..50 {
            let pace = paces.of(TokenTrace::AzureCode, "coder", 3, turn);
            assert_eq!(pace, paces.of(TokenTrace::AzureCode, "coder", 3, turn));
            assert!(trace.requests.iter().any(|request| {
                (request.context_tokens, request.generated_tokens) == (pace.prompt_tokens, pace.answer_tokens)
            }));
            let expected = f64::from(pace.prompt_tokens) / 2000.0 + f64::from(pace.answer_tokens) / 20.0;
            assert!((pace.last.as_secs_f64() - expected).abs() < 1e-6);
            sizes.insert((pace.prompt_tokens, pace.answer_tokens));
        }
        assert!(sizes.len() > 10, "{sizes:?}");
    }

    #[test]
    fn no_speed_is_refused() {
        for (speed, told) in [(0.0, "0.0"), (f64::NAN, "NaN"), (f64::INFINITY, "inf"), (1e-300, "1e-300")] {
            let error = Paces::new(Rates { speed, ..Rates::default() }, []).unwrap_err().to_string();
            assert!(error.starts_with(&format!("speed: {told}")), "{error}");
            assert!(error.ends_with(": expected a number above zero, 1e-6 to 1e9"), "{error}");
        }
    }

    #[test]
    fn the_slowest_model_has_a_time() {
        let rates = Rates { prompt_per_s: SLOWEST, answer_per_s: SLOWEST, speed: SLOWEST };
        let paces = Paces::new(rates, [TokenTrace::Mooncake]).unwrap();
        for turn in 0..50 {
            let pace = paces.of(TokenTrace::Mooncake, "reader", 0, turn);
            assert!(std::time::Instant::now().checked_add(pace.last).is_some(), "{pace:?}");
        }
    }
}
