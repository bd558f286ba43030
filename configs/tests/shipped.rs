//! The files in this folder: they load, they explain themselves, and they say where numbers come from.

mod common;

use common::{Folder, HEAD, shipped};
use configs::{Tier, WorldKind};
use std::collections::BTreeSet;
use std::fs;

#[test]
fn every_experiment_loads_at_every_tier() {
    let all = configs::list(&shipped()).unwrap();
    assert!(!all.is_empty());
    for listed in all {
        for tier in Tier::ALL {
            let experiment = configs::load(&listed.path, tier, &[]).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(experiment.id, listed.id, "{}: the id must be the file's", listed.path.display());
            let simulated = experiment.worlds.contains(&WorldKind::Sim);
            assert_eq!(!experiment.points.is_empty() && !experiment.figures.is_empty(), simulated);
            assert!(simulated || experiment.measure.is_some());
            let labels: BTreeSet<_> = experiment.points.iter().map(|point| &point.label).collect();
            assert_eq!(labels.len(), experiment.points.len(), "labels are unique");
        }
    }
}

#[test]
fn the_base_alone_is_a_whole_experiment() {
    Folder::new().load("", &[]).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn every_key_that_the_base_only_describes_is_accepted() {
    let base = fs::read_to_string(shipped().join("base.toml")).unwrap();
    // Blocks of "#:" lines: what follows one [table] up to the next is loaded on its own.
    let mut blocks: Vec<String> = vec![String::new()];
    for line in base.lines() {
        let Some(described) = line.strip_prefix("#:") else { continue };
        if ["[workload", "[placement", "[measure"]
            .iter()
            .any(|table| described.trim_start().starts_with(table))
        {
            blocks.push(String::new());
        }
        if described.trim_start().starts_with("id =") {
            blocks.push(String::new());
        }
        let block = blocks.last_mut().unwrap();
        block.push_str(described.trim_start());
        block.push('\n');
    }
    assert!(blocks.len() > 10, "the base describes every workload and placement");
    let folder = Folder::new();
    for block in blocks {
        let block = block.replace("base = \"base.toml\"", "base = \"../base.toml\"");
        let text = if block.contains("id = ") { block } else { format!("{HEAD}{block}") };
        folder.load_whole(&text, Tier::Kick, &[]).unwrap_or_else(|error| panic!("{error}\n---\n{text}"));
    }
}

#[test]
fn what_is_assumed_says_why() {
    let experiment = Folder::new().load("", &[]).unwrap();
    let machine: Vec<_> =
        experiment.constants.iter().filter(|note| note.key.starts_with("machine.")).collect();
    let spec = serde_json::to_value(&experiment.points[0].spec.machine).unwrap();
    let constants: usize =
        spec.as_object().unwrap().values().map(|group| group.as_object().unwrap().len()).sum();
    assert_eq!(machine.len(), constants, "every constant of a machine is in its file");
    for note in machine {
        assert!(!note.source.is_empty(), "{}", note.key);
        assert!(!note.assumed || note.why.is_some(), "{}", note.key);
    }
}
