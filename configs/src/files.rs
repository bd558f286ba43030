//! Machines and profiles of many points: each file is read once for all points that read it alike.

use crate::check::constants::{self, Constants};
use crate::check::{machine, profiles};
use crate::experiment::ConstantNote;
use crate::layers::Layers;
use crate::section::Section;
use crate::spec::{Machine, ServiceTime};
use crate::suggest;
use crate::tree::{Node, join};
use platform::Profile;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Readings that are kept for the next combination.
const KEPT_FILES: usize = 64;

/// What files of constants say, read once for all points that read them alike.
#[derive(Default)]
pub(crate) struct Files {
    machines: BTreeMap<String, Machine>,
    profiles: BTreeMap<String, SharedProfiles>,
    /// Every constant of any point, in the order of reading.
    pub notes: Vec<ConstantNote>,
    noted: BTreeSet<ConstantNote>,
}

/// [`profiles::Profiles`] of many points.
#[derive(Clone)]
pub(crate) struct SharedProfiles {
    pub profiles: Arc<BTreeMap<String, Profile>>,
    pub service_times: Arc<BTreeMap<String, ServiceTime>>,
    pub default_profile: String,
}

impl Files {
    fn note(&mut self, constants: Constants) {
        for note in constants.into_notes() {
            if !self.noted.contains(&note) {
                self.noted.insert(note.clone());
                self.notes.push(note);
            }
        }
    }
}

/// What decides how a file of constants is read: its path, and what is written over it, with places.
fn reading(root: &Section<'_, '_>, key: &'static str, over: Option<&Node>) -> String {
    format!("{:?} {over:?}", root.entry(key).map(|entry| &entry.node))
}

fn kept<T: Clone>(known: &mut BTreeMap<String, T>, reading: String, value: &T) {
    if known.len() >= KEPT_FILES {
        known.clear();
    }
    known.insert(reading, value.clone());
}

pub(crate) fn read_machine(
    layers: &Layers,
    root: &Section<'_, '_>,
    over: Option<&Node>,
    files: &mut Files,
) -> Option<Machine> {
    let reading = reading(root, "machine", over);
    if let Some(known) = files.machines.get(&reading) {
        return Some(known.clone());
    }
    let mut tree = layers.file(root, "machine")?.clone();
    if let Some(over) = over {
        constants::change(&layers.sources, &mut tree, over);
    }
    let constants = Constants::default();
    let section = Section::of(root.checker, "machine", &tree);
    let machine = machine::machine(&section, &constants);
    section.finish();
    files.note(constants);
    kept(&mut files.machines, reading, &machine);
    Some(machine)
}

pub(crate) fn read_profiles(
    layers: &Layers,
    root: &Section<'_, '_>,
    over: Option<&Node>,
    files: &mut Files,
) -> Option<SharedProfiles> {
    let reading = reading(root, "profiles", over);
    if let Some(known) = files.profiles.get(&reading) {
        return Some(known.clone());
    }
    let file = layers.file(root, "profiles")?;
    let mut tree = file.clone();
    if let Some(over) = over {
        let known: Vec<&str> = file.table().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        for (name, entry) in over.table().into_iter().flatten() {
            if !known.contains(&name.as_str()) {
                let hint = suggest::hint(name, known.iter().copied());
                root.checker.problem(
                    entry.key_origin,
                    &join("override.profiles", name),
                    format!("no profile \"{name}\": {hint}"),
                );
                return None;
            }
        }
        constants::change(&layers.sources, &mut tree, over);
    }
    let constants = Constants::default();
    let read = profiles::profiles(&Section::of(root.checker, "profiles", &tree), &constants);
    files.note(constants);
    let shared = SharedProfiles {
        profiles: Arc::new(read.profiles),
        service_times: Arc::new(read.service_times),
        default_profile: read.default_profile,
    };
    kept(&mut files.profiles, reading, &shared);
    Some(shared)
}
