//! The reference and the schema say what is checked: they are generated, complete, and hold for every
//! experiment that is shipped.

mod common;

use common::shipped;
use configs::{Listed, Reference};
use serde_json::{Value, json};
use std::fs;

#[test]
fn reference_and_schema_are_those_that_the_command_makes() {
    let reference = Reference::of(&shipped()).unwrap();
    for (name, made) in [("reference.md", reference.markdown()), ("schema.json", reference.schema())] {
        let kept = fs::read_to_string(shipped().join(name)).unwrap_or_default();
        assert!(kept == made, "configs/{name} is stale: run trenvx config reference");
    }
}

#[test]
fn every_key_that_is_checked_is_described_in_the_base() {
    assert_eq!(Reference::of(&shipped()).unwrap().undescribed(), Vec::<String>::new());
}

#[test]
fn the_reference_says_unit_type_default_and_meaning() {
    let page = Reference::of(&shipped()).unwrap().markdown();
    let row = |start: &str| page.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
    assert_eq!(
        row("| `queue_timeout`"),
        "| `queue_timeout` | duration in ns, us, ms, s, min, h or d, above 0 | `\"60 s\"` | How long an invocation may wait for \
         memory or a start slot before it counts as timed out. |"
    );
    assert!(row("| `tail_percent`").contains("whole number, from 0 to 100"));
    assert!(row("| `spread`").contains("one of `poisson`, `skewed`, `uniform`"));
    assert!(row("| `sandbox.spawn`").contains("duration"), "constants of the machine are listed");
    let untyped: Vec<&str> =
        page.lines().filter(|line| line.starts_with("| `") && line.contains(" |  | ")).collect();
    assert_eq!(untyped, Vec::<&str>::new(), "a key without a type");
}

fn experiment(listed: &Listed) -> Value {
    let text = fs::read_to_string(&listed.path).unwrap();
    serde_json::to_value(toml::from_str::<toml::Table>(&text).unwrap()).unwrap()
}

fn schema() -> Value {
    serde_json::from_str(&Reference::of(&shipped()).unwrap().schema()).unwrap()
}

#[test]
fn the_schema_holds_for_every_experiment() {
    let schema = schema();
    for listed in configs::list(&shipped()).unwrap() {
        let problems = validate(&schema, &schema, &experiment(&listed), &listed.name);
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
}

#[test]
fn the_schema_refuses_what_checking_refuses() {
    let schema = schema();
    let right = || json!({ "id": "e99", "title": "T", "question": "Q?", "cluster": { "nodes": 2 } });
    assert_eq!(validate(&schema, &schema, &right(), ""), Vec::<String>::new());
    let wrong = [
        ("/cluster/nodess", json!(2)),
        ("/cluster/nodes", json!(0)),
        ("/cluster/nodes", json!("2")),
        ("/cluster/dram", json!(64)),
        ("/cluster/dram", json!("64 ms")),
        ("/systems", json!(["t-clx"])),
        ("/workload", json!({ "w1": {}, "w2": {} })),
        ("/workload", json!({ "w3": {} })),
        ("/keep_alive", json!({ "hybrid_histogram": { "head_percent": 101 } })),
        ("/figures", json!([{ "kind": "latency-cdf", "name": "a" }])),
        ("/figures", json!([{ "kind": "pie", "name": "a", "title": "A" }])),
        ("/panel", json!([{ "name": "a", "systems": ["criu"] }])),
        ("/tier", json!({ "kick": { "id": "e98" } })),
        ("/tier", json!({ "tiny": {} })),
        ("/override", json!({ "machine": { "cxl": { "latency": 300 } } })),
        ("/override", json!({ "systems": { "t-cxl": { "cgroup": "none" } } })),
        ("/output", json!({ "invocations": "yes" })),
        ("/sweep", json!({ "cluster.nodes": [] })),
    ];
    for (place, value) in wrong {
        let mut file = right();
        let (parent, key) = place.rsplit_once('/').unwrap();
        file.pointer_mut(parent).unwrap()[key] = value.clone();
        assert!(!validate(&schema, &schema, &file, "").is_empty(), "{place} = {value} is accepted");
    }
}

/// As much of JSON Schema as the schema uses; an unknown keyword is a mistake of the schema.
fn validate(root: &Value, schema: &Value, value: &Value, path: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (keyword, rule) in schema.as_object().expect("a schema") {
        let mut demand = |holds: bool| {
            if !holds {
                problems.push(format!("{path}: {value} breaks {keyword}: {rule}"));
            }
        };
        let number = || value.as_f64().unwrap_or(0.0);
        let limit = || rule.as_f64().unwrap();
        match keyword.as_str() {
            "$schema" | "title" | "description" | "default" => {}
            "type" => demand(match rule.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "number" => value.is_number(),
                "integer" => value.is_u64() || value.is_i64(),
                other => panic!("no type {other}"),
            }),
            "enum" => demand(rule.as_array().unwrap().contains(value)),
            "pattern" => {
                let pattern = regex_lite::Regex::new(rule.as_str().unwrap()).unwrap();
                demand(value.as_str().is_none_or(|text| pattern.is_match(text)));
            }
            "minLength" => demand(value.as_str().is_none_or(|text| text.chars().count() as f64 >= limit())),
            "minimum" => demand(!value.is_number() || number() >= limit()),
            "exclusiveMinimum" => demand(!value.is_number() || number() > limit()),
            "maximum" => demand(!value.is_number() || number() <= limit()),
            "minItems" => demand(value.as_array().is_none_or(|list| list.len() as f64 >= limit())),
            "minProperties" => demand(value.as_object().is_none_or(|table| table.len() as f64 >= limit())),
            "maxProperties" => demand(value.as_object().is_none_or(|table| table.len() as f64 <= limit())),
            "required" => demand(value.as_object().is_none_or(|table| {
                rule.as_array().unwrap().iter().all(|key| table.contains_key(key.as_str().unwrap()))
            })),
            "anyOf" => {
                let all: Vec<Vec<String>> =
                    rule.as_array().unwrap().iter().map(|one| validate(root, one, value, path)).collect();
                if all.iter().all(|one| !one.is_empty()) {
                    problems.extend(all.into_iter().flatten());
                }
            }
            "$ref" => {
                let target = root.pointer(rule.as_str().unwrap().trim_start_matches('#')).expect("a target");
                problems.extend(validate(root, target, value, path));
            }
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    problems.extend(validate(root, rule, item, &format!("{path}[{i}]")));
                }
            }
            "properties" => {
                for (key, rule) in rule.as_object().unwrap() {
                    if let Some(inner) = value.get(key) {
                        problems.extend(validate(root, rule, inner, &format!("{path}.{key}")));
                    }
                }
            }
            "additionalProperties" => {
                let known =
                    |key: &str| schema.get("properties").is_some_and(|known| known.get(key).is_some());
                for (key, inner) in value.as_object().into_iter().flatten().filter(|(key, _)| !known(key)) {
                    match rule {
                        Value::Bool(false) => problems.push(format!("{path}.{key}: unknown key")),
                        rule => problems.extend(validate(root, rule, inner, &format!("{path}.{key}"))),
                    }
                }
            }
            other => panic!("{path}: the schema uses {other}, which this test does not know"),
        }
    }
    problems
}
