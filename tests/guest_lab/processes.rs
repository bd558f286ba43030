//! Processes whose page faults are served by RDMA, with and without nearer and farther sources.

use std::time::{Duration, Instant};

use crate::house::{FILLER, HOST, House, MINUTE, PRESENT, READ, READER, Visit, Visits};

pub fn processes_are_served_by_rdma(house: &House) {
    let _daemon = house.serve("");
    for line in ["--batch 1", "--batch 512 --times 2"] {
        for visit in house.touched(FILLER, line) {
            let found = (visit.count("rdma", "pages"), visit.count("rdma", "failures"));
            assert_eq!(found, (PRESENT, 0), "{}", visit.0);
        }
    }
    let polling = format!("touch --source {} @template", house.source(",completions=polling"));
    let visit = Visit::of(&house.pool(FILLER, &polling));
    assert_eq!(visit.count("rdma", "pages"), PRESENT, "{}", visit.0);
    // What one process has fetched, the next has.
    let shared = house.touched(FILLER, "--shared --times 3");
    let pages: Vec<u64> = shared.iter().map(|visit| visit.count("rdma", "pages")).collect();
    assert_eq!(pages, [PRESENT, 0, 0]);
    // What all of these have written, the pool has not.
    house.pool(FILLER, READ);
}

pub fn hot_pages_are_brought_back_to_cxl_memory(house: &House) {
    let daemon = house.serve("");
    // Room for less than half of the pages.
    let room = (3 << 20) / 4096;
    let touch = format!(
        "touch --source near:/mnt/pool,mib=3 --source {} --source file --times 10000 @template",
        house.source("")
    );
    let mut visits = Visits { job: house.start(FILLER, &touch), seen: 0 };
    // The pool is connected to meanwhile: until then the file is asked.
    let visit = visits.until("pages come by RDMA", |visit| visit.count("rdma", "pages") == PRESENT);
    assert_eq!(visit.count("near", "pages"), 0, "{}", visit.0);
    let visit = visits.until("hot pages come from CXL", |visit| visit.count("near", "pages") == room);
    assert!(visits.seen > 4, "{} uses", visits.seen - 1);
    assert_eq!(visit.count("rdma", "pages"), PRESENT - room, "{}", visit.0);
    // The cold ones come from the file when the pool is gone; the hot ones are where they were.
    daemon.signal(libc::SIGKILL).expect("a guest that lives");
    let visit = visits.until("the pool is gone", |visit| visit.count("rdma", "pages") == 0);
    assert_eq!((visit.count("near", "pages"), visit.count("file", "pages")), (room, PRESENT - room));
    drop(visits);
    // Templates beside it on the device are as they were.
    for node in [HOST, FILLER, READER] {
        house.pool(node, "read --folder /mnt/pool/python");
    }
}

pub fn processes_get_their_pages_through_failures(house: &House) {
    let daemon = house.serve("");
    let failing = format!("touch --source {}", house.source(",fail-every=40"));
    // Nobody else has the pages: it connects again and again.
    let visit = Visit::of(&house.pool(FILLER, &format!("{failing} @template")));
    assert!(visit.count("rdma", "failures") > 0 && visit.count("rdma", "pages") >= PRESENT, "{}", visit.0);
    // Meanwhile, the next source is asked.
    let visit =
        Visit::of(&house.pool(FILLER, &format!("{failing} --patience 10000 --source file @template")));
    assert!(visit.count("file", "pages") > 0 && visit.count("rdma", "failures") > 0, "{}", visit.0);

    let mut visits = Visits::start(house, FILLER, "");
    daemon.signal(libc::SIGUSR1).expect("a guest that lives");
    visits.until("old keys are refused", |visit| visit.count("rdma", "failures") > 0);
    let visit = visits.next();
    assert_eq!(visit.count("rdma", "pages"), PRESENT, "{}", visit.0);
    drop(visits);

    let mut visits = Visits::start(house, FILLER, "--alone 20000");
    house.link_down(FILLER, 5);
    visits.until("pages come again", |visit| visit.count("rdma", "pages") == PRESENT);
    drop(visits);
    let mut visits = Visits::start(house, FILLER, "--source file --patience 200");
    house.link_down(FILLER, 5);
    visits.until("pages came from the file", |visit| visit.count("file", "pages") > 0);
    visits.until("pages come by RDMA again", |visit| visit.count("rdma", "pages") == PRESENT);
}

pub fn processes_go_on_without_the_pool_or_end_with_a_reason(house: &House) {
    let daemon = house.serve("");
    let mut with_file = Visits::start(house, FILLER, "--source file");
    daemon.signal(libc::SIGKILL).expect("a guest that lives");
    with_file.until("all pages come from the file", |visit| visit.count("file", "pages") == PRESENT);
    drop(daemon);
    let daemon = house.serve("");
    with_file.until("pages come by RDMA again", |visit| visit.count("rdma", "pages") == PRESENT);
    drop(with_file);

    let alone = Visits::start(house, FILLER, "--alone 6000");
    let begin = Instant::now();
    daemon.signal(libc::SIGKILL).expect("a guest that lives");
    let ended = alone.job.wait(MINUTE).expect("an end");
    assert!(!ended.is_success() && ended.errors.contains("was ended: page "), "{ended:?}");
    let reason = "rdma 192.0.2.1:7471 said last: the connection failed";
    assert!(ended.errors.contains(reason), "{ended:?}");
    assert!(begin.elapsed() < Duration::from_secs(25), "it took {:?}", begin.elapsed());
    drop(daemon);

    // A template that did not get into the pool.
    let _daemon = house.serve("");
    let source = house.source("");
    let with_file = format!("touch --source {source} --source file @other");
    let visit = Visit::of(&house.pool(FILLER, &with_file));
    assert_eq!(visit.count("file", "pages"), 512 / 8 * 7, "{}", visit.0);
    house.refused(FILLER, &format!("touch --source {source} @other"), "no such template");
    let wrong = source.replace("/key", "/wrong-key");
    house.refused(FILLER, &format!("touch --source {wrong} @template"), "has another key");
}

/// The pool is the CXL device, where it lies, and a guest removes all of its templates and fills in others.
pub fn a_page_that_was_overwritten_in_the_pool_is_never_used(house: &House) {
    let _daemon = house.serve_only("--device /dev/dax0.0");
    let alone = Visits::start(house, READER, "");
    let reader = house.read(READER, 10_000, 20);
    let mut with_file = Visits::start(house, READER, "--source file");
    with_file.until("pages come by RDMA", |visit| visit.count("rdma", "pages") == PRESENT);
    let listed = house.pool(FILLER, "list --device /dev/dax0.0");
    for name in listed.lines().filter_map(|line| line.split_whitespace().next()) {
        house.pool(FILLER, &format!("remove --device /dev/dax0.0 {name}"));
    }
    for number in 0.. {
        let ended = house.run(FILLER, &format!("fill --device /dev/dax0.0 --name intruder{number} @third"));
        if !ended.is_success() {
            assert!(ended.errors.contains("the pool is full") && number > 0, "{ended:?}");
            break;
        }
    }
    with_file.until("all come from the file", |visit| visit.count("file", "pages") == PRESENT);
    drop(with_file);
    let ended = alone.job.wait(MINUTE).expect("an end");
    assert!(!ended.is_success(), "{ended:?}");
    assert!(ended.errors.contains("another hash than the template's table"), "{ended:?}");
    let ended = reader.wait(MINUTE).expect("an end");
    assert!(!ended.is_success(), "{ended:?}");
    assert!(ended.errors.contains("is not what the table says: it was not used"), "{ended:?}");
    // Whoever connects now is told.
    house.refused(READER, READ, "no such template");
    house.refused(READER, &house.touch(""), "no such template");
    // Put elsewhere, it is found again.
    house.pool(FILLER, "remove --device /dev/dax0.0 intruder0");
    house.pool(FILLER, "remove --device /dev/dax0.0 intruder1");
    house.pool(FILLER, "fill --device /dev/dax0.0 --name back @template");
    let visit = &house.touched(READER, "")[0];
    assert_eq!(visit.count("rdma", "pages"), PRESENT, "{}", visit.0);
}
