//! The handler of an agent: its turns step by step, and what it holds in each.
//!
//! An invocation's service time is the agent's own processor time and its waits for the language model.
//! The processor time is the profile's; the waits are what is left of the service time, the same for
//! each request. Cores are shared with whoever else computes on the node, waits are not.

use super::memory::MemoryPlan;
use super::{Costs, Handler, Phase, Resource, STARTED};
use platform::memory::MemoryClass;
use platform::profile::{AgentProfile, AgentWork, Browser};
use platform::system::{Isolation, System};
use traces::{Bytes, Duration};

/// What an agent is beyond a plain function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentCosts {
    /// Its own processor time; the rest of an invocation's service time it waits.
    pub computing: Duration,
    /// The part of it that reads the template in place: that of the agent's own process. What tools and
    /// browsers use is new memory, and files.
    pub in_place: Duration,
    /// The browser it uses.
    pub browser: Option<AgentBrowser>,
}

/// A browser, and who holds its file pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentBrowser {
    /// What it takes and holds.
    pub browser: Browser,
    /// Whether each browser runs in a guest that caches its file pages once more.
    pub in_guest_cache: bool,
}

impl AgentCosts {
    pub(super) fn new(system: &System, agent: &AgentProfile) -> Self {
        // As for the file pages of functions: nothing is cached twice where guests bypass their own cache.
        let in_guest_cache = system.isolation == Isolation::MicroVm && !super::bypasses(system);
        Self {
            computing: agent.computing(),
            in_place: agent.own_time(),
            browser: agent.browser.map(|browser| AgentBrowser { browser, in_guest_cache }),
        }
    }
}

impl Costs {
    /// Levels and phases of an agent. A container gives memory back after each step; a guest does not
    /// (no balloon is configured in TrEnv-X's or E2B's guests), so it holds the most that it ever needed.
    pub(super) fn agent_handler(
        &mut self,
        agent: &AgentProfile,
        system: &System,
        memory: &MemoryPlan,
        faults: Duration,
    ) -> Handler {
        let keeps = system.isolation == Isolation::MicroVm;
        let between = memory.started.with(&memory.touched);
        self.levels.push(between);
        let mut held = Bytes::ZERO;
        for step in &agent.steps {
            held = if keeps { held.max(step.memory) } else { step.memory };
            let mut level = between;
            level.add(MemoryClass::InstancePrivate, held);
            self.levels.push(level);
        }
        let first_step = STARTED + 2;
        let grown = STARTED + 1 + agent.steps.len() as u8;
        let first = self.phases.len() as u32;
        self.agent_phases(
            agent,
            faults,
            |turn, step| {
                if keeps && turn > 0 { grown } else { first_step + step }
            },
        );
        let later = self.phases.len() as u32;
        self.agent_phases(agent, Duration::ZERO, |_, step| if keeps { grown } else { first_step + step });
        let end = self.phases.len() as u32;
        Handler {
            first: first..later,
            later: later..end,
            grown,
            idle: if keeps { grown } else { STARTED + 1 },
        }
    }

    /// The steps of all turns. Before them, if it uses one, the start of a browser, which those who
    /// join another's leave out. Page faults are paid by the first phase that computes.
    fn agent_phases(&mut self, agent: &AgentProfile, mut faults: Duration, level: impl Fn(u32, u8) -> u8) {
        if let Some(browser) = &agent.browser {
            self.phases.push(Phase {
                resource: Resource::Cores,
                share_ppm: 0,
                faults: browser.start,
                level: level(0, 0),
            });
        }
        let mut computed = Shares::of(agent.computing().as_nanos());
        let mut waited = Shares::of(u64::from(agent.dialogue.requests));
        for turn in 0..agent.turns {
            for (step, number) in agent.steps.iter().zip(0..) {
                let (resource, share_ppm) = match step.work {
                    AgentWork::Llm => (Resource::Delay, waited.next(1)),
                    AgentWork::Own(time) | AgentWork::Tool(time) | AgentWork::Browser(time) => {
                        (Resource::Cores, computed.next(time.as_nanos()))
                    }
                };
                let faults =
                    if resource == Resource::Cores { std::mem::take(&mut faults) } else { Duration::ZERO };
                self.phases.push(Phase { resource, share_ppm, faults, level: level(turn, number) });
            }
        }
    }
}

/// Parts of a whole in parts per million that add up to a million.
struct Shares {
    whole: u64,
    seen: u64,
    given: u32,
}

impl Shares {
    fn of(whole: u64) -> Self {
        Self { whole, seen: 0, given: 0 }
    }

    fn next(&mut self, part: u64) -> u32 {
        self.seen += part;
        let until =
            (u128::from(self.seen) * 1_000_000).checked_div(u128::from(self.whole)).unwrap_or(0) as u32;
        let share = until - self.given;
        self.given = until;
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_whatever_they_are_rounded_to() {
        let mut shares = Shares::of(7);
        let parts: Vec<u32> = [1, 1, 5].map(|part| shares.next(part)).into();
        assert_eq!(parts, [142_857, 142_857, 714_286]);
        assert_eq!(Shares::of(0).next(0), 0);
    }
}
