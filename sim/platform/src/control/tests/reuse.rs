//! A sandbox of the function itself is used again, until it is given up.

use super::*;

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
