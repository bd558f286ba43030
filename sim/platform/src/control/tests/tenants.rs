//! Where sharing stops at the tenant, repurposing does.

use super::*;

/// f and h are of tenant 0, g is of tenant 1; one prepopulated sandbox of 50 MiB.
fn two_tenants(rooms: u64) -> ControlPlane {
    let mut config = config("t-cxl", rooms);
    config.share_within_tenant = true;
    config.functions[1].tenant = 1;
    (config.system.prepopulated, config.system.prepopulated_memory) = (1, Bytes::from_mib(50));
    ControlPlane::new(config)
}

#[test]
fn a_sandbox_stays_with_its_tenant_and_a_prepopulated_one_serves_any() {
    let mut p = two_tenants(4);
    // The prepopulated one is nobody's: f's first. It is now tenant 0's, so g needs a new one.
    assert_eq!(arrive(&mut p, 0, 0, F), [repurpose(0, None, Layer::Bare, F, 0)]);
    ready(&mut p, 1, 0);
    finish(&mut p, 2, 0);
    assert_eq!(arrive(&mut p, 3, 1, G), [start(1, 1, G, StartKind::Restored)]);
    ready(&mut p, 4, 1);
    finish(&mut p, 5, 1);
    // h is tenant 0's, so is f's sandbox; g's, though there, is not for the next h.
    assert_eq!(arrive(&mut p, 6, 2, H), [repurpose(0, Some(F), Layer::Bare, H, 2)]);
    assert_eq!(arrive(&mut p, 7, 3, H), [start(2, 3, H, StartKind::Restored)]);
}

#[test]
fn memory_of_another_tenant_is_reclaimed_not_repurposed() {
    // Room for one: f has taken the prepopulated sandbox and is idle; g evicts it and starts anew.
    let mut p = two_tenants(1);
    serve(&mut p, 0, 0, F, 0);
    let out = arrive(&mut p, 3, 1, G);
    assert_eq!(out, [evict(0, EvictReason::Memory), start(0, 1, G, StartKind::Restored)]);
}
