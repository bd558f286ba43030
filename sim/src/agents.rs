//! What agents asked for and cost, summed by function.

use configs::Spec;
use platform::profile::AgentProfile;
use platform::records::AgentRecord;
use std::collections::BTreeMap;
use traces::generate::agents::TokenTrace;
use traces::{Duration, Function, Invocation, LlmTrace};

/// The sums of every function that is an agent.
#[derive(Default)]
pub struct Books {
    traces: BTreeMap<TokenTrace, LlmTrace>,
    /// By function; empty where there is no agent.
    books: Vec<Option<Book>>,
}

struct Book {
    name: String,
    profile: AgentProfile,
    record: AgentRecord,
}

impl Books {
    /// Books for the functions that are agents.
    pub fn new(spec: &Spec, functions: &[(u32, &Function)]) -> Self {
        let agent = |function: &Function| {
            let name = function.profile.as_ref().unwrap_or(&spec.default_profile);
            spec.profiles.get(name).and_then(|profile| profile.agent.clone())
        };
        let mut books: Vec<Option<Book>> = functions
            .iter()
            .map(|(_, function)| {
                let profile = agent(function)?;
                Some(Book { name: function.name.clone(), profile, record: AgentRecord::default() })
            })
            .collect();
        if books.iter().all(Option::is_none) {
            books.clear();
        }
        let mut traces = BTreeMap::new();
        for book in books.iter().flatten() {
            let trace = book.profile.dialogue.trace;
            traces.entry(trace).or_insert_with(|| {
                trace.read().expect("the bundled traces are part of this program and tested")
            });
        }
        Self { traces, books }
    }

    /// Whether no function is an agent.
    pub fn is_empty(&self) -> bool {
        self.books.is_empty()
    }

    /// An agent has completed; it had a sandbox for so long.
    pub fn completed(&mut self, invocation: Invocation, held: Duration) {
        let Some(Some(book)) = self.books.get_mut(invocation.function().index()) else { return };
        let Book { name, profile, record } = book;
        let trace = &self.traces[&profile.dialogue.trace].requests;
        let tokens = profile.dialogue.tokens(trace, name, invocation.arrival());
        record.completed += 1;
        record.prompt_tokens += tokens.prompt;
        record.answer_tokens += tokens.answer;
        record.llm_wait += invocation.service().saturating_sub(profile.computing());
        record.tool_time += profile.tool_time();
        record.browser_time += profile.browser_time();
        record.held += held;
        record.sandbox_cost += profile.sandbox_cost(held);
        record.model_cost += profile.model_cost(tokens);
    }

    /// The records, by function.
    pub fn finish(self) -> Vec<Option<AgentRecord>> {
        self.books.into_iter().map(|book| book.map(|book| book.record)).collect()
    }
}
