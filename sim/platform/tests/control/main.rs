//! The whole control plane, played by a small world that checks every command it is given.

mod bounds;
mod chance;
mod clock;
mod golden;
mod world;

use platform::policy::Placement;
use platform::system::KeepAlive;

/// Every keep-alive policy.
const KEEP_ALIVES: [KeepAlive; 11] = [
    KeepAlive::None,
    KeepAlive::FixedTtl,
    KeepAlive::FixedTtlFromStart,
    KeepAlive::Lru,
    KeepAlive::Layers,
    KeepAlive::HybridHistogram,
    KeepAlive::GreedyDual,
    KeepAlive::GreedyDualFreq,
    KeepAlive::GreedyDualSize,
    KeepAlive::Landlord,
    KeepAlive::Oracle,
];

/// Every placement, with the word for it.
const PLACEMENTS: [(&str, Placement); 8] = [
    ("sandbox-aware", Placement::SandboxAware),
    ("rack-locality (stay)", Placement::RackLocality { spill: false }),
    ("rack-locality (spill)", Placement::RackLocality { spill: true }),
    ("hash-affinity", Placement::HashAffinity { bound_permille: 1250 }),
    ("round-robin", Placement::RoundRobin),
    ("random", Placement::Random),
    ("least-loaded", Placement::LeastLoaded),
    ("power-of-two", Placement::PowerOfTwo),
];

#[test]
fn no_policy_is_left_out() {
    assert_eq!(KEEP_ALIVES.len(), KeepAlive::WORDS.len());
    for entry in platform::policy::placement::PLACEMENTS {
        assert!(PLACEMENTS.iter().any(|(word, _)| word.starts_with(entry.name)), "{}", entry.name);
    }
}
