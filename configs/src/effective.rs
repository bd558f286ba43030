//! Every value in force with its origin, for `--show-config`.

use crate::experiment::EffectiveValue;
use crate::layers::Layers;
use crate::tree::{Node, Value};

/// Keys beside the `value` of a constant: shown in the list of constants instead.
const PROVENANCE: [&str; 3] = ["source", "assumed", "why"];

/// The values of a tree and of the constants it leads to, sorted by key.
pub(crate) fn values(layers: &Layers, common: &Node) -> Vec<EffectiveValue> {
    let mut found = Vec::new();
    collect(layers, "", common, &mut found);
    for (key, tree) in layers.constant_files(common) {
        let mut leaves = Vec::new();
        tree.leaves(key, &mut leaves);
        for (key, node) in leaves {
            let last = key.rsplit('.').next().unwrap_or("");
            if !PROVENANCE.contains(&last) {
                found.push(value(layers, key.strip_suffix(".value").unwrap_or(&key), &node));
            }
        }
    }
    found.sort_by(|a, b| a.key.cmp(&b.key));
    found
}

fn collect(layers: &Layers, path: &str, node: &Node, found: &mut Vec<EffectiveValue>) {
    let mut leaves = Vec::new();
    node.leaves(path, &mut leaves);
    for (key, node) in leaves {
        match &node.value {
            Value::List(items) if items.iter().any(|item| item.table().is_some()) => {
                for (i, item) in items.iter().enumerate() {
                    collect(layers, &format!("{key}[{}]", i + 1), item, found);
                }
            }
            _ => found.push(value(layers, &key, &node)),
        }
    }
}

fn value(layers: &Layers, key: &str, node: &Node) -> EffectiveValue {
    EffectiveValue {
        key: key.to_owned(),
        value: node.value.written(),
        origin: layers.sources.place(node.origin),
    }
}
