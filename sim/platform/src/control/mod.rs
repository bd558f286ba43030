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
//! 2. where the system repurposes: the least recently used idle sandbox of any function;
//! 3. a new sandbox.
//!
//! Steps 2 and 3 need a start slot on the node and the function's declared memory under the node's
//! cap; least recently used idle sandboxes are evicted until it fits. What cannot start waits, in
//! arrival order, and takes the first sandbox of its function that becomes idle meanwhile.

mod pool;
mod waiting;

use crate::ids::{NodeId, SandboxId, Ticket};
use crate::policy::{Keep, KeepAlivePolicy, NodeLoads, Placement, PlacementPolicy, Scope};
use crate::policy::{keep_alive, placement};
use crate::records::StartKind;
use crate::system::{Isolating, System};
use pool::{NO_FUNCTION, Pool, State};
use traces::{Bytes, Duration, FunctionId, Instant};
use waiting::Waiting;

/// What a world tells the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A request for a function has arrived.
    Arrival {
        /// The world's name for it while it is in flight.
        ticket: Ticket,
        /// What it asks for.
        function: FunctionId,
    },
    /// A start or repurposing that was commanded has ended well.
    Ready {
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// The invocation that a sandbox was running has ended.
    Finished {
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// A timer that was set has come.
    Timer(Timer),
    /// The node really uses more memory than it has; answered by evicting one idle sandbox, if
    /// there is one.
    MemoryPressure {
        /// Where.
        node: NodeId,
    },
}

/// What the control plane tells a world to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Make a sandbox and bring `function` up in it.
    Start {
        /// Its name from now on.
        sandbox: SandboxId,
        /// Where.
        node: NodeId,
        /// What it will run.
        function: FunctionId,
        /// For whom.
        ticket: Ticket,
        /// [`StartKind::Cold`] or [`StartKind::Restored`].
        kind: StartKind,
        /// Whether a network namespace of the node's pool is used.
        pooled_netns: bool,
    },
    /// Clean an idle sandbox and bring `to` up in it.
    Repurpose {
        /// The sandbox.
        sandbox: SandboxId,
        /// Where it is.
        node: NodeId,
        /// What it ran before; `None` for a prepopulated one.
        from: Option<FunctionId>,
        /// What it will run.
        to: FunctionId,
        /// For whom.
        ticket: Ticket,
    },
    /// Run an invocation in a sandbox that is ready.
    Run {
        /// The sandbox.
        sandbox: SandboxId,
        /// Where it is.
        node: NodeId,
        /// Which invocation.
        ticket: Ticket,
        /// How it got the sandbox.
        kind: StartKind,
    },
    /// Destroy an idle sandbox. Its name may be used again at once.
    Evict {
        /// The sandbox.
        sandbox: SandboxId,
        /// Where it is.
        node: NodeId,
        /// Why.
        reason: EvictReason,
        /// Whether its network namespace goes to the node's pool.
        keep_netns: bool,
    },
    /// Send [`Input::Timer`] at that time.
    SetTimer {
        /// When; never before now.
        at: Instant,
        /// What to send.
        timer: Timer,
    },
    /// The invocation waits: for information, nothing is to be done.
    Queued {
        /// Which invocation.
        ticket: Ticket,
    },
    /// The invocation has waited longer than the queue timeout and is given up.
    TimedOut {
        /// Which invocation.
        ticket: Ticket,
    },
    /// The invocation can never run: its function declares more memory than a node's cap.
    Reject {
        /// Which invocation.
        ticket: Ticket,
    },
}

/// Why a sandbox was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictReason {
    /// Its keep-alive ended.
    Expired,
    /// Its memory was needed.
    Memory,
}

/// A timer; opaque to worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The keep-alive of a sandbox may have ended.
    KeepAlive {
        /// The sandbox.
        sandbox: SandboxId,
        /// Which of the sandboxes of that name.
        generation: u32,
    },
    /// An invocation may have waited too long.
    Queue {
        /// Which invocation.
        ticket: Ticket,
        /// Which wait of that ticket.
        wait: u64,
    },
}

/// What a control plane is built from.
#[derive(Clone, Debug)]
pub struct ControlConfig {
    /// The composition of policies.
    pub system: System,
    /// How a node is chosen.
    pub placement: Placement,
    /// The fixed keep-alive, for systems that have one.
    pub keep_alive_ttl: Duration,
    /// Number of nodes.
    pub nodes: u32,
    /// Limit on the declared memory of a node's sandboxes.
    pub memory_cap: Bytes,
    /// How long an invocation may wait.
    pub queue_timeout: Duration,
    /// Declared memory of each function.
    pub declared: Vec<Bytes>,
}

/// The state machine.
pub struct ControlPlane {
    system: System,
    memory_cap: Bytes,
    queue_timeout: Duration,
    declared: Vec<Bytes>,
    scope: Scope,
    placement: Box<dyn PlacementPolicy>,
    keep_alive: Box<dyn KeepAlivePolicy>,
    loads: NodeLoads,
    /// Starts under way, by node.
    starting: Vec<u32>,
    /// Free network namespaces, by node.
    netns: Vec<u32>,
    pool: Pool,
    /// One queue for the cluster, or one per node: see [`Scope`].
    waiting: Vec<Waiting>,
    new_sandbox_start: StartKind,
}

impl ControlPlane {
    /// A control plane before the first input; prepopulated sandboxes are there and idle.
    pub fn new(config: ControlConfig) -> Self {
        let nodes = config.nodes as usize;
        let placement = placement::build(config.placement);
        let scope = placement.scope();
        let groups = if scope == Scope::Cluster { 1 } else { nodes };
        let functions = config.declared.len();
        let system = config.system;
        let mut plane = Self {
            memory_cap: config.memory_cap,
            queue_timeout: config.queue_timeout,
            declared: config.declared,
            scope,
            placement,
            keep_alive: keep_alive::build(system.keep_alive, config.keep_alive_ttl),
            loads: NodeLoads::new(nodes),
            starting: vec![0; nodes],
            netns: vec![system.pooled_netns; nodes],
            pool: Pool::new(groups, functions),
            waiting: (0..groups).map(|_| Waiting::new(functions)).collect(),
            new_sandbox_start: system.new_sandbox_start(),
            system,
        };
        plane.prepopulate();
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
                if self.waiting.iter_mut().any(|queue| queue.give_up(ticket, wait)) {
                    out.push(Command::TimedOut { ticket });
                }
            }
            Input::MemoryPressure { node } => {
                let victim = self.pool.least_recently_used_on(self.group(node), node);
                if let Some(victim) = victim {
                    self.evict(victim, EvictReason::Memory, out);
                }
            }
        }
    }

    fn arrival(&mut self, now: Instant, ticket: Ticket, function: FunctionId, out: &mut Vec<Command>) {
        if self.declared[function.index()] > self.memory_cap {
            out.push(Command::Reject { ticket });
            return;
        }
        let chosen = match self.scope {
            Scope::Cluster => NodeId(0),
            Scope::Node => self.placement.choose(function, &self.loads),
        };
        let group = self.group(chosen);
        // Nobody overtakes the waiting, except onto a warm sandbox that none of them could use.
        if self.reuse(group, ticket, function, out) {
            return;
        }
        if self.waiting[group].is_empty() && self.start(group, chosen, ticket, function, out) {
            return;
        }
        let wait = self.waiting[group].push(ticket, function);
        out.push(Command::Queued { ticket });
        out.push(Command::SetTimer { at: now + self.queue_timeout, timer: Timer::Queue { ticket, wait } });
    }

    fn ready(&mut self, _now: Instant, sandbox: SandboxId, out: &mut Vec<Command>) {
        let (node, ticket, kind) = self.pool.run_bound(sandbox);
        self.starting[node.index()] -= 1;
        out.push(Command::Run { sandbox, node, ticket, kind });
        self.serve_waiting(self.group(node), node, out);
    }

    fn finished(&mut self, now: Instant, sandbox: SandboxId, out: &mut Vec<Command>) {
        let (node, function) = self.pool.place_of(sandbox);
        let group = self.group(node);
        if let Some(ticket) = self.waiting[group].pop_of(function) {
            out.push(Command::Run { sandbox, node, ticket, kind: StartKind::Warm });
            return;
        }
        self.loads.end(node);
        let keep = self.keep_alive.after_use(now, function);
        let deadline = match keep {
            Keep::Until(at) => Some(at),
            Keep::UntilNeeded | Keep::Evict => None,
        };
        let timer = self.pool.make_idle(group, sandbox, deadline);
        if keep == Keep::Evict {
            self.evict(sandbox, EvictReason::Expired, out);
        } else if let (Some(at), Some(generation)) = (deadline, timer) {
            out.push(Command::SetTimer { at, timer: Timer::KeepAlive { sandbox, generation } });
        }
        self.serve_waiting(group, node, out);
    }

    fn keep_alive_timer(
        &mut self,
        now: Instant,
        sandbox: SandboxId,
        generation: u32,
        out: &mut Vec<Command>,
    ) {
        match self.pool.timer_came(now, sandbox, generation) {
            pool::TimerAnswer::Expired => self.evict(sandbox, EvictReason::Expired, out),
            pool::TimerAnswer::Again(at) => {
                out.push(Command::SetTimer { at, timer: Timer::KeepAlive { sandbox, generation } });
            }
            pool::TimerAnswer::Stale => {}
        }
    }

    /// Runs the invocation in an idle sandbox of its function, if there is one.
    fn reuse(&mut self, group: usize, ticket: Ticket, function: FunctionId, out: &mut Vec<Command>) -> bool {
        let Some(sandbox) = self.pool.take_idle_of(group, function) else { return false };
        let (node, _) = self.pool.place_of(sandbox);
        self.loads.begin(node);
        out.push(Command::Run { sandbox, node, ticket, kind: StartKind::Warm });
        true
    }

    /// Starts a sandbox for the invocation by repurposing or from new, if slots and memory allow.
    fn start(
        &mut self,
        group: usize,
        chosen: NodeId,
        ticket: Ticket,
        function: FunctionId,
        out: &mut Vec<Command>,
    ) -> bool {
        let victim = if self.system.repurposes() { self.pool.least_recently_used(group) } else { None };
        if victim.is_some_and(|victim| self.repurpose(group, victim, ticket, function, out)) {
            return true;
        }
        let node = match self.scope {
            Scope::Cluster => self.placement.choose(function, &self.loads),
            Scope::Node => chosen,
        };
        self.start_new(group, node, ticket, function, out)
    }

    fn repurpose(
        &mut self,
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
        let need = self.declared[function.index()];
        let freed = self.pool.declared(victim);
        self.pool.take_idle(group, victim);
        if !self.make_room(group, node, need.saturating_sub(freed), out) {
            self.pool.put_back(group, victim);
            return false;
        }
        self.loads.release(node, freed);
        self.loads.commit(node, need);
        self.loads.begin(node);
        self.starting[node.index()] += 1;
        self.pool.bind(victim, function, need, ticket, StartKind::Repurposed);
        let from = (old != NO_FUNCTION).then_some(old);
        out.push(Command::Repurpose { sandbox: victim, node, from, to: function, ticket });
        true
    }

    fn start_new(
        &mut self,
        group: usize,
        node: NodeId,
        ticket: Ticket,
        function: FunctionId,
        out: &mut Vec<Command>,
    ) -> bool {
        let need = self.declared[function.index()];
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
        if self.starting[node.index()] >= self.system.start_slots || !self.make_room(group, node, need, out) {
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
        let sandbox = self.pool.create(node, function, need, ticket, kind);
        out.push(Command::Start { sandbox, node, function, ticket, kind, pooled_netns });
        true
    }

    /// Evicts idle sandboxes, least recently used first, until `need` fits under the node's cap.
    /// Evicts nothing if it cannot succeed.
    fn make_room(&mut self, group: usize, node: NodeId, need: Bytes, out: &mut Vec<Command>) -> bool {
        let committed = self.loads.committed(node);
        if committed + need <= self.memory_cap {
            return true;
        }
        if (committed + need).saturating_sub(self.pool.idle_memory(node)) > self.memory_cap {
            return false;
        }
        while self.loads.committed(node) + need > self.memory_cap {
            match self.pool.least_recently_used_on(group, node) {
                Some(victim) => self.evict(victim, EvictReason::Memory, out),
                None => return false,
            }
        }
        true
    }

    fn evict(&mut self, sandbox: SandboxId, reason: EvictReason, out: &mut Vec<Command>) {
        let (node, _) = self.pool.place_of(sandbox);
        debug_assert_eq!(self.pool.state(sandbox), State::Idle);
        let declared = self.pool.declared(sandbox);
        self.pool.take_idle(self.group(node), sandbox);
        self.pool.free(sandbox);
        self.loads.release(node, declared);
        let keep_netns = self.system.isolating == Isolating::PooledNetns;
        if keep_netns {
            self.netns[node.index()] += 1;
        }
        out.push(Command::Evict { sandbox, node, reason, keep_netns });
    }

    /// Starts waiting invocations in arrival order, as far as slots and memory now allow.
    fn serve_waiting(&mut self, group: usize, node: NodeId, out: &mut Vec<Command>) {
        while let Some((ticket, function)) = self.waiting[group].front() {
            if !(self.reuse(group, ticket, function, out) || self.start(group, node, ticket, function, out)) {
                return;
            }
            self.waiting[group].pop_front();
        }
    }

    fn prepopulate(&mut self) {
        if !self.system.repurposes() {
            return;
        }
        for node in (0..self.loads.nodes() as u32).map(NodeId) {
            for _ in 0..self.system.prepopulated {
                let declared = self.system.prepopulated_memory;
                if self.loads.committed(node) + declared > self.memory_cap {
                    break;
                }
                self.loads.commit(node, declared);
                self.pool.create_idle(self.group(node), node, declared);
            }
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
