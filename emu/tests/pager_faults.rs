//! What goes wrong around the page server, one way a test: nobody waits for ever, nobody sees a wrong page, and
//! nothing stays behind.

mod pager_common;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use emu::doctor::skip_without;
use emu::pager::lab::tasks::{Task, Touch};
use emu::pager::lab::{Process, random_pages};
use emu::pager::source::faulty::{Fault, Faulty};
use emu::pager::source::spec::{OpenSource, SourceSpec};
use emu::pager::source::{PageSource, SourceError};
use emu::pager::{Client, ClientError, Config, Fate, Mode, Options, Region, Server};
use emu::template::pages::{PAGES as PAGES_FILE, PageTable, TABLE};
use pager_common::{
    MODES, NEEDS, PAGES, Place, SOON, batch, descriptors, eventually, reaches, server_process, touch,
};

/// The file source with faults.
#[derive(Debug)]
struct Spoilt(Fault);

impl OpenSource for Spoilt {
    fn open(&self, folder: &Path, table: &PageTable) -> Result<Arc<dyn PageSource>, SourceError> {
        Ok(Arc::new(Faulty::new("file".parse::<SourceSpec>().unwrap().open(folder, table)?, self.0)))
    }
}

fn spoilt(place: &Place, fault: Fault, then: &[&str]) -> Config {
    let mut config = place.config(then);
    config.sources.insert(0, Arc::new(Spoilt(fault)));
    config
}

#[test]
fn when_the_server_is_killed_its_processes_end_and_a_new_one_serves() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    for mode in MODES {
        // Faults take so long that some process waits for one when the server is killed.
        let server = server_process(place.config(&["dram,latency=50ms"]));
        let client = Client::connect(&place.socket()).unwrap();
        let mut processes: Vec<_> = (0..6)
            .map(|_| Process::attached(&client, &place.template, PAGES, 1, batch(mode, 1)).unwrap())
            .collect();
        // Half of them wait for pages, half for tasks.
        for (process, _) in &processes[..3] {
            process.begin(&touch(0, PAGES)).unwrap();
        }
        std::thread::sleep(Duration::from_millis(120));
        server.kill();
        let killed = Instant::now();
        for (process, attachment) in &mut processes {
            assert_eq!(attachment.fate(SOON), Some(Fate::ServerGone));
            process.child.wait();
        }
        assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
        assert!(matches!(client.report(), Err(ClientError::Gone)));
        drop((client, server));

        let _server = server_process(place.config(&["dram"]));
        let client = Client::connect(&place.socket()).unwrap();
        let (process, _) = Process::attached(&client, &place.template, PAGES, 1, batch(mode, 1)).unwrap();
        assert_eq!(process.run(&touch(0, PAGES)).unwrap().hash, place.expected(0..PAGES, 1));
    }
}

#[test]
fn processes_killed_in_the_middle_of_a_fault_leave_nothing_in_the_server() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    for source in ["dram,latency=3ms", "dram"] {
        let server = server_process(place.config(&[source]));
        let client = Client::connect(&place.socket()).unwrap();
        // The queue and the cache are there from now on.
        drop(Process::attached(&client, &place.template, PAGES, 1, batch(Mode::Shared, 1)).unwrap());
        eventually("it is forgotten", || client.report().unwrap().attachments == 0);
        let before = descriptors(server.pid());
        for round in 0..20 {
            let mode = MODES[round % 2];
            let (process, attachment) =
                Process::attached(&client, &place.template, PAGES, 1, batch(mode, 1)).unwrap();
            let task = Touch { threads: 4, ..Touch::all(0, PAGES) };
            process.begin(&Task::Touch(task)).unwrap();
            std::thread::sleep(Duration::from_millis(round as u64 % 7));
            process.child.kill();
            assert_eq!(attachment.fate(SOON), Some(Fate::Exited));
        }
        eventually("nothing is attached", || client.report().unwrap().attachments == 0);
        // What was attached at first may still have had one open when they were counted.
        eventually("its descriptors are closed", || descriptors(server.pid()) <= before);
        // Pages that were on their way for the dead are good for the living.
        let (process, _) =
            Process::attached(&client, &place.template, PAGES, 1, batch(Mode::Shared, 4)).unwrap();
        assert_eq!(process.run(&touch(0, PAGES)).unwrap().hash, place.expected(0..PAGES, 1));
        assert_eq!(client.attached(), 1);
    }
}

#[test]
fn when_a_manager_is_gone_its_processes_are_killed_not_left_with_zeros() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let (_server, client) = place.serve(&["dram"]);
    let other = Client::connect(&place.socket()).unwrap();
    let (mut process, _) =
        Process::attached(&client, &place.template, PAGES, 1, batch(Mode::Private, 1)).unwrap();
    drop(client);
    assert!(!process.child.wait().success());
    eventually("it is forgotten", || other.report().unwrap().attachments == 0);
}

#[test]
fn a_source_that_fails_or_corrupts_is_tried_again_and_then_the_next() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let present = place.pages.iter().filter(|page| page.iter().any(|byte| *byte != 0)).count() as u64;
    for mode in MODES {
        // Every second read fails: the second try is good.
        let (_server, client) =
            place.serve_with(spoilt(&place, Fault { fail_every: 2, ..Fault::default() }, &[]));
        let (process, _) = Process::attached(&client, &place.template, PAGES, 1, batch(mode, 1)).unwrap();
        assert_eq!(process.run(&touch(0, PAGES)).unwrap().hash, place.expected(0..PAGES, 1));
        reaches(&(present, present), || {
            let found = client.report().unwrap().source("faulty file");
            (found.pages, found.failures)
        });

        drop((process, client, _server));
        // Every read is corrupt: all pages come from the next.
        let (_server, client) =
            place.serve_with(spoilt(&place, Fault { corrupt_every: 1, ..Fault::default() }, &["dram"]));
        let (process, _) = Process::attached(&client, &place.template, PAGES, 1, batch(mode, 16)).unwrap();
        assert_eq!(process.run(&touch(0, PAGES)).unwrap().hash, place.expected(0..PAGES, 1));
        reaches(&(0, present), || {
            let report = client.report().unwrap();
            (report.source("faulty file").pages, report.source("dram").pages)
        });
        let report = client.report().unwrap();
        assert!(report.source("faulty file").wrong_pages > 0);
    }
}

#[test]
fn a_process_whose_page_cannot_be_had_is_ended_with_the_reason() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    for mode in MODES {
        for (fault, reason) in [
            (Fault { corrupt_every: 1, ..Fault::default() }, "another hash than the template's table"),
            (Fault { fail_every: 1, ..Fault::default() }, "cannot read the pages"),
        ] {
            let (_server, client) = place.serve_with(spoilt(&place, fault, &[]));
            let (mut process, attachment) =
                Process::attached(&client, &place.template, PAGES, 1, batch(mode, 1)).unwrap();
            process.begin(&touch(0, PAGES)).unwrap();
            let Some(Fate::Ended(said)) = attachment.fate(SOON) else { panic!("it was not ended") };
            assert!(said.contains(reason) && said.contains("faulty file"), "{said}");
            assert!(!process.child.wait().success());
            assert_eq!(client.report().unwrap().cache_pages, 0);
        }
    }
}

#[test]
fn a_source_that_does_not_answer_is_given_up_for_the_next() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    for mode in MODES {
        let mut config = place.config(&["file,latency=60000ms", "dram"]);
        config.patience = Duration::from_millis(30);
        let (_server, client) = place.serve_with(config);
        let (process, _) = Process::attached(&client, &place.template, PAGES, 1, batch(mode, 64)).unwrap();
        let done = process.run(&Task::Touch(Touch::all(0, PAGES))).unwrap();
        assert_eq!(done.hash, place.expected(0..PAGES, 1));
        let report = client.report().unwrap();
        assert!(report.source("file + stated 60s").late > 0);
        assert_eq!(report.source("file + stated 60s").pages, 0);
    }
}

#[test]
fn the_last_source_may_take_longer_than_others_and_not_for_ever() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let config = |source| {
        let mut config = place.config(&[source]);
        config.patience = Duration::from_millis(20);
        config.alone = Duration::from_millis(600);
        config
    };
    for mode in MODES {
        let (_server, client) = place.serve_with(config("file,latency=100ms"));
        let (process, _) = Process::attached(&client, &place.template, PAGES, 1, batch(mode, 64)).unwrap();
        assert_eq!(process.run(&touch(0, PAGES)).unwrap().hash, place.expected(0..PAGES, 1));
        assert_eq!(client.report().unwrap().source("file + stated 100ms").late, 0);
        drop((process, client, _server));

        let (_server, client) = place.serve_with(config("file,latency=60000ms"));
        let (process, attachment) =
            Process::attached(&client, &place.template, PAGES, 1, batch(mode, 1)).unwrap();
        let began = Instant::now();
        process.begin(&touch(0, PAGES)).unwrap();
        let Some(Fate::Ended(said)) = attachment.fate(SOON) else { panic!("it was not ended") };
        assert!(said.contains("no answer within"), "{said}");
        assert!(began.elapsed() >= Duration::from_millis(600), "{:?}", began.elapsed());
    }
}

#[test]
fn a_slow_source_does_not_hold_up_pages_that_are_there() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let (_server, client) = place.serve(&["dram,latency=100ms"]);
    let (first, _) = Process::attached(&client, &place.template, PAGES, 1, batch(Mode::Shared, 64)).unwrap();
    first.run(&Task::Touch(Touch::all(0, 1))).unwrap();
    // One waits for a page that has to be fetched; the other's are in the cache.
    first.begin(&Task::Touch(Touch::all(100, 1))).unwrap();
    let (second, _) = Process::attached(&client, &place.template, PAGES, 1, batch(Mode::Shared, 1)).unwrap();
    let done = second.run(&Task::Touch(Touch::all(0, 6))).unwrap();
    assert!(done.wall_ns < 50_000_000, "{} ms", done.wall_ns / 1_000_000);
    assert!(first.finish(SOON).unwrap().is_some());
}

#[test]
fn a_template_may_be_deleted_while_it_is_attached() {
    if skip_without(NEEDS) {
        return;
    }
    for mode in MODES {
        for source in ["dram", "file"] {
            let place = Place::new();
            let (_server, client) = place.serve(&[source]);
            let (process, _) = Process::attached(&client, &place.template, PAGES, 1, batch(mode, 8)).unwrap();
            process.run(&touch(0, 20)).unwrap();
            std::fs::remove_dir_all(&place.template).unwrap();
            assert_eq!(process.run(&touch(0, PAGES)).unwrap().hash, place.expected(0..PAGES, 1));
            let refused = Process::attached(&client, &place.template, PAGES, 1, batch(mode, 8)).unwrap_err();
            assert!(refused.to_string().contains("No such file"), "{refused}");
        }
    }
}

#[test]
fn a_template_made_anew_in_the_same_place_is_another() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let (_server, client) = place.serve(&["dram"]);
    let (old, _) = Process::attached(&client, &place.template, PAGES, 1, batch(Mode::Shared, 1)).unwrap();
    std::fs::remove_dir_all(&place.template).unwrap();
    let anew = random_pages(99, PAGES, 3);
    emu::pager::lab::write_template(&place.template, &anew).unwrap();
    let (new, _) = Process::attached(&client, &place.template, PAGES, 1, batch(Mode::Shared, 1)).unwrap();
    assert_eq!(new.run(&touch(0, PAGES)).unwrap().hash, pager_common::expected(&anew, 0..PAGES, 1));
    assert_eq!(old.run(&touch(0, PAGES)).unwrap().hash, place.expected(0..PAGES, 1));
}

#[test]
fn damaged_templates_are_refused_with_the_reason() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let (_server, client) = place.serve(&["dram"]);
    let refused = |what: &str| {
        let error = Process::attached(&client, &place.template, PAGES, 1, batch(Mode::Private, 1));
        let error = error.unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    let (table, pages) = (place.template.join(TABLE), place.template.join(PAGES_FILE));
    let (good_table, good_pages) = (std::fs::read(&table).unwrap(), std::fs::read(&pages).unwrap());
    // A new file each time: a server takes a table that was written in place for the one it has read.
    let write = |path: &Path, bytes: &[u8]| {
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let mut bad = good_table.clone();
    bad[100] ^= 1;
    write(&table, &bad);
    refused("the table is damaged");
    write(&table, b"something else");
    refused("no table of template pages");
    write(&table, &good_table[..good_table.len() - 16]);
    refused("says that it holds 256 pages");
    write(&table, &good_table);
    let mut bad = good_pages.clone();
    bad[5 * 4096 + 7] ^= 1;
    write(&pages, &bad);
    refused("page 5 has another hash");
    write(&pages, &good_pages[..4096]);
    refused("pages 0 to 256 were asked for, and it has 1");
    write(&pages, &good_pages);
    let (process, _) =
        Process::attached(&client, &place.template, PAGES, 1, batch(Mode::Private, 1)).unwrap();
    assert_eq!(process.run(&touch(0, PAGES)).unwrap().hash, place.expected(0..PAGES, 1));
}

#[test]
fn without_room_in_the_cache_processes_get_pages_of_their_own() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let mut config = place.config(&["file"]);
    config.cache_limit = Some(40 * 4096);
    let (_server, client) = place.serve_with(config);
    let processes: Vec<_> = (0..3)
        .map(|_| Process::attached(&client, &place.template, PAGES, 1, batch(Mode::Shared, 8)).unwrap().0)
        .collect();
    for process in &processes {
        assert_eq!(process.run(&touch(0, PAGES)).unwrap().hash, place.expected(0..PAGES, 1));
    }
    let report = client.report().unwrap();
    assert!(report.cache_pages <= 40, "{}", report.cache_pages);
    assert!(report.counts.cache_full_pages > 0 && report.counts.ended == 0, "{:?}", report.counts);
}

#[test]
fn the_room_of_a_cache_comes_back_when_its_template_is_gone() {
    if skip_without(NEEDS) {
        return;
    }
    let (place, other) = (Place::new(), Place::new());
    let (_server, client) = place.serve(&["dram"]);
    let (process, attachment) =
        Process::attached(&client, &place.template, PAGES, 1, batch(Mode::Shared, 8)).unwrap();
    process.run(&touch(0, PAGES)).unwrap();
    assert!(client.report().unwrap().cache_pages > 0);
    drop(process);
    assert_eq!(attachment.fate(SOON), Some(Fate::Exited));
    std::fs::remove_dir_all(&place.template).unwrap();
    // Looking for another template clears the shelf.
    eventually("its pages are given back", || {
        client.cache(&other.template).unwrap();
        client.report().unwrap().cache_pages == 0
    });
}

#[test]
fn attaches_that_make_no_sense_are_refused() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let (_server, client) = place.serve(&["dram"]);
    let attach = |regions: &[Region], options: Options| {
        let mut process = Process::start(&emu::pager::lab::Arena::Private, 4, 1).unwrap();
        let uffd = process.take_uffd().into();
        let refused = client.attach(uffd, process.child.pidfd(), &place.template, regions, options);
        refused.unwrap_err().to_string()
    };
    let (options, good) =
        (Options::new(Mode::Private), Region { address: 0x10000, length: 4096, first_page: 0 });
    let cases = [
        (attach(&[], options), "0 regions"),
        (attach(&[Region { address: 1, ..good }], options), "whole pages"),
        (attach(&[Region { first_page: 256, ..good }], options), "reaches to page 257"),
        (attach(&[good, good], options), "overlap"),
        (attach(&[good], batch(Mode::Private, 0)), "1 to 512"),
        (attach(&[good], batch(Mode::Private, 513)), "1 to 512"),
    ];
    for (said, expected) in cases {
        assert!(said.contains(expected), "{said}");
    }
    let no_uffd = std::fs::File::open("/dev/null").unwrap().into();
    let process = Process::start(&emu::pager::lab::Arena::Private, 4, 1).unwrap();
    let said = client.attach(no_uffd, process.child.pidfd(), &place.template, &[good], options).unwrap_err();
    assert!(said.to_string().contains("no userfaultfd"), "{said}");
    assert_eq!(client.report().unwrap().attachments, 0);
    // And who does not keep to the protocol is left alone, without harm to others.
    let garbage = std::os::unix::net::UnixStream::connect(place.socket());
    assert!(garbage.is_err(), "a stream where datagrams are spoken");
    assert!(Server::start(place.config(&["dram"])).is_err(), "two servers at one socket");
}
