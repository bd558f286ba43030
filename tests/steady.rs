//! A burn-in that is too short is found, in the run's summary and in the report.

mod common;

use common::{House, stderr};
use std::fs;

const EXPERIMENT: &str = r#"
id = "e97"
title = "From cold"
question = "Is it steady?"
systems = ["faasd"]
seeds = [1]
cluster = { memory_cap = "1 TiB", dram = "2 TB", cores = 256 }
[workload.zipf]
functions = 2000
invocations = 20000
span = "30 min"
"#;

#[test]
fn a_burn_in_that_is_too_short_is_told() {
    let house = House::new();
    let base = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/base.toml");
    // Idle sandboxes are kept for ten minutes: until then there are more and more of them.
    for (name, burn_in, is_steady) in [("short", "10 s", false), ("long", "12 min", true)] {
        let file = format!("{name}.toml");
        let text = format!("base = {base:?}\n{EXPERIMENT}burn_in = \"{burn_in}\"\n");
        fs::write(house.path(&file), text).expect("an experiment");
        let output =
            house.trenvx().args(["run", &file, "--quiet", "--out", name]).output().expect("it starts");
        assert!(output.status.success(), "{}", stderr(&output));
        let said = stderr(&output);
        assert_eq!(
            !said.contains("the measured part is not steady: node DRAM in use rises"),
            is_steady,
            "{name}: {said}"
        );
    }
    let reported =
        house.trenvx().args(["report", "short.toml", "--out", "short"]).output().expect("it starts");
    assert!(reported.status.success(), "{}", stderr(&reported));
    let page = fs::read_to_string(house.path("short/report-e97.html")).expect("a report");
    assert!(page.contains("the measured part is not steady"));
}
