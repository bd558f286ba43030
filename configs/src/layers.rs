//! The files of one load and how they lie on each other.

use crate::check::constants;
use crate::diagnostic::Diagnostic;
use crate::load::read;
use crate::section::{Checker, Section};
use crate::set;
use crate::source::{Sources, resolve};
use crate::spec::Tier;
use crate::suggest;
use crate::sweep::{self, Axis};
use crate::tree::{self, Node, Value, join};
use crate::typed::Typed;
use crate::values;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Keys of files whose content is part of the configuration.
const FILES: [&str; 2] = ["machine", "profiles"];

/// Keys that a panel may change; everything else is the same in all of an experiment's panels.
pub(crate) const PANEL_KEYS: [&str; 13] = [
    "name",
    "cluster",
    "keep_alive",
    "placement",
    "sharing",
    "pools",
    "faults",
    "churn",
    "workload",
    "output",
    "override",
    "machine",
    "profiles",
];

/// What was read.
pub(crate) struct Layers {
    pub sources: Sources,
    base: Node,
    experiment: Node,
    tiers: BTreeMap<Tier, Node>,
    sets: Vec<Node>,
    sweeps: Vec<sweep::Typed>,
    files: BTreeMap<PathBuf, Node>,
}

/// A value of the axis `panel`, and its layer.
pub(crate) struct Panel {
    pub value: String,
    layer: Node,
}

/// Every combination of panel and swept values; each is made when it is asked for, as a tree is large.
pub(crate) struct Variants {
    /// Name and tree of each panel; one without a name where there are none.
    panels: Vec<(Option<String>, Node)>,
    axes: Vec<Axis>,
}

/// One combination of panel and swept values.
pub(crate) struct Variant {
    /// Name and value of each axis, without `system`.
    pub axes: Vec<(String, String)>,
    /// Everything in force.
    pub tree: Node,
}

impl Layers {
    /// Reads the experiment file, the base under it, what they name, and what was typed.
    pub fn read(path: &Path, typed: &Typed) -> Result<Self, Vec<Diagnostic>> {
        Self::of_text(path, read(path).map_err(|problem| vec![problem])?, typed)
    }

    /// The same of an experiment that is not on the disk; `path` is where it would be.
    pub fn of_text(path: &Path, text: String, typed: &Typed) -> Result<Self, Vec<Diagnostic>> {
        let mut sources = Sources::default();
        let mut problems = Vec::new();
        let index = sources.add_file(path, text);
        let mut experiment = tree::parse(&sources, index)?;
        let base = read_base(&mut sources, path, &experiment)?;
        let tiers = take_tiers(&sources, &mut experiment, &mut problems);
        let (mut sets, mut sweeps) = (Vec::new(), Vec::new());
        for (option, as_typed) in typed.options() {
            let done = match option {
                "--set" => set::parse(&mut sources, as_typed).map(|node| sets.push(node)),
                _ => sweep::parse(&mut sources, option, as_typed).map(|node| {
                    sweeps.push(match option {
                        "--sweep" => sweep::Typed::Grid(node),
                        _ => sweep::Typed::Zip(node),
                    });
                }),
            };
            problems.extend(done.err());
        }
        let mut layers = Self { sources, base, experiment, tiers, sets, sweeps, files: BTreeMap::new() };
        layers.read_files(&mut problems);
        if problems.is_empty() { Ok(layers) } else { Err(problems) }
    }

    /// Every machine and profiles file that any layer names and no later one replaces.
    fn read_files(&mut self, problems: &mut Vec<Diagnostic>) {
        let mut named = Vec::new();
        for tier in Tier::ALL {
            let common = self.common(tier, true);
            let mut trees = vec![common.clone()];
            if let Some(Value::List(panels)) = common.get("panel").map(|node| &node.value) {
                trees.extend(panels.iter().cloned());
            }
            for tree in &trees {
                named.extend(FILES.iter().filter_map(|key| Some((*key, tree.get(key)?.clone()))));
            }
            for key in FILES {
                let swept = sweep::values_of(&common, &self.sweeps, key);
                named.extend(swept.into_iter().map(|node| (key, node.clone())));
            }
        }
        for (key, node) in named {
            let Value::Text(written) = &node.value else { continue };
            let path = resolve(&self.sources.of(node.origin).folder, written);
            if self.files.contains_key(&path) {
                continue;
            }
            match read(&path) {
                Ok(text) => {
                    let index = self.sources.add_file(&path, text);
                    match tree::parse(&self.sources, index) {
                        Ok(tree) => {
                            self.files.insert(path, tree);
                        }
                        Err(more) => problems.extend(more),
                    }
                }
                Err(problem) => {
                    let message = format!("{}: {}", path.display(), problem.message);
                    problems.push(Diagnostic::at(&self.sources, node.origin, key, message));
                }
            }
        }
    }

    /// The content of the file that a key names.
    pub fn file(&self, root: &Section<'_, '_>, key: &'static str) -> Option<&Node> {
        let written = root.get(key, values::text);
        let origin = root.entry(key)?.node.origin;
        let file = self.files.get(&resolve(&self.sources.of(origin).folder, &written));
        if file.is_none() && !written.is_empty() {
            root.checker.problem(
                origin,
                key,
                "this file was not read: name it in the file, a panel or [sweep]",
            );
        }
        file
    }

    /// The files of constants that a tree names, with the tree's `[override]` applied.
    pub fn constant_files(&self, tree: &Node) -> Vec<(&'static str, Node)> {
        let mut found = Vec::new();
        for key in FILES {
            let Some(Node { value: Value::Text(written), origin }) = tree.get(key) else { continue };
            let path = resolve(&self.sources.of(*origin).folder, written);
            let Some(mut file) = self.files.get(&path).cloned() else { continue };
            if let Some(over) = tree.get("override").and_then(|over| over.get(key)) {
                constants::change(&self.sources, &mut file, over);
            }
            found.push((key, file));
        }
        found
    }

    /// Base, experiment, tier and `--set`.
    pub fn common(&self, tier: Tier, with_sets: bool) -> Node {
        let mut tree = self.base.clone();
        tree.overlay(&self.experiment);
        if let Some(layer) = self.tiers.get(&tier) {
            tree.overlay(layer);
        }
        if with_sets {
            self.overlay_sets(&mut tree);
        }
        tree
    }

    fn overlay_sets(&self, tree: &mut Node) {
        let origin = tree.origin;
        for set in &self.sets {
            tree.overlay(set);
        }
        tree.origin = origin;
    }

    /// The panels of an experiment; none where it has only one.
    pub fn panels(&self, common: &Node, checker: &Checker<'_>) -> Vec<Panel> {
        let mut panels: Vec<Panel> = Vec::new();
        for section in Section::of(checker, "", common).sections("panel") {
            let value = section.get("name", values::text);
            let mut layer = Node::empty(section.origin);
            for (key, entry) in section.entries() {
                if !PANEL_KEYS.contains(&key) {
                    let hint = suggest::hint(key, PANEL_KEYS);
                    checker.problem(
                        entry.key_origin,
                        &join("panel", key),
                        format!("a panel has no such key: {hint}"),
                    );
                } else if key != "name" {
                    layer.table_mut().map(|table| table.insert(key.to_owned(), entry.clone()));
                }
            }
            if panels.iter().any(|other| other.value == value) {
                section.problem("name", format!("two panels are named \"{value}\""));
            }
            panels.push(Panel { value, layer });
        }
        panels
    }

    /// Swept keys.
    pub fn swept<'t>(&'t self, common: &'t Node) -> Vec<&'t str> {
        sweep::keys(common, &self.sweeps)
    }

    /// Every combination of panel and swept values. `--set` wins over a panel.
    pub fn variants(
        &self,
        tier: Tier,
        with_typed: bool,
        common: &Node,
        panels: Vec<Panel>,
        checker: &Checker<'_>,
    ) -> Variants {
        let (typed, pins): (&[_], &[_]) = if with_typed { (&self.sweeps, &self.sets) } else { (&[], &[]) };
        let axes = sweep::axes(common, typed, pins, checker);
        let mut trees: Vec<(Option<String>, Node)> = if panels.is_empty() {
            vec![(None, common.clone())]
        } else {
            panels.into_iter().map(|panel| self.with_panel(tier, with_typed, panel)).collect()
        };
        for (_, tree) in &mut trees {
            // Long lists of values would be copied into every point.
            tree.table_mut().map(|table| table.remove("sweep"));
        }
        Variants { panels: trees, axes }
    }

    fn with_panel(&self, tier: Tier, with_sets: bool, panel: Panel) -> (Option<String>, Node) {
        let mut tree = self.common(tier, false);
        tree.overlay(&panel.layer);
        if with_sets {
            self.overlay_sets(&mut tree);
        }
        (Some(panel.value), tree)
    }
}

impl Panel {
    /// Dotted keys that it sets.
    pub fn keys(&self) -> Vec<String> {
        fn below(node: &Node, path: &str, found: &mut Vec<String>) {
            match node.table() {
                Some(table) => {
                    table.iter().for_each(|(key, entry)| below(&entry.node, &join(path, key), found));
                }
                None => found.push(path.to_owned()),
            }
        }
        let mut found = Vec::new();
        below(&self.layer, "", &mut found);
        found
    }
}

impl Variants {
    /// How many there are; `None` where it is beyond counting.
    pub fn count(&self) -> Option<usize> {
        sweep::combinations(&self.axes)?.checked_mul(self.panels.len())
    }

    /// One of them, counted from 0: panels first, the last axis varies fastest.
    pub fn get(&self, number: usize) -> Variant {
        let combinations = sweep::combinations(&self.axes).unwrap_or(1);
        let (panel, tree) = &self.panels[number / combinations];
        let mut variant = Variant { axes: Vec::new(), tree: tree.clone() };
        variant.axes.extend(panel.clone().map(|panel| ("panel".to_owned(), panel)));
        sweep::apply(&self.axes, number % combinations, &mut variant.tree, &mut variant.axes);
        variant
    }
}

/// The base under an experiment: the file it names, or the nearest `base.toml` above it.
fn read_base(sources: &mut Sources, path: &Path, experiment: &Node) -> Result<Node, Vec<Diagnostic>> {
    let named = match experiment.get("base") {
        Some(Node { value: Value::Text(written), origin }) => {
            Some(resolve(&sources.of(*origin).folder, written))
        }
        _ => None,
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let nearest = || {
        let up = [folder.to_owned(), resolve(folder, "..")];
        up.into_iter().map(|folder| folder.join("base.toml")).find(|file| file.is_file())
    };
    let Some(file) = named.or_else(nearest) else {
        let message =
            "no base.toml beside it or in the folder above: name one with base = \"path/to/base.toml\"";
        return Err(vec![Diagnostic::file(path, message)]);
    };
    let text = read(&file).map_err(|problem| vec![problem])?;
    let index = sources.add_file(&file, text);
    tree::parse(sources, index)
}

/// Takes `[tier.*]` out of an experiment.
fn take_tiers(
    sources: &Sources,
    experiment: &mut Node,
    problems: &mut Vec<Diagnostic>,
) -> BTreeMap<Tier, Node> {
    let mut tiers = BTreeMap::new();
    let origin = experiment.origin;
    let Some(entry) = experiment.table_mut().and_then(|table| table.remove("tier")) else { return tiers };
    let Some(table) = entry.node.table() else {
        let message = format!("{} where a table belongs: write [tier.kick]", entry.node.value.kind());
        problems.push(Diagnostic::at(sources, entry.node.origin, "tier", message));
        return tiers;
    };
    for (name, layer) in table {
        let mut problem = |message: String| {
            problems.push(Diagnostic::at(sources, layer.key_origin, &join("tier", name), message));
        };
        let Some(tier) = Tier::ALL.into_iter().find(|tier| tier.name() == name) else {
            problem(format!(
                "no tier \"{name}\": {}",
                suggest::hint(name, Tier::ALL.iter().map(|tier| tier.name()))
            ));
            continue;
        };
        if layer.node.table().is_none() {
            problem(format!("{} where a table belongs", layer.node.value.kind()));
            continue;
        }
        for fixed in ["id", "base", "tier"] {
            if layer.node.get(fixed).is_some() {
                problem(format!("a tier cannot change \"{fixed}\""));
            }
        }
        // What is missing from a table is to be added where the table begins, not where a tier does.
        let mut node = layer.node.clone();
        node.origin = origin;
        tiers.insert(tier, node);
    }
    tiers
}
