//! A world that believes nothing: it keeps its own account of sandboxes and invocations, checks every
//! command against it, and compares it with the control plane's after every input.

use platform::policy::{FunctionFacts, Placement};
use platform::system::{Isolating, KeepAlive, Layer, System};
use platform::{
    Command, ControlConfig, ControlPlane, EvictReason, Input, NodeId, SandboxId, StartKind, Ticket, Timer,
};
use std::collections::BTreeMap;
use traces::{Bytes, FunctionId, Instant};

/// What a sandbox is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    Starting(Option<Ticket>, StartKind),
    /// The start has ended; the invocation must be told to run.
    Ready(Ticket, StartKind),
    Running(Ticket),
    Idle(Layer),
}

/// A sandbox as the commands have made it.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub node: NodeId,
    pub function: Option<FunctionId>,
    declared: Bytes,
    pub doing: Doing,
    /// The number of the command or input that made it idle: the least recently used has the least.
    used: u64,
}

/// What has become of an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Has arrived or waits, since then; whether it was told to wait.
    Waiting(Instant, bool),
    /// Bound to that sandbox.
    Bound(SandboxId),
    Finished,
    TimedOut,
    Rejected,
    Lost,
}

/// How often what was commanded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs, in the order of [`StartKind::ALL`].
    pub runs: [u32; StartKind::COUNT],
    pub evicted: u32,
    pub expired: u32,
    pub demoted: u32,
    pub pre_warmed: u32,
    pub queued: u32,
    pub timed_out: u32,
}

impl Counts {
    /// Invocations that found no idle sandbox of their function.
    pub fn not_warm(&self) -> u32 {
        self.runs.iter().sum::<u32>() - self.runs[StartKind::Warm as usize]
    }
}

pub struct World {
    plane: ControlPlane,
    pub system: System,
    pub functions: Vec<FunctionFacts>,
    cap: Bytes,
    tenants_apart: bool,
    queue_timeout: traces::Duration,
    pub now: Instant,
    pub sandboxes: BTreeMap<SandboxId, Seen>,
    /// Prepopulated sandboxes that no command has named yet, by node.
    unnamed: Vec<u32>,
    netns: Vec<u32>,
    pub up: Vec<bool>,
    /// The function and fate of every invocation; its ticket is the index.
    pub invocations: Vec<(FunctionId, Fate)>,
    /// Timers to come.
    pub timers: BTreeMap<(Instant, u64), Timer>,
    timers_set: u64,
    uses: u64,
    ranked: bool,
    /// By the last input, for memory: where, and when last used.
    evicted: Vec<(NodeId, u64)>,
    /// Whether idle sandboxes are used wherever they are, not on a chosen node only.
    cluster: bool,
    pub counts: Counts,
    /// Every command so far.
    pub log: Vec<Command>,
}

impl World {
    pub fn new(config: ControlConfig) -> Self {
        let nodes = config.nodes as usize;
        let system = config.system.clone();
        use KeepAlive::{GreedyDual, GreedyDualFreq, GreedyDualSize, Landlord, Oracle};
        let ranked =
            [GreedyDual, GreedyDualFreq, GreedyDualSize, Landlord, Oracle].contains(&system.keep_alive);
        let cluster = nodes == 1
            || matches!(config.placement, Placement::SandboxAware | Placement::RackLocality { .. });
        let mut world = Self {
            cap: config.memory_cap,
            tenants_apart: config.share_within_tenant,
            queue_timeout: config.queue_timeout,
            functions: config.functions.clone(),
            plane: ControlPlane::new(config),
            now: Instant::ZERO,
            sandboxes: BTreeMap::new(),
            unnamed: vec![0; nodes],
            netns: vec![0; nodes],
            up: vec![true; nodes],
            invocations: Vec::new(),
            timers: BTreeMap::new(),
            timers_set: 0,
            uses: 0,
            ranked,
            evicted: Vec::new(),
            cluster,
            counts: Counts::default(),
            log: Vec::new(),
            system,
        };
        (0..nodes).for_each(|node| world.furnish(node));
        world.check();
        world
    }

    /// What a node that has come holds.
    fn furnish(&mut self, node: usize) {
        self.netns[node] = self.system.pooled_netns;
        self.unnamed[node] = match (self.system.isolating, self.system.prepopulated_memory) {
            (Isolating::Repurpose, Bytes::ZERO) => self.system.prepopulated,
            (Isolating::Repurpose, memory) => self.system.prepopulated.min((self.cap.0 / memory.0) as u32),
            _ => 0,
        };
    }

    pub fn arrive(&mut self, function: FunctionId) {
        let ticket = Ticket(self.invocations.len() as u32);
        self.invocations.push((function, Fate::Waiting(self.now, false)));
        self.tell(Input::Arrival { ticket, function });
    }

    pub fn ready(&mut self, sandbox: SandboxId) {
        let seen = self.sandboxes.get_mut(&sandbox).expect("a live sandbox");
        seen.doing = match seen.doing {
            Doing::Starting(Some(ticket), kind) => Doing::Ready(ticket, kind),
            Doing::Starting(None, _) => Doing::Idle(Layer::Function),
            other => panic!("{sandbox:?} is ready while {other:?}"),
        };
        self.uses += 1;
        seen.used = self.uses;
        self.tell(Input::Ready { sandbox });
    }

    pub fn finish(&mut self, sandbox: SandboxId) {
        let seen = self.sandboxes.get_mut(&sandbox).expect("a live sandbox");
        let Doing::Running(ticket) = seen.doing else {
            panic!("{sandbox:?} finishes while {:?}", seen.doing)
        };
        seen.doing = Doing::Idle(Layer::Function);
        self.uses += 1;
        seen.used = self.uses;
        self.invocations[ticket.index()].1 = Fate::Finished;
        self.tell(Input::Finished { sandbox });
    }

    pub fn lose(&mut self, sandbox: SandboxId) {
        self.tell(Input::SandboxLost { sandbox });
        assert!(!self.log.is_empty(), "the loss of {sandbox:?} was not answered");
    }

    pub fn node(&mut self, node: NodeId, up: bool) {
        if up && !self.up[node.index()] {
            self.furnish(node.index());
        }
        self.up[node.index()] = up;
        self.tell(if up { Input::NodeJoined { node } } else { Input::NodeLost { node } });
        let empty = self.unnamed[node.index()] == 0 && self.sandboxes.values().all(|seen| seen.node != node);
        assert!(up || empty, "{node:?} is down, not empty");
    }

    /// Delivers the first timer.
    pub fn timer(&mut self) {
        if let Some(((at, _), timer)) = self.timers.pop_first() {
            self.now = self.now.max(at);
            self.tell(Input::Timer(timer));
        }
    }

    pub fn tell(&mut self, input: Input) {
        let mut out = Vec::new();
        self.plane.handle(self.now, input, &mut out);
        for command in &out {
            self.obey(*command, input);
        }
        // What is still there was used after what had to go. (One that is to be repurposed is out of the
        // way of evictions that come before that command.)
        for (node, used) in std::mem::take(&mut self.evicted) {
            let idle = |other: &&Seen| other.node == node && matches!(other.doing, Doing::Idle(_));
            let first = self.sandboxes.values().filter(idle).map(|other| other.used).min();
            assert!(first.is_none_or(|first| used <= first), "{out:?}: {used} was not used before {first:?}");
        }
        self.log.append(&mut out);
        self.check();
    }

    fn obey(&mut self, command: Command, input: Input) {
        let about = format!("{command:?} after {input:?}");
        match command {
            Command::Start { sandbox, node, function, ticket, kind, pooled_netns } => {
                assert!(self.up[node.index()], "{about}: the node is down");
                assert_eq!(kind, self.system.new_sandbox_start(), "{about}");
                let pool = self.system.isolating == Isolating::PooledNetns && self.netns[node.index()] > 0;
                assert_eq!(pooled_netns, pool, "{about}");
                self.netns[node.index()] -= u32::from(pooled_netns);
                self.bind(ticket, function, sandbox, &about);
                self.counts.pre_warmed += u32::from(ticket.is_none());
                let declared = self.functions[function.index()].declared;
                let doing = Doing::Starting(ticket, kind);
                let seen = Seen { node, function: Some(function), declared, doing, used: 0 };
                assert!(self.sandboxes.insert(sandbox, seen).is_none(), "{about}: the name is taken");
            }
            Command::Repurpose { sandbox, node, from, keeps, to, ticket } => {
                let layer = self.idle(sandbox, node, &about);
                self.bind(Some(ticket), to, sandbox, &about);
                assert_eq!(from, self.sandboxes[&sandbox].function, "{about}");
                let kept = if layer == Layer::Function { Layer::Bare } else { layer };
                assert_eq!(keeps, kept, "{about}: it held {layer:?}");
                let facts = |function: FunctionId| self.functions[function.index()];
                if keeps == Layer::Runtime {
                    assert_eq!(from.map(|f| facts(f).runtime), Some(facts(to).runtime), "{about}");
                }
                if self.system.keep_alive == KeepAlive::Layers {
                    assert_ne!(layer, Layer::Function, "{about}: its function is still kept");
                } else {
                    assert!(self.system.repurposes(), "{about}");
                    let same = from.is_none_or(|from| facts(from).tenant == facts(to).tenant);
                    assert!(same || !self.tenants_apart, "{about}: another tenant's");
                }
                let declared = facts(to).declared;
                let doing = Doing::Starting(Some(ticket), StartKind::Repurposed);
                self.sandboxes.insert(sandbox, Seen { node, function: Some(to), declared, doing, used: 0 });
            }
            Command::Run { sandbox, node, ticket, kind } => {
                let seen = self.sandboxes[&sandbox];
                let function = self.invocations[ticket.index()].0;
                assert_eq!((seen.node, seen.function), (node, Some(function)), "{about}");
                match seen.doing {
                    Doing::Ready(of, start) => assert_eq!((of, start), (ticket, kind), "{about}"),
                    Doing::Idle(Layer::Function) => {
                        assert_eq!(kind, StartKind::Warm, "{about}");
                        let of = |other: &&Seen| {
                            other.function == Some(function)
                                && other.doing == Doing::Idle(Layer::Function)
                                && (self.cluster || other.node == node)
                        };
                        let last = self.sandboxes.values().filter(of).map(|other| other.used).max();
                        assert_eq!(Some(seen.used), last, "{about}: another one was used last");
                        self.bind(Some(ticket), function, sandbox, &about);
                    }
                    other => panic!("{about}: it is {other:?}"),
                }
                assert_eq!(self.invocations[ticket.index()].1, Fate::Bound(sandbox), "{about}");
                self.sandboxes.insert(sandbox, Seen { doing: Doing::Running(ticket), ..seen });
                self.counts.runs[kind as usize] += 1;
            }
            Command::Demote { sandbox, node, to } => {
                let layer = self.idle(sandbox, node, &about);
                let seen = self.sandboxes.get_mut(&sandbox).expect("an idle sandbox");
                let runtime = seen.function.map_or(Bytes::ZERO, |f| self.functions[f.index()].runtime_memory);
                match (layer, to) {
                    (Layer::Function, Layer::Runtime) => seen.declared = seen.declared.min(runtime),
                    (_, Layer::Bare) => (seen.declared, seen.function) = (Bytes::ZERO, None),
                    _ => panic!("{about}: it held {layer:?}"),
                }
                seen.doing = Doing::Idle(to);
                self.uses += 1;
                seen.used = self.uses;
                self.counts.demoted += 1;
            }
            Command::Evict { sandbox, node, reason, keep_netns } => {
                self.idle(sandbox, node, &about);
                let used = self.sandboxes.remove(&sandbox).map(|seen| seen.used);
                if reason == EvictReason::Memory && !self.ranked {
                    self.evicted.extend(used.map(|used| (node, used)));
                }
                assert!(!matches!(input, Input::Timer(Timer::PreWarm { .. })), "{about}: for nobody");
                assert_eq!(keep_netns, self.system.isolating == Isolating::PooledNetns, "{about}");
                self.netns[node.index()] += u32::from(keep_netns);
                match reason {
                    EvictReason::Expired => self.counts.expired += 1,
                    EvictReason::Memory => self.counts.evicted += 1,
                }
            }
            Command::Lost { sandbox, node, ticket } => {
                match input {
                    Input::SandboxLost { sandbox: lost } => assert_eq!(lost, sandbox, "{about}"),
                    Input::NodeLost { node: lost } => assert_eq!(lost, node, "{about}"),
                    _ => panic!("{about}"),
                }
                self.name(sandbox, node);
                let seen = self.sandboxes.remove(&sandbox).expect("a live sandbox");
                let served = match seen.doing {
                    Doing::Starting(ticket, _) => ticket,
                    Doing::Running(ticket) | Doing::Ready(ticket, _) => Some(ticket),
                    Doing::Idle(_) => None,
                };
                assert_eq!((seen.node, served), (node, ticket), "{about}");
                if let Some(ticket) = ticket {
                    self.invocations[ticket.index()].1 = Fate::Lost;
                }
            }
            Command::SetTimer { at, timer } => {
                assert!(at >= self.now, "{about}: it is {} already", self.now);
                self.timers.insert((at, self.timers_set), timer);
                self.timers_set += 1;
            }
            Command::Queued { ticket } => {
                let Fate::Waiting(since, false) = self.invocations[ticket.index()].1 else {
                    panic!("{about}")
                };
                self.invocations[ticket.index()].1 = Fate::Waiting(since, true);
                self.counts.queued += 1;
            }
            Command::TimedOut { ticket } => {
                let Fate::Waiting(since, true) = self.invocations[ticket.index()].1 else {
                    panic!("{about}")
                };
                assert!(self.now >= since + self.queue_timeout, "{about}: it waits since {since}");
                self.invocations[ticket.index()].1 = Fate::TimedOut;
                self.counts.timed_out += 1;
            }
            Command::Reject { ticket } => {
                let (function, fate) = self.invocations[ticket.index()];
                assert!(matches!(fate, Fate::Waiting(_, false)), "{about}");
                assert!(self.functions[function.index()].declared > self.cap, "{about}: it could run");
                self.invocations[ticket.index()].1 = Fate::Rejected;
            }
        }
    }

    /// A waiting invocation, if any, gets the sandbox.
    fn bind(&mut self, ticket: Option<Ticket>, function: FunctionId, sandbox: SandboxId, about: &str) {
        if let Some(ticket) = ticket {
            let (asked, fate) = self.invocations[ticket.index()];
            assert_eq!(asked, function, "{about}");
            assert!(matches!(fate, Fate::Waiting(..)), "{about}: the invocation is {fate:?}");
            self.invocations[ticket.index()].1 = Fate::Bound(sandbox);
        }
    }

    /// What an idle sandbox of the node holds.
    fn idle(&mut self, sandbox: SandboxId, node: NodeId, about: &str) -> Layer {
        self.name(sandbox, node);
        match self.sandboxes.get(&sandbox) {
            Some(&Seen { node: at, doing: Doing::Idle(layer), .. }) if at == node => layer,
            other => panic!("{about}: the sandbox is {other:?}"),
        }
    }

    /// The first command about a prepopulated sandbox tells its name.
    fn name(&mut self, sandbox: SandboxId, node: NodeId) {
        if !self.sandboxes.contains_key(&sandbox) && self.unnamed[node.index()] > 0 {
            self.unnamed[node.index()] -= 1;
            let declared = self.system.prepopulated_memory;
            let doing = Doing::Idle(Layer::Bare);
            self.sandboxes.insert(sandbox, Seen { node, function: None, declared, doing, used: 0 });
        }
    }

    /// The control plane's accounts are the world's, and no limit is exceeded.
    fn check(&self) {
        let nodes = self.up.len();
        let (mut memory, mut starting) = (vec![Bytes::ZERO; nodes], vec![0; nodes]);
        let mut at_work = vec![Bytes::ZERO; nodes];
        let (mut idle, mut busy) = (self.unnamed.iter().sum::<u32>(), 0);
        for (name, seen) in &self.sandboxes {
            memory[seen.node.index()] += seen.declared;
            if !matches!(seen.doing, Doing::Idle(_)) {
                at_work[seen.node.index()] += seen.declared;
            }
            match seen.doing {
                Doing::Idle(_) => idle += 1,
                Doing::Running(_) => busy += 1,
                Doing::Starting(..) => {
                    busy += 1;
                    starting[seen.node.index()] += 1;
                }
                Doing::Ready(..) => panic!("{name:?} is ready and was told nothing"),
            }
        }
        assert_eq!((self.plane.idle(), self.plane.busy()), (idle, busy), "idle and busy sandboxes");
        for node in 0..nodes {
            let prepopulated = self.system.prepopulated_memory * u64::from(self.unnamed[node]);
            let committed = self.plane.committed(NodeId(node as u32));
            assert_eq!(committed, memory[node] + prepopulated, "memory of node {node}");
            assert!(committed <= self.cap, "node {node} holds {committed} of {}", self.cap);
            assert!(starting[node] <= self.system.start_slots, "starts on node {node}");
        }
        let mut longest: Option<(Instant, FunctionId)> = None;
        for (ticket, &(function, fate)) in self.invocations.iter().enumerate() {
            assert!(!matches!(fate, Fate::Waiting(_, false)), "invocation {ticket} was not answered");
            if let Fate::Waiting(since, _) = fate
                && longest.is_none_or(|(first, _)| since < first)
            {
                longest = Some((since, function));
            }
        }
        if let Some((_, function)) = longest.filter(|_| self.cluster) {
            // Nobody waits in vain: who has waited longest can start nowhere.
            let need = self.functions[function.index()].declared;
            let slot = |node: usize| self.up[node] && starting[node] < self.system.start_slots;
            let free = (0..nodes).find(|&node| slot(node) && at_work[node] + need <= self.cap);
            assert_eq!(free, None, "{function:?} waits although it could start there");
        }
    }
}
