//! A machine on which everything is free, and workloads drawn from known distributions.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod random;
pub mod scenario;

use configs::spec::*;
use platform::memory::{Behaviour, Content, PageGroups};
use platform::records::{Outcome, RunRecord, StartKind};
use platform::{Profile, system::system};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use traces::{Bytes, Duration, Function, FunctionId, Instant, Invocation, Pages};

/// One node, everything free, a TTL of 600 s, room for everything.
pub fn free_spec(name: &str) -> Spec {
    let zero = Duration::ZERO;
    let mut pages = PageGroups::EMPTY;
    pages.set(Content::Runtime, Behaviour::ReadOnly, Pages(600));
    pages.set(Content::Function, Behaviour::Written, Pages(300));
    pages.set(Content::Library, Behaviour::Untouched, Pages(100));
    let profile = Profile {
        runtime: "python".to_owned(),
        runtime_init: zero,
        init: zero,
        pages,
        file_pages: Pages(50),
        regions: 100,
        threads: 4,
        memory_intensity: 0.0,
        read_only_accesses: 0.5,
        agent: None,
    };
    let mut system = system(name).expect("a registered system");
    system.prepopulated = 0;
    system.start_slots = u32::MAX;
    Spec {
        system,
        cluster: Cluster {
            nodes: 1,
            racks: 1,
            cores: 1_000_000,
            dram: Bytes::from_gib(1 << 20),
            memory_cap: Bytes::from_gib(1 << 20),
            queue_timeout: Duration::from_secs(1_000_000),
        },
        keep_alive: KeepAliveParameters::default(),
        placement: Placement::SandboxAware,
        sharing: Sharing { within_tenant: false, tenants: 0 },
        pools: Pools { replicas: 0, without_template: WithoutTemplate::Boot },
        faults: Faults::default(),
        workload: WorkloadSpec::W1,
        machine: Machine {
            sandbox: SandboxCosts {
                runtime: zero,
                netns_create: zero,
                netns_destroy: zero,
                netns_enter: zero,
                rootfs_mount: zero,
                rootfs_swap: zero,
                cgroup_create: zero,
                cgroup_migrate: zero,
                cgroup_limits: zero,
                spawn: zero,
                kill: zero,
            },
            restore: RestoreCosts {
                criu_setup: zero,
                criu_page: Duration::from_nanos(1),
                thread: zero,
                attach: zero,
                attach_region: zero,
                take_over: zero,
                prefetch_page: Duration::from_nanos(1),
                prefetch_coverage: 1.0,
                map_region: zero,
                pages_per_region: 16,
                zygote_fork: zero,
                identical: 0.5,
            },
            fault: FaultCosts { minor: zero, copy_on_write: zero, userfaultfd: zero, major: zero },
            dram: DramConstants { latency: Duration::from_nanos(80) },
            cxl: CxlConstants {
                latency: Duration::from_nanos(80),
                bandwidth: 1 << 60,
                copy_parallelism: 10.0,
                queued_lines: 0.0,
                ports: 16,
                capacity: Bytes::from_gib(1 << 20),
            },
            rdma: RdmaConstants {
                read_4k: Duration::from_nanos(1),
                reads_per_second: 1 << 60,
                bandwidth: 1 << 60,
                read_variation: 0.0,
                capacity: Bytes::from_gib(1 << 20),
            },
            vm: VmCosts {
                start: zero,
                load: zero,
                reconnect: zero,
                vmm_memory: Bytes::from_mib(5),
                guest_memory: Bytes::from_mib(8),
                guest_size: Bytes::from_gib(2),
                copy_page: Duration::from_nanos(1),
                snapshot_zero: 0.8,
            },
            ssd: StorageConstants { read_4k: Duration::from_nanos(1), bandwidth: 1 << 60 },
            nas: StorageConstants { read_4k: Duration::from_nanos(1), bandwidth: 1 << 60 },
        },
        profiles: BTreeMap::from([("plain".to_owned(), profile)]).into(),
        service_times: BTreeMap::new().into(),
        default_profile: "plain".to_owned(),
        output: Output {
            invocations: true,
            memory_every: Duration::from_secs(3600),
            distributions: u32::MAX,
            growth_steps: 1,
            timeline: None,
        },
        emu: None,
    }
}

/// So many functions of 128 MiB declared memory.
pub fn functions(n: usize) -> Vec<Function> {
    (0..n)
        .map(|i| Function {
            name: format!("f{i}"),
            tenant: "t".to_owned(),
            profile: Some("plain".to_owned()),
            memory: Some(Bytes::from_mib(128)),
        })
        .collect()
}

/// Uniform in (0, 1].
pub fn unit(rng: &mut Xoshiro256PlusPlus) -> f64 {
    ((rng.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// Poisson arrivals of one function with exponential service times (seconds).
pub fn poisson(seed: u64, n: usize, mean_gap: f64, mean_service: f64) -> Vec<Invocation> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut at = 0.0;
    (0..n)
        .map(|_| {
            at += -unit(&mut rng).ln() * mean_gap;
            let service = Duration::from_secs_f64(-unit(&mut rng).ln() * mean_service);
            Invocation::new(Instant::ZERO + Duration::from_secs_f64(at), FunctionId(0), service)
        })
        .collect()
}

/// Plays invocations without burn-in, to their last arrival.
pub fn play(spec: &Spec, functions: &[Function], invocations: &[Invocation]) -> RunRecord {
    let span = invocations.last().map_or(Duration::ZERO, |last| last.arrival().since(Instant::ZERO));
    sim::simulate(
        spec,
        sim::Play {
            functions,
            invocations: invocations.iter().copied(),
            burn_in: Duration::ZERO,
            span,
            seed: 1,
        },
    )
}

/// Number of invocations with that start.
pub fn started(record: &RunRecord, kind: StartKind) -> u64 {
    record.functions.iter().map(|f| f.starts[kind as usize]).sum()
}

/// Number of invocations with that outcome.
pub fn ended(record: &RunRecord, outcome: Outcome) -> u64 {
    record.functions.iter().map(|f| f.outcomes[outcome as usize]).sum()
}

/// Mean and half-width of the 99 % interval (Student's t, 19 degrees of freedom) over 20 seeds.
pub fn mean_of_20(sample: impl Fn(u64) -> f64) -> (f64, f64) {
    const T_99_19: f64 = 2.861;
    let values: Vec<f64> = (1..=20).map(sample).collect();
    let mean = values.iter().sum::<f64>() / 20.0;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 19.0;
    (mean, T_99_19 * (variance / 20.0).sqrt())
}

/// As [`free_spec`], but every step costs something.
pub fn costly_spec(name: &str) -> Spec {
    let mut spec = free_spec(name);
    let us = Duration::from_micros;
    spec.machine.sandbox = SandboxCosts {
        runtime: us(1_396),
        netns_create: us(2_227),
        netns_destroy: us(1_400),
        netns_enter: us(40),
        rootfs_mount: us(950),
        rootfs_swap: us(1_000),
        cgroup_create: us(202),
        cgroup_migrate: us(1_000),
        cgroup_limits: us(50),
        spawn: us(391),
        kill: us(500),
    };
    spec.machine.restore.criu_setup = us(15_000);
    spec.machine.restore.criu_page = Duration::from_nanos(2_350);
    spec.machine.fault.copy_on_write = us(2);
    spec.machine.fault.major = us(2);
    spec.machine.rdma.read_4k = us(6);
    spec.machine.rdma.reads_per_second = 1_000_000;
    spec.machine.cxl.bandwidth = 20_000_000_000;
    spec.machine.vm.start = us(12_000);
    std::sync::Arc::make_mut(&mut spec.profiles).get_mut("plain").expect("the plain profile").init =
        us(200_000);
    spec
}

/// Bytes in pools.
pub fn pool_bytes(bytes: &platform::ByClass) -> Bytes {
    use platform::MemoryClass::{PoolCxl, PoolRdma};
    bytes.get(PoolCxl) + bytes.get(PoolRdma)
}
