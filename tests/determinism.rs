//! Same seed, same bytes: whatever the number of threads, and however often.

use configs::Tier;
use runs::{Options, Plan, Store};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Content of every record file of every run below `out`; manifests hold times and are left out.
fn records(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for run in fs::read_dir(out.join("runs")).expect("a store").flatten() {
        for file in fs::read_dir(run.path()).expect("a run").flatten() {
            let name = file.file_name().into_string().expect("a plain name");
            if name != "manifest.json" && name != "DONE" {
                let key = format!("{}/{name}", run.file_name().to_string_lossy());
                found.insert(key, fs::read(file.path()).expect("a record file"));
            }
        }
    }
    found
}

fn run(experiment: &str, jobs: usize) -> BTreeMap<String, Vec<u8>> {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let file = configs::find(experiment, &configs).expect("a shipped experiment");
    let sets = ["output.invocations=true".to_owned(), "seeds={ base = 7, n = 2 }".to_owned()];
    let plan = Plan::new(configs::load(&file, Tier::Kick, &sets).expect("a valid experiment"));
    let out = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(out.path()).expect("a store");
    let options = Options { jobs, progress: false, ..Options::default() };
    let outcome = runs::execute(&plan, out.path(), &store, &sim::SimulatedWorld, &options).expect("an index");
    assert_eq!(outcome.failed, []);
    records(out.path())
}

#[test]
fn one_thread_and_two_write_the_same_bytes() {
    for experiment in ["e04", "e05"] {
        let (one, two) = (run(experiment, 1), run(experiment, 2));
        assert!(one.len() > 50, "{experiment}: only {} files", one.len());
        assert!(one.values().map(Vec::len).sum::<usize>() > 100_000);
        assert_eq!(one, two);
    }
}
