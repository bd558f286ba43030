//! The simulated world: plays a workload, executes the control plane's commands with modelled
//! costs, and answers with inputs.
//!
//! One loop takes the earliest of the next arrival (merged from the sorted workload, never queued)
//! and the next event. In steady state nothing is allocated: sandboxes and invocations live in
//! slabs, plans are ranges of one table of stages.
//!
//! When memory is counted: what a start brings in eagerly from the command to start on; what the
//! first run touches from the moment it begins; everything until the sandbox is evicted or given
//! another function.

use crate::accounting::Accounting;
use crate::costs::{Costs, Resource, Stage};
use crate::queue::{Class, Event, Queue};
use crate::recorder::Recorder;
use crate::shared::Shared;
use configs::Spec;
use platform::control::{Command, ControlConfig, ControlPlane, EvictReason, Input, Timer};
use platform::ids::{NodeId, SandboxId, Ticket};
use platform::memory::{ByClass, MemoryClass};
use platform::records::{Counters, InvocationRecord, Outcome, RunRecord, StartKind};
use std::ops::Range;
use traces::{Bytes, Duration, Function, FunctionId, Instant, Invocation};

/// What is played: a workload, or a stream that is never held in memory.
pub struct Play<'a, I> {
    /// The function table.
    pub functions: &'a [Function],
    /// Invocations in arrival order.
    pub invocations: I,
    /// Arrivals before this long are burn-in.
    pub burn_in: Duration,
    /// Length of the workload: memory is measured from the end of the burn-in to here.
    pub span: Duration,
}

/// Plays the workload on the spec's cluster.
pub fn simulate(spec: &Spec, play: Play<'_, impl Iterator<Item = Invocation>>) -> RunRecord {
    let mut world = World::new(spec, &play);
    world.run(play.invocations);
    world.finish(play.functions)
}

#[derive(Clone, Copy, Debug)]
enum Work {
    /// The stage under way in a sandbox ends.
    Stage(SandboxId),
    /// A shared resource may have a job that leaves.
    Leave { resource: u32, announcement: u32 },
    /// Memory is sampled.
    Sample,
}

/// What a sandbox is doing in the world.
#[derive(Clone, Debug)]
struct Activity {
    node: NodeId,
    function: FunctionId,
    ticket: Ticket,
    /// Stages that are left.
    stages: Range<u32>,
    /// Handler work that follows the stages, in a run.
    handler: Duration,
    running: bool,
    /// The first run after a start has not begun.
    fresh: bool,
    /// Memory held by the sandbox alone.
    held: ByClass,
}

/// An invocation in flight.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    number: u64,
    invocation: Invocation,
    kind: Option<StartKind>,
    node: NodeId,
    start_began: Instant,
    run_began: Instant,
}

struct Node {
    netns_free_at: Instant,
    mount_free_at: Instant,
    cgroup_free_at: Instant,
    local: Bytes,
}

/// A shared resource and the event that stands for its next leave.
struct SharedResource {
    jobs: Shared,
    announced: Instant,
    announcement: u32,
}

struct World {
    plane: ControlPlane,
    costs: Costs,
    queue: Queue<Work, Timer>,
    now: Instant,
    nodes: Vec<Node>,
    /// Cores of node n at 2n, its NIC at 2n + 1, then the CXL port.
    shared: Vec<SharedResource>,
    sandboxes: Vec<Activity>,
    in_flight: Vec<InFlight>,
    free_tickets: Vec<u32>,
    flying: u64,
    /// Sandboxes by node × profile that hold the profile's file pages on the node.
    holders: Vec<u32>,
    accounting: Accounting,
    recorder: Recorder,
    counters: Counters,
    commands: Vec<Command>,
    /// Nodes whose memory use has just passed their DRAM.
    pressure: Vec<NodeId>,
    dram: Bytes,
    burn_in: Instant,
    sample_every: Duration,
    sample_until: Instant,
    warnings: Vec<String>,
}

/// What a prepopulated sandbox runs.
const NO_FUNCTION: FunctionId = FunctionId(u32::MAX);

/// A sandbox of which nothing is known yet.
const VACANT: Activity = Activity {
    node: NodeId(0),
    function: NO_FUNCTION,
    ticket: Ticket(0),
    stages: 0..0,
    handler: Duration::ZERO,
    running: false,
    fresh: false,
    held: ByClass([Bytes::ZERO; MemoryClass::COUNT]),
};

impl World {
    fn new<I>(spec: &Spec, play: &Play<'_, I>) -> Self {
        let costs = Costs::new(spec, play.functions);
        let plane = ControlPlane::new(ControlConfig {
            system: spec.system.clone(),
            placement: spec.placement,
            keep_alive_ttl: spec.keep_alive_ttl,
            nodes: spec.cluster.nodes,
            memory_cap: spec.cluster.memory_cap,
            queue_timeout: spec.cluster.queue_timeout,
            declared: costs.functions.iter().map(|f| f.declared).collect(),
        });
        let nodes = spec.cluster.nodes as usize;
        let resource = |capacity: u64| SharedResource {
            jobs: Shared::new(capacity),
            announced: Instant::MAX,
            announcement: 0,
        };
        let mut shared = Vec::with_capacity(2 * nodes + 1);
        for _ in 0..nodes {
            shared.push(resource(u64::from(spec.cluster.cores)));
            shared.push(resource(costs.nic_streams));
        }
        shared.push(resource(costs.cxl_streams));
        let mut pooled = ByClass::default();
        for function in &costs.functions {
            for class in MemoryClass::ALL {
                pooled.add(class, function.pooled.get(class));
            }
        }
        let warnings = pool_warnings(spec, &pooled);
        let burn_in = Instant::ZERO + play.burn_in;
        let span = Instant::ZERO + play.span;
        let mut queue = Queue::new();
        queue.push(Instant::ZERO, Class::Sample, Work::Sample);
        Self {
            plane,
            queue,
            now: Instant::ZERO,
            nodes: (0..nodes)
                .map(|_| Node {
                    netns_free_at: Instant::ZERO,
                    mount_free_at: Instant::ZERO,
                    cgroup_free_at: Instant::ZERO,
                    local: Bytes::ZERO,
                })
                .collect(),
            shared,
            sandboxes: Vec::new(),
            in_flight: Vec::new(),
            free_tickets: Vec::new(),
            flying: 0,
            holders: vec![0; nodes * costs.node_shared.len()],
            accounting: Accounting::new(pooled, burn_in, span),
            recorder: Recorder::new(play.functions.len(), spec.output.invocations),
            counters: Counters::default(),
            commands: Vec::with_capacity(16),
            pressure: Vec::new(),
            dram: spec.cluster.dram,
            burn_in,
            sample_every: spec.output.memory_every,
            sample_until: span,
            warnings,
            costs,
        }
    }

    fn run(&mut self, mut invocations: impl Iterator<Item = Invocation>) {
        let mut number = 0;
        let mut next = invocations.next();
        loop {
            let arrival_first = match next {
                Some(invocation) => self.queue.arrival_is_first(invocation.arrival()),
                None if self.flying > 0 => false,
                None if self.queue.next().is_some_and(|at| at <= self.sample_until) => false,
                None => return,
            };
            if arrival_first {
                if let Some(invocation) = next {
                    self.arrive(number, invocation);
                }
                number += 1;
                next = invocations.next();
            } else if let Some((at, event)) = self.queue.pop() {
                self.now = at;
                self.counters.events += 1;
                self.take(event);
            } else {
                // Whatever is in flight has an event or a queue timeout pending.
                debug_assert_eq!(self.flying, 0, "invocations in flight, and nothing will happen");
                return;
            }
            if !self.pressure.is_empty() {
                self.relieve();
            }
        }
    }

    fn take(&mut self, event: Event<Work, Timer>) {
        match event {
            Event::Work(Work::Stage(sandbox)) => self.advance(sandbox),
            Event::Work(Work::Leave { resource, announcement }) => self.leave(resource, announcement),
            Event::Timer(timer) => self.tell(Input::Timer(timer)),
            Event::Work(Work::Sample) => {
                self.accounting.sample(self.now, self.plane.busy(), self.plane.idle());
                let next = self.now + self.sample_every;
                if next <= self.sample_until {
                    self.queue.push(next, Class::Sample, Work::Sample);
                }
            }
        }
    }

    fn arrive(&mut self, number: u64, invocation: Invocation) {
        self.now = invocation.arrival();
        let entry = InFlight {
            number,
            invocation,
            kind: None,
            node: NodeId(0),
            start_began: self.now,
            run_began: self.now,
        };
        let ticket = match self.free_tickets.pop() {
            Some(index) => {
                self.in_flight[index as usize] = entry;
                Ticket(index)
            }
            None => {
                self.in_flight.push(entry);
                Ticket((self.in_flight.len() - 1) as u32)
            }
        };
        self.flying += 1;
        self.tell(Input::Arrival { ticket, function: invocation.function() });
    }

    /// Gives the control plane an input and executes its commands.
    fn tell(&mut self, input: Input) {
        let mut commands = std::mem::take(&mut self.commands);
        self.plane.handle(self.now, input, &mut commands);
        for command in commands.drain(..) {
            self.execute(command);
        }
        self.commands = commands;
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::Start { sandbox, node, function, ticket, kind, pooled_netns } => {
                self.counters.created += 1;
                let costs = &self.costs.functions[function.index()];
                let stages = if pooled_netns { costs.start_pooled.clone() } else { costs.start.clone() };
                self.begin_start(sandbox, node, function, ticket, kind, stages);
            }
            Command::Repurpose { sandbox, node, to, ticket, .. } => {
                self.counters.repurposed += 1;
                self.release(sandbox);
                let stages = self.costs.functions[to.index()].repurpose.clone();
                self.begin_start(sandbox, node, to, ticket, StartKind::Repurposed, stages);
            }
            Command::Run { sandbox, ticket, kind, node } => self.begin_run(sandbox, node, ticket, kind),
            Command::Evict { sandbox, node, reason, keep_netns } => {
                match reason {
                    EvictReason::Expired => self.counters.expired += 1,
                    EvictReason::Memory => self.counters.evicted += 1,
                }
                self.release(sandbox);
                if !keep_netns {
                    let lock = &mut self.nodes[node.index()].netns_free_at;
                    *lock = (*lock).max(self.now) + self.costs.destroy_netns;
                }
            }
            Command::SetTimer { at, timer } => self.queue.set_timer(at, timer),
            Command::Queued { .. } => self.counters.queued += 1,
            Command::TimedOut { ticket } => self.end(ticket, Outcome::TimedOut),
            Command::Reject { ticket } => self.end(ticket, Outcome::Rejected),
        }
    }

    fn begin_start(
        &mut self,
        sandbox: SandboxId,
        node: NodeId,
        function: FunctionId,
        ticket: Ticket,
        kind: StartKind,
        stages: Range<u32>,
    ) {
        let now = self.now;
        let flight = &mut self.in_flight[ticket.index()];
        flight.kind = Some(kind);
        flight.node = node;
        flight.start_began = now;
        let activity = self.activity(sandbox);
        *activity = Activity {
            node,
            function,
            ticket,
            stages,
            handler: Duration::ZERO,
            running: false,
            fresh: true,
            held: ByClass::default(),
        };
        let eager = self.costs.functions[function.index()].eager;
        self.share_file_pages(node, function);
        self.hold(sandbox, &eager);
        self.begin(sandbox);
    }

    fn begin_run(&mut self, sandbox: SandboxId, node: NodeId, ticket: Ticket, kind: StartKind) {
        let now = self.now;
        let flight = &mut self.in_flight[ticket.index()];
        if kind == StartKind::Warm {
            flight.start_began = now;
        }
        flight.kind = Some(kind);
        flight.node = node;
        flight.run_began = now;
        let invocation = flight.invocation;
        let costs = &self.costs.functions[invocation.function().index()];
        let mut handler = slowed(invocation.service(), costs.slowdown_ppm);
        let activity = &mut self.sandboxes[sandbox.index()];
        activity.ticket = ticket;
        activity.running = true;
        activity.stages = 0..0;
        let first = std::mem::take(&mut activity.fresh);
        if first {
            handler += costs.first_faults;
            activity.stages = costs.first_touch.clone();
        }
        activity.handler = handler;
        if first {
            let touched = costs.touched;
            self.hold(sandbox, &touched);
        }
        self.begin(sandbox);
    }

    /// Begins the sandbox's next stage, or ends its start or run.
    fn advance(&mut self, sandbox: SandboxId) {
        if self.begin_stage(sandbox) {
            return;
        }
        let activity = &mut self.sandboxes[sandbox.index()];
        if std::mem::take(&mut activity.running) {
            let ticket = activity.ticket;
            self.end(ticket, Outcome::Completed);
            self.tell(Input::Finished { sandbox });
        } else {
            self.tell(Input::Ready { sandbox });
        }
    }

    /// Begins the sandbox's first stage; what has none ends with an event of its own, so that a
    /// command never leads to an input while commands are being executed.
    fn begin(&mut self, sandbox: SandboxId) {
        if !self.begin_stage(sandbox) {
            self.queue.push(self.now, Class::Work, Work::Stage(sandbox));
        }
    }

    /// Begins the sandbox's next stage; `false` if none is left.
    fn begin_stage(&mut self, sandbox: SandboxId) -> bool {
        let activity = &mut self.sandboxes[sandbox.index()];
        let Stage { resource, work } = if let Some(stage) = activity.stages.next() {
            self.costs.stages[stage as usize]
        } else if activity.handler > Duration::ZERO {
            Stage { resource: Resource::Cores, work: std::mem::take(&mut activity.handler) }
        } else {
            return false;
        };
        let node = activity.node;
        match resource {
            Resource::Delay => self.queue.push(self.now + work, Class::Work, Work::Stage(sandbox)),
            Resource::Cores => self.join(2 * node.0, sandbox, work),
            Resource::Nic => self.join(2 * node.0 + 1, sandbox, work),
            Resource::CxlPort => self.join(self.shared.len() as u32 - 1, sandbox, work),
            Resource::NetnsLock | Resource::MountLock | Resource::CgroupLock => {
                // First come, first served: when this stage ends is known when it begins.
                let free_at = self.nodes[node.index()].lock(resource);
                *free_at = (*free_at).max(self.now) + work;
                self.queue.push(*free_at, Class::Work, Work::Stage(sandbox));
            }
        }
        true
    }

    fn join(&mut self, resource: u32, sandbox: SandboxId, work: Duration) {
        self.shared[resource as usize].jobs.join(self.now, sandbox.0, work);
        self.announce(resource);
    }

    fn leave(&mut self, resource: u32, announcement: u32) {
        if self.shared[resource as usize].announcement != announcement {
            return;
        }
        self.shared[resource as usize].announced = Instant::MAX;
        while let Some(job) = self.shared[resource as usize].jobs.leave(self.now) {
            self.advance(SandboxId(job));
        }
        self.announce(resource);
    }

    /// Makes the one pending event of the resource stand for its next leave.
    fn announce(&mut self, resource: u32) {
        let shared = &mut self.shared[resource as usize];
        let next = shared.jobs.next_leave().unwrap_or(Instant::MAX);
        if next == shared.announced {
            return;
        }
        shared.announced = next;
        shared.announcement = shared.announcement.wrapping_add(1);
        if next < Instant::MAX {
            let event = Work::Leave { resource, announcement: shared.announcement };
            self.queue.push(next, Class::Work, event);
        }
    }

    /// The invocation has ended; its ticket is free.
    fn end(&mut self, ticket: Ticket, outcome: Outcome) {
        let flight = self.in_flight[ticket.index()];
        let arrival = flight.invocation.arrival();
        let started = flight.kind.is_some();
        let began = if started { flight.start_began } else { self.now };
        let record = InvocationRecord {
            number: flight.number,
            function: flight.invocation.function().0,
            node: started.then_some(flight.node.0),
            start: flight.kind,
            outcome,
            burn_in: arrival < self.burn_in,
            arrival_ns: arrival,
            queueing_ns: began.since(arrival),
            startup_ns: if started { flight.run_began.since(began) } else { Duration::ZERO },
            service_ns: if started { self.now.since(flight.run_began) } else { Duration::ZERO },
        };
        self.recorder.record(&record);
        self.free_tickets.push(ticket.0);
        self.flying -= 1;
    }

    fn activity(&mut self, sandbox: SandboxId) -> &mut Activity {
        if self.sandboxes.len() <= sandbox.index() {
            self.sandboxes.resize(sandbox.index() + 1, VACANT);
        }
        &mut self.sandboxes[sandbox.index()]
    }

    /// The sandbox holds more memory.
    fn hold(&mut self, sandbox: SandboxId, bytes: &ByClass) {
        let activity = &mut self.sandboxes[sandbox.index()];
        for class in MemoryClass::ALL {
            activity.held.add(class, bytes.get(class));
        }
        let node = activity.node;
        self.nodes[node.index()].local += bytes.local();
        self.accounting.add(self.now, bytes);
        if self.nodes[node.index()].local > self.dram {
            self.pressure.push(node);
        }
    }

    /// The sandbox gives back all memory of its function.
    fn release(&mut self, sandbox: SandboxId) {
        let now = self.now;
        let activity = self.activity(sandbox);
        let (node, function) = (activity.node, activity.function);
        let held = std::mem::take(&mut activity.held);
        activity.function = NO_FUNCTION;
        if function == NO_FUNCTION {
            return;
        }
        self.nodes[node.index()].local -= held.local();
        self.accounting.take(now, &held);
        let files = self.costs.functions[function.index()].files;
        let holders = self.holders(node, files);
        *holders -= 1;
        if *holders == 0 {
            let shared = self.file_pages(files);
            self.nodes[node.index()].local -= shared.local();
            self.accounting.take(now, &shared);
        }
    }

    /// One more sandbox of the function on the node: the first of its profile brings the file pages in.
    fn share_file_pages(&mut self, node: NodeId, function: FunctionId) {
        let files = self.costs.functions[function.index()].files;
        let holders = self.holders(node, files);
        *holders += 1;
        if *holders == 1 {
            let shared = self.file_pages(files);
            self.nodes[node.index()].local += shared.local();
            self.accounting.add(self.now, &shared);
        }
    }

    fn holders(&mut self, node: NodeId, files: u32) -> &mut u32 {
        &mut self.holders[node.index() * self.costs.node_shared.len() + files as usize]
    }

    fn file_pages(&self, files: u32) -> ByClass {
        let mut shared = ByClass::default();
        shared.add(MemoryClass::NodeShared, self.costs.node_shared[files as usize]);
        shared
    }

    /// Asks the control plane to relieve nodes that use more than their DRAM.
    fn relieve(&mut self) {
        while let Some(node) = self.pressure.pop() {
            while self.nodes[node.index()].local > self.dram {
                let before = self.counters.evicted;
                self.tell(Input::MemoryPressure { node });
                if self.counters.evicted == before {
                    self.counters.overcommitted += 1;
                    break;
                }
            }
        }
    }

    fn finish(mut self, functions: &[Function]) -> RunRecord {
        if self.counters.overcommitted > 0 {
            self.warnings.push(format!(
                "node DRAM was exceeded {} times with nothing idle left to evict: a real node would have swapped or killed",
                self.counters.overcommitted
            ));
        }
        let (functions, starts, invocations) = self.recorder.finish(functions);
        let ended = |outcome: Outcome| functions.iter().map(|f| f.outcomes[outcome as usize]).sum::<u64>();
        let (timed_out, rejected) = (ended(Outcome::TimedOut), ended(Outcome::Rejected));
        if timed_out > 0 {
            self.warnings.push(format!(
                "{timed_out} measured invocations waited longer than cluster.queue_timeout and are in no latency"
            ));
        }
        if rejected > 0 {
            self.warnings.push(format!(
                "{rejected} measured invocations are of functions that declare more than cluster.memory_cap and never ran"
            ));
        }
        RunRecord {
            functions,
            starts,
            memory: self.accounting.finish(),
            counters: self.counters,
            warnings: self.warnings,
            invocations,
        }
    }
}

impl Node {
    fn lock(&mut self, resource: Resource) -> &mut Instant {
        match resource {
            Resource::MountLock => &mut self.mount_free_at,
            Resource::CgroupLock => &mut self.cgroup_free_at,
            _ => &mut self.netns_free_at,
        }
    }
}

/// Service time on memory that is partly slower than local DRAM.
fn slowed(service: Duration, ppm: u64) -> Duration {
    let nanos = u128::from(service.as_nanos()) * u128::from(ppm) / 1_000_000;
    Duration::from_nanos(nanos as u64)
}

fn pool_warnings(spec: &Spec, pooled: &ByClass) -> Vec<String> {
    let pools = [
        (MemoryClass::PoolCxl, spec.machine.cxl.capacity, "CXL"),
        (MemoryClass::PoolRdma, spec.machine.rdma.capacity, "RDMA"),
    ];
    pools
        .iter()
        .filter(|&&(class, capacity, _)| pooled.get(class) > capacity)
        .map(|&(class, capacity, name)| {
            format!(
                "templates and snapshots need {} of the {name} pool, which has {capacity}: the model goes on as if they fitted",
                pooled.get(class)
            )
        })
        .collect()
}
