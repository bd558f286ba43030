//! The pool daemon and those who read from it by RDMA: who is let in, and what is survived.

use std::thread;
use std::time::{Duration, Instant};

use emu::guest::Ended;

use crate::house::{FILLER, HOST, House, MINUTE, READ, READER, Visits, ok};

/// How many times a reader has connected, by its last words.
fn connections(ended: &Ended) -> u64 {
    let line =
        ended.errors.lines().find(|line| line.ends_with("connections")).expect("a number of connections");
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number")
}

pub fn a_pool_lets_in_only_who_may(house: &House) {
    house.refused(FILLER, &format!("{READ} --patience 1"), "lost: ");
    let daemon = house.serve("--allow 192.0.2.9");
    house.refused(FILLER, READ, "does not serve this address");
    drop(daemon);
    let _daemon = house.serve("--allow 192.0.2.2");
    house.pool(FILLER, READ);
    house.refused(FILLER, "read --from 192.0.2.1:7471 --key @wrong-key --table @template", "has another key");
    house.refused(FILLER, "read --from 192.0.2.1:7471 --key @key --table @other", "no such template");
    house.refused(READER, READ, "does not serve this address");
    house.refused(HOST, READ, "does not serve this address");
}

pub fn a_pool_answers_only_what_it_registered(house: &House) {
    let _daemon = house.serve("@other");
    let attempts =
        house.pool(FILLER, "attempt --from 192.0.2.1:7471 --key @key --table @template --other @other");
    assert_eq!(attempts.lines().filter(|line| line.ends_with(": refused")).count(), 7, "{attempts}");
    house.pool(FILLER, &format!("{READ} --batch 64"));
    house.refused(
        HOST,
        "serve --listen 192.0.2.77:7471 --key @key @template",
        "no address of an RDMA device",
    );
}

pub fn readers_survive_what_can_be_survived(house: &House) {
    let daemon = house.serve("");
    let spoilt = ok(house.start(FILLER, &format!("{READ} --times 3 --spoil")));
    assert!(connections(&spoilt) >= 3, "{spoilt:?}");

    let reader = house.read(FILLER, 4, 20);
    daemon.signal(libc::SIGUSR1).expect("a guest that lives");
    let rekeyed = ok(reader);
    assert!(connections(&rekeyed) >= 2, "old keys were still good: {rekeyed:?}");

    let reader = house.read(FILLER, 3, 40);
    house.link_down(FILLER, 5);
    ok(reader);
}

pub fn readers_of_a_dead_pool_end_with_a_named_error(house: &House) {
    let daemon = house.serve("");
    let reader = house.read(FILLER, 10_000, 4);
    let begin = Instant::now();
    daemon.signal(libc::SIGKILL).expect("a guest that lives");
    let ended = reader.wait(MINUTE).expect("an end");
    assert!(!ended.is_success() && ended.errors.contains("pool 192.0.2.1:7471: lost: "), "{ended:?}");
    assert!(begin.elapsed() < Duration::from_secs(25), "it took {:?}", begin.elapsed());
    drop(daemon);
    let daemon = house.serve("");
    let reader = house.read(FILLER, 10_000, 4);
    // As if its host had lost its power: no goodbye.
    let plug = house.lab.plug(HOST - 1).expect("a wire");
    plug.set_in(false);
    let ended = reader.wait(MINUTE).expect("an end");
    plug.set_in(true);
    assert!(!ended.is_success() && ended.errors.contains("pool 192.0.2.1:7471: lost: "), "{ended:?}");
    drop(daemon);
    // Who asks again when it is back is served.
    let _daemon = house.serve("");
    house.pool(FILLER, READ);
}

/// Its QEMU is killed while it reads and while processes of it fault; another guest's go on meanwhile.
pub fn a_pool_survives_a_guest_that_dies_while_it_reads(house: &House) {
    let mut daemon = house.serve("");
    let mut others = Visits::start(house, FILLER, "--batch 64");
    let visits = Visits::start(house, READER, "--batch 64");
    let reader = house.read(READER, 10_000, 20);
    // Well into the next reading.
    thread::sleep(Duration::from_millis(300));
    house.node(READER).kill();
    assert!(visits.job.wait(MINUTE).is_err(), "the guest is dead");
    let gone = reader.wait(MINUTE).expect_err("the guest is dead");
    assert!(gone.to_string().starts_with("guest 3 is gone"), "{gone}");
    let died_at = others.seen;
    others.until("processes that began after it see the right pages", |_| true);
    others.next();
    assert!(others.seen >= died_at + 2);
    let log = daemon.wait_for("client 192.0.2.3 lost", MINUTE).expect("the daemon notices");
    assert!(log.contains("client 192.0.2.3 in") && !log.contains("client 192.0.2.2 lost"), "{log}");
    others.next();
    drop(others);
    // What the dead one was doing is done by another.
    house.pool(FILLER, READ);
    daemon.signal(libc::SIGTERM).expect("a guest that lives");
    ok(daemon);
}
