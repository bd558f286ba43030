//! Claims: the shipped ones can be judged, and what cannot be judged is refused.

mod common;

use common::{Folder, HEAD, shipped};
use configs::claims::{self, Expectation, Functions, Metric, Range, Statistic, Take, ToleranceKind};
use configs::find;

#[test]
fn every_shipped_claim_names_points_that_its_experiment_has() {
    let root = shipped();
    let all = claims::load(&root).unwrap_or_else(|error| panic!("{error}"));
    assert!(all.len() >= 40, "every published number is a claim");
    for claim in all {
        if claim.not_run.is_some() {
            continue;
        }
        let path = find(&claim.experiment, &root).unwrap_or_else(|error| panic!("{}: {error}", claim.id));
        let experiment = configs::load(&path, claim.tier, &[]).unwrap_or_else(|error| panic!("{error}"));
        for system in claim.expectation.systems() {
            assert!(
                experiment.points.iter().any(|p| p.axis("system") == Some(system)),
                "{}: {system}",
                claim.id
            );
        }
        for panel in &claim.measure.panels {
            assert!(
                experiment.points.iter().any(|p| p.axis("panel") == Some(panel)),
                "{}: {panel}",
                claim.id
            );
        }
    }
}

const CLAIM: &str = r#"[[claim]]
id = "c1"
text = "It is faster."
paper = "Fig. 1"
source = "a paper"
experiment = "e99"
tier = "kick"
metric = "end_to_end"
statistic = "p99"
functions = "each"
published = 7
expect.speedup = { system = "t-cxl", rivals = ["reap+"], take = "max", at_least = 3.5 }
why_yours_may_differ = "Another machine."
"#;

fn folder(text: &str) -> Folder {
    let folder = Folder::new();
    folder.write("experiments/e99-test.toml", HEAD);
    folder.write("claims.toml", text);
    folder
}

fn complaint(from: &str, to: &str) -> String {
    let folder = folder(&CLAIM.replacen(from, to, 1));
    let error = claims::load(folder.path()).expect_err("this must not load");
    error.to_string().replace(&format!("{}/", folder.path().display()), "configs/")
}

#[test]
fn a_claim_is_typed() {
    let claim = claims::load(folder(CLAIM).path()).unwrap().remove(0);
    assert_eq!((claim.measure.metric, claim.measure.statistic), (Metric::EndToEnd, Statistic::P99));
    assert_eq!(claim.measure.functions, Functions::Each);
    assert_eq!(claim.expectation.tolerance(), ToleranceKind::RatioRange);
    let Expectation::Speedup(comparison) = claim.expectation else { panic!("{:?}", claim.expectation) };
    assert_eq!(comparison.take, Take::Max);
    assert_eq!(comparison.range, Range { at_least: Some(3.5), at_most: None });
}

#[test]
fn bounds_of_a_latency_are_durations() {
    let text = CLAIM.replace("functions = \"each\"\n", "").replace(
        "speedup = { system = \"t-cxl\", rivals = [\"reap+\"], take = \"max\", at_least = 3.5 }",
        "value = { system = \"t-cxl\", at_most = \"10 ms\" }",
    );
    let claim = claims::load(folder(&text).path()).unwrap().remove(0);
    let Expectation::Value { range, .. } = claim.expectation else { panic!("{:?}", claim.expectation) };
    assert!(range.contains(10.0) && !range.contains(10.1));
}

#[test]
fn what_cannot_be_judged_is_refused() {
    insta::assert_snapshot!("claim_metric", complaint("end_to_end", "end_to_edn"));
    insta::assert_snapshot!("claim_statistic", complaint("metric = \"end_to_end\"", "metric = \"local\""));
    insta::assert_snapshot!("claim_system", complaint("t-cxl", "t-clx"));
    insta::assert_snapshot!("claim_starts", complaint("functions = \"each\"", "starts = [\"warmed\"]"));
    insta::assert_snapshot!("claim_experiment", complaint("e99", "e98"));
    insta::assert_snapshot!("claim_no_bound", complaint(", at_least = 3.5", ""));
    insta::assert_snapshot!("claim_key", complaint("published", "publshed"));
    insta::assert_snapshot!(
        "claim_bare_number",
        complaint(
            "speedup = { system = \"t-cxl\", rivals = [\"reap+\"], take = \"max\", at_least = 3.5 }",
            "value = { system = \"t-cxl\", at_most = 10 }"
        )
    );
}
