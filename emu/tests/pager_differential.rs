//! A pseudo-random program reads the same, however its pages are served, while its threads change the memory map.

mod pager_common;

use emu::doctor::skip_without;
use emu::pager::lab::program::Program;
use emu::pager::lab::tasks::Task;
use emu::pager::lab::{Arena, Process};
use emu::pager::source::faulty::{Fault, Faulty};
use emu::pager::source::spec::{OpenSource, SourceSpec};
use emu::pager::source::{PageSource, SourceError};
use emu::pager::{Client, Options, Prefetch};
use emu::template::pages::PageTable;
use pager_common::{MODES, NEEDS, PAGES, Place, eventually, export};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const SEEDS: u64 = 4;

/// One thread that forks, and several that change the memory map under each other's prefetches.
fn programs(seed: u64) -> [Program; 2] {
    [
        Program { seed, steps: 400, threads: 1, maps: true, forks: true },
        Program { seed, steps: 250, threads: 4, maps: true, forks: false },
    ]
}

/// Runs a program in a process that is served.
#[track_caller]
fn served(client: &Client, place: &Place, program: Program, options: Options) -> u64 {
    let (mut process, attachment) = Process::attached(client, &place.template, PAGES, 4, options).unwrap();
    match process.run(&Task::Program(program)) {
        Ok(done) => done.hash,
        Err(error) => {
            let fate = attachment.fate(Duration::from_millis(200));
            process.child.kill();
            panic!("{error}: {:?}, {fate:?}, {options:?}, {program:?}", process.child.wait())
        }
    }
}

fn plain(place: &Place, program: Program, parts: usize) -> u64 {
    let process = Process::start(&Arena::Plain(place.template.clone()), PAGES, parts).unwrap();
    process.run(&Task::Program(program)).unwrap().hash
}

#[test]
fn a_program_reads_the_same_under_every_source_and_mode() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let expected: Vec<(Program, u64)> =
        (0..SEEDS).flat_map(programs).map(|program| (program, plain(&place, program, 4))).collect();
    // The programs differ, or the comparison says nothing.
    let mut hashes: Vec<u64> = expected.iter().map(|(_, hash)| *hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), expected.len());
    for source in ["dram", "file", "dram,latency=40us,spread=80%,seed=1"] {
        let (_server, client) = place.serve(&[source]);
        for mode in MODES {
            for (program, hash) in &expected {
                let k = [1, 16, 64][program.seed as usize % 3];
                let options = Options { batch: k, ..Options::new(mode) };
                let found = served(&client, &place, *program, options);
                assert_eq!(found, *hash, "{source}, {mode:?}, {k} at a fault, {program:?}");
            }
        }
        assert_eq!(client.report().unwrap().counts.ended, 0);
    }
}

#[test]
fn it_reads_the_same_while_pages_are_filled_in_the_background() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let (_server, client) = place.serve(&["dram,latency=150us,spread=90%"]);
    for mode in MODES {
        for program in (10..10 + SEEDS).flat_map(programs) {
            let options = Options { background: true, batch: 4, ..Options::new(mode) };
            let found = served(&client, &place, program, options);
            assert_eq!(found, plain(&place, program, 4), "{mode:?}, {program:?}");
            let options = Options { prefetch: Prefetch::All, ..Options::new(mode) };
            let found = served(&client, &place, program, options);
            assert_eq!(found, plain(&place, program, 4), "prefetched, {mode:?}, {program:?}");
        }
    }
}

#[test]
fn it_reads_the_same_over_tcp_and_with_what_was_recorded() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let export = export(&place);
    for source in [format!("tcp:{}", export.address()), "dram,latency=30us".into()] {
        let (_server, client) = place.serve(&[&source]);
        for mode in MODES {
            for program in (30..30 + SEEDS).flat_map(programs) {
                let expected = plain(&place, program, 4);
                let found = served(&client, &place, program, Options::new(mode));
                assert_eq!(found, expected, "{source}, {mode:?}, {program:?}");
                let record = place.template.join("working-set");
                let options = Options { record: true, ..Options::new(mode) };
                assert_eq!(served(&client, &place, program, options), expected, "recorded, {mode:?}");
                eventually("the working set is written", || record.exists());
                for prefetch in [Prefetch::WorkingSet, Prefetch::Regions { gap: 4 }] {
                    let options = Options { prefetch, batch: 4, ..Options::new(mode) };
                    let found = served(&client, &place, program, options);
                    assert_eq!(found, expected, "{prefetch:?}, {source}, {mode:?}, {program:?}");
                }
                std::fs::remove_file(record).unwrap();
            }
        }
        assert_eq!(client.report().unwrap().counts.ended, 0);
    }
}

#[derive(Debug)]
struct Spoilt;

impl OpenSource for Spoilt {
    fn open(&self, folder: &Path, table: &PageTable) -> Result<Arc<dyn PageSource>, SourceError> {
        let file = "file".parse::<SourceSpec>().unwrap().open(folder, table)?;
        Ok(Arc::new(Faulty::new(
            file,
            Fault { fail_every: 3, corrupt_every: 5, slow: Duration::from_micros(100) },
        )))
    }
}

#[test]
fn it_reads_the_same_from_a_source_that_fails_and_corrupts() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let mut config = place.config(&[]);
    config.sources = vec![Arc::new(Spoilt), Arc::new("file".parse::<SourceSpec>().unwrap())];
    let (_server, client) = place.serve_with(config);
    for mode in MODES {
        for program in (20..20 + SEEDS).flat_map(programs) {
            let found = served(&client, &place, program, Options::new(mode));
            assert_eq!(found, plain(&place, program, 4), "{mode:?}, {program:?}");
        }
    }
    let spoilt = client.report().unwrap().source("faulty file");
    assert!(spoilt.wrong_pages > 0 && spoilt.failures > 0, "{spoilt:?}");
}
