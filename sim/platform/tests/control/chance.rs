//! Whatever happens in whatever order, the accounts agree and every invocation comes to one end.

use crate::world::{Doing, Fate, World};
use crate::{KEEP_ALIVES, PLACEMENTS};
use platform::policy::FunctionFacts;
use platform::policy::keep_alive::KeepAliveParameters;
use platform::policy::keep_alive::hybrid_histogram::HybridHistogramParameters;
use platform::policy::keep_alive::layers::LayerTimes;
use platform::system::{SYSTEMS, SystemEntry};
use platform::{ControlConfig, Input, NodeId, SandboxId};
use proptest::prelude::*;
use traces::rng::Streams;
use traces::{Bytes, Duration, FunctionId, Instant};

/// What happens next. Numbers choose among what there is.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Arrival(usize),
    Ready(usize),
    Finished(usize),
    /// The next timer comes, even where that lets time pass.
    Timer,
    Pressure(usize),
    SandboxLost(usize),
    NodeLost(usize),
    NodeJoined(usize),
}

/// After how many seconds, and whether timers that were due meanwhile come late.
#[derive(Clone, Copy, Debug)]
struct Step {
    after: u64,
    late: bool,
    what: Happening,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    use Happening::*;
    let any = any::<usize>();
    let what = prop_oneof![
        12 => any.prop_map(Arrival),
        10 => any.prop_map(Ready),
        10 => any.prop_map(Finished),
        3 => Just(Timer),
        1 => any.prop_map(Pressure),
        1 => any.prop_map(SandboxLost),
        1 => any.prop_map(NodeLost),
        1 => any.prop_map(NodeJoined),
    ];
    let after = prop_oneof![4 => Just(0u64), 4 => 1u64..5, 1 => 5u64..90];
    let step = (after, prop::bool::weighted(0.1), what);
    prop::collection::vec(step.prop_map(|(after, late, what)| Step { after, late, what }), 0..160)
}

fn functions() -> impl Strategy<Value = Vec<FunctionFacts>> {
    let facts = (0u64..8, 0u32..2, 0u32..2, 0u64..4, 0u64..4);
    let facts = facts.prop_map(|(size, tenant, runtime, kept, cost)| FunctionFacts {
        declared: Bytes::from_mib(60 * size),
        tenant,
        runtime,
        runtime_memory: Bytes::from_mib(40 * kept),
        start_cost: Duration::from_millis(500 * cost),
    });
    prop::collection::vec(facts, 1..6)
}

/// A control plane of any composition, on one to six nodes, without the arrivals.
fn configs() -> impl Strategy<Value = ControlConfig> {
    let system = (0..SYSTEMS.len(), 0..KEEP_ALIVES.len(), 0..PLACEMENTS.len());
    let limits = (1u32..4, 0u32..4, 0u64..120, 0u32..3);
    let place = (prop_oneof![Just((1, 1)), Just((3, 1)), Just((4, 2)), Just((6, 3))], 1u64..12);
    (system, limits, place, any::<bool>(), functions(), any::<u64>()).prop_map(
        |((system, keep_alive, placement), limits, ((nodes, racks), cap), tenants, functions, seed)| {
            let entry: &SystemEntry = &SYSTEMS[system];
            let mut system = entry.system();
            system.keep_alive = KEEP_ALIVES[keep_alive];
            (system.start_slots, system.prepopulated) = (limits.0, limits.1);
            (system.prepopulated_memory, system.pooled_netns) = (Bytes::from_mib(limits.2), limits.3);
            let seconds = Duration::from_secs;
            ControlConfig {
                system,
                placement: PLACEMENTS[placement].1,
                keep_alive: KeepAliveParameters {
                    ttl: seconds(30),
                    layers: LayerTimes { function: seconds(5), runtime: seconds(10), bare: seconds(20) },
                    hybrid_histogram: HybridHistogramParameters {
                        bin: seconds(1),
                        bins: 60,
                        max_dispersion: 20.0,
                        default_ttl: seconds(40),
                        ..Default::default()
                    },
                },
                nodes,
                racks,
                memory_cap: Bytes::from_mib(60 * cap),
                queue_timeout: seconds(20),
                share_within_tenant: tenants,
                functions,
                arrivals: Vec::new(),
                streams: Streams::new(seed),
            }
        },
    )
}

/// The sandboxes that are doing something of the kind.
fn those(world: &World, doing: impl Fn(Doing) -> bool) -> Vec<SandboxId> {
    world.sandboxes.iter().filter(|(_, seen)| doing(seen.doing)).map(|(&name, _)| name).collect()
}

fn pick<T: Copy>(from: &[T], number: usize) -> Option<T> {
    (!from.is_empty()).then(|| from[number % from.len()])
}

fn starting(world: &World) -> Vec<SandboxId> {
    those(world, |doing| matches!(doing, Doing::Starting(..)))
}

fn running(world: &World) -> Vec<SandboxId> {
    those(world, |doing| matches!(doing, Doing::Running(_)))
}

fn take(world: &mut World, step: Step) {
    let now = world.now + Duration::from_secs(step.after);
    while !step.late && world.timers.first_key_value().is_some_and(|(&(at, _), _)| at <= now) {
        world.timer();
    }
    world.now = world.now.max(now);
    let nodes = world.up.len();
    let node = |number: usize| NodeId((number % nodes) as u32);
    match step.what {
        Happening::Arrival(n) => world.arrive(FunctionId((n % world.functions.len()) as u32)),
        Happening::Ready(n) => pick(&starting(world), n).into_iter().for_each(|s| world.ready(s)),
        Happening::Finished(n) => pick(&running(world), n).into_iter().for_each(|s| world.finish(s)),
        Happening::Timer => world.timer(),
        Happening::Pressure(n) => world.tell(Input::MemoryPressure { node: node(n) }),
        Happening::SandboxLost(n) => {
            pick(&those(world, |_| true), n).into_iter().for_each(|s| world.lose(s));
        }
        Happening::NodeLost(n) => world.node(node(n), false),
        Happening::NodeJoined(n) => world.node(node(n), true),
    }
}

/// The arrivals of each function, as [`take`] will make them; a `Timer` step may let time pass, which
/// only the world knows, so these are exact in number and order, not in time.
fn arrivals(functions: usize, steps: &[Step]) -> Vec<Vec<Instant>> {
    let mut arrivals = vec![Vec::new(); functions];
    let mut now = Instant::ZERO;
    for step in steps {
        now += Duration::from_secs(step.after);
        if let Happening::Arrival(n) = step.what {
            arrivals[n % functions].push(now);
        }
    }
    arrivals
}

/// Everybody comes back and everything ends: nobody is left.
fn end(world: &mut World) {
    (0..world.up.len()).for_each(|node| world.node(NodeId(node as u32), true));
    loop {
        if let Some(sandbox) = pick(&starting(world), 0) {
            world.ready(sandbox);
        } else if let Some(sandbox) = pick(&running(world), 0) {
            world.finish(sandbox);
        } else if !world.timers.is_empty() {
            world.timer();
        } else {
            return;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_invocation_ends_once_and_the_accounts_agree(mut config in configs(), steps in steps()) {
        config.arrivals = arrivals(config.functions.len(), &steps);
        let mut world = World::new(config);
        for &step in &steps {
            take(&mut world, step);
        }
        end(&mut world);
        for (function, fate) in &world.invocations {
            prop_assert!(!matches!(fate, Fate::Waiting(..) | Fate::Bound(_)), "{function:?}: {fate:?}");
        }
    }
}
