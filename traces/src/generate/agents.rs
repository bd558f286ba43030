//! Agents: programs that ask a language model again and again, and work with what it answers.
//!
//! How many tokens an agent's requests have is drawn, request by request, from a bundled trace of real
//! requests ([`TokenTrace`]); a request takes as long as its prompt and its answer take at stated rates
//! ([`Dialogue`]). An invocation's service time is the sum of these waits and of the agent's own
//! processor time.
//!
//! An agent's requests follow from its name and its arrival alone. So a workload needs to carry nothing
//! beside its invocations, and whoever plays it can say how many tokens each of them cost. The seed
//! decides when agents arrive, and through that what they ask.

use crate::error::{Error, Result};
use crate::formats::{azure_llm_2023, mooncake};
use crate::llm::LlmRequest;
use crate::rng::{Streams, below};
use crate::size::Bytes;
use crate::time::{Duration, Instant};
use crate::workload::{Function, FunctionId, Invocation, Workload, sort_by_arrival};
use crate::{LlmTrace, samples};
use rand_distr::{Distribution, Exp1};
use serde::{Deserialize, Serialize};

/// A bundled trace that an agent's requests are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenTrace {
    /// Azure LLM inference 2023, code.
    AzureCode,
    /// Azure LLM inference 2023, conversation.
    AzureConversation,
    /// Mooncake, FAST 2025, synthetic arrivals.
    Mooncake,
}

impl TokenTrace {
    /// Every trace.
    pub const ALL: [Self; 3] = [Self::AzureCode, Self::AzureConversation, Self::Mooncake];

    /// The word used in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AzureCode => "azure-code",
            Self::AzureConversation => "azure-conversation",
            Self::Mooncake => "mooncake",
        }
    }

    /// The trace itself.
    ///
    /// # Errors
    /// If the bundled file does not read.
    pub fn read(self) -> Result<LlmTrace> {
        match self {
            Self::AzureCode => {
                azure_llm_2023::import(&samples::get("azure-llm-2023/AzureLLMInferenceTrace_code.csv.zst")?)
            }
            Self::AzureConversation => {
                azure_llm_2023::import(&samples::get("azure-llm-2023/AzureLLMInferenceTrace_conv.csv.zst")?)
            }
            Self::Mooncake => mooncake::import(&samples::get("mooncake-fast25/synthetic_trace.jsonl.zst")?),
        }
    }
}

/// What an agent asks of its language model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dialogue {
    /// Where the sizes of its requests come from.
    pub trace: TokenTrace,
    /// Requests from its beginning to its end.
    pub requests: u32,
    /// Tokens of a prompt that the model reads in a second, at least 1.
    pub prompt_rate: u64,
    /// Tokens of an answer that the model writes in a second, at least 1.
    pub answer_rate: u64,
}

/// Tokens of all requests of an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// In prompts.
    pub prompt: u64,
    /// In answers.
    pub answer: u64,
}

impl Dialogue {
    /// The tokens of the agent of that name that arrives then: as many requests of the trace, each
    /// drawn with equal chances.
    pub fn tokens(&self, trace: &[LlmRequest], agent: &str, arrival: Instant) -> Tokens {
        let mut tokens = Tokens::default();
        if trace.is_empty() {
            return tokens;
        }
        let mut rng = Streams::new(0).stream(&format!("agents/tokens/{agent}"), arrival.as_nanos());
        for _ in 0..self.requests {
            let request = trace[below(&mut rng, trace.len() as u64) as usize];
            tokens.prompt += u64::from(request.context_tokens);
            tokens.answer += u64::from(request.generated_tokens);
        }
        tokens
    }

    /// How long the model takes for them.
    pub fn waiting(&self, tokens: Tokens) -> Duration {
        let seconds = |tokens: u64, rate: u64| {
            Duration::from_nanos((u128::from(tokens) * 1_000_000_000 / u128::from(rate.max(1))) as u64)
        };
        seconds(tokens.prompt, self.prompt_rate) + seconds(tokens.answer, self.answer_rate)
    }
}

/// One kind of agent. Its function and its profile have its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name.
    pub name: String,
    /// Memory of its sandbox: what it declares.
    pub memory: Bytes,
    /// What it asks.
    pub dialogue: Dialogue,
    /// Processor time of its own, from its beginning to its end.
    pub computing: Duration,
}

/// When agents arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// All within so long from the beginning, each at any time of it.
    Within(Duration),
    /// One after another at exponential gaps of this mean, for each kind.
    Gaps(Duration),
}

/// Tenant of all agents.
pub const TENANT: &str = "agents";

/// So many instances of each kind. Nothing of it is burn-in; `span` is how long it is looked at.
///
/// # Errors
/// [`Error::Value`] if an agent would arrive after `span`; else if a bundled trace does not read.
pub fn generate(
    kinds: &[Kind],
    instances: u32,
    arrivals: Arrivals,
    span: Duration,
    seed: u64,
) -> Result<Workload> {
    let streams = Streams::new(seed);
    let mut invocations = Vec::new();
    for (kind, number) in kinds.iter().zip(0..) {
        let trace = kind.dialogue.trace.read()?;
        let mut rng = streams.stream(&format!("agents/arrivals/{}", kind.name), 0);
        let mut last = 0.0;
        for _ in 0..instances {
            let at = match arrivals {
                Arrivals::Within(window) => below(&mut rng, window.as_nanos().max(1)),
                Arrivals::Gaps(mean) => {
                    let gap: f64 = Exp1.sample(&mut rng);
                    last += gap * mean.as_nanos() as f64;
                    last as u64
                }
            };
            let arrival = Instant::from_nanos(at);
            let tokens = kind.dialogue.tokens(&trace.requests, &kind.name, arrival);
            let service = kind.computing + kind.dialogue.waiting(tokens);
            invocations.push(Invocation::new(arrival, FunctionId(number), service));
        }
    }
    sort_by_arrival(&mut invocations);
    if let Some(last) = invocations.last()
        && last.arrival().as_nanos() >= span.as_nanos()
    {
        let expected =
            format!("more than {}, when the last agent arrives", last.arrival().since(Instant::ZERO));
        return Err(Error::value("span", span, expected));
    }
    let function = |kind: &Kind| Function {
        name: kind.name.clone(),
        tenant: TENANT.to_owned(),
        profile: Some(kind.name.clone()),
        memory: Some(kind.memory),
    };
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name.as_str()).collect();
    Ok(Workload {
        name: "agents".to_owned(),
        functions: kinds.iter().map(function).collect(),
        invocations: invocations.into(),
        burn_in: Duration::ZERO,
        span,
        provenance: vec![
            format!("generated: {instances} agents of each kind ({}), seed {seed}", names.join(", ")),
            "tokens of each request drawn from the bundled traces of language models".to_owned(),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str, trace: TokenTrace, requests: u32) -> Kind {
        Kind {
            name: name.to_owned(),
            memory: Bytes::from_gib(2),
            dialogue: Dialogue { trace, requests, prompt_rate: 1_000, answer_rate: 10 },
            computing: Duration::from_secs(3),
        }
    }

    const SPAN: Duration = Duration::from_secs(600);

    #[test]
    fn a_request_takes_its_prompt_and_its_answer() {
        let dialogue = kind("a", TokenTrace::AzureCode, 1).dialogue;
        let tokens = Tokens { prompt: 2_500, answer: 15 };
        assert_eq!(dialogue.waiting(tokens), Duration::from_secs(4));
    }

    #[test]
    fn an_agent_takes_its_own_time_and_that_of_the_requests_that_follow_from_its_arrival() {
        let kinds = [kind("coder", TokenTrace::AzureCode, 7)];
        let workload = generate(&kinds, 50, Arrivals::Within(Duration::from_secs(10)), SPAN, 5).unwrap();
        workload.validate().unwrap();
        let trace = TokenTrace::AzureCode.read().unwrap();
        for invocation in workload.invocations.iter() {
            let tokens = kinds[0].dialogue.tokens(&trace.requests, "coder", invocation.arrival());
            let service = Duration::from_secs(3) + kinds[0].dialogue.waiting(tokens);
            assert_eq!(invocation.service().as_micros(), service.as_micros());
            assert!(invocation.arrival().as_secs_f64() < 10.0);
        }
    }

    #[test]
    fn requests_have_the_sizes_of_their_trace() {
        let trace = TokenTrace::AzureConversation.read().unwrap();
        let dialogue = kind("talker", TokenTrace::AzureConversation, 20_000).dialogue;
        let drawn = dialogue.tokens(&trace.requests, "talker", Instant::ZERO);
        let mean = |of: fn(&LlmRequest) -> u32| {
            trace.requests.iter().map(|r| f64::from(of(r))).sum::<f64>() / trace.requests.len() as f64
        };
        let close = |drawn: u64, mean: f64| (drawn as f64 / 20_000.0 / mean - 1.0).abs() < 0.03;
        assert!(close(drawn.prompt, mean(|r| r.context_tokens)));
        assert!(close(drawn.answer, mean(|r| r.generated_tokens)));
    }

    #[test]
    fn gaps_are_exponential_and_kinds_do_not_disturb_each_other() {
        let gaps = Arrivals::Gaps(Duration::from_millis(100));
        let one = [kind("a", TokenTrace::Mooncake, 1)];
        let two = [kind("a", TokenTrace::Mooncake, 1), kind("b", TokenTrace::AzureCode, 1)];
        let alone = generate(&one, 2_000, gaps, SPAN, 1).unwrap();
        let together = generate(&two, 2_000, gaps, SPAN, 1).unwrap();
        let last = alone.invocations.last().unwrap().arrival().as_secs_f64();
        assert!((last - 200.0).abs() < 15.0, "2000 gaps of 0.1 s: {last} s");
        let of_a: Vec<Invocation> =
            together.invocations.iter().filter(|i| i.function() == FunctionId(0)).copied().collect();
        assert_eq!(of_a, alone.invocations.to_vec());
    }

    #[test]
    fn a_span_that_ends_too_early_is_refused() {
        let late = Arrivals::Within(Duration::from_secs(100));
        let error = generate(&[kind("a", TokenTrace::AzureCode, 1)], 9, late, Duration::from_secs(1), 1);
        assert!(error.unwrap_err().to_string().starts_with("span: 1 s; expected more than"));
    }
}
