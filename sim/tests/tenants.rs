//! Whose idle sandboxes may be given to whom.

mod common;
use common::scenario::*;
use common::*;
use platform::records::StartKind::{self, Repurposed, Restored};

/// Functions 0 and 2 are one tenant's, 1 the other's; one call of each, then 0 again.
fn starts(within_tenant: bool, prepopulated: u32) -> Vec<Option<StartKind>> {
    let mut spec = free_spec("t-cxl");
    spec.sharing.within_tenant = within_tenant;
    spec.sharing.tenants = 2;
    spec.system.prepopulated = prepopulated;
    let calls =
        [(0, 0), (10, 1), (20, 2), (30, 0)].map(|(second, function)| call(second * 1000, function, 10));
    kinds(&play_for(&spec, &calls, 40))
}

#[test]
fn without_a_rule_every_idle_sandbox_is_for_everybody() {
    assert_eq!(starts(false, 0), [Some(Restored), Some(Repurposed), Some(Repurposed), Some(Repurposed)]);
}

#[test]
fn a_tenants_sandboxes_are_given_to_its_own_functions_only() {
    assert_eq!(starts(true, 0), [Some(Restored), Some(Restored), Some(Repurposed), Some(Repurposed)]);
}

#[test]
fn prepopulated_sandboxes_are_for_all_tenants() {
    assert_eq!(starts(true, 2), [Some(Repurposed); 4]);
}
