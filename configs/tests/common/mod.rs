//! A folder of configurations to be broken: the shipped base and machine, two small profiles, one
//! experiment.
#![allow(dead_code, reason = "each test file uses its part")]

use configs::{Diagnostics, Experiment, Tier, Typed};
use std::fs;
use std::path::{Path, PathBuf};

/// The shipped configurations.
pub fn shipped() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Two functions; `plain` is the default profile.
pub const PROFILES: &str = r#"[default]
profile = "plain"

[plain]
source = "made up for this test"
init = "300 ms"
service = { log-normal = { median = "40 ms", sigma = 0.05 } }
regions = 100
threads = 4
file = "20 MiB"
memory_intensity = { value = 0.2, source = "made up", assumed = true, why = "it is a test" }
read_only_accesses = 0.6
[plain.pages.runtime]
read_only = "6 MiB"
written = "2 MiB"
untouched = "3 MiB"
[plain.pages.library]
read_only = "1 MiB"
written = "0 B"
untouched = "1 MiB"
[plain.pages.function]
read_only = "1 MiB"
written = "1 MiB"
untouched = "0 B"
[plain.pages.instance]
read_only = "0 B"
written = "3 MiB"
untouched = "0 B"

[steady]
source = "made up for this test"
init = "10 ms"
service = { constant = "5 ms" }
regions = 10
threads = 1
file = "1 MiB"
memory_intensity = 0
read_only_accesses = 1
pages.runtime = { read_only = "1 MiB", written = "4 KiB", untouched = "0 B" }
pages.library = { read_only = "0 B", written = "0 B", untouched = "0 B" }
pages.function = { read_only = "0 B", written = "0 B", untouched = "0 B" }
pages.instance = { read_only = "0 B", written = "0 B", untouched = "0 B" }
"#;

/// One agent with a browser, for profiles/agents.toml.
pub const AGENTS: &str = r#"[default]
profile = "surfer"

[llm]
source = "made up for this test"
prompt_rate = "1000 tokens/s"
answer_rate = "50 tokens/s"

[prices]
source = "made up for this test"
vcpu = "0.05 USD/h"
memory = "0.02 USD/h"
prompt = "2 USD/Mtoken"
answer = "8 USD/Mtoken"

[browser]
source = "made up for this test"
start = "300 ms"
files = "200 MB"
own = "150 MB"
tab = "30 MB"

[surfer]
source = "made up for this test"
init = "300 ms"
regions = 100
threads = 4
file = "20 MiB"
memory_intensity = 0.1
read_only_accesses = 0.6
pages.runtime = { read_only = "6 MiB", written = "2 MiB", untouched = "3 MiB" }
[surfer.agent]
source = "made up for this test"
tokens = "azure-code"
turns = 5
vcpus = 1
memory = "2 GiB"
[[surfer.agent.steps]]
work = "llm"
memory = "0 B"
[[surfer.agent.steps]]
work = "browser"
time = "500 ms"
memory = "1 MiB"
"#;

/// An experiment of that agent.
pub const SURFING: &str = r#"profiles = "../profiles/agents.toml"
[workload.agents]
agents = ["surfer"]
instances = 3
within = "1 s"
span = "10 min"
"#;

/// The keys that every experiment must have.
pub const HEAD: &str = r#"id = "e99"
title = "A test"
question = "Does it load?"
"#;

/// A folder of configurations that is removed with this value.
pub struct Folder {
    root: tempfile::TempDir,
}

impl Folder {
    /// With the shipped base and machine and the profiles above.
    pub fn new() -> Self {
        let folder = Self { root: tempfile::tempdir().unwrap() };
        for name in ["base.toml", "machines/paper.toml"] {
            folder.write(name, &fs::read_to_string(shipped().join(name)).unwrap());
        }
        folder.write("profiles/trenv-functions.toml", PROFILES);
        folder
    }

    pub fn path(&self) -> &Path {
        self.root.path()
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Replaces a text in a file; it must be there.
    pub fn replace(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path().join(name)).unwrap();
        assert!(text.contains(from), "{name} has no {from:?}");
        self.write(name, &text.replacen(from, to, 1));
    }

    /// Loads `experiments/e99-test.toml` with this text after the head.
    pub fn load(&self, text: &str, sets: &[&str]) -> Result<Experiment, Diagnostics> {
        self.load_whole(&format!("{HEAD}{text}"), Tier::Kick, sets)
    }

    /// Loads `experiments/e99-test.toml` with exactly this text.
    pub fn load_whole(&self, text: &str, tier: Tier, sets: &[&str]) -> Result<Experiment, Diagnostics> {
        self.write("experiments/e99-test.toml", text);
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        configs::load(&self.path().join("experiments/e99-test.toml"), tier, &sets)
    }

    /// Loads `experiments/e99-test.toml` with this text after the head, and axes on the line.
    pub fn load_typed(&self, text: &str, typed: &Typed) -> Result<Experiment, Diagnostics> {
        self.write("experiments/e99-test.toml", &format!("{HEAD}{text}"));
        configs::load_typed(&self.path().join("experiments/e99-test.toml"), Tier::Kick, typed)
    }

    /// The complaint about an experiment, with the folder's own path left out.
    pub fn complaint(&self, text: &str, sets: &[&str]) -> String {
        let error = self.load(text, sets).expect_err("this must not load");
        error.to_string().replace(&format!("{}/", self.path().display()), "configs/")
    }
}
