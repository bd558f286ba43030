//! A sweep that is killed at any moment loses what was running, and nothing else: finished by running
//! it again, it leaves the bytes of one that was never disturbed.

mod common;

use common::{House, new_runs, said, same};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
    let began = Instant::now();
    assert_eq!(new_runs(&said(&mut house.sweep("undisturbed", &axes))), 1000);
    let takes = began.elapsed();

    // When the kills come is left to chance; what comes out must not depend on it.
    let mut chance = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").subsec_nanos();
    let (mut kills, mut before) = (0, 0);
    while kills < 5 {
        chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let mut child = house
            .sweep("killed", &axes)
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        // At most a sixth of the whole, so that it is not done before the fifth.
        std::thread::sleep(
            takes.mul_f64(f64::from(chance) / f64::from(u32::MAX) / 6.0) + Duration::from_millis(1),
        );
        child.kill().expect("it is ours");
        let status = child.wait().expect("it is ours");
        assert_eq!(status.signal(), Some(9), "it ended before it was killed");
        let done = house.done("killed");
        assert!(done >= before, "{before} runs were done, {done} are left");
        (kills, before) = (kills + 1, done);
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

#[test]
fn a_plan_of_ten_thousand_points_and_a_sweep_of_a_thousand_are_small() {
    let house = House::new();
    let axes = thousand();
    let mut axes: Vec<&str> = axes.iter().map(String::as_str).collect();
    said(&mut house.sweep("out", &axes));
    let peaks = std::fs::read_dir(house.path("out/runs")).expect("a store").flatten().filter_map(|run| {
        let text = std::fs::read_to_string(run.path().join("manifest.json")).ok()?;
        let (_, rest) = text.split_once("\"process_peak_rss_bytes\": ")?;
        rest.split(',').next()?.trim().parse::<u64>().ok()
    });
    let peak = peaks.max().expect("a manifest");
    // Ten times as many points may take at most ten times as much: below 500 MB for 10,000.
    assert!(peak < 50_000_000, "{peak} bytes for a thousand points");
    axes.extend([
        "--sweep",
        "keep_alive.ttl=[\"1 s\",\"2 s\",\"3 s\",\"4 s\",\"5 s\",\"6 s\",\"7 s\",\"8 s\",\"9 s\",\"10 s\"]",
    ]);
    let output = house.sweep("other", &axes).arg("--dry-run").output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("10000 points, 10000 runs: 0 in the store, 10000 to run"), "{text}");
    assert!(text.contains("no earlier run to go by"), "{text}");
}
