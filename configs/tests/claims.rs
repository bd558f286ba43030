//! Claims: the shipped ones can be judged, and what cannot be judged is refused.

mod common;

use common::{Folder, HEAD, shipped};
use configs::claims::measured::{Expectation as OfRows, Unit, Value};
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
        assert!(
            claim.measured.is_none() || experiment.measure.is_some(),
            "{} measures nothing",
            claim.experiment
        );
        assert_eq!(claim.is_goal, claim.id.starts_with('g'), "{}", claim.id);
        assert_eq!(claim.is_goal, claim.paper.is_empty(), "{}", claim.id);
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

const MEASURED: &str = r#"[[claim]]
id = "g1"
goal = true
text = "It is small."
source = "a goal"
experiment = "e99"
tier = "kick"
measured = { metric = "start", unit = "ms", parts = ["state"], panels = ["one"], value = "p99", enough = 100 }
expect.bound = { subjects = ["att*"], at_most = "2 ms" }
why_yours_may_differ = "Another machine."
"#;

#[test]
fn a_claim_about_a_measurement_is_typed() {
    let of = |text: &str| claims::load(folder(text).path()).map(|mut claims| claims.remove(0));
    let claim = of(MEASURED).unwrap();
    assert_eq!(
        (claim.is_goal, claim.origin(), claim.tolerance()),
        (true, "goal of this testbed", ToleranceKind::Bound)
    );
    let expected = claim.measured.unwrap();
    assert_eq!((expected.unit, expected.value, expected.enough), (Unit::Milliseconds, Value::P99, Some(100)));
    assert_eq!(expected.range(), Range { at_least: None, at_most: Some(2.0) });
    let share = MEASURED.replace(
        "bound = { subjects = [\"att*\"], at_most = \"2 ms\" }",
        "share = { of = [\"all\"], at_least = 0.5 }",
    );
    let expected = of(&share).unwrap().measured.unwrap();
    assert!(matches!(expected.expectation, OfRows::Share { of, .. } if of == ["all"]));
    for (from, to, part) in [
        ("\"2 ms\"", "2", "write a unit"),
        ("unit = \"ms\"", "unit = \"hours\"", "\"hours\" is not known"),
        ("metric = \"start\", ", "", "the key \"metric\" is missing"),
        ("value = \"p99\"", "value = \"p90\"", "\"p90\" is not known: did you mean \"p99\"?"),
        ("goal = true", "goal = true\npaper = \"Fig. 1\"", "is no sentence of the paper"),
        ("bound = {", "ratio = {", "no rival to compare with"),
        ("panels = ", "pannels = ", "did you mean \"panels\"?"),
    ] {
        let message = of(&MEASURED.replacen(from, to, 1)).expect_err(to).to_string();
        assert!(message.contains(part), "{to}: {message}");
    }
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
