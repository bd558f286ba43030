//! A process killed at any moment, a disk that changes: nothing half-written is taken for a result.

mod common;

use common::{Fake, House, files};
use runs::{Claim, RunKey, StoreError};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

/// A house with all runs, one key and its folder.
fn with_runs() -> (House, RunKey, PathBuf) {
    let house = House::new();
    let key = house.run(&Fake::default(), 1).done.remove(0).key;
    let folder = house.store().path(&key);
    (house, key, folder)
}

#[test]
fn killed_between_any_two_files_it_is_no_run_and_the_next_one_is() {
    let (house, key, folder) = with_runs();
    let whole = files(&folder);
    for written in 0..whole.len() {
        // What a killed process leaves: its lock, and some files, not yet renamed.
        let lock = fs::File::create(folder.with_file_name(format!("{key}.lock"))).unwrap();
        lock.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        let partial = folder.with_file_name(format!("{key}.partial-1"));
        fs::remove_dir_all(&folder).unwrap();
        fs::create_dir(&partial).unwrap();
        for (name, bytes) in whole.iter().filter(|(name, _)| name != "DONE").take(written) {
            fs::write(partial.join(name), bytes).unwrap();
        }
        assert!(matches!(house.store().load(&key), Err(StoreError::Missing { .. })));

        let world = Fake::default();
        house.run(&world, 1);
        assert_eq!(world.runs.load(Ordering::SeqCst), 1);
        assert!(house.store().is_done(&key) && !partial.exists());
    }
}

#[test]
fn a_changed_file_is_named() {
    let (house, key, folder) = with_runs();
    let path = folder.join("memory.csv");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen('9', "8", 1)).unwrap();
    let error = house.store().load(&key).unwrap_err();
    assert!(matches!(&error, StoreError::Altered { path: found } if *found == path), "{error}");
}

#[test]
fn a_changed_manifest_is_named_and_done_is_the_same_everywhere() {
    let (house, key, folder) = with_runs();
    let path = folder.join("manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    let manifest = house.store().manifest(&key).unwrap();
    assert_eq!((manifest.key, manifest.jobs, manifest.pid), (key.clone(), 1, std::process::id()));
    for (from, to) in [("\"seed\": 1", "\"seed\": 2"), ("\"pid\": ", "\"pid\":  "), ("\n}\n", "\n}")] {
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let error = house.store().load(&key).unwrap_err();
        assert!(matches!(&error, StoreError::Altered { path: found } if *found == path), "{error}");
    }
    // What differs between machines is in the manifest alone.
    let (other, same_key, other_folder) = with_runs();
    assert_eq!(key, same_key);
    drop(house);
    assert!(other.store().is_done(&key));
    let done = fs::read_to_string(other_folder.join("DONE")).unwrap();
    assert!(!done.contains("manifest.json"), "{done}");
}

#[test]
fn a_truncated_file_is_named_and_its_run_is_set_aside_and_made_again() {
    let (house, key, folder) = with_runs();
    let path = folder.join("functions.csv");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let error = house.store().load(&key).unwrap_err();
    assert!(matches!(&error, StoreError::WrongSize { path: found, .. } if *found == path), "{error}");

    let world = Fake::default();
    house.run(&world, 1);
    assert_eq!(world.runs.load(Ordering::SeqCst), 1);
    house.store().load(&key).unwrap();
    let aside = folder.with_file_name(format!("{key}.damaged-{}", std::process::id()));
    assert!(aside.join("functions.csv").is_file());
}

#[test]
fn another_schema_is_said_to_be_one() {
    let (house, key, folder) = with_runs();
    let path = folder.join("DONE");
    let text = fs::read_to_string(&path).unwrap();
    let ours = format!("\"record_schema\": {}", platform::records::RECORD_SCHEMA);
    assert!(text.contains(&ours), "{text}");
    fs::write(&path, text.replacen(&ours, "\"record_schema\": 99", 1)).unwrap();
    let error = house.store().load(&key).unwrap_err();
    assert!(matches!(error, StoreError::ForeignSchema { found: 99, .. }), "{error}");
}

#[test]
fn a_runner_that_was_taken_for_dead_does_not_write_over_the_one_who_took_over() {
    let (house, key, folder) = with_runs();
    let stored = house.store().load(&key).unwrap();
    let whole = files(&folder);
    fs::remove_dir_all(&folder).unwrap();
    let Claim::Mine(slot) = house.store().claim(&key).unwrap() else { panic!("nobody else is here") };
    // Another runner takes the lock over, and finishes first.
    fs::write(folder.with_file_name(format!("{key}.lock")), "another runner").unwrap();
    fs::create_dir(&folder).unwrap();
    whole.iter().for_each(|(name, bytes)| fs::write(folder.join(name), bytes).unwrap());
    let error = slot.commit(&stored.record, stored.manifest).unwrap_err();
    assert!(matches!(&error, StoreError::Lost { .. }), "{error}");
    assert_eq!(files(&folder), whole);
    let lock = fs::read_to_string(folder.with_file_name(format!("{key}.lock"))).unwrap();
    assert_eq!(lock, "another runner", "its lock is left alone");
}

#[test]
fn a_claim_that_is_given_up_leaves_nothing() {
    let house = House::new();
    let key = RunKey::parse("0123456789abcdef0123456789abcdef").unwrap();
    let Claim::Mine(slot) = house.store().claim(&key).unwrap() else { panic!("nobody else is here") };
    assert!(
        matches!(house.store().claim(&key).unwrap(), Claim::Busy { pid, .. } if pid == std::process::id())
    );
    drop(slot);
    assert!(files(&house.out("out").join("runs")).is_empty());
    assert!(house.store().keys().unwrap().is_empty());
}
