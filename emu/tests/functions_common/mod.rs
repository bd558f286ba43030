//! What tests of functions share.
#![allow(dead_code)] // no test uses all of it

use std::path::{Path, PathBuf};

use emu::functions::{FunctionSpec, Inputs, Language, Places};

/// The repository's functions, set up or not.
pub fn places() -> Places {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    Places { functions: root.join("functions"), out: root.parent().expect("a workspace").join("out") }
}

/// A program of this machine that speaks the protocol by itself.
pub fn native(name: &str, argv: &[&str]) -> FunctionSpec {
    FunctionSpec {
        name: name.to_owned(),
        language: Language::Native,
        argv: argv.iter().map(|&argument| argument.to_owned()).collect(),
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        cwd: PathBuf::from("/"),
        layers: Vec::new(),
        cpus: 1,
        pids: 64,
        threads: 0,
        inputs: inputs(r#"{ input = {}, expect = [{ at = "/n", equal = 1 }] }"#),
    }
}

/// Four times the same input.
pub fn inputs(one: &str) -> Inputs {
    let text = ["base", "_1", "_2", "warm-up"].map(|name| format!("{name} = {one}\n")).concat();
    toml::from_str(&text).expect("inputs")
}
