//! Agents of a profiles file: what their turns are, and the tables that all of them share.
//!
//! ```toml
//! [llm]                            # the language model that all agents ask
//! prompt_rate = { value = "2500 tokens/s", source = "…" }
//! answer_rate = { value = "36 tokens/s", source = "…" }
//!
//! [prices]
//! vcpu = { value = "0.0504 USD/h", source = "…" }
//! memory = { value = "0.0162 USD/h", source = "…" }       # a GiB
//! prompt = { value = "2.5 USD/Mtoken", source = "…" }
//! answer = { value = "10 USD/Mtoken", source = "…" }
//!
//! [browser]                        # only where an agent uses one
//! start = { value = "275 ms", source = "…" }
//! files = { value = "228 MB", source = "…" }
//! own = { value = "156 MB", source = "…" }
//! tab = { value = "29 MB", source = "…" }
//!
//! [blackjack]                      # a profile as of any function, and
//! [blackjack.agent]
//! source = "…"                     # covers every plain value below
//! tokens = "azure-conversation"    # trace from which the sizes of its requests are drawn
//! turns = 10                       # how often it goes through its steps
//! vcpus = 1
//! memory = "2 GiB"                 # of its sandbox: what it declares and pays for
//! [[blackjack.agent.steps]]        # one table for each step
//! work = "llm"                     # or "own", "tool" (a process of its own), "browser"
//! memory = "0 B"                   # held during it beyond the profile's pages
//! [[blackjack.agent.steps]]
//! work = "own"
//! time = "20 ms"                   # processor time
//! memory = "0 B"
//! ```

use super::constants::{Constants, Provenance};
use crate::section::Section;
use crate::suggest;
use crate::values;
use platform::profile::{AgentProfile, AgentStep, AgentWork, Browser, Prices};
use traces::generate::agents::{Dialogue, TokenTrace};

/// Tables of a profiles file that are no profiles.
pub(super) const TABLES: [&str; 3] = [LLM, PRICES, BROWSER];

const LLM: &str = "llm";
const PRICES: &str = "prices";
const BROWSER: &str = "browser";

/// The simulator counts phases of a handler, and levels of memory, in eight bits: one phase more is the
/// start of a browser, four levels more are those of every instance.
const MOST_PHASES: u64 = 250;

/// What all agents of a file have in common.
#[derive(Default)]
pub(super) struct Common {
    /// Tokens a second, of prompts and of answers.
    rates: Option<(u64, u64)>,
    prices: Option<Prices>,
    browser: Option<Browser>,
}

impl Common {
    /// The tables of a file.
    pub(super) fn of(file: &Section<'_, '_>, constants: &Constants) -> Self {
        let mut common = Self::default();
        if let Some(section) = file.optional_section(LLM) {
            let provenance = Provenance::of(&section);
            let rate = |key| constants.get(&section, &provenance, key, values::token_rate);
            common.rates = Some((rate("prompt_rate"), rate("answer_rate")));
            section.finish();
        }
        if let Some(section) = file.optional_section(PRICES) {
            let provenance = Provenance::of(&section);
            let hour = |key| constants.get(&section, &provenance, key, values::price_hour);
            let (vcpu_hour, gib_hour) = (hour("vcpu"), hour("memory"));
            let million = |key| constants.get(&section, &provenance, key, values::price_tokens);
            let (prompt_million, answer_million) = (million("prompt"), million("answer"));
            common.prices = Some(Prices { vcpu_hour, gib_hour, prompt_million, answer_million });
            section.finish();
        }
        if let Some(section) = file.optional_section(BROWSER) {
            let provenance = Provenance::of(&section);
            let size = |key| constants.get(&section, &provenance, key, values::size);
            common.browser = Some(Browser {
                start: constants.get(&section, &provenance, "start", values::duration),
                files: size("files"),
                own: size("own"),
                tab: size("tab"),
            });
            section.finish();
        }
        common
    }

    /// The agent that a profile's table describes, if it has one.
    pub(super) fn agent(&self, profile: &Section<'_, '_>, constants: &Constants) -> Option<AgentProfile> {
        let section = profile.optional_section("agent")?;
        let provenance = Provenance::of(&section);
        let trace = token_trace(&section, &provenance, constants);
        let turns = constants.get(&section, &provenance, "turns", values::count);
        let vcpus = constants.get(&section, &provenance, "vcpus", values::count);
        let memory = constants.get(&section, &provenance, "memory", values::positive_size);
        let steps = steps(&section, &provenance, constants);
        let asks = steps.iter().filter(|step| step.work == AgentWork::Llm).count() as u64;
        let phases = u64::from(turns) * steps.len() as u64;
        if phases > MOST_PHASES {
            section.problem("turns", format!("{phases} steps in all turns: at most {MOST_PHASES}"));
        } else if asks == 0 {
            section.problem("steps", "no step asks the language model: add one with work = \"llm\"");
        }
        let needs = |table: &str| format!("this file has no [{table}], which an agent needs");
        let (Some((prompt_rate, answer_rate)), Some(prices)) = (self.rates, self.prices) else {
            let missing = if self.rates.is_none() { LLM } else { PRICES };
            profile.problem("agent", needs(missing));
            section.finish();
            return None;
        };
        let browses = steps.iter().any(|step| matches!(step.work, AgentWork::Browser(_)));
        if browses && self.browser.is_none() {
            section.problem("steps", needs(BROWSER));
        }
        section.finish();
        let requests = (asks * u64::from(turns)).min(MOST_PHASES) as u32;
        let dialogue = Dialogue { trace, requests, prompt_rate, answer_rate };
        let browser = self.browser.filter(|_| browses);
        Some(AgentProfile { dialogue, turns, steps, vcpus, memory, browser, prices })
    }
}

fn token_trace(section: &Section<'_, '_>, provenance: &Provenance, constants: &Constants) -> TokenTrace {
    let word = constants.get(section, provenance, "tokens", values::text);
    TokenTrace::ALL.into_iter().find(|trace| trace.name() == word).unwrap_or_else(|| {
        if !word.is_empty() {
            let hint = suggest::hint(&word, TokenTrace::ALL.iter().map(|trace| trace.name()));
            section.problem("tokens", format!("no trace \"{word}\": {hint}"));
        }
        TokenTrace::AzureConversation
    })
}

fn steps(section: &Section<'_, '_>, provenance: &Provenance, constants: &Constants) -> Vec<AgentStep> {
    const WORKS: [&str; 4] = ["llm", "own", "tool", "browser"];
    section.required("steps");
    let mut found = Vec::new();
    for step in section.sections("steps") {
        let own = Provenance::of(&step).or(provenance);
        let word = step.get("work", values::text);
        let time = || constants.get(&step, &own, "time", values::positive_duration);
        let work = match word.as_str() {
            "own" => AgentWork::Own(time()),
            "tool" => AgentWork::Tool(time()),
            "browser" => AgentWork::Browser(time()),
            "llm" | "" => AgentWork::Llm,
            _ => {
                let hint = suggest::hint(&word, WORKS);
                step.problem("work", format!("\"{word}\" is not known: {hint}"));
                step.has("time");
                AgentWork::Llm
            }
        };
        let memory = constants.get(&step, &own, "memory", values::size);
        step.finish();
        found.push(AgentStep { work, memory });
    }
    found
}
