//! `scripts/notebook.py` loads what the tool writes, and its own tests pass.

mod common;

use common::{House, said};
use std::path::Path;
use std::process::Command;

fn python() -> Option<Command> {
    (!emu::doctor::skip_without(&["python"])).then(|| Command::new("python3"))
}

fn scripts() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts")
}

#[test]
fn its_own_tests_pass() {
    let Some(mut python) = python() else { return };
    let output = python
        .args(["-B", "-m", "unittest", "discover", "-s"])
        .arg(scripts())
        .output()
        .expect("python starts");
    let text = common::stderr(&output);
    assert!(output.status.success() && text.contains("OK"), "{text}");
}

#[test]
fn a_sweep_is_loaded_with_one_row_per_run_and_function() {
    let Some(mut python) = python() else { return };
    let house = House::new();
    said(&mut house.sweep("out", &["--sweep", "cluster.nodes=[1,2]"]));
    let mut index =
        std::fs::read_dir(house.path("out/experiments")).unwrap().flatten().map(|entry| entry.path());
    let index = index.find(|path| path.extension().is_some_and(|e| e == "json")).expect("an index");
    let output =
        python.arg("-B").arg(scripts().join("notebook.py")).arg(&index).arg("functions").output().unwrap();
    assert!(output.status.success(), "{}", common::stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let header: Vec<&str> = text.lines().next().unwrap().split(',').collect();
    for column in ["cluster.nodes", "system", "seed", "function", "completed"] {
        assert!(header.contains(&column), "{header:?}");
    }
    assert_eq!(text.lines().count(), 1 + 2 * 2 * 3, "2 node counts, 2 systems, 3 functions: {text}");
}
