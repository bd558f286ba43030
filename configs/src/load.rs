//! From files and `--set` to an [`Experiment`]: base, experiment, tier, panel, swept values and
//! `--set`, each over the one before.

use crate::check::constants::{self, Constants};
use crate::check::{cluster, emu, faults, figures, machine, profiles, systems, workload};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::effective;
use crate::experiment::{ConstantNote, Experiment, Point, WorldKind};
use crate::layers::{Layers, Variant};
use crate::section::{Checker, Section};
use crate::source::Sources;
use crate::spec::{EmuSpec, Machine, ServiceTime, Spec, Tier};
use crate::suggest;
use crate::tree::{self, Node, join};
use crate::values;
use platform::system::System;
use std::collections::BTreeMap;
use std::path::Path;

/// Reads and checks an experiment at one tier, with `--set` as typed.
///
/// All tiers of the file are checked, so that a mistake in `full` is found at the desk and not
/// after a night.
pub fn load(path: &Path, tier: Tier, sets: &[String]) -> Result<Experiment, Diagnostics> {
    let layers = Layers::read(path, sets).map_err(Diagnostics::new)?;
    let checker = Checker::new(&layers.sources);
    let loaded = check(&layers, &checker, tier, true);
    for other in Tier::ALL.into_iter().filter(|other| *other != tier) {
        if checker.count() == 0 {
            check(&layers, &checker, other, false);
        }
    }
    let problems = checker.into_problems();
    match loaded {
        Some(experiment) if problems.is_empty() => {
            Ok(Experiment { file: path.to_owned(), sets: sets.to_vec(), ..experiment })
        }
        _ => Err(Diagnostics::new(problems)),
    }
}

/// The service times of a profiles file, by function name.
pub fn service_times(path: &Path) -> Result<BTreeMap<String, ServiceTime>, Diagnostics> {
    let mut sources = Sources::default();
    let index = sources.add_file(path, read(path)?);
    let file = tree::parse(&sources, index).map_err(Diagnostics::new)?;
    let checker = Checker::new(&sources);
    let found = profiles::profiles(&Section::of(&checker, "profiles", &file), &Constants::default());
    let problems = checker.into_problems();
    if problems.is_empty() { Ok(found.service_times) } else { Err(Diagnostics::new(problems)) }
}

fn check(layers: &Layers, checker: &Checker<'_>, tier: Tier, with_sets: bool) -> Option<Experiment> {
    let common = layers.common(tier, with_sets);
    let panels = layers.panels(&common, checker);
    let names: Vec<String> = panels.iter().map(|panel| panel.value.clone()).collect();

    let root = Section::of(checker, "", &common);
    let mut experiment = head(&root, tier, &names);
    experiment.effective = effective::values(layers, &common);

    let mut notes = Vec::new();
    for variant in layers.variants(tier, with_sets, &common, panels, checker) {
        points_of(layers, checker, &variant, &mut experiment, &mut notes);
    }
    for note in notes {
        if !experiment.constants.contains(&note) {
            experiment.constants.push(note);
        }
    }
    Some(experiment).filter(|_| checker.count() == 0)
}

/// What an experiment says about itself.
fn head(root: &Section<'_, '_>, tier: Tier, panels: &[String]) -> Experiment {
    let id = root.get("id", values::text);
    if id.contains(|c: char| !c.is_ascii_alphanumeric()) {
        root.problem("id", "it names files: use letters and digits only, as in \"e04\"");
    }
    Experiment {
        id,
        title: root.get("title", values::text),
        paper: root.optional("paper", values::text),
        question: root.get("question", values::text),
        worlds: worlds(root),
        tier,
        file: Default::default(),
        sets: Vec::new(),
        points: Vec::new(),
        emulated: Vec::new(),
        emulated_seeds: root.section("emu").map_or(0, |emu| emu.get("seeds", values::small)),
        seeds: seeds(root),
        figures: figures::figures(root, panels),
        constants: Vec::new(),
        effective: Vec::new(),
    }
}

fn worlds(root: &Section<'_, '_>) -> Vec<WorldKind> {
    root.required("worlds");
    let named = root.list("worlds", values::text);
    if named.is_empty() {
        root.problem("worlds", "no world that could run it: write [\"sim\"], [\"emu\"] or both");
    }
    let mut found = Vec::new();
    for (word, origin) in named.iter().filter(|(word, _)| !word.is_empty()) {
        match WorldKind::ALL.into_iter().find(|world| world.name() == word) {
            Some(world) => found.push(world),
            None => {
                let hint = suggest::hint(word, WorldKind::ALL.iter().map(|world| world.name()));
                root.checker.problem(*origin, "worlds", format!("no world \"{word}\": {hint}"));
            }
        }
    }
    found
}

fn seeds(root: &Section<'_, '_>) -> Vec<u64> {
    let Some(entry) = root.required("seeds") else { return Vec::new() };
    if entry.node.table().is_some() {
        let Some(section) = root.section("seeds") else { return Vec::new() };
        let (base, n) = (section.get("base", values::whole), section.get("n", values::count));
        section.finish();
        return match base.checked_add(n.into()) {
            Some(end) => (base..end).collect(),
            None => {
                root.problem("seeds", "base + n is out of range");
                Vec::new()
            }
        };
    }
    let seeds: Vec<u64> = root.list("seeds", values::whole).into_iter().map(|(seed, _)| seed).collect();
    if seeds.is_empty() {
        root.problem("seeds", "no seeds: write { base = 1, n = 5 } or a list");
    }
    for (i, seed) in seeds.iter().enumerate() {
        if seeds[..i].contains(seed) {
            root.problem("seeds", format!("seed {seed} is listed twice: its runs would be counted twice"));
        }
    }
    seeds
}

/// The points of one panel and one combination of swept values: one per system.
fn points_of(
    layers: &Layers,
    checker: &Checker<'_>,
    variant: &Variant,
    experiment: &mut Experiment,
    notes: &mut Vec<ConstantNote>,
) {
    let root = Section::of(checker, "", &variant.tree);
    for key in ["base", "id", "title", "paper", "question", "worlds", "seeds", "figures", "panel", "sweep"] {
        root.has(key);
    }
    let mut systems = systems::systems(&root);
    let over = root.entry("override").map(|entry| &entry.node);
    let emu = emu::emu(&root, &systems);
    let (mut emulated, emu) = emu.map_or_else(Default::default, |(systems, emu)| (systems, Some(emu)));
    if let Some(over) = over {
        overrides(checker, over, &mut systems);
        // What is wrong with them was noted just now.
        overrides(&Checker::new(&layers.sources), over, &mut emulated);
    }
    let changes = |key| over.and_then(|over| over.get(key));
    let constants = Constants::default();
    let machine = read_machine(layers, &root, changes("machine"), &constants);
    let profiles = read_profiles(layers, &root, changes("profiles"), &constants);
    let parts = (
        cluster::cluster(&root),
        cluster::keep_alive(&root),
        cluster::placement(&root),
        cluster::sharing(&root),
        cluster::pools(&root),
        workload::workload(&root),
        cluster::output(&root),
    );
    let faults = faults::faults(&root, parts.0.as_ref());
    root.finish();
    notes.extend(constants.into_notes());

    let (
        Some(cluster),
        Some(keep_alive),
        Some(placement),
        Some(sharing),
        Some(pools),
        Some(workload),
        Some(output),
    ) = parts
    else {
        return;
    };
    let (Some(machine), Some(profiles)) = (machine, profiles) else { return };
    let point = |system: System, emu: Option<EmuSpec>| {
        let mut axes = variant.axes.clone();
        axes.push(("system".to_owned(), system.name.clone()));
        let label = axes
            .iter()
            .map(|(axis, value)| if axis.contains('.') { format!("{axis}={value}") } else { value.clone() })
            .collect::<Vec<_>>()
            .join("/");
        let spec = Spec {
            system,
            cluster: cluster.clone(),
            keep_alive: keep_alive.clone(),
            placement,
            sharing: sharing.clone(),
            pools: pools.clone(),
            faults: faults.clone(),
            workload: workload.clone(),
            machine: machine.clone(),
            profiles: profiles.profiles.clone(),
            service_times: profiles.service_times.clone(),
            default_profile: profiles.default_profile.clone(),
            output: output.clone(),
            emu,
        };
        Point { label, axes, spec }
    };
    experiment.points.extend(systems.into_iter().map(|system| point(system, None)));
    experiment.emulated.extend(emulated.into_iter().map(|system| point(system, emu.clone())));
}

fn overrides(checker: &Checker<'_>, over: &Node, systems: &mut [System]) {
    let section = Section::of(checker, "override", over);
    section.has("machine");
    section.has("profiles");
    if let Some(entry) = section.entry("systems") {
        systems::change(checker, systems, &entry.node);
    }
    section.finish();
}

fn read_machine(
    layers: &Layers,
    root: &Section<'_, '_>,
    over: Option<&Node>,
    constants: &Constants,
) -> Option<Machine> {
    let file = layers.file(root, "machine")?;
    let mut tree = file.clone();
    if let Some(over) = over {
        constants::change(&layers.sources, &mut tree, over);
    }
    let section = Section::of(root.checker, "machine", &tree);
    let machine = machine::machine(&section, constants);
    section.finish();
    Some(machine)
}

fn read_profiles(
    layers: &Layers,
    root: &Section<'_, '_>,
    over: Option<&Node>,
    constants: &Constants,
) -> Option<profiles::Profiles> {
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
    Some(profiles::profiles(&Section::of(root.checker, "profiles", &tree), constants))
}

/// Reads a whole file, or says what to do.
pub(crate) fn read(path: &Path) -> Result<String, Diagnostic> {
    std::fs::read_to_string(path).map_err(|error| {
        let message = match error.kind() {
            std::io::ErrorKind::NotFound => "no such file".to_owned(),
            std::io::ErrorKind::InvalidData => "not a text in UTF-8".to_owned(),
            _ => format!("cannot be read: {error}"),
        };
        Diagnostic::file(path, message)
    })
}
