//! Many sandboxes, for long, and managers that are killed: nothing grows, nothing stays.

mod common;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{NEEDS, ask, config, function, manager, ready};
use emu::doctor::skip_without;
use emu::sandbox::{Manager, Mode, Program};
use serde_json::json;

/// Functions that one sandbox gets, one after another.
const REPURPOSINGS: usize = 10_000;
/// Managers that are killed.
const KILLS: usize = 50;

/// What must not grow in a manager's process and around it.
#[derive(Debug, PartialEq)]
struct State {
    descriptors: usize,
    threads: usize,
    mounts: usize,
    /// Links, cgroups and files with the labels of this process.
    labelled: usize,
    children: usize,
}

fn state() -> State {
    let entries = |path: &str| std::fs::read_dir(path).unwrap().count();
    let found = emu::clean::find().unwrap();
    let own = found.iter().filter(|(label, _)| label.is_of(std::process::id()));
    let children = |task: std::fs::DirEntry| {
        let list = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        list.split_whitespace().count()
    };
    State {
        descriptors: entries("/proc/self/fd"),
        threads: entries("/proc/self/task"),
        mounts: std::fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count(),
        labelled: own.map(|(_, things)| things.len()).sum(),
        children: std::fs::read_dir("/proc/self/task").unwrap().flatten().map(children).sum(),
    }
}

fn resident_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Alone in its process, because it counts what the process has: it calls itself.
#[test]
fn many_repurposings_leave_nothing() {
    if skip_without(NEEDS) {
        return;
    }
    if std::env::var_os("TRENVX_ALONE").is_none() {
        let mut alone = Command::new(std::env::current_exe().unwrap());
        alone.args(["--exact", "many_repurposings_leave_nothing", "--nocapture"]).env("TRENVX_ALONE", "1");
        let output = alone.output().unwrap();
        print!("{}", String::from_utf8_lossy(&output.stdout));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let manager = manager(Mode::Repurpose);
    let program = Program::call("pause", [""; 0]);
    let mut sandbox = manager.create(&program).unwrap();
    for _ in 0..50 {
        sandbox = manager.repurpose(sandbox, &program).unwrap();
    }
    manager.settle();
    let (before, memory_before) = (state(), resident_kib());
    for _ in 0..REPURPOSINGS {
        sandbox = manager.repurpose(sandbox, &program).unwrap();
    }
    manager.settle();
    let (after, memory_after) = (state(), resident_kib());
    println!("{REPURPOSINGS} repurposings: {before:?}, {memory_before} KiB -> {after:?}, {memory_after} KiB");
    assert_eq!(after, before);
    assert!(memory_after < memory_before + 2_048, "{memory_before} -> {memory_after} KiB");
    let init = sandbox.init_pid().unwrap();
    let held = std::fs::read_dir(format!("/proc/{init}/fd")).unwrap().count();
    assert!(held < 40, "the init holds {held} descriptors");
    assert_eq!(manager.statistics().repurposed as usize, REPURPOSINGS + 50);
    drop(sandbox);
    drop(manager);
    // The kernel takes network namespaces, and links with them, apart in its own time.
    let end = Instant::now() + Duration::from_secs(5);
    while state().labelled > 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(state().labelled, 0);
}

#[test]
fn a_hundred_sandboxes_at_a_time() {
    if skip_without(NEEDS) {
        return;
    }
    let manager = manager(Mode::Repurpose);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut sandboxes = Vec::new();
                for _ in 0..25 {
                    sandboxes.push(manager.create(&function()).unwrap());
                }
                let sandboxes: Vec<_> =
                    sandboxes.into_iter().map(|one| manager.repurpose(one, &function()).unwrap()).collect();
                for (nth, mut sandbox) in sandboxes.into_iter().enumerate() {
                    ready(&mut sandbox);
                    assert_eq!(ask(&mut sandbox, "echo", json!(nth)).unwrap()["with"], nth);
                }
            });
        }
    });
    manager.settle();
    let statistics = manager.statistics();
    assert_eq!((statistics.created, statistics.repurposed, statistics.destroyed), (100, 100, 100));
}

/// A manager in a process of its own, killed at a moment that differs each time.
#[test]
fn nothing_is_left_of_managers_that_are_killed() {
    if std::env::var_os("TRENVX_VICTIM").is_some() {
        victim();
    }
    if skip_without(NEEDS) {
        return;
    }
    let mut seed = 0x9e37_79b9_u64;
    for _ in 0..KILLS {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "nothing_is_left_of_managers_that_are_killed"])
            .env("TRENVX_VICTIM", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        // From before it has its label to long after its first sandboxes.
        std::thread::sleep(Duration::from_millis(2 + seed % 400));
        victim.kill().unwrap();
        victim.wait().unwrap();
        let pid = victim.id();
        let of_victim = |found: std::collections::BTreeMap<emu::sandbox::Label, Vec<String>>| {
            found.into_iter().filter(|(label, _)| label.is_of(pid)).collect::<Vec<_>>()
        };
        let report = emu::clean::clean().unwrap();
        assert_eq!(report.failed, Vec::<String>::new());
        assert_eq!(of_victim(emu::clean::find().unwrap()), []);
        assert_eq!(processes_with(&format!("trenvx-{pid:x}")), Vec::<String>::new());
    }
}

/// Creates, repurposes and destroys until it is killed.
fn victim() -> ! {
    let manager = Manager::start(config(Mode::Repurpose)).unwrap();
    let program = Program::call("pause", [""; 0]);
    let mut idle = Vec::new();
    loop {
        idle.push(manager.create(&program).unwrap());
        idle = idle.into_iter().map(|one| manager.repurpose(one, &program).unwrap()).collect();
        if idle.len() > 3 {
            idle.remove(0);
        }
    }
}

/// Processes in a cgroup whose name begins so.
fn processes_with(name: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|entry| {
            let text = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
            // A process that is dead and not waited for is not a process any more.
            let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            text.contains(name) && !status.contains("State:\tZ")
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}
