//! Commands of the real world, as people type them: sandboxes that stay, the cleaner, functions and their checks, the
//! measurement of sandboxes, the doctor.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use emu::doctor::skip_without;
use emu::sandbox::labels;
use serde_json::Value;

/// What sandboxes need of a machine.
const NEEDS: [&str; 6] =
    ["root", "namespace-net", "veth-bridge", "clone-into-cgroup", "overlayfs", "mount-api"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// `trenvx` with outputs in `out`, in the repository.
fn trenvx(out: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trenvx"));
    command.current_dir(root()).arg("--out").arg(out).args(words).stdin(Stdio::null());
    command.output().expect("the command starts")
}

/// One that succeeds: what it printed.
fn said(out: &Path, words: &[&str]) -> String {
    let output = trenvx(out, words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// One that fails: its exit code and what it complained of.
fn complaint(out: &Path, words: &[&str]) -> (Option<i32>, String) {
    let output = trenvx(out, words);
    assert!(!output.status.success(), "{words:?} succeeded");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// There is one manager of sandboxes that stay on a machine.
fn alone() -> File {
    let lock =
        File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("sandboxes.lock")).expect("a lock file");
    lock.lock().expect("a lock");
    lock
}

/// Whether somebody's manager, which is not ours to end, listens on this machine.
fn is_taken() -> bool {
    let taken = std::os::unix::net::UnixStream::connect(labels::SOCKET).is_ok();
    if taken {
        emu::doctor::skip("somebody has sandboxes that stay (trenvx emu sandbox list)");
    }
    taken
}

/// Answers each request with its input, and says who it is.
const ECHO: &str = r#"echo '{"ready":true}'; n=0; while read -r line; do n=$((n + 1)); echo "{\"id\":$n,\"ok\":true,\"output\":\"$(hostname) $0\"}"; done"#;

#[test]
fn sandboxes_stay_are_given_to_others_and_go() {
    if skip_without(&NEEDS) {
        return;
    }
    let _alone = alone();
    if is_taken() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let run = |words: &[&str]| said(folder.path(), &[&["emu", "sandbox"], words].concat());
    assert_eq!(run(&["list"]), "");
    let made = json(&run(&["create", "one", "--memory-mib", "64", "--", "sh", "-c", ECHO, "first"]));
    assert_eq!((&made["name"], &made["ended"]), (&Value::from("one"), &Value::from(false)));
    assert_eq!(json(&run(&["exec", "one", "{\"n\":1}"]))["output"], "function first");

    let (code, error) = complaint(folder.path(), &["emu", "sandbox", "create", "one", "--", "true"]);
    assert!(code == Some(2) && error.contains("named one already"), "{code:?} {error}");
    let (_, error) = complaint(folder.path(), &["emu", "sandbox", "exec", "two"]);
    assert!(error.contains("no sandbox is named two") && error.contains("emu sandbox list"), "{error}");

    let again = json(&run(&["repurpose", "one", "--", "sh", "-c", ECHO, "second"]));
    assert_eq!((&again["number"], &again["init"]), (&made["number"], &made["init"]), "another sandbox");
    assert!(again["start_ms"].as_f64() < made["start_ms"].as_f64(), "{again} {made}");
    assert_eq!(json(&run(&["exec", "one"]))["output"], "function second");
    let listed = run(&["list"]);
    assert!(listed.lines().count() == 1 && json(&listed)["function"] == again["function"], "{listed}");
    // A function that ends says so.
    run(&["repurpose", "one", "--", "sh", "-c", "echo no more >&2; exit 3"]);
    let (_, error) = complaint(folder.path(), &["emu", "sandbox", "exec", "one", "--within", "5"]);
    assert!(error.contains("ended without an answer") && error.contains("no more"), "{error}");

    assert_eq!(json(&run(&["destroy", "one"]))["destroyed"], "one");
    // The manager goes with its last sandbox.
    let init = made["init"].as_u64().unwrap();
    assert!(!Path::new("/proc").join(init.to_string()).exists());
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while Path::new(labels::SOCKET).exists() {
        assert!(std::time::Instant::now() < end, "the manager is still there");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(run(&["list"]), "");
}

#[test]
fn the_cleaner_removes_what_a_killed_manager_left() {
    if skip_without(&NEEDS) {
        return;
    }
    let _alone = alone();
    if is_taken() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let made = json(&said(folder.path(), &["emu", "sandbox", "create", "left", "--", "sleep", "600"]));
    let (init, function) = (made["init"].as_u64().unwrap(), made["function"].as_u64().unwrap());
    // The nursery's parent is the manager.
    let parent = |pid: u64| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
        line.trim().parse().unwrap()
    };
    let manager = parent(parent(init));
    let label = format!("{manager:x}");
    let listed = said(folder.path(), &["emu", "clean", "--list"]);
    assert!(listed.lines().filter(|line| line.starts_with(&label)).count() >= 3, "{label}: {listed}");
    // A manager that lives keeps what is its own.
    assert!(said(folder.path(), &["emu", "clean"]).contains(&format!("in use  {label}")));

    let kill = Command::new("/bin/sh").args(["-c", &format!("kill -9 {manager}")]).status().unwrap();
    assert!(kill.success());
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while [init, function].iter().any(|pid| Path::new("/proc").join(pid.to_string()).exists()) {
        assert!(std::time::Instant::now() < end, "processes outlive their manager");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let removed = said(folder.path(), &["emu", "clean"]);
    for thing in ["cgroup ", "link tv", "file /run/trenvx/", "socket /run/trenvx/sandboxes.sock"] {
        assert!(removed.contains(&format!("removed {thing}")), "{thing}: {removed}");
    }
    let listed = said(folder.path(), &["emu", "clean", "--list"]);
    assert!(!listed.lines().any(|line| line.starts_with(&label)), "{listed}");
    assert!(!Path::new(labels::SOCKET).exists());
    assert_eq!(said(folder.path(), &["emu", "sandbox", "list"]), "");
}

#[test]
fn the_bench_prints_steps_and_goals_and_fails_only_if_it_is_told_to() {
    if skip_without(&NEEDS) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let words =
        ["emu", "bench", "sandbox", "--ways", "1", "--starts", "10", "--mode", "new", "--mode", "repurpose"];
    let text = said(folder.path(), &words);
    for part in [
        "kill old",
        "make link",
        "published",
        "repurpose: times quicker than new",
        ">= 15.00 x",
        "<= 1.00 ms",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let output = trenvx(folder.path(), &[&words[..], &["--json", "--strict"]].concat());
    let all = json(&String::from_utf8_lossy(&output.stdout));
    let goals = all["goals"].as_array().unwrap();
    assert_eq!((goals.len(), all["rows"].as_array().unwrap().len()), (2, 2));
    let missed = goals.iter().any(|goal| goal["met"] == false);
    assert_eq!(output.status.code(), Some(i32::from(missed)));
    let (code, error) = complaint(folder.path(), &["emu", "bench", "sandbox", "--mode", "newer"]);
    assert!(code == Some(2) && error.contains("pooled-netns"), "{error}");
}

#[test]
fn functions_are_listed_and_checked_by_command() {
    if skip_without(&["root", "namespace-mount", "overlayfs"]) {
        return;
    }
    if !root().join("out/images/base/etc/trenvx-image").is_file() {
        emu::doctor::skip("there is no base image: run scripts/setup --functions");
        return;
    }
    let out = root().join("out");
    let listed = said(&out, &["emu", "functions", "list"]);
    for name in ["hello-world", "page-touch", "pagerank"] {
        assert!(listed.lines().any(|line| line.starts_with(name)), "{listed}");
    }
    let checked = said(
        &out,
        &["emu", "functions", "check", "hello-world", "page-touch", "--runs", "1", "--format", "json"],
    );
    let rows = json(&checked);
    assert_eq!((&rows[0]["faults"], &rows[1]["faults"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    assert_eq!(rows[1]["language"], "built-in");
    let (code, error) = complaint(&out, &["emu", "functions", "check", "hello-wrld"]);
    assert!(code == Some(2) && error.contains("did you mean `hello-world`?"), "{code:?} {error}");
    let nowhere = tempfile::tempdir().unwrap();
    let (code, error) = complaint(nowhere.path(), &["emu", "functions", "check", "pyaes"]);
    assert!(code == Some(3) && error.contains("scripts/setup --functions"), "{code:?} {error}");
}

/// Copies the functions' folder, with one handler changed.
fn changed(name: &str, from: &str, to: &str) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().flatten() {
            let target = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    for part in ["runtime", name] {
        copy(&root().join("emu/functions").join(part), &folder.path().join(part));
    }
    let handler = folder.path().join(name).join("handler.py");
    let code = std::fs::read_to_string(&handler).unwrap();
    assert!(code.contains(from));
    std::fs::write(handler, code.replace(from, to)).unwrap();
    folder
}

/// Goal: wrong answers are not only a note: of the check, and of the experiment that measures functions, which keeps
/// what it saw with a warning.
#[test]
fn wrong_answers_fail_the_check_and_the_experiment() {
    if skip_without(&NEEDS) {
        return;
    }
    if !root().join("out/images/base/etc/trenvx-image").is_file() {
        emu::doctor::skip("there is no base image: run scripts/setup --functions");
        return;
    }
    let functions = changed("hello-world", "Hello", "Hallo");
    let out = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root().join("out/images"), out.path().join("images")).unwrap();
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trenvx"));
        command.current_dir(root()).env("TRENVX_FUNCTIONS", functions.path());
        command.arg("--out").arg(out.path()).args(words).stdin(Stdio::null());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, error) = run(&["emu", "functions", "check", "hello-world", "--runs", "1"]);
    assert!(code == Some(1) && error.contains("1 of 1 functions gave wrong answers"), "{code:?} {error}");

    let sets =
        ["--set", "measure.functions.functions=[\"hello-world\"]", "--set", "measure.functions.starts=1"];
    let (code, error) = run(&[&["run", "e02", "--world", "emu"], &sets[..]].concat());
    assert!(code == Some(1) && error.contains("hello-world did not answer as it should"), "{code:?} {error}");
    assert!(error.contains("warning: hello-world did not answer"), "{error}");
    let kept = std::fs::read_dir(out.path().join("measurements")).into_iter().flatten().flatten();
    let kept: Vec<String> = kept.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect();
    assert!(kept.iter().any(|text| text.contains("\"wrong\"")), "{kept:?}");
}

/// Facilities that come with a set-up count at once: nothing but what programs say of themselves is kept.
#[test]
fn what_the_machine_can_do_is_not_remembered_but_for_what_programs_say() {
    let folder = tempfile::tempdir().unwrap();
    let report = json(&said(folder.path(), &["doctor", "--format", "json"]));
    assert!(report["checks"].as_array().unwrap().len() > 40);
    let kept = json(&std::fs::read_to_string(folder.path().join("programs.json")).unwrap());
    let kept: Vec<&String> = kept.as_object().unwrap().keys().collect();
    assert!(kept.iter().all(|program| program.starts_with('/')), "{kept:?}");
    for check in report["checks"].as_array().unwrap().iter().filter(|check| check["status"] == "missing") {
        assert!(!check["fix"].as_str().unwrap().is_empty(), "{check}");
    }
}

#[test]
fn numbers_of_agents_and_guests_that_make_no_sense_are_refused_before_anything_starts() {
    let out = tempfile::tempdir().unwrap();
    let refused = |words: &str, expected: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        let (code, said) = complaint(out.path(), &words);
        assert!(matches!(code, Some(2 | 3)) && said.contains(expected), "{words:?}: {code:?}: {said}");
        assert!(!said.contains("panicked"), "{words:?}: {said}");
    };
    refused("emu agents run --agents 0", "expected at least one");
    refused("emu agents run --agents 10000000 --agent blackjack", "130000000 MiB of memory are needed");
    refused("emu agents run --per-browser 0 --agent blackjack", "agents per browser: 0");
    refused("emu agents run --deadline 0", "deadline: 0ns");
    refused("emu agents run --deadline 18446744073709551615", "at most a year");
    refused("emu agents run --agent nope", "there are blackjack, blog-summary");
    refused("emu agents run --profile /nowhere/p.toml", "there is no folder /nowhere");
    refused("emu agents bench browser --agents 100000", "100000 is not in 1..=1024");
    refused("emu agents record --seeds 0", "0 is not in");
    refused("emu vm bench starts --memory 0", "0 is not in 192..=16384");
    refused("emu vm bench page-cache --memory 1", "1 is not in 192..=16384");
    refused("emu vm bench starts --starts 0", "0 is not in");
    refused("emu vm clone a -n 0", "0 is not in");
    refused("emu vm remove nope", "template nope: there is none in");
    refused("emu vm clone a", "scripts/setup --vm");
}

#[test]
fn the_slowest_model_is_slow_and_no_slower_one_is_taken() {
    if skip_without(&["root", "cgroup2", "cgroup-kill", "python"]) {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let run = |speed: &str| {
        let words = ["emu", "agents", "run", "--agent", "blackjack", "--deadline", "1", "--speed", speed];
        let output = trenvx(out.path(), &words);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    let (code, said) = run("1e-6");
    assert!(code == Some(1) && said.contains("it did not end within 1s"), "{said}");
    let (code, said) = run("1e-300");
    assert!(code == Some(2) && said.contains("speed: 1e-300: expected"), "{said}");
}
