use configs::{Measure, Tier};
use runs::{Environment, MeasuredRow, Measurement};

use super::*;
use crate::bench_pager::{Row, Way};
use crate::guest::node::EMULATED;
use crate::pager::Placement;

const PAPER: &str = include_str!("../../../configs/machines/paper.toml");

fn measurement(measure: Measure, rows: Vec<MeasuredRow>) -> Measurement {
    Measurement {
        experiment: "e".into(),
        tier: Tier::Short,
        measure,
        version: 1,
        environment: Environment { debug_build: false, ..Environment::look() },
        command: Vec::new(),
        started_unix_s: 0,
        wall_s: 1.0,
        warnings: Vec::new(),
        wrong: Vec::new(),
        stand_ins: Vec::new(),
        facilities: BTreeMap::new(),
        made_with: BTreeMap::new(),
        charts: Vec::new(),
        rows,
    }
}

/// Steps of sandboxes: name and milliseconds.
fn sandboxes(way: &str, steps: &[(&str, f64)], note: &str) -> Measurement {
    let row = |(part, ms): &(&str, f64)| MeasuredRow {
        panel: "1 at a time".into(),
        subject: way.into(),
        part: (*part).into(),
        metric: "step".into(),
        unit: "ms".into(),
        n: 300,
        median: Some(*ms),
        note: note.into(),
        ..MeasuredRow::default()
    };
    measurement(Measure::Sandboxes { ways: vec![1], starts: 300 }, steps.iter().map(row).collect())
}

fn key(section: &str, key: &str) -> (String, String) {
    (section.to_owned(), key.to_owned())
}

#[test]
fn times_of_steps_become_constants_with_their_origin() {
    let steps = [("spawn init", 0.5), ("make link", 0.7), ("set up network", 0.6), ("make cgroup", 0.2)];
    let found = [Found::of("e01-short.json", sandboxes("new", &steps, "what it is"))];
    let calibration = calibrate(&found);
    assert_eq!(calibration.values.keys().collect::<Vec<_>>(), [&key("sandbox", "netns_create")]);
    let text = changed(PAPER, "here", &calibration).unwrap();
    let line = text.lines().find(|line| line.starts_with("netns_create")).unwrap();
    assert_eq!(
        line,
        "netns_create = { value = \"1800 us\", source = \"measured: e01-short.json: new, spawn init + make link + \
         set up network: sum of the medians of 300\" }"
    );
    // Everything else is as it was.
    let others = |text: &str| -> Vec<String> {
        let is_other = |line: &&str| !line.starts_with("netns_create") && !line.starts_with("title");
        text.lines().filter(is_other).map(str::to_owned).collect()
    };
    assert_eq!(others(&text), others(PAPER));
    assert!(text.contains("title = \"here\""));
}

#[test]
fn a_time_of_an_emulated_device_is_refused_with_the_reason() {
    let note = format!("In a guest under TCG, {EMULATED}");
    let found = [Found::of("e01-short.json", sandboxes("repurpose", &[("clone", 9.0)], &note))];
    let calibration = calibrate(&found);
    assert!(calibration.values.is_empty());
    assert_eq!(
        calibration.refused,
        [format!("sandbox.spawn: e01-short.json: repurpose, clone: median of 300: {note}")]
    );
    assert_eq!(changed(PAPER, "TrEnv's container testbed", &calibration).unwrap(), PAPER);

    // Of a build without optimisation too.
    let mut slow = sandboxes("repurpose", &[("clone", 9.0)], "");
    slow.environment.debug_build = true;
    let calibration = calibrate(&[Found::of("e01-short.json", slow)]);
    assert!(
        calibration.values.is_empty()
            && calibration.refused[0].ends_with("a debug build: its times mean nothing")
    );
}

#[test]
fn counts_are_taken_from_emulated_devices_too() {
    let note = format!("In a guest under TCG, {EMULATED}");
    let row = |metric: &str, unit: &str, value| MeasuredRow {
        subject: "cxl-fsdax".into(),
        metric: metric.into(),
        unit: unit.into(),
        n: 5,
        median: Some(value),
        note: note.clone(),
        ..MeasuredRow::default()
    };
    let tiers = vec!["cxl-fsdax".to_owned()];
    let pools = Measure::Pools { function: "json-serde".into(), tiers, starts: 5, guests: 2 };
    let rows = vec![row("start", "ms", 220.0), row("pages of the first start", "", 975.0)];
    let alike = |subject: &str, part: &str, mib| MeasuredRow {
        subject: subject.into(),
        metric: "contents".into(),
        part: part.into(),
        unit: "MiB".into(),
        n: 1,
        median: Some(mib),
        note: note.clone(),
        ..MeasuredRow::default()
    };
    let contents = vec![
        alike("a", "only here", 9.0),
        alike("b", "only here", 6.0),
        alike("b", "in an earlier template", 2.0),
    ];
    let groups = Measure::PageGroups { functions: Vec::new() };
    let found = [
        Found::of("e11.json", measurement(pools, rows)),
        Found::of("e03.json", measurement(groups, contents)),
    ];
    let calibration = calibrate(&found);
    assert_eq!(calibration.counts, ["e11.json: cxl-fsdax: 975 pages until the first reply"]);
    assert_eq!(calibration.refused, [format!("e11.json: 1 times: {note}")]);
    assert_eq!(calibration.values.keys().collect::<Vec<_>>(), [&key("restore", "identical")]);
    let text = changed(PAPER, "here", &calibration).unwrap();
    assert!(
        text.contains("identical = { value = 0.25, source = \"measured: e03.json: 2.0 of 8.0 MiB"),
        "{text}"
    );
    assert!(text.ends_with("# e11.json: cxl-fsdax: 975 pages until the first reply\n"));
    // Once more changes nothing, and adds nothing.
    assert_eq!(changed(&text, "here", &calibration).unwrap(), text);
}

#[test]
fn a_fault_of_the_page_server_is_a_constant_unless_a_guest_measured_it() {
    let row = |way, fault_us| Row {
        placement: Placement::Same,
        way,
        batch: 1,
        threads: 1,
        source: "dram".into(),
        fault_us: Some(fault_us),
        p99_us: 12.0,
        pages_per_s: 145_000.0,
        over_floor: None,
    };
    let bench = |emulated_by| PagerBench {
        environment: Environment { debug_build: false, ..Environment::look() },
        emulated_by,
        rounds: 7,
        rows: vec![row(Way::Floor, 6.2), row(Way::Private, 6.45)],
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pager.json");
    let read = |bench: &PagerBench| {
        std::fs::write(&path, serde_json::to_string(bench).unwrap()).unwrap();
        calibrate(&[Found::read(&path).unwrap()])
    };
    let calibration = read(&bench(None));
    assert_eq!(calibration.values[&key("fault", "userfaultfd")].number, 6.45);
    let calibration = read(&bench(Some("tcg".into())));
    assert!(calibration.values.is_empty() && calibration.refused[0].contains("under tcg, emulated device"));
    std::fs::write(&path, "{}").unwrap();
    assert!(Found::read(&path).unwrap_err().to_string().contains("is no measurement"));
}

#[test]
fn a_machine_file_that_lacks_a_constant_is_no_base() {
    let found = [Found::of("e01-short.json", sandboxes("repurpose", &[("clone", 0.4)], ""))];
    let error = changed("title = \"x\"\n[sandbox]\nkill = 1\n", "x", &calibrate(&found)).unwrap_err();
    assert!(error.to_string().starts_with("no line 'spawn = …' in [sandbox]"), "{error}");
}
