//! `--set KEY=VALUE`: one value put over the files.

use crate::diagnostic::Diagnostic;
use crate::source::Sources;
use crate::tree::{self, Node};

/// The tree of one `--set`. The value is read as TOML, and as a plain text where it is none:
/// `cluster.nodes=4`, `cluster.memory_cap=32 GiB`, `systems=["t-cxl"]`.
pub(crate) fn parse(sources: &mut Sources, as_typed: &str) -> Result<Node, Diagnostic> {
    let usage = |what: &str| {
        Diagnostic::named(format!("--set {as_typed}"), format!("{what}: write --set key.path=VALUE"))
    };
    let Some((key, value)) = as_typed.split_once('=') else {
        return Err(usage("there is no \"=\""));
    };
    let (key, value) = (key.trim(), value.trim());
    if key.is_empty() {
        return Err(usage("there is no key"));
    }
    if as_typed.contains('\n') {
        return Err(usage("more than one line"));
    }
    let as_toml = format!("{key} = {value}");
    let index = sources.add_typed("--set", as_typed, as_toml);
    if let Ok(node) = tree::parse(sources, index) {
        return Ok(node);
    }
    let as_text = format!("{key} = {}", toml::Value::String(value.to_owned()));
    let index = sources.add_typed("--set", as_typed, as_text);
    tree::parse(sources, index).map_err(|_| usage(&format!("{key:?} is not a key")))
}
