//! `schema.json`: what editors need to complete and check experiment files. It says what single keys may
//! hold; how they go together is checked when a file is loaded.

use super::document::Document;
use super::{json_of, value_of};
use crate::form::{Form, Forms, Kind, Need, split};
use crate::layers::PANEL_KEYS;
use crate::spec::Tier;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Keys that only the file as a whole has.
const OF_THE_FILE: [&str; 3] = ["id", "base", "tier"];

/// A key with those below it.
#[derive(Default)]
struct Branch {
    forms: BTreeSet<Form>,
    below: BTreeMap<String, Branch>,
}

pub(super) fn of(document: &Document, forms: &Forms) -> Value {
    let (mut keys, mut machine, mut systems) = (Branch::default(), Branch::default(), Branch::default());
    for (key, forms) in &forms.all {
        let parts: Vec<String> =
            split(key).into_iter().map(|part| part.trim_matches('"').to_owned()).collect();
        let (branch, parts) = match parts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["machine", _, ..] => (&mut machine, &parts[1..]),
            ["profiles", _, ..] => continue,
            ["override", "systems", "*", _, ..] => (&mut systems, &parts[3..]),
            ["override", ..] => continue,
            _ => (&mut keys, &parts[..]),
        };
        branch.at(parts).forms.extend(forms.iter().cloned());
    }
    let mut properties = keys.properties("", document, false);
    properties.insert("panel".to_owned(), panels());
    properties.insert("sweep".to_owned(), sweep());
    properties.insert("override".to_owned(), overrides(&machine, &systems, document));
    let layer: Map<String, Value> = properties
        .keys()
        .filter(|key| !OF_THE_FILE.contains(&key.as_str()))
        .map(|key| (key.clone(), json!({ "$ref": format!("#/properties/{key}") })))
        .collect();
    let tiers: Map<String, Value> =
        Tier::ALL.iter().map(|tier| (tier.name().to_owned(), closed(layer.clone(), &[]))).collect();
    properties.insert("tier".to_owned(), closed(tiers, &[]));
    let mut schema = closed(properties, &["id", "question", "title"]);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "An experiment of trenvx".into();
    schema
}

/// A table with these keys and no others.
fn closed(properties: Map<String, Value>, required: &[&str]) -> Value {
    let mut schema = json!({ "type": "object", "additionalProperties": false });
    schema["properties"] = Value::Object(properties);
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn panels() -> Value {
    let mut properties: Map<String, Value> = PANEL_KEYS
        .iter()
        .map(|key| ((*key).to_owned(), json!({ "$ref": format!("#/properties/{key}") })))
        .collect();
    properties.insert("name".to_owned(), json!({ "type": "string", "minLength": 1 }));
    json!({ "type": "array", "items": closed(properties, &["name"]) })
}

fn sweep() -> Value {
    let values = json!({ "type": "array", "minItems": 1 });
    let lists = json!({ "type": "array", "items": { "type": "object", "additionalProperties": values } });
    json!({
        "type": "object",
        "properties": { "zip": lists, "list": { "type": "array", "items": { "type": "object" } } },
        "additionalProperties": values,
    })
}

fn overrides(machine: &Branch, systems: &Branch, document: &Document) -> Value {
    let system = closed(systems.properties("override.systems.*.", document, false), &[]);
    let properties = [
        ("machine", closed(machine.properties("override.machine.", document, true), &[])),
        ("profiles", json!({ "type": "object" })),
        ("systems", json!({ "type": "object", "additionalProperties": system })),
    ];
    closed(properties.into_iter().map(|(key, schema)| (key.to_owned(), schema)).collect(), &[])
}

impl Branch {
    fn at(&mut self, parts: &[String]) -> &mut Self {
        match parts {
            [] => self,
            [first, rest @ ..] => self.below.entry(first.clone()).or_default().at(rest),
        }
    }

    /// `path` ends with a dot where it is not empty. Items of lists are branches named `key[]`.
    fn properties(&self, path: &str, document: &Document, constants: bool) -> Map<String, Value> {
        let items = |key: &str| self.below.get(&format!("{key}[]"));
        self.below
            .iter()
            .filter(|(key, _)| !key.ends_with("[]"))
            .map(|(key, branch)| {
                let path = format!("{path}{key}");
                let schema = if constants && !branch.is_group() {
                    branch.constant()
                } else {
                    branch.schema(&path, items(key), document, constants)
                };
                (key.clone(), described(schema, &path, document))
            })
            .collect()
    }

    /// Whether it is a table of constants and no constant.
    fn is_group(&self) -> bool {
        self.forms.contains(&Form::Table) && !self.below.contains_key("value")
    }

    /// A value, or one with where it comes from.
    fn constant(&self) -> Value {
        let kinds =
            self.forms.iter().chain(self.below.get("value").into_iter().flat_map(|value| &value.forms));
        let kind = kinds.into_iter().find_map(|form| match form {
            Form::Value(kind, _) => Some(of_kind(kind)),
            _ => None,
        });
        let value = kind.unwrap_or_else(|| json!({}));
        let text = json!({ "type": "string" });
        let properties = [
            ("value", value.clone()),
            ("source", text.clone()),
            ("assumed", json!({ "type": "boolean" })),
            ("why", text),
        ];
        let table = closed(
            properties.into_iter().map(|(key, schema)| (key.to_owned(), schema)).collect(),
            &["value"],
        );
        json!({ "anyOf": [value, table] })
    }

    fn schema(&self, path: &str, items: Option<&Self>, document: &Document, constants: bool) -> Value {
        let words = self.forms.iter().find_map(|form| match form {
            Form::Words(words) => Some(json!({ "enum": words })),
            _ => None,
        });
        let below = || self.properties(&format!("{path}."), document, constants);
        let mut found: Vec<Value> = Vec::new();
        for form in &self.forms {
            let one = match (form, &words) {
                (Form::Value(..), Some(words)) => words.clone(),
                (Form::List(_), Some(words)) => json!({ "type": "array", "items": words }),
                (Form::Words(_), Some(_)) if self.forms.len() > 1 => continue,
                (Form::Words(_), words) => words.clone().unwrap_or_default(),
                (Form::Value(kind, _), None) => of_kind(kind),
                (Form::List(kind), None) => json!({ "type": "array", "items": of_kind(kind) }),
                (Form::Choice(names), _) => {
                    let mut keys = below();
                    for name in names {
                        keys.entry((*name).to_owned()).or_insert_with(|| closed(Map::new(), &[]));
                    }
                    let mut table = closed(keys, &[]);
                    table["minProperties"] = 1.into();
                    table["maxProperties"] = 1.into();
                    json!({ "anyOf": [{ "enum": names }, table] })
                }
                (Form::Table, _) => closed(below(), &[]),
                (Form::Tables, _) => {
                    let item = items.map_or_else(
                        || json!({ "type": "object" }),
                        |items| {
                            let needed = items.needed();
                            let needed: Vec<&str> = needed.iter().map(String::as_str).collect();
                            closed(items.properties(&format!("{path}[]."), document, constants), &needed)
                        },
                    );
                    json!({ "type": "array", "items": item })
                }
            };
            if !found.contains(&one) {
                found.push(one);
            }
        }
        match found.len() {
            // A key that is asked for by those below it alone, such as an alternative of a choice.
            0 => closed(below(), &[]),
            1 => found.remove(0),
            _ => json!({ "anyOf": found }),
        }
    }

    /// Keys below that every item has to have.
    fn needed(&self) -> Vec<String> {
        let is_needed = |branch: &Self| {
            let mut values = branch.forms.iter().filter_map(|form| match form {
                Form::Value(_, need) => Some(*need),
                _ => None,
            });
            values.next() == Some(Need::Needed) && values.all(|need| need == Need::Needed)
        };
        self.below.iter().filter(|(_, branch)| is_needed(branch)).map(|(key, _)| key.clone()).collect()
    }
}

fn of_kind(kind: &Kind) -> Value {
    if !kind.units.is_empty() {
        let units: Vec<String> = kind.units.iter().map(|unit| unit.replace('/', "\\/")).collect();
        return json!({ "type": "string", "pattern": format!("^\\s*\\+?[0-9._]+\\s*({})\\s*$", units.join("|")) });
    }
    let mut schema = match kind.name.as_str() {
        "true or false" => json!({ "type": "boolean" }),
        "a text" => return json!({ "type": "string", "minLength": 1 }),
        _ if kind.is_whole() => json!({ "type": "integer" }),
        "a number" => json!({ "type": "number" }),
        _ => json!({}),
    };
    match kind.least {
        Some((least, true)) => schema["exclusiveMinimum"] = least.into(),
        Some((least, false)) => schema["minimum"] = least.into(),
        None => {}
    }
    if let Some(most) = kind.most {
        schema["maximum"] = most.into();
    }
    schema
}

/// With its comment and default.
fn described(mut schema: Value, path: &str, document: &Document) -> Value {
    if let Some(row) = document.row(path) {
        if !row.about.is_empty() {
            schema["description"] = row.about.as_str().into();
        }
        if let Some(value) = value_of(&row.value).filter(|_| row.is_default) {
            schema["default"] = json_of(&value);
        }
    } else if let Some(table) = document.tables.iter().find(|table| table.path == path)
        && !table.about.is_empty()
    {
        schema["description"] = table.about.join(" ").into();
    }
    schema
}
