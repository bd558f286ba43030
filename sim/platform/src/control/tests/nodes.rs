//! Many nodes: where new sandboxes go, and where idle ones are found.

use super::*;

use crate::policy::placement::home_rack;

#[test]
fn a_full_home_rack_spills_and_what_was_spilled_is_used_again() {
    // Two racks of two nodes with room for one: f starts twice at home, twice in the other rack, then
    // waits. What it left in the other rack serves it from there.
    let mut config = config("faasd", 1);
    (config.nodes, config.racks, config.placement) = (4, 2, Placement::RackLocality { spill: true });
    let mut p = ControlPlane::new(config);
    let home = 2 * home_rack(F, 2);
    let away = 2 - home;
    for (ticket, node) in [home, home + 1, away, away + 1].into_iter().enumerate() {
        let ticket = ticket as u32;
        assert_eq!(
            arrive(&mut p, 0, ticket, F),
            [start_on(NodeId(node), ticket, ticket, F, StartKind::Cold)]
        );
        ready(&mut p, 1, ticket);
    }
    assert_eq!(arrive(&mut p, 2, 4, F), queued(4, 2));
    assert_eq!(finish(&mut p, 3, 2), [run_on(NodeId(away), 2, 4, StartKind::Warm)]);
    finish(&mut p, 4, 2);
    assert_eq!(arrive(&mut p, 5, 5, F), [run_on(NodeId(away), 2, 5, StartKind::Warm)]);
}

#[test]
fn in_a_full_cluster_the_least_recently_used_sandbox_of_all_makes_room() {
    // Two nodes with room for one; f, idle on node 0, was used before g on node 1: h goes to node 0.
    let mut config = config("faasd", 1);
    config.nodes = 2;
    let mut p = ControlPlane::new(config);
    serve(&mut p, 0, 0, F, 0);
    assert_eq!(arrive(&mut p, 3, 1, G), [start_on(NodeId(1), 1, 1, G, StartKind::Cold)]);
    ready(&mut p, 4, 1);
    finish(&mut p, 5, 1);
    assert_eq!(arrive(&mut p, 6, 2, H), [evict(0, EvictReason::Memory), start(0, 2, H, StartKind::Cold)]);
}
