//! `trenvx compare`: the same runs do not differ, different ones differ by what was changed; and
//! `trenvx reproduce` of claims runs the experiment that they need.

mod common;

use common::{House, said};
use serde_json::Value;

fn out_of(house: &House, arguments: &[&str]) -> String {
    let output = house.trenvx().args(arguments).output().expect("the command starts");
    assert!(output.status.success(), "{arguments:?}: {}", common::stderr(&output));
    String::from_utf8(output.stdout).expect("a text")
}

#[test]
fn two_systems_differ_seed_by_seed_and_in_their_policies() {
    let house = House::new();
    said(&mut house.sweep("out", &["--set", "seeds=[1, 2, 3, 4, 5, 6]"]));
    said(&mut house.sweep("out", &[]));
    let json = |a: &str, b: &str, out: &str| -> Value {
        let text = out_of(&house, &["compare", a, b, "--out", out, "--format", "json"]);
        serde_json::from_str(&text).expect("JSON")
    };
    let compared = json("small.toml:criu", "small.toml:t-cxl", "out");
    let row =
        compared["rows"].as_array().unwrap().iter().find(|row| row["statistic"] == "p99").unwrap().clone();
    let value = |of: &Value| of["value"].as_f64().unwrap();
    assert_eq!(row["difference"]["n"], 1, "one seed was run without --set");
    assert!((value(&row["difference"]) - (value(&row["b"]) - value(&row["a"]))).abs() < 1e-9);
    assert!((value(&row["ratio"]) - value(&row["b"]) / value(&row["a"])).abs() < 1e-9);
    assert!(value(&row["difference"]).abs() > 0.0, "two systems are not the same");
    let spec: Vec<&str> =
        compared["spec"].as_array().unwrap().iter().map(|one| one["field"].as_str().unwrap()).collect();
    assert!(
        spec.contains(&"system.state") && spec.iter().all(|field| field.starts_with("system.")),
        "{spec:?}"
    );
    assert_eq!(compared["environment"], serde_json::json!([]));
    assert_eq!(compared["same_runs"], 0);
}

#[test]
fn five_seeds_give_an_interval_of_paired_differences() {
    let house = House::new();
    for (out, cap) in [("small", "2 GiB"), ("large", "64 GiB")] {
        let set = format!("cluster.memory_cap={cap}");
        said(&mut house.sweep(out, &["--set", "seeds=[1, 2, 3, 4, 5]", "--set", &set]));
    }
    let text = out_of(&house, &["compare", "small", "large", "--metric", "end_to_end.mean"]);
    let differences = text.lines().filter(|line| line.contains("B − A")).collect::<Vec<_>>();
    assert_eq!(differences.len(), 2, "{text}");
    assert!(differences.iter().all(|line| line.contains(" to ") && line.contains("n = 5")), "{text}");
    assert!(text.contains("cluster.memory_cap: 2147483648 → 68719476736"), "{text}");
}

#[test]
fn the_same_runs_in_two_stores_are_the_same() {
    let house = House::new();
    for out in ["one", "two"] {
        said(&mut house.sweep(out, &["--set", "seeds=[1, 2, 3, 4, 5]"]));
    }
    let text = out_of(&house, &["compare", "one", "two"]);
    assert!(text.contains("10 runs are the very same in both."), "{text}");
    assert!(
        text.contains("Spec: no difference.") && text.contains("Machine and build: no difference."),
        "{text}"
    );
    let rows = out_of(&house, &["compare", "one", "two", "--format", "csv", "--metric", "end_to_end.p99"]);
    for row in rows.lines().skip(1) {
        let cells: Vec<&str> = row.split(',').collect();
        assert_eq!(&cells[6..], ["0", "0", "0", "1", "1", "1", "5"], "{row}");
    }
    assert_eq!(rows.lines().count(), 3, "two points");
}

#[test]
fn what_cannot_be_compared_is_refused_with_the_nearest_name() {
    let house = House::new();
    said(&mut house.sweep("out", &[]));
    for (a, b, part) in [
        ("small.toml:criu", "small.toml:t-clx", "did you mean \"t-cxl\"?"),
        ("small.toml", "small.toml@shrt", "did you mean \"short\"?"),
        ("small.toml", "small.toml@full", "nothing was run"),
        ("small.toml", ".", "neither a store nor a run"),
    ] {
        let output = house.trenvx().args(["compare", a, b, "--out", "out"]).output().expect("it starts");
        let message = common::stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(part), "{a} {b}: {message}");
    }
}

#[test]
fn a_claim_is_reproduced_by_the_experiment_that_it_names() {
    let house = House::new();
    let text = out_of(&house, &["reproduce", "C12", "--quiet", "--out", "out"]);
    let verdicts: Vec<&str> = text.lines().filter(|line| line.starts_with('c')).collect();
    assert_eq!(verdicts.len(), 1, "only what was asked for: {text}");
    assert!(verdicts[0].starts_with("c12 "), "{text}");
    assert!(house.path("out/experiments/e07-kick-sim.json").is_file());
    assert!(house.path("out/report-e07.html").is_file());
}

#[test]
fn a_claim_that_nothing_can_refute_is_not_run_and_says_why() {
    let house = House::new();
    let text = out_of(&house, &["reproduce", "c48", "--out", "out"]);
    assert!(text.starts_with("c48 NOT-RUN") && text.contains("a step cost"), "{text}");
    assert!(!house.path("out").exists(), "nothing was run");
}
