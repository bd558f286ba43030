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
//! the keep-alive policy says. What can start nowhere (on the chosen node, or in the whole cluster,
//! as the placement's [`Scope`] says) waits, in arrival order, and takes the first sandbox of its
//! function that becomes idle meanwhile. Idle sandboxes never make anybody wait, so their going does
//! not help anybody either.

mod idling;
mod lists;
mod losses;
mod pool;
mod starts;
mod waiting;
mod words;

pub use words::{Command, EvictReason, Input, Timer};

use crate::ids::{NodeId, SandboxId, Ticket};
use crate::policy::keep_alive::{self, KeepAliveParameters, Knowledge};
use crate::policy::placement::{self, Surroundings};
use crate::policy::{FunctionFacts, Keep, KeepAlivePolicy, NodeLoads, Placement, PlacementPolicy, Scope};
use crate::records::StartKind;
use crate::system::{KeepAlive, Layer, System};
use pool::{Layout, NO_FUNCTION, Pool};
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
    pub functions: Vec<FunctionFacts>,
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
    functions: Vec<FunctionFacts>,
    scope: Scope,
    placement: Box<dyn PlacementPolicy>,
    keep_alive: Box<dyn KeepAlivePolicy>,
    watches_arrivals: bool,
    ranks: bool,
    sharing: Sharing,
    loads: NodeLoads,
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
            Knowledge {
                parameters: &config.keep_alive,
                functions: &config.functions,
                arrivals: config.arrivals,
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
        let loads = NodeLoads::new(config.nodes, config.racks, placement.needs_running());
        let mut plane = Self {
            memory_cap: config.memory_cap,
            queue_timeout: config.queue_timeout,
            scope,
            watches_arrivals: keep_alive.watches_arrivals(),
            ranks,
            sharing,
            loads: match scope {
                Scope::Cluster => loads.with_room(system.start_slots),
                Scope::Node => loads.with_start_slots(system.start_slots),
            },
            placement,
            keep_alive,
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
    #[inline]
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Command>) {
        // What most inputs are is known where this is called, and leads straight to its function.
        match input {
            Input::Arrival { ticket, function } => self.arrival(now, ticket, function, out),
            Input::Finished { sandbox } => self.finished(now, sandbox, out),
            other => self.handle_other(now, other, out),
        }
    }

    fn handle_other(&mut self, now: Instant, input: Input, out: &mut Vec<Command>) {
        match input {
            Input::Arrival { .. } | Input::Finished { .. } => self.handle(now, input, out),
            Input::Ready { sandbox } => self.ready(now, sandbox, out),
            Input::Timer(Timer::KeepAlive { sandbox, generation }) => {
                self.keep_alive_timer(now, sandbox, generation, out);
            }
            Input::Timer(Timer::Queue { ticket, wait }) => {
                if let Some(group) = self.waiting.give_up(ticket, wait) {
                    out.push(Command::TimedOut { ticket });
                    // Whoever waited behind it may need less.
                    self.serve_waiting(now, group, NodeId(group as u32), out);
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
            self.pre_warms[function.index()].0 = self.pre_warms[function.index()].0.wrapping_add(1);
        }
        if let Some(group) = self.place(now, ticket, function, out) {
            let wait = self.waiting.push(group, ticket, function);
            out.push(Command::Queued { ticket });
            let timer = Timer::Queue { ticket, wait };
            out.push(Command::SetTimer { at: now + self.queue_timeout, timer });
        }
    }

    fn ready(&mut self, now: Instant, sandbox: SandboxId, out: &mut Vec<Command>) {
        let (node, ticket, kind) = self.pool.run_bound(sandbox);
        self.loads.end_start(node);
        match ticket {
            Some(ticket) => out.push(Command::Run { sandbox, node, ticket, kind }),
            None => {
                let (_, function) = self.pool.place_of(sandbox);
                if let Some(ticket) = self.waiting.pop_of(self.group(node), function) {
                    self.pool.rebind(sandbox, ticket);
                    out.push(Command::Run { sandbox, node, ticket, kind: StartKind::Warm });
                } else {
                    let until = self.pre_warms[function.index()].1;
                    self.loads.end(node);
                    self.idle_after(now, sandbox, Keep::Until(until.max(now)), out);
                }
            }
        }
        self.serve_waiting(now, self.group(node), node, out);
    }

    fn finished(&mut self, now: Instant, sandbox: SandboxId, out: &mut Vec<Command>) {
        let (node, function) = self.pool.place_of(sandbox);
        let group = self.group(node);
        if self.ranks {
            self.keep_alive.used(node, sandbox, function);
        }
        if self.system.reuse
            && !self.waiting.is_empty(group)
            && let Some(ticket) = self.waiting.pop_of(group, function)
        {
            self.pool.rebind(sandbox, ticket);
            out.push(Command::Run { sandbox, node, ticket, kind: StartKind::Warm });
        } else {
            self.loads.end(node);
            let keep = self.keep_alive.after_use(now, sandbox, function);
            self.idle_after(now, sandbox, keep, out);
        }
        self.serve_waiting(now, group, node, out);
    }

    /// Starts waiting invocations in arrival order, as far as slots and memory now allow.
    #[inline]
    fn serve_waiting(&mut self, now: Instant, group: usize, node: NodeId, out: &mut Vec<Command>) {
        if !self.waiting.is_empty(group) {
            self.serve_who_waits(now, group, node, out);
        }
    }

    fn serve_who_waits(&mut self, now: Instant, group: usize, node: NodeId, out: &mut Vec<Command>) {
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
            self.loads.rest(node, declared);
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
