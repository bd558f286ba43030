//! What is there is not run again; what fails does not stop the rest, and says how to try it alone.

mod common;

use common::{Fake, House};
use runs::{Options, Plan, execute};
use std::sync::atomic::Ordering;
use std::time::Duration;

#[test]
fn a_rerun_does_nothing() {
    let house = House::new();
    let world = Fake::default();
    let first = house.run(&world, 2);
    let again = house.run(&world, 2);
    assert_eq!(world.runs.load(Ordering::SeqCst), 4);
    assert!(first.done.iter().all(|done| !done.cached) && again.done.iter().all(|done| done.cached));
    assert_eq!(
        first.done.iter().map(|d| &d.key).collect::<Vec<_>>(),
        again.done.iter().map(|d| &d.key).collect::<Vec<_>>()
    );
}

#[test]
fn a_failure_is_listed_with_the_command_that_runs_it_alone() {
    let house = House::new();
    let plan = Plan::new(house.experiment(&["keep_alive.ttl=1 min"]));
    let outcome = house.run_plan(&plan, &Fake { fails_at: Some(2), ..Fake::default() }, 1);
    assert_eq!((outcome.done.len(), outcome.failed.len(), outcome.skipped), (2, 2, 0));
    let failed = &outcome.failed[0];
    assert_eq!(failed.error, "node 3 caught fire with seed 2");
    let (_, options) = failed.rerun.split_once("e99-test.toml").unwrap();
    assert_eq!(options, " --world fake --tier kick --set 'keep_alive.ttl=1 min' --point criu --seed 2");
}

#[test]
fn a_broken_invariant_fails_its_run_only() {
    let house = House::new();
    let outcome = house.run(&Fake { panics_at: Some(1), ..Fake::default() }, 2);
    assert_eq!((outcome.done.len(), outcome.failed.len()), (2, 2));
    assert!(outcome.failed[0].error.contains("seed 1 is not liked"), "{}", outcome.failed[0].error);
}

#[test]
fn the_rest_is_skipped_where_that_is_wanted() {
    let house = House::new();
    let plan = house.plan();
    let options = Options { jobs: 1, keep_going: false, progress: false, ..Options::default() };
    let world = Fake { fails_at: Some(1), ..Fake::default() };
    let outcome = execute(&plan, &house.out("out"), &house.store(), &world, &options).unwrap();
    assert_eq!((outcome.failed.len(), outcome.skipped), (1, 3));
}

#[test]
fn two_runners_of_one_plan_run_each_point_once() {
    let house = House::new();
    let world = Fake { takes: Duration::from_millis(50), ..Fake::default() };
    let outcomes = std::thread::scope(|scope| {
        let runners: Vec<_> = (0..2).map(|_| scope.spawn(|| house.run(&world, 2))).collect();
        runners.into_iter().map(|runner| runner.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(world.runs.load(Ordering::SeqCst), 4);
    assert_eq!(outcomes.iter().flat_map(|o| &o.done).filter(|done| !done.cached).count(), 4);
    assert_eq!(outcomes.iter().map(|o| o.done.len()).sum::<usize>(), 8);
}

#[test]
fn a_part_of_a_plan_adds_to_the_index() {
    let house = House::new();
    let plan = Plan::only(house.experiment(&[]), &["t-cxl".to_owned()], &[2, 8]).unwrap();
    house.run_plan(&plan, &Fake::default(), 1);
    let plan = Plan::only(house.experiment(&[]), &["criu".to_owned()], &[1]).unwrap();
    house.run_plan(&plan, &Fake::default(), 1);
    let index = runs::Index::load(&house.out("out"), &house.experiment(&[]), "fake").unwrap();
    let runs: Vec<(&str, u64)> = index.runs.iter().map(|run| (run.label.as_str(), run.seed)).collect();
    assert_eq!(runs, [("criu", 1), ("t-cxl", 2), ("t-cxl", 8)]);
    let error = Plan::only(house.experiment(&[]), &["t-clx".to_owned()], &[]).unwrap_err();
    assert_eq!(error.to_string(), "e99: no point \"t-clx\": did you mean \"t-cxl\"?");
}

#[test]
fn runs_of_an_experiment_that_has_changed_leave_its_index() {
    let house = House::new();
    house.run(&Fake::default(), 1);
    house.replace(
        "systems = [\"criu\", \"t-cxl\"]",
        "systems = [\"criu\", \"t-cxl\"]\nkeep_alive.ttl = \"1 min\"",
    );
    let plan = Plan::only(house.experiment(&[]), &["criu".to_owned()], &[1]).unwrap();
    house.run_plan(&plan, &Fake::default(), 1);
    let index = runs::Index::load(&house.out("out"), &house.experiment(&[]), "fake").unwrap();
    assert_eq!(index.runs.len(), 1, "the others were made with another keep-alive");
}
