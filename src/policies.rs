//! `trenvx systems` and `trenvx policies`: the registries, as tables.

use anyhow::bail;
use clap::Args;
use platform::policy::PolicyEntry;
use platform::policy::keep_alive::KEEP_ALIVES;
use platform::policy::placement::PLACEMENTS;
use platform::system::{SYSTEMS, SystemEntry};

/// Which entries to show.
#[derive(Debug, Args)]
pub struct NamesArgs {
    /// Only these; all if none is named.
    names: Vec<String>,
}

/// Prints the systems.
///
/// # Errors
/// If a name is not known.
pub fn systems(args: &NamesArgs) -> anyhow::Result<()> {
    check(&args.names, "system", SYSTEMS.iter().map(|entry| entry.name))?;
    let shown = |entry: &&SystemEntry| args.names.is_empty() || args.names.iter().any(|n| n == entry.name);
    for entry in SYSTEMS.iter().filter(shown) {
        let system = entry.system();
        println!("{}\n    {}", entry.name, entry.about);
        println!(
            "    isolation {}, obtained by {}, cgroup {}; state {}, pages {}, dedup {}; keep-alive {}; {} start slots",
            system.isolation.word(),
            system.isolating.word(),
            system.cgroup.word(),
            system.state.word(),
            system.pages.word(),
            system.dedup.word(),
            system.keep_alive.word(),
            system.start_slots
        );
        println!("    source: {}\n", entry.source);
    }
    Ok(())
}

/// Prints the policies.
///
/// # Errors
/// If a name is not known.
pub fn policies(args: &NamesArgs) -> anyhow::Result<()> {
    let tables = [("keep-alive", KEEP_ALIVES), ("placement", PLACEMENTS)];
    check(&args.names, "policy", tables.iter().flat_map(|(_, entries)| entries.iter().map(|e| e.name)))?;
    let shown = |entry: &&PolicyEntry| args.names.is_empty() || args.names.iter().any(|n| n == entry.name);
    for (question, entries) in tables {
        if !entries.iter().any(|entry| shown(&entry)) {
            continue;
        }
        println!("{question}");
        for entry in entries.iter().filter(shown) {
            println!("  {:<20} {}\n  {:<20} source: {}", entry.name, entry.about, "", entry.source);
        }
        println!();
    }
    Ok(())
}

fn check<'a>(
    names: &[String],
    what: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> anyhow::Result<()> {
    for name in names {
        if !known.clone().any(|known| known == name) {
            bail!("no {what} \"{name}\": {}", configs::hint(name, known));
        }
    }
    Ok(())
}
