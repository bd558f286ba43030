//! A timeline that an experiment asks for is in the run's folder, and is what ui.perfetto.dev opens.

use configs::{Tier, load};
use flate2::read::GzDecoder;
use runs::{Options, Plan, Store};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

const WINDOW: [&str; 2] = ["output.timeline.from=\"5 min\"", "output.timeline.until=\"6 min\""];

/// Runs one point of e04 with these settings, and answers with the texts of its timelines.
fn timelines(out: &Path, sets: &[&str]) -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/experiments/e04-w1.toml");
    let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
    let experiment = load(&file, Tier::Kick, &sets).unwrap_or_else(|error| panic!("{error}"));
    let plan = Plan::only(experiment, &["t-cxl".to_owned()], &[1]).unwrap();
    let store = Store::open(out).unwrap();
    let options = Options { jobs: 1, keep_going: false, progress: false, ..Options::default() };
    let outcome = runs::execute(&plan, out, &store, &sim::SimulatedWorld, &options).unwrap();
    assert_eq!((outcome.done.len(), outcome.failed.len()), (1, 0));
    // It is checked with the other files, and not read back.
    assert_eq!(store.load(&outcome.done[0].key).unwrap().record.timeline, None);
    let text = |path: &Path| {
        let mut text = String::new();
        GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
        text
    };
    outcome.timelines(&store).iter().map(|path| text(path)).collect()
}

#[test]
fn a_run_without_one_has_none() {
    let out = tempfile::tempdir().unwrap();
    assert!(timelines(out.path(), &[]).is_empty());
}

#[test]
fn every_event_lies_in_the_window_on_a_track_with_a_name() {
    let out = tempfile::tempdir().unwrap();
    let [text] = timelines(out.path(), &WINDOW).try_into().expect("one timeline");
    let file: Value = serde_json::from_str(&text).unwrap();
    let events = file["traceEvents"].as_array().unwrap();
    let number = |event: &Value, key: &str| event[key].as_u64().unwrap_or(0);
    let of = |ph: &'static str| events.iter().filter(move |event| event["ph"] == ph);
    let names: BTreeSet<(u64, u64)> = of("M").map(|e| (number(e, "pid"), number(e, "tid"))).collect();
    for event in events.iter().filter(|event| event["ph"] != "M") {
        let from = event["ts"].as_f64().unwrap();
        let until = from + event["dur"].as_f64().unwrap_or(0.0);
        assert!(300e6 <= from && until <= 360e6 + 1e-3, "{event}");
        assert!(names.contains(&(number(event, "pid"), number(event, "tid"))), "{event}");
    }
    let handlers: Vec<&Value> = of("X").filter(|event| event["name"] == "handler").collect();
    assert!(handlers.len() > 100, "{} handlers", handlers.len());
    assert!(handlers.iter().all(|h| h["args"]["function"].is_string() && h["args"]["start"].is_string()));
    assert!(of("C").any(|event| event["name"] == "cores"));
    assert!(of("C").any(|event| event["name"] == "pool_cxl"));
    // What begins asynchronously ends.
    let mut waiting: BTreeMap<u64, i64> = BTreeMap::new();
    for event in events {
        let step = if event["ph"] == "b" { 1 } else { -i64::from(event["ph"] == "e") };
        *waiting.entry(number(event, "id")).or_default() += step;
    }
    assert!(waiting.values().all(|&open| open == 0));
}
