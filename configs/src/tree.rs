//! TOML as read: every value knows where it was written. Layers of files merge into one tree.

use crate::diagnostic::Diagnostic;
use crate::source::{Origin, Sources};
use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub value: Value,
    pub origin: Origin,
}

/// A value as TOML knows it.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    Integer(i128),
    Float(f64),
    Flag(bool),
    /// A date or time: nothing here is one.
    Date(String),
    List(Vec<Node>),
    Table(Table),
}

/// A table's entries, sorted by key.
pub(crate) type Table = BTreeMap<String, Entry>;

/// A key with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub key_origin: Origin,
    pub node: Node,
}

/// Keys whose table holds exactly one entry, the name of the chosen alternative. A layer that
/// chooses another alternative replaces the whole table.
pub(crate) const CHOICES: [&str; 2] = ["placement", "workload"];

/// The tree of a source; its syntax errors where there are any.
pub(crate) fn parse(sources: &Sources, source: usize) -> Result<Node, Vec<Diagnostic>> {
    let text = &sources.get(source).text;
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<Diagnostic> = errors
        .iter()
        .map(|error| {
            let at = Origin::new(source, error.span().unwrap_or(0..0));
            Diagnostic::at(sources, at, "", error.message().trim().replace('\n', ", "))
        })
        .collect();
    let node = Node {
        origin: Origin::new(source, 0..0),
        value: Value::Table(table_of(sources, source, table.into_inner(), &mut problems)),
    };
    if problems.is_empty() { Ok(node) } else { Err(problems) }
}

fn table_of(sources: &Sources, source: usize, table: DeTable<'_>, problems: &mut Vec<Diagnostic>) -> Table {
    table
        .into_iter()
        .map(|(key, value)| {
            let key_origin = Origin::new(source, key.span());
            (
                key.into_inner().into_owned(),
                Entry { key_origin, node: node_of(sources, source, value, problems) },
            )
        })
        .collect()
}

fn node_of(
    sources: &Sources,
    source: usize,
    value: Spanned<DeValue<'_>>,
    problems: &mut Vec<Diagnostic>,
) -> Node {
    let origin = Origin::new(source, value.span());
    let mut out_of_range =
        || problems.push(Diagnostic::at(sources, origin, "", "this number is out of range"));
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(n) => {
            Value::Integer(i128::from_str_radix(n.as_str(), n.radix()).unwrap_or_else(|_| {
                out_of_range();
                0
            }))
        }
        DeValue::Float(n) => Value::Float(n.as_str().parse().unwrap_or_else(|_| {
            out_of_range();
            0.0
        })),
        DeValue::Boolean(flag) => Value::Flag(flag),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(list) => {
            Value::List(list.into_iter().map(|item| node_of(sources, source, item, problems)).collect())
        }
        DeValue::Table(table) => Value::Table(table_of(sources, source, table, problems)),
    };
    Node { value, origin }
}

impl Value {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) | Self::Float(_) => "a number",
            Self::Flag(_) => "true or false",
            Self::Date(_) => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }

    /// As it would be written in TOML, on one line.
    pub fn written(&self) -> String {
        match self {
            Self::Text(text) => format!("{text:?}"),
            Self::Integer(n) => n.to_string(),
            Self::Float(n) => format!("{n:?}"),
            Self::Flag(flag) => flag.to_string(),
            Self::Date(date) => date.clone(),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(|item| item.value.written()).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Table(table) => {
                let entries: Vec<String> = table
                    .iter()
                    .map(|(key, entry)| format!("{} = {}", key_written(key), entry.node.value.written()))
                    .collect();
                format!("{{ {} }}", entries.join(", "))
            }
        }
    }
}

/// A key as it would be written in TOML.
pub(crate) fn key_written(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if bare { key.to_owned() } else { format!("{key:?}") }
}

/// `path.key`.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key_written(key) } else { format!("{path}.{}", key_written(key)) }
}

impl Node {
    /// An empty table.
    pub fn empty(origin: Origin) -> Self {
        Self { value: Value::Table(Table::new()), origin }
    }

    /// The entries, if it is a table.
    pub fn table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The entries, to be changed.
    pub fn table_mut(&mut self) -> Option<&mut Table> {
        match &mut self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The value of a key, if this is a table that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.table()?.get(key).map(|entry| &entry.node)
    }

    /// Puts a layer over this one: tables merge, everything else is replaced.
    pub fn overlay(&mut self, over: &Self) {
        match (&mut self.value, &over.value) {
            (Value::Table(under), Value::Table(over_table)) => {
                for (key, entry) in over_table {
                    match under.get_mut(key) {
                        Some(old) if !chooses_anew(key, &old.node, &entry.node) => {
                            old.node.overlay(&entry.node);
                        }
                        _ => {
                            under.insert(key.clone(), entry.clone());
                        }
                    }
                }
                // Where something is missing from the table, the latest layer is where to add it.
                self.origin = over.origin;
            }
            _ => *self = over.clone(),
        }
    }

    /// Every value that is no table, with its dotted key. Lists count as values.
    pub fn leaves(&self, path: &str, out: &mut Vec<(String, Self)>) {
        match &self.value {
            Value::Table(table) if !table.is_empty() => {
                for (key, entry) in table {
                    entry.node.leaves(&join(path, key), out);
                }
            }
            _ => out.push((path.to_owned(), self.clone())),
        }
    }
}

fn chooses_anew(key: &str, old: &Node, new: &Node) -> bool {
    CHOICES.contains(&key)
        && match (old.table(), new.table()) {
            (Some(old), Some(new)) => !old.keys().eq(new.keys()),
            _ => true,
        }
}
