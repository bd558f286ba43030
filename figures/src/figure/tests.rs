use super::*;
use crate::synthetic::{Shape, experiment};
use std::collections::BTreeMap;
use std::fs;

fn files_of(data: &ExperimentData) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    render(data, folder.path(), &Provenance::default()).unwrap();
    fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|e| (e.file_name().into_string().unwrap(), fs::read_to_string(e.path()).unwrap()))
        .collect()
}

#[test]
fn the_same_runs_give_the_same_bytes() {
    let data = || experiment(&Shape { functions: 20, ..Shape::default() });
    let files = files_of(&data());
    assert_eq!(files.len(), 3 * FigureKind::ALL.len(), "no temporary file is left");
    assert!(files == files_of(&data()));
}

#[test]
fn a_missing_system_is_named_in_the_figure_and_its_provenance() {
    let mut data = experiment(&Shape { missing: vec!["criu"], ..Shape::default() });
    data.points[1].missing = Some("no CRIU on this machine".into());
    let files = files_of(&data);
    for kind in FigureKind::ALL {
        let note = "Not run: W1 criu (no CRIU on this machine), W2 criu";
        assert!(files[&format!("e04-{}.svg", kind.name())].contains("Not run: W1 criu"), "{kind:?}");
        assert!(files[&format!("e04-{}.json", kind.name())].contains(note), "{kind:?}");
    }
}

#[test]
fn what_stood_in_is_named_in_the_figures_that_show_it() {
    let mut data = experiment(&Shape { panels: vec![""], ..Shape::default() });
    data.stand_in("t-cxl", &["stand-in: DRAM stands for CXL".into(), "the driver was late".into()]);
    data.stand_in("t-cxl", &["stand-in: DRAM stands for CXL".into()]);
    data.stand_in("criu", &["state booted: criu boots".into()]);
    data.figures.truncate(1);
    let files = files_of(&data);
    let notes = &files["e04-latency-percentiles.json"];
    assert_eq!(notes.matches("Stand-in: t-cxl: DRAM stands for CXL").count(), 1, "{notes}");
    assert!(
        notes.contains("Stand-in: criu: criu boots") && !notes.contains("the driver was late"),
        "{notes}"
    );
    assert!(files["e04-latency-percentiles.svg"].contains("DRAM stands for CXL"));
    data.figures[0].systems = vec!["faasd".into(), "criu".into()];
    assert!(
        !files_of(&data)["e04-latency-percentiles.json"].contains("stands for CXL"),
        "t-cxl is not shown"
    );
}

#[test]
fn a_system_that_is_no_point_is_named() {
    let mut data = experiment(&Shape { panels: vec![""], ..Shape::default() });
    data.figures.truncate(1);
    data.figures[0].systems = vec!["t-cxl".into(), "mitosis".into()];
    let files = files_of(&data);
    assert!(files["e04-latency-percentiles.svg"].contains("Not in this experiment: mitosis"));
    assert!(!files["e04-latency-percentiles.csv"].contains("faasd"), "only what was asked for");
}

#[test]
fn fewer_than_five_seeds_are_drawn_without_whiskers_and_flagged() {
    let files = files_of(&experiment(&Shape { seeds: 3, ..Shape::default() }));
    assert!(files["e04-peak-memory.svg"].contains("Fewer than 5 seeds: values without intervals"));
    let rows: Vec<_> = files["e04-peak-memory.csv"].lines().skip(1).collect();
    assert!(rows.iter().all(|row| row.contains(",,,3,median-bootstrap")), "{rows:?}");
}

#[test]
fn runs_in_which_nothing_completed_are_drawn_and_named() {
    let files = files_of(&experiment(&Shape { completed: 0, ..Shape::default() }));
    assert!(files["e04-latency-cdf.svg"].contains("No invocation completed: W1 faasd"));
    assert!(files["e04-latency-percentiles.svg"].contains("none completed"));
    assert_eq!(files["e04-latency-cdf.csv"].lines().count(), 1, "a header and no rows");
}

#[test]
fn costs_of_agents_are_shown_over_those_of_their_model() {
    let files = files_of(&experiment(&Shape { panels: vec![""], functions: 2, ..Shape::default() }));
    let rows = &files["e04-agent-cost.csv"];
    assert_eq!(rows.lines().count(), 1 + 2 * 6, "{rows}");
    // Per agent: 0.001 of 0.01 dollars, 1000 tokens in, 100 out, 9 s of waiting, 1 s of work, 10 s in all.
    assert!(rows.lines().any(|row| row.starts_with(",chameleon,faasd,0.1,")), "{rows}");
    assert!(rows.lines().any(|row| row.ends_with(",0.001,0.01,1000,100,9,1,0,10")), "{rows}");
    assert!(files["e04-agent-cost.svg"].contains("20.0 %"));
    let none = files_of(&experiment(&Shape { panels: vec![""], completed: 0, ..Shape::default() }));
    assert_eq!(none["e04-agent-cost.csv"].lines().count(), 1, "a header and no rows");
}

#[test]
fn no_runs_at_all_are_drawn_and_named() {
    let files = files_of(&experiment(&Shape { seeds: 0, ..Shape::default() }));
    assert!(files["e04-memory-over-time.svg"].contains("no data"));
    let nothing = ExperimentData { points: Vec::new(), ..experiment(&Shape::default()) };
    assert_eq!(files_of(&nothing).len(), 3 * FigureKind::ALL.len());
}

#[test]
fn many_functions_are_shown_as_a_distribution_over_functions() {
    let shape = Shape { functions: 500, panels: vec![""], completed: 20, ..Shape::default() };
    let mut data = experiment(&shape);
    data.figures.truncate(1);
    data.figures[0].baseline = Some("faasnap+".into());
    let files = files_of(&data);
    let rows = &files["e04-latency-percentiles.csv"];
    assert_eq!(rows.lines().count(), 1 + 6 * 500);
    assert!(rows.lines().filter(|r| r.starts_with(",faasnap+,")).all(|r| r.contains(",1,")));
    assert!(files["e04-latency-percentiles.json"].contains("500 functions"));
}

#[test]
fn two_figures_of_one_name_are_an_error() {
    let mut data = experiment(&Shape::default());
    data.figures.truncate(2);
    data.figures[1].name = data.figures[0].name.clone();
    let folder = tempfile::tempdir().unwrap();
    let error = render(&data, folder.path(), &Provenance::default()).unwrap_err();
    assert!(matches!(error, Error::DuplicateFigure { .. }));
}

#[test]
fn names_of_systems_are_whole() {
    let long = vec!["t-reuse+cgroup", "trenvx-vm-own-browser"];
    let files = files_of(&experiment(&Shape { systems: long.clone(), ..Shape::default() }));
    for kind in [FigureKind::LatencyPercentiles, FigureKind::PeakMemory, FigureKind::StartupPercentiles] {
        for system in &long {
            let svg = &files[&format!("e04-{}.svg", kind.name())];
            assert!(svg.contains(system), "{kind:?}: {system} is cut off");
        }
    }
}

#[test]
fn the_papers_values_are_marked_and_no_label_hides_one() {
    let mut data =
        experiment(&Shape { panels: vec![""], systems: vec!["reap+", "t-cxl"], ..Shape::default() });
    data.figures.retain(|figure| figure.kind == FigureKind::PeakMemory);
    let without = files_of(&data);
    data.figures[0].reported = crate::synthetic::paper("", &[("t-cxl", 17.5)]);
    let with = files_of(&data);
    let polygons =
        |files: &BTreeMap<String, String>| files["e04-peak-memory.svg"].matches("<polygon").count();
    assert!(polygons(&with) > polygons(&without), "no mark is drawn");
    assert!(with["e04-peak-memory.svg"].contains("reported in the paper"));
    assert!(with["e04-peak-memory.csv"].lines().any(|row| row.contains("t-cxl") && row.ends_with(",17.5")));
}
