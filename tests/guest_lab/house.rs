//! Three guests on one wire, with one CXL device between them: what all checks share.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use emu::guest::accelerator::Choice;
use emu::guest::{Accelerator, Backing, Ended, FOLDER, Job, Lab, Node, Spec};
use emu::pool::survey::synthetic;

/// The guest that is the pool, for those who read by RDMA.
pub const HOST: usize = 1;
/// The guest that fills the CXL device.
pub const FILLER: usize = 2;
/// A guest that only reads.
pub const READER: usize = 3;
/// The pool daemon's address.
pub const POOL: &str = "192.0.2.1:7471";
/// Reads the template from there.
pub const READ: &str = "read --from 192.0.2.1:7471 --key @key --table @template";
/// Pages of the template: 8 MiB.
pub const PAGES: u64 = 2048;
/// Pages of it that are not zeros.
pub const PRESENT: u64 = PAGES / 8 * 7;
pub const MINUTE: Duration = Duration::from_secs(60);

/// Only one lab at a time: each takes all of a small machine.
pub fn alone() -> File {
    let lock = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("lab.lock")).expect("a lock file");
    lock.lock().expect("a lock");
    lock
}

pub fn image() -> PathBuf {
    out().join(FOLDER)
}

/// The folder of outputs, with the images.
pub fn out() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("out")
}

/// The guests, and what they are given in a folder of this machine, which they see.
pub struct House {
    pub lab: Lab,
    pub folder: PathBuf,
    _root: tempfile::TempDir,
    _alone: File,
}

impl House {
    /// Boots them; `before` may put more into their folder.
    pub fn boot(before: impl FnOnce(&Path)) -> Self {
        let alone = alone();
        let root = tempfile::tempdir().expect("a temporary folder");
        let folder = root.path().to_owned();
        synthetic(&folder.join("template"), PAGES, 1).expect("a template");
        synthetic(&folder.join("other"), 512, 2).expect("a template");
        synthetic(&folder.join("third"), PAGES, 3).expect("a template");
        fs::write(folder.join("key"), "00112233445566778899aabbccddeeff").expect("a key");
        fs::write(folder.join("wrong-key"), "00112233445566778899aabbccddeef0").expect("a key");
        before(&folder);
        let program = Path::new(env!("CARGO_BIN_EXE_trenvx"));
        let mut spec = Spec::new(&image(), program, &folder.join("logs"));
        spec.nodes = 3;
        spec.cxl = Some((1024, Backing::Shared));
        spec.rdma = true;
        spec.sandboxes = true;
        // Finding out about KVM is not what is tested here.
        spec.accelerator = Choice::Only(Accelerator::Tcg);
        let begin = Instant::now();
        let lab = Lab::boot(&spec).expect("a lab");
        println!(
            "three guests up after {:.1} s under {}",
            begin.elapsed().as_secs_f64(),
            lab.accelerator().name()
        );
        Self { lab, folder, _root: root, _alone: alone }
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    pub fn node(&self, number: usize) -> &Node {
        self.lab.node(number - 1)
    }

    /// Words of `trenvx emu pool …`; one that begins with `@` is a file of the folder.
    fn words(&self, line: &str) -> Vec<String> {
        let words = line.split_whitespace();
        let words = words.map(|word| word.strip_prefix('@').map_or(word.to_owned(), |name| self.path(name)));
        ["trenvx", "emu", "pool"].map(str::to_owned).into_iter().chain(words).collect()
    }

    pub fn start(&self, node: usize, line: &str) -> Job<'_> {
        self.node(node).start(self.words(line)).expect("a guest that lives")
    }

    pub fn run(&self, node: usize, line: &str) -> Ended {
        self.node(node).run(self.words(line), MINUTE).expect("an end")
    }

    /// Runs `trenvx emu pool …`, which must succeed; returns what it printed.
    pub fn pool(&self, node: usize, line: &str) -> String {
        let ended = self.run(node, line);
        assert!(ended.is_success(), "guest {node}: {line}: {ended:?}");
        ended.output
    }

    /// The same, which must fail, with an error that contains `reason`.
    pub fn refused(&self, node: usize, line: &str, reason: &str) {
        let ended = self.run(node, line);
        assert!(!ended.is_success(), "guest {node}: {line} should fail: {ended:?}");
        assert!(ended.errors.contains(reason), "guest {node}: {line}: '{reason}' is not in {ended:?}");
    }

    pub fn shell(&self, node: usize, line: &str) -> String {
        let ended = self.node(node).run(["sh", "-c", line], MINUTE).expect("an end");
        assert!(ended.is_success(), "guest {node}: {line}: {ended:?}");
        ended.output
    }

    /// Runs a Python script, which must succeed.
    pub fn python(&self, node: usize, script: &str) -> String {
        let ended = self.node(node).run(["python3", "-c", script], MINUTE).expect("an end");
        assert!(ended.is_success(), "guest {node}: {ended:?}");
        ended.output
    }

    /// Starts the pool daemon, with the template.
    pub fn serve(&self, more: &str) -> Job<'_> {
        self.serve_only(&format!("{more} @template"))
    }

    /// Starts the pool daemon.
    pub fn serve_only(&self, what: &str) -> Job<'_> {
        let mut daemon = self.start(HOST, &format!("serve --listen {POOL} --key @key {what}"));
        daemon.wait_for("serving on", MINUTE).expect("a daemon");
        daemon
    }

    /// Starts to read from it so many times, and waits for the first whole reading.
    pub fn read(&self, node: usize, times: u32, patience: u32) -> Job<'_> {
        let mut reader = self.start(node, &format!("{READ} --times {times} --patience {patience}"));
        reader.wait_for("rdma", MINUTE).expect("a first reading");
        reader
    }

    /// Takes a guest off the wire for some seconds.
    pub fn link_down(&self, node: usize, seconds: u64) {
        let plug = self.lab.plug(node - 1).expect("a wire");
        plug.set_in(false);
        thread::sleep(Duration::from_secs(seconds));
        plug.set_in(true);
    }

    /// The pool as a source of the page server, with more settings of it.
    pub fn source(&self, more: &str) -> String {
        format!("rdma:{POOL},key={}{more}", self.path("key"))
    }

    /// The words of `touch` with the pool as the first source.
    pub fn touch(&self, line: &str) -> String {
        format!("touch --source {} {line} @template", self.source(""))
    }

    pub fn touched(&self, node: usize, line: &str) -> Vec<Visit> {
        self.pool(node, &self.touch(line)).lines().map(Visit::of).collect()
    }
}

pub fn ok(job: Job<'_>) -> Ended {
    let ended = job.wait(MINUTE).expect("an end");
    assert!(ended.is_success(), "{ended:?}");
    ended
}

/// A line of `touch`: a process that has seen the template's pages, and which source gave how many.
pub struct Visit(pub serde_json::Value);

impl Visit {
    pub fn of(line: &str) -> Self {
        Self(serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
    }

    /// A count of the sources of this kind.
    pub fn count(&self, kind: &str, what: &str) -> u64 {
        let sources = self.0["sources"].as_array().expect("sources");
        let of_kind = sources.iter().filter(|source| source["source"].as_str().unwrap().starts_with(kind));
        of_kind.map(|source| source[what].as_u64().expect("a count")).sum()
    }
}

/// Visits by processes that go on until this is dropped.
pub struct Visits<'a> {
    pub job: Job<'a>,
    pub seen: usize,
}

impl<'a> Visits<'a> {
    /// Starts them with the pool as the first source, and waits for the first.
    pub fn start(house: &'a House, node: usize, line: &str) -> Self {
        Self::begin(house.start(node, &house.touch(&format!("--times 10000 {line}"))))
    }

    /// Of a command that was started: waits for the first.
    pub fn begin(job: Job<'a>) -> Self {
        let mut visits = Self { job, seen: 0 };
        visits.next();
        visits
    }

    /// The next that ends; each has seen the right pages, or the command would end.
    pub fn next(&mut self) -> Visit {
        self.seen += 1;
        let mark = format!(r#"{{"process":{},"#, self.seen);
        let output = self.job.wait_for(&mark, MINUTE).expect("a process that sees the right pages");
        Visit::of(output.lines().find(|line| line.starts_with(&mark)).expect("its line"))
    }

    /// The next of which something is so.
    pub fn until(&mut self, what: &str, is_so: impl Fn(&Visit) -> bool) -> Visit {
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
