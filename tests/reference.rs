//! The figure that README shows is the one this version draws.

use std::path::Path;
use std::process::Command;

#[test]
fn the_reference_figure_is_what_this_version_draws() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(env!("CARGO_BIN_EXE_trenvx"))
        .args(["reproduce", "e04", "--tier", "kick", "--quiet", "--out"])
        .arg(out.path())
        .env("TRENVX_CONFIGS", root.join("configs"))
        .output()
        .expect("the command starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let drawn = std::fs::read_to_string(out.path().join("figures/e04-kick/latency-percentiles.svg"))
        .expect("a figure");
    let kept = std::fs::read_to_string(root.join("figures/reference/e04-latency-percentiles.svg"))
        .expect("a figure");
    assert!(
        drawn == kept,
        "figures/reference/e04-latency-percentiles.svg is not what this version draws: if the model changed, raise \
         MODEL_VERSION, say why, and copy {} there",
        "out/figures/e04-kick/latency-percentiles.svg"
    );
    // The same values as on the machine that is kept beside the figure, and the report says so.
    let report = std::fs::read_to_string(out.path().join("report-e04.html")).expect("a report");
    let same = "values that it has for these experiments are the same here.";
    assert!(
        report.contains(same),
        "figures/reference is not what this version measures: if the model changed, run trenvx reproduce all, then \
         trenvx reference epyc-2-cores"
    );
}
