//! The stages of starts, and the page faults of first invocations.

use super::{Part, Resource, Stage, guest_working_set, missed, page_copy};
use configs::spec::Machine;
use platform::memory::{Behaviour, Content};
use platform::profile::Profile;
use platform::records::Step;
use platform::system::{CgroupEntry, Isolating, Isolation, PageSource, State, System};
use std::ops::Range;
use traces::{Duration, PAGE_BYTES, Pages};

/// Collects the stages of one plan; consecutive delays become one.
pub(super) struct Steps<'a> {
    stages: &'a mut Vec<Stage>,
    parts: &'a mut Vec<Part>,
    first: usize,
}

impl Steps<'_> {
    fn push(&mut self, step: Step, resource: Resource, work: Duration) {
        if work == Duration::ZERO {
            return;
        }
        let last = if self.stages.len() > self.first { self.stages.last_mut() } else { None };
        match last {
            Some(last) if resource == Resource::Delay && last.resource == resource => last.work += work,
            _ => self.stages.push(Stage { resource, work, transfer: Duration::ZERO }),
        }
        self.parts.push(Part { stage: self.stages.len() as u32 - 1, step, work });
    }

    /// A batch over the NIC's line, of which the transfer alone takes so long.
    fn push_batch(&mut self, step: Step, work: Duration, transfer: Duration) {
        self.push(step, Resource::NicLine, work);
        if let Some(stage) = self.stages.last_mut().filter(|stage| stage.resource == Resource::NicLine) {
            stage.transfer = transfer;
        }
    }

    /// Pages copied in one go from where the system keeps them, at `per_page` besides the transfer.
    fn copy(&mut self, system: &System, machine: &Machine, pages: Pages, per_page: Duration) {
        let at = |bandwidth: u64| per_page.max(page_at(bandwidth)) * pages.0;
        match system.pages {
            PageSource::Cxl | PageSource::Tiered => {
                self.push(Step::Copy, Resource::CxlDevice, per_page * pages.0);
            }
            PageSource::Dram => self.push(Step::Copy, Resource::Cores, per_page * pages.0),
            PageSource::Rdma | PageSource::RdmaPrefetch => {
                let bandwidth = machine.rdma.bandwidth;
                let work = machine.rdma.read_4k + at(bandwidth);
                self.push_batch(Step::Copy, work, page_at(bandwidth) * pages.0);
            }
            PageSource::Ssd => {
                self.push(Step::Copy, Resource::DiskLine, machine.ssd.read_4k + at(machine.ssd.bandwidth));
            }
            PageSource::Nas => {
                self.push(Step::Copy, Resource::StorageLink, machine.nas.read_4k + at(machine.nas.bandwidth));
            }
        }
    }
}

/// One page at that many bytes a second.
fn page_at(bandwidth: u64) -> Duration {
    Duration::from_secs_f64(PAGE_BYTES as f64 / bandwidth as f64)
}

/// Appends what `fill` adds to the table, and answers with its place.
pub(super) fn collect(
    stages: &mut Vec<Stage>,
    parts: &mut Vec<Part>,
    fill: impl FnOnce(&mut Steps),
) -> Range<u32> {
    let first = stages.len();
    fill(&mut Steps { stages, parts, first });
    first as u32..stages.len() as u32
}

/// Isolation made new, then state.
pub(super) fn new_sandbox(
    steps: &mut Steps,
    system: &System,
    machine: &Machine,
    profile: &Profile,
    pooled_netns: bool,
) {
    let costs = &machine.sandbox;
    match (system.state, system.isolating) {
        (State::Ready, _) => return,
        (_, Isolating::Pooled) => {
            steps.push(Step::EnterNetns, Resource::Delay, costs.netns_enter);
            steps.push(Step::CgroupLimits, Resource::Delay, costs.cgroup_limits);
        }
        _ => {
            if pooled_netns {
                steps.push(Step::EnterNetns, Resource::Delay, costs.netns_enter);
            } else {
                steps.push(Step::NetnsLock, Resource::NetnsLock, costs.netns_create);
            }
            if system.isolation == Isolation::Container {
                steps.push(Step::Runtime, Resource::Delay, costs.runtime);
                steps.push(Step::MountLock, Resource::MountLock, costs.rootfs_mount);
            }
            steps.push(Step::CgroupLock, Resource::CgroupLock, costs.cgroup_create);
        }
    }
    enter_cgroup(steps, system, machine);
    restore(steps, system, machine, profile);
}

/// An idle sandbox cleaned, then state.
pub(super) fn repurposed(steps: &mut Steps, system: &System, machine: &Machine, profile: &Profile) {
    let costs = &machine.sandbox;
    steps.push(Step::Kill, Resource::Delay, costs.kill);
    // A VM's disks come with its snapshot, as in a sandbox made new.
    if system.isolation == Isolation::Container {
        steps.push(Step::MountLock, Resource::MountLock, costs.rootfs_swap);
    }
    steps.push(Step::EnterNetns, Resource::Delay, costs.netns_enter);
    steps.push(Step::CgroupLimits, Resource::Delay, costs.cgroup_limits);
    enter_cgroup(steps, system, machine);
    restore(steps, system, machine, profile);
}

/// An initialised runtime loads the function.
pub(super) fn from_runtime(steps: &mut Steps, machine: &Machine, profile: &Profile) {
    steps.push(Step::MountLock, Resource::MountLock, machine.sandbox.rootfs_swap);
    steps.push(Step::CgroupLimits, Resource::Delay, machine.sandbox.cgroup_limits);
    steps.push(Step::Init, Resource::Cores, profile.init.saturating_sub(profile.runtime_init));
}

fn enter_cgroup(steps: &mut Steps, system: &System, machine: &Machine) {
    steps.push(Step::Spawn, Resource::Delay, machine.sandbox.spawn);
    if system.cgroup == CgroupEntry::Migrate {
        steps.push(Step::CgroupLock, Resource::CgroupLock, machine.sandbox.cgroup_migrate);
    }
}

fn restore(steps: &mut Steps, system: &System, machine: &Machine, profile: &Profile) {
    let (costs, vm) = (&machine.restore, &machine.vm);
    let threads = costs.thread * u64::from(profile.threads);
    match system.state {
        State::Ready => {}
        State::Boot => steps.push(Step::Init, Resource::Cores, profile.init),
        State::CriuCopy => {
            steps.push(Step::Criu, Resource::Delay, costs.criu_setup);
            steps.push(Step::Threads, Resource::Delay, threads);
            steps.copy(system, machine, profile.pages.image().footprint(), costs.criu_page);
            steps.push(Step::TakeOver, Resource::Delay, costs.take_over);
        }
        State::CriuLazy => {
            steps.push(Step::Criu, Resource::Delay, costs.criu_setup);
            steps.push(Step::Threads, Resource::Delay, threads);
            steps.push(Step::TakeOver, Resource::Delay, costs.take_over);
        }
        State::WorkingSetPrefetch => {
            let recorded = guest_working_set(machine, profile).scale(costs.prefetch_coverage);
            steps.push(Step::Vmm, Resource::Delay, vm.start + vm.load);
            steps.copy(system, machine, recorded, costs.prefetch_page);
            steps.push(Step::Reconnect, Resource::Delay, vm.reconnect);
        }
        State::WorkingSetRegions => {
            let regions = guest_working_set(machine, profile).0.div_ceil(u64::from(costs.pages_per_region));
            steps.push(Step::Vmm, Resource::Delay, vm.start + vm.load);
            steps.push(Step::Map, Resource::Delay, costs.map_region * regions);
            steps.push(Step::Reconnect, Resource::Delay, vm.reconnect);
        }
        State::VmCopy => {
            steps.push(Step::Vmm, Resource::Delay, vm.start + vm.load);
            steps.copy(system, machine, vm.guest_size.pages(), vm.copy_page);
            steps.push(Step::Reconnect, Resource::Delay, vm.reconnect);
        }
        State::VmMap => {
            steps.push(Step::Vmm, Resource::Delay, vm.start + vm.load);
            steps.push(Step::Map, Resource::Delay, costs.map_region);
            steps.push(Step::Reconnect, Resource::Delay, vm.reconnect);
        }
        State::Attach => {
            let regions = costs.attach_region * u64::from(profile.regions);
            steps.push(Step::Attach, Resource::Delay, costs.attach + regions);
            steps.push(Step::Threads, Resource::Delay, threads);
            steps.push(Step::TakeOver, Resource::Delay, costs.take_over);
            if system.pages == PageSource::RdmaPrefetch {
                let recorded = profile.pages.image().working_set().scale(costs.prefetch_coverage);
                steps.copy(system, machine, recorded, costs.prefetch_page);
            }
        }
        State::ZygoteFork => {
            steps.push(Step::ZygoteFork, Resource::Delay, costs.zygote_fork);
            steps.push(Step::Init, Resource::Cores, profile.init.saturating_sub(profile.runtime_init));
        }
        State::RemoteFork => {
            // The descriptor: 8 bytes of page table a page, about 200 bytes a region.
            let bytes = 8 * profile.pages.image().footprint().0 + 200 * u64::from(profile.regions);
            steps.push(Step::Descriptor, Resource::Nic, machine.rdma.read_4k * bytes.div_ceil(PAGE_BYTES));
            let regions = costs.attach_region * u64::from(profile.regions);
            steps.push(Step::Attach, Resource::Delay, costs.attach + regions);
            steps.push(Step::TakeOver, Resource::Delay, costs.take_over);
        }
    }
}

/// Fetches of single touched pages in every first invocation.
pub(super) fn first_touch(steps: &mut Steps, system: &System, machine: &Machine, profile: &Profile) {
    let touched = profile.pages.image().working_set();
    let over_rdma = match (system.state, system.pages) {
        (State::RemoteFork, _) | (State::Attach | State::CriuLazy, PageSource::Rdma) => touched,
        (State::Attach, PageSource::RdmaPrefetch | PageSource::Tiered) => missed(machine, touched),
        _ => Pages::ZERO,
    };
    steps.push(Step::Fetch, Resource::Nic, machine.rdma.read_4k * over_rdma.0);
}

/// Fetches into the node's page cache, where nobody has made them yet.
pub(super) fn cold_cache(steps: &mut Steps, system: &System, machine: &Machine, profile: &Profile) {
    let touched = match system.state {
        State::Attach | State::CriuLazy => profile.pages.image().working_set(),
        State::VmMap | State::WorkingSetRegions => guest_working_set(machine, profile),
        _ => return,
    };
    match system.pages {
        PageSource::Ssd => steps.push(Step::Fetch, Resource::Disk, machine.ssd.read_4k * touched.0),
        PageSource::Nas => steps.push(Step::Fetch, Resource::StorageLink, machine.nas.read_4k * touched.0),
        _ => {}
    }
}

/// Processor time of the page faults of the first invocation of an instance.
pub(super) fn first_faults(system: &System, machine: &Machine, profile: &Profile) -> Duration {
    let fault = &machine.fault;
    let image = profile.pages.image();
    let (read, written) = (image.with(Behaviour::ReadOnly), image.with(Behaviour::Written));
    let in_cxl = matches!(system.pages, PageSource::Cxl | PageSource::Tiered);
    let copy = if in_cxl { copy_from_cxl(machine) } else { fault.copy_on_write };
    match system.state {
        State::Boot | State::Ready | State::CriuCopy | State::VmCopy => Duration::ZERO,
        State::CriuLazy => (fault.userfaultfd + page_copy(system, machine)) * (read + written).0,
        State::WorkingSetPrefetch => {
            fault.userfaultfd * missed(machine, guest_working_set(machine, profile)).0
        }
        State::WorkingSetRegions | State::VmMap => {
            let mapped = guest_working_set(machine, profile) - written;
            fault.minor * mapped.0 + copy * written.0
        }
        State::Attach => match system.pages {
            // Read-only pages are mapped by the attach itself: no fault.
            PageSource::Cxl | PageSource::Dram => copy * written.0,
            // A page that comes over the network is the instance's own: it is not copied once more.
            PageSource::Tiered => {
                copy * (written - missed(machine, written)).0
                    + fault.major * missed(machine, read + written).0
            }
            // The transfer is a stage of its own on the NIC.
            PageSource::Rdma => fault.major * (read + written).0,
            PageSource::RdmaPrefetch => fault.major * missed(machine, read + written).0,
            PageSource::Ssd | PageSource::Nas => fault.minor * read.0 + copy * written.0,
        },
        State::ZygoteFork => {
            let written = image.get(Content::Runtime, Behaviour::Written)
                + image.get(Content::Library, Behaviour::Written);
            fault.copy_on_write * written.0
        }
        State::RemoteFork => fault.major * (read + written).0,
    }
}

fn copy_from_cxl(machine: &Machine) -> Duration {
    let lines = PAGE_BYTES / 64;
    let extra = machine.cxl.latency.saturating_sub(machine.dram.latency) * lines;
    machine.fault.copy_on_write + extra.scale(1.0 / machine.cxl.copy_parallelism)
}
