//! Pages come where they belong, by every way of serving them.

mod pager_common;

use std::time::Duration;

use emu::doctor::skip_without;
use emu::pager::lab::tasks::{Task, Touch};
use emu::pager::lab::{Process, random_pages};
use emu::pager::{Client, Fate, Mode, Options, Placement, Prefetch};
use pager_common::{MODES, NEEDS, PAGES, Place, SOON, batch, eventually, reaches, touch};

/// Faults that were served, when that does not change any more.
fn settled(client: &Client) -> u64 {
    let faults = || client.report().unwrap().counts.faults;
    let mut before = faults();
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let now = faults();
        if now == before {
            return now;
        }
        before = now;
    }
}

#[test]
fn every_page_is_what_the_template_says() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    for source in ["dram", "file", "direct", "dram,latency=2us", "dram,latency=50us,iops=100000"] {
        let (_server, client) = place.serve(&[source]);
        for mode in MODES {
            for k in [1, 16, 512] {
                let (process, _) =
                    Process::attached(&client, &place.template, PAGES, 4, batch(mode, k)).unwrap();
                let done = process.run(&touch(0, PAGES)).unwrap();
                assert_eq!(done.hash, place.expected(0..PAGES, 4), "{source}, {mode:?}, {k} at a fault");
            }
        }
        let report = client.report().unwrap();
        assert!(report.counts.faults > 0 && report.counts.ended == 0, "{:?}", report.counts);
    }
}

#[test]
fn batches_stay_in_their_regions_and_bring_what_follows_the_fault() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::of(random_pages(3, 64, 0));
    let (_server, client) = place.serve(&["dram"]);
    let (process, _) = Process::attached(&client, &place.template, 64, 4, batch(Mode::Private, 512)).unwrap();
    // In the middle of the second region of sixteen pages.
    process.run(&Task::Touch(Touch::all(20, 1))).unwrap();
    reaches(&12, || client.report().unwrap().counts.copied_pages);
    process.run(&Task::Touch(Touch::all(20, 12))).unwrap();
    reaches(&1, || client.report().unwrap().counts.faults);
}

#[test]
fn pages_of_zeros_are_neither_read_nor_copied() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let zeros = place.pages.iter().filter(|page| page.iter().all(|byte| *byte == 0)).count() as u64;
    for mode in MODES {
        let (_server, client) = place.serve(&["file"]);
        let (process, _) = Process::attached(&client, &place.template, PAGES, 1, batch(mode, 1)).unwrap();
        process.run(&touch(0, PAGES)).unwrap();
        reaches(&(zeros, PAGES as u64 - zeros), || {
            let report = client.report().unwrap();
            (report.counts.zero_pages, report.source("file").pages)
        });
    }
}

#[test]
fn fifty_processes_share_every_page() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let mut config = place.config(&["dram,latency=20us"]);
    config.threads = 2;
    let (_server, client) = place.serve_with(config);
    let processes: Vec<_> = (0..50)
        .map(|_| Process::attached(&client, &place.template, PAGES, 1, batch(Mode::Shared, 8)).unwrap().0)
        .collect();
    for process in &processes {
        process.begin(&touch(0, PAGES)).unwrap();
    }
    for process in &processes {
        let done = process.finish(SOON).unwrap().expect("it lives");
        assert_eq!(done.hash, place.expected(0..PAGES, 1));
    }
    let present = place.pages.iter().filter(|page| page.iter().any(|byte| *byte != 0)).count() as u64;
    reaches(&(present, present, 50, 50 * present), || {
        let report = client.report().unwrap();
        let fetched = report.source("dram + stated 20µs").pages;
        (fetched, report.cache_pages, report.attachments, report.counts.continued_pages)
    });
    // The pages are there once, whatever each process writes.
    let write = Task::Touch(Touch { write: true, ..Touch::all(0, PAGES) });
    processes[0].run(&write).unwrap();
    assert_eq!(client.report().unwrap().cache_pages, present);
}

#[test]
fn a_recorded_working_set_is_there_before_the_process_runs() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    for mode in MODES {
        let (server, client) = place.serve(&["dram"]);
        let options = Options { record: true, ..Options::new(mode) };
        let (process, attachment) = Process::attached(&client, &place.template, PAGES, 2, options).unwrap();
        for task in [Touch::all(40, 10), Touch::all(200, 3), Touch::all(53, 1)] {
            process.run(&Task::Touch(task)).unwrap();
        }
        reaches(&14, || client.report().unwrap().counts.faults);
        drop(process);
        assert_eq!(attachment.fate(SOON), Some(Fate::Exited));
        eventually("the working set is written", || place.template.join("working-set").exists());

        let replay = |prefetch| {
            let options = Options { prefetch, batch: 1, ..Options::new(mode) };
            let (process, attachment) =
                Process::attached(&client, &place.template, PAGES, 2, options).unwrap();
            let before = settled(&client);
            let done = process.run(&Task::Touch(Touch::all(40, 10))).unwrap();
            assert_eq!(done.hash, place.expected(40..50, 2));
            (attachment.prefetched, settled(&client) - before, process)
        };
        let (prefetched, faults, _process) = replay(Prefetch::WorkingSet);
        assert_eq!((prefetched, faults), (14, 0));
        let (prefetched, faults, process) = replay(Prefetch::Regions { gap: 3 });
        assert_eq!((prefetched, faults), (17, 0));
        // What was not recorded still comes.
        assert_eq!(process.run(&touch(0, PAGES)).unwrap().hash, place.expected(0..PAGES, 2));
        let (prefetched, faults, process) = replay(Prefetch::All);
        assert_eq!((prefetched, faults), (PAGES as u64, 0));
        let before = settled(&client);
        process.run(&touch(0, PAGES)).unwrap();
        assert_eq!(settled(&client), before);
        drop((process, server));
        std::fs::remove_file(place.template.join("working-set")).unwrap();
    }
}

#[test]
fn the_rest_is_filled_while_nothing_happens() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    for (mode, source) in
        [(Mode::Private, "dram"), (Mode::Shared, "dram,latency=30us"), (Mode::Private, "file")]
    {
        let (_server, client) = place.serve(&[source]);
        let options = Options { background: true, ..Options::new(mode) };
        let (process, _) = Process::attached(&client, &place.template, PAGES, 2, options).unwrap();
        eventually("everything is there", || {
            let counts = client.report().unwrap().counts;
            counts.copied_pages + counts.continued_pages + counts.zero_pages >= PAGES as u64
        });
        let before = settled(&client);
        assert_eq!(process.run(&touch(0, PAGES)).unwrap().hash, place.expected(0..PAGES, 2));
        assert_eq!(settled(&client), before, "{mode:?} from {source}");
    }
}

#[test]
fn every_placement_serves() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    for placement in Placement::ALL {
        let mut config = place.config(&["dram"]);
        config.placement = placement;
        let (_server, client) = place.serve_with(config);
        let options = Options { core: Some(0), batch: 1, ..Options::new(Mode::Private) };
        let (process, _) = Process::attached(&client, &place.template, PAGES, 1, options).unwrap();
        let task = Touch { threads: 4, core: Some(0), shuffled: true, ..Touch::all(0, PAGES) };
        let done = process.run(&Task::Touch(task)).unwrap();
        assert_eq!(done.hash, place.expected(0..PAGES, 1), "{placement:?}");
    }
}

#[test]
fn several_slow_reads_are_under_way_at_once() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::of(random_pages(5, 64, 0));
    let (_server, client) = place.serve(&["dram,latency=20ms"]);
    let (process, _) = Process::attached(&client, &place.template, 64, 1, batch(Mode::Private, 1)).unwrap();
    let task = Touch { threads: 16, ..Touch::all(0, 32) };
    let done = process.run(&Task::Touch(task)).unwrap();
    assert_eq!(done.hash, place.expected(0..32, 1));
    // One thread serves: one after another they would take 640 ms, two rounds of sixteen take 40.
    assert!(done.wall_ns < Duration::from_millis(400).as_nanos() as u64, "{} ms", done.wall_ns / 1_000_000);
}
