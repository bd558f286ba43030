//! The registered systems.

use super::{CgroupEntry, Dedup, Isolating, Isolation, KeepAlive, PageSource, State, System};
use traces::Bytes;

/// A registry entry: the composition, what it stands for and where that was read.
#[derive(Clone, Copy, Debug)]
pub struct SystemEntry {
    /// The name in figures and files.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Where its definition comes from.
    pub source: &'static str,
    isolation: Isolation,
    isolating: Isolating,
    cgroup: CgroupEntry,
    state: State,
    pages: PageSource,
    dedup: Dedup,
    keep_alive: KeepAlive,
    start_slots: u32,
    prepopulated: u32,
    pooled_netns: u32,
    promote_after: u32,
    page_cache_bypass: bool,
    agents_per_browser: u32,
}

/// Memory that one prepopulated sandbox counts against the cap (faasd branch `switch`: 70
/// hello-world containers, each accounted 256 MB).
const PREPOPULATED_MEMORY: Bytes = Bytes::from_mib(256);

/// A container made new for every start, kept for a fixed time.
const FAASD: SystemEntry = SystemEntry {
    name: "faasd",
    about: "a new container for every start, the function initialises itself",
    source: "faasd on containerd; TrEnv SOSP'24 artifact, branch `switch`: 10 start workers",
    isolation: Isolation::Container,
    isolating: Isolating::Create,
    cgroup: CgroupEntry::Migrate,
    state: State::Boot,
    pages: PageSource::Dram,
    dedup: Dedup::PerFunction,
    keep_alive: KeepAlive::FixedTtl,
    start_slots: 10,
    prepopulated: 0,
    pooled_netns: 0,
    promote_after: 0,
    page_cache_bypass: false,
    agents_per_browser: 1,
};

const CRIU: SystemEntry = SystemEntry {
    name: "criu",
    about: "a new container, all memory copied from a CRIU image",
    source: "vanilla CRIU restore through runc, images on CXL tmpfs; TrEnv SOSP'24 artifact",
    state: State::CriuCopy,
    pages: PageSource::Cxl,
    ..FAASD
};

/// A microVM with a network namespace from the pool (the `+` of the baselines).
const REAP: SystemEntry = SystemEntry {
    name: "reap+",
    about: "a microVM, recorded working set installed through userfaultfd, pooled netns",
    source: "REAP (ASPLOS'21); + = pooled network namespaces, TrEnv SOSP'24 artifact: 6 start workers, 80 namespaces",
    isolation: Isolation::MicroVm,
    isolating: Isolating::PooledNetns,
    state: State::WorkingSetPrefetch,
    pages: PageSource::Cxl,
    start_slots: 6,
    pooled_netns: 80,
    ..FAASD
};

/// Repurposed containers and templates, kept until memory is needed.
const T_CXL: SystemEntry = SystemEntry {
    name: "t-cxl",
    about: "TrEnv: repurposed container, template mapped from CXL memory",
    source: "TrEnv (SOSP'24), pool policy of faasd branch `switch`: 70 prepopulated sandboxes, LRU under memory pressure only",
    isolating: Isolating::Repurpose,
    cgroup: CgroupEntry::CloneInto,
    state: State::Attach,
    pages: PageSource::Cxl,
    keep_alive: KeepAlive::Lru,
    prepopulated: 70,
    ..FAASD
};

const E2B: SystemEntry = SystemEntry {
    name: "e2b",
    about: "a microVM made new, guest memory of its snapshot mapped privately, virtio-blk root",
    source: "E2B on Firecracker, as TrEnv-X compares with it (arXiv 2509.09525); namespace and cgroup made for each sandbox (`Repurposable` off in TrEnv-X's orchestrator)",
    isolation: Isolation::MicroVm,
    state: State::VmMap,
    ..FAASD
};

const TRENVX_VM: SystemEntry = SystemEntry {
    name: "trenvx-vm",
    about: "TrEnv-X: pooled sandbox, CLONE_INTO_CGROUP, memory template, page-cache bypass, shared browser",
    source: "TrEnv-X (arXiv 2509.09525, TOCS 44(3)); about ten agents on one browser, read in a secondary source",
    isolating: Isolating::Repurpose,
    cgroup: CgroupEntry::CloneInto,
    pages: PageSource::Cxl,
    keep_alive: KeepAlive::Lru,
    prepopulated: 70,
    page_cache_bypass: true,
    agents_per_browser: 10,
    ..E2B
};

/// Every system: the paper's container baselines and TrEnv, ablations, microVMs, then others.
pub const SYSTEMS: &[SystemEntry] = &[
    FAASD,
    CRIU,
    SystemEntry {
        name: "criu-lazy",
        about: "a new container, pages copied from a CRIU image at their first touch",
        source: "CRIU lazy-pages, present in faasd branch `switch`; images on CXL tmpfs",
        state: State::CriuLazy,
        ..CRIU
    },
    REAP,
    SystemEntry {
        name: "faasnap+",
        about: "a microVM, recorded regions mapped from the loading-set file, pooled netns",
        source: "FaaSnap (EuroSys'22); + = pooled network namespaces, TrEnv SOSP'24 artifact: 6 start workers, 80 namespaces",
        state: State::WorkingSetRegions,
        ..REAP
    },
    T_CXL,
    SystemEntry {
        name: "t-rdma",
        about: "TrEnv: repurposed container, template pages fetched over RDMA on first touch",
        source: "TrEnv (SOSP'24) with the `rdma` pool option; faults of kernel branch `dax`",
        pages: PageSource::Rdma,
        ..T_CXL
    },
    SystemEntry {
        name: "t-rdma-prefetch",
        about: "TrEnv over RDMA, recorded working set fetched in one batch before the start ends",
        source: "t-rdma with REAP's record and prefetch (ASPLOS'21); a combination of this testbed",
        pages: PageSource::RdmaPrefetch,
        ..T_CXL
    },
    SystemEntry {
        name: "t-tiered",
        about: "TrEnv: pages that invocations touch in CXL memory, the others in the RDMA pool, hot pages promoted",
        source: "TrEnv (SOSP'24): CXL as caching layer, `bring_back` for hot pages; the paper names no algorithm, so the split and the promotion after 4 uses are this testbed's",
        pages: PageSource::Tiered,
        promote_after: 4,
        ..T_CXL
    },
    SystemEntry {
        name: "t-reuse-only",
        about: "ablation: repurposed container, process moved into its cgroup, CRIU copy",
        source: "CRIU branch `reuse-only` of TrEnv's artifact",
        cgroup: CgroupEntry::Migrate,
        state: State::CriuCopy,
        ..T_CXL
    },
    SystemEntry {
        name: "t-reuse+cgroup",
        about: "ablation: repurposed container, CLONE_INTO_CGROUP, CRIU copy",
        source: "CRIU branch `cgroup` of TrEnv's artifact",
        state: State::CriuCopy,
        ..T_CXL
    },
    SystemEntry {
        name: "vanilla-ch",
        about: "a microVM made new, all guest memory copied at restore",
        source: "upstream Cloud Hypervisor restore; TrEnv-X README",
        state: State::VmCopy,
        ..E2B
    },
    E2B,
    SystemEntry {
        name: "e2b+",
        about: "e2b with pooled network namespaces",
        source: "TrEnv-X's stronger baseline; its exact patches were not published: pooled namespaces as for the container baselines' +",
        isolating: Isolating::PooledNetns,
        pooled_netns: 80,
        ..E2B
    },
    TRENVX_VM,
    SystemEntry {
        name: "trenvx-vm-guest-cache",
        about: "ablation: trenvx-vm without page-cache bypass",
        source: "TrEnv-X without virtio-pmem",
        page_cache_bypass: false,
        ..TRENVX_VM
    },
    SystemEntry {
        name: "trenvx-vm-own-browser",
        about: "ablation: trenvx-vm without browser sharing",
        source: "TrEnv-X with one browser for each agent",
        agents_per_browser: 1,
        ..TRENVX_VM
    },
    SystemEntry {
        name: "mitosis",
        about: "remote fork: lean container from a pool, page tables copied from a parent, pages read over RDMA",
        source: "Mitosis (OSDI'23); children are not kept, a fork takes the place of keep-alive",
        isolating: Isolating::Pooled,
        cgroup: CgroupEntry::CloneInto,
        state: State::RemoteFork,
        pages: PageSource::Rdma,
        keep_alive: KeepAlive::None,
        ..FAASD
    },
    SystemEntry {
        name: "sock",
        about: "lean container from a pool, forked from a zygote that has runtime and libraries loaded",
        source: "SOCK (ATC'18): pooled cgroups, no network namespace, zygotes; idle handlers evicted when memory is needed",
        isolating: Isolating::Pooled,
        cgroup: CgroupEntry::CloneInto,
        state: State::ZygoteFork,
        keep_alive: KeepAlive::Lru,
        ..FAASD
    },
    SystemEntry {
        name: "rainbowcake",
        about: "a new container, kept by layers: function, then runtime, then bare sandbox, shared as far as each goes",
        source: "RainbowCake (ASPLOS'24); its adaptive times were not found: fixed ones, keep_alive.layers",
        keep_alive: KeepAlive::Layers,
        ..FAASD
    },
    SystemEntry {
        name: "ideal",
        about: "every start is warm: the bound",
        source: "a bound, not a system",
        isolating: Isolating::Pooled,
        cgroup: CgroupEntry::CloneInto,
        state: State::Ready,
        keep_alive: KeepAlive::Lru,
        start_slots: u32::MAX,
        ..FAASD
    },
];

impl SystemEntry {
    /// The composition.
    pub fn system(&self) -> System {
        System {
            name: self.name.to_owned(),
            isolation: self.isolation,
            isolating: self.isolating,
            cgroup: self.cgroup,
            state: self.state,
            pages: self.pages,
            dedup: self.dedup,
            keep_alive: self.keep_alive,
            reuse: true,
            start_slots: self.start_slots,
            prepopulated: self.prepopulated,
            prepopulated_memory: PREPOPULATED_MEMORY,
            pooled_netns: self.pooled_netns,
            promote_after: self.promote_after,
            page_cache_bypass: self.page_cache_bypass,
            agents_per_browser: self.agents_per_browser,
        }
    }
}

/// The registered system of that name.
pub fn system(name: &str) -> Option<System> {
    SYSTEMS.iter().find(|entry| entry.name == name).map(SystemEntry::system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for entry in SYSTEMS {
            assert_eq!(SYSTEMS.iter().filter(|e| e.name == entry.name).count(), 1);
            assert_eq!(system(entry.name), Some(entry.system()));
        }
        assert_eq!(system("t-cxxl"), None);
    }
}
