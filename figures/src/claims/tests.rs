use super::*;
use crate::metric::Metric;
use crate::synthetic::{Shape, claim, experiment, peak};

fn saving(range: Range) -> Claim {
    let rivals = vec!["reap+".into()];
    let system = "t-cxl".into();
    claim("c1", peak(), Expectation::Saving(Comparison { system, rivals, take: Take::Mean, range }))
}

fn at_least(bound: f64) -> Range {
    Range { at_least: Some(bound), at_most: None }
}

fn ordering(measure: Measure, systems: &[&str]) -> Claim {
    let systems = systems.iter().map(|s| (*s).to_owned()).collect();
    claim("c2", measure, Expectation::Ordering { systems })
}

fn p99_of_each() -> Measure {
    Measure { metric: Metric::EndToEnd, statistic: Statistic::P99, functions: Functions::Each, ..peak() }
}

fn verdict(claim: Claim, shape: &Shape) -> Verdict {
    judge(&[claim], &[experiment(shape)]).remove(0).verdict
}

/// The invented systems' peaks are 17 and 36 GiB, each within 4 %: a saving of about 0.53.
#[test]
fn a_claim_passes_or_fails_with_its_whole_interval() {
    let shape = Shape::default();
    assert_eq!(verdict(saving(at_least(0.4)), &shape), Verdict::Pass);
    assert_eq!(verdict(saving(at_least(0.6)), &shape), Verdict::Fail);
    let within = Range { at_least: Some(0.4), at_most: Some(0.6) };
    assert_eq!(verdict(saving(within), &shape), Verdict::Pass);
}

#[test]
fn an_interval_that_straddles_the_bound_decides_nothing() {
    let data = experiment(&Shape::default());
    let speedup = |range| {
        let (system, rivals) = ("t-rdma".into(), vec!["faasd".into(), "criu".into()]);
        let expectation = Expectation::Speedup(Comparison { system, rivals, take: Take::Max, range });
        judge(&[claim("c1", p99_of_each(), expectation)], std::slice::from_ref(&data)).remove(0)
    };
    let (low, high) = speedup(Range::default()).measured[0].estimate.interval.unwrap();
    assert!(1.0 < low && low < high, "faasd's slowest function is slower than t-rdma's");
    let middle = speedup(at_least(f64::midpoint(low, high))).verdict;
    assert!(middle.reason().contains("straddles"), "{middle:?}");
}

#[test]
fn fewer_than_five_seeds_decide_nothing_but_are_shown() {
    let data = experiment(&Shape { seeds: 4, ..Shape::default() });
    let judged = judge(&[saving(at_least(0.4))], &[data]).remove(0);
    assert_eq!(judged.verdict.name(), "INCONCLUSIVE");
    assert_eq!(judged.measured[0].estimate.n, 4);
}

#[test]
fn a_tier_that_is_too_small_decides_nothing() {
    let claim = Claim { tier: Tier::Full, ..saving(at_least(0.4)) };
    let reason = verdict(claim, &Shape::default()).reason().to_owned();
    assert_eq!(reason, "needs tier full, these runs are of tier kick");
}

#[test]
fn what_was_not_run_is_not_judged() {
    let missing = Shape { missing: vec!["reap+"], ..Shape::default() };
    assert_eq!(verdict(saving(at_least(0.4)), &missing).reason(), "W1 reap+ was not run");
    let nothing = Shape { completed: 0, ..Shape::default() };
    assert_eq!(verdict(ordering(p99_of_each(), &["t-cxl", "faasd"]), &nothing).name(), "NOT-RUN");
    let elsewhere = Claim { experiment: "e99".into(), ..saving(at_least(0.4)) };
    assert_eq!(verdict(elsewhere, &missing).reason(), "experiment e99 was not run");
}

#[test]
fn an_order_fails_where_one_pair_is_the_wrong_way_round() {
    let shape = Shape::default();
    assert_eq!(verdict(ordering(peak(), &["t-cxl", "t-rdma", "criu", "faasd"]), &shape), Verdict::Pass);
    assert_eq!(verdict(ordering(peak(), &["t-cxl", "criu", "t-rdma"]), &shape), Verdict::Fail);
    assert_eq!(verdict(ordering(peak(), &["t-cxl", "t-cxl"]), &shape), Verdict::Fail);
}

#[test]
fn a_claim_about_some_starts_leaves_the_others_out() {
    let startup = Measure {
        metric: Metric::Startup,
        statistic: Statistic::P50,
        panels: vec!["W2".into()],
        starts: vec![platform::records::StartKind::Cold],
        ..peak()
    };
    let value =
        |system: &str| Expectation::Value { system: system.into(), take: Take::Mean, range: at_least(100.0) };
    let of = |system| verdict(claim("c3", startup.clone(), value(system)), &Shape::default());
    assert_eq!(of("faasd"), Verdict::Pass);
    assert!(of("t-cxl").reason().starts_with("no seed has"), "t-cxl has no cold starts");
}

#[test]
fn a_sentence_that_nothing_can_refute_is_not_run_and_says_why() {
    let claim =
        Claim { not_run: Some("a step cost".into()), experiment: String::new(), ..saving(at_least(0.4)) };
    let judged = judge(&[claim], &[experiment(&Shape::default())]).remove(0);
    assert_eq!((judged.verdict.name(), judged.verdict.reason()), ("NOT-RUN", "a step cost"));
}
