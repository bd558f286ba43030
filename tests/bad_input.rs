//! What a user gets wrong is answered with what, where and what to do: exit code 2, no panic, and
//! nothing written.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn trenvx(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trenvx"))
        .args(arguments)
        .current_dir(folder)
        .env("TRENVX_CONFIGS", Path::new(env!("CARGO_MANIFEST_DIR")).join("configs"))
        .output()
        .expect("the command starts")
}

/// Runs in an empty folder; demands exit code 2, every one of `expected` in the message, and that
/// the folder holds what it held before.
fn refused(files: &[(&str, &[u8])], arguments: &[&str], expected: &[&str]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, content) in files {
        fs::write(folder.path().join(name), content).expect("an input file");
    }
    let output = trenvx(folder.path(), arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
    for part in expected {
        assert!(message.contains(part), "{arguments:?}: no {part:?} in:\n{message}");
    }
    assert!(!message.contains("panicked"), "{message}");
    let mut left: Vec<_> =
        fs::read_dir(folder.path()).expect("the folder").flatten().map(|entry| entry.file_name()).collect();
    left.sort();
    let mut given: Vec<_> = files.iter().map(|(name, _)| std::ffi::OsString::from(name)).collect();
    given.sort();
    assert_eq!(left, given, "something was left behind");
}

const EXPERIMENT: &str = "id = \"e99\"\ntitle = \"A test\"\nquestion = \"Is it refused?\"\n";

fn experiment(rest: &str) -> Vec<u8> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/base.toml");
    format!("{EXPERIMENT}base = {base:?}\n{rest}").into_bytes()
}

#[test]
fn an_unknown_experiment_suggests_the_nearest() {
    refused(&[], &["run", "e44"], &["e44", "e04"]);
}

#[test]
fn an_unknown_claim_is_told_with_those_there_are() {
    for command in ["claims", "reproduce"] {
        refused(&[], &[command, "c999"], &["c999: no such claim", "c01, c02", "g01"]);
    }
}

#[test]
fn a_report_of_nothing_tells_what_to_run() {
    refused(
        &[],
        &["report", "e04", "--out", "nowhere"],
        &["nowhere: nothing was run", "trenvx --out nowhere reproduce e04"],
    );
}

#[test]
fn a_folder_is_no_trace() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().to_str().expect("a plain name");
    refused(&[], &["trace", "describe", path], &["is a folder", "name one of its files"]);
}

#[test]
fn an_unknown_key_is_named_with_its_place() {
    let file = experiment("cluster.nodess = 2\n");
    refused(&[("x.toml", &file)], &["run", "x.toml"], &["x.toml:5:", "nodess", "nodes"]);
}

#[test]
fn a_bare_number_is_no_size() {
    let file = experiment("cluster.memory_cap = 64\n");
    refused(&[("x.toml", &file)], &["run", "x.toml"], &["x.toml:5:", "cluster.memory_cap", "64 GiB"]);
}

#[test]
fn a_duration_is_no_size() {
    let file = experiment("cluster.memory_cap = \"64 ms\"\n");
    refused(&[("x.toml", &file)], &["run", "x.toml"], &["x.toml:5:", "cluster.memory_cap", "64 ms"]);
}

#[test]
fn an_unknown_system_suggests_the_nearest() {
    let file = experiment("systems = [\"t-cxxl\"]\n");
    refused(&[("x.toml", &file)], &["run", "x.toml"], &["x.toml:5:", "t-cxxl", "t-cxl"]);
}

#[test]
fn a_set_with_an_unknown_key_is_refused() {
    refused(&[], &["run", "e04", "--set", "cluster.coress=3"], &["coress", "cores"]);
}

#[test]
fn a_missing_trace_is_named() {
    refused(
        &[],
        &["trace", "import", "--format", "azure-functions-2021", "nothing.csv", "--out", "x.wkl"],
        &["nothing.csv"],
    );
}

#[test]
fn a_malformed_row_is_named_with_line_and_column() {
    let rows = b"app,func,end_timestamp,duration\na,f,1.5,0.1\na,f,oops,0.1\n";
    refused(
        &[("t.csv", rows)],
        &["trace", "import", "--format", "azure-functions-2021", "t.csv", "--out", "x.wkl"],
        &["t.csv:3", "end_timestamp", "oops"],
    );
}

#[test]
fn a_function_without_a_duration_is_named() {
    let counts = b"HashOwner,HashApp,HashFunction,Trigger,1,2\no,a,f,http,1,0\no,a,g,http,0,2\n";
    let durations = b"HashOwner,HashApp,HashFunction,Average,Count,Minimum,Maximum,percentile_Average_0,percentile_Average_1,percentile_Average_25,percentile_Average_50,percentile_Average_75,percentile_Average_99,percentile_Average_100\no,a,f,5,1,5,5,5,5,5,5,5,5,5\n";
    refused(
        &[("c.csv", counts), ("d.csv", durations)],
        &[
            "trace",
            "import",
            "--format",
            "azure-functions-2019",
            "c.csv",
            "--durations",
            "d.csv",
            "--out",
            "x.wkl",
        ],
        &["c.csv", "3", "g", "duration"],
    );
}

#[test]
fn a_truncated_and_a_foreign_workload_file_are_told_apart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let made = trenvx(folder.path(), &["trace", "generate", "w1", "--out", "w1.wkl"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let whole = fs::read(folder.path().join("w1.wkl")).expect("the workload file");
    let half = &whole[..whole.len() / 2];
    refused(&[("half.wkl", half)], &["trace", "describe", "half.wkl"], &["half.wkl", "truncated"]);
    refused(
        &[("x.wkl", b"something else entirely, but long enough to be a header")],
        &["trace", "describe", "x.wkl"],
        &["x.wkl", "not a trenvx workload file"],
    );
    let mut bent = whole.clone();
    let last = bent.len() - 9;
    bent[last] ^= 1;
    refused(&[("bent.wkl", &bent)], &["trace", "describe", "bent.wkl"], &["bent.wkl", "corrupt"]);
}
