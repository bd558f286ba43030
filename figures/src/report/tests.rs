use super::*;
use crate::claims::{Claim, Comparison, Expectation, Range, Take, judge};
use crate::figure::{Provenance, render};
use crate::synthetic::{self, Shape, experiment};

fn claim(text: &str) -> Claim {
    let range = Range { at_least: Some(0.4), at_most: None };
    let (system, rivals) = ("t-cxl".into(), vec!["reap+".into()]);
    let saving = Expectation::Saving(Comparison { system, rivals, take: Take::Mean, range });
    Claim { text: text.into(), ..synthetic::claim("c1", synthetic::peak(), saving) }
}

fn page_of(data: &ExperimentData, claims: &[Claim], title: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let figures = render(data, &folder.path().join("figures"), &Provenance::default()).unwrap();
    let verdicts = judge(claims, std::slice::from_ref(data));
    let input = ReportInput {
        file: folder.path().join("report.html"),
        title: title.into(),
        sections: vec![Section {
            data,
            figures: &figures,
            command: "trenvx reproduce e04 --tier kick".into(),
            summary: Some(folder.path().join("summary.csv")),
            is_real: false,
        }],
        measured: Vec::new(),
        verdicts: &verdicts,
        constants: &[],
        warnings: warnings_of(data),
        environment: vec![("cpu".into(), "2 × <b>fast</b>".into())],
        differences: Vec::new(),
        against: None,
        doctor: Vec::new(),
        footer: None,
    };
    std::fs::read_to_string(report(&input).unwrap()).unwrap()
}

#[test]
fn verdicts_come_first_and_links_are_relative() {
    let html = page_of(&experiment(&Shape::default()), &[claim("less memory")], "Report");
    assert!(html.find("class=\"verdict pass\">PASS").unwrap() < html.find("<figure").unwrap());
    assert!(html.contains("href=\"figures&#x2f;e04-peak-memory.csv\""), "a link to the rows");
    assert!(html.contains("trenvx reproduce e04 --tier kick"));
}

#[test]
fn text_from_outside_is_escaped() {
    let mut data = experiment(&Shape { seeds: 2, ..Shape::default() });
    data.question = "<script>alert(1)</script>".into();
    data.points[0].label = "\"><img src=x>".into();
    data.points[0].planned = 9;
    let html = page_of(&data, &[claim("<i>less</i>")], "<u>Report</u>");
    for raw in ["<script>alert", "<img", "<i>", "<u>", "<b>"] {
        assert!(!html.contains(raw), "{raw} is in the page");
    }
}

#[test]
fn the_same_input_gives_the_same_page() {
    let data = experiment(&Shape { missing: vec!["criu"], ..Shape::default() });
    let page = || page_of(&data, &[claim("less memory")], "Report");
    assert_eq!(page(), page());
}

#[test]
fn an_empty_report_says_so() {
    let html = page_of(&ExperimentData::default(), &[], "Report");
    assert!(html.contains("No claims were judged.") && html.contains("No runs."));
}

#[test]
fn links_go_up_and_down() {
    let from = Path::new("/out/report");
    assert_eq!(link(Path::new("/out/figures/a b.csv"), from), "../figures/a%20b.csv");
    assert_eq!(link(Path::new("/out/report/x.csv"), from), "x.csv");
}
