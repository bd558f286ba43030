//! One browser for several agents: what one has, no other sees; what goes wrong with one is its own.

#[path = "agents_common/mod.rs"]
mod common;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Visit, kill, no_browser};
use emu::agents::bench::{self, Where};
use emu::agents::browser::{Failure, Limits};
use serde_json::json;

#[test]
fn agents_in_one_browser_cannot_see_each_others_cookies_storage_and_pages() {
    if no_browser() {
        return;
    }
    let visit = Visit::new(2, 2, Limits::default());
    let [mut a, mut b] = [visit.session(0), visit.session(1)];
    let of_a = a.open(&visit.url("/shop/p/7")).unwrap().page;
    let secret = "document.cookie = 'secret=of-a; path=/'; localStorage.setItem('secret', 'of-a'); \
                  sessionStorage.setItem('secret', 'of-a'); \
                  new Promise(done => { const r = indexedDB.open('secret-of-a'); r.onsuccess = () => done(true); })";
    assert_eq!(a.evaluate(of_a, secret).unwrap(), json!(true));
    let look = "indexedDB.databases().then(all => [document.cookie.includes('of-a'), localStorage.getItem('secret'), \
                sessionStorage.getItem('secret'), all.map(one => one.name)])";
    assert_eq!(a.evaluate(of_a, look).unwrap(), json!([true, "of-a", "of-a", ["secret-of-a"]]));

    let of_b = b.open(&visit.url("/shop/p/7")).unwrap().page;
    assert_eq!(b.evaluate(of_b, look).unwrap(), json!([false, null, null, []]));
    // A second tab of the same agent does see them, so looking works.
    let second = a.open(&visit.url("/shop/p/8")).unwrap().page;
    assert_eq!(a.evaluate(second, look).unwrap(), json!([true, "of-a", null, ["secret-of-a"]]));
    // Pages are numbered within a session: B has one, whatever A has.
    assert_eq!(b.text(second, "main"), Err(Failure::NoSuchPage(second)));
    // Neither by opening what lies on the machine's disk.
    let file = b.open("file:///etc/passwd").unwrap_err();
    assert_eq!(file.name(), "address-refused");

    // Each has the cart that it filled.
    a.click(of_a, "#add", true).unwrap();
    assert!(a.text(of_a, "main").unwrap().contains("for 1 goods"));
    b.go(of_b, &visit.url("/shop/cart")).unwrap();
    assert!(b.text(of_b, "main").unwrap().contains("for 0 goods"));

    // One who comes after A finds nothing of A.
    drop(a);
    let mut later = visit.session(0);
    let page = later.open(&visit.url("/shop/p/7")).unwrap().page;
    assert_eq!(later.evaluate(page, look).unwrap(), json!([false, null, null, []]));
    assert_eq!(visit.broker.browsers().len(), 1);
    assert_eq!(visit.broker.browsers()[0].usage().starts, 1);
}

#[test]
fn a_killed_browser_is_started_again_and_each_agent_is_told_once() {
    if no_browser() {
        return;
    }
    let visit = Visit::new(2, 2, Limits::default());
    let [mut a, mut b] = [visit.session(0), visit.session(1)];
    let of_a = a.open(&visit.url("/blog")).unwrap().page;
    let of_b = b.open(&visit.url("/shop")).unwrap().page;
    kill(&visit.broker.browsers()[0].processes());
    assert_eq!(a.text(of_a, "main"), Err(Failure::Restarted));
    let again = a.open(&visit.url("/blog")).unwrap();
    assert_eq!((again.title.as_str(), a.pages()), ("Blog", vec![again.page]));
    assert_eq!(b.open(&visit.url("/shop")), Err(Failure::Restarted));
    assert_eq!(b.text(of_b, "main"), Err(Failure::NoSuchPage(of_b)));
    assert_eq!(b.open(&visit.url("/shop")).unwrap().title, "Shop");
    assert_eq!(visit.broker.browsers()[0].usage().starts, 2);
}

#[test]
fn limits_end_the_step_and_not_the_neighbour() {
    if no_browser() {
        return;
    }
    let limits = Limits { tabs: 2, step: Duration::from_millis(5000), ..Limits::default() };
    let visit = Visit::new(2, 2, limits);
    let [mut a, mut b] = [visit.session(0), visit.session(1)];
    let of_b = b.open(&visit.url("/shop")).unwrap().page;
    let first = a.open(&visit.url("/shop")).unwrap().page;
    a.open(&visit.url("/blog")).unwrap();
    assert_eq!(a.open(&visit.url("/blog")), Err(Failure::TooManyTabs(2)));

    // A page that computes for ever holds up nobody but its agent.
    std::thread::scope(|scope| {
        let hanging = scope.spawn(|| a.evaluate(first, "while (true) {}"));
        let begun = Instant::now();
        assert!(b.text(of_b, "main").unwrap().contains("lamps"));
        assert!(begun.elapsed() < Duration::from_millis(4900), "{:?}", begun.elapsed());
        assert_eq!(hanging.join().unwrap(), Err(Failure::TimeLimit(5000)));
    });
    assert_eq!(a.text(first, "main"), Err(Failure::NoSuchPage(first)));
    assert_eq!(a.open(&visit.url("/shop")).unwrap().title, "Shop");

    assert!(b.text(of_b, "#nothing") == Err(Failure::NoSuchElement("#nothing".to_owned())));
    assert_eq!(b.evaluate(of_b, "nothing.at.all").unwrap_err().name(), "page-failed");
    assert_eq!(b.open("http://127.0.0.1:1/").unwrap_err().name(), "page-failed");
    // What a page opens by itself is closed again, and a dialog does not stop it.
    assert_eq!(b.evaluate(of_b, "window.open('/blog'); alert('hello'); 5").unwrap(), json!(5));
    assert_eq!(b.pages(), vec![of_b]);
}

#[test]
fn all_steps_together_have_a_limit() {
    if no_browser() {
        return;
    }
    let limits = Limits { total: Duration::from_millis(1), ..Limits::default() };
    let visit = Visit::new(1, 1, limits);
    let mut session = visit.session(0);
    let first = session.open(&visit.url("/shop"));
    assert!(first.is_err(), "{first:?}");
    assert_eq!(session.open(&visit.url("/shop")).unwrap_err().name(), "time-used-up");
}

#[test]
fn pages_are_loaded_while_the_network_of_the_machine_changes() {
    if no_browser() {
        return;
    }
    // In a network namespace of the test: what is started from here is in it, too.
    // SAFETY: only this thread moves, and it holds nothing of the old namespace.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
    let ip = |line: &str| {
        let done = Command::new("ip").args(line.split(' ')).status().unwrap();
        assert!(done.success(), "ip {line}");
    };
    ip("link set lo up");
    let visit = Visit::new(1, 1, Limits::default());
    let mut session = visit.session(0);
    let page = session.open(&visit.url("/shop/p/1")).unwrap().page;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                ip("address add 198.18.0.1/32 dev lo");
                ip("address del 198.18.0.1/32 dev lo");
            }
        });
        let opened = (1..=40).map(|number| session.go(page, &visit.url(&format!("/shop/p/{number}"))));
        let opened: Vec<_> = opened.collect();
        done.store(true, Ordering::Release);
        assert!(opened.iter().all(Result::is_ok), "{opened:?}");
    });
    assert!(session.text(page, "main").unwrap().len() > 20);
}

#[test]
fn the_broker_speaks_lines_and_names_what_is_wrong() {
    if no_browser() {
        return;
    }
    let visit = Visit::new(1, 1, Limits::default());
    let mut lines = visit.lines();
    assert_eq!(
        lines.ask(&json!({ "do": "open", "url": visit.url("/shop") }))["error"]["name"],
        "bad-request"
    );
    let key = visit.broker.key(0).unwrap();
    for (agent, key) in [(5, key), (0, "of somebody else")] {
        let answer = lines.ask(&json!({ "do": "hello", "agent": agent, "key": key }));
        assert_eq!(answer["error"]["name"], "bad-request", "{answer}");
    }
    assert_eq!(lines.ask(&json!({ "do": "hello", "agent": 0, "key": key })), json!({ "ok": null }));
    let opened = lines.ask(&json!({ "do": "open", "url": visit.url("/shop") }));
    assert_eq!(opened, json!({ "ok": { "page": 1, "title": "Shop" } }));
    assert_eq!(lines.ask(&json!({ "do": "dance" }))["error"]["name"], "bad-request");
    assert_eq!(lines.ask(&json!({ "do": "evaluate", "page": 1, "expression": "1 + 1" })), json!({ "ok": 2 }));
    assert_eq!(lines.ask(&json!({ "do": "close", "page": 1 })), json!({ "ok": null }));
    let tally = visit.broker.tallies().remove(&0).unwrap();
    assert_eq!((tally.steps, tally.failures["bad-request"]), (5, 1), "{tally:?}");
}

#[test]
fn four_agents_in_one_browser_take_far_less_than_one_each() {
    if no_browser() {
        return;
    }
    let rows = bench::browsers(4, &[(Where::Here, 1), (Where::Here, 4)]).unwrap();
    println!("{}", bench::table(&rows));
    assert_eq!(rows[0].read, rows[1].read, "both must have read the same");
    assert_eq!((rows[0].browsers, rows[1].browsers), (4, 1));
    // Four agents; with eight, as `trenvx emu agents bench browser` measures, it is less. Browsers of other tests share
    // the file pages of the first row, too.
    assert!(rows[1].share < 0.8 && rows[1].share_of_alone.unwrap() < 0.8, "{rows:?}");
}

#[test]
fn nothing_is_left_when_broker_and_ward_end() {
    if no_browser() {
        return;
    }
    let visit = Visit::new(1, 1, Limits::default());
    let mut session = visit.session(0);
    session.open(&visit.url("/shop")).unwrap();
    let processes = visit.broker.browsers()[0].processes();
    let (folder, id) = (visit.ward.folder(), visit.ward.id().to_owned());
    assert!(processes.len() > 2 && folder.exists(), "{processes:?}");
    let Visit { broker, ward, .. } = visit;
    drop((session, broker));
    drop(Arc::into_inner(ward));
    assert!(!folder.exists());
    for pid in processes {
        // What is not reaped yet has no program any more.
        assert!(!std::path::Path::new("/proc").join(pid.to_string()).join("exe").exists(), "{pid}");
    }
    let left = emu::clean::find().unwrap();
    assert!(!left.keys().any(|label| label.id() == id), "{left:?}");
}
