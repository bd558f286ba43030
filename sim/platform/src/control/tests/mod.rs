//! Scenarios worked out by hand: functions of 100 MiB, starts end when told to.

mod layers;
mod losses;
mod nodes;
mod pre_warming;
mod ranks;
mod repurposing;
mod reuse;
mod tenants;
mod waiting;

use super::*;
use crate::policy::keep_alive::layers::LayerTimes;
use crate::system::system;

const F: FunctionId = FunctionId(0);
const G: FunctionId = FunctionId(1);
const H: FunctionId = FunctionId(2);
const N: NodeId = NodeId(0);

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

/// `name` on one node with room for `rooms` sandboxes, a TTL of 60 s, and functions f, g and h.
fn config(name: &str, rooms: u64) -> ControlConfig {
    let mut system = system(name).unwrap();
    system.prepopulated = 0;
    ControlConfig {
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
        functions: vec![FACTS; 3],
        arrivals: Vec::new(),
        streams: Streams::new(1),
    }
}

/// All functions are of one tenant and one runtime, unless a scenario says otherwise.
const FACTS: FunctionFacts = FunctionFacts {
    declared: Bytes::from_mib(100),
    tenant: 0,
    runtime: 0,
    runtime_memory: Bytes::from_mib(40),
    start_cost: Duration::from_secs(1),
};

fn plane(name: &str, rooms: u64, change: impl FnOnce(&mut System)) -> ControlPlane {
    let mut config = config(name, rooms);
    change(&mut config.system);
    ControlPlane::new(config)
}

fn step(plane: &mut ControlPlane, seconds: u64, input: Input) -> Vec<Command> {
    let mut out = Vec::new();
    plane.handle(at(seconds), input, &mut out);
    out
}

fn arrive(plane: &mut ControlPlane, seconds: u64, ticket: u32, function: FunctionId) -> Vec<Command> {
    step(plane, seconds, Input::Arrival { ticket: Ticket(ticket), function })
}

fn ready(plane: &mut ControlPlane, seconds: u64, sandbox: u32) -> Vec<Command> {
    step(plane, seconds, Input::Ready { sandbox: SandboxId(sandbox) })
}

fn finish(plane: &mut ControlPlane, seconds: u64, sandbox: u32) -> Vec<Command> {
    step(plane, seconds, Input::Finished { sandbox: SandboxId(sandbox) })
}

/// An invocation that comes, is started in that sandbox and ends, one second each.
fn serve(plane: &mut ControlPlane, seconds: u64, ticket: u32, function: FunctionId, sandbox: u32) {
    arrive(plane, seconds, ticket, function);
    ready(plane, seconds + 1, sandbox);
    finish(plane, seconds + 2, sandbox);
}

fn start(sandbox: u32, ticket: u32, function: FunctionId, kind: StartKind) -> Command {
    start_on(N, sandbox, ticket, function, kind)
}

fn start_on(node: NodeId, sandbox: u32, ticket: u32, function: FunctionId, kind: StartKind) -> Command {
    let ticket = Some(Ticket(ticket));
    Command::Start { sandbox: SandboxId(sandbox), node, function, ticket, kind, pooled_netns: false }
}

fn repurpose(sandbox: u32, from: Option<FunctionId>, keeps: Layer, to: FunctionId, ticket: u32) -> Command {
    Command::Repurpose { sandbox: SandboxId(sandbox), node: N, from, keeps, to, ticket: Ticket(ticket) }
}

fn run(sandbox: u32, ticket: u32, kind: StartKind) -> Command {
    run_on(N, sandbox, ticket, kind)
}

fn run_on(node: NodeId, sandbox: u32, ticket: u32, kind: StartKind) -> Command {
    Command::Run { sandbox: SandboxId(sandbox), node, ticket: Ticket(ticket), kind }
}

fn evict(sandbox: u32, reason: EvictReason) -> Command {
    Command::Evict { sandbox: SandboxId(sandbox), node: N, reason, keep_netns: false }
}

/// The answer to an invocation that must wait: its first wait, since `seconds`.
fn queued(ticket: u32, seconds: u64) -> [Command; 2] {
    let ticket = Ticket(ticket);
    let timer = Timer::Queue { ticket, wait: 1 };
    [Command::Queued { ticket }, Command::SetTimer { at: at(seconds + 30), timer }]
}
