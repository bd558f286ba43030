//! The runners of Python and Node keep to the protocol whatever comes: on this machine's own interpreters, so that
//! neither root nor a set-up is needed.

mod functions_common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use emu::functions::{FunctionSpec, Place, Process};
use functions_common::{native, places};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

/// A handler for each language that prints, fails, waits, and says in which thread it works.
const PYTHON: &str = r#"
import os, threading, time
print("printed while loading")
os.write(1, b"written while loading\n")

def handle(given):
    print("printed while handling")
    os.write(1, b"written while handling\n")
    if given.get("fail"):
        raise ValueError("asked to fail")
    time.sleep(given.get("wait", 0))
    return {"n": given["n"], "thread": threading.get_ident()}
"#;
const NODE: &str = r#"
console.log("printed while loading");
process.stdout.write("written while loading\n");

exports.handle = async ({ n, fail, wait }) => {
  console.log("printed while handling");
  if (fail) throw new Error("asked to fail");
  await new Promise((resolve) => setTimeout(resolve, 1000 * (wait || 0)));
  return { n };
};
"#;

/// The function `probe` with its handler in `folder`; none (said aloud) where the interpreter is missing.
fn probe(language: &str, folder: &Path, arguments: &[&str]) -> Option<FunctionSpec> {
    let (program, runner, handler, code) = match language {
        "python" => ("/usr/bin/python3", "python/serve.py", "handler.py", PYTHON),
        _ => ("/usr/bin/node", "node/serve.js", "handler.js", NODE),
    };
    if !Path::new(program).exists() {
        emu::doctor::skip(&format!("{program} is missing: scripts/setup --functions installs it"));
        return None;
    }
    fs::write(folder.join(handler), code).unwrap();
    let runner = places().functions.join("runtime").join(runner);
    let handler = folder.join(handler);
    let mut argv = vec![program, runner.to_str()?, "--name", "probe", "--handler", handler.to_str()?];
    argv.extend(arguments);
    Some(native("probe", &argv))
}

fn start(spec: &FunctionSpec) -> Process {
    Process::start(spec, &Place::Host, SOON).unwrap_or_else(|error| panic!("{error}"))
}

/// Descriptors of a process, sorted, with what they are.
fn descriptors(pid: u32) -> Vec<(u32, String)> {
    let mut found: Vec<(u32, String)> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned();
            Some((entry.file_name().to_str()?.parse().ok()?, target))
        })
        .collect();
    found.sort();
    found
}

/// What every thread of a process waits in: system call numbers, the main thread first.
fn waits(pid: u32) -> Vec<String> {
    let folder = format!("/proc/{pid}/task");
    let mut threads: Vec<u32> = fs::read_dir(&folder)
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    threads.sort();
    threads.iter().map(|thread| fs::read_to_string(format!("{folder}/{thread}/syscall")).unwrap()).collect()
}

/// Bad requests, failures and prints, in both languages: each is answered, and the next request works.
#[test]
fn whatever_comes_is_answered() {
    for language in ["python", "node"] {
        let folder = tempfile::tempdir().unwrap();
        let Some(spec) = probe(language, folder.path(), &[]) else { continue };
        let mut process = start(&spec);
        for bad in
            ["no json", "[1]", "17", "null", "{}", "{\"id\":4}", "{\"id\":4,\"input\":7}", "\"\u{fffd}\""]
        {
            process.client().write(format!("{bad}\n").as_bytes(), SOON).unwrap();
            let (_, reply) = process.client().receive(SOON).unwrap();
            assert!(reply.is_err() || bad.contains("input"), "{language}: {bad}: {reply:?}");
        }
        process.client().write(b"\n\n\xff\xfe\n", SOON).unwrap();
        let (_, reply) = process.client().receive(SOON).unwrap();
        assert!(reply.is_err(), "{language}: {reply:?}");

        let error = process.call(&json!({"n": 1, "fail": true}), SOON).unwrap_err().to_string();
        assert!(error.contains("asked to fail"), "{language}: {error}");
        assert_eq!(process.call(&json!({"n": 2}), SOON).unwrap().output["n"], 2, "{language}");
        let printed = process.printed();
        for text in ["printed while loading", "written while loading", "printed while handling"] {
            assert!(printed.contains(text), "{language}: {printed}");
        }
        let status = process.finish(SOON);
        assert!(status.is_some_and(|status| status.success()), "{language}: {status:?}");
    }
}

#[test]
fn requests_come_in_any_pieces() {
    for language in ["python", "node"] {
        let folder = tempfile::tempdir().unwrap();
        let Some(spec) = probe(language, folder.path(), &[]) else { continue };
        let mut process = start(&spec);
        let long = "x".repeat(300_000);
        let text = format!(
            "{{\"id\":1,\"input\":{{\"n\":1}}}}\n{{\"id\":2,\"input\":{{\"n\":2,\"text\":\"{long}\"}}}}\n"
        );
        for piece in text.as_bytes().chunks(99_991) {
            process.client().write(piece, SOON).unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
        let answers = [(); 2].map(|()| process.client().receive(SOON).unwrap());
        let numbers = answers.map(|(id, reply)| (id, reply.unwrap().output["n"].clone()));
        assert_eq!(numbers, [(Some(1), json!(1)), (Some(2), json!(2))], "{language}");
    }
}

/// What a capture finds between requests: few descriptors, and a main thread in read(2).
#[test]
fn between_requests_the_main_thread_is_in_one_read() {
    const READ: &str = "0 "; // of x86-64
    for (language, protocol) in [("python", 3), ("node", 0)] {
        let folder = tempfile::tempdir().unwrap();
        let Some(spec) = probe(language, folder.path(), &[]) else { continue };
        let mut process = start(&spec);
        process.call(&json!({"n": 1}), SOON).unwrap();
        let end = Instant::now() + SOON;
        let wanted = format!("{READ}0x{protocol:x} ");
        while !waits(process.pid())[0].starts_with(&wanted) {
            assert!(Instant::now() < end, "{language}: {:?}", waits(process.pid()));
            std::thread::sleep(Duration::from_millis(5));
        }
        let found = descriptors(process.pid());
        let sockets: Vec<u32> =
            found.iter().filter(|(_, target)| target.starts_with("socket:")).map(|(fd, _)| *fd).collect();
        assert_eq!(sockets, [protocol], "{language}: {found:?}");
        if language == "python" {
            assert_eq!(found.iter().map(|(fd, _)| *fd).collect::<Vec<_>>(), [0, 1, 2, 3], "{found:?}");
        }
    }
}

#[test]
fn worker_threads_take_requests_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let Some(spec) = probe("python", folder.path(), &["--threads", "3"]) else { return };
    let mut process = start(&spec);
    assert_eq!(process.ready.threads, 4, "three beside the main one");
    let wait = 0.4;
    let begun = Instant::now();
    for n in 0..3 {
        process.client().send(&json!({"n": n, "wait": wait}), SOON).unwrap();
    }
    let answers: Vec<Value> =
        (0..3).map(|_| process.client().receive(SOON).unwrap().1.unwrap().output).collect();
    assert!(begun.elapsed().as_secs_f64() < 3.0 * wait, "one after the other: {:?}", begun.elapsed());
    let mut threads: Vec<u64> = answers.iter().map(|answer| answer["thread"].as_u64().unwrap()).collect();
    threads.sort_unstable();
    threads.dedup();
    assert_eq!(threads.len(), 3, "{answers:?}");
    // What was asked before the input ended is answered.
    process.client().send(&json!({"n": 9, "wait": 0.1}), SOON).unwrap();
    let status = process.finish(SOON);
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}
