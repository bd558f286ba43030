//! The shipped experiments can be played: every workload is built, every function has a profile.

use configs::spec::WorkloadSpec;
use configs::{Tier, list, load};
use runs::build_workload;
use std::path::Path;

/// Invocations that a drawn workload is built with here.
const MOST: u64 = 100_000;

#[test]
fn every_shipped_workload_is_built() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let mut built = Vec::new();
    for listed in list(&root).unwrap() {
        for tier in Tier::ALL {
            let experiment = load(&listed.path, tier, &[]).unwrap_or_else(|error| panic!("{error}"));
            for point in &experiment.points {
                let same = |(name, spec): &(String, _)| *name == listed.id && *spec == point.spec.workload;
                if built.iter().any(same) {
                    continue;
                }
                let mut spec = point.spec.clone();
                // The large ones would fill this machine's memory: their shape is built, not their length.
                if let WorkloadSpec::Zipf { invocations, .. } = &mut spec.workload {
                    *invocations = (*invocations).min(MOST);
                }
                let workload = build_workload(&spec, 1).unwrap_or_else(|error| panic!("{error}"));
                workload.validate().unwrap();
                if listed.id == "e09" && tier == Tier::Full {
                    assert_eq!((workload.functions.len(), workload.invocations.len()), (500, 3_037_902));
                }
                built.push((listed.id.clone(), point.spec.workload.clone()));
            }
        }
    }
    assert!(built.len() >= 6, "{built:?}");
}
