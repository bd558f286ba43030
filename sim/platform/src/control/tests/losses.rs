//! Sandboxes and nodes are lost, and nodes come back.

use super::*;

fn lost(node: NodeId, sandbox: u32, ticket: Option<u32>) -> Command {
    Command::Lost { sandbox: SandboxId(sandbox), node, ticket: ticket.map(Ticket) }
}

fn lose(plane: &mut ControlPlane, seconds: u64, sandbox: u32) -> Vec<Command> {
    step(plane, seconds, Input::SandboxLost { sandbox: SandboxId(sandbox) })
}

/// Two nodes that take turns, with room for `rooms` each.
fn two_nodes(name: &str, rooms: u64, prepopulated: u32) -> ControlPlane {
    let mut config = config(name, rooms);
    (config.nodes, config.placement) = (2, Placement::RoundRobin);
    config.system.prepopulated = prepopulated;
    config.system.prepopulated_memory = Bytes::from_mib(50);
    ControlPlane::new(config)
}

#[test]
fn a_sandbox_lost_while_starting_running_or_idle_is_told_with_whom_it_served() {
    for (upto, ticket) in [(0, Some(0)), (1, Some(0)), (2, None)] {
        let mut p = plane("faasd", 1, |s| s.start_slots = 1);
        arrive(&mut p, 0, 0, F);
        if upto > 0 {
            ready(&mut p, 1, 0);
        }
        if upto > 1 {
            finish(&mut p, 2, 0);
        }
        assert_eq!(lose(&mut p, 3, 0), [lost(N, 0, ticket)]);
        assert_eq!((p.idle(), p.busy(), p.committed(N)), (0, 0, Bytes::ZERO));
        assert_eq!(lose(&mut p, 4, 0), [], "it is gone already");
        // Memory and slot are free again, and the old timer of the name means nothing.
        assert_eq!(arrive(&mut p, 5, 1, F), [start(0, 1, F, StartKind::Cold)]);
        ready(&mut p, 6, 0);
        finish(&mut p, 7, 0);
        let timer = Timer::KeepAlive { sandbox: SandboxId(0), generation: 0 };
        assert_eq!(step(&mut p, 62, Input::Timer(timer)), []);
        assert_eq!(p.idle(), 1);
    }
}

#[test]
fn a_loss_makes_room_for_those_who_wait() {
    let mut p = plane("faasd", 1, |_| ());
    arrive(&mut p, 0, 0, F);
    assert_eq!(arrive(&mut p, 1, 1, G), queued(1, 1));
    assert_eq!(lose(&mut p, 2, 0), [lost(N, 0, Some(0)), start(0, 1, G, StartKind::Cold)]);
}

#[test]
fn who_waited_for_a_lost_node_waits_elsewhere_no_longer_than_before() {
    // 0 starts on node 0, 1 on node 1, 2 waits on node 0 from 1 s on. Node 0 is lost at 5 s: 2 waits on
    // node 1, without a word, and either gets what ends there or is given up at 31 s, not at 35.
    let begin = || {
        let mut p = two_nodes("faasd", 1, 0);
        arrive(&mut p, 0, 0, F);
        arrive(&mut p, 0, 1, F);
        assert_eq!(arrive(&mut p, 1, 2, F), queued(2, 1));
        assert_eq!(step(&mut p, 5, Input::NodeLost { node: N }), [lost(N, 0, Some(0))]);
        assert_eq!(step(&mut p, 5, Input::NodeLost { node: N }), [], "it is gone already");
        ready(&mut p, 6, 1);
        p
    };
    let timer = Input::Timer(Timer::Queue { ticket: Ticket(2), wait: 1 });
    let mut p = begin();
    assert_eq!(finish(&mut p, 10, 1), [run_on(NodeId(1), 1, 2, StartKind::Warm)]);
    assert_eq!(step(&mut p, 31, timer), []);
    let mut p = begin();
    assert_eq!(step(&mut p, 31, timer), [Command::TimedOut { ticket: Ticket(2) }]);
}

#[test]
fn who_comes_while_all_nodes_are_down_starts_on_the_first_that_is_back() {
    // 0 waits for node 0 and 1 for node 1. Node 1 comes back: its own queue first, then 0 waits there
    // too, so that node 0 finds nobody.
    let mut p = two_nodes("faasd", 1, 0);
    step(&mut p, 0, Input::NodeLost { node: NodeId(0) });
    step(&mut p, 0, Input::NodeLost { node: NodeId(1) });
    assert_eq!(arrive(&mut p, 1, 0, F), queued(0, 1));
    assert_eq!(arrive(&mut p, 1, 1, G), queued(1, 1));
    let out = step(&mut p, 2, Input::NodeJoined { node: NodeId(1) });
    assert_eq!(out, [start_on(NodeId(1), 0, 1, G, StartKind::Cold)], "there is room for one");
    assert_eq!(step(&mut p, 3, Input::NodeJoined { node: NodeId(0) }), []);
    ready(&mut p, 4, 0);
    assert_eq!(finish(&mut p, 5, 0).last(), Some(&start_on(NodeId(1), 0, 0, F, StartKind::Cold)));
}

#[test]
fn a_lost_node_gets_nothing_until_it_is_back_as_at_the_beginning() {
    // Each node has one prepopulated sandbox of 50 MiB: 0 on node 0, 1 on node 1.
    let mut p = two_nodes("t-cxl", 2, 1);
    let back = Input::NodeJoined { node: N };
    assert_eq!(step(&mut p, 0, back), [], "it is there already");
    assert_eq!((p.idle(), p.committed(N)), (2, Bytes::from_mib(50)));
    assert_eq!(step(&mut p, 1, Input::NodeLost { node: N }), [lost(N, 0, None)]);
    assert_eq!((p.idle(), p.committed(N)), (1, Bytes::ZERO));
    let node = |out: &[Command]| match out {
        [Command::Repurpose { node, .. } | Command::Start { node, .. }] => node.0,
        other => panic!("{other:?}"),
    };
    let chosen: Vec<u32> = (0..2).map(|ticket| node(&arrive(&mut p, 2, ticket, F))).collect();
    assert_eq!(chosen, [1, 1]);
    assert_eq!(step(&mut p, 3, back), []);
    assert_eq!((p.idle(), p.committed(N)), (1, Bytes::from_mib(50)));
    assert_eq!(arrive(&mut p, 4, 2, F), [repurpose(2, None, Layer::Bare, F, 2)]);
}
