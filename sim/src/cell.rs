//! A cell of the simulated world: plays its invocations, executes its control plane's commands with
//! modelled costs, and answers with inputs.
//!
//! Before each arrival (merged from the sorted workload, never queued) the events that come first are
//! taken from the queue. In steady state nothing is allocated: sandboxes and invocations live in
//! slabs, plans are ranges of one table of stages.
//!
//! When memory is counted: what a start brings in eagerly from the command to start on; what the
//! first invocation touches in steps while it runs; everything until the sandbox is evicted or given
//! another function.

mod browsers;
mod faults;
mod holdings;
mod resources;
mod running;
mod starting;
mod watching;

use crate::accounting::{Accounting, Measured, Place};
use crate::agents::Books;
use crate::costs::{Costs, NOTHING, Tier};
use crate::device::Device;
use crate::processor::{Processor, Seat, Seats};
use crate::queue::{Class, Event, NAMES, Number, Queue, Work};
use crate::reads::Reads;
use crate::timeline;
use crate::warnings;
use browsers::Browsers;
use configs::Spec;
use faults::Schedule;
use platform::control::{Command, ControlConfig, ControlPlane, EvictReason, Input, Timer};
use platform::ids::{NodeId, SandboxId, Ticket};
use platform::memory::{ByClass, MemoryClass};
use platform::policy::placement::home_rack;
use platform::recorder::{Recorder, Starts};
use platform::records::{
    Counters, FunctionRecord, Happening, InvocationRecord, Outcome, PlaceRecord, StartKind, Timeline,
    TimelinePlace,
};
use platform::system::{PageSource, State, System};
use std::collections::BTreeMap;
use std::ops::Range;
use traces::rng::Streams;
use traces::{Bytes, Duration, Function, FunctionId, Instant, Invocation};

/// What a sandbox is doing in the world: one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Activity {
    /// Time that the invocation computes, slow memory included.
    service: Duration,
    /// The event that was set for it last; another one means nothing any more.
    event: Number,
    /// Its place on the processor.
    seat: Seat,
    node: NodeId,
    function: FunctionId,
    /// The invocation it starts for or runs, or [`NO_TICKET`].
    ticket: Ticket,
    /// The processor it is on, or [`NOWHERE`].
    on: u32,
    /// The next stage, and the next phase of the handler.
    stage: u32,
    phase: u32,
    stages_left: u8,
    phases_left: u8,
    /// What it holds: a level of its plan.
    level: u8,
    flags: Flags,
    /// Invocations since its start.
    uses: u32,
}

const _: () = assert!(size_of::<Activity>() == 64, "one cache line");

/// What else is true of a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flags(u8);

impl Flags {
    const NONE: Self = Self(0);
    const RUNNING: Self = Self(1);
    /// The first invocation after a start has not begun.
    const FRESH: Self = Self(1 << 1);
    /// It was booted because its template could not be had.
    const FALLBACK: Self = Self(1 << 2);
    /// It uses its function's template on the rack's device.
    const ATTACHED: Self = Self(1 << 3);
    /// It was the first on its node to use what the node's page cache holds for its function.
    const COLD_CACHE: Self = Self(1 << 4);
    /// Its invocation reads memory in place.
    const READING: Self = Self(1 << 5);
    /// It uses what its node holds once for all.
    const SHARING: Self = Self(1 << 6);
    /// It uses its function's template in the RDMA pool.
    const REMOTE: Self = Self(1 << 7);

    fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    fn set(&mut self, flag: Self) {
        self.0 |= flag.0;
    }

    /// Clears it; answers whether it was set.
    fn take(&mut self, flag: Self) -> bool {
        let had = self.has(flag);
        self.0 &= !flag.0;
        had
    }
}

/// On no processor.
const NOWHERE: u32 = u32::MAX;

/// For nobody.
const NO_TICKET: Ticket = Ticket(u32::MAX);

/// What a bare sandbox runs.
const NO_FUNCTION: FunctionId = FunctionId(u32::MAX);

/// A sandbox of which nothing is known yet.
const VACANT: Activity = Activity {
    service: Duration::ZERO,
    event: Number::NONE,
    seat: Seat::NONE,
    node: NodeId(0),
    function: NO_FUNCTION,
    ticket: NO_TICKET,
    on: NOWHERE,
    stage: 0,
    phase: 0,
    stages_left: 0,
    phases_left: 0,
    level: NOTHING,
    flags: Flags::NONE,
    uses: 0,
};

impl Activity {
    fn set_stages(&mut self, stages: &Range<u32>) {
        self.stage = stages.start;
        self.stages_left = (stages.end - stages.start) as u8;
    }

    fn set_phases(&mut self, phases: &Range<u32>) {
        self.phase = phases.start;
        self.phases_left = (phases.end - phases.start) as u8;
    }

    /// The first phase of those that were set is for others.
    fn leave_out_phase(&mut self) {
        self.phase += 1;
        self.phases_left -= 1;
    }
}

impl Seats for Vec<Activity> {
    fn seat(&mut self, job: u32) -> &mut Seat {
        &mut self[job as usize].seat
    }
}

/// An invocation in flight.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    number: u64,
    invocation: Invocation,
    node: NodeId,
    kind: Option<StartKind>,
    start_began: Instant,
    run_began: Instant,
}

/// Until when each serial resource of a node is taken.
#[derive(Clone, Copy, Debug, Default)]
struct Locks {
    netns: Instant,
    mount: Instant,
    cgroup: Instant,
    nic_line: Instant,
    disk_line: Instant,
}

/// Until when a sandbox needs the pages of its template that lie in the RDMA pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnTouch {
    /// Until its start is through: everything was copied.
    Never,
    /// Until its first invocation is: what it touches was fetched.
    First,
    /// Always.
    Always,
}

impl OnTouch {
    fn of(system: &System) -> Self {
        match (system.state, system.pages) {
            (State::CriuCopy | State::VmCopy, _) => Self::Never,
            (State::VmMap | State::WorkingSetRegions, PageSource::Rdma | PageSource::RdmaPrefetch) => {
                Self::Always
            }
            _ => Self::First,
        }
    }
}

/// Processors of a node: cores, NIC, disk.
const PER_NODE: usize = 3;

/// The cell.
pub struct Cell {
    names: Vec<String>,
    plane: ControlPlane,
    costs: Costs,
    queue: Queue<Timer>,
    now: Instant,
    /// Processors of node n from [`PER_NODE`] × n on, then the devices of the racks.
    processors: Vec<Processor>,
    locks: Vec<Locks>,
    storage_links: Vec<Instant>,
    memory: Vec<Place>,
    /// The CXL devices of the racks, and who reads them in place; none where no template lies there.
    devices: Vec<Device>,
    reads: Vec<Reads>,
    /// The RDMA pool, or what a rack that is played apart has of it; none where no template lies there.
    pool: Option<Device>,
    reads_in_place: bool,
    copies_on_touch: bool,
    fetches_on_touch: OnTouch,
    nodes_per_rack: u32,
    sandboxes: Vec<Activity>,
    in_flight: Vec<InFlight>,
    free_tickets: Vec<u32>,
    flying: u64,
    /// Sandboxes by node and profile that hold the profile's file pages on the node.
    file_users: Vec<u32>,
    /// Sandboxes by function and node that use the function's image in the node's page cache.
    image_users: BTreeMap<(u32, u32), u32>,
    browsers: Browsers,
    books: Books,
    accounting: Accounting,
    measured: Measured,
    recorder: Recorder,
    counters: Counters,
    commands: Vec<Command>,
    /// Jobs that a processor displaces, that leave one, or whose ends on one are known again, while that
    /// is seen to.
    displaced: Vec<u32>,
    leaving: Vec<u32>,
    settled: Vec<(u32, Instant)>,
    /// Nodes whose memory use has just passed their DRAM.
    pressure: Vec<NodeId>,
    dram: Bytes,
    sample_every: Duration,
    promote_after: u32,
    read_variation: f64,
    /// Jobs on cores since then, and their core time since the last sample.
    cores_busy: u64,
    cores_updated: Instant,
    core_time: Duration,
    faults: Schedule,
    /// What share of its capacity each node's NIC has.
    nic_share: Vec<f64>,
    /// Nodes that have failed and are not back.
    down: Vec<bool>,
    streams: Streams,
    warnings: Vec<String>,
    timeline: Option<Box<timeline::Recorder>>,
}

/// What a cell leaves behind that is summed over all cells, in whatever order: whole numbers only.
pub struct Sums {
    /// Latencies by start kind.
    pub starts: Starts,
    /// Memory over time.
    pub accounting: Accounting,
    /// How often things were done.
    pub counters: Counters,
}

/// What else a cell leaves behind.
pub struct CellRecord {
    /// One per function of the cell.
    pub functions: Vec<FunctionRecord>,
    /// Memory of each node.
    pub nodes: Vec<PlaceRecord>,
    /// Memory of each CXL device, if there are any.
    pub devices: Vec<PlaceRecord>,
    /// What to check before believing the results.
    pub warnings: Vec<String>,
    /// Every invocation, where the experiment asked for them.
    pub invocations: Vec<InvocationRecord>,
    /// A part of the run in detail, where the experiment asked for it.
    pub timeline: Option<Timeline>,
}

impl Cell {
    /// A cell before its first invocation. `arrivals` are those of its functions, if the keep-alive
    /// policy looks ahead; `place` is its number among so many cells.
    pub fn new(
        spec: &Spec,
        functions: &[(u32, &Function)],
        arrivals: Vec<Vec<Instant>>,
        measured: Measured,
        seed: u64,
        place: (u32, u32),
    ) -> Self {
        let (number, cells) = place;
        let costs = Costs::new(spec, functions);
        let (nodes, racks) = (spec.cluster.nodes / cells, spec.cluster.racks / cells);
        let streams =
            if cells == 1 { Streams::new(seed) } else { Streams::new(seed).within("cell", number.into()) };
        let plane = ControlPlane::new(ControlConfig {
            system: spec.system.clone(),
            placement: spec.placement,
            keep_alive: spec.keep_alive.clone(),
            nodes,
            racks,
            memory_cap: spec.cluster.memory_cap,
            queue_timeout: spec.cluster.queue_timeout,
            share_within_tenant: spec.sharing.within_tenant,
            functions: costs.facts.clone(),
            arrivals,
            streams,
        });
        let mut processors = Vec::with_capacity(nodes as usize * PER_NODE + racks as usize);
        for _ in 0..nodes {
            processors.push(Processor::cores(spec.cluster.cores));
            processors.push(Processor::new(costs.nic_streams));
            processors.push(Processor::new(costs.disk_streams));
        }
        processors.extend((0..racks).map(|_| Processor::new(costs.cxl_streams)));
        let devices: Vec<Device> = (0..if spec.system.uses_cxl() { racks } else { 0 })
            .map(|rack| {
                let holds = |function: FunctionId| {
                    // In a rack that is played apart, all functions are at home.
                    let distance = (rack + racks - home_rack(function, racks)) % racks;
                    spec.pools.replicas == 0 || cells > 1 || distance < spec.pools.replicas
                };
                Device::new(Tier::Cxl, spec.machine.cxl.capacity, &costs, holds)
            })
            .collect();
        let is_pooled = costs.classes.iter().any(|class| class.template.rdma > Bytes::ZERO);
        let share = Bytes(spec.machine.rdma.capacity.0 / u64::from(cells));
        let pool = is_pooled.then(|| Device::new(Tier::Rdma, share, &costs, |_| true));
        let faults = Schedule::new(spec, nodes, racks, number, measured.until, &streams);
        let distributions = functions.partition_point(|(number, _)| *number < spec.output.distributions);
        let mut cell = Self {
            names: functions.iter().map(|(_, function)| function.name.clone()).collect(),
            plane,
            queue: Queue::new(),
            now: Instant::ZERO,
            processors,
            locks: vec![Locks::default(); nodes as usize],
            storage_links: vec![Instant::ZERO; racks as usize],
            memory: vec![Place::default(); nodes as usize],
            reads: devices.iter().map(|_| Reads::new(spec)).collect(),
            devices,
            pool,
            reads_in_place: spec.system.reads_in_place(),
            copies_on_touch: matches!(spec.system.state, State::CriuLazy | State::WorkingSetPrefetch),
            fetches_on_touch: OnTouch::of(&spec.system),
            nodes_per_rack: nodes / racks,
            sandboxes: Vec::new(),
            in_flight: Vec::new(),
            free_tickets: Vec::new(),
            flying: 0,
            file_users: vec![0; nodes as usize * costs.files.len()],
            image_users: BTreeMap::new(),
            browsers: Browsers::new(spec, nodes),
            books: Books::new(spec, functions),
            accounting: Accounting::new(ByClass::default(), measured),
            measured,
            recorder: Recorder::new(functions.len(), distributions, spec.output.invocations),
            counters: Counters::default(),
            commands: Vec::with_capacity(16),
            displaced: Vec::new(),
            leaving: Vec::new(),
            settled: Vec::new(),
            pressure: Vec::new(),
            dram: spec.cluster.dram,
            sample_every: spec.output.memory_every,
            promote_after: spec.system.promote_after,
            read_variation: spec.machine.rdma.read_variation,
            cores_busy: 0,
            cores_updated: Instant::ZERO,
            core_time: Duration::ZERO,
            faults,
            nic_share: vec![1.0; nodes as usize],
            down: vec![false; nodes as usize],
            streams,
            warnings: Vec::new(),
            timeline: spec
                .output
                .timeline
                .map(|window| Box::new(timeline::Recorder::new(window, nodes, racks, cells))),
            costs,
        };
        cell.settle_in(spec);
        cell
    }

    /// What is there when the run begins: pools, zygotes, parents; the first sample and the faults.
    fn settle_in(&mut self, spec: &Spec) {
        let mut held = ByClass::default();
        for device in &self.devices {
            held.add(MemoryClass::PoolCxl, device.place.held());
        }
        if let Some(pool) = &self.pool {
            held.add(MemoryClass::PoolRdma, pool.place.held());
        }
        let most = self.devices.iter().map(|device| device.place.held()).max().unwrap_or_default();
        self.warnings.extend(warnings::of_pool("CXL", most, spec.machine.cxl.capacity));
        let rdma = held.get(MemoryClass::PoolRdma);
        // Where racks are played apart, what one of them has of the pool.
        let capacity = self.pool.as_ref().map(Device::capacity).unwrap_or_default();
        self.warnings.extend(warnings::of_pool("RDMA", rdma, capacity));
        self.accounting.add(Instant::ZERO, &held);
        if self.timeline.is_some() {
            let nothing = ByClass::default();
            for rack in 0..self.devices.len() {
                let templates = one(MemoryClass::PoolCxl, self.devices[rack].place.held());
                self.watch_memory(TimelinePlace::Device(rack as u32), &nothing, &templates);
            }
            self.watch_memory(TimelinePlace::Cluster, &nothing, &one(MemoryClass::PoolRdma, rdma));
        }
        let nodes = self.memory.len() as u32;
        for node in 0..nodes {
            self.hold_on(NodeId(node), &one(MemoryClass::NodeShared, self.costs.resident));
        }
        for function in 0..self.costs.class_of.len() as u32 {
            let parent = self.costs.of(FunctionId(function)).parent;
            let home = NodeId(home_rack(FunctionId(function), nodes));
            self.hold_on(home, &one(MemoryClass::InstancePrivate, parent));
        }
        self.queue.push(Instant::ZERO, Class::Sample, Work::Sample);
        for index in 0..self.faults.len() {
            self.queue.push(self.faults.at(index), Class::Work, Work::Fault(index));
        }
    }

    /// Plays up to an invocation's arrival, and lets it arrive.
    pub fn offer(&mut self, number: u64, invocation: Invocation) {
        while !self.queue.arrival_is_first(invocation.arrival()) {
            self.step();
        }
        self.arrive(number, invocation);
        self.relieve();
    }

    /// Plays what is left, and reports.
    pub fn finish(mut self) -> (CellRecord, Sums) {
        while self.flying > 0 || self.queue.next().is_some_and(|at| at <= self.measured.until) {
            // Whatever is in flight has an event or a queue timeout pending.
            assert!(self.queue.next().is_some(), "invocations in flight, and nothing will happen");
            self.step();
        }
        let (mut functions, starts, invocations) = self.recorder.finish(&self.names);
        for (function, agent) in functions.iter_mut().zip(self.books.finish()) {
            function.agent = agent;
        }
        let timeline = self.timeline.take().map(|timeline| timeline.finish(&self.costs, self.now));
        let record = CellRecord {
            timeline,
            functions,
            nodes: self.memory.into_iter().map(|place| place.finish(self.measured)).collect(),
            devices: self.devices.into_iter().map(|device| device.finish(self.measured)).collect(),
            warnings: self.warnings,
            invocations,
        };
        (record, Sums { starts, accounting: self.accounting, counters: self.counters })
    }

    /// Takes the next event.
    #[inline]
    fn step(&mut self) {
        let Some((at, event)) = self.queue.pop() else { return };
        self.now = at;
        self.counters.events += 1;
        match event {
            Event::Work(Work::Sandbox(sandbox), number) => self.stage_ended(SandboxId(sandbox), number),
            Event::Work(Work::Processor(processor), number) => self.leave(processor, number),
            Event::Timer(timer) => self.tell(Input::Timer(timer)),
            Event::Work(Work::Fault(index), _) => self.fault(index),
            Event::Work(Work::Sample, _) => self.sample(),
        }
        self.relieve();
    }

    fn sample(&mut self) {
        self.book_core_time();
        let core_time = std::mem::take(&mut self.core_time);
        self.accounting.sample(self.now, self.plane.busy(), self.plane.idle(), core_time);
        let next = self.now + self.sample_every;
        if next <= self.measured.until {
            self.queue.push(next, Class::Sample, Work::Sample);
        }
    }

    fn arrive(&mut self, number: u64, invocation: Invocation) {
        self.now = invocation.arrival();
        let entry = InFlight {
            number,
            invocation,
            node: NodeId(0),
            kind: None,
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
    #[inline]
    fn tell(&mut self, input: Input) {
        let mut commands = std::mem::take(&mut self.commands);
        self.plane.handle(self.now, input, &mut commands);
        for &command in &commands {
            if let Command::Run { sandbox, ticket, kind, node } = command {
                self.begin_run(sandbox, node, ticket, kind);
            } else {
                self.execute(command);
            }
        }
        commands.clear();
        self.commands = commands;
    }

    #[inline(never)]
    fn execute(&mut self, command: Command) {
        match command {
            Command::Run { sandbox, ticket, kind, node } => self.begin_run(sandbox, node, ticket, kind),
            Command::Start { sandbox, node, function, ticket, kind, pooled_netns } => {
                self.start_new(sandbox, node, function, ticket, kind, pooled_netns);
            }
            Command::Repurpose { sandbox, node, to, ticket, keeps, .. } => {
                self.counters.repurposed += 1;
                if self.timeline.is_some() {
                    let place = TimelinePlace::Node(node.0);
                    self.watch_mark(Happening::Repurposed, place, Some(sandbox), Some(to));
                }
                self.repurpose(sandbox, node, to, ticket, keeps);
            }
            Command::Demote { sandbox, node, to } => {
                self.counters.demoted += 1;
                if self.timeline.is_some() {
                    self.watch_sandbox(Happening::Demoted, node, sandbox);
                }
                self.demote(sandbox, to);
            }
            Command::Evict { sandbox, node, reason, keep_netns } => {
                match reason {
                    EvictReason::Expired => self.counters.expired += 1,
                    EvictReason::Memory => self.counters.evicted += 1,
                }
                if self.timeline.is_some() {
                    let what = match reason {
                        EvictReason::Expired => Happening::Expired,
                        EvictReason::Memory => Happening::Evicted,
                    };
                    self.watch_sandbox(what, node, sandbox);
                }
                self.release(sandbox);
                if !keep_netns {
                    let lock = &mut self.locks[node.index()].netns;
                    *lock = (*lock).max(self.now) + self.costs.destroy_netns;
                }
            }
            Command::Lost { sandbox, node, ticket } => {
                self.counters.lost += 1;
                self.stop(sandbox);
                if self.timeline.is_some() {
                    self.watch_sandbox(Happening::Lost, node, sandbox);
                }
                self.release(sandbox);
                if let Some(ticket) = ticket {
                    self.end(ticket, Outcome::Failed);
                }
            }
            Command::SetTimer { at, timer } => self.queue.set_timer(at, timer),
            Command::Queued { .. } => self.counters.queued += 1,
            Command::TimedOut { ticket } => self.end(ticket, Outcome::TimedOut),
            Command::Reject { ticket } => self.end(ticket, Outcome::Rejected),
        }
    }

    /// The invocation has ended; its ticket is free.
    #[inline]
    fn end(&mut self, ticket: Ticket, outcome: Outcome) {
        let flight = &self.in_flight[ticket.index()];
        let arrival = flight.invocation.arrival();
        let started = flight.kind.is_some();
        let ran = outcome == Outcome::Completed;
        let began = if started { flight.start_began } else { self.now };
        let record = InvocationRecord {
            number: flight.number,
            function: flight.invocation.function().0,
            node: started.then_some(flight.node.0),
            start: flight.kind,
            outcome,
            burn_in: arrival < self.measured.from,
            arrival_ns: arrival,
            queueing_ns: began.since(arrival),
            startup_ns: if ran { flight.run_began.since(began) } else { Duration::ZERO },
            service_ns: if ran { self.now.since(flight.run_began) } else { Duration::ZERO },
        };
        self.recorder.record(&record);
        if self.timeline.is_some() {
            self.watch_invocation(&record);
        }
        if ran && !record.burn_in && !self.books.is_empty() {
            let invocation = self.in_flight[ticket.index()].invocation;
            self.books.completed(invocation, self.now.since(began));
        }
        self.free_tickets.push(ticket.0);
        self.flying -= 1;
    }

    fn activity(&mut self, sandbox: SandboxId) -> &mut Activity {
        if self.sandboxes.len() <= sandbox.index() {
            assert!(sandbox.0 < NAMES, "more sandboxes than events can name");
            self.sandboxes.resize(sandbox.index() + 1, VACANT);
        }
        &mut self.sandboxes[sandbox.index()]
    }

    fn rack(&self, node: NodeId) -> usize {
        (node.0 / self.nodes_per_rack) as usize
    }
}

/// Bytes of one class.
fn one(class: MemoryClass, bytes: Bytes) -> ByClass {
    let mut by_class = ByClass::default();
    by_class.add(class, bytes);
    by_class
}
