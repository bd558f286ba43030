//! Sandboxes made before they are asked for.

use super::*;

/// f arrives at 0, 600 and 1200 s, is served in 2 s, and with that is known to be regular: its
/// sandbox is given up, another one is to be made at 1200 + 0.9 x 9 min = 1686 s and kept for
/// 1.1 x 11 min = 726 s.
fn after_three(rooms: u64) -> ControlPlane {
    let mut config = config("faasd", rooms);
    config.system.keep_alive = KeepAlive::HybridHistogram;
    let mut p = ControlPlane::new(config);
    serve(&mut p, 0, 0, F, 0);
    arrive(&mut p, 600, 1, F);
    assert_eq!(finish(&mut p, 602, 0), []);
    arrive(&mut p, 1200, 2, F);
    let timer = Command::SetTimer { at: at(1686), timer: TIMER };
    assert_eq!(finish(&mut p, 1202, 0), [evict(0, EvictReason::Expired), timer]);
    p
}

/// Three arrivals and the pre-warm itself: the fourth generation.
const TIMER: Timer = Timer::PreWarm { function: F, generation: 4 };

const PRE_WARM: Command = Command::Start {
    sandbox: SandboxId(0),
    node: N,
    function: F,
    ticket: None,
    kind: StartKind::Cold,
    pooled_netns: false,
};

#[test]
fn a_sandbox_is_made_in_time_and_kept_as_long_as_was_said() {
    let mut p = after_three(1);
    assert_eq!(step(&mut p, 1686, Input::Timer(TIMER)), [PRE_WARM]);
    assert_eq!((p.idle(), p.busy()), (0, 1));
    let timer = Timer::KeepAlive { sandbox: SandboxId(0), generation: 1 };
    assert_eq!(ready(&mut p, 1687, 0), [Command::SetTimer { at: at(2412), timer }]);
    assert_eq!((p.idle(), p.busy()), (1, 0));
    assert_eq!(arrive(&mut p, 1800, 3, F), [run(0, 3, StartKind::Warm)]);
}

#[test]
fn one_that_nobody_asks_for_expires() {
    let mut p = after_three(1);
    step(&mut p, 1686, Input::Timer(TIMER));
    ready(&mut p, 1687, 0);
    let timer = Timer::KeepAlive { sandbox: SandboxId(0), generation: 1 };
    assert_eq!(step(&mut p, 2412, Input::Timer(timer)), [evict(0, EvictReason::Expired)]);
}

#[test]
fn an_arrival_before_it_makes_it_superfluous() {
    let mut p = after_three(2);
    assert_eq!(arrive(&mut p, 1500, 3, F), [start(0, 3, F, StartKind::Cold)]);
    assert_eq!(step(&mut p, 1686, Input::Timer(TIMER)), []);
}

#[test]
fn an_idle_sandbox_makes_it_superfluous() {
    // The arrival of 600 s takes long, so that of 1200 s has a sandbox of its own, after which the
    // pre-warm is set. The long one ends at 1690 s, too late for a pre-warm: its sandbox is kept, until
    // 1200 + 726 s. The timer comes late, and finds it.
    let mut config = config("faasd", 2);
    config.system.keep_alive = KeepAlive::HybridHistogram;
    let mut p = ControlPlane::new(config);
    serve(&mut p, 0, 0, F, 0);
    arrive(&mut p, 600, 1, F);
    serve(&mut p, 1200, 2, F, 1);
    let timer = Timer::KeepAlive { sandbox: SandboxId(0), generation: 1 };
    assert_eq!(finish(&mut p, 1690, 0), [Command::SetTimer { at: at(1926), timer }]);
    assert_eq!(step(&mut p, 1700, Input::Timer(TIMER)), []);
}

#[test]
fn nobody_makes_room_for_it() {
    // g has taken the only room: while it runs and when it is idle, f is not pre-warmed.
    let mut p = after_three(1);
    serve(&mut p, 1300, 3, G, 0);
    assert_eq!(p.idle(), 1);
    assert_eq!(step(&mut p, 1686, Input::Timer(TIMER)), []);
    let mut p = after_three(1);
    arrive(&mut p, 1300, 3, G);
    assert_eq!(step(&mut p, 1686, Input::Timer(TIMER)), []);
}

#[test]
fn one_that_is_ready_serves_who_waits_and_frees_its_start_slot() {
    // One slot. f's pre-warm holds it when f and g arrive, so both wait. Ready, it runs f at once, and
    // g starts in the slot.
    let mut config = config("faasd", 4);
    (config.system.keep_alive, config.system.start_slots) = (KeepAlive::HybridHistogram, 1);
    let mut p = ControlPlane::new(config);
    serve(&mut p, 0, 0, F, 0);
    for (seconds, ticket) in [(600, 1), (1200, 2)] {
        arrive(&mut p, seconds, ticket, F);
        finish(&mut p, seconds + 2, 0);
    }
    assert_eq!(step(&mut p, 1686, Input::Timer(TIMER)), [PRE_WARM]);
    assert_eq!(arrive(&mut p, 1687, 3, F), queued(3, 1687));
    assert_eq!(arrive(&mut p, 1687, 4, G), queued(4, 1687));
    assert_eq!(ready(&mut p, 1688, 0), [run(0, 3, StartKind::Warm), start(1, 4, G, StartKind::Cold)]);
}
