//! What cannot start waits, in order, and not for ever.

use super::*;

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
fn each_node_has_a_queue_of_its_own_where_nodes_are_chosen_first() {
    // Two nodes in turn with room for one: 0 and 1 start, 2 waits on node 0, 3 on node 1. What ends on
    // node 1 serves 3, although 2 has waited longer; 2 is given up at its time, and what ends on node 0
    // then finds nobody.
    let mut config = config("faasd", 1);
    (config.nodes, config.placement) = (2, Placement::RoundRobin);
    let mut p = ControlPlane::new(config);
    assert_eq!(arrive(&mut p, 0, 0, F), [start(0, 0, F, StartKind::Cold)]);
    assert_eq!(arrive(&mut p, 0, 1, F), [start_on(NodeId(1), 1, 1, F, StartKind::Cold)]);
    assert_eq!(arrive(&mut p, 1, 2, F), queued(2, 1));
    assert_eq!(arrive(&mut p, 2, 3, F), queued(3, 2));
    ready(&mut p, 3, 0);
    ready(&mut p, 3, 1);
    assert_eq!(finish(&mut p, 4, 1), [run_on(NodeId(1), 1, 3, StartKind::Warm)]);
    let timer = |ticket| Input::Timer(Timer::Queue { ticket: Ticket(ticket), wait: 1 });
    assert_eq!(step(&mut p, 31, timer(2)), [Command::TimedOut { ticket: Ticket(2) }]);
    assert_eq!(step(&mut p, 32, timer(3)), [], "served in time");
    let timer = Timer::KeepAlive { sandbox: SandboxId(0), generation: 0 };
    assert_eq!(finish(&mut p, 40, 0), [Command::SetTimer { at: at(100), timer }]);
}

#[test]
fn a_ticket_used_again_waits_anew() {
    // Invocation 1 is given up at 31; another one of that ticket comes at 40. The old timer, late,
    // means nothing to it; its own is that of wait 2.
    let mut p = plane("faasd", 1, |_| ());
    arrive(&mut p, 0, 0, F);
    arrive(&mut p, 1, 1, G);
    let timer = |wait| Input::Timer(Timer::Queue { ticket: Ticket(1), wait });
    assert_eq!(step(&mut p, 31, timer(1)), [Command::TimedOut { ticket: Ticket(1) }]);
    arrive(&mut p, 40, 1, G);
    assert_eq!(step(&mut p, 41, timer(1)), []);
    assert_eq!(step(&mut p, 70, timer(2)), [Command::TimedOut { ticket: Ticket(1) }]);
}
