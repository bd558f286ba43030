//! A sweep of small runs, made by the command in processes of its own.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Two systems, one seed, a hundredth of a second's work a run.
const EXPERIMENT: &str = r#"
id = "e98"
title = "Small runs"
question = "Are they all made, once?"
systems = ["criu", "t-cxl"]
seeds = [1]
[workload.zipf]
functions = 3
invocations = 200
span = "1 min"
burn_in = "10 s"
"#;

/// A folder with an experiment and outputs, removed with this value.
pub struct House {
    root: tempfile::TempDir,
}

impl House {
    pub fn new() -> Self {
        let house = Self { root: tempfile::tempdir().expect("a temporary folder") };
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/base.toml");
        fs::write(house.path("small.toml"), format!("base = {base:?}\n{EXPERIMENT}")).expect("an experiment");
        house
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// `trenvx sweep small.toml` into the folder `out`, with these options; not started yet.
    pub fn sweep(&self, out: &str, options: &[&str]) -> Command {
        let mut command = self.trenvx();
        command.args(["sweep", "small.toml", "--quiet", "--out", out]).args(options);
        command
    }

    pub fn trenvx(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trenvx"));
        command
            .current_dir(self.root.path())
            .env("TRENVX_CONFIGS", Path::new(env!("CARGO_MANIFEST_DIR")).join("configs"))
            .stdin(Stdio::null());
        command
    }

    /// What a sweep left, but for what says how and when: every file of every run, the index, the table.
    pub fn results(&self, out: &str) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(self.path(out).join("runs")).expect("a store").flatten() {
            let name = entry.file_name().into_string().expect("a plain name");
            if name == "takeover.lock" {
                continue;
            }
            assert_eq!(name.len(), 32, "{name} was left behind");
            for file in fs::read_dir(entry.path()).expect("a run").flatten() {
                let file_name = file.file_name().into_string().expect("a plain name");
                if file_name != "manifest.json" {
                    found.insert(format!("{name}/{file_name}"), fs::read(file.path()).expect("a file"));
                }
            }
        }
        for entry in fs::read_dir(self.path(out).join("experiments")).expect("an index").flatten() {
            let name = entry.file_name().into_string().expect("a plain name");
            if name.ends_with(".json") || name.ends_with(".csv") {
                found.insert(name, fs::read(entry.path()).expect("a file"));
            }
        }
        found
    }

    /// Complete runs in a store.
    pub fn done(&self, out: &str) -> usize {
        let Ok(entries) = fs::read_dir(self.path(out).join("runs")) else { return 0 };
        entries
            .flatten()
            .filter(|entry| entry.path().join("DONE").is_file() && entry.file_name().len() == 32)
            .count()
    }
}

/// Runs to the end; demands success and gives what was said.
pub fn said(command: &mut Command) -> String {
    let output = command.output().expect("the command starts");
    let text = stderr(&output);
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The number of runs that a command says it made.
pub fn new_runs(said: &str) -> usize {
    let (before, _) = said.split_once(" new, ").unwrap_or_else(|| panic!("no count in {said}"));
    before.rsplit('(').next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("no count in {said}"))
}

/// Demands that two sweeps left the same, and names the first difference.
pub fn same(expected: &BTreeMap<String, Vec<u8>>, found: &BTreeMap<String, Vec<u8>>) {
    let names = |of: &BTreeMap<String, Vec<u8>>| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(expected), names(found));
    for (name, bytes) in expected {
        assert!(found[name] == *bytes, "{name} differs");
    }
}
