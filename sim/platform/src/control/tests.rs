//! Scenarios worked out by hand: one node, functions f and g of 100 MiB, starts end when told to.

use super::*;
use crate::policy::keep_alive::layers::LayerTimes;
use crate::system::system;

const F: FunctionId = FunctionId(0);
const G: FunctionId = FunctionId(1);
const N: NodeId = NodeId(0);

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

/// A control plane of `name` on one node with room for `rooms` sandboxes and a TTL of 60 s.
fn plane(name: &str, rooms: u64, change: impl FnOnce(&mut System)) -> ControlPlane {
    let mut system = system(name).unwrap();
    system.prepopulated = 0;
    change(&mut system);
    ControlPlane::new(ControlConfig {
        system,
        placement: Placement::SandboxAware,
        keep_alive: KeepAliveParameters {
            ttl: Duration::from_secs(60),
            layers: LayerTimes {
                function: Duration::from_secs(10),
                runtime: Duration::from_secs(20),
                bare: Duration::from_secs(30),
            },
            ..Default::default()
        },
        nodes: 1,
        racks: 1,
        memory_cap: Bytes::from_mib(100 * rooms),
        queue_timeout: Duration::from_secs(30),
        share_within_tenant: false,
        functions: (0..2).map(facts).collect(),
        arrivals: Vec::new(),
        streams: Streams::new(1),
    })
}

/// Functions of one tenant and one runtime.
fn facts(_: u32) -> FunctionFacts {
    FunctionFacts {
        declared: Bytes::from_mib(100),
        tenant: 0,
        runtime: 0,
        runtime_memory: Bytes::from_mib(40),
        start_cost: Duration::from_secs(1),
    }
}

fn step(plane: &mut ControlPlane, seconds: u64, input: Input) -> Vec<Command> {
    let mut out = Vec::new();
    plane.handle(at(seconds), input, &mut out);
    out
}

fn arrive(plane: &mut ControlPlane, seconds: u64, ticket: u32, function: FunctionId) -> Vec<Command> {
    step(plane, seconds, Input::Arrival { ticket: Ticket(ticket), function })
}

fn start(sandbox: u32, ticket: u32, function: FunctionId, kind: StartKind) -> Command {
    Command::Start {
        sandbox: SandboxId(sandbox),
        node: N,
        function,
        ticket: Some(Ticket(ticket)),
        kind,
        pooled_netns: false,
    }
}

fn run(sandbox: u32, ticket: u32, kind: StartKind) -> Command {
    Command::Run { sandbox: SandboxId(sandbox), node: N, ticket: Ticket(ticket), kind }
}

#[test]
fn a_baseline_starts_reuses_and_expires() {
    let mut p = plane("faasd", 4, |_| ());
    let s = SandboxId(0);
    assert_eq!(arrive(&mut p, 0, 0, F), [start(0, 0, F, StartKind::Cold)]);
    assert_eq!(step(&mut p, 1, Input::Ready { sandbox: s }), [run(0, 0, StartKind::Cold)]);
    let timer = Timer::KeepAlive { sandbox: s, generation: 0 };
    assert_eq!(step(&mut p, 2, Input::Finished { sandbox: s }), [Command::SetTimer { at: at(62), timer }]);
    assert_eq!(arrive(&mut p, 50, 1, F), [run(0, 1, StartKind::Warm)]);
    // One timer is enough: the use at 51 s moves the deadline, not the timer.
    assert_eq!(step(&mut p, 51, Input::Finished { sandbox: s }), []);
    assert_eq!(step(&mut p, 62, Input::Timer(timer)), [Command::SetTimer { at: at(111), timer }]);
    assert_eq!(
        step(&mut p, 111, Input::Timer(timer)),
        [Command::Evict { sandbox: s, node: N, reason: EvictReason::Expired, keep_netns: false }]
    );
    assert_eq!((p.idle(), p.busy(), p.committed(N)), (0, 0, Bytes::ZERO));
}

#[test]
fn a_baseline_evicts_the_least_recently_used_when_memory_is_full() {
    let mut p = plane("criu", 1, |_| ());
    arrive(&mut p, 0, 0, F);
    step(&mut p, 1, Input::Ready { sandbox: SandboxId(0) });
    step(&mut p, 2, Input::Finished { sandbox: SandboxId(0) });
    let evict =
        Command::Evict { sandbox: SandboxId(0), node: N, reason: EvictReason::Memory, keep_netns: false };
    assert_eq!(arrive(&mut p, 3, 1, G), [evict, start(0, 1, G, StartKind::Restored)]);
}

#[test]
fn trenv_repurposes_the_least_recently_used_of_any_function() {
    let mut p = plane("t-cxl", 4, |_| ());
    for (ticket, function) in [(0, F), (1, G)] {
        arrive(&mut p, 0, ticket, function);
        step(&mut p, 1, Input::Ready { sandbox: SandboxId(ticket) });
    }
    step(&mut p, 2, Input::Finished { sandbox: SandboxId(1) });
    step(&mut p, 3, Input::Finished { sandbox: SandboxId(0) });
    // f is reused although g's sandbox is older; the next f repurposes g's.
    assert_eq!(arrive(&mut p, 4, 2, F), [run(0, 2, StartKind::Warm)]);
    let repurpose = Command::Repurpose {
        sandbox: SandboxId(1),
        node: N,
        from: Some(G),
        keeps: Layer::Bare,
        to: F,
        ticket: Ticket(3),
    };
    assert_eq!(arrive(&mut p, 5, 3, F), [repurpose]);
    assert_eq!(step(&mut p, 6, Input::Ready { sandbox: SandboxId(1) }), [run(1, 3, StartKind::Repurposed)]);
}

#[test]
fn trenv_uses_prepopulated_sandboxes_first() {
    let mut p = plane("t-cxl", 4, |s| {
        s.prepopulated = 1;
        s.prepopulated_memory = Bytes::from_mib(256);
    });
    assert_eq!(p.idle(), 1);
    let repurpose = Command::Repurpose {
        sandbox: SandboxId(0),
        node: N,
        from: None,
        keeps: Layer::Bare,
        to: F,
        ticket: Ticket(0),
    };
    assert_eq!(arrive(&mut p, 0, 0, F), [repurpose]);
    assert_eq!(p.committed(N), Bytes::from_mib(100));
}

#[test]
fn the_waiting_are_served_in_order_but_take_a_warm_sandbox_of_their_own() {
    let mut p = plane("faasd", 1, |_| ());
    arrive(&mut p, 0, 0, F);
    step(&mut p, 1, Input::Ready { sandbox: SandboxId(0) });
    let queued = |ticket, wait| {
        [
            Command::Queued { ticket: Ticket(ticket) },
            Command::SetTimer { at: at(32), timer: Timer::Queue { ticket: Ticket(ticket), wait } },
        ]
    };
    assert_eq!(arrive(&mut p, 2, 1, G), queued(1, 1));
    assert_eq!(arrive(&mut p, 2, 2, F), queued(2, 1));
    // g waits longest, but f's sandbox serves f without a start.
    assert_eq!(step(&mut p, 3, Input::Finished { sandbox: SandboxId(0) }), [run(0, 2, StartKind::Warm)]);
    let out = step(&mut p, 4, Input::Finished { sandbox: SandboxId(0) });
    assert_eq!(
        out[1],
        Command::Evict { sandbox: SandboxId(0), node: N, reason: EvictReason::Memory, keep_netns: false }
    );
    assert_eq!(out[2], start(0, 1, G, StartKind::Cold));
    // Both waits are over: their timers mean nothing any more.
    assert_eq!(step(&mut p, 32, Input::Timer(Timer::Queue { ticket: Ticket(1), wait: 1 })), []);
}

#[test]
fn a_wait_that_is_too_long_is_given_up() {
    let mut p = plane("faasd", 1, |_| ());
    arrive(&mut p, 0, 0, F);
    arrive(&mut p, 1, 1, F);
    let timer = Timer::Queue { ticket: Ticket(1), wait: 1 };
    assert_eq!(step(&mut p, 31, Input::Timer(timer)), [Command::TimedOut { ticket: Ticket(1) }]);
    assert_eq!(step(&mut p, 32, Input::Ready { sandbox: SandboxId(0) }), [run(0, 0, StartKind::Cold)]);
    assert_eq!(step(&mut p, 33, Input::Finished { sandbox: SandboxId(0) }).len(), 1);
}

#[test]
fn starts_beyond_the_slots_wait() {
    let mut p = plane("criu", 9, |s| s.start_slots = 1);
    assert_eq!(arrive(&mut p, 0, 0, F).len(), 1);
    assert_eq!(arrive(&mut p, 0, 1, G)[0], Command::Queued { ticket: Ticket(1) });
    let out = step(&mut p, 1, Input::Ready { sandbox: SandboxId(0) });
    assert_eq!(out, [run(0, 0, StartKind::Restored), start(1, 1, G, StartKind::Restored)]);
}

#[test]
fn a_pooled_netns_is_taken_and_returned() {
    let mut p = plane("reap+", 1, |s| s.pooled_netns = 1);
    let pooled = |out: &[Command]| matches!(out.last(), Some(Command::Start { pooled_netns: true, .. }));
    assert!(pooled(&arrive(&mut p, 0, 0, F)));
    step(&mut p, 1, Input::Ready { sandbox: SandboxId(0) });
    step(&mut p, 2, Input::Finished { sandbox: SandboxId(0) });
    let out = arrive(&mut p, 3, 1, G);
    assert!(matches!(out[0], Command::Evict { keep_netns: true, .. }));
    assert!(pooled(&out));
}

#[test]
fn a_function_larger_than_the_cap_is_rejected() {
    let mut p = plane("faasd", 0, |_| ());
    assert_eq!(arrive(&mut p, 0, 0, F), [Command::Reject { ticket: Ticket(0) }]);
}
