//! Idle sandboxes of other functions stand in.

use super::*;

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
fn a_repurposing_that_finds_no_memory_changes_nothing() {
    // Room for 250 MiB; h needs 200. g runs; f's two sandboxes (50 MiB each) are idle, 0 before 1. Even
    // without them h does not fit beside g: it waits, and f is served by what was used last.
    let mut config = config("t-cxl", 0);
    config.memory_cap = Bytes::from_mib(250);
    config.functions[0].declared = Bytes::from_mib(50);
    config.functions[2].declared = Bytes::from_mib(200);
    let mut p = ControlPlane::new(config);
    for (ticket, function) in [(0, F), (1, F), (2, G)] {
        arrive(&mut p, 0, ticket, function);
        ready(&mut p, 1, ticket);
    }
    finish(&mut p, 2, 0);
    finish(&mut p, 3, 1);
    assert_eq!(arrive(&mut p, 4, 3, H), queued(3, 4));
    assert_eq!(arrive(&mut p, 5, 4, F), [run(1, 4, StartKind::Warm)]);
}

#[test]
fn a_larger_function_takes_one_sandbox_and_evicts_others() {
    // Room for 200 MiB: f and g are idle, f least recently used; h needs 200 MiB. f's becomes h's, and
    // g's goes for the rest.
    let mut config = config("t-cxl", 2);
    config.functions[2].declared = Bytes::from_mib(200);
    let mut p = ControlPlane::new(config);
    for (ticket, function) in [(0, F), (1, G)] {
        arrive(&mut p, 0, ticket, function);
        ready(&mut p, 1, ticket);
    }
    finish(&mut p, 2, 0);
    finish(&mut p, 2, 1);
    let out = arrive(&mut p, 3, 2, H);
    assert_eq!(out, [evict(1, EvictReason::Memory), repurpose(0, Some(F), Layer::Bare, H, 2)]);
    assert_eq!(p.committed(N), Bytes::from_mib(200));
}
