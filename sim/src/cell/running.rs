//! Invocations in sandboxes that are ready, stage by stage and phase by phase.

use super::{Cell, Flags, NO_TICKET};
use crate::costs::{AgentCosts, Brief, InPlace, Phase, Resource, Stage, WHOLE};
use crate::queue::{Class, Number, Work};
use platform::control::Input;
use platform::ids::{NodeId, SandboxId, Ticket};
use platform::records::{Outcome, StartKind};
use rand_distr::{Distribution, LogNormal};
use traces::{Duration, Invocation};

impl Cell {
    #[inline]
    pub(super) fn begin_run(&mut self, sandbox: SandboxId, node: NodeId, ticket: Ticket, kind: StartKind) {
        let now = self.now;
        let flight = &mut self.in_flight[ticket.index()];
        // A start may have turned out to be of another kind than was commanded.
        if flight.kind.is_none() {
            flight.start_began = now;
            flight.kind = Some(kind);
        }
        flight.node = node;
        flight.run_began = now;
        let invocation = flight.invocation;
        let brief = self.costs.in_brief(invocation.function());
        let activity = &mut self.sandboxes[sandbox.index()];
        activity.ticket = ticket;
        activity.flags.set(Flags::RUNNING);
        if brief.is_plain && activity.level >= brief.grown && !activity.flags.has(Flags::FRESH) {
            activity.service = invocation.service();
            activity.stages_left = 0;
            activity.phases_left = 0;
            self.read_in_place(sandbox, brief.in_place, brief.grown, invocation.service());
            self.compute_at_once(sandbox, node);
            return;
        }
        self.begin_handler(sandbox, invocation, brief);
    }

    /// Whatever is not plain.
    #[inline(never)]
    fn begin_handler(&mut self, sandbox: SandboxId, invocation: Invocation, brief: Brief) {
        let browser = self.costs.of(invocation.function()).agent.and_then(|agent| agent.browser);
        let joins = browser.is_some_and(|browser| !self.join_browser(sandbox, browser));
        let costs = self.costs.of(invocation.function());
        let computing = costs.computing(invocation.service());
        let in_place = costs.agent.map_or(computing, |agent| agent.in_place.min(computing));
        self.sandboxes[sandbox.index()].service = computing;
        self.read_in_place(sandbox, brief.in_place, brief.grown, in_place);
        let costs = self.costs.of(invocation.function());
        let activity = &mut self.sandboxes[sandbox.index()];
        let fallback = activity.flags.has(Flags::FALLBACK);
        let plan = if fallback { &costs.fallback } else { &costs.plan };
        if activity.flags.take(Flags::FRESH) {
            activity.set_phases(&plan.first);
            // Never both: what is fetched over RDMA does not go through the page cache.
            let cold = activity.flags.has(Flags::COLD_CACHE) && !plan.cold_cache.is_empty();
            activity.set_stages(if cold { &plan.cold_cache } else { &plan.first_touch });
        } else {
            activity.set_phases(&plan.later);
            activity.stages_left = 0;
        }
        if joins {
            activity.leave_out_phase();
        }
        self.begin(sandbox);
    }

    /// Where the function's memory is read in place, and this instance has no copy of it: `reading` of
    /// its time takes longer.
    #[inline]
    fn read_in_place(&mut self, sandbox: SandboxId, in_place: InPlace, grown: u8, reading: Duration) {
        let activity = &mut self.sandboxes[sandbox.index()];
        if in_place.demand > 0 && activity.level <= grown && !activity.flags.has(Flags::FALLBACK) {
            let rack = (activity.node.0 / self.nodes_per_rack) as usize;
            activity.flags.set(Flags::READING);
            let slower = self.reads[rack].begin(in_place.stalled, in_place.demand);
            activity.service += part(reading, slower);
        }
    }

    /// What nearly all invocations are: one phase on the cores of the node, which changes nothing that
    /// the sandbox holds. Short for [`Self::begin`] with it.
    #[inline]
    fn compute_at_once(&mut self, sandbox: SandboxId, node: NodeId) {
        let work = self.sandboxes[sandbox.index()].service;
        if work == Duration::ZERO {
            self.delay(sandbox, work);
            return;
        }
        self.on_processor(self.processor_of(node, Resource::Cores), sandbox, work);
        if self.timeline.is_some() {
            self.watch_phase(sandbox, Resource::Cores);
        }
    }

    /// The event of a sandbox's stage has come.
    #[inline]
    pub(super) fn stage_ended(&mut self, sandbox: SandboxId, number: Number) {
        let activity = &mut self.sandboxes[sandbox.index()];
        if activity.event != number {
            return;
        }
        let on = std::mem::replace(&mut activity.on, super::NOWHERE);
        if on != super::NOWHERE {
            self.off_processor(on, sandbox);
        }
        self.advance(sandbox);
    }

    /// Begins the sandbox's next stage, or ends its start or invocation.
    #[inline]
    pub(super) fn advance(&mut self, sandbox: SandboxId) {
        let activity = &self.sandboxes[sandbox.index()];
        if (activity.stages_left | activity.phases_left) > 0 && self.begin_stage(sandbox) {
            return;
        }
        if self.timeline.is_some() {
            self.watch_end(sandbox);
        }
        let activity = &mut self.sandboxes[sandbox.index()];
        if !activity.flags.take(Flags::RUNNING) {
            self.tell(Input::Ready { sandbox });
            return;
        }
        let ticket = std::mem::replace(&mut activity.ticket, NO_TICKET);
        activity.uses = activity.uses.saturating_add(1);
        let (function, reading) = (activity.function, activity.flags.has(Flags::READING));
        if self.costs.in_brief(function).is_agent {
            self.end_agent(sandbox);
        }
        if reading {
            self.end_reading(sandbox);
        }
        if self.promote_after > 0 {
            self.promote(sandbox);
        }
        self.end(ticket, Outcome::Completed);
        self.tell(Input::Finished { sandbox });
    }

    /// Begins the sandbox's first stage; what has none ends with an event of its own, so that a
    /// command never leads to an input while commands are being executed.
    pub(super) fn begin(&mut self, sandbox: SandboxId) {
        if !self.begin_stage(sandbox) {
            self.delay(sandbox, Duration::ZERO);
        }
    }

    /// The sandbox's next event comes after that time.
    pub(super) fn delay(&mut self, sandbox: SandboxId, length: Duration) {
        let event = self.queue.push(self.now + length, Class::Work, Work::Sandbox(sandbox.0));
        self.sandboxes[sandbox.index()].event = event;
    }

    /// Begins the sandbox's next stage; `false` if none is left.
    fn begin_stage(&mut self, sandbox: SandboxId) -> bool {
        let activity = &mut self.sandboxes[sandbox.index()];
        if activity.stages_left > 0 {
            activity.stages_left -= 1;
            activity.stage += 1;
            let stage = activity.stage - 1;
            let node = activity.node;
            let Stage { resource, .. } = self.costs.stages[stage as usize];
            let work = self.work_of(stage, node);
            self.occupy(sandbox, resource, work);
            if self.timeline.is_some() {
                self.watch_stage(sandbox, stage);
            }
            return true;
        }
        loop {
            let activity = &mut self.sandboxes[sandbox.index()];
            if activity.phases_left == 0 {
                return false;
            }
            activity.phases_left -= 1;
            activity.phase += 1;
            let Phase { resource, share_ppm, faults, level } = self.costs.phases[activity.phase as usize - 1];
            let (computing, now_held) = (activity.service, activity.level);
            let agent = self.costs.of(activity.function).agent;
            let whole = match agent {
                Some(agent) if resource == Resource::Delay => self.waits(sandbox, agent),
                _ => computing,
            };
            let work = part(whole, share_ppm.into()) + faults;
            // What a promotion added stays; agents are not promoted, and give memory back.
            if level > now_held || agent.is_some() {
                self.set_level(sandbox, level);
            }
            if work > Duration::ZERO {
                self.occupy(sandbox, resource, work);
                if self.timeline.is_some() {
                    self.watch_phase(sandbox, resource);
                }
                return true;
            }
        }
    }

    /// The sandbox does work on a resource.
    fn occupy(&mut self, sandbox: SandboxId, resource: Resource, work: Duration) {
        let node = self.sandboxes[sandbox.index()].node;
        let work = match resource {
            Resource::Nic if self.read_variation > 0.0 => self.varied(sandbox, work),
            _ => work,
        };
        match resource {
            Resource::Delay => self.delay(sandbox, work),
            Resource::Cores | Resource::Nic | Resource::Disk | Resource::CxlDevice => {
                self.on_processor(self.processor_of(node, resource), sandbox, work);
            }
            _ => {
                // First come, first served: when this stage ends is known when it begins.
                let now = self.now;
                let free = self.serial(node, resource);
                *free = (*free).max(now) + work;
                let length = free.since(now);
                self.delay(sandbox, length);
            }
        }
    }

    /// How long a stage takes alone on that node, as its NIC is when the stage begins: a batch whose
    /// NIC gets slower, or is itself again, goes on at the pace with which it began.
    pub(super) fn work_of(&self, stage: u32, node: NodeId) -> Duration {
        let Stage { resource, work, transfer } = self.costs.stages[stage as usize];
        let share = self.nic_share[node.index()];
        if resource != Resource::NicLine || share >= 1.0 {
            return work;
        }
        work.max(self.costs.read_4k + transfer.scale(1.0 / share))
    }

    /// The time of many reads whose mean is known, when each varies: by the invocation's own stream,
    /// so that it is the same whatever else is drawn.
    fn varied(&self, sandbox: SandboxId, mean: Duration) -> Duration {
        let ticket = self.sandboxes[sandbox.index()].ticket;
        if ticket == NO_TICKET {
            return mean;
        }
        let flight = &self.in_flight[ticket.index()];
        let reads = (mean.as_nanos() / self.costs.read_4k.as_nanos().max(1)).max(1);
        // The sum of n independent reads varies less than one, by the square root of n.
        let variation = self.read_variation / (reads as f64).sqrt();
        let sigma = (1.0 + variation * variation).ln().sqrt();
        let mut rng = self.streams.stream("rdma", flight.number);
        match LogNormal::new(-sigma * sigma / 2.0, sigma) {
            Ok(factor) => mean.scale(factor.sample(&mut rng)),
            Err(_) => mean,
        }
    }

    /// How long the sandbox's agent waits in its whole invocation.
    fn waits(&self, sandbox: SandboxId, agent: AgentCosts) -> Duration {
        let ticket = self.sandboxes[sandbox.index()].ticket;
        self.in_flight[ticket.index()].invocation.service().saturating_sub(agent.computing)
    }

    /// The agent has answered: its place at a browser is free, and it holds what it keeps between invocations.
    fn end_agent(&mut self, sandbox: SandboxId) {
        self.end_browsing(sandbox);
        let activity = &self.sandboxes[sandbox.index()];
        let costs = self.costs.of(activity.function);
        let plan = if activity.flags.has(Flags::FALLBACK) { &costs.fallback } else { &costs.plan };
        self.set_level(sandbox, plan.idle);
    }

    pub(super) fn end_reading(&mut self, sandbox: SandboxId) {
        let activity = &mut self.sandboxes[sandbox.index()];
        activity.flags.take(Flags::READING);
        let (node, function) = (activity.node, activity.function);
        let rack = self.rack(node);
        self.reads[rack].end(self.costs.in_brief(function).in_place.demand);
    }
}

/// A part of a time, in parts per million.
fn part(whole: Duration, ppm: u64) -> Duration {
    if ppm == u64::from(WHOLE) {
        return whole;
    }
    Duration::from_nanos((u128::from(whole.as_nanos()) * u128::from(ppm) / u128::from(WHOLE)) as u64)
}
