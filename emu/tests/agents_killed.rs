//! A harness that is killed leaves no process, and nothing that `trenvx emu clean` does not know.
//!
//! Method: the test runs itself as another process, which starts a browser and an agent's process that does not end by
//! itself, tells their numbers and waits; then it is killed.

#[path = "agents_common/mod.rs"]
mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Visit, no_browser};
use emu::agents::browser::Limits;

/// Set in the process that is to be killed.
const VICTIM: &str = "TRENVX_TEST_VICTIM";

#[test]
fn a_killed_harness_leaves_no_process() {
    if no_browser() {
        return;
    }
    if std::env::var_os(VICTIM).is_some() {
        return wait_to_be_killed();
    }
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_harness_leaves_no_process", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let line = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once("started ").map(|(_, rest)| rest.to_owned()));
    let line = line.expect("the victim tells what it started");
    let (id, rest) = line.split_once(' ').unwrap();
    let (folder, pids) = rest.split_once(' ').unwrap();
    let pids: Vec<u32> = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.len() > 3, "{pids:?}");
    // Chromium leaves temporary files behind when it is killed: they are to lie with its profile.
    let environment = std::fs::read_to_string(format!("/proc/{}/environ", pids[0])).unwrap();
    let temporary = environment.split('\0').find_map(|one| one.strip_prefix("TMPDIR="));
    let temporary = Path::new(temporary.expect("the browser has a folder for temporary files")).to_owned();
    assert!(temporary.starts_with(folder) && temporary.is_dir(), "{temporary:?} is not in {folder}");
    victim.kill().unwrap();
    victim.wait().unwrap();

    let lives = |pid: &u32| Path::new("/proc").join(pid.to_string()).join("exe").exists();
    let end = Instant::now() + Duration::from_secs(10);
    while pids.iter().any(lives) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    let left: Vec<&u32> = pids.iter().filter(|pid| lives(pid)).collect();
    assert!(left.is_empty(), "{left:?} live on");

    let of_victim = |found: Vec<String>| found.iter().any(|thing| thing.contains(id));
    let report = emu::clean::clean().unwrap();
    assert!(of_victim(report.removed.clone()), "{report:?}");
    let found = emu::clean::find().unwrap();
    assert!(!found.keys().any(|label| label.id() == id), "{found:?}");
    assert!(!temporary.exists());
}

fn wait_to_be_killed() {
    let visit = Visit::new(1, 1, Limits::default());
    let mut session = visit.session(0);
    session.open(&visit.url("/shop")).unwrap();
    let cell = visit.ward.cell("agent0").unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "setsid sleep 1000 & sleep 1000"]).stdin(Stdio::null()).stdout(Stdio::null());
    cell.begin(&mut command).unwrap();
    let mut agent = command.spawn().unwrap();
    while cell.members().len() < 3 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let pids = [visit.broker.browsers()[0].processes(), cell.members()].concat();
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    println!("started {} {} {}", visit.ward.id(), visit.ward.folder().display(), pids.join(" "));
    // Far longer than the test: this process is killed before.
    agent.wait().unwrap();
}
