//! A sweep that is killed at any moment loses what was running, and nothing else: finished by running
//! it again, it leaves the bytes of one that was never disturbed.

mod common;

use common::{House, new_runs, said, same};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 50 × 10 × 2 systems = 1,000 points.
fn thousand() -> Vec<String> {
    let list = |n: u32| (1..=n).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
    vec![
        "--sweep".to_owned(),
        format!("cluster.cores=[{}]", list(50)),
        "--sweep".to_owned(),
        format!("cluster.nodes=[{}]", list(10)),
    ]
}

#[test]
fn a_sweep_of_a_thousand_points_survives_five_kills() {
    let house = House::new();
    let axes = thousand();
    let axes: Vec<&str> = axes.iter().map(String::as_str).collect();
    assert_eq!(new_runs(&said(&mut house.sweep("undisturbed", &axes))), 1000);
    for command in ["figure", "report", "claims"] {
        said(house.trenvx().args([command, "small.toml", "--out", "undisturbed"]).args(&axes));
    }
    // Ten times as many points may take at most ten times as much: below 500 MB for 10,000.
    let peak = peak_of_children();
    assert!(peak < 50_000_000, "{peak} bytes for a thousand points");

    // When the kills come is left to chance; what comes out must not depend on it.
    let mut chance = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").subsec_nanos();
    let mut before = 0;
    for kill in 0..5 {
        chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Somewhere in the next 150 runs, and somewhere in what is done for a run.
        let (at, delay) =
            (kill * 150 + (chance >> 8) as usize % 150, Duration::from_micros(u64::from(chance >> 16) / 32));
        let mut command = house.sweep("killed", &axes);
        let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("it starts");
        while house.done("killed") < at {
            assert!(child.try_wait().expect("it is ours").is_none(), "it ended before it was killed");
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(delay);
        child.kill().expect("it is ours");
        let status = child.wait().expect("it is ours");
        assert_eq!(status.signal(), Some(9), "it ended before it was killed");
        let done = house.done("killed");
        assert!(done >= before, "{before} runs were done, {done} are left");
        before = done;
    }
    assert!(before < 1000, "nothing was left to do after the kills");

    let finished = said(&mut house.sweep("killed", &axes));
    assert_eq!(new_runs(&finished), 1000 - before, "{finished}");
    let (expected, found) = (house.results("undisturbed"), house.results("killed"));
    assert!(expected.len() >= 7002, "only {} files", expected.len());
    same(&expected, &found);
    assert_eq!(new_runs(&said(&mut house.sweep("killed", &axes))), 0);
    same(&expected, &house.results("killed"));
}

/// The largest resident memory of any child that has ended, in bytes. What this process held when it started one
/// counts as the child's, too: so it is asked for before much is read here.
fn peak_of_children() -> i64 {
    // SAFETY: all-zero is a value of this structure of numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is ours and lives through the call.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) }, 0);
    usage.ru_maxrss * 1024
}

#[test]
fn ten_thousand_points_are_planned_at_once() {
    let house = House::new();
    let axes = thousand();
    let mut axes: Vec<&str> = axes.iter().map(String::as_str).collect();
    axes.extend([
        "--sweep",
        "keep_alive.ttl=[\"1 s\",\"2 s\",\"3 s\",\"4 s\",\"5 s\",\"6 s\",\"7 s\",\"8 s\",\"9 s\",\"10 s\"]",
    ]);
    let output = house.sweep("out", &axes).arg("--dry-run").output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("10000 points, 10000 runs: 0 in the store, 10000 to run"), "{text}");
    assert!(text.contains("no earlier run to go by"), "{text}");
}

#[test]
fn what_a_killed_writer_left_is_removed() {
    let house = House::new();
    said(&mut house.sweep("out", &[]));
    let folder = house.path("out/experiments");
    let kept = ["e98-kick-sim.json", "e98-kick-sim.lock", "e98-kick-sim.csv", "e98-kick-simple.partial-1-a"];
    for name in ["e98-kick-sim.partial-1-abc", "e98-kick-sim.csv-1-abc", "e98-kick-sim.csv-77", kept[3]] {
        fs::write(folder.join(name), "half").expect("a file");
    }
    said(&mut house.sweep("out", &[]));
    let mut left: Vec<String> = fs::read_dir(&folder)
        .expect("a folder")
        .flatten()
        .map(|e| e.file_name().into_string().unwrap())
        .collect();
    left.sort();
    let mut kept = kept.map(str::to_owned);
    kept.sort();
    assert_eq!(left, kept);
}
