//! Two guests with CXL memory and RDMA: pages come as their table says, whatever fails in between.
//!
//! One boot of two guests serves all checks but the last: under emulation it takes 10 to 20 seconds. They share one
//! CXL device, as hosts of a rack do, and run the same command as people do.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use emu::doctor::{skip, skip_without};
use emu::guest::accelerator::Choice;
use emu::guest::{Accelerator, Backing, Ended, FOLDER, Job, Lab, Node, Spec};
use emu::pool::survey::synthetic;

const FACILITIES: [&str; 4] = ["qemu", "guest-kernel", "guest-cxl", "guest-rdma"];
/// The pool daemon's address: guest 1.
const POOL: &str = "192.0.2.1:7471";
/// Pages of the template: 8 MiB.
const PAGES: u64 = 2048;
const MINUTE: Duration = Duration::from_secs(60);

/// Only one lab at a time: each takes all of a small machine.
fn alone() -> File {
    let lock = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("lab.lock")).expect("a lock file");
    lock.lock().expect("a lock");
    lock
}

fn image() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("out").join(FOLDER)
}

/// Two guests, and what they are given in a folder of this machine, which they see.
struct House {
    lab: Lab,
    folder: PathBuf,
    _root: tempfile::TempDir,
    _alone: File,
}

impl House {
    fn boot() -> Self {
        let alone = alone();
        let root = tempfile::tempdir().expect("a temporary folder");
        let folder = root.path().to_owned();
        synthetic(&folder.join("template"), PAGES, 1).expect("a template");
        synthetic(&folder.join("other"), 512, 2).expect("a template");
        fs::write(folder.join("key"), "00112233445566778899aabbccddeeff").expect("a key");
        fs::write(folder.join("wrong-key"), "00112233445566778899aabbccddeef0").expect("a key");
        let program = Path::new(env!("CARGO_BIN_EXE_trenvx"));
        let mut spec = Spec::new(&image(), program, &folder.join("logs"));
        spec.nodes = 2;
        spec.cxl = Some((512, Backing::Shared));
        spec.rdma = true;
        // Finding out about KVM is not what is tested here.
        spec.accelerator = Choice::Only(Accelerator::Tcg);
        let begin = Instant::now();
        let lab = Lab::boot(&spec).expect("a lab");
        println!(
            "two guests up after {:.1} s under {}",
            begin.elapsed().as_secs_f64(),
            lab.accelerator().name()
        );
        Self { lab, folder, _root: root, _alone: alone }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn node(&self, number: usize) -> &Node {
        self.lab.node(number - 1)
    }

    /// Words of `trenvx emu pool …`; one that begins with `@` is a file of the folder.
    fn words(&self, line: &str) -> Vec<String> {
        let words = line.split_whitespace();
        let words = words.map(|word| word.strip_prefix('@').map_or(word.to_owned(), |name| self.path(name)));
        ["trenvx", "emu", "pool"].map(str::to_owned).into_iter().chain(words).collect()
    }

    fn start(&self, node: usize, line: &str) -> Job<'_> {
        self.node(node).start(self.words(line)).expect("a guest that lives")
    }

    fn run(&self, node: usize, line: &str) -> Ended {
        self.node(node).run(self.words(line), MINUTE).expect("an end")
    }

    /// Runs `trenvx emu pool …`, which must succeed; returns what it printed.
    fn pool(&self, node: usize, line: &str) -> String {
        let ended = self.run(node, line);
        assert!(ended.is_success(), "guest {node}: {line}: {ended:?}");
        ended.output
    }

    /// The same, which must fail, with an error that contains `reason`.
    fn refused(&self, node: usize, line: &str, reason: &str) {
        let ended = self.run(node, line);
        assert!(!ended.is_success(), "guest {node}: {line} should fail: {ended:?}");
        assert!(ended.errors.contains(reason), "guest {node}: {line}: '{reason}' is not in {ended:?}");
    }

    fn shell(&self, node: usize, line: &str) -> String {
        let ended = self.node(node).run(["sh", "-c", line], MINUTE).expect("an end");
        assert!(ended.is_success(), "guest {node}: {line}: {ended:?}");
        ended.output
    }

    /// Starts the pool daemon in guest 1.
    fn serve(&self, more: &str) -> Job<'_> {
        let mut daemon = self.start(1, &format!("serve --listen {POOL} --key @key {more} @template"));
        daemon.wait_for("serving on", MINUTE).expect("a daemon");
        daemon
    }

    /// Starts to read from it in guest 2 so many times, and waits for the first whole reading.
    fn read(&self, times: u32, patience: u32) -> Job<'_> {
        let mut reader = self.start(2, &format!("{READ} --times {times} --patience {patience}"));
        reader.wait_for("rdma", MINUTE).expect("a first reading");
        reader
    }
}

const READ: &str = "read --from 192.0.2.1:7471 --key @key --table @template";

/// How many times a reader has connected, by its last words.
fn connections(ended: &Ended) -> u64 {
    let line =
        ended.errors.lines().find(|line| line.ends_with("connections")).expect("a number of connections");
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number")
}

fn ok(job: Job<'_>) -> Ended {
    let ended = job.wait(MINUTE).expect("an end");
    assert!(ended.is_success(), "{ended:?}");
    ended
}

#[test]
fn pages_come_right_from_cxl_and_rdma_whatever_fails() {
    if skip_without(&FACILITIES) {
        return;
    }
    let house = House::boot();
    let mut last = Instant::now();
    let mut done = |what: &str| {
        println!("{what}: {:.1} s", last.elapsed().as_secs_f64());
        last = Instant::now();
    };
    one_guest_fills_a_cxl_device_and_both_read(&house);
    done("both kinds of CXL device");
    stores_go_to_local_memory_and_never_to_the_device(&house);
    done("copy on write");
    two_guests_fill_at_once(&house);
    done("filling at once");
    a_full_device_says_so(&house);
    done("full device");
    a_pool_lets_in_only_who_may(&house);
    done("peers");
    a_pool_answers_only_what_it_registered(&house);
    done("hostile client");
    processes_are_served_by_rdma(&house);
    done("page faults by RDMA");
    processes_get_their_pages_through_failures(&house);
    done("page faults with new keys, failing queue pairs, link down");
    processes_go_on_without_the_pool_or_end_with_a_reason(&house);
    done("page faults without a pool");
    readers_survive_what_can_be_survived(&house);
    done("new keys, failing queue pairs, link down");
    readers_of_a_dead_pool_end_with_a_named_error(&house);
    done("dead pool");
    a_pool_survives_a_guest_that_dies_while_it_reads(&house);
    done("dead guest");
}

fn one_guest_fills_a_cxl_device_and_both_read(house: &House) {
    assert_eq!(house.pool(1, "device --mode devdax --mib 64").trim(), "/dev/dax0.0");
    house.pool(1, "device --mode fsdax --mount /mnt/pool");
    // Once made, the same device is found.
    assert_eq!(house.pool(1, "device --mode devdax").trim(), "/dev/dax0.0");
    house.refused(1, "list --device /dev/dax0.0", "emu pool format");
    house.pool(1, "format --device /dev/dax0.0");
    house.pool(1, "fill --device /dev/dax0.0 --name python @template");
    house.pool(1, "fill --mount /mnt/pool --name python @template");
    let folder = house.pool(1, "read --folder /mnt/pool/python");
    assert!(folder.contains(r#""source":"cxl-fsdax","pages":1792"#), "{folder}");
    assert!(folder.contains(r#""emulated_by":"tcg""#), "{folder}");
    house.shell(1, "sync");

    house.pool(2, "device --mode devdax --read-only");
    house.pool(2, "device --mode fsdax --read-only --mount /mnt/pool");
    let device = house.pool(2, "read --device /dev/dax0.0 --name python");
    assert!(device.contains(r#""source":"cxl-devdax","pages":1792"#), "{device}");
    house.pool(2, "read --folder /mnt/pool/python");
    house.refused(2, "read --device /dev/dax0.0 --name ruby", "no template ruby");
    house.refused(2, "read --folder @template", "not mapped directly");
}

fn stores_go_to_local_memory_and_never_to_the_device(house: &House) {
    let write = "import mmap
with open('/mnt/pool/python/pages', 'rb') as f:
    m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY)
for page in range(0, len(m), 4096):
    m[page] ^= 255
assert m[0] != open('/mnt/pool/python/pages', 'rb').read(1)[0]
";
    let ended = house.node(1).run(["python3", "-c", write], MINUTE).expect("an end");
    assert!(ended.is_success(), "{ended:?}");
    house.pool(1, "read --folder /mnt/pool/python");
    house.pool(2, "read --folder /mnt/pool/python");
}

fn two_guests_fill_at_once(house: &House) {
    let jobs: Vec<Job<'_>> = [1, 2]
        .into_iter()
        .flat_map(|node| {
            let own = house.start(node, &format!("fill --device /dev/dax0.0 --name own{node} @other"));
            [own, house.start(node, "fill --device /dev/dax0.0 --name same @other")]
        })
        .collect();
    let ends: Vec<Ended> = jobs.into_iter().map(|job| job.wait(MINUTE).expect("an end")).collect();
    assert!(ends[0].is_success() && ends[2].is_success(), "{ends:?}");
    // Exactly one of both has the name, and the other is told so.
    assert_ne!(ends[1].is_success(), ends[3].is_success(), "{ends:?}");
    let loser = if ends[1].is_success() { &ends[3] } else { &ends[1] };
    assert!(loser.errors.contains("has a template same already"), "{loser:?}");
    for (node, name) in [(1, "own2"), (2, "own1"), (1, "same"), (2, "same")] {
        house.pool(node, &format!("read --device /dev/dax0.0 --name {name}"));
    }
}

fn a_full_device_says_so(house: &House) {
    let mut filled = 0;
    let full = loop {
        let ended = house.run(1, &format!("fill --device /dev/dax0.0 --name filler{filled} @template"));
        if !ended.is_success() {
            break ended;
        }
        filled += 1;
    };
    assert!(full.errors.contains("the pool is full: 10 MiB are wanted"), "{full:?}");
    house.pool(2, &format!("read --device /dev/dax0.0 --name filler{}", filled - 1));
    // What is given back can be used again.
    house.pool(2, "remove --device /dev/dax0.0 filler0");
    house.pool(2, "fill --device /dev/dax0.0 --name again @template");
    house.pool(1, "read --device /dev/dax0.0 --name again");
}

fn a_pool_lets_in_only_who_may(house: &House) {
    house.refused(2, &format!("{READ} --patience 1"), "lost: ");
    let daemon = house.serve("--allow 192.0.2.9");
    house.refused(2, READ, "does not serve this address");
    drop(daemon);
    let _daemon = house.serve("--allow 192.0.2.2");
    house.pool(2, READ);
    house.refused(2, "read --from 192.0.2.1:7471 --key @wrong-key --table @template", "has another key");
    house.refused(2, "read --from 192.0.2.1:7471 --key @key --table @other", "no such template");
    house.refused(1, READ, "does not serve this address");
}

fn a_pool_answers_only_what_it_registered(house: &House) {
    let _daemon = house.serve("@other");
    let attempts = house.pool(2, "attempt --from 192.0.2.1:7471 --key @key --table @template --other @other");
    assert_eq!(attempts.lines().filter(|line| line.ends_with(": refused")).count(), 7, "{attempts}");
    house.pool(2, &format!("{READ} --batch 64"));
    house.refused(1, "serve --listen 192.0.2.77:7471 --key @key @template", "no address of an RDMA device");
}

fn readers_survive_what_can_be_survived(house: &House) {
    let daemon = house.serve("");
    let spoilt = ok(house.start(2, &format!("{READ} --times 3 --spoil")));
    assert!(connections(&spoilt) >= 3, "{spoilt:?}");

    let reader = house.read(4, 20);
    daemon.signal(libc::SIGUSR1).expect("a guest that lives");
    let rekeyed = ok(reader);
    assert!(connections(&rekeyed) >= 2, "old keys were still good: {rekeyed:?}");

    let reader = house.read(3, 40);
    let plug = house.lab.plug(1).expect("a wire");
    plug.set_in(false);
    thread::sleep(Duration::from_secs(5));
    plug.set_in(true);
    ok(reader);
}

fn readers_of_a_dead_pool_end_with_a_named_error(house: &House) {
    let daemon = house.serve("");
    let reader = house.read(10_000, 4);
    let begin = Instant::now();
    daemon.signal(libc::SIGKILL).expect("a guest that lives");
    let ended = reader.wait(MINUTE).expect("an end");
    assert!(!ended.is_success() && ended.errors.contains("pool 192.0.2.1:7471: lost: "), "{ended:?}");
    assert!(begin.elapsed() < Duration::from_secs(25), "it took {:?}", begin.elapsed());
    drop(daemon);
    let daemon = house.serve("");
    let reader = house.read(10_000, 4);
    // As if its host had lost its power: no goodbye.
    let plug = house.lab.plug(0).expect("a wire");
    plug.set_in(false);
    let ended = reader.wait(MINUTE).expect("an end");
    plug.set_in(true);
    assert!(!ended.is_success() && ended.errors.contains("pool 192.0.2.1:7471: lost: "), "{ended:?}");
    drop(daemon);
    // Who asks again when it is back is served.
    let _daemon = house.serve("");
    house.pool(2, READ);
}

/// A line of `touch`: a process that has seen the template's pages, and which source gave how many.
struct Visit(serde_json::Value);

impl Visit {
    fn of(line: &str) -> Self {
        Self(serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
    }

    fn all(output: &str) -> Vec<Self> {
        output.lines().map(Self::of).collect()
    }

    /// A count of the sources of this kind.
    fn count(&self, kind: &str, what: &str) -> u64 {
        let sources = self.0["sources"].as_array().expect("sources");
        let of_kind = sources.iter().filter(|source| source["source"].as_str().unwrap().starts_with(kind));
        of_kind.map(|source| source[what].as_u64().expect("a count")).sum()
    }
}

/// Visits by processes that go on until this is dropped.
struct Visits<'a> {
    job: Job<'a>,
    seen: usize,
}

impl<'a> Visits<'a> {
    /// Starts them in guest 2, and waits for the first.
    fn start(house: &'a House, line: &str) -> Self {
        let job = house.start(2, &house.touch(&format!("--times 10000 {line}")));
        let mut visits = Self { job, seen: 0 };
        visits.next();
        visits
    }

    /// The next that ends; each has seen the right pages, or the command would end.
    fn next(&mut self) -> Visit {
        self.seen += 1;
        let mark = format!(r#"{{"process":{},"#, self.seen);
        let output = self.job.wait_for(&mark, MINUTE).expect("a process that sees the right pages");
        Visit::of(output.lines().find(|line| line.starts_with(&mark)).expect("its line"))
    }

    /// The next of which something is so.
    fn until(&mut self, what: &str, is_so: impl Fn(&Visit) -> bool) -> Visit {
        let end = Instant::now() + MINUTE;
        loop {
            let visit = self.next();
            if is_so(&visit) {
                return visit;
            }
            assert!(Instant::now() < end, "still not so: {what}: {}", visit.0);
        }
    }
}

/// For processes whose pages come from the pool and from nowhere else.
const PATIENT: &str = "--patience 10000";
/// Pages of the template that are not zeros.
const PRESENT: u64 = PAGES / 8 * 7;

impl House {
    /// The words of `touch` with the pool as the first source. A busy machine takes its time to connect.
    fn touch(&self, line: &str) -> String {
        let patience = if line.contains("--patience") { "" } else { PATIENT };
        format!("touch --source rdma:{POOL},key={} {line} {patience} @template", self.path("key"))
    }

    fn touched(&self, line: &str) -> Vec<Visit> {
        Visit::all(&self.pool(2, &self.touch(line)))
    }
}

fn processes_are_served_by_rdma(house: &House) {
    let _daemon = house.serve("");
    for line in ["--batch 1", "--batch 512 --times 2"] {
        for visit in house.touched(line) {
            assert_eq!(
                (visit.count("rdma", "pages"), visit.count("rdma", "failures")),
                (PRESENT, 0),
                "{}",
                visit.0
            );
        }
    }
    let polling = format!(
        "touch --source rdma:{POOL},key={},completions=polling {PATIENT} @template",
        house.path("key")
    );
    let visit = Visit::of(&house.pool(2, &polling));
    assert_eq!(visit.count("rdma", "pages"), PRESENT, "{}", visit.0);
    // What one process has fetched, the next has.
    let shared = house.touched("--shared --times 3");
    let pages: Vec<u64> = shared.iter().map(|visit| visit.count("rdma", "pages")).collect();
    assert_eq!(pages, [PRESENT, 0, 0]);
    // What all of these have written, the pool has not.
    house.pool(2, READ);
}

fn processes_get_their_pages_through_failures(house: &House) {
    let daemon = house.serve("");
    let failing = format!("touch --source rdma:{POOL},key={},fail-every=40 ", house.path("key"));
    // Nobody else has the pages: it connects again and again.
    let visit = Visit::of(&house.pool(2, &format!("{failing} {PATIENT} @template")));
    assert!(visit.count("rdma", "failures") > 0 && visit.count("rdma", "pages") >= PRESENT, "{}", visit.0);
    // Meanwhile, the next source is asked.
    let visit = Visit::of(&house.pool(2, &format!("{failing} {PATIENT} --source file @template")));
    assert!(visit.count("file", "pages") > 0 && visit.count("rdma", "failures") > 0, "{}", visit.0);

    let mut visits = Visits::start(house, "--patience 10000");
    daemon.signal(libc::SIGUSR1).expect("a guest that lives");
    visits.until("old keys are refused", |visit| visit.count("rdma", "failures") > 0);
    let visit = visits.next();
    assert_eq!(visit.count("rdma", "pages"), PRESENT, "{}", visit.0);
    drop(visits);

    let plug = house.lab.plug(1).expect("a wire");
    let down = |seconds| {
        plug.set_in(false);
        thread::sleep(Duration::from_secs(seconds));
        plug.set_in(true);
    };
    let mut visits = Visits::start(house, "--patience 20000");
    down(5);
    visits.until("pages come again", |visit| visit.count("rdma", "pages") == PRESENT);
    drop(visits);
    let mut visits = Visits::start(house, "--source file --patience 200");
    down(5);
    visits.until("pages came from the file", |visit| visit.count("file", "pages") > 0);
    visits.until("pages come by RDMA again", |visit| visit.count("rdma", "pages") == PRESENT);
}

fn processes_go_on_without_the_pool_or_end_with_a_reason(house: &House) {
    let daemon = house.serve("");
    let mut with_file = Visits::start(house, "--source file");
    daemon.signal(libc::SIGKILL).expect("a guest that lives");
    with_file.until("all pages come from the file", |visit| visit.count("file", "pages") == PRESENT);
    drop(daemon);
    let daemon = house.serve("");
    with_file.until("pages come by RDMA again", |visit| visit.count("rdma", "pages") == PRESENT);
    drop(with_file);

    let alone = Visits::start(house, "--patience 6000");
    let begin = Instant::now();
    daemon.signal(libc::SIGKILL).expect("a guest that lives");
    let ended = alone.job.wait(MINUTE).expect("an end");
    assert!(!ended.is_success() && ended.errors.contains("was ended: page "), "{ended:?}");
    assert!(ended.errors.contains(&format!("rdma {POOL} said last: the connection failed")), "{ended:?}");
    assert!(begin.elapsed() < Duration::from_secs(25), "it took {:?}", begin.elapsed());
    drop(daemon);

    // A template that did not get into the pool.
    let _daemon = house.serve("");
    let key = house.path("key");
    let visit = Visit::of(
        &house.pool(2, &format!("touch --source rdma:{POOL},key={key} --source file {PATIENT} @other")),
    );
    assert_eq!(visit.count("file", "pages"), 512 / 8 * 7, "{}", visit.0);
    house.refused(2, &format!("touch --source rdma:{POOL},key={key} {PATIENT} @other"), "no such template");
    let wrong = house.path("wrong-key");
    house.refused(
        2,
        &format!("touch --source rdma:{POOL},key={wrong} {PATIENT} @template"),
        "has another key",
    );
}

fn a_pool_survives_a_guest_that_dies_while_it_reads(house: &House) {
    let mut daemon = house.serve("");
    let visits = Visits::start(house, "--batch 64");
    let reader = house.read(10_000, 20);
    house.node(2).kill();
    assert!(visits.job.wait(MINUTE).is_err(), "the guest is dead");
    let gone = reader.wait(MINUTE).expect_err("the guest is dead");
    assert!(gone.to_string().starts_with("guest 2 is gone"), "{gone}");
    house.pool(1, READ);
    let log = daemon.wait_for("client 192.0.2.2 lost", MINUTE).expect("the daemon notices");
    assert!(log.contains("client 192.0.2.2 in"), "{log}");
    house.pool(1, READ);
    daemon.signal(libc::SIGTERM).expect("a guest that lives");
    ok(daemon);
}

/// The kick tier of e11 on this machine, as it is typed: a function of a template attached in a guest, from local
/// memory and from a CXL device, and restored by CRIU.
#[test]
fn e11_measures_tiers_in_a_guest() {
    if skip_without(&["qemu", "guest-kernel", "guest-cxl"]) {
        return;
    }
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("out");
    if !out.join("images/base/usr").is_dir() {
        skip("no base image: run scripts/setup --functions");
        return;
    }
    let _alone = alone();
    // Its own folder of outputs, with the images of the real one.
    let own = tempfile::tempdir().expect("a temporary folder");
    for name in ["guest", "images", "functions"] {
        std::os::unix::fs::symlink(out.join(name), own.path().join(name)).expect("a link");
    }
    let ran = Command::new(env!("CARGO_BIN_EXE_trenvx"))
        .arg("--out")
        .arg(own.path())
        .args(["run", "e11", "--world", "emu", "--tier", "kick"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the command starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let text = fs::read_to_string(own.path().join("measurements/e11-kick.json")).expect("what was measured");
    let measured: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let rows = measured["rows"].as_array().expect("rows");
    for tier in ["dram", "cxl-fsdax", "rdma-batch", "criu"] {
        let of = |metric: &str| {
            let row = rows.iter().find(|row| row["subject"] == tier && row["metric"] == metric);
            let row = row.unwrap_or_else(|| panic!("{tier}, {metric}: {rows:?}"));
            let note = row["note"].as_str().unwrap_or_default();
            assert!(note.ends_with("emulated device: functional, not timing"), "{row}");
            row["median"].as_f64().unwrap_or_else(|| panic!("{row}"))
        };
        assert!(of("start") > 0.0 && of("pages") > 100.0 && of("private memory") > 1.0);
        assert!(of("verified pages") >= of("pages") / 2.0, "{tier}: {rows:?}");
    }
    let caption =
        fs::read_to_string(own.path().join("figures/e11-kick-emu/pools-start.json")).expect("a figure");
    assert!(caption.contains("emulated device: functional, not timing"), "{caption}");
}

/// Process numbers of guests of the lab of `owner`.
fn guests_of(owner: u32) -> Vec<String> {
    let marker = format!("guest=trenvx-lab:{owner}:");
    fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&marker)
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn guests_are_gone_with_a_command_that_was_killed() {
    if skip_without(&["qemu", "guest-kernel"]) {
        return;
    }
    let _alone = alone();
    let root = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_trenvx"))
        .args(["--out", &Path::new(env!("CARGO_MANIFEST_DIR")).join("out").display().to_string()])
        .args(["emu", "guest", "run", "--accelerator", "tcg", "--logs"])
        .arg(root.path())
        .args(["--", "sh", "-c", "echo there; sleep 1000"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut output = std::io::BufReader::new(command.stdout.take().expect("its output"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut output, &mut line).expect("a line");
    assert_eq!(line, "there\n");
    assert_eq!(guests_of(command.id()).len(), 1);
    command.kill().expect("it lives");
    command.wait().expect("it ends");
    let until = Instant::now() + Duration::from_secs(5);
    while !guests_of(command.id()).is_empty() {
        assert!(Instant::now() < until, "guests are left: {:?}", guests_of(command.id()));
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_guest_that_does_not_come_up_ends_in_time_with_its_console() {
    if skip_without(&["qemu", "guest-kernel"]) {
        return;
    }
    let _alone = alone();
    let root = tempfile::tempdir().expect("a temporary folder");
    let mut spec = Spec::new(&image(), Path::new("/no/such/program"), &root.path().join("logs"));
    let error = Lab::boot(&spec).expect_err("it has no agent").to_string();
    assert!(error.starts_with("cannot find /no/such/program"), "{error}");
    spec.program = "/bin/true".into();
    spec.accelerator = Choice::Only(Accelerator::Tcg);
    let error = Lab::boot(&spec).expect_err("that is no agent").to_string();
    assert!(error.starts_with("guest 1 is gone") && error.contains("Attempted to kill init"), "{error}");
    spec.boot_within = Duration::from_millis(300);
    let begin = Instant::now();
    let error = Lab::boot(&spec).expect_err("there is no time").to_string();
    assert!(error.contains("did not answer within"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(30), "it took {:?}", begin.elapsed());
    assert_eq!(guests_of(std::process::id()), Vec::<String>::new());
}
