//! Reading a table: typed values out, every problem noted, unknown keys refused.
//!
//! A reader that meets a problem notes it and goes on with a placeholder, so that one load reports
//! everything. Nothing with a placeholder leaves the package: problems make the load fail.

use crate::diagnostic::Diagnostic;
use crate::form::{Form, Forms};
use crate::source::{Origin, Sources};
use crate::suggest;
use crate::tree::{Entry, Node, Table, Value, join};
use std::cell::RefCell;

/// Collects what is wrong while a tree is checked.
pub(crate) struct Checker<'s> {
    pub sources: &'s Sources,
    problems: RefCell<Vec<Diagnostic>>,
    /// What every key that was asked for must be; only where the reference is made.
    forms: Option<RefCell<Forms>>,
}

impl<'s> Checker<'s> {
    pub fn new(sources: &'s Sources) -> Self {
        Self { sources, problems: RefCell::default(), forms: None }
    }

    /// One that also keeps what every key must be.
    pub fn noting(sources: &'s Sources) -> Self {
        Self { forms: Some(RefCell::default()), ..Self::new(sources) }
    }

    /// What keys must be, as far as any was asked for.
    pub fn take_forms(&mut self) -> Forms {
        self.forms.take().map(RefCell::into_inner).unwrap_or_default()
    }

    /// Notes a problem with what was written at `origin`.
    pub fn problem(&self, origin: Origin, key: &str, message: impl Into<String>) {
        self.problems.borrow_mut().push(Diagnostic::at(self.sources, origin, key, message));
    }

    /// How many problems there are so far.
    pub fn count(&self) -> usize {
        self.problems.borrow().len()
    }

    /// The problems found.
    pub fn into_problems(self) -> Vec<Diagnostic> {
        self.problems.into_inner()
    }
}

/// What a value's text must be; the error says what is wrong and what to do.
pub(crate) type Parse<T> = fn(&Value) -> Result<T, String>;

/// One table being read.
pub(crate) struct Section<'c, 's> {
    pub checker: &'c Checker<'s>,
    pub path: String,
    pub origin: Origin,
    table: &'c Table,
    known: RefCell<Vec<&'static str>>,
}

impl<'c, 's> Section<'c, 's> {
    /// The table at `node`; an empty one, and a problem, if it is something else.
    pub fn of(checker: &'c Checker<'s>, path: &str, node: &'c Node) -> Self {
        static EMPTY: Table = Table::new();
        let table = node.table().unwrap_or_else(|| {
            checker.problem(node.origin, path, format!("{} where a table belongs", node.value.kind()));
            &EMPTY
        });
        Self { checker, path: path.to_owned(), origin: node.origin, table, known: RefCell::default() }
    }

    /// The entry of a key, if it is there.
    pub fn entry(&self, key: &'static str) -> Option<&'c Entry> {
        self.known.borrow_mut().push(key);
        self.table.get(key)
    }

    /// Whether a key is there.
    pub fn has(&self, key: &'static str) -> bool {
        self.entry(key).is_some()
    }

    /// The entry of a key that must be there.
    pub fn required(&self, key: &'static str) -> Option<&'c Entry> {
        let entry = self.entry(key);
        if entry.is_none() {
            self.checker.problem(self.origin, &self.path, format!("the key \"{key}\" is missing"));
        }
        entry
    }

    /// Keeps what a key must be, where that is asked for.
    pub fn note(&self, key: &str, form: impl FnOnce() -> Form) {
        if let Some(forms) = &self.checker.forms {
            forms.borrow_mut().add(&join(&self.path, key), form());
        }
    }

    /// Keeps which words a key may hold.
    pub fn words<'w>(&self, key: &str, words: impl IntoIterator<Item = &'w str>) {
        self.note(key, || Form::Words(words.into_iter().map(str::to_owned).collect()));
    }

    /// A value that must be there.
    pub fn get<T: Default>(&self, key: &'static str, parse: Parse<T>) -> T {
        self.note(key, || Form::of(parse).needed());
        self.required(key).map(|entry| self.parse(key, &entry.node, parse)).unwrap_or_default()
    }

    /// A value that may be left out.
    pub fn optional<T: Default>(&self, key: &'static str, parse: Parse<T>) -> Option<T> {
        self.note(key, || Form::of(parse));
        self.entry(key).map(|entry| self.parse(key, &entry.node, parse))
    }

    fn parse<T: Default>(&self, key: &str, node: &Node, parse: Parse<T>) -> T {
        parse(&node.value).unwrap_or_else(|message| {
            self.checker.problem(node.origin, &join(&self.path, key), message);
            T::default()
        })
    }

    /// A list whose items are all of one kind, each with its place.
    pub fn list<T: Default>(&self, key: &'static str, parse: Parse<T>) -> Vec<(T, Origin)> {
        self.note(key, || Form::list(parse));
        let Some(entry) = self.entry(key) else { return Vec::new() };
        match &entry.node.value {
            Value::List(items) => {
                items.iter().map(|item| (self.parse(key, item, parse), item.origin)).collect()
            }
            other => {
                let message = format!("{} where a list belongs: write it in [ ]", other.kind());
                self.checker.problem(entry.node.origin, &join(&self.path, key), message);
                Vec::new()
            }
        }
    }

    /// A table inside this one.
    pub fn section(&self, key: &'static str) -> Option<Section<'c, 's>> {
        self.note(key, || Form::Table);
        self.required(key).map(|entry| self.below(key, &entry.node))
    }

    /// A table inside this one that may be left out.
    pub fn optional_section(&self, key: &'static str) -> Option<Section<'c, 's>> {
        self.note(key, || Form::Table);
        self.entry(key).map(|entry| self.below(key, &entry.node))
    }

    fn below(&self, key: &str, node: &'c Node) -> Section<'c, 's> {
        Section::of(self.checker, &join(&self.path, key), node)
    }

    /// Tables in a list (`[[key]]`).
    pub fn sections(&self, key: &'static str) -> Vec<Section<'c, 's>> {
        self.note(key, || Form::Tables);
        let Some(entry) = self.entry(key) else { return Vec::new() };
        match &entry.node.value {
            Value::List(items) => items
                .iter()
                .enumerate()
                .map(|(i, item)| self.below(&format!("{key}-{}", i + 1), item))
                .collect(),
            other => {
                let message = format!("{} where a list of tables belongs: write [[{key}]]", other.kind());
                self.checker.problem(entry.node.origin, &join(&self.path, key), message);
                Vec::new()
            }
        }
    }

    /// Every key with its value, for tables whose keys are names. All count as known.
    pub fn entries(&self) -> impl Iterator<Item = (&'c str, &'c Entry)> {
        self.table.iter().map(|(key, entry)| (key.as_str(), entry))
    }

    /// The chosen alternative of a table that holds exactly one, and its own table (`None` where
    /// the alternative is written as a plain text or value).
    pub fn choice(
        &self,
        key: &'static str,
        alternatives: &'static [&'static str],
    ) -> Option<(&'static str, &'c Node)> {
        self.note(key, || Form::Choice(alternatives.to_vec()));
        let entry = self.required(key)?;
        let path = join(&self.path, key);
        let list = || alternatives.join(", ");
        let (word, at, node) = match &entry.node.value {
            Value::Text(word) => (word.as_str(), entry.node.origin, &entry.node),
            Value::Table(table) => {
                let mut chosen = table.iter();
                match (chosen.next(), chosen.next()) {
                    (Some((word, inner)), None) => (word.as_str(), inner.key_origin, &inner.node),
                    (None, _) => {
                        self.checker.problem(entry.key_origin, &path, format!("choose one of {}", list()));
                        return None;
                    }
                    (Some((first, _)), Some((second, other))) => {
                        let message = format!("\"{first}\" and \"{second}\" are both chosen: keep one");
                        self.checker.problem(other.key_origin, &path, message);
                        return None;
                    }
                }
            }
            other => {
                let message = format!("{} where one of {} belongs", other.kind(), list());
                self.checker.problem(entry.node.origin, &path, message);
                return None;
            }
        };
        let found = alternatives.iter().find(|known| **known == word);
        if found.is_none() {
            let hint = suggest::hint(word, alternatives.iter().copied());
            self.checker.problem(at, &path, format!("\"{word}\" is not known: {hint}"));
        }
        found.map(|word| (*word, node))
    }

    /// Notes every key that nobody asked for.
    pub fn finish(self) {
        let known = self.known.borrow();
        for (key, entry) in self.table {
            if !known.contains(&key.as_str()) {
                let hint = suggest::hint(key, known.iter().copied());
                self.checker.problem(
                    entry.key_origin,
                    &join(&self.path, key),
                    format!("unknown key: {hint}"),
                );
            }
        }
    }

    /// Notes a problem with the value of a key.
    pub fn problem(&self, key: &str, message: impl Into<String>) {
        let origin = self.table.get(key).map_or(self.origin, |entry| entry.node.origin);
        self.checker.problem(origin, &join(&self.path, key), message);
    }
}
