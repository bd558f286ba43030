//! Draws every kind of figure from invented runs. To look at them:
//! `PICTURES=folder cargo test -p figures every_kind`.

use crate::claims::{Claim, Comparison, Expectation, Functions, Measure, Range, Take, judge};
use crate::figure::FigureFile;
use crate::figure::{Provenance, render};
use crate::input::ExperimentData;
use crate::metric::{Metric, Statistic};
use crate::report::{DoctorRow, ReportInput, Section, report, warnings_of};
use crate::synthetic::{Shape, claim, experiment, paper, peak};
use configs::ConstantNote;
use std::path::{Path, PathBuf};

#[test]
fn every_kind_of_figure_is_drawn_with_all_its_text_inside() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = std::env::var_os("PICTURES").map_or_else(|| scratch.path().to_owned(), PathBuf::from);
    let mut two = experiment(&Shape { seeds: 10, ..Shape::default() });
    two.figures[3].reported = paper("W1", &[("reap+", 29.0), ("t-cxl", 14.0)]);
    two.figures[5].reported = paper("W1", &[("reap+", 90.0), ("faasnap+", 49.0), ("t-cxl", 13.0)]);
    two.points[0].seeds[0].run.warnings = vec!["burn-in ends before memory is steady".into()];
    let figures = render(&two, &folder.join("two"), &Provenance::default()).unwrap();
    page(&folder, &two, &figures);
    let one = Shape { seeds: 3, panels: vec![""], missing: vec!["criu"], ..Shape::default() };
    let mut one = experiment(&one);
    one.stand_ins = vec![crate::StandIn {
        text: "CXL pages came from local memory with a stated delay of 200 ns".into(),
        systems: vec!["t-cxl".into()],
    }];
    render(&one, &folder.join("one"), &Provenance::default()).unwrap();
    let many = Shape { functions: 500, ..Shape::default() };
    let mut many = experiment(&many);
    many.figures.truncate(2);
    many.figures[0].baseline = Some("faasnap+".into());
    render(&many, &folder.join("many"), &Provenance::default()).unwrap();
    let none = experiment(&Shape { completed: 0, ..Shape::default() });
    render(&none, &folder.join("none"), &Provenance::default()).unwrap();
    for kind in ["two", "one", "many", "none"] {
        for entry in std::fs::read_dir(folder.join(kind)).unwrap().flatten() {
            if entry.path().extension().is_some_and(|ending| ending == "svg") {
                text_inside(&entry.path());
            }
        }
    }
}

/// Every text must begin inside the drawing; its end is known only to a renderer.
fn text_inside(path: &Path) {
    let svg = std::fs::read_to_string(path).unwrap();
    let number = |tag: &str, name: &str| -> f64 {
        let from = tag.find(&format!(" {name}=\"")).unwrap_or_else(|| panic!("{tag} has no {name}"))
            + name.len()
            + 3;
        tag[from..].split('"').next().unwrap().parse().unwrap()
    };
    let mut tags = svg.split('<').filter(|tag| tag.starts_with("svg ") || tag.starts_with("text "));
    let page = tags.next().unwrap();
    let view: Vec<f64> = page
        .split("viewBox=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .split(' ')
        .map(|n| n.parse().unwrap())
        .collect();
    let (width, height) = (view[2], view[3]);
    let mut texts = 0;
    for tag in tags {
        let (x, y) = (number(tag, "x"), number(tag, "y"));
        assert!((0.0..=width).contains(&x) && (0.0..=height).contains(&y), "{}: {tag}", path.display());
        texts += 1;
    }
    assert!(texts > 0, "{}: no text", path.display());
}

fn page(folder: &Path, data: &ExperimentData, figures: &[FigureFile]) {
    let range = |at_least| Range { at_least: Some(at_least), at_most: None };
    let comparison = |take, range| {
        let rivals = vec!["reap+".into(), "faasnap+".into()];
        Comparison { system: "t-cxl".into(), rivals, take, range }
    };
    let p99 = |functions| Measure {
        metric: Metric::EndToEnd,
        statistic: Statistic::P99,
        functions,
        panels: Vec::new(),
        ..peak()
    };
    let systems = ["t-cxl", "t-rdma", "faasnap+", "criu"].map(String::from).into();
    let speedup = |take, at_least| Expectation::Speedup(comparison(take, range(at_least)));
    let elsewhere = claim("c04", peak(), speedup(Take::Mean, 2.0));
    let claims = [
        claim("c01", p99(Functions::Each), speedup(Take::Max, 2.0)),
        claim("c02", peak(), Expectation::Ordering { systems }),
        claim("c03", p99(Functions::Together), speedup(Take::Min, 3.0)),
        Claim { experiment: "e15".into(), ..elsewhere },
        claim("c05", peak(), Expectation::Saving(comparison(Take::Mean, range(0.515)))),
    ];
    let verdicts = judge(&claims, std::slice::from_ref(data));
    let constant = |key: &str, assumed| ConstantNote {
        key: key.into(),
        value: "641 ns".into(),
        source: "Table 2 of a measurement of one device, mean of five runs".into(),
        assumed,
        why: assumed.then(|| "no published figure for this machine; the middle of those found".into()),
    };
    let input = ReportInput {
        file: folder.join("report.html"),
        title: "Re-evaluation of repurposable sandboxes, tier kick".into(),
        sections: vec![Section {
            data,
            figures,
            command: "trenvx reproduce e04 --tier kick --seeds 10 --set cluster.nodes=1 --set keep_alive.ttl='2 min' --out out".into(),
            summary: Some(folder.join("summary.csv")),
            is_real: false,
        }],
        measured: Vec::new(),
        verdicts: &verdicts,
        constants: &[constant("machine.cxl.latency", true), constant("machine.sandbox.netns_create", false)],
        warnings: warnings_of(data),
        environment: vec![("processor".into(), "2 × a processor".into()), ("commit".into(), "0123456789abcdef0123456789abcdef01234567 (changed)".into())],
        differences: Vec::new(),
        against: None,
        doctor: vec![DoctorRow { name: "userfaultfd".into(), status: "DEGRADED".into(), detail: "needs vm.unprivileged_userfaultfd=1; falls back to root".into() }],
        footer: Some("Made by trenvx 0.1.0".into()),
    };
    report(&input).unwrap();
}
