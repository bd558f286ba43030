//! What starts and first touches cost, and what memory they hold, function by function, from the
//! constants of the machine.
//!
//! A start is a sequence of [`Stage`]s, each some work on one resource of the node, rack or pool. Only
//! uncontended costs are computed here; waiting comes from the queues of the resources.

mod agents;
mod memory;
mod steps;

use crate::shared::ONE;
pub use agents::{AgentBrowser, AgentCosts};
use configs::spec::{Machine, Spec};
use memory::MemoryPlan;
use platform::memory::ByClass;
use platform::policy::FunctionFacts;
use platform::profile::Profile;
use platform::records::Step;
use platform::system::{Isolation, PageSource, State, System};
use std::collections::BTreeMap;
use std::ops::Range;
use traces::{Bytes, Duration, FunctionId, PAGE_BYTES, Pages};

/// Where the work of a stage is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Nowhere in particular: time passes.
    Delay,
    /// The node's cores, by processor sharing.
    Cores,
    /// The node's RDMA NIC, single reads, by processor sharing.
    Nic,
    /// The node's SSD, single reads, by processor sharing.
    Disk,
    /// The CXL device of the node's rack, by processor sharing.
    CxlDevice,
    /// The node's network-namespace lock (rtnl): one after the other.
    NetnsLock,
    /// The node's mount lock: one after the other.
    MountLock,
    /// The node's cgroup lock: one after the other.
    CgroupLock,
    /// The line of the node's NIC, reads in batches: one batch after the other.
    NicLine,
    /// The node's SSD, large reads: one after the other.
    DiskLine,
    /// The rack's link to network storage: one read after the other.
    StorageLink,
}

/// Some work on one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Where.
    pub resource: Resource,
    /// How long it takes alone.
    pub work: Duration,
}

/// What a part of a stage is spent on: delays that follow each other are one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The stage.
    pub stage: u32,
    /// What for.
    pub step: Step,
    /// How long it takes alone.
    pub work: Duration,
}

/// A part of an invocation's handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Where: cores, or a delay in which it waits for others.
    pub resource: Resource,
    /// Share of the time that the invocation computes, or that it waits, in parts per million.
    pub share_ppm: u32,
    /// Processor time of page faults on top.
    pub faults: Duration,
    /// What the instance holds during it: an index into the plan's levels.
    pub level: u8,
}

/// A whole in parts per million.
pub const WHOLE: u32 = 1_000_000;

/// A function's memory by level: nothing, what its start brings in, then the steps of its growth
/// during the first invocation, then what promotion adds, then what is left of it as a runtime.
pub const NOTHING: u8 = 0;
/// What the start brings in.
pub const STARTED: u8 = 1;

/// How instances of one function are made and run.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Stages of a new sandbox, network namespace made new.
    pub start: Range<u32>,
    /// Stages of a new sandbox, network namespace from the pool.
    pub start_pooled: Range<u32>,
    /// Stages of a repurposed sandbox of which only isolation is kept.
    pub repurpose: Range<u32>,
    /// Stages of a sandbox that keeps the function's runtime.
    pub from_runtime: Range<u32>,
    /// Stages before the handler in the first invocation: fetches of touched pages.
    pub first_touch: Range<u32>,
    /// Further ones if no other instance on the node has brought the pages into its page cache.
    pub cold_cache: Range<u32>,
    /// The handler, in the first invocation of an instance.
    pub first: Range<u32>,
    /// The handler, in the others.
    pub later: Range<u32>,
    /// First of the plan's levels in [`Costs::levels`].
    pub levels: u32,
    /// Level after the first invocation.
    pub grown: u8,
    /// Level of an agent between its invocations.
    pub idle: u8,
}

impl Plan {
    /// Level of a promoted instance.
    pub fn promoted(&self) -> u8 {
        self.grown + 1
    }

    /// Level of what is left when only the runtime is kept.
    pub fn runtime(&self) -> u8 {
        self.grown + 2
    }
}

/// How reads of CXL memory in place slow a function down.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct InPlace {
    /// Share of the service time that grows with the latency of the memory.
    pub stalled: f64,
    /// Bytes a second that one running instance reads.
    pub demand: u64,
}

/// Where a function's template lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// In the rack's CXL memory, without what it has in common with others.
    pub cxl: Bytes,
    /// In the rack's CXL memory, once for all functions that have it in common.
    pub common: Bytes,
    /// In the RDMA pool.
    pub rdma: Bytes,
    /// How long the link to storage needs to bring it into a rack's pool.
    pub fill: Duration,
}

/// Costs and memory of the functions of one profile and one memory size under one system.
#[derive(Clone, Debug)]
pub struct ClassCosts {
    /// How reads in place slow it down; nothing where there are none.
    pub in_place: InPlace,
    /// As the system does it.
    pub plan: Plan,
    /// By booting, where the system's template cannot be had.
    pub fallback: Plan,
    /// Which file pages its sandboxes hold: an index into [`Costs::files`]. Functions of one profile
    /// run on the same base image and libraries, so they hold the same ones.
    pub files: u32,
    /// What a node holds once for all sandboxes of one function.
    pub image: Bytes,
    /// What the pools hold for each function.
    pub template: Template,
    /// What the cluster holds for each function from the beginning, on its home node: the parent of
    /// its forks.
    pub parent: Bytes,
    /// What it is beyond a plain function, if it is an agent.
    pub agent: Option<AgentCosts>,
}

impl ClassCosts {
    /// How long an invocation of that service time computes; the rest it waits.
    pub fn computing(&self, service: Duration) -> Duration {
        self.agent.map_or(service, |agent| agent.computing.min(service))
    }
}

/// Phases of a handler, and what an instance holds in and after them.
struct Handler {
    first: Range<u32>,
    later: Range<u32>,
    grown: u8,
    idle: u8,
}

/// What a warm start needs to know of its function, in half a cache line: of a whole [`ClassCosts`] it
/// would touch four.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub struct Brief {
    /// As in [`ClassCosts`].
    pub in_place: InPlace,
    /// As in [`Plan`].
    pub grown: u8,
    /// Whether it is an agent.
    pub is_agent: bool,
    /// Whether an invocation that is not an instance's first only computes, in one phase.
    pub is_plain: bool,
}

const _: () = assert!(size_of::<Brief>() == 32, "half a cache line");

/// Costs of all functions of a cluster, or of a rack that is played apart.
pub struct Costs {
    /// Costs, once for all functions that have them.
    pub classes: Vec<ClassCosts>,
    /// The class of each function.
    pub class_of: Vec<u32>,
    /// What is wanted of each function most often.
    briefs: Vec<Brief>,
    /// What the control plane is told of each function.
    pub facts: Vec<FunctionFacts>,
    /// Owners of memory that functions have in common: tenants, or one for all, times runtimes.
    pub commons: u32,
    /// Whether each tenant has common memory of its own.
    common_by_tenant: bool,
    runtimes: u32,
    /// File pages that a node holds once for all sandboxes of a profile.
    pub files: Vec<Bytes>,
    /// What every node holds from the beginning: zygotes.
    pub resident: Bytes,
    /// Stages, referred to by ranges.
    pub stages: Vec<Stage>,
    /// What the stages are spent on, in their order.
    parts: Vec<Part>,
    /// Phases, referred to by ranges.
    pub phases: Vec<Phase>,
    /// Memory levels, referred to by their first.
    levels: Vec<ByClass>,
    /// Jobs that a CXL device serves at full rate, in thousandths of a job.
    pub cxl_streams: u64,
    /// Jobs that a NIC serves at full rate, in thousandths of a job.
    pub nic_streams: u64,
    /// Jobs that an SSD serves at full rate, in thousandths of a job.
    pub disk_streams: u64,
    /// How long the destruction of a sandbox holds the network-namespace lock.
    pub destroy_netns: Duration,
    /// One read of a page over RDMA.
    pub read_4k: Duration,
}

impl Costs {
    /// Costs of functions (each with its number in the workload) under the spec's system and machine.
    pub fn new(spec: &Spec, functions: &[(u32, &traces::Function)]) -> Self {
        let machine = &spec.machine;
        let system = &spec.system;
        let runtimes = numbers(spec.profiles.values().map(|profile| profile.runtime.as_str()));
        let tenants = numbers(functions.iter().map(|(_, function)| function.tenant.as_str()));
        let dealt = spec.sharing.tenants;
        let files = spec.profiles.values().map(|profile| memory::shared_files(system, profile));
        let per_stream = PAGE_BYTES as f64 / page_copy(system, machine).as_secs_f64();
        let nic = machine.rdma.reads_per_second as f64 * machine.rdma.read_4k.as_secs_f64();
        let disk = machine.ssd.bandwidth as f64 * machine.ssd.read_4k.as_secs_f64() / PAGE_BYTES as f64;
        let mut costs = Self {
            classes: Vec::new(),
            class_of: Vec::with_capacity(functions.len()),
            briefs: Vec::with_capacity(functions.len()),
            facts: Vec::new(),
            commons: 0,
            common_by_tenant: spec.sharing.within_tenant,
            runtimes: runtimes.len() as u32,
            files: files.collect(),
            resident: memory::zygotes(system, spec),
            stages: Vec::new(),
            parts: Vec::new(),
            phases: Vec::new(),
            levels: Vec::new(),
            cxl_streams: thousandths(machine.cxl.bandwidth as f64 / per_stream),
            nic_streams: thousandths(nic),
            disk_streams: thousandths(disk),
            destroy_netns: machine.sandbox.netns_destroy,
            read_4k: machine.rdma.read_4k,
        };
        let mut known: BTreeMap<(usize, Option<Bytes>), (u32, FunctionFacts)> = BTreeMap::new();
        let mut facts = Vec::with_capacity(functions.len());
        for &(number, function) in functions {
            let tenant = match dealt {
                0 => tenants[function.tenant.as_str()],
                tenants => number % tenants,
            };
            let (position, name, own) = profile_of(spec, function);
            let (class, fact) = *known.entry((position, function.memory)).or_insert_with(|| {
                let profile = scaled(&spec.profiles[name], function.memory.filter(|_| !own));
                let fact = costs.add_class(spec, position as u32, &profile, function.memory);
                let runtime = runtimes[profile.runtime.as_str()];
                ((costs.classes.len() - 1) as u32, FunctionFacts { runtime, ..fact })
            });
            costs.class_of.push(class);
            costs.briefs.push(costs.brief(class));
            facts.push(FunctionFacts { tenant, ..fact });
        }
        let owners = if costs.common_by_tenant { facts.iter().map(|f| f.tenant + 1).max() } else { Some(1) };
        costs.commons = owners.unwrap_or(0) * costs.runtimes;
        costs.facts = facts;
        costs
    }

    /// Costs of a function.
    pub fn of(&self, function: FunctionId) -> &ClassCosts {
        &self.classes[self.class_of[function.index()] as usize]
    }

    /// Of a function, what is wanted most often.
    pub fn in_brief(&self, function: FunctionId) -> Brief {
        self.briefs[function.index()]
    }

    fn brief(&self, class: u32) -> Brief {
        let costs = &self.classes[class as usize];
        let computes = |plan: &Plan| {
            let phases = &self.phases[plan.later.start as usize..plan.later.end as usize];
            let whole = |phase: &Phase| {
                phase.resource == Resource::Cores
                    && phase.share_ppm == WHOLE
                    && phase.faults == Duration::ZERO
            };
            matches!(phases, [phase] if whole(phase) && phase.level == plan.grown)
        };
        let alike = costs.plan.grown == costs.fallback.grown;
        Brief {
            in_place: costs.in_place,
            grown: costs.plan.grown,
            is_agent: costs.agent.is_some(),
            is_plain: costs.agent.is_none() && alike && computes(&costs.plan) && computes(&costs.fallback),
        }
    }

    /// What a sandbox holds at a level of its plan.
    pub fn level(&self, plan: &Plan, level: u8) -> &ByClass {
        &self.levels[plan.levels as usize + usize::from(level)]
    }

    /// Which common memory a function's template has a part in.
    pub fn common_of(&self, function: FunctionId) -> usize {
        let facts = &self.facts[function.index()];
        let owner = if self.common_by_tenant { facts.tenant } else { 0 };
        (owner * self.runtimes + facts.runtime) as usize
    }

    /// What a stage is spent on, in order.
    pub fn parts_of(&self, stage: u32) -> &[Part] {
        let first = self.parts.partition_point(|part| part.stage < stage);
        let rest = &self.parts[first..];
        &rest[..rest.partition_point(|part| part.stage == stage)]
    }

    /// How long stages take on an idle node.
    fn duration_of(&self, stages: &Range<u32>) -> Duration {
        stages.clone().map(|stage| self.stages[stage as usize].work).sum()
    }

    fn add_class(
        &mut self,
        spec: &Spec,
        files: u32,
        profile: &Profile,
        memory: Option<Bytes>,
    ) -> FunctionFacts {
        let (system, machine) = (&spec.system, &spec.machine);
        let plan = self.plan(system, machine, profile, spec.output.growth_steps);
        let boot = System { state: State::Boot, ..system.clone() };
        let fallback = self.plan(&boot, machine, profile, spec.output.growth_steps);
        let facts = FunctionFacts {
            declared: memory.unwrap_or_else(|| (profile.pages.footprint() + profile.file_pages).bytes()),
            tenant: 0,
            runtime: 0,
            runtime_memory: (profile.runtime_pages() + profile.file_pages).bytes(),
            start_cost: self.duration_of(&plan.start) + self.duration_of(&plan.first_touch),
        };
        self.classes.push(ClassCosts {
            in_place: in_place(system, machine, profile),
            plan,
            fallback,
            files,
            image: memory::shared_image(system, machine, profile),
            template: memory::template(system, machine, profile),
            parent: memory::parent(system, profile),
            agent: profile.agent.as_ref().map(|agent| AgentCosts::new(system, agent)),
        });
        facts
    }

    fn plan(&mut self, system: &System, machine: &Machine, profile: &Profile, growth: u32) -> Plan {
        let levels = self.levels.len() as u32;
        let memory = MemoryPlan::new(system, machine, profile);
        self.levels.push(ByClass::default());
        self.levels.push(memory.started);
        let faults = steps::first_faults(system, machine, profile);
        let Handler { first, later, grown, idle } = match &profile.agent {
            None => self.handler(&memory, faults, growth),
            Some(agent) => self.agent_handler(agent, system, &memory, faults),
        };
        self.levels.push(memory.started.with(&memory.touched).with(&memory.promoted));
        self.levels.push(memory.runtime);
        let (stages, parts) = (&mut self.stages, &mut self.parts);
        Plan {
            start: steps::collect(stages, parts, |s| steps::new_sandbox(s, system, machine, profile, false)),
            start_pooled: steps::collect(stages, parts, |s| {
                steps::new_sandbox(s, system, machine, profile, true);
            }),
            repurpose: steps::collect(stages, parts, |s| steps::repurposed(s, system, machine, profile)),
            from_runtime: steps::collect(stages, parts, |s| steps::from_runtime(s, machine, profile)),
            first_touch: steps::collect(stages, parts, |s| steps::first_touch(s, system, machine, profile)),
            cold_cache: steps::collect(stages, parts, |s| steps::cold_cache(s, system, machine, profile)),
            first,
            later,
            levels,
            grown,
            idle,
        }
    }

    /// The handler of a plain function: it computes, and grows in steps while it does so first.
    fn handler(&mut self, memory: &MemoryPlan, faults: Duration, growth: u32) -> Handler {
        let grown = STARTED + growth as u8;
        let first = self.phases.len() as u32;
        let (mut shared_out, mut paid) = (0, Duration::ZERO);
        for step in 1..=growth {
            let touched = memory.touched.share(u64::from(step), u64::from(growth));
            self.levels.push(memory.started.with(&touched));
            let (until, until_paid) = (WHOLE * step / growth, faults * u64::from(step) / u64::from(growth));
            self.phases.push(Phase {
                resource: Resource::Cores,
                share_ppm: until - shared_out,
                faults: until_paid - paid,
                level: STARTED + step as u8,
            });
            (shared_out, paid) = (until, until_paid);
        }
        let later = self.phases.len() as u32;
        self.phases.push(Phase {
            resource: Resource::Cores,
            share_ppm: WHOLE,
            faults: Duration::ZERO,
            level: grown,
        });
        Handler { first: first..later, later: later..later + 1, grown, idle: grown }
    }
}

/// As processors count their capacity.
fn thousandths(jobs: f64) -> u64 {
    (jobs * ONE as f64).round().max(1.0) as u64
}

/// Numbers the distinct names, in their order.
fn numbers<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, u32> {
    let mut numbered: BTreeMap<&str, u32> = names.map(|name| (name, 0)).collect();
    numbered.values_mut().zip(0..).for_each(|(number, index)| *number = index);
    numbered
}

/// Position and name of the function's profile, and whether it is its own.
fn profile_of<'a>(spec: &'a Spec, function: &'a traces::Function) -> (usize, &'a str, bool) {
    let own = function.profile.as_ref().filter(|name| spec.profiles.contains_key(*name));
    let name = own.unwrap_or(&spec.default_profile);
    let position = spec.profiles.keys().position(|known| known == name).unwrap_or_default();
    (position, name, own.is_some())
}

/// The default profile in the size of the function.
fn scaled(profile: &Profile, memory: Option<Bytes>) -> Profile {
    let mut profile = profile.clone();
    if let Some(memory) = memory {
        let anonymous = memory.pages().0.saturating_sub(profile.file_pages.0).max(1);
        profile.pages = profile.pages.scaled_to(Pages(anonymous));
    }
    profile
}

/// What the system's way of copying a page costs, besides its transfer.
fn page_copy(system: &System, machine: &Machine) -> Duration {
    match system.state {
        State::WorkingSetPrefetch => machine.restore.prefetch_page,
        State::VmCopy => machine.vm.copy_page,
        _ => machine.restore.criu_page,
    }
}

/// Pages a restored guest touches: the function's (those the invocation makes for itself too: free
/// pages of the guest are pages of its snapshot), its file pages (the guest's page cache) and those of
/// the guest's kernel and agent.
fn guest_working_set(machine: &Machine, profile: &Profile) -> Pages {
    profile.pages.working_set() + profile.file_pages + machine.vm.guest_memory.pages()
}

/// Pages of an image that an invocation touches although the recorded working set lacks them.
fn missed(machine: &Machine, pages: Pages) -> Pages {
    pages.scale(1.0 - machine.restore.prefetch_coverage)
}

/// Whether guests read files through the node's page cache.
fn bypasses(system: &System) -> bool {
    system.isolation == Isolation::MicroVm && system.page_cache_bypass
}

/// How much slower the function gets where its read-only pages stay in CXL memory. One load at a time
/// misses the caches during the stalled share of the service time: that is also its demand on the
/// device. An agent's demand counts through its waits as well: too much, of a load that is small.
fn in_place(system: &System, machine: &Machine, profile: &Profile) -> InPlace {
    if !system.reads_in_place() {
        return InPlace::default();
    }
    let stalled = profile.memory_intensity * profile.read_only_accesses;
    let per_second = 64.0 / machine.cxl.latency.as_secs_f64();
    InPlace { stalled, demand: (stalled * per_second) as u64 }
}

/// Whether pages of that source are mapped from the node's page cache.
const fn through_page_cache(source: PageSource) -> bool {
    matches!(source, PageSource::Dram | PageSource::Ssd | PageSource::Nas)
}
