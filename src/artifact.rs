//! `trenvx artifact`: the generated tables of the artifact appendix.

use crate::common::{Ended, Folders};
use crate::report::references;
use anyhow::Context;
use clap::Args;
use configs::Tier;
use figures::artifact::{Listed, between_markers, claims_table, experiments_table};
use figures::reference::Reference;
use std::path::PathBuf;

/// Write the tables of claims and experiments into the artifact appendix, between their markers.
#[derive(Debug, Args)]
pub struct ArtifactArgs {
    /// The document.
    #[arg(default_value = "paper-artifact.md")]
    document: PathBuf,
    /// Only say whether they are up to date; exit with 1 if not.
    #[arg(long)]
    check: bool,
}

/// Writes them, or says whether they are stale.
pub fn run(folders: &Folders, args: &ArtifactArgs) -> anyhow::Result<()> {
    let root = folders.configs()?;
    let claims = configs::claims::load(&root)?;
    let mut experiments = Vec::new();
    for listed in configs::list(&root)? {
        let experiment = configs::load(&listed.path, Tier::Kick, &[])?;
        experiments.push(Listed { id: experiment.id, title: experiment.title, paper: experiment.paper });
    }
    let references = Reference::all(&references(folders)?)?;
    let path = &args.document;
    let old = std::fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let mut new = old.clone();
    for (name, table) in [
        ("claims", claims_table(&claims)),
        ("experiments", experiments_table(&experiments, &claims, references.first())),
    ] {
        new = between_markers(&new, name, &table).with_context(|| {
            format!(
                "{}: no markers <!-- generated: {name} --> and <!-- end of generated text -->",
                path.display()
            )
        })?;
    }
    if new == old {
        return Ok(());
    }
    if args.check {
        let message = format!("{} is stale: run trenvx artifact", path.display());
        return Err(Ended { code: 1, message }.into());
    }
    std::fs::write(path, new).with_context(|| format!("{}: cannot be written", path.display()))?;
    println!("{}", path.display());
    Ok(())
}
