//! Starts: new sandboxes, repurposed ones, and those that go down a layer.

use super::{Activity, Cell, Flags, NO_TICKET, VACANT, one};
use crate::costs::{STARTED, Tier};
use crate::device::{Change, Supply};
use platform::ids::{NodeId, SandboxId, Ticket};
use platform::memory::MemoryClass;
use platform::records::{StartKind, TimelinePlace};
use platform::system::Layer;
use std::ops::Range;
use traces::{Duration, FunctionId};

impl Cell {
    pub(super) fn start_new(
        &mut self,
        sandbox: SandboxId,
        node: NodeId,
        function: FunctionId,
        ticket: Option<Ticket>,
        kind: StartKind,
        pooled_netns: bool,
    ) {
        self.counters.created += 1;
        if ticket.is_none() {
            self.counters.pre_warmed += 1;
        }
        let (wait, fallback) = self.template(node, function);
        let costs = self.costs.of(function);
        let plan = if fallback { &costs.fallback } else { &costs.plan };
        let stages = if pooled_netns { plan.start_pooled.clone() } else { plan.start.clone() };
        // A start that boots for want of a template is a cold one.
        let kind = if fallback && !self.costs.copy_in_storage { StartKind::Cold } else { kind };
        self.begin_start(sandbox, node, function, ticket, kind, (stages, wait, fallback));
    }

    pub(super) fn repurpose(
        &mut self,
        sandbox: SandboxId,
        node: NodeId,
        to: FunctionId,
        ticket: Ticket,
        keeps: Layer,
    ) {
        self.release(sandbox);
        let (wait, fallback) = self.template(node, to);
        let costs = self.costs.of(to);
        let plan = if fallback { &costs.fallback } else { &costs.plan };
        let stages = match keeps {
            Layer::Runtime => plan.from_runtime.clone(),
            Layer::Bare | Layer::Function => plan.repurpose.clone(),
        };
        self.begin_start(sandbox, node, to, Some(ticket), StartKind::Repurposed, (stages, wait, fallback));
    }

    /// Gets hold of the function's template on the node's rack and in the RDMA pool, or of its parent:
    /// how long that takes, and whether the start has to do without.
    fn template(&mut self, node: NodeId, function: FunctionId) -> (Duration, bool) {
        match self.supplies(node, function) {
            Supply::After(wait) => (wait, false),
            Supply::Nothing => {
                self.counters.without_template += 1;
                (Duration::ZERO, true)
            }
        }
    }

    /// Both parts of a template are brought in at the same time, each over a link of its own.
    fn supplies(&mut self, node: NodeId, function: FunctionId) -> Supply {
        if self.lacks_parent(function) {
            return Supply::Nothing;
        }
        let rack = self.rack(node);
        let Supply::After(near) = self.supply(Tier::Cxl, rack, function) else { return Supply::Nothing };
        let Supply::After(far) = self.supply(Tier::Rdma, rack, function) else {
            if let Some(device) = self.devices.get_mut(rack) {
                device.release(function);
            }
            return Supply::Nothing;
        };
        Supply::After(near.max(far))
    }

    fn supply(&mut self, tier: Tier, rack: usize, function: FunctionId) -> Supply {
        let (device, class, place) = match tier {
            Tier::Cxl => {
                (self.devices.get_mut(rack), MemoryClass::PoolCxl, TimelinePlace::Device(rack as u32))
            }
            Tier::Rdma => (self.pool.as_mut(), MemoryClass::PoolRdma, TimelinePlace::Cluster),
        };
        let Some(device) = device else { return Supply::After(Duration::ZERO) };
        if tier == Tier::Rdma && !self.costs.is_pooled(function) {
            return Supply::After(Duration::ZERO);
        }
        let mut change = Change::default();
        let supply = device.acquire(&self.costs, function, self.measured, self.now, &mut change);
        if change == Change::default() {
            return supply;
        }
        self.counters.filled += u64::from(change.filled);
        self.counters.displaced += change.displaced;
        self.accounting.take(self.now, &one(class, change.less));
        self.accounting.add(self.now, &one(class, change.more));
        if self.timeline.is_some() {
            self.watch_memory(place, &one(class, change.less), &one(class, change.more));
        }
        supply
    }

    fn begin_start(
        &mut self,
        sandbox: SandboxId,
        node: NodeId,
        function: FunctionId,
        ticket: Option<Ticket>,
        kind: StartKind,
        (stages, wait, fallback): (Range<u32>, Duration, bool),
    ) {
        if let Some(ticket) = ticket {
            let flight = &mut self.in_flight[ticket.index()];
            flight.kind = Some(kind);
            flight.node = node;
            flight.start_began = self.now;
        }
        let mut flags = Flags::FRESH;
        if fallback {
            flags.set(Flags::FALLBACK);
        } else {
            if !self.devices.is_empty() {
                flags.set(Flags::ATTACHED);
            }
            if self.pool.is_some() && self.costs.is_pooled(function) {
                flags.set(Flags::REMOTE);
            }
        }
        let activity = self.activity(sandbox);
        *activity = Activity { node, function, ticket: ticket.unwrap_or(NO_TICKET), flags, ..VACANT };
        activity.set_stages(&stages);
        self.share(sandbox);
        self.set_level(sandbox, STARTED);
        if wait > Duration::ZERO {
            if self.timeline.is_some() {
                self.watch_fill(sandbox);
            }
            self.delay(sandbox, wait);
        } else {
            self.begin(sandbox);
        }
    }

    /// An idle sandbox keeps only its runtime, or only its isolation.
    pub(super) fn demote(&mut self, sandbox: SandboxId, to: Layer) {
        match to {
            Layer::Function => {}
            Layer::Runtime => {
                let activity = &self.sandboxes[sandbox.index()];
                let costs = self.costs.of(activity.function);
                let plan = if activity.flags.has(Flags::FALLBACK) { &costs.fallback } else { &costs.plan };
                let level = plan.runtime();
                self.set_level(sandbox, level);
            }
            Layer::Bare => self.release(sandbox),
        }
    }
}
