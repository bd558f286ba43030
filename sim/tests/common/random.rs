//! Random specs and workloads: every part of the model on or off, caps and capacities small enough to
//! be hit. What a case prints, when it fails, is only where it differs from the plainest one.

use super::{costly_spec, functions};
use configs::spec::{Churn, Fault, FaultKind, Placement, Spec, TimelineWindow, WithoutTemplate};
use platform::records::RunRecord;
use platform::system::{CgroupEntry, Dedup, Isolating, Isolation, KeepAlive, PageSource, SYSTEMS, State};
use proptest::prelude::*;
use proptest::sample::select;
use std::fmt;
use std::sync::Arc;
use traces::{Bytes, Duration, Function, FunctionId, Instant, Invocation};

/// Functions of a case: two profiles, three tenants of their own.
pub const FUNCTIONS: u32 = 5;

/// What is asked of the system; `None` leaves it as registered.
#[derive(Clone, Debug, PartialEq)]
struct Composition {
    system: &'static str,
    isolation: Option<Isolation>,
    isolating: Option<Isolating>,
    cgroup: Option<CgroupEntry>,
    state: Option<State>,
    pages: Option<PageSource>,
    dedup: Option<Dedup>,
    keep_alive: Option<KeepAlive>,
    page_cache_bypass: Option<bool>,
    promote_after: Option<u32>,
    start_slots: u32,
    prepopulated: u32,
    pooled_netns: u32,
}

/// Where it runs, and how much there is of everything.
#[derive(Clone, Debug, PartialEq)]
struct Surroundings {
    placement: Placement,
    racks: u32,
    nodes_per_rack: u32,
    cores: u32,
    /// Sandboxes of 128 MiB that a node's cap has room for.
    rooms: u64,
    dram_mib: Option<u64>,
    cxl_mib: Option<u64>,
    rdma_mib: Option<u64>,
    replicas: u32,
    from_storage: bool,
    tenants: u32,
    within_tenant: bool,
    queue_timeout_s: u64,
    burn_in_s: u64,
    growth_steps: u32,
    /// (from, length) in seconds.
    timeline: Option<(u64, u64)>,
}

/// What is not ideal about the machine.
#[derive(Clone, Debug, PartialEq)]
struct Imperfections {
    memory_intensity: f64,
    queued_lines: f64,
    read_variation: f64,
    prefetch_coverage: f64,
    /// (at, for how long) in seconds, what.
    faults: Vec<(u64, u64, FaultKind)>,
    /// Mean times up and down, in seconds.
    churn: Option<(u64, u64)>,
}

/// A spec and what is played on it: (second of arrival, function, ms of service).
#[derive(Clone, PartialEq)]
pub struct Case {
    composition: Composition,
    surroundings: Surroundings,
    imperfections: Imperfections,
    calls: Vec<(u64, u32, u64)>,
    seed: u64,
}

/// Any case at all.
pub fn any_case() -> impl Strategy<Value = Case> {
    cases(surroundings(prop_oneof![
        Just(Placement::SandboxAware),
        Just(Placement::RoundRobin),
        Just(Placement::HashAffinity { bound_permille: 1250 }),
        Just(Placement::RackLocality { spill: false }),
        Just(Placement::RackLocality { spill: true }),
        Just(Placement::Random),
        Just(Placement::LeastLoaded),
        Just(Placement::PowerOfTwo),
    ]))
}

/// Any case of several racks that have nothing to do with each other.
pub fn independent_racks() -> impl Strategy<Value = Case> {
    let placed = surroundings(Just(Placement::RackLocality { spill: false }));
    cases((placed, 2u32..5).prop_map(|(placed, racks)| Surroundings { racks, ..placed }))
}

fn cases(surroundings: impl Strategy<Value = Surroundings>) -> impl Strategy<Value = Case> {
    let calls = prop::collection::vec((0u64..200, 0..FUNCTIONS, 0u64..9_000), 0..100);
    (composition(), surroundings, imperfections(), calls, 0u64..100).prop_map(
        |(composition, surroundings, imperfections, mut calls, seed)| {
            calls.sort_unstable();
            Case { composition, surroundings, imperfections, calls, seed }
        },
    )
}

fn composition() -> impl Strategy<Value = Composition> {
    let rarely = |words: Vec<State>| prop::option::weighted(0.2, select(words));
    let states = vec![
        State::Boot,
        State::CriuCopy,
        State::CriuLazy,
        State::WorkingSetPrefetch,
        State::WorkingSetRegions,
        State::VmCopy,
        State::VmMap,
        State::Attach,
        State::ZygoteFork,
        State::RemoteFork,
        State::Ready,
    ];
    let pages = vec![
        PageSource::Dram,
        PageSource::Cxl,
        PageSource::Rdma,
        PageSource::RdmaPrefetch,
        PageSource::Tiered,
        PageSource::Ssd,
        PageSource::Nas,
    ];
    let isolating = vec![Isolating::Create, Isolating::PooledNetns, Isolating::Pooled, Isolating::Repurpose];
    let keep_alive = vec![
        KeepAlive::FixedTtl,
        KeepAlive::FixedTtlFromStart,
        KeepAlive::Lru,
        KeepAlive::None,
        KeepAlive::Layers,
        KeepAlive::HybridHistogram,
        KeepAlive::GreedyDual,
        KeepAlive::GreedyDualFreq,
        KeepAlive::GreedyDualSize,
        KeepAlive::Landlord,
        KeepAlive::Oracle,
    ];
    assert_eq!(keep_alive.len(), KeepAlive::WORDS.len(), "every policy is drawn");
    let how = (
        prop::option::weighted(0.2, select(vec![Isolation::Container, Isolation::MicroVm])),
        prop::option::weighted(0.2, select(isolating)),
        prop::option::weighted(0.2, select(vec![CgroupEntry::Migrate, CgroupEntry::CloneInto])),
        rarely(states),
        prop::option::weighted(0.4, select(pages)),
        prop::option::weighted(0.3, Just(Dedup::AcrossFunctions)),
    );
    let kept = (
        prop::option::weighted(0.4, select(keep_alive)),
        prop::option::weighted(0.2, any::<bool>()),
        prop::option::weighted(0.3, 1u32..4),
    );
    let system = select(SYSTEMS.iter().map(|entry| entry.name).collect::<Vec<_>>());
    (system, how, kept, 1u32..4, 0u32..4, 0u32..3).prop_map(
        |(system, how, kept, start_slots, prepopulated, pooled_netns)| {
            let (isolation, isolating, cgroup, state, pages, dedup) = how;
            let (keep_alive, page_cache_bypass, promote_after) = kept;
            Composition {
                system,
                isolation,
                isolating,
                cgroup,
                state,
                pages,
                dedup,
                keep_alive,
                page_cache_bypass,
                promote_after,
                start_slots,
                prepopulated,
                pooled_netns,
            }
        },
    )
}

fn surroundings(placement: impl Strategy<Value = Placement>) -> impl Strategy<Value = Surroundings> {
    let size = (1u32..4, 1u32..4, 1u32..4, 1u64..6);
    let memory = (prop::option::weighted(0.2, 16u64..200), prop::option::weighted(0.4, 4u64..120), 0u32..3);
    let pool = (prop::option::weighted(0.4, 4u64..120), any::<bool>());
    let timeline = prop::option::weighted(0.5, (0u64..200, 1u64..200));
    let rest = (0u32..4, any::<bool>(), 1u64..40, 0u64..50, 1u32..5, timeline);
    (placement, size, memory, pool, rest).prop_map(|(placement, size, memory, pool, rest)| {
        let (racks, nodes_per_rack, cores, rooms) = size;
        let (dram_mib, cxl_mib, replicas) = memory;
        let (rdma_mib, from_storage) = pool;
        let (tenants, within_tenant, queue_timeout_s, burn_in_s, growth_steps, timeline) = rest;
        Surroundings {
            placement,
            racks,
            nodes_per_rack,
            cores,
            rooms,
            dram_mib,
            cxl_mib,
            rdma_mib,
            replicas,
            from_storage,
            tenants,
            within_tenant,
            queue_timeout_s,
            burn_in_s,
            growth_steps,
            timeline,
        }
    })
}

fn imperfections() -> impl Strategy<Value = Imperfections> {
    // Numbers are brought down to those of the case's nodes and racks.
    let what = prop_oneof![
        (0u32..9).prop_map(|node| FaultKind::Node { node }),
        (0u32..4).prop_map(|rack| FaultKind::CxlDevice { rack }),
        Just(FaultKind::RdmaPool {}),
        (0u32..9, 1u32..10)
            .prop_map(|(node, tenths)| FaultKind::Nic { node, factor: f64::from(tenths) / 10.0 }),
    ];
    let faults = prop::collection::vec((0u64..200, 1u64..60, what), 0..4);
    let machine =
        (select(vec![0.0, 0.3]), select(vec![0.0, 5.0]), select(vec![0.0, 0.5]), select(vec![1.0, 0.9]));
    (machine, faults, prop::option::weighted(0.2, (20u64..200, 1u64..40))).prop_map(
        |((memory_intensity, queued_lines, read_variation, prefetch_coverage), faults, churn)| {
            Imperfections { memory_intensity, queued_lines, read_variation, prefetch_coverage, faults, churn }
        },
    )
}

impl Case {
    /// Seed of what the model draws.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Sandboxes of 128 MiB that fit under a node's cap.
    pub fn rooms(&self) -> u64 {
        self.surroundings.rooms
    }

    /// Arrivals before this are burn-in.
    pub fn burn_in(&self) -> Duration {
        Duration::from_secs(self.surroundings.burn_in_s)
    }

    /// Length of the workload: somewhat more than the last arrival, so that some sandboxes end before.
    pub fn span(&self) -> Duration {
        let last = self.calls.last().map_or(0, |call| call.0).max(self.surroundings.burn_in_s);
        Duration::from_secs(last + 60)
    }

    /// Whether anything can be lost, so that invocations may fail.
    pub fn loses_anything(&self) -> bool {
        self.imperfections.churn.is_some()
            || self.imperfections.faults.iter().any(|(_, _, what)| !matches!(what, FaultKind::Nic { .. }))
    }

    /// The functions: two profiles, one and the same memory size.
    pub fn functions(&self) -> Vec<Function> {
        let mut functions = functions(FUNCTIONS as usize);
        for (index, function) in functions.iter_mut().enumerate() {
            function.tenant = format!("t{}", index % 3);
            if index % 2 == 1 {
                function.profile = Some("other".to_owned());
            }
        }
        functions
    }

    /// The invocations.
    pub fn invocations(&self) -> Vec<Invocation> {
        let call = |&(second, function, ms): &(u64, u32, u64)| {
            let at = Instant::ZERO + Duration::from_secs(second);
            Invocation::new(at, FunctionId(function), Duration::from_millis(ms))
        };
        self.calls.iter().map(call).collect()
    }

    /// The spec.
    pub fn spec(&self) -> Spec {
        let mut spec = costly_spec(self.composition.system);
        let second = spec.profiles["plain"].clone();
        let other = Arc::make_mut(&mut spec.profiles).entry("other".to_owned()).or_insert(second);
        other.runtime = "node".to_owned();
        other.pages = other.pages.scaled_to(traces::Pages(3_000));
        self.compose(&mut spec);
        self.surround(&mut spec);
        self.spoil(&mut spec);
        spec.keep_alive.ttl = Duration::from_secs(20);
        spec.keep_alive.layers.function = Duration::from_secs(5);
        spec.keep_alive.layers.runtime = Duration::from_secs(10);
        spec.keep_alive.layers.bare = Duration::from_secs(20);
        spec.output.memory_every = Duration::from_secs(7);
        spec.output.timeline = self.surroundings.timeline.map(|(from, length)| TimelineWindow {
            from: Instant::ZERO + Duration::from_secs(from),
            until: Instant::ZERO + Duration::from_secs(from + length),
        });
        spec
    }

    fn compose(&self, spec: &mut Spec) {
        fn put<T: Copy>(from: Option<T>, to: &mut T) {
            *to = from.unwrap_or(*to);
        }
        let (from, to) = (&self.composition, &mut spec.system);
        put(from.isolation, &mut to.isolation);
        put(from.isolating, &mut to.isolating);
        put(from.cgroup, &mut to.cgroup);
        put(from.state, &mut to.state);
        put(from.pages, &mut to.pages);
        put(from.dedup, &mut to.dedup);
        put(from.keep_alive, &mut to.keep_alive);
        put(from.page_cache_bypass, &mut to.page_cache_bypass);
        put(from.promote_after, &mut to.promote_after);
        to.start_slots = from.start_slots;
        to.prepopulated = from.prepopulated;
        to.prepopulated_memory = Bytes::from_mib(128);
        to.pooled_netns = from.pooled_netns;
    }

    fn surround(&self, spec: &mut Spec) {
        let from = &self.surroundings;
        spec.placement = from.placement;
        spec.cluster.racks = from.racks;
        spec.cluster.nodes = from.racks * from.nodes_per_rack;
        spec.cluster.cores = from.cores;
        spec.cluster.memory_cap = Bytes::from_mib(128 * from.rooms);
        if let Some(mib) = from.dram_mib {
            spec.cluster.dram = Bytes::from_mib(mib);
        }
        if let Some(mib) = from.cxl_mib {
            spec.machine.cxl.capacity = Bytes::from_mib(mib);
        }
        if let Some(mib) = from.rdma_mib {
            spec.machine.rdma.capacity = Bytes::from_mib(mib);
        }
        spec.pools.replicas = from.replicas;
        if from.from_storage {
            spec.pools.without_template = WithoutTemplate::Storage;
        }
        spec.sharing.tenants = from.tenants;
        spec.sharing.within_tenant = from.within_tenant;
        spec.cluster.queue_timeout = Duration::from_secs(from.queue_timeout_s);
        spec.output.growth_steps = from.growth_steps;
    }

    fn spoil(&self, spec: &mut Spec) {
        let from = &self.imperfections;
        for profile in Arc::make_mut(&mut spec.profiles).values_mut() {
            profile.memory_intensity = from.memory_intensity;
        }
        spec.machine.cxl.latency = Duration::from_nanos(400);
        spec.machine.cxl.queued_lines = from.queued_lines;
        spec.machine.rdma.read_variation = from.read_variation;
        spec.machine.restore.prefetch_coverage = from.prefetch_coverage;
        // Slow enough that fills overlap with starts and failures.
        spec.machine.nas.bandwidth = 10_000_000;
        let (nodes, racks) = (spec.cluster.nodes, spec.cluster.racks);
        spec.faults.events = from
            .faults
            .iter()
            .map(|&(at, lasts, what)| {
                let what = match what {
                    FaultKind::Node { node } => FaultKind::Node { node: node % nodes },
                    FaultKind::CxlDevice { rack } => FaultKind::CxlDevice { rack: rack % racks },
                    FaultKind::Nic { node, factor } => FaultKind::Nic { node: node % nodes, factor },
                    FaultKind::RdmaPool {} => what,
                };
                Fault { at: Duration::from_secs(at), lasts: Duration::from_secs(lasts), what }
            })
            .collect();
        spec.faults.churn = from
            .churn
            .map(|(up, down)| Churn { up: Duration::from_secs(up), down: Duration::from_secs(down) });
    }

    /// Plays it.
    pub fn play(&self) -> RunRecord {
        sim::simulate(&self.spec(), self.what_is_played(&self.functions(), self.invocations().into_iter()))
    }

    /// As [`sim::Play`] has it.
    pub fn what_is_played<'a, I>(&self, functions: &'a [Function], invocations: I) -> sim::Play<'a, I> {
        sim::Play { functions, invocations, burn_in: self.burn_in(), span: self.span(), seed: self.seed }
    }
}

impl fmt::Debug for Case {
    /// One line a part; of the fields of a part only those that are set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = |part: String| {
            part.split(", ").filter(|field| !field.ends_with("None")).collect::<Vec<_>>().join(", ")
        };
        writeln!(f, "seed {}", self.seed)?;
        writeln!(f, "{}", set(format!("{:?}", self.composition)))?;
        writeln!(f, "{}", set(format!("{:?}", self.surroundings)))?;
        writeln!(f, "{}", set(format!("{:?}", self.imperfections)))?;
        write!(f, "calls (second, function, ms): {:?}", self.calls)
    }
}
