//! [`Reference`]: every key of an experiment file, for people (`reference.md`) and for editors
//! (`schema.json`).
//!
//! What a key means and its default are `base.toml`'s own comments and values; what it may hold comes
//! from the checks, see [`crate::form`]. Nothing is written twice, so nothing can be forgotten in one
//! place.

mod document;
mod markdown;
mod schema;

use crate::check::constants::Constants;
use crate::check::machine;
use crate::diagnostic::Diagnostics;
use crate::experiment::ConstantNote;
use crate::form::{Form, Forms, split};
use crate::layers::Layers;
use crate::load::{check, read};
use crate::section::{Checker, Section};
use crate::source::Sources;
use crate::spec::Tier;
use crate::tree::{self, Node, Value};
use crate::typed::Typed;
use crate::values;
use document::Document;
use std::path::Path;

/// The machine whose constants are listed: the one that `base.toml` names.
const MACHINE: &str = "machines/paper.toml";

/// What an experiment file must say itself.
const HEAD: &str = "id = \"e99\"\ntitle = \"A title\"\nquestion = \"A question?\"\n";

/// Every key of an experiment file.
#[derive(Debug)]
pub struct Reference {
    document: Document,
    forms: Forms,
    constants: Vec<ConstantNote>,
}

impl Reference {
    /// Of a folder of configurations.
    pub fn of(root: &Path) -> Result<Self, Diagnostics> {
        let document = Document::of(&read(&root.join("base.toml"))?);
        let mut forms = Forms::default();
        for block in document.examples() {
            forms.merge(forms_of(root, &block)?);
        }
        forms.add("base", Form::of(values::text));
        let (constants, of_machine) = machine(root)?;
        forms.merge(of_machine);
        Ok(Self { document, forms, constants })
    }

    /// `reference.md`.
    pub fn markdown(&self) -> String {
        markdown::write(&self.document, &self.forms, &self.constants)
    }

    /// `schema.json`: a JSON Schema (draft 2020-12) of an experiment file.
    pub fn schema(&self) -> String {
        let schema = schema::of(&self.document, &self.forms);
        let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Keys that checking knows and `base.toml` does not mention.
    pub fn undescribed(&self) -> Vec<String> {
        let known = |key: &String| {
            let generated = ["machine.", "profiles.", "override."].iter().any(|part| key.starts_with(part));
            let table = self.forms.all[key].iter().any(|form| matches!(form, Form::Table | Form::Tables));
            generated || table || self.document.mentions(key)
        };
        self.forms.all.keys().filter(|key| !known(key)).cloned().collect()
    }
}

/// What keys must be, as found out while an experiment is checked.
fn forms_of(root: &Path, text: &str) -> Result<Forms, Diagnostics> {
    let file = root.join("experiments").join("reference.toml");
    let text = if text.contains("question =") { text.to_owned() } else { format!("{HEAD}{text}") };
    // What a path is relative to matters to the base alone.
    let text = text.replace("base = \"base.toml\"", "base = \"../base.toml\"");
    let layers = Layers::of_text(&file, text, &Typed::default()).map_err(Diagnostics::new)?;
    let mut checker = Checker::noting(&layers.sources);
    check(&layers, &checker, Tier::Kick, false);
    let forms = checker.take_forms();
    let problems = checker.into_problems();
    if problems.is_empty() { Ok(forms) } else { Err(Diagnostics::new(problems)) }
}

/// Constants of a machine, and what they must be.
fn machine(root: &Path) -> Result<(Vec<ConstantNote>, Forms), Diagnostics> {
    let path = root.join(MACHINE);
    let mut sources = Sources::default();
    let index = sources.add_file(&path, read(&path)?);
    let file = tree::parse(&sources, index).map_err(Diagnostics::new)?;
    let mut checker = Checker::noting(&sources);
    let constants = Constants::default();
    machine::machine(&Section::of(&checker, "machine", &file), &constants);
    let forms = checker.take_forms();
    let problems = checker.into_problems();
    if problems.is_empty() { Ok((constants.into_notes(), forms)) } else { Err(Diagnostics::new(problems)) }
}

/// The value of a line `key = VALUE`, as TOML reads it.
fn value_of(written: &str) -> Option<Node> {
    let mut sources = Sources::default();
    let index = sources.add_typed("reference", written, format!("value = {written}"));
    tree::parse(&sources, index).ok()?.get("value").cloned()
}

/// As JSON has it.
fn json_of(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Text(text) | Value::Date(text) => text.as_str().into(),
        Value::Integer(n) => i64::try_from(*n).map_or(serde_json::Value::Null, Into::into),
        Value::Float(n) => (*n).into(),
        Value::Flag(flag) => (*flag).into(),
        Value::List(items) => items.iter().map(json_of).collect(),
        Value::Table(table) => serde_json::Value::Object(
            table.iter().map(|(key, entry)| (key.clone(), json_of(&entry.node))).collect(),
        ),
    }
}

/// What a key that stands in a layer, such as a tier or a panel, must be: the same as without it.
fn forms_at<'f>(forms: &'f Forms, key: &str) -> Option<&'f std::collections::BTreeSet<Form>> {
    let plain = ["panel[].", "tier.*.", "override."].iter().find_map(|layer| key.strip_prefix(layer));
    let as_constant = plain.map(|key| format!("{key}.value"));
    [Some(key), plain, as_constant.as_deref()]
        .into_iter()
        .flatten()
        .find_map(|key| forms.all.get(key))
        .or_else(|| {
            // `what.node = { … }` chooses an alternative of `what`.
            let parts = split(key);
            let above = parts[..parts.len() - 1].join(".");
            forms.all.get(&above).filter(|forms| forms.iter().any(|form| matches!(form, Form::Choice(_))))
        })
}
