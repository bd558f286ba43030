//! `trenvx systems` and `trenvx policies`: the registries, as tables.

use platform::policy::keep_alive::KEEP_ALIVES;
use platform::policy::placement::PLACEMENTS;
use platform::system::SYSTEMS;

/// Prints the systems.
pub fn systems() -> anyhow::Result<()> {
    for entry in SYSTEMS {
        let system = entry.system();
        println!("{}\n    {}", entry.name, entry.about);
        println!(
            "    isolation {:?}, obtained by {:?}, cgroup {:?}; state {:?}; keep-alive {:?}; {} start slots",
            system.isolation,
            system.isolating,
            system.cgroup,
            system.state,
            system.keep_alive,
            system.start_slots
        );
        println!("    source: {}\n", entry.source);
    }
    Ok(())
}

/// Prints the policies.
pub fn policies() -> anyhow::Result<()> {
    for (question, entries) in [("keep-alive", KEEP_ALIVES), ("placement", PLACEMENTS)] {
        println!("{question}");
        for entry in entries {
            println!("  {:<16} {}\n  {:<16} source: {}", entry.name, entry.about, "", entry.source);
        }
        println!();
    }
    Ok(())
}
