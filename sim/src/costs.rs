//! What starts and first touches cost, function by function, from the constants of the machine.
//!
//! A start is a sequence of [`Stage`]s, each some work on one resource of the node or pool. Only
//! uncontended costs are computed here; waiting comes from the queues of the resources.

use configs::spec::{Machine, Spec};
use platform::memory::{Behaviour, ByClass, MemoryClass};
use platform::profile::Profile;
use platform::system::{CgroupEntry, Isolating, Isolation, State, System};
use std::ops::Range;
use traces::{Bytes, Duration, PAGE_BYTES, Pages};

/// Where the work of a stage is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Nowhere in particular: time passes.
    Delay,
    /// The node's cores, by processor sharing.
    Cores,
    /// The node's network-namespace lock (rtnl): one after the other.
    NetnsLock,
    /// The node's mount lock: one after the other.
    MountLock,
    /// The node's cgroup lock: one after the other.
    CgroupLock,
    /// The port of the CXL pool, by processor sharing.
    CxlPort,
    /// The node's RDMA NIC, by processor sharing.
    Nic,
}

/// Some work on one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Where.
    pub resource: Resource,
    /// How long it takes alone.
    pub work: Duration,
}

/// Costs and memory of one function under one system.
#[derive(Clone, Debug)]
pub struct FunctionCosts {
    /// Declared memory.
    pub declared: Bytes,
    /// Stages of a new sandbox, network namespace made new.
    pub start: Range<u32>,
    /// Stages of a new sandbox, network namespace from the pool.
    pub start_pooled: Range<u32>,
    /// Stages of a repurposed sandbox.
    pub repurpose: Range<u32>,
    /// Stages before the handler in the first run after a start: fetches over RDMA.
    pub first_touch: Range<u32>,
    /// Processor time of the page faults of the first run after a start.
    pub first_faults: Duration,
    /// Factor on the service time in parts per million: pages read in CXL memory slow it down.
    pub slowdown_ppm: u64,
    /// Memory that a sandbox holds from its start on.
    pub eager: ByClass,
    /// Memory that the first run adds.
    pub touched: ByClass,
    /// Which file pages its sandboxes hold: an index into [`Costs::node_shared`]. Functions of one
    /// profile run on the same base image and libraries, so they hold the same ones.
    pub files: u32,
    /// What the pool holds for the function from the beginning of the run.
    pub pooled: ByClass,
}

/// Costs of all functions.
pub struct Costs {
    /// One per function of the workload.
    pub functions: Vec<FunctionCosts>,
    /// File pages that all sandboxes on a node hold once, by profile; none where every guest holds
    /// its own.
    pub node_shared: Vec<Bytes>,
    /// Stages, referred to by ranges.
    pub stages: Vec<Stage>,
    /// Jobs that the CXL port serves at full rate.
    pub cxl_streams: u64,
    /// Jobs that a NIC serves at full rate.
    pub nic_streams: u64,
    /// How long the destruction of a sandbox holds the network-namespace lock.
    pub destroy_netns: Duration,
}

impl Costs {
    /// Costs of the workload's functions under the spec's system and machine.
    pub fn new(spec: &Spec, functions: &[traces::Function]) -> Self {
        let machine = &spec.machine;
        let mut stages = Vec::new();
        let functions = functions
            .iter()
            .map(|function| {
                let (files, profile) = profile_of(spec, function);
                let memory = function.memory;
                FunctionCosts {
                    files,
                    ..function_costs(&spec.system, machine, &profile, memory, &mut stages)
                }
            })
            .collect();
        let node_shared = spec.profiles.values().map(|profile| match spec.system.isolation {
            Isolation::Container => profile.file_pages.bytes(),
            Isolation::MicroVm => Bytes::ZERO,
        });
        let page_copy = match spec.system.state {
            State::WorkingSetPrefetch => machine.restore.prefetch_page,
            _ => machine.restore.criu_page,
        };
        let per_stream = PAGE_BYTES as f64 / page_copy.as_secs_f64();
        let nic = machine.rdma.reads_per_second as f64 * machine.rdma.read_4k.as_secs_f64();
        Self {
            functions,
            node_shared: node_shared.collect(),
            stages,
            cxl_streams: (machine.cxl.bandwidth as f64 / per_stream).max(1.0) as u64,
            nic_streams: nic.max(1.0) as u64,
            destroy_netns: machine.sandbox.netns_destroy,
        }
    }
}

/// The function's own profile, or the default one scaled to its memory, and its position among the
/// spec's profiles.
fn profile_of(spec: &Spec, function: &traces::Function) -> (u32, Profile) {
    let own = function.profile.as_ref().filter(|name| spec.profiles.contains_key(*name));
    let name = own.unwrap_or(&spec.default_profile);
    let position = spec.profiles.keys().position(|key| key == name).unwrap_or_default();
    let mut profile = spec.profiles[name].clone();
    if let (None, Some(memory)) = (own, function.memory) {
        let anonymous = memory.pages().0.saturating_sub(profile.file_pages.0).max(1);
        profile.pages = profile.pages.scaled_to(Pages(anonymous));
    }
    (position as u32, profile)
}

fn function_costs(
    system: &System,
    machine: &Machine,
    profile: &Profile,
    memory: Option<Bytes>,
    stages: &mut Vec<Stage>,
) -> FunctionCosts {
    let memory_of = MemoryPlan::new(system, machine, profile);
    FunctionCosts {
        declared: memory.unwrap_or_else(|| (profile.pages.footprint() + profile.file_pages).bytes()),
        start: plan(stages, |p| new_sandbox(p, system, machine, profile, false)),
        start_pooled: plan(stages, |p| new_sandbox(p, system, machine, profile, true)),
        repurpose: plan(stages, |p| repurposed(p, system, machine, profile)),
        first_touch: plan(stages, |p| {
            if system.state == State::TemplateRdma {
                p.push(Resource::Nic, machine.rdma.read_4k * profile.pages.image().working_set().0);
            }
        }),
        first_faults: first_faults(system, machine, profile),
        slowdown_ppm: slowdown_ppm(system, machine, profile),
        eager: memory_of.eager,
        touched: memory_of.touched,
        files: 0,
        pooled: memory_of.pooled,
    }
}

/// Collects the stages of one plan; consecutive delays become one.
struct Plan<'a> {
    stages: &'a mut Vec<Stage>,
    first: usize,
}

impl Plan<'_> {
    fn push(&mut self, resource: Resource, work: Duration) {
        if work == Duration::ZERO {
            return;
        }
        let last = if self.stages.len() > self.first { self.stages.last_mut() } else { None };
        match last {
            Some(last) if resource == Resource::Delay && last.resource == resource => last.work += work,
            _ => self.stages.push(Stage { resource, work }),
        }
    }
}

fn plan(stages: &mut Vec<Stage>, fill: impl FnOnce(&mut Plan)) -> Range<u32> {
    let first = stages.len();
    fill(&mut Plan { stages, first });
    first as u32..stages.len() as u32
}

/// Isolation made new, then state.
fn new_sandbox(plan: &mut Plan, system: &System, machine: &Machine, profile: &Profile, pooled_netns: bool) {
    let costs = &machine.sandbox;
    if pooled_netns {
        plan.push(Resource::Delay, costs.netns_enter);
    } else {
        plan.push(Resource::NetnsLock, costs.netns_create);
    }
    if system.isolation == Isolation::Container {
        plan.push(Resource::Delay, costs.runtime);
        plan.push(Resource::MountLock, costs.rootfs_mount);
    }
    plan.push(Resource::CgroupLock, costs.cgroup_create);
    enter_cgroup(plan, system, machine);
    restore(plan, system, machine, profile);
}

/// An idle sandbox cleaned, then state.
fn repurposed(plan: &mut Plan, system: &System, machine: &Machine, profile: &Profile) {
    if system.isolating != Isolating::Repurpose {
        return;
    }
    let costs = &machine.sandbox;
    plan.push(Resource::Delay, costs.kill);
    plan.push(Resource::MountLock, costs.rootfs_swap);
    plan.push(Resource::Delay, costs.netns_enter + costs.cgroup_limits);
    enter_cgroup(plan, system, machine);
    restore(plan, system, machine, profile);
}

fn enter_cgroup(plan: &mut Plan, system: &System, machine: &Machine) {
    plan.push(Resource::Delay, machine.sandbox.spawn);
    if system.cgroup == CgroupEntry::Migrate {
        plan.push(Resource::CgroupLock, machine.sandbox.cgroup_migrate);
    }
}

fn restore(plan: &mut Plan, system: &System, machine: &Machine, profile: &Profile) {
    let costs = &machine.restore;
    let threads = costs.thread * u64::from(profile.threads);
    match system.state {
        State::Boot => plan.push(Resource::Cores, profile.init),
        State::CriuCopy => {
            plan.push(Resource::Delay, costs.criu_setup + threads);
            plan.push(Resource::CxlPort, costs.criu_page * profile.pages.image().footprint().0);
            plan.push(Resource::Delay, costs.take_over);
        }
        State::WorkingSetPrefetch => {
            let recorded = guest_working_set(machine, profile).scale(costs.prefetch_coverage);
            plan.push(Resource::Delay, machine.vm.start + machine.vm.load);
            plan.push(Resource::CxlPort, costs.prefetch_page * recorded.0);
            plan.push(Resource::Delay, machine.vm.reconnect);
        }
        State::WorkingSetRegions => {
            let regions = guest_working_set(machine, profile).0.div_ceil(u64::from(costs.pages_per_region));
            plan.push(
                Resource::Delay,
                machine.vm.start + machine.vm.load + costs.map_region * regions + machine.vm.reconnect,
            );
        }
        State::TemplateCxl | State::TemplateRdma => {
            let regions = costs.attach_region * u64::from(profile.regions);
            plan.push(Resource::Delay, costs.attach + regions + threads + costs.take_over);
        }
    }
}

/// Pages a restored guest touches: the function's (those the invocation makes for itself too: free
/// pages of the guest are pages of its snapshot), its file pages (the guest's page cache) and those of
/// the guest's kernel and agent.
fn guest_working_set(machine: &Machine, profile: &Profile) -> Pages {
    profile.pages.working_set() + profile.file_pages + machine.vm.guest_memory.pages()
}

fn copy_from_cxl(machine: &Machine) -> Duration {
    let lines = PAGE_BYTES / 64;
    let extra = machine.cxl.latency.saturating_sub(machine.dram.latency) * lines;
    machine.fault.copy_on_write + extra.scale(1.0 / machine.cxl.copy_parallelism)
}

fn first_faults(system: &System, machine: &Machine, profile: &Profile) -> Duration {
    let fault = &machine.fault;
    let image = profile.pages.image();
    let (read, written) = (image.with(Behaviour::ReadOnly), image.with(Behaviour::Written));
    match system.state {
        State::Boot | State::CriuCopy => Duration::ZERO,
        State::WorkingSetPrefetch => {
            let missed = guest_working_set(machine, profile).scale(1.0 - machine.restore.prefetch_coverage);
            fault.userfaultfd * missed.0
        }
        State::WorkingSetRegions => {
            let mapped = guest_working_set(machine, profile) - written;
            fault.minor * mapped.0 + copy_from_cxl(machine) * written.0
        }
        // Read-only pages are mapped by the attach itself: no fault.
        State::TemplateCxl => copy_from_cxl(machine) * written.0,
        // The transfer is a stage of its own on the NIC.
        State::TemplateRdma => fault.major * (read + written).0,
    }
}

fn slowdown_ppm(system: &System, machine: &Machine, profile: &Profile) -> u64 {
    let reads_stay_in_cxl = matches!(system.state, State::TemplateCxl | State::WorkingSetRegions);
    if !reads_stay_in_cxl {
        return 1_000_000;
    }
    let ratio = machine.cxl.latency.as_secs_f64() / machine.dram.latency.as_secs_f64();
    let extra = profile.memory_intensity * profile.read_only_accesses * (ratio - 1.0).max(0.0);
    ((1.0 + extra) * 1e6).round() as u64
}

/// Which memory class each part of a function's memory falls into.
struct MemoryPlan {
    eager: ByClass,
    touched: ByClass,
    pooled: ByClass,
}

impl MemoryPlan {
    fn new(system: &System, machine: &Machine, profile: &Profile) -> Self {
        let image = profile.pages.image();
        let footprint = image.footprint().bytes();
        let (read, written) =
            (image.with(Behaviour::ReadOnly).bytes(), image.with(Behaviour::Written).bytes());
        let made = profile.pages.footprint().bytes() - footprint;
        let mut eager = ByClass::default();
        let mut touched = ByClass::default();
        let mut pooled = ByClass::default();
        touched.add(MemoryClass::InstancePrivate, made);
        match system.state {
            State::Boot => eager.add(MemoryClass::InstancePrivate, footprint),
            State::CriuCopy => {
                eager.add(MemoryClass::InstancePrivate, footprint);
                pooled.add(MemoryClass::PoolCxl, footprint);
            }
            State::WorkingSetPrefetch => {
                eager.add(MemoryClass::InstancePrivate, read + written);
                pooled.add(MemoryClass::PoolCxl, machine.vm.guest_size);
            }
            State::WorkingSetRegions => {
                touched.add(MemoryClass::CopiedOnWrite, written);
                pooled.add(MemoryClass::PoolCxl, machine.vm.guest_size);
            }
            State::TemplateCxl => {
                touched.add(MemoryClass::CopiedOnWrite, written);
                pooled.add(MemoryClass::PoolCxl, footprint);
            }
            State::TemplateRdma => {
                touched.add(MemoryClass::InstancePrivate, read + written);
                pooled.add(MemoryClass::PoolRdma, footprint);
            }
        }
        if system.isolation == Isolation::MicroVm {
            let guest = machine.vm.vmm_memory + machine.vm.guest_memory;
            eager.add(MemoryClass::GuestOverhead, guest + profile.file_pages.bytes());
        }
        Self { eager, touched, pooled }
    }
}
