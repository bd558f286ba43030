//! The Slurm executor against commands that act like Slurm's: what is submitted, what is submitted
//! again, and that the results are those of a local run. `scripts/test-slurm` does the same with the
//! real ones.

mod common;

use common::{House, new_runs, said, same, stderr};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Starts the tasks of an array in the background and answers with a job number. In the first
/// submission, the tasks that `lost` lists end before they have begun.
const SBATCH: &str = r#"#!/bin/sh
if [ "$1" = --version ]; then echo "slurm 0.0"; exit 0; fi
state=$FAKE_SLURM
job=$(($(cat "$state/jobs" 2>/dev/null || echo 0) + 1))
echo $job >"$state/jobs"
for word in "$@"; do case $word in --array=*) array=${word#--array=} ;; *) script=$word ;; esac; done
echo "$job $array" >>"$state/submitted"
cp "$script" "$state/script"
for range in $(echo "$array" | tr , ' '); do
    for task in $(seq "${range%-*}" "${range#*-}"); do
        if [ $job = 1 ] && grep -qx "$task" "$state/lost" 2>/dev/null; then continue; fi
        SLURM_ARRAY_TASK_ID=$task sh "$script" >>"$state/log" 2>&1 </dev/null &
        echo $! >>"$state/pids-$job"
    done
done
echo "$job;cluster"
"#;

/// Lists the tasks that are alive. The first questions go unanswered, as while the controller starts.
const SQUEUE: &str = r#"#!/bin/sh
state=$FAKE_SLURM
asked=$(($(cat "$state/asked" 2>/dev/null || echo 0) + 1))
echo $asked >"$state/asked"
if [ $asked -le 2 ]; then echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; fi
while [ $# -gt 0 ]; do if [ "$1" = --jobs ]; then job=$2; fi; shift; done
if [ ! -f "$state/pids-$job" ]; then echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1; fi
while read -r pid; do
    if [ -d /proc/$pid ] && ! grep -q '^State:.Z' /proc/$pid/status; then echo "RUNNING None"; fi
done <"$state/pids-$job"
exit 0
"#;

/// Tells the limit of arrays, as `scontrol show config` does among much else.
const SCONTROL: &str = r#"#!/bin/sh
echo "Configuration data as of 2026-01-01T00:00:00"
echo "MaxArraySize            = ${FAKE_MAX_ARRAY:-1001}"
"#;

/// A house whose commands find this Slurm.
fn with_slurm() -> House {
    let house = House::new();
    fs::create_dir_all(house.path("bin")).expect("a folder");
    fs::create_dir_all(house.path("state")).expect("a folder");
    for (name, text) in [("sbatch", SBATCH), ("squeue", SQUEUE), ("scontrol", SCONTROL)] {
        let path = house.path("bin").join(name);
        fs::write(&path, text).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a script");
    }
    house
}

const AXES: [&str; 2] = ["--sweep", "cluster.cores=[1,2,3,4,5,6,7,8,9,10]"];

fn on_slurm(house: &House, out: &str, options: &[&str]) -> Command {
    let mut command = house.sweep(out, &AXES);
    command.args(["--executor", "slurm", "--shards", "4", "--poll", "0.2"]).args(options);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", house.path("bin").display()));
    command.env("FAKE_SLURM", house.path("state"));
    command
}

fn submitted(house: &House) -> String {
    fs::read_to_string(house.path("state/submitted")).unwrap_or_default()
}

#[test]
fn shards_on_slurm_leave_what_a_local_run_leaves_and_lost_ones_are_submitted_again() {
    let house = with_slurm();
    said(&mut house.sweep("local", &AXES));
    fs::write(house.path("state/lost"), "2\n3\n").expect("a list");
    let text = said(&mut on_slurm(&house, "cluster", &["--sbatch", "--partition=short"]));
    assert_eq!(submitted(&house), "1 1-4\n2 2-3\n");
    assert_eq!(new_runs(&text), 20, "{text}");
    same(&house.results("local"), &house.results("cluster"));
    let script = fs::read_to_string(house.path("state/script")).expect("a script");
    assert!(script.contains("#SBATCH --partition=short\n"), "{script}");

    // What is done is not submitted.
    assert_eq!(new_runs(&said(&mut on_slurm(&house, "cluster", &[]))), 0);
    assert_eq!(submitted(&house), "1 1-4\n2 2-3\n");
}

#[test]
fn an_array_that_was_submitted_before_is_followed_and_not_submitted_again() {
    let house = with_slurm();
    said(&mut house.sweep("local", &AXES));
    // The command is killed as soon as it has submitted.
    let mut killed = on_slurm(&house, "cluster", &[]);
    let mut child = killed.stderr(Stdio::null()).spawn().expect("it starts");
    let note = house.path("cluster/slurm");
    let noted = || {
        fs::read_dir(&note)
            .is_ok_and(|mut e| e.any(|e| e.is_ok_and(|e| e.path().join("submitted.json").is_file())))
    };
    for _ in 0..20_000 {
        if noted() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    said(&mut on_slurm(&house, "cluster", &[]));
    assert_eq!(submitted(&house), "1 1-4\n");
    same(&house.results("local"), &house.results("cluster"));
}

#[test]
fn workers_on_slurm_leave_what_a_local_run_leaves() {
    let house = with_slurm();
    said(&mut house.sweep("local", &AXES));
    let text = said(&mut on_slurm(&house, "cluster", &["--workers"]));
    assert_eq!((submitted(&house).as_str(), new_runs(&text)), ("1 1-4\n", 20));
    same(&house.results("local"), &house.results("cluster"));
}

#[test]
fn attempts_are_bounded_and_what_is_missing_is_listed() {
    let house = with_slurm();
    // A script that cannot run: its program is gone.
    fs::write(house.path("bin/sbatch"), SBATCH.replace("sh \"$script\"", "false")).expect("a script");
    let output = on_slurm(&house, "cluster", &["--retries", "1"]).output().expect("it starts");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(submitted(&house), "1 1-4\n2 1-4\n");
    assert!(text.contains("20 are missing") && text.contains("nobody has run it to its end"), "{text}");
}

#[test]
fn a_point_that_fails_by_itself_is_not_submitted_again() {
    let house = with_slurm();
    said(house.trenvx().args(["trace", "generate", "w1", "--out", "there.wkl"]));
    // The disk of the tasks refuses one run: its folder is a file.
    let axes = ["--point", "cluster.cores=1/criu", "--point", "cluster.cores=2/criu"];
    let mut only = house.sweep("cluster", &[&AXES[..], &axes[..1], &axes[1..2]].concat());
    said(&mut only);
    let run = fs::read_dir(house.path("cluster/runs")).expect("a store").flatten().next().expect("a run");
    fs::remove_dir_all(run.path()).expect("a run");
    let key = run.file_name().into_string().expect("a plain name");
    fs::create_dir(house.path("cluster/runs").join(format!("{key}.lock"))).expect("a folder in its way");
    let output = on_slurm(&house, "cluster", &axes).output().expect("it starts");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(submitted(&house).lines().count(), 1, "{text}");
    assert!(text.contains("1 failed") && text.contains("rerun: trenvx "), "{text}");
}

#[test]
fn more_shards_than_the_cluster_takes_are_refused_with_what_to_do() {
    let house = with_slurm();
    let output = on_slurm(&house, "cluster", &[]).env("FAKE_MAX_ARRAY", "4").output().expect("it starts");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("4 shards are more") && text.contains("give --shards 3 or fewer"), "{text}");
    assert_eq!(submitted(&house), "", "nothing was submitted");
    let output = on_slurm(&house, "cluster", &[]).env("FAKE_MAX_ARRAY", "5").output().expect("it starts");
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn without_slurm_the_message_says_what_to_do() {
    let house = House::new();
    let output = on_slurm(&house, "cluster", &[]).env("PATH", "/nowhere").output().expect("it starts");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.contains("sbatch: not found on PATH: run this where Slurm's commands are installed"),
        "{text}"
    );
}
