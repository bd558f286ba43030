//! Numbers with provenance: `{ value = …, source = "…", assumed = true, why = "…" }`.

use crate::experiment::ConstantNote;
use crate::section::{Parse, Section};
use crate::source::Sources;
use crate::tree::{Entry, Node, Table, Value, join};
use crate::values;
use std::cell::RefCell;

/// Reads the constants of one file and keeps a note of each.
#[derive(Default)]
pub(crate) struct Constants {
    notes: RefCell<Vec<ConstantNote>>,
}

/// Source of the values of a table that are written without one of their own.
#[derive(Clone, Default)]
pub(crate) struct Provenance {
    source: Option<String>,
    assumed: bool,
    why: Option<String>,
}

impl Provenance {
    /// The keys `source`, `assumed` and `why` of a table.
    pub fn of(section: &Section<'_, '_>) -> Self {
        Self {
            source: section.optional("source", values::text),
            assumed: section.optional("assumed", values::flag).unwrap_or(false),
            why: section.optional("why", values::text),
        }
    }

    /// This one if it states a source, else `outer`.
    pub fn or(self, outer: &Self) -> Self {
        if self.source.is_some() { self } else { outer.clone() }
    }
}

impl Constants {
    /// The notes, in the order of reading.
    pub fn into_notes(self) -> Vec<ConstantNote> {
        self.notes.into_inner()
    }

    /// A constant that must be there: `key = { value = …, source = … }`, or `key = …` in a table
    /// that states a source for all.
    pub fn get<T: Default>(
        &self,
        section: &Section<'_, '_>,
        table: &Provenance,
        key: &'static str,
        parse: Parse<T>,
    ) -> T {
        let Some(entry) = section.required(key) else { return T::default() };
        let path = join(&section.path, key);
        let (value, written, stated) = if entry.node.get("value").is_some() {
            let own = Section::of(section.checker, &path, &entry.node);
            let value = own.get("value", parse);
            let stated = Provenance::of(&own);
            own.finish();
            (value, entry.node.get("value").map(|node| node.value.written()), stated)
        } else {
            (section.get(key, parse), Some(entry.node.value.written()), table.clone())
        };
        if stated.source.is_none() {
            section.checker.problem(entry.node.origin, &path, NO_SOURCE);
        } else if stated.assumed && stated.why.is_none() {
            section.checker.problem(entry.node.origin, &path, NO_REASON);
        }
        self.notes.borrow_mut().push(ConstantNote {
            key: path,
            value: written.unwrap_or_default().trim_matches('"').to_owned(),
            source: stated.source.unwrap_or_default(),
            assumed: stated.assumed,
            why: stated.why,
        });
        value
    }
}

const NO_SOURCE: &str = "no source: write { value = …, source = \"where it was read or measured\" }";
const NO_REASON: &str = "assumed, but not why: add why = \"…\"";

/// Puts values of an experiment (`[override]`) over a file of constants. A changed constant keeps
/// its key and loses its source: it is noted as set by whoever set it.
pub(crate) fn change(sources: &Sources, under: &mut Node, over: &Node) {
    let Some(over_table) = over.table() else { return };
    let Some(table) = under.table_mut() else { return };
    for (key, entry) in over_table {
        match table.get_mut(key) {
            Some(old)
                if old.node.table().is_some_and(|old| !old.contains_key("value"))
                    && entry.node.table().is_some() =>
            {
                change(sources, &mut old.node, &entry.node);
            }
            Some(old) if entry.node.table().is_none() => old.node = changed(sources, &entry.node),
            _ => {
                table.insert(key.clone(), entry.clone());
            }
        }
    }
}

fn changed(sources: &Sources, node: &Node) -> Node {
    let origin = node.origin;
    let text = |text: String| Node { value: Value::Text(text), origin };
    let entries = [
        ("value", node.clone()),
        ("source", text(format!("set by {}", sources.place(origin)))),
        ("assumed", Node { value: Value::Flag(true), origin }),
        ("why", text("changed for this experiment".into())),
    ];
    let table: Table =
        entries.into_iter().map(|(key, node)| (key.to_owned(), Entry { key_origin: origin, node })).collect();
    Node { value: Value::Table(table), origin }
}
