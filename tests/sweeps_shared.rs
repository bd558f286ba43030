//! Several processes on one folder: each run is made once, and what is left is what one process leaves.

mod common;

use common::{House, new_runs, said, same, stderr};
use std::process::Command;

/// 20 × 2 × 2 systems = 80 points.
const AXES: [&str; 6] = [
    "--sweep",
    "cluster.cores=[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]",
    "--zip",
    "cluster.nodes=[1,2]",
    "--zip",
    "cluster.memory_cap=[\"8 GiB\",\"4 GiB\"]",
];

fn with<'a>(options: &[&'a str]) -> Vec<&'a str> {
    [&AXES, options].concat()
}

#[test]
fn two_processes_at_the_same_time_make_each_run_once() {
    let house = House::new();
    assert_eq!(new_runs(&said(&mut house.sweep("one", &AXES))), 80);
    let new = std::thread::scope(|scope| {
        let start = || scope.spawn(|| new_runs(&said(&mut house.sweep("two", &AXES))));
        let (first, second) = (start(), start());
        (first.join().expect("it ends"), second.join().expect("it ends"))
    });
    assert_eq!(new.0 + new.1, 80, "{new:?}");
    same(&house.results("one"), &house.results("two"));
}

#[test]
fn shards_in_any_order_leave_what_one_process_leaves() {
    let house = House::new();
    said(&mut house.sweep("one", &AXES));
    for (out, order) in [("up", ["1/3", "2/3", "3/3"]), ("down", ["3/3", "1/3", "2/3"])] {
        let new = order.map(|shard| new_runs(&said(&mut house.sweep(out, &with(&["--shard", shard])))));
        assert_eq!(new.iter().sum::<usize>(), 80);
        assert!(new.iter().all(|n| (26..=27).contains(n)), "{new:?}");
        // A shard that is run again has nothing to do.
        assert_eq!(new_runs(&said(&mut house.sweep(out, &with(&["--shard", "2/3"])))), 0);
        assert_eq!(new_runs(&said(&mut house.sweep(out, &with(&["--merge"])))), 0);
        same(&house.results("one"), &house.results(out));
    }
}

#[test]
fn workers_share_the_work_and_a_merge_says_what_is_missing() {
    let house = House::new();
    said(&mut house.sweep("one", &AXES));
    said(&mut house.sweep("two", &with(&["--shard", "1/2"])));
    let output = house.sweep("two", &with(&["--merge"])).output().expect("it starts");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("40 runs done") && text.contains("40 are missing"), "{text}");
    assert!(text.contains("nobody has run it to its end"), "{text}");
    let new: usize = std::thread::scope(|scope| {
        let start =
            || scope.spawn(|| new_runs(&said(&mut house.sweep("two", &with(&["--worker", "--jobs", "1"])))));
        let workers = [start(), start(), start()];
        workers.into_iter().map(|worker| worker.join().expect("it ends")).sum()
    });
    assert_eq!(new, 40);
    said(&mut house.sweep("two", &with(&["--merge"])));
    same(&house.results("one"), &house.results("two"));
}

#[test]
fn a_failed_point_names_the_command_that_runs_it_alone() {
    let house = House::new();
    said(house.trenvx().args(["trace", "generate", "w1", "--out", "there.wkl"]));
    let axes = ["--sweep", "workload.file.path=[\"there.wkl\",\"gone.wkl\"]", "--set", "systems=[\"t-cxl\"]"];
    let output = house.sweep("one", &axes).output().expect("it starts");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("1 runs done (1 new, 0 in the store before), 1 failed"), "{text}");
    let (_, rest) = text.split_once("rerun: trenvx ").unwrap_or_else(|| panic!("no command in {text}"));
    let rerun = rest.lines().next().expect("a line");

    let again = || {
        let command = format!("{} {rerun}", env!("CARGO_BIN_EXE_trenvx"));
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(command).current_dir(house.path("."));
        shell.env("TRENVX_CONFIGS", concat!(env!("CARGO_MANIFEST_DIR"), "/configs"));
        shell.output().expect("a shell")
    };
    let output = again();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("0 runs done") && text.contains("gone.wkl"), "{text}");
    std::fs::copy(house.path("there.wkl"), house.path("gone.wkl")).expect("a copy");
    let output = again();
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    assert_eq!(new_runs(&text), 1, "it ran that one alone");
    assert_eq!(house.done("one"), 2);
}

#[test]
fn a_dry_run_goes_by_earlier_runs() {
    let house = House::new();
    let dry = |options: &[&str]| {
        let output = house.sweep("one", &with(options)).arg("--dry-run").output().expect("it starts");
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let before = dry(&[]);
    assert!(
        before.contains("80 points, 80 runs: 0 in the store, 80 to run\nno earlier run to go by"),
        "{before}"
    );
    said(&mut house.sweep("one", &with(&["--shard", "1/4"])));
    let then = dry(&[]);
    assert!(
        then.contains("80 runs: 20 in the store, 60 to run\nby 20 earlier runs of the same systems"),
        "{then}"
    );
    for word in ["time    about ", "memory  up to ", "disk    about "] {
        assert!(then.contains(word), "{then}");
    }
    // Another workload has no earlier runs.
    let other = dry(&["--set", "workload.zipf.functions=4"]);
    assert!(other.contains("no earlier run to go by"), "{other}");
    said(&mut house.sweep("one", &AXES));
    assert!(dry(&[]).ends_with("80 in the store, 0 to run\n"));
}
