//! The doctor on the machine that runs the tests, whatever that machine can do.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use emu::doctor::{Status, examine, facilities, skip_without};

fn mounts() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// Mounts where probes make theirs; other places may change for reasons of their own.
fn mounts_at_scratch() -> Vec<String> {
    let mounts = mounts();
    let here = mounts.lines().filter(|line| line.split(' ').nth(4) == Some("/tmp"));
    here.map(str::to_owned).collect()
}

fn cgroups_left_behind(mounts: &str) -> Vec<String> {
    let points = mounts.lines().filter(|line| line.contains(" - cgroup2 "));
    points
        .filter_map(|line| std::fs::read_dir(line.split(' ').nth(4)?).ok())
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("trenvx-doctor-"))
        .collect()
}

/// One examination for all of it, because it is the slow part.
#[test]
fn every_check_answers_and_nothing_is_left_behind() {
    let mounts_before = mounts_at_scratch();
    let namespace_before = std::fs::read_link("/proc/self/ns/mnt").unwrap();
    let report = examine();

    let answered: Vec<&str> = report.checks.iter().map(|check| check.facility).collect();
    assert_eq!(answered, facilities().collect::<Vec<_>>());
    assert_eq!(answered.iter().collect::<BTreeSet<_>>().len(), answered.len(), "a name is taken twice");
    assert!(report.checks.is_sorted_by_key(|check| check.group), "groups are torn apart");
    for check in &report.checks {
        match &check.status {
            Status::Ok => {}
            Status::Degraded { fallback } => assert!(!fallback.is_empty(), "{check:?}"),
            Status::Missing { fix } => assert!(!fix.is_empty(), "{check:?}"),
        }
        assert!(!check.detail.is_empty() && !check.needed_for.is_empty(), "{check:?}");
    }
    assert!(report.machine.cores > 0 && report.machine.memory_bytes > 0);

    assert_eq!(mounts_at_scratch(), mounts_before, "a mount is left");
    assert_eq!(std::fs::read_link("/proc/self/ns/mnt").unwrap(), namespace_before);
    // Tests that run at the same time have theirs, but not for long.
    let end = Instant::now() + Duration::from_secs(10);
    while !cgroups_left_behind(&mounts()).is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(cgroups_left_behind(&mounts()), Vec::<String>::new());
    // SAFETY: asks about any child of ours without waiting; there must be none.
    let child = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
    assert_eq!(child, -1, "a child is left");
}

#[test]
fn a_test_that_needs_nothing_is_not_skipped() {
    assert!(!skip_without(&[]));
}
