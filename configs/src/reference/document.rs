//! What `base.toml` says: its tables and keys, each with the comment above it. Lines that begin with
//! `#:` are keys without a default; so are those that begin with `#|`, which no example holds.

use crate::form::split;

/// The file, table by table.
#[derive(Debug)]
pub(super) struct Document {
    /// Paragraphs before the first key.
    pub intro: Vec<String>,
    pub tables: Vec<Described>,
    examples: Vec<String>,
}

/// A table.
#[derive(Debug)]
pub(super) struct Described {
    /// Dotted: `workload.zipf`, `figures[]`; empty at the top.
    pub path: String,
    /// As written, with its brackets; empty at the top.
    pub written: String,
    /// Comments above it.
    pub about: Vec<String>,
    pub rows: Vec<Row>,
}

/// A key.
#[derive(Debug)]
pub(super) struct Row {
    /// Dotted, with that of its table.
    pub key: String,
    /// As it is written in its table.
    pub written: String,
    /// Its value, as written.
    pub value: String,
    /// Whether the value is the default; else it is an example.
    pub is_default: bool,
    /// The comment above it, or above its group.
    pub about: String,
}

impl Document {
    pub fn of(text: &str) -> Self {
        let mut document =
            Self { intro: Vec::new(), tables: vec![Described::top()], examples: examples(text) };
        let (mut comment, mut fresh, mut at) = (String::new(), true, 0);
        for line in text.lines() {
            let (line, is_default) = match line.strip_prefix("#:").or(line.strip_prefix("#|")) {
                Some(described) => (described.trim(), false),
                None => (line.trim(), true),
            };
            if let Some(words) = line.strip_prefix('#') {
                if words.is_empty() && document.is_empty() {
                    document.intro.push(std::mem::take(&mut comment));
                    continue;
                }
                if !fresh {
                    comment.clear();
                }
                if !comment.is_empty() {
                    comment.push(' ');
                }
                comment.push_str(words.trim());
                fresh = true;
            } else if line.is_empty() {
                if document.is_empty() && !comment.is_empty() {
                    document.intro.push(comment.clone());
                }
                comment.clear();
                fresh = true;
            } else if line.starts_with('[') {
                at = document.table(line, &std::mem::take(&mut comment));
            } else if let Some((key, value)) = line.split_once(" = ") {
                // With its id a whole experiment begins.
                at = if key == "id" { 0 } else { at };
                document.tables[at].row(key, value, is_default, &comment);
                fresh = false;
            }
        }
        document
    }

    /// Whether no key was read yet.
    fn is_empty(&self) -> bool {
        self.tables.len() == 1 && self.tables[0].rows.is_empty()
    }

    /// Experiments that have every described key, a piece of `base.toml` each.
    pub fn examples(&self) -> impl Iterator<Item = String> {
        std::iter::once(String::new()).chain(self.examples.iter().cloned())
    }

    /// Whether a key stands in the file, itself or in a choice.
    pub fn mentions(&self, key: &str) -> bool {
        let rows = || self.tables.iter().flat_map(|table| &table.rows);
        let within = |outer: &str| key.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'));
        rows().any(|row| row.key == key || within(&row.key))
            || self
                .tables
                .iter()
                .any(|table| table.path.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
            || rows().any(|row| row.key.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
    }

    /// The row of a key.
    pub fn row(&self, key: &str) -> Option<&Row> {
        self.tables.iter().flat_map(|table| &table.rows).find(|row| row.key == key)
    }

    /// The table that a header opens: a new one, or the one that has this header already.
    fn table(&mut self, header: &str, about: &str) -> usize {
        let path = general(header);
        let at = self.tables.iter().position(|table| table.path == path).unwrap_or_else(|| {
            self.tables.push(Described {
                path,
                written: header.to_owned(),
                about: Vec::new(),
                rows: Vec::new(),
            });
            self.tables.len() - 1
        });
        if !about.is_empty() {
            self.tables[at].about.push(about.to_owned());
        }
        at
    }
}

impl Described {
    fn top() -> Self {
        Self { path: String::new(), written: String::new(), about: Vec::new(), rows: Vec::new() }
    }

    fn row(&mut self, written: &str, value: &str, is_default: bool, about: &str) {
        let key = if self.path.is_empty() { written.to_owned() } else { format!("{}.{written}", self.path) };
        match self.rows.iter_mut().find(|row| row.key == key) {
            Some(known) if known.about.is_empty() => known.about = about.to_owned(),
            Some(_) => {}
            None => self.rows.push(Row {
                key,
                written: written.to_owned(),
                value: value.to_owned(),
                is_default,
                about: about.to_owned(),
            }),
        }
    }
}

/// `[[sweep.zip]]` → `sweep.zip[]`, `[override.systems.t-cxl]` → `override.systems.*`, `[tier.kick]` →
/// `tier.*`.
fn general(header: &str) -> String {
    let is_list = header.starts_with("[[");
    let path = header.trim_matches(['[', ']']);
    let parts = split(path);
    let named = |depth: usize| parts[..depth].join(".") + ".*";
    match parts[..] {
        ["tier", _] => named(1),
        ["override", "systems", _] => named(2),
        ["figures", inner] if is_list => format!("figures[].{inner}[]"),
        _ if is_list => format!("{path}[]"),
        _ => path.to_owned(),
    }
}

/// The `#:` lines: alternatives that exclude each other are examples of their own.
fn examples(text: &str) -> Vec<String> {
    let mut examples = vec![String::new()];
    for line in text.lines() {
        let Some(described) = line.strip_prefix("#:").map(str::trim_start) else { continue };
        if ["[workload", "[placement", "[measure", "id ="].iter().any(|start| described.starts_with(start)) {
            examples.push(String::new());
        }
        if let Some(example) = examples.last_mut() {
            example.push_str(described);
            example.push('\n');
        }
    }
    examples
}
