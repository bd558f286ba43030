//! From files and `--set` to an [`Experiment`]: base, experiment, tier, panel, swept values and
//! `--set`, each over the one before.

use crate::check::constants::Constants;
use crate::check::figures::Axes;
use crate::check::{cluster, emu, faults, figures, measure, profiles, systems, workload};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::effective;
use crate::experiment::{Experiment, Point, Quantity, WorldKind};
use crate::files::{Files, read_machine, read_profiles};
use crate::form::Form;
use crate::layers::{Layers, Panel, Variant};
use crate::section::{Checker, Section};
use crate::source::Sources;
use crate::spec::{EmuSpec, ServiceTime, Spec, Tier};
use crate::suggest;
use crate::tree::{self, Node, Value};
use crate::typed::Typed;
use crate::values;
use platform::system::System;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Most points an experiment may have: beyond it, a list was probably written by mistake.
const POINT_LIMIT: usize = 100_000;

/// No more combinations are looked at once so many problems are known.
const ENOUGH_PROBLEMS: usize = 50;

/// Reads and checks an experiment at one tier, with `--set` as typed.
///
/// All tiers of the file are checked, so that a mistake in `full` is found at the desk and not
/// after a night.
pub fn load(path: &Path, tier: Tier, sets: &[String]) -> Result<Experiment, Diagnostics> {
    load_typed(path, tier, &Typed::sets(sets))
}

/// [`load`] with everything that can be typed.
pub fn load_typed(path: &Path, tier: Tier, typed: &Typed) -> Result<Experiment, Diagnostics> {
    let layers = Layers::read(path, typed).map_err(Diagnostics::new)?;
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
            Ok(Experiment { file: path.to_owned(), typed: typed.clone(), ..experiment })
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

pub(crate) fn check(
    layers: &Layers,
    checker: &Checker<'_>,
    tier: Tier,
    with_typed: bool,
) -> Option<Experiment> {
    let common = layers.common(tier, with_typed);
    let panels = layers.panels(&common, checker);
    let names: Vec<String> = panels.iter().map(|panel| panel.value.clone()).collect();

    let root = Section::of(checker, "", &common);
    let axes = Axes {
        panels: &names,
        systems: &systems_of_all_tiers(layers, &root),
        swept: layers.swept(&common),
        in_panels: panels.iter().flat_map(Panel::keys).collect(),
    };
    let mut experiment = head(&root, tier, &axes);
    experiment.effective = effective::values(layers, &common);

    let variants = layers.variants(tier, with_typed, &common, panels, checker);
    let too_many = |n: Option<usize>| n.is_none_or(|n| n > POINT_LIMIT);
    let complain = || {
        let origin = common.get("sweep").map_or(common.origin, |node| node.origin);
        checker.problem(origin, "sweep", format!("more than {POINT_LIMIT} points: sweep less at once"));
    };
    if too_many(variants.count()) {
        complain();
        return None;
    }
    let mut files = Files::default();
    let along: BTreeSet<String> = experiment.figures.iter().filter_map(|figure| figure.x.clone()).collect();
    for number in 0..variants.count().unwrap_or(0) {
        points_of(layers, checker, &variants.get(number), &mut files, &along, &mut experiment);
        if checker.count() >= ENOUGH_PROBLEMS {
            break;
        }
        if too_many(Some(experiment.points.len())) {
            complain();
            break;
        }
    }
    for key in &along {
        let numbers = |point: &Point| point.numbers.iter().any(|(known, _)| known == key);
        if checker.count() == 0 && !experiment.points.iter().any(numbers) {
            let origin = common.get("figures").map_or(common.origin, |node| node.origin);
            let message = format!("a figure runs along \"{key}\", whose values are no numbers");
            checker.problem(origin, "figures", message);
        }
    }
    experiment.constants = files.notes;
    if !experiment.worlds.contains(&WorldKind::Sim) {
        experiment.points.clear();
    }
    let mut labels = BTreeSet::new();
    if let Some(double) = experiment.points.iter().find(|point| !labels.insert(point.label.as_str())) {
        let origin = common.get("sweep").map_or(common.origin, |node| node.origin);
        checker.problem(origin, "sweep", format!("two points are named \"{}\"", double.label));
    }
    Some(experiment).filter(|_| checker.count() == 0)
}

/// What an experiment says about itself.
fn head(root: &Section<'_, '_>, tier: Tier, axes: &Axes<'_>) -> Experiment {
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
        typed: Typed::default(),
        points: Vec::new(),
        emulated: Vec::new(),
        is_fitted: root.section("emu").is_some_and(|emu| !emu.list("systems", values::text).is_empty()),
        emulated_seeds: root.section("emu").map_or(0, |emu| emu.get("seeds", values::small)),
        measure: measure::measure(root),
        seeds: seeds(root),
        figures: figures::figures(root, axes),
        constants: Vec::new(),
        effective: Vec::new(),
    }
}

/// Systems that any tier compares: a figure may name one that this tier leaves out.
fn systems_of_all_tiers(layers: &Layers, root: &Section<'_, '_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for tier in Tier::ALL {
        let tree = layers.common(tier, false);
        let Some(Value::List(listed)) = tree.get("systems").map(|node| &node.value) else { continue };
        names.extend(listed.iter().filter_map(|node| values::text(&node.value).ok()));
    }
    names.extend(root.list("systems", values::text).into_iter().map(|(name, _)| name));
    names
}

fn worlds(root: &Section<'_, '_>) -> Vec<WorldKind> {
    root.required("worlds");
    let named = root.list("worlds", values::text);
    root.words("worlds", WorldKind::ALL.map(WorldKind::name));
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
    root.note("seeds", || Form::list(values::whole));
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
    files: &mut Files,
    along: &BTreeSet<String>,
    experiment: &mut Experiment,
) {
    let root = Section::of(checker, "", &variant.tree);
    for key in [
        "base", "id", "title", "paper", "question", "worlds", "seeds", "figures", "measure", "panel", "sweep",
    ] {
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
    let machine = read_machine(layers, &root, changes("machine"), files);
    let profiles = read_profiles(layers, &root, changes("profiles"), files);
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
    if let (Some(workload), Some(profiles)) = (&parts.5, &profiles) {
        workload::agents_exist(&root, workload, &profiles.profiles);
    }
    root.finish();

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
    let numbers: Vec<(String, Quantity)> = along
        .iter()
        .filter_map(|key| Some((key.clone(), figures::number(&variant.tree, &cluster, key)?)))
        .collect();
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
        Point { label, axes, numbers: numbers.clone(), spec }
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
