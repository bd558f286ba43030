//! How an invocation gets a sandbox: one of its function, one of another, a new one; and sandboxes
//! that are made for nobody yet.

use super::pool::{Binding, NO_FUNCTION};
use super::{Command, ControlPlane, EvictReason, Sharing};
use crate::ids::{NodeId, SandboxId, Ticket};
use crate::policy::Scope;
use crate::records::StartKind;
use crate::system::{Isolating, Layer};
use traces::{Bytes, FunctionId, Instant};

impl ControlPlane {
    /// Finds the invocation a sandbox, or answers with the group in which it must wait for one.
    #[inline]
    pub(super) fn place(
        &mut self,
        now: Instant,
        ticket: Ticket,
        function: FunctionId,
        out: &mut Vec<Command>,
    ) -> Option<usize> {
        let need = self.functions[function.index()].declared;
        let chosen = match self.scope {
            Scope::Cluster => NodeId(0),
            Scope::Node => self.placement.choose(function, need, &self.loads),
        };
        let group = self.group(chosen);
        // Nobody overtakes the waiting, except onto a warm sandbox that none of them could use.
        let placed = self.reuse(group, ticket, function, out)
            || (self.waiting.is_empty(group) && self.start(now, group, chosen, ticket, function, out));
        (!placed).then_some(group)
    }

    /// Runs the invocation in an idle sandbox of its function, if there is one.
    #[inline(always)]
    pub(super) fn reuse(
        &mut self,
        group: usize,
        ticket: Ticket,
        function: FunctionId,
        out: &mut Vec<Command>,
    ) -> bool {
        let Some(sandbox) = self.pool.idle_of(group, function).filter(|_| self.system.reuse) else {
            return false;
        };
        let (node, _) = self.pool.place_of(sandbox);
        self.take_idle(sandbox);
        self.pool.rebind(sandbox, ticket);
        self.loads.begin(node);
        out.push(Command::Run { sandbox, node, ticket, kind: StartKind::Warm });
        true
    }

    /// Starts a sandbox for the invocation by repurposing or from new, if slots and memory allow.
    pub(super) fn start(
        &mut self,
        now: Instant,
        group: usize,
        chosen: NodeId,
        ticket: Ticket,
        function: FunctionId,
        out: &mut Vec<Command>,
    ) -> bool {
        if let Some(victim) = self.stand_in(group, function)
            && self.repurpose(now, group, victim, ticket, function, out)
        {
            return true;
        }
        let need = self.functions[function.index()].declared;
        let node = match self.scope {
            Scope::Cluster => self.node_for(group, function, need),
            Scope::Node => Some(chosen).filter(|&node| self.can_start(node, need)),
        };
        node.is_some_and(|node| {
            self.start_new(now, group, node, Some(ticket), function, out);
            true
        })
    }

    /// Where in the whole cluster a new sandbox goes, if anywhere: to the chosen node if it fits there
    /// as things are. Else to the node of the least recently used idle sandbox, which is the next to
    /// go; else (or where ranks say what goes) to the node on which most room can be made.
    fn node_for(&mut self, group: usize, function: FunctionId, need: Bytes) -> Option<NodeId> {
        let chosen = self.placement.choose(function, need, &self.loads);
        if self.fits(chosen, need) && self.can_start(chosen, need) {
            return Some(chosen);
        }
        let next = self.pool.least_recently_used(group).filter(|_| !self.ranks);
        let next = next.map(|victim| self.pool.place_of(victim).0);
        next.filter(|&node| self.can_start(node, need))
            .or_else(|| self.loads.most_room().filter(|&node| self.can_start(node, need)))
    }

    /// The idle sandbox of another function that the system would give to this one.
    fn stand_in(&mut self, group: usize, function: FunctionId) -> Option<SandboxId> {
        let facts = self.functions[function.index()];
        let pool = &self.pool;
        let shelf = |shelf| pool.least_recently_used_on(group, shelf);
        match self.sharing {
            Sharing::No => None,
            Sharing::Any => self.pool.least_recently_used(group),
            // Prepopulated ones have never been used: they come first.
            Sharing::Tenant => shelf(0).or_else(|| shelf(1 + facts.tenant as usize)),
            Sharing::Layers => shelf(1 + facts.runtime as usize).or_else(|| shelf(0)),
        }
    }

    /// The shelf on which an idle sandbox stands.
    pub(super) fn shelf(&self, layer: Layer, function: FunctionId) -> Option<usize> {
        let facts = self.functions.get(function.index());
        match self.sharing {
            Sharing::No | Sharing::Any => None,
            Sharing::Tenant => Some(facts.map_or(0, |f| 1 + f.tenant as usize)),
            Sharing::Layers => match layer {
                Layer::Function => None,
                Layer::Runtime => Some(facts.map_or(0, |f| 1 + f.runtime as usize)),
                Layer::Bare => Some(0),
            },
        }
    }

    /// Gives an idle sandbox to another function, if slots and memory of its node allow.
    fn repurpose(
        &mut self,
        now: Instant,
        group: usize,
        victim: SandboxId,
        ticket: Ticket,
        function: FunctionId,
        out: &mut Vec<Command>,
    ) -> bool {
        let (node, old) = self.pool.place_of(victim);
        let need = self.functions[function.index()].declared;
        if !self.can_start(node, need) {
            return false;
        }
        let (freed, keeps) = (self.pool.declared(victim), self.pool.layer(victim));
        self.take_idle(victim);
        self.loads.release(node, freed);
        self.make_room(group, node, need, out);
        self.loads.commit(node, need);
        self.loads.begin(node);
        self.loads.begin_start(node);
        let from = (old != NO_FUNCTION).then_some(old);
        if let (Some(old), Layer::Function) = (from, keeps) {
            self.keep_alive.gone(node, victim, old, None);
        }
        self.keep_alive.started(now, victim, function);
        let kind = StartKind::Repurposed;
        self.pool.bind(victim, Binding { function, declared: need, ticket: Some(ticket), kind });
        // What can be kept of an instance of another function is its isolation.
        let keeps = if keeps == Layer::Function { Layer::Bare } else { keeps };
        out.push(Command::Repurpose { sandbox: victim, node, from, keeps, to: function, ticket });
        true
    }

    /// Starts a new sandbox on a node that can.
    fn start_new(
        &mut self,
        now: Instant,
        group: usize,
        node: NodeId,
        ticket: Option<Ticket>,
        function: FunctionId,
        out: &mut Vec<Command>,
    ) {
        let need = self.functions[function.index()].declared;
        self.make_room(group, node, need, out);
        self.loads.commit(node, need);
        self.loads.begin(node);
        self.loads.begin_start(node);
        let pooled_netns = self.system.isolating == Isolating::PooledNetns && self.netns[node.index()] > 0;
        if pooled_netns {
            self.netns[node.index()] -= 1;
        }
        let kind = self.new_sandbox_start;
        let sandbox = self.pool.create(node, Binding { function, declared: need, ticket, kind });
        self.keep_alive.started(now, sandbox, function);
        out.push(Command::Start { sandbox, node, function, ticket, kind, pooled_netns });
    }

    /// Makes a sandbox of the function before it is asked for, if none is idle and its memory is free:
    /// what was asked for is not evicted for what may be.
    pub(super) fn pre_warm(
        &mut self,
        now: Instant,
        function: FunctionId,
        generation: u32,
        out: &mut Vec<Command>,
    ) {
        if self.pre_warms[function.index()].0 != generation {
            return;
        }
        let need = self.functions[function.index()].declared;
        let node = self.placement.choose(function, need, &self.loads);
        let group = self.group(node);
        let superfluous = self.pool.idle_of(group, function).is_some() || !self.waiting.is_empty(group);
        if !superfluous && self.fits(node, need) && self.can_start(node, need) {
            self.start_new(now, group, node, None, function, out);
        }
    }

    /// Whether `need` fits under the node's cap as things are.
    fn fits(&self, node: NodeId, need: Bytes) -> bool {
        self.loads.committed(node) + need <= self.memory_cap
    }

    /// Whether the node is there, has a free start slot, and `need` fits under its cap once every idle
    /// sandbox there is gone.
    fn can_start(&self, node: NodeId, need: Bytes) -> bool {
        self.loads.is_up(node) && self.loads.has_slot(node) && self.loads.busy(node) + need <= self.memory_cap
    }

    /// Evicts idle sandboxes until `need` fits under the node's cap, which [`Self::can_start`] said it can.
    fn make_room(&mut self, group: usize, node: NodeId, need: Bytes, out: &mut Vec<Command>) {
        while !self.fits(node, need) {
            let victim = self.pool.victim(group, node).expect("idle sandboxes while their memory is counted");
            self.evict(victim, EvictReason::Memory, out);
        }
    }
}
