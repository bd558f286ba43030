//! [`Profile`]: how a function behaves once it runs, apart from when it is asked for.

use crate::memory::{Behaviour, Content, PageGroups};
use serde::{Deserialize, Serialize};
use traces::generate::agents::{Dialogue, Tokens};
use traces::{Bytes, Duration, Pages};

/// Memory and initialisation behaviour of a function. Written by `trenvx emu calibrate` from real
/// functions, or stated by hand with a source in `configs/profiles/`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Language runtime: functions of one runtime can share an initialised one.
    pub runtime: String,
    /// The part of `init` that initialises the runtime and what every function of it loads.
    pub runtime_init: Duration,
    /// Processor time from exec to the first accepted call, on an idle core.
    pub init: Duration,
    /// Anonymous memory of one instance at the end of an invocation.
    pub pages: PageGroups,
    /// File-backed pages (runtime, shared libraries, sources) that are resident while it runs.
    /// Sandboxes that share a host page cache hold them once; a guest holds its own.
    pub file_pages: Pages,
    /// Mapped regions (VMAs); the cost of an attach grows with them, not with the footprint.
    pub regions: u32,
    /// Threads, each re-created by a restore.
    pub threads: u32,
    /// Share of the service time that waits for DRAM when all memory is local, 0 to 1. It decides
    /// how much slower the function gets when its read-only pages stay in CXL memory.
    pub memory_intensity: f64,
    /// Share of memory accesses that go to read-only pages, 0 to 1.
    pub read_only_accesses: f64,
    /// What it does, if it is an agent; a plain function computes from its beginning to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentProfile>,
}

/// An agent: turn after turn, it asks a language model and works with the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentProfile {
    /// What it asks of its language model.
    pub dialogue: Dialogue,
    /// How often it goes through its steps.
    pub turns: u32,
    /// The steps of a turn, in order.
    pub steps: Vec<AgentStep>,
    /// Processors of its sandbox: what it pays for.
    pub vcpus: u32,
    /// Memory of its sandbox: what it pays for and declares.
    pub memory: Bytes,
    /// The browser it uses, if it uses one.
    pub browser: Option<Browser>,
    /// What it pays.
    pub prices: Prices,
}

/// A step of an agent's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStep {
    /// What is done.
    pub work: AgentWork,
    /// What the agent's own processes hold during it, beyond the pages of its profile.
    pub memory: Bytes,
}

/// What an agent does in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentWork {
    /// It waits for one answer of the language model.
    Llm,
    /// The agent's own process uses that much processor time.
    Own(Duration),
    /// A tool, in a process of its own, uses that much processor time.
    Tool(Duration),
    /// Its browser uses that much processor time for it.
    Browser(Duration),
}

/// A browser that agents use. Its memory is that of its whole process tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Browser {
    /// Processor time of its start.
    pub start: Duration,
    /// File pages: all browsers that read them through one page cache hold them once.
    pub files: Bytes,
    /// What each browser holds alone, without tabs.
    pub own: Bytes,
    /// What each agent's tab adds.
    pub tab: Bytes,
}

/// Prices in nano-dollars (10^-9 USD).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prices {
    /// Of a processor of a sandbox for an hour.
    pub vcpu_hour: u64,
    /// Of a GiB of a sandbox for an hour.
    pub gib_hour: u64,
    /// Of a million tokens of prompts.
    pub prompt_million: u64,
    /// Of a million tokens of answers.
    pub answer_million: u64,
}

impl AgentProfile {
    /// Processor time of its own process, from its beginning to its end.
    pub fn own_time(&self) -> Duration {
        self.time(|work| if let AgentWork::Own(time) = work { time } else { Duration::ZERO })
    }

    /// Processor time of its own process and its tools, from its beginning to its end.
    pub fn tool_time(&self) -> Duration {
        let of_tools = self.time(|work| if let AgentWork::Tool(time) = work { time } else { Duration::ZERO });
        self.own_time() + of_tools
    }

    /// Processor time of its browser's work for it, from its beginning to its end.
    pub fn browser_time(&self) -> Duration {
        self.time(|work| if let AgentWork::Browser(time) = work { time } else { Duration::ZERO })
    }

    /// All processor time that it asks for.
    pub fn computing(&self) -> Duration {
        self.tool_time() + self.browser_time()
    }

    fn time(&self, of: fn(AgentWork) -> Duration) -> Duration {
        let turn: Duration = self.steps.iter().map(|step| of(step.work)).sum();
        turn * u64::from(self.turns)
    }

    /// What its sandbox costs for that long, in nano-dollars: all that was allocated to it, whether it
    /// used it or waited.
    pub fn sandbox_cost(&self, held: Duration) -> u64 {
        const HOUR: u128 = 3_600_000_000_000;
        const GIB: u128 = 1 << 30;
        let held = u128::from(held.as_nanos());
        let processors = u128::from(self.vcpus) * u128::from(self.prices.vcpu_hour) * held / HOUR;
        let memory = u128::from(self.memory.0) * u128::from(self.prices.gib_hour) / GIB * held / HOUR;
        (processors + memory) as u64
    }

    /// What its requests cost, in nano-dollars.
    pub fn model_cost(&self, tokens: Tokens) -> u64 {
        let of = |tokens: u64, million: u64| u128::from(tokens) * u128::from(million) / 1_000_000;
        (of(tokens.prompt, self.prices.prompt_million) + of(tokens.answer, self.prices.answer_million)) as u64
    }
}

impl Profile {
    /// Pages of the initialised runtime, without libraries and function.
    pub fn runtime_pages(&self) -> Pages {
        let of = |content| Behaviour::ALL.iter().map(|&b| self.pages.get(content, b)).sum::<Pages>();
        of(Content::Runtime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use traces::generate::agents::TokenTrace;

    #[test]
    fn an_agent_pays_for_what_was_allocated_and_for_its_tokens() {
        let step = |work| AgentStep { work, memory: Bytes::ZERO };
        let agent = AgentProfile {
            dialogue: Dialogue { trace: TokenTrace::AzureCode, requests: 4, prompt_rate: 1, answer_rate: 1 },
            turns: 4,
            steps: vec![
                step(AgentWork::Llm),
                step(AgentWork::Own(Duration::from_millis(10))),
                step(AgentWork::Tool(Duration::from_millis(100))),
                step(AgentWork::Browser(Duration::from_millis(250))),
            ],
            vcpus: 2,
            memory: Bytes::from_mib(512),
            browser: None,
            prices: Prices {
                vcpu_hour: 50_400_000,
                gib_hour: 16_200_000,
                prompt_million: 2_500_000_000,
                answer_million: 10_000_000_000,
            },
        };
        assert_eq!(agent.own_time(), Duration::from_millis(40));
        assert_eq!(agent.tool_time(), Duration::from_millis(440));
        assert_eq!(agent.browser_time(), Duration::from_millis(1_000));
        // E2B's default sandbox: 2 x 0.0504 + 0.5 x 0.0162 = 0.1089 dollars an hour.
        assert_eq!(agent.sandbox_cost(Duration::from_secs(3_600)), 108_900_000);
        // 2,000 tokens in and 100 out: 0.005 + 0.001 dollars.
        assert_eq!(agent.model_cost(Tokens { prompt: 2_000, answer: 100 }), 6_000_000);
    }
}
