//! [`ControlPlane`]: the pure state machine that decides which sandbox runs which invocation.
//!
//! The world (simulated or real) feeds it inputs in time order and executes the commands it
//! answers with. It is deterministic: the same inputs give the same commands. In steady state it
//! allocates nothing, and no decision costs more than O(log nodes).
//!
//! # Decisions
//! For an arrival, in this order (the pool policy of TrEnv's artifact, of which the baselines use
//! the first and last step):
//! 1. an idle sandbox of the same function, most recently used first;
//! 2. where the system repurposes: the least recently used idle sandbox of any function (of the same
//!    tenant, where sharing stops there); where idle sandboxes are kept by layers: one that keeps the
//!    function's runtime, else a bare one;
//! 3. a new sandbox.
//!
//! Steps 2 and 3 need a start slot on the node and the function's declared memory under the node's
//! cap; idle sandboxes are evicted until it fits, least recently used first or least worth first, as
//! the keep-alive policy says. What cannot start waits, in arrival order, and takes the first sandbox
//! of its function that becomes idle meanwhile.

mod lists;
mod losses;
mod pool;
mod waiting;
mod words;

pub use words::{Command, EvictReason, Input, Timer};

use crate::ids::{NodeId, SandboxId, Ticket};
use crate::policy::keep_alive::{self, KeepAliveParameters, Knowledge};
use crate::policy::placement::{self, Surroundings};
use crate::policy::{FunctionFacts, Keep, KeepAlivePolicy, NodeLoads, Placement, PlacementPolicy, Scope};
use crate::records::StartKind;
use crate::system::{Isolating, KeepAlive, Layer, System};
use pool::{Binding, Layout, NO_FUNCTION, Pool, State, TimerAnswer};
use std::sync::Arc;
use traces::rng::Streams;
use traces::{Bytes, Duration, FunctionId, Instant};
use waiting::Waiting;

/// What a control plane is built from.
#[derive(Clone, Debug)]
pub struct ControlConfig {
    /// The composition of policies.
    pub system: System,
    /// How a node is chosen.
    pub placement: Placement,
    /// Parameters of the keep-alive policies.
    pub keep_alive: KeepAliveParameters,
    /// Number of nodes.
    pub nodes: u32,
    /// Racks they stand in, equally many in each.
    pub racks: u32,
    /// Limit on the declared memory of a node's sandboxes.
    pub memory_cap: Bytes,
    /// How long an invocation may wait.
    pub queue_timeout: Duration,
    /// Whether idle sandboxes are given to functions of the same tenant only.
    pub share_within_tenant: bool,
    /// What is known of each function.
    pub functions: Arc<[FunctionFacts]>,
    /// Arrivals of each function in order of time, if the keep-alive policy looks into the future;
    /// else empty.
    pub arrivals: Vec<Vec<Instant>>,
    /// Random streams of the run.
    pub streams: Streams,
}

/// The state machine.
pub struct ControlPlane {
    system: System,
    memory_cap: Bytes,
    queue_timeout: Duration,
    functions: Arc<[FunctionFacts]>,
    scope: Scope,
    placement: Box<dyn PlacementPolicy>,
    keep_alive: Box<dyn KeepAlivePolicy>,
    watches_arrivals: bool,
    ranks: bool,
    sharing: Sharing,
    loads: NodeLoads,
    /// Starts under way, by node.
    starting: Vec<u32>,
    /// Free network namespaces, by node.
    netns: Vec<u32>,
    pool: Pool,
    /// One queue for the cluster, or one per node: see [`Scope`].
    waiting: Waiting,
    /// Pre-warms to come, by function: the generation of the timer that counts, and until when the
    /// sandbox is to be kept.
    pre_warms: Vec<(u32, Instant)>,
    new_sandbox_start: StartKind,
}

/// Which idle sandboxes can stand in for which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    /// Only those of the same function.
    No,
    /// Any for any.
    Any,
    /// Those of a tenant for the tenant's, prepopulated ones for all.
    Tenant,
    /// Runtimes for functions of the runtime, bare ones for all.
    Layers,
}

impl ControlPlane {
    /// A control plane before the first input; prepopulated sandboxes are there and idle.
    pub fn new(config: ControlConfig) -> Self {
        let nodes = config.nodes as usize;
        let surroundings = Surroundings { memory_cap: config.memory_cap, streams: config.streams };
        let placement = placement::build(config.placement, &surroundings);
        let scope = placement.scope();
        let groups = if scope == Scope::Cluster { 1 } else { nodes };
        let functions = config.functions.len();
        let system = config.system;
        let keep_alive = keep_alive::build(
            system.keep_alive,
            &Knowledge {
                parameters: &config.keep_alive,
                functions: &config.functions,
                arrivals: &config.arrivals,
            },
        );
        let count =
            |of: fn(&FunctionFacts) -> u32| config.functions.iter().map(of).max().map_or(0, |n| n + 1);
        let (sharing, shelves) = if system.keep_alive == KeepAlive::Layers {
            (Sharing::Layers, 1 + count(|f| f.runtime) as usize)
        } else if !system.repurposes() {
            (Sharing::No, 0)
        } else if config.share_within_tenant {
            (Sharing::Tenant, 1 + count(|f| f.tenant) as usize)
        } else {
            (Sharing::Any, 0)
        };
        let ranks = keep_alive.ranks();
        let mut plane = Self {
            memory_cap: config.memory_cap,
            queue_timeout: config.queue_timeout,
            scope,
            watches_arrivals: keep_alive.watches_arrivals(),
            ranks,
            sharing,
            loads: NodeLoads::new(config.nodes, config.racks, placement.needs_running()),
            placement,
            keep_alive,
            starting: vec![0; nodes],
            netns: vec![system.pooled_netns; nodes],
            pool: Pool::new(Layout { groups, nodes, functions, shelves, ranked: ranks }),
            waiting: Waiting::new(groups),
            pre_warms: vec![(0, Instant::ZERO); functions],
            new_sandbox_start: system.new_sandbox_start(),
            functions: config.functions,
            system,
        };
        (0..config.nodes).for_each(|node| plane.prepopulate(NodeId(node)));
        plane
    }

    /// Number of idle sandboxes in the cluster, prepopulated ones included.
    pub fn idle(&self) -> u32 {
        self.pool.idle()
    }

    /// Number of sandboxes starting or running in the cluster.
    pub fn busy(&self) -> u32 {
        self.pool.live() - self.pool.idle()
    }

    /// Declared memory of a node's sandboxes.
    pub fn committed(&self, node: NodeId) -> Bytes {
        self.loads.committed(node)
    }

    /// Takes one input at `now`, which must not be before any earlier input, and appends the
    /// commands that follow.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Command>) {
        match input {
            Input::Arrival { ticket, function } => self.arrival(now, ticket, function, out),
            Input::Ready { sandbox } => self.ready(now, sandbox, out),
            Input::Finished { sandbox } => self.finished(now, sandbox, out),
            Input::Timer(Timer::KeepAlive { sandbox, generation }) => {
                self.keep_alive_timer(now, sandbox, generation, out);
            }
            Input::Timer(Timer::Queue { ticket, wait }) => {
                if self.waiting.give_up(ticket, wait) {
                    out.push(Command::TimedOut { ticket });
                }
            }
            Input::Timer(Timer::PreWarm { function, generation }) => {
                self.pre_warm(now, function, generation, out);
            }
            Input::MemoryPressure { node } => {
                if let Some(victim) = self.pool.victim(self.group(node), node) {
                    self.evict(victim, EvictReason::Memory, out);
                }
            }
            Input::SandboxLost { sandbox } => self.sandbox_lost(now, sandbox, out),
            Input::NodeLost { node } => self.node_lost(now, node, out),
            Input::NodeJoined { node } => self.node_joined(now, node, out),
        }
    }

    fn arrival(&mut self, now: Instant, ticket: Ticket, function: FunctionId, out: &mut Vec<Command>) {
        let need = self.functions[function.index()].declared;
        if need > self.memory_cap {
            out.push(Command::Reject { ticket });
            return;
        }
        if self.watches_arrivals {
            self.keep_alive.arrived(now, function);
            // Whoever comes before the pre-warmed sandbox makes it superfluous.
            self.pre_warms[function.index()].0 += 1;
        }
        let chosen = match self.scope {
            Scope::Cluster => NodeId(0),
            Scope::Node => self.placement.choose(function, need, &self.loads),
        };
        let group = self.group(chosen);
        // Nobody overtakes the waiting, except onto a warm sandbox that none of them could use.
        if self.reuse(group, ticket, function, out) {
            return;
        }
        if self.waiting.is_empty(group) && self.start(now, group, chosen, ticket, function, out) {
            return;
        }
        let wait = self.waiting.push(group, ticket, function);
        out.push(Command::Queued { ticket });
        out.push(Command::SetTimer { at: now + self.queue_timeout, timer: Timer::Queue { ticket, wait } });
    }

    fn ready(&mut self, now: Instant, sandbox: SandboxId, out: &mut Vec<Command>) {
        let (node, ticket, kind) = self.pool.run_bound(sandbox);
        self.starting[node.index()] -= 1;
        match ticket {
            Some(ticket) => out.push(Command::Run { sandbox, node, ticket, kind }),
            None => {
                let (_, function) = self.pool.place_of(sandbox);
                if let Some(ticket) = self.waiting.pop_of(self.group(node), function) {
                    self.pool.rebind(sandbox, ticket);
                    out.push(Command::Run { sandbox, node, ticket, kind: StartKind::Warm });
                    return;
                }
                let until = self.pre_warms[function.index()].1;
                self.loads.end(node);
                self.idle_after(now, sandbox, Keep::Until(until.max(now)), out);
            }
        }
        self.serve_waiting(now, self.group(node), node, out);
    }

    fn finished(&mut self, now: Instant, sandbox: SandboxId, out: &mut Vec<Command>) {
        let (node, function) = self.pool.place_of(sandbox);
        let group = self.group(node);
        if self.system.reuse
            && let Some(ticket) = self.waiting.pop_of(group, function)
        {
            self.pool.rebind(sandbox, ticket);
            out.push(Command::Run { sandbox, node, ticket, kind: StartKind::Warm });
            return;
        }
        self.loads.end(node);
        let keep = self.keep_alive.after_use(now, sandbox, function);
        self.idle_after(now, sandbox, keep, out);
        self.serve_waiting(now, group, node, out);
    }

    /// A sandbox has become idle, and the policy has said for how long.
    fn idle_after(&mut self, now: Instant, sandbox: SandboxId, keep: Keep, out: &mut Vec<Command>) {
        let (_, function) = self.pool.place_of(sandbox);
        self.put_idle(now, sandbox, Layer::Function, keep, out);
        match keep {
            Keep::Until(_) | Keep::UntilNeeded => {}
            Keep::Evict => self.evict(sandbox, EvictReason::Expired, out),
            Keep::PreWarm { at, until } => {
                self.evict(sandbox, EvictReason::Expired, out);
                let (generation, keep_until) = &mut self.pre_warms[function.index()];
                *generation += 1;
                *keep_until = until;
                let timer = Timer::PreWarm { function, generation: *generation };
                out.push(Command::SetTimer { at: at.max(now), timer });
            }
        }
    }

    /// Puts a sandbox among the idle ones and sees to its timer.
    fn put_idle(
        &mut self,
        now: Instant,
        sandbox: SandboxId,
        layer: Layer,
        keep: Keep,
        out: &mut Vec<Command>,
    ) {
        let (node, function) = self.pool.place_of(sandbox);
        let deadline = match keep {
            Keep::Until(at) => Some(at),
            Keep::UntilNeeded | Keep::Evict | Keep::PreWarm { .. } => None,
        };
        let rank = if self.ranks { self.keep_alive.rank(now, sandbox, function) } else { 0 };
        let shelf = self.shelf(layer, function);
        let timer = self.pool.make_idle(self.group(node), shelf, sandbox, layer, deadline, rank);
        if let (Some(at), Some(generation)) = (deadline, timer) {
            out.push(Command::SetTimer { at, timer: Timer::KeepAlive { sandbox, generation } });
        }
    }

    fn keep_alive_timer(
        &mut self,
        now: Instant,
        sandbox: SandboxId,
        generation: u32,
        out: &mut Vec<Command>,
    ) {
        match self.pool.timer_came(now, sandbox, generation) {
            TimerAnswer::Expired => self.expire(now, sandbox, out),
            TimerAnswer::Again(at) => {
                out.push(Command::SetTimer { at, timer: Timer::KeepAlive { sandbox, generation } });
            }
            TimerAnswer::Stale => {}
        }
    }

    /// The keep-alive of an idle sandbox has ended: it goes down a layer, or away.
    fn expire(&mut self, now: Instant, sandbox: SandboxId, out: &mut Vec<Command>) {
        let held = self.pool.layer(sandbox);
        let Some((to, keep)) = self.keep_alive.next_layer(now, held) else {
            self.evict(sandbox, EvictReason::Expired, out);
            return;
        };
        let (node, function) = self.pool.place_of(sandbox);
        let before = self.pool.declared(sandbox);
        let after = match to {
            Layer::Function => before,
            Layer::Runtime => self.functions[function.index()].runtime_memory.min(before),
            Layer::Bare => Bytes::ZERO,
        };
        self.pool.take_idle(self.group(node), sandbox);
        if held == Layer::Function {
            self.keep_alive.gone(sandbox, function, None);
        }
        self.pool.demote(sandbox, to, after);
        self.loads.release(node, before.saturating_sub(after));
        out.push(Command::Demote { sandbox, node, to });
        self.put_idle(now, sandbox, to, keep, out);
        self.serve_waiting(now, self.group(node), node, out);
    }

    /// Runs the invocation in an idle sandbox of its function, if there is one.
    fn reuse(&mut self, group: usize, ticket: Ticket, function: FunctionId, out: &mut Vec<Command>) -> bool {
        if !self.system.reuse {
            return false;
        }
        let Some(sandbox) = self.pool.take_idle_of(group, function, ticket) else { return false };
        let (node, _) = self.pool.place_of(sandbox);
        self.loads.begin(node);
        out.push(Command::Run { sandbox, node, ticket, kind: StartKind::Warm });
        true
    }

    /// Starts a sandbox for the invocation by repurposing or from new, if slots and memory allow.
    fn start(
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
        let node = match self.scope {
            Scope::Cluster => {
                let need = self.functions[function.index()].declared;
                self.placement.choose(function, need, &self.loads)
            }
            Scope::Node => chosen,
        };
        self.start_new(now, group, node, Some(ticket), function, out)
    }

    /// The idle sandbox of another function that the system would give to this one.
    fn stand_in(&self, group: usize, function: FunctionId) -> Option<SandboxId> {
        let facts = &self.functions[function.index()];
        let shelf = |shelf| self.pool.least_recently_used_on(group, shelf);
        match self.sharing {
            Sharing::No => None,
            Sharing::Any => self.pool.least_recently_used(group),
            // Prepopulated ones have never been used: they come first.
            Sharing::Tenant => shelf(0).or_else(|| shelf(1 + facts.tenant as usize)),
            Sharing::Layers => shelf(1 + facts.runtime as usize).or_else(|| shelf(0)),
        }
    }

    /// The shelf on which an idle sandbox stands.
    fn shelf(&self, layer: Layer, function: FunctionId) -> Option<usize> {
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
        if self.starting[node.index()] >= self.system.start_slots {
            return false;
        }
        let need = self.functions[function.index()].declared;
        let (freed, keeps) = (self.pool.declared(victim), self.pool.layer(victim));
        self.pool.take_idle(group, victim);
        if !self.make_room(group, node, need.saturating_sub(freed), out) {
            self.pool.put_back(group, self.shelf(keeps, old), victim);
            return false;
        }
        self.loads.release(node, freed);
        self.loads.commit(node, need);
        self.loads.begin(node);
        self.starting[node.index()] += 1;
        let from = (old != NO_FUNCTION).then_some(old);
        if let (Some(old), Layer::Function) = (from, keeps) {
            self.keep_alive.gone(victim, old, None);
        }
        self.keep_alive.started(now, victim, function);
        let kind = StartKind::Repurposed;
        self.pool.bind(victim, Binding { function, declared: need, ticket: Some(ticket), kind });
        // What can be kept of an instance of another function is its isolation.
        let keeps = if keeps == Layer::Function { Layer::Bare } else { keeps };
        out.push(Command::Repurpose { sandbox: victim, node, from, keeps, to: function, ticket });
        true
    }

    fn start_new(
        &mut self,
        now: Instant,
        group: usize,
        node: NodeId,
        ticket: Option<Ticket>,
        function: FunctionId,
        out: &mut Vec<Command>,
    ) -> bool {
        let need = self.functions[function.index()].declared;
        let fits = |plane: &Self, node: NodeId| plane.loads.committed(node) + need <= plane.memory_cap;
        let mut node = node;
        // In the whole cluster, what is evicted next lies on the node of the least recently used
        // idle sandbox: the new sandbox goes where room appears first.
        if self.scope == Scope::Cluster && !fits(self, node) {
            match self.pool.least_recently_used(group) {
                Some(victim) => node = self.pool.place_of(victim).0,
                None => return false,
            }
        }
        if !self.loads.is_up(node)
            || self.starting[node.index()] >= self.system.start_slots
            || !self.make_room(group, node, need, out)
        {
            return false;
        }
        self.loads.commit(node, need);
        self.loads.begin(node);
        self.starting[node.index()] += 1;
        let pooled_netns = self.system.isolating == Isolating::PooledNetns && self.netns[node.index()] > 0;
        if pooled_netns {
            self.netns[node.index()] -= 1;
        }
        let kind = self.new_sandbox_start;
        let sandbox = self.pool.create(node, Binding { function, declared: need, ticket, kind });
        self.keep_alive.started(now, sandbox, function);
        out.push(Command::Start { sandbox, node, function, ticket, kind, pooled_netns });
        true
    }

    /// Makes a sandbox of the function before it is asked for, if none is idle and there is room.
    fn pre_warm(&mut self, now: Instant, function: FunctionId, generation: u32, out: &mut Vec<Command>) {
        if self.pre_warms[function.index()].0 != generation {
            return;
        }
        let need = self.functions[function.index()].declared;
        let node = self.placement.choose(function, need, &self.loads);
        let group = self.group(node);
        if !self.pool.has_idle_of(group, function) && self.waiting.is_empty(group) {
            self.start_new(now, group, node, None, function, out);
        }
    }

    /// Evicts idle sandboxes until `need` fits under the node's cap. Evicts nothing if it cannot
    /// succeed.
    fn make_room(&mut self, group: usize, node: NodeId, need: Bytes, out: &mut Vec<Command>) -> bool {
        let committed = self.loads.committed(node);
        if committed + need <= self.memory_cap {
            return true;
        }
        if (committed + need).saturating_sub(self.pool.idle_memory(node)) > self.memory_cap {
            return false;
        }
        while self.loads.committed(node) + need > self.memory_cap {
            match self.pool.victim(group, node) {
                Some(victim) => self.evict(victim, EvictReason::Memory, out),
                None => return false,
            }
        }
        true
    }

    fn evict(&mut self, sandbox: SandboxId, reason: EvictReason, out: &mut Vec<Command>) {
        let (node, function) = self.pool.place_of(sandbox);
        debug_assert_eq!(self.pool.state(sandbox), State::Idle);
        let (declared, layer) = (self.pool.declared(sandbox), self.pool.layer(sandbox));
        let rank = (reason == EvictReason::Memory).then(|| self.pool.rank(sandbox));
        self.pool.take_idle(self.group(node), sandbox);
        self.pool.free(sandbox);
        self.loads.release(node, declared);
        if layer == Layer::Function && function != NO_FUNCTION {
            self.keep_alive.gone(sandbox, function, rank);
        }
        let keep_netns = self.system.isolating == Isolating::PooledNetns;
        if keep_netns {
            self.netns[node.index()] += 1;
        }
        out.push(Command::Evict { sandbox, node, reason, keep_netns });
    }

    /// Starts waiting invocations in arrival order, as far as slots and memory now allow.
    fn serve_waiting(&mut self, now: Instant, group: usize, node: NodeId, out: &mut Vec<Command>) {
        while let Some((ticket, function)) = self.waiting.front(group) {
            let served = self.reuse(group, ticket, function, out)
                || self.start(now, group, node, ticket, function, out);
            if !served {
                return;
            }
            self.waiting.pop_front(group);
        }
    }

    fn prepopulate(&mut self, node: NodeId) {
        if !self.system.repurposes() {
            return;
        }
        for _ in 0..self.system.prepopulated {
            let declared = self.system.prepopulated_memory;
            if self.loads.committed(node) + declared > self.memory_cap {
                break;
            }
            self.loads.commit(node, declared);
            let shelf = self.shelf(Layer::Bare, NO_FUNCTION);
            self.pool.create_idle(self.group(node), shelf, node, declared);
        }
    }

    fn group(&self, node: NodeId) -> usize {
        match self.scope {
            Scope::Cluster => 0,
            Scope::Node => node.index(),
        }
    }
}

#[cfg(test)]
mod tests;
