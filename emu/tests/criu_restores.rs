//! A function that CRIU brings back, by each way: as it was at the dump, as often as wanted, several at once.

mod template_common;

use std::path::{Path, PathBuf};

use emu::bench_template::synthetic;
use emu::criu::{Criu, Dump, Error, Way};
use emu::doctor::{skip, skip_without};
use emu::functions::Inputs;
use emu::template::Subject;
use serde_json::{Value, json};
use template_common::python::serving;
use template_common::random::SCRIPT;
use template_common::{Place, ask};

const WAYS: [Way; 3] = [Way::Plain, Way::Lazy, Way::Attach];

fn out() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../out")
}

/// CRIU and the base image; says what is missing.
fn ready() -> Option<(Criu, PathBuf)> {
    if skip_without(&["root", "namespace-mount", "namespace-pid", "overlayfs"]) {
        return None;
    }
    let (criu, image) = (Criu::find(&out()), out().join("images/base"));
    if !image.join("usr").is_dir() {
        skip("no base image: run scripts/setup --functions");
        return None;
    }
    if let Some(why) = criu.lacking() {
        skip(&why);
        return None;
    }
    Some((criu, image))
}

/// A function in Python that counts its calls, and keeps what it has counted in a file and in memory.
fn counting(folder: &Path) -> Subject {
    let script = r#"
import json, os
state = {"count": 0, "memory": bytearray(os.urandom(4096) * 1000)}
os.write(1, b'{"ready":true,"function":"counting","pid":1,"threads":1}\n')
rest = b""
log = open("/tmp/log", "a+")
while piece := os.read(0, 65536):
    *whole, rest = (rest + piece).split(b"\n")
    for line in whole:
        request = json.loads(line)
        state["count"] += 1
        log.write("x")
        log.flush()
        log.seek(0)
        output = {"count": state["count"], "file": len(log.read()), "pid": os.getpid()}
        os.write(1, json.dumps({"id": request["id"], "ok": True, "output": output}).encode() + b"\n")
"#;
    let mut subject = synthetic(1, folder).expect("a function");
    let path = folder.join("sized-1/function/sized-1.py");
    std::fs::write(path, script).expect("its code");
    let input = |count: u64| {
        let expect = json!([{ "at": "/count", "equal": count }, { "at": "/file", "equal": count }]);
        json!({ "input": {}, "expect": expect })
    };
    let warm = json!({ "input": {}, "expect": [{ "at": "/count", "min": 1 }] });
    // After two calls, the next one is the third.
    let all = json!({ "base": input(3), "_1": input(3), "_2": input(4), "warm-up": warm });
    subject.inputs = serde_json::from_value::<Inputs>(all).expect("inputs");
    subject
}

#[test]
fn restored_functions_go_on_where_the_dumped_one_was() {
    let Some((criu, image)) = ready() else { return };
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let subject = counting(folder.path());
    let dump = Dump::new(&criu, &subject, &image, 2, true).unwrap_or_else(|error| panic!("{error}"));
    for way in WAYS {
        let untouched = dump.restore(way).unwrap_or_else(|error| panic!("{way:?}: {error}"));
        let same = dump.compare(untouched.pid()).unwrap_or_else(|error| panic!("{way:?}: {error}"));
        assert!(same > 1000, "{way:?}: {same} pages");
        drop(untouched);
        // Several at once have the same number in their namespaces, and files and memory of their own.
        let mut living: Vec<_> = (0..3).map(|_| dump.restore(way).expect("one more")).collect();
        for one in &mut living {
            one.call(&subject.inputs.base).unwrap_or_else(|error| panic!("{way:?}: {error}"));
        }
        let pids: Vec<i32> = living.iter().map(|one| one.pid()).collect();
        drop(living);
        for pid in pids {
            assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{way:?}: process {pid} is left");
        }
    }
}

#[test]
fn rewritten_images_share_what_is_only_read() {
    let Some((criu, image)) = ready() else { return };
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let subject = synthetic(32, folder.path()).expect("a function");
    let dump = Dump::new(&criu, &subject, &image, 1, false).expect("a dump");
    let private = |way| {
        let mut one = dump.restore(way).expect("restored");
        one.call(&subject.inputs.base).expect("an answer");
        one.memory().expect("it lives").private_bytes
    };
    let (plain, attached) = (private(Way::Plain), private(Way::Attach));
    println!("private memory: plain {plain}, attached {attached}");
    assert!(plain > 32 << 20 && attached * 4 < plain, "{plain} {attached}");
    assert!(dump.template_bytes().expect("a template") > 32 << 20);
}

#[test]
fn what_criu_cannot_dump_is_said_by_criu() {
    let Some((criu, image)) = ready() else { return };
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let subject = counting(folder.path());
    let path = folder.path().join("sized-1/function/sized-1.py");
    let script = std::fs::read_to_string(&path).expect("its code");
    // A connection: CRIU wants to be told what to do with it.
    let script = format!(
        "import socket\nlistener = socket.create_server(('127.0.0.1', 0))\n\
         ends = [socket.create_connection(listener.getsockname()), listener.accept()]\n{script}"
    );
    std::fs::write(&path, script).expect("its code");
    match Dump::new(&criu, &subject, &image, 1, false) {
        Err(Error::Criu { command: "dump", said }) => assert!(said.contains("sock"), "{said}"),
        other => panic!("{other:?}"),
    }
}

/// The program that changes its memory at random (`template_random.rs`), by CRIU's ways. Rewritten images have no
/// guard, so memory that is dropped or grown is not among it there.
#[test]
fn a_random_program_answers_the_same_by_every_way() {
    let Some((criu, image)) = ready() else { return };
    let place = Place::new();
    for (way, traps) in [(Way::Plain, 1), (Way::Lazy, 1), (Way::Attach, 0)] {
        let script = format!("{SCRIPT}\nstep(1, 400, {traps})\n");
        let program = place.script("differ.py", &serving(&script));
        let calls: Vec<Value> = (0..12).map(|seed| json!(format!("step({seed}, 150, {traps})"))).collect();
        let mut original = place.start(&program);
        let expected: Vec<Value> = calls.iter().map(|call| ask(&mut original, call)).collect();
        let subject =
            Subject { name: "differ".into(), program, inputs: counting(place.folder.path()).inputs };
        let dump = Dump::new(&criu, &subject, &image, 0, false).unwrap_or_else(|error| panic!("{error}"));
        for _ in 0..2 {
            let mut one = dump.restore(way).unwrap_or_else(|error| panic!("{way:?}: {error}"));
            let found: Vec<Value> = calls.iter().map(|call| one.ask(call).expect("an answer")).collect();
            assert_eq!(found, expected, "{way:?}");
        }
    }
}
