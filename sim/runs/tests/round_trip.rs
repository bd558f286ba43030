//! What is written is what is read; the same run gives the same bytes.

mod common;

use common::{Fake, House, files, record};
use runs::{Index, RunKey, build_workload};
use std::collections::BTreeSet;

#[test]
fn a_run_read_back_is_the_run() {
    let house = House::new();
    let outcome = house.run(&Fake::default(), 1);
    assert_eq!((outcome.done.len(), outcome.failed.len()), (4, 0));
    let plan = house.plan();
    for done in outcome.done {
        let spec = &plan.point(done.job).spec;
        let workload = build_workload(spec, done.job.seed).unwrap();
        let stored = house.store().load(&done.key).unwrap();
        assert_eq!(stored.record, record(spec, &workload, done.job.seed));
        assert_eq!(stored.manifest.spec, *spec);
        assert_eq!((stored.manifest.seed, &stored.manifest.label), (done.job.seed, &done.label));
        assert_eq!(stored.manifest.workload.hash, workload.hash_hex());
    }
}

#[test]
fn record_files_are_the_same_bytes_with_one_job_and_with_two() {
    let (one, two) = (House::new(), House::new());
    let (first, second) = (one.run(&Fake::default(), 1), two.run(&Fake::default(), 2));
    assert_eq!(first, second);
    for done in first.done {
        let records = |house: &House| {
            let mut files = files(&house.store().path(&done.key));
            files.retain(|(name, _)| name != "manifest.json" && name != "DONE");
            files
        };
        let names: Vec<String> = records(&one).into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            [
                "counters.json",
                "functions.csv",
                "invocations.csv.zst",
                "latency.csv",
                "memory.csv",
                "places.csv",
                "starts.csv",
                "warnings.txt"
            ]
        );
        assert_eq!(records(&one), records(&two));
    }
}

#[test]
fn many_buckets_are_compressed_and_read_back() {
    struct Wide;
    impl runs::World for Wide {
        fn name(&self) -> &str {
            "wide"
        }
        fn model_version(&self) -> u32 {
            1
        }
        fn run(
            &self,
            spec: &configs::Spec,
            workload: &traces::workload::Workload,
            seed: u64,
        ) -> Result<platform::RunRecord, runs::WorldError> {
            let mut record = record(spec, workload, seed);
            record.functions[0].startup.buckets = (0..60_000).map(|i| (i, 1)).collect();
            Ok(record)
        }
    }
    let house = House::new();
    let key = house.run(&Wide, 2).done.remove(0).key;
    assert!(house.store().path(&key).join("latency.csv.zst").is_file());
    assert_eq!(house.store().load(&key).unwrap().record.functions[0].startup.count(), 60_000);
}

#[test]
fn everything_that_decides_a_result_is_in_its_key() {
    let house = House::new();
    let experiment = house.experiment(&[]);
    let spec = &experiment.points[0].spec;
    let key = |spec, hash, seed, world, version| RunKey::new(spec, hash, seed, world, version);
    let other = house.experiment(&["keep_alive.ttl=1 min"]);
    let keys: BTreeSet<RunKey> = [
        key(spec, "w", 1, "sim", 1),
        key(&experiment.points[1].spec, "w", 1, "sim", 1),
        key(&other.points[0].spec, "w", 1, "sim", 1),
        key(spec, "x", 1, "sim", 1),
        key(spec, "w", 2, "sim", 1),
        key(spec, "w", 1, "emu", 1),
        key(spec, "w", 1, "sim", 2),
    ]
    .into();
    assert_eq!(keys.len(), 7);
    assert_eq!(key(spec, "w", 1, "sim", 1).as_str().len(), 32);
}

#[test]
fn the_index_finds_the_runs_of_an_experiment() {
    let house = House::new();
    house.run(&Fake::default(), 2);
    let index = Index::load(&house.out("out"), "e99", configs::Tier::Kick, "fake", &[]).unwrap();
    let runs: Vec<(&str, u64)> = index.runs.iter().map(|run| (run.label.as_str(), run.seed)).collect();
    assert_eq!(runs, [("criu", 1), ("criu", 2), ("t-cxl", 1), ("t-cxl", 2)]);
    for run in &index.runs {
        house.store().load(&run.key).unwrap();
    }
}
