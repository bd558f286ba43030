//! Sandboxes go down by layers, and whoever can use what is left does.

use super::*;

fn demote(sandbox: u32, to: Layer) -> Command {
    Command::Demote { sandbox: SandboxId(sandbox), node: N, to }
}

/// The timer of a sandbox's first or later time, and the command that sets it.
fn timer(sandbox: u32) -> Timer {
    Timer::KeepAlive { sandbox: SandboxId(sandbox), generation: 0 }
}

fn set(sandbox: u32, seconds: u64) -> Command {
    Command::SetTimer { at: at(seconds), timer: timer(sandbox) }
}

/// f and g have runtime 0, h has runtime 1; the layers are kept for 10, 20 and 30 s. f was served in
/// sandbox 0, from 0 to 2 s.
fn after_f() -> ControlPlane {
    let mut config = config("rainbowcake", 4);
    config.functions[2].runtime = 1;
    let mut p = ControlPlane::new(config);
    arrive(&mut p, 0, 0, F);
    ready(&mut p, 1, 0);
    assert_eq!(finish(&mut p, 2, 0), [set(0, 12)]);
    p
}

fn expire(p: &mut ControlPlane, seconds: u64, sandbox: u32) -> Vec<Command> {
    step(p, seconds, Input::Timer(timer(sandbox)))
}

#[test]
fn an_unused_sandbox_loses_its_function_its_runtime_and_itself() {
    let mut p = after_f();
    assert_eq!(p.committed(N), Bytes::from_mib(100));
    assert_eq!(expire(&mut p, 12, 0), [demote(0, Layer::Runtime), set(0, 32)]);
    assert_eq!(p.committed(N), Bytes::from_mib(40), "the runtime's");
    assert_eq!(expire(&mut p, 32, 0), [demote(0, Layer::Bare), set(0, 62)]);
    assert_eq!((p.committed(N), p.idle()), (Bytes::ZERO, 1));
    assert_eq!(expire(&mut p, 62, 0), [evict(0, EvictReason::Expired)]);
    assert_eq!(p.idle(), 0);
}

#[test]
fn a_whole_sandbox_serves_its_function_only() {
    let mut p = after_f();
    assert_eq!(arrive(&mut p, 3, 1, G), [start(1, 1, G, StartKind::Cold)]);
    assert_eq!(arrive(&mut p, 4, 2, F), [run(0, 2, StartKind::Warm)]);
}

#[test]
fn a_runtime_serves_any_function_of_it() {
    let mut p = after_f();
    expire(&mut p, 12, 0);
    assert_eq!(arrive(&mut p, 13, 1, H), [start(1, 1, H, StartKind::Cold)], "h's runtime is another");
    assert_eq!(arrive(&mut p, 14, 2, G), [repurpose(0, Some(F), Layer::Runtime, G, 2)]);
    assert_eq!(p.committed(N), Bytes::from_mib(200), "all of h's and g's");
    // g's sandbox is whole again: 10 s from its use. The timer of 32 s comes first and is put off.
    assert_eq!(ready(&mut p, 15, 0), [run(0, 2, StartKind::Repurposed)]);
    assert_eq!(finish(&mut p, 25, 0), []);
    assert_eq!(expire(&mut p, 32, 0), [set(0, 35)]);
    assert_eq!(expire(&mut p, 35, 0), [demote(0, Layer::Runtime), set(0, 55)]);
    // f is served by the runtime it left behind.
    assert_eq!(arrive(&mut p, 36, 3, F), [repurpose(0, Some(G), Layer::Runtime, F, 3)]);
}

#[test]
fn a_bare_sandbox_serves_any_function_but_a_runtime_is_taken_first() {
    // h's sandbox is down to h's runtime (until 63 s) while f's is bare (until 62 s): h takes the
    // runtime, the next h the bare one.
    let mut p = after_f();
    expire(&mut p, 12, 0);
    arrive(&mut p, 15, 1, H);
    expire(&mut p, 32, 0);
    ready(&mut p, 32, 1);
    assert_eq!(finish(&mut p, 33, 1), [set(1, 43)]);
    assert_eq!(expire(&mut p, 43, 1), [demote(1, Layer::Runtime), set(1, 63)]);
    assert_eq!(arrive(&mut p, 44, 2, H), [repurpose(1, Some(H), Layer::Runtime, H, 2)]);
    assert_eq!(arrive(&mut p, 45, 3, H), [repurpose(0, None, Layer::Bare, H, 3)]);
    assert_eq!(p.committed(N), Bytes::from_mib(200));
}

#[test]
fn a_runtime_that_is_taken_over_counts_whole_again() {
    // Room for 140 MiB. f's sandbox, down to its runtime's 40 MiB, becomes g's with 100, so that h must
    // wait until g has ended; then g's makes room for it.
    let mut config = config("rainbowcake", 0);
    config.memory_cap = Bytes::from_mib(140);
    let mut p = ControlPlane::new(config);
    serve(&mut p, 0, 0, F, 0);
    assert_eq!(expire(&mut p, 12, 0), [demote(0, Layer::Runtime), set(0, 32)]);
    assert_eq!(arrive(&mut p, 13, 1, G), [repurpose(0, Some(F), Layer::Runtime, G, 1)]);
    assert_eq!(arrive(&mut p, 14, 2, H), queued(2, 14));
    ready(&mut p, 15, 0);
    let out = finish(&mut p, 16, 0);
    assert_eq!(out[out.len() - 2..], [evict(0, EvictReason::Memory), start(0, 2, H, StartKind::Cold)]);
}
