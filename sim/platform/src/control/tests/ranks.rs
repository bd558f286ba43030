//! Where the policy ranks idle sandboxes, the one worth least goes first.

use super::*;

#[test]
fn the_sandbox_worth_least_goes_though_used_last() {
    // Equal sizes; a start of f costs 1 s, of g 10 s, of h 1 s. Under Landlord g, used first, is worth
    // ten times f: h evicts f. The clock is now f's worth, so h is worth two f's, and the next f
    // evicts h; after nine such turns g, still worth ten f's, is as cheap as any and least recently
    // used.
    let mut config = config("faasd", 2);
    config.system.keep_alive = KeepAlive::Landlord;
    config.functions[1].start_cost = Duration::from_secs(10);
    let mut p = ControlPlane::new(config);
    for (ticket, function) in [(0, G), (1, F)] {
        arrive(&mut p, 0, ticket, function);
        ready(&mut p, 1, ticket);
        assert_eq!(finish(&mut p, u64::from(2 + ticket), ticket), [], "no time limit");
    }
    // f (worth 1) goes for the first, what that was (worth 2) for the second, ... worth 9 for the ninth.
    for turn in 1..=9u32 {
        let (seconds, function) = (u64::from(10 * turn), if turn % 2 == 1 { H } else { F });
        let out = arrive(&mut p, seconds, 1 + turn, function);
        assert_eq!(out[0], evict(1, EvictReason::Memory), "turn {turn}");
        ready(&mut p, seconds + 1, 1);
        finish(&mut p, seconds + 2, 1);
    }
    // The tenth turn: g and the last h are both worth ten.
    assert_eq!(arrive(&mut p, 100, 11, F)[0], evict(0, EvictReason::Memory));
}

#[test]
fn memory_pressure_takes_the_sandbox_worth_least_of_that_node() {
    // f on node 0 and g on node 1, each idle; pressure on node 1 takes g's, again nothing.
    let mut config = config("faasd", 2);
    (config.nodes, config.placement) = (2, Placement::RoundRobin);
    config.system.keep_alive = KeepAlive::GreedyDual;
    let mut p = ControlPlane::new(config);
    serve(&mut p, 0, 0, F, 0);
    serve(&mut p, 3, 1, G, 1);
    let pressure = Input::MemoryPressure { node: NodeId(1) };
    let (sandbox, node, reason) = (SandboxId(1), NodeId(1), EvictReason::Memory);
    assert_eq!(step(&mut p, 6, pressure), [Command::Evict { sandbox, node, reason, keep_netns: false }]);
    assert_eq!(step(&mut p, 7, pressure), []);
}
