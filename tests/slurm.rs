//! A sweep on a real Slurm of two nodes on this machine, one of which is killed in the middle: every run is made once,
//! with the bytes of a local run. `scripts/test-slurm` does it, and ends all that it starts.

use std::path::Path;
use std::process::{Command, Stdio};

/// Whether something of Slurm's daemons or their tasks is left that the script started.
fn left(scratch: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("processes").flatten() {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if String::from_utf8_lossy(&environment).contains(scratch) {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

#[test]
fn a_node_that_dies_costs_nothing_but_time() {
    if emu::doctor::skip_without(&["slurm"]) {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("scripts/test-slurm"))
        .env("TRENVX", env!("CARGO_BIN_EXE_trenvx"))
        .args(["--small", "shards", "killed"])
        .stdin(Stdio::null())
        .output()
        .expect("the script starts");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(3) {
        emu::doctor::skip(text.trim().trim_start_matches("skipped: "));
        return;
    }
    assert!(output.status.success(), "{text}");
    assert!(text.contains("shards: tasks report 20 runs made, each one once"), "{text}");
    assert!(text.contains("killed: 20 runs, every byte as in the local run"), "{text}");
    let scratch = text.lines().find_map(|line| line.strip_prefix("in ")).expect("its folder");
    assert_eq!(left(scratch), Vec::<String>::new(), "processes are left");
    assert!(!Path::new(scratch).exists(), "{scratch} is left");
}
