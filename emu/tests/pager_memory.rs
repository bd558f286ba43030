//! Memory runs out, really: for the server, whose cache grows, and for a process whose pages are copied in. Whoever
//! cannot be served is ended and its manager told; nobody waits for ever, and others are served.

mod pager_common;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use emu::doctor::{skip, skip_without};
use emu::pager::lab::{Process, random_pages};
use emu::pager::{Client, Fate, Mode};
use pager_common::{NEEDS, Place, SOON, batch, server_process, touch};

/// Pages of the template: 32 MiB.
const PAGES: usize = 8192;
const MIB: u64 = 1 << 20;

/// A group of processes with little memory, removed at the end.
struct Group {
    folder: PathBuf,
    /// Of the older kind, whose killing can be switched off.
    old: bool,
}

impl Group {
    /// Nothing on a machine that cannot limit memory; says so.
    fn new(name: &str, bytes: u64) -> Option<Self> {
        let name = format!("trenvx-test-{}-{name}", std::process::id());
        let [old, new] = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].map(Path::new);
        let (root, old) = match old.join("memory.limit_in_bytes").exists() {
            true => (old, true),
            false => (new, false),
        };
        if !old {
            let _ = fs::write(root.join("cgroup.subtree_control"), "+memory");
        }
        let group = Self { folder: root.join(name), old };
        let limit = group.folder.join(if old { "memory.limit_in_bytes" } else { "memory.max" });
        let made = fs::create_dir(&group.folder).and_then(|()| fs::write(limit, bytes.to_string()));
        match made {
            Ok(()) => Some(group),
            Err(error) => {
                skip(&format!("no control group that limits memory: {error}"));
                None
            }
        }
    }

    fn add(&self, pid: i32) {
        fs::write(self.folder.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A killed process leaves its group a moment after it was waited for.
        for _ in 0..200 {
            match fs::remove_dir(&self.folder) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                _ => return,
            }
        }
    }
}

fn place() -> Place {
    Place::of(random_pages(11, PAGES, 0))
}

#[test]
fn a_server_without_memory_for_its_cache_serves_copies_or_is_killed_and_nobody_waits() {
    if skip_without(NEEDS) {
        return;
    }
    let Some(group) = Group::new("server", 16 * MIB) else { return };
    let place = place();
    let server = server_process(place.config(&["file"]));
    group.add(server.pid());
    let client = Client::connect(&place.socket()).unwrap();
    let processes: Vec<_> = (0..4)
        .map(|_| Process::attached(&client, &place.template, PAGES, 1, batch(Mode::Shared, 64)).unwrap())
        .collect();
    for (process, _) in &processes {
        process.begin(&touch(0, PAGES)).unwrap();
    }
    let mut ended = 0;
    for (process, attachment) in &processes {
        // Served, or ended and told so: never neither.
        match process.finish(SOON).expect("it does not wait for ever") {
            Some(done) => assert_eq!(done.hash, place.expected(0..PAGES, 1)),
            None => {
                assert_eq!(attachment.fate(SOON), Some(Fate::ServerGone));
                ended += 1;
            }
        }
    }
    // Whether the kernel kills the server or only refuses memory is the kernel's choice; the cache is not whole.
    if ended == 0 {
        let report = client.report().unwrap();
        assert!(report.counts.cache_full_pages > 0, "{:?}", report.counts);
        assert!(report.cache_pages < PAGES as u64, "{} pages", report.cache_pages);
    }
    drop((processes, client, server));
    let _server = server_process(place.config(&["file"]));
    let client = Client::connect(&place.socket()).unwrap();
    let (process, _) =
        Process::attached(&client, &place.template, PAGES, 1, batch(Mode::Shared, 64)).unwrap();
    assert_eq!(process.run(&touch(0, PAGES)).unwrap().hash, place.expected(0..PAGES, 1));
}

/// A process with too little memory beside one with enough: the first one's fate.
fn starved(place: &Place, group: &Group) -> Fate {
    let (_server, client) = place.serve(&["dram"]);
    let start = || Process::attached(&client, &place.template, PAGES, 1, batch(Mode::Private, 16)).unwrap();
    let ((poor, fate), (rich, _)) = (start(), start());
    group.add(poor.child.pid());
    poor.begin(&touch(0, PAGES)).unwrap();
    rich.begin(&touch(0, PAGES)).unwrap();
    let done = rich.finish(SOON).unwrap().expect("it has memory");
    assert_eq!(done.hash, place.expected(0..PAGES, 1));
    assert!(poor.finish(SOON).expect("it does not wait for ever").is_none(), "it has room for half of it");
    fate.fate(SOON).expect("it has ended")
}

#[test]
fn a_process_without_memory_is_ended_and_others_are_served() {
    if skip_without(NEEDS) {
        return;
    }
    let Some(group) = Group::new("process", 8 * MIB) else { return };
    let fate = starved(&place(), &group);
    // The kernel ends it before the server has to.
    assert!(matches!(&fate, Fate::Exited | Fate::Ended(_)), "{fate:?}");
}

#[test]
fn where_the_kernel_ends_nobody_the_server_says_that_there_is_no_memory() {
    if skip_without(NEEDS) {
        return;
    }
    let Some(group) = Group::new("unkilled", 8 * MIB) else { return };
    if !group.old {
        skip("control groups of version 2 always end a process that has no memory");
        return;
    }
    fs::write(group.folder.join("memory.oom_control"), "1").unwrap();
    match starved(&place(), &group) {
        Fate::Ended(why) => assert!(why.starts_with("no memory for the page at 0x"), "{why}"),
        other => panic!("{other:?}"),
    }
}
