//! A function of two guests, attached from one pool that one of them has filled.
//!
//! The function is `page-touch`: it answers with a sum over pages of its arena of 16 MiB, so that a wrong page makes a wrong
//! answer, and writes to as many as it is asked to.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use emu::doctor::skip;
use emu::guest::Job;

use crate::house::{FILLER, HOST, House, POOL, READER, out};

/// What every attach of this check may take. Debug builds under emulation take their time.
const WITHIN: Duration = Duration::from_secs(180);
/// Reads every page of the arena.
const READS: &str = r#"{"pages":4096,"seed":3,"writes":0}"#;
/// Reads and writes every page of it. The answer is the same.
const WRITES: &str = r#"{"pages":4096,"seed":3,"writes":4096}"#;
/// The sum that the function's manifest expects.
const SUM: &str = "c7c79073f1df1256";
/// Calls of each process.
const CALLS: usize = 2;

/// Lays the function's code and root out on this machine: guests see it read-only. Whether it can be run.
pub fn prepare(folder: &Path) {
    if !out().join("images/base/usr").is_dir() {
        return;
    }
    let own = folder.join("out");
    std::fs::create_dir_all(&own).expect("a folder");
    std::os::unix::fs::symlink(out().join("images"), own.join("images")).expect("a link");
    let checked = Command::new(env!("CARGO_BIN_EXE_trenvx"))
        .arg("--out")
        .arg(&own)
        .args(["emu", "functions", "check", "page-touch", "--runs", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the command starts");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

impl House {
    /// The command that does something with templates of functions.
    fn template(&self, line: &str) -> String {
        let functions = Path::new(env!("CARGO_MANIFEST_DIR")).join("emu/functions");
        let out = self.path("out");
        format!("TRENVX_FUNCTIONS={} trenvx --out {out} emu template {line}", functions.display())
    }

    fn script<'a>(&'a self, node: usize, script: &str) -> Job<'a> {
        self.node(node).start(["sh", "-c", script]).expect("a guest that lives")
    }
}

/// The template of the function, captured and put into the pool by the guest that fills it: on both kinds of device.
pub fn a_function_is_put_into_the_pool(house: &House) -> Option<String> {
    if !house.folder.join("out").is_dir() {
        skip("no base image: run scripts/setup --functions");
        return None;
    }
    let capture = house.template("capture page-touch --store /tmp/store");
    let captured = house.script(FILLER, &capture).wait(WITHIN).expect("an end");
    assert!(captured.is_success(), "{captured:?}");
    let listed = house.shell(FILLER, &house.template("list --json --store /tmp/store"));
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let id = listed["templates"][0]["id"].as_str().expect("a template").to_owned();
    house.pool(FILLER, &format!("fill --mount /mnt/pool --name {id} /tmp/store/{id}"));
    house.pool(FILLER, &format!("fill --device /dev/dax0.0 --name {id} /tmp/store/{id}"));
    Some(id)
}

/// Both guests at once: one writes everything again and again, the other only reads. `script` is what each runs, given
/// its calls.
fn both(house: &House, what: &str, script: impl Fn(&str) -> String) {
    let [writes, reads] = [(FILLER, WRITES), (READER, READS)]
        .map(|(node, input)| house.script(node, &script(&format!("--calls {CALLS} --input '{input}'"))));
    for (job, written) in [(writes, 4096), (reads, 0)] {
        let ended = job.wait(WITHIN).expect("an end");
        let written = format!(r#""written":{written}"#);
        let right = ended.output.lines().filter(|line| line.contains(SUM) && line.contains(&written));
        assert!(right.count() == CALLS && ended.is_success(), "{what}: {ended:?}");
    }
}

pub fn two_guests_attach_what_one_has_filled(house: &House, id: &str) {
    let unchanged = |what: &str| {
        for node in [HOST, FILLER, READER] {
            house.pool(node, &format!("read --folder /mnt/pool/{id}"));
            house.pool(node, &format!("read --device /dev/dax0.0 --name {id}"));
        }
        println!("    {what}: both answered, and every page of the pool is as it was");
    };
    let attach = |more: &str| house.template(&format!("attach {id} --store /mnt/pool {more}"));
    both(house, "cxl-fsdax", attach);
    unchanged("cxl-fsdax");
    // With a page server in each guest, the files give only the table; the page server has one source.
    let served = |source: &str, by: &str, calls: &str| {
        let attach = attach(&format!("--by {by} --server /run/pages {calls}"));
        format!(
            "trenvx emu serve --socket /run/pages --source {source} & server=$!
            until [ -S /run/pages ]; do sleep 0.1; done
            {attach}; code=$?
            kill $server; wait $server; exit $code"
        )
    };
    both(house, "cxl-devdax", |calls| served("devdax:/dev/dax0.0", "fault", calls));
    unchanged("cxl-devdax");
    let daemon = house.serve_only(&format!("/mnt/pool/{id}"));
    for by in ["fault", "fault-shared"] {
        both(house, by, |calls| served(&house.source(""), by, calls));
        for node in [FILLER, READER] {
            house.pool(node, &format!("read --from {POOL} --key @key --table /mnt/pool/{id}"));
        }
    }
    drop(daemon);
    unchanged("rdma");
}
