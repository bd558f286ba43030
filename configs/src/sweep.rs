//! What an experiment varies: `[sweep]`, `[[sweep.zip]]`, `[[sweep.list]]`, `--sweep`, `--zip`.
//!
//! Each of them is an axis: a list of steps, each giving values to the axis's keys. A grid axis has
//! one key; a zip gives its keys their first values together, then their second ones; a list states
//! every step. Every combination of steps of all axes is run. What is typed comes last and varies
//! fastest.

use crate::diagnostic::Diagnostic;
use crate::section::{Checker, Section};
use crate::source::{Origin, Sources};
use crate::tree::{self, Entry, Node, Table, Value, join};
use std::collections::BTreeSet;

/// Keys of an experiment as a whole: they are the same for all of its points.
const WHOLE: [&str; 10] =
    ["base", "id", "title", "paper", "question", "worlds", "figures", "panel", "sweep", "tier"];

/// Keys with several steps.
pub(crate) struct Axis {
    steps: Vec<Step>,
}

/// Values for the keys of an axis, in the keys' order.
type Step = Vec<(String, Node)>;

/// An axis as typed.
pub(crate) enum Typed {
    /// `--sweep`.
    Grid(Node),
    /// One of the `--zip`.
    Zip(Node),
}

/// Collects axes and sees that no two of them vary the same.
struct Axes<'c, 's> {
    checker: &'c Checker<'s>,
    /// The trees of `--set`.
    pins: &'c [Node],
    keys: Vec<(String, Origin)>,
    found: Vec<Axis>,
}

/// The tree of one `--sweep` or `--zip`: one key, as `[sweep]` has it, with its list.
pub(crate) fn parse(sources: &mut Sources, option: &str, as_typed: &str) -> Result<Node, Diagnostic> {
    let usage = |what: &str| {
        Diagnostic::named(
            format!("{option} {as_typed}"),
            format!("{what}: write {option} 'key.path=[VALUE, VALUE]', texts and amounts in quotes"),
        )
    };
    let Some((key, value)) = as_typed.split_once('=') else { return Err(usage("there is no \"=\"")) };
    // Quotes around parts of the key are not needed: it is split at its dots.
    let key = key.trim().replace('"', "");
    if key.is_empty() {
        return Err(usage("there is no key"));
    }
    if as_typed.contains('\n') {
        return Err(usage("more than one line"));
    }
    let as_toml = format!("{} = {}", toml::Value::String(key), value.trim());
    let index = sources.add_typed(option, as_typed, as_toml);
    tree::parse(sources, index).map_err(|_| usage("the value is no list as TOML writes it"))
}

/// The axes of a tree and of the command line. `pins` are the trees of `--set`: a key of `[sweep]`
/// that one of them sets has that value alone.
pub(crate) fn axes(common: &Node, typed: &[Typed], pins: &[Node], checker: &Checker<'_>) -> Vec<Axis> {
    let mut axes = Axes { checker, pins, keys: Vec::new(), found: Vec::new() };
    let typed_keys: BTreeSet<&str> = typed.iter().flat_map(|one| keys_of(one.node())).collect();
    let sweep = common.get("sweep").map(|sweep| Section::of(checker, "sweep", sweep));
    for (key, entry) in sweep.iter().flat_map(Section::entries) {
        let path = join("sweep", key);
        match (key, &entry.node.value) {
            ("zip" | "list", Value::List(_)) => {}
            ("zip" | "list", _) => {
                checker.problem(entry.key_origin, &path, format!("write [[sweep.{key}]], with two brackets"));
            }
            // The command line varies it in its own way.
            _ if typed_keys.contains(key) => {}
            _ => axes.grid(key, entry, true),
        }
    }
    for (number, table) in tables(common, "zip") {
        axes.zip(&format!("sweep.zip-{number}"), table.origin, table.table().into_iter().flatten());
    }
    axes.list(tables(common, "list").collect());
    for one in typed {
        if let Typed::Grid(node) = one {
            for (key, entry) in node.table().into_iter().flatten() {
                axes.grid(key, entry, false);
            }
        }
    }
    let zipped: Vec<&Node> =
        typed.iter().filter(|one| matches!(one, Typed::Zip(_))).map(Typed::node).collect();
    if let Some(first) = zipped.first() {
        axes.zip("--zip", first.origin, zipped.iter().filter_map(|node| node.table()).flatten());
    }
    axes.found
}

/// Every value that a key is given by any sweep of a tree or of the command line.
pub(crate) fn values_of<'n>(common: &'n Node, typed: &'n [Typed], key: &str) -> Vec<&'n Node> {
    let mut found: Vec<&Node> = Vec::new();
    let mut listed = |table: &'n Node| match table.get(key) {
        Some(Node { value: Value::List(items), .. }) => found.extend(items),
        Some(node) => found.push(node),
        None => {}
    };
    common.get("sweep").into_iter().for_each(&mut listed);
    tables(common, "zip").for_each(|(_, table)| listed(table));
    tables(common, "list").for_each(|(_, table)| listed(table));
    typed.iter().for_each(|one| listed(one.node()));
    found
}

/// Every key that a tree or the command line sweeps.
pub(crate) fn keys<'n>(common: &'n Node, typed: &'n [Typed]) -> Vec<&'n str> {
    let grid = common.get("sweep").into_iter().flat_map(keys_of).filter(|key| !["zip", "list"].contains(key));
    let tables = ["zip", "list"].into_iter().flat_map(|name| tables(common, name));
    grid.chain(tables.flat_map(|(_, table)| keys_of(table)))
        .chain(typed.iter().flat_map(|one| keys_of(one.node())))
        .collect()
}

/// The tables of `[[sweep.NAME]]`, numbered from 1.
fn tables<'n>(common: &'n Node, name: &str) -> impl Iterator<Item = (usize, &'n Node)> {
    let list = common.get("sweep").and_then(|sweep| sweep.get(name)).map(|node| &node.value);
    let items: &[Node] = match list {
        Some(Value::List(items)) => items,
        _ => &[],
    };
    items.iter().enumerate().map(|(i, node)| (i + 1, node))
}

fn keys_of(node: &Node) -> impl Iterator<Item = &str> {
    node.table().into_iter().flatten().map(|(key, _)| key.as_str())
}

/// The value of a dotted key.
fn at<'n>(tree: &'n Node, key: &str) -> Option<&'n Node> {
    key.split('.').try_fold(tree, |node, part| node.get(part))
}

impl Typed {
    fn node(&self) -> &Node {
        match self {
            Self::Grid(node) | Self::Zip(node) => node,
        }
    }
}

impl<'c> Axes<'c, '_> {
    /// One key with its list; if it can be pinned, `--set` leaves it one value.
    fn grid(&mut self, key: &str, entry: &Entry, can_be_pinned: bool) {
        let path = join("sweep", key);
        let Some(values) = self.values(&path, entry) else { return };
        let pinned = self.pin(key).filter(|_| can_be_pinned);
        if pinned.is_none() && self.is_pinned(&path, key, entry.key_origin) {
            return;
        }
        if self.takes(&path, key, entry.key_origin) {
            let values = pinned.map_or(values, std::slice::from_ref);
            self.add(&path, values.iter().map(|value| vec![(key.to_owned(), value.clone())]).collect());
        }
    }

    /// Keys whose lists go together.
    fn zip<'n>(
        &mut self,
        path: &str,
        origin: Origin,
        entries: impl Iterator<Item = (&'n String, &'n Entry)>,
    ) {
        let mut steps: Option<(String, Vec<Step>)> = None;
        for (key, entry) in entries {
            let path = join(path, key);
            let Some(values) = self.values(&path, entry) else { return };
            if self.is_pinned(&path, key, entry.key_origin) || !self.takes(&path, key, entry.key_origin) {
                return;
            }
            let pairs = values.iter().map(|value| (key.clone(), value.clone()));
            match &mut steps {
                None => steps = Some((key.clone(), pairs.map(|pair| vec![pair]).collect())),
                Some((_, steps)) if steps.len() == values.len() => {
                    steps.iter_mut().zip(pairs).for_each(|(step, pair)| step.push(pair));
                }
                Some((first, steps)) => {
                    let message = format!(
                        "{} values, but \"{first}\" has {}: lists that go together are equally long",
                        values.len(),
                        steps.len()
                    );
                    self.checker.problem(entry.node.origin, &path, message);
                    return;
                }
            }
        }
        match steps {
            Some((_, steps)) => self.add(path, steps),
            None => self.checker.problem(origin, path, "no key: write \"key.path\" = [VALUE, VALUE]"),
        }
    }

    /// Every step stated by itself.
    fn list(&mut self, stated: Vec<(usize, &Node)>) {
        let Some(&(_, first)) = stated.first() else { return };
        let mut steps = Vec::new();
        for (number, node) in stated {
            let path = format!("sweep.list-{number}");
            let Some(table) = node.table().filter(|table| !table.is_empty()) else {
                self.checker.problem(node.origin, &path, "write \"key.path\" = VALUE for each key");
                return;
            };
            if let Some((key, _)) = table.iter().find(|(key, _)| first.get(key).is_none()) {
                self.checker.problem(
                    table[key].key_origin,
                    &join(&path, key),
                    "the first [[sweep.list]] does not have this key: all of them state the same keys",
                );
                return;
            }
            if let Some(key) = keys_of(first).find(|key| !table.contains_key(*key)) {
                let message = format!("\"{key}\" is missing: all [[sweep.list]] state the same keys");
                self.checker.problem(node.origin, &path, message);
                return;
            }
            for (key, entry) in table {
                // A table is a choice (`workload = { w1 = {} }`) only if the key is one level deep.
                if matches!(entry.node.value, Value::Table(_)) && !is_choice(key) {
                    let message = format!("quote the whole key: \"{key}.…\" = VALUE");
                    self.checker.problem(entry.key_origin, &join(&path, key), message);
                    return;
                }
                let (path, origin) = (join(&path, key), entry.key_origin);
                if number == 1 && (self.is_pinned(&path, key, origin) || !self.takes(&path, key, origin)) {
                    return;
                }
            }
            steps.push(table.iter().map(|(key, entry)| (key.clone(), entry.node.clone())).collect());
        }
        self.add("sweep.list", steps);
    }

    /// The list of a key.
    fn values<'n>(&self, path: &str, entry: &'n Entry) -> Option<&'n [Node]> {
        match &entry.node.value {
            Value::List(values) if !values.is_empty() => return Some(values),
            Value::Table(_) => {
                let key = path.rsplit('.').next().unwrap_or(path);
                let message = format!("quote the whole key: \"{key}.…\" = [ … ]");
                self.checker.problem(entry.key_origin, path, message);
            }
            _ => self.checker.problem(entry.node.origin, path, "write a list of values that is not empty"),
        }
        None
    }

    /// What `--set` says of a key.
    fn pin(&self, key: &str) -> Option<&'c Node> {
        self.pins.iter().rev().find_map(|pin| at(pin, key))
    }

    /// Whether `--set` names a key that cannot have one value alone: then that is a problem.
    fn is_pinned(&self, path: &str, key: &str, origin: Origin) -> bool {
        let Some(pin) = self.pin(key) else { return false };
        let place = self.checker.sources.place(pin.origin);
        let message = format!("{place} gives this key one value: leave out one of the two");
        self.checker.problem(origin, path, message);
        true
    }

    /// Whether a key can be varied and is varied by nothing else.
    fn takes(&mut self, path: &str, key: &str, origin: Origin) -> bool {
        let first = key.split('.').next().unwrap_or(key);
        let message = if first == "seeds" {
            Some("every point is run with every seed already: list them in seeds = [ … ], or --set 'seeds=[1, 2]'".to_owned())
        } else if WHOLE.contains(&first) {
            Some(format!("\"{first}\" is the same for all points of an experiment: it cannot be varied"))
        } else {
            let other = self.keys.iter().find(|(other, _)| overlap(other, key));
            other.map(|(other, at)| {
                let place = self.checker.sources.place(*at);
                if other == key {
                    format!("it is varied at {place} already")
                } else {
                    format!("\"{other}\", which is varied at {place}, is part of the same value")
                }
            })
        };
        if let Some(message) = message {
            self.checker.problem(origin, path, message);
            return false;
        }
        self.keys.push((key.to_owned(), origin));
        true
    }

    fn add(&mut self, path: &str, steps: Vec<Step>) {
        let mut seen = BTreeSet::new();
        for step in &steps {
            let words: Vec<String> = step.iter().map(|(_, value)| shown(value)).collect();
            if !seen.insert(words.clone()) {
                let origin = step.first().map_or(Origin::new(0, 0..0), |(_, value)| value.origin);
                let message =
                    format!("{} is listed twice: its runs would be counted twice", words.join(", "));
                self.checker.problem(origin, path, message);
                return;
            }
        }
        self.found.push(Axis { steps });
    }
}

/// Whether a key may hold a table as its value.
fn is_choice(key: &str) -> bool {
    tree::CHOICES.contains(&key)
}

/// Whether one key is the other or holds it.
fn overlap(a: &str, b: &str) -> bool {
    let within =
        |outer: &str, inner: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'));
    a == b || within(a, b) || within(b, a)
}

/// A value as labels show it.
fn shown(value: &Node) -> String {
    match &value.value {
        Value::Text(text) => text.clone(),
        other => other.written(),
    }
}

/// Number of combinations; `None` where it is beyond counting.
pub(crate) fn combinations(axes: &[Axis]) -> Option<usize> {
    axes.iter().try_fold(1usize, |n, axis| n.checked_mul(axis.steps.len()))
}

/// Sets the keys of combination `number` in a tree, and names them; the last axis varies fastest.
pub(crate) fn apply(axes: &[Axis], number: usize, tree: &mut Node, named: &mut Vec<(String, String)>) {
    let origin = tree.origin;
    let mut below = combinations(axes).unwrap_or(1);
    let mut rest = number;
    for axis in axes {
        below /= axis.steps.len();
        let step = &axis.steps[rest / below];
        rest %= below;
        for (key, value) in step {
            tree.overlay(&layer(key, value));
            named.push((key.clone(), shown(value)));
        }
    }
    tree.origin = origin;
}

/// A tree that holds one dotted key.
fn layer(key: &str, value: &Node) -> Node {
    let origin = value.origin;
    key.rsplit('.').fold(value.clone(), |node, part| {
        let entry = Entry { key_origin: origin, node };
        Node { origin, value: Value::Table(Table::from([(part.to_owned(), entry)])) }
    })
}
