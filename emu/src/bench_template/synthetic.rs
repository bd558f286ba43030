//! Functions of a wanted size, and zygotes of functions.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::sandbox::Program;
use crate::template::Subject;

/// In Python: answers with the sum of the first bytes of a few pages, spread over memory of the wanted size.
const SIZED: &str = r#"
import json, os
size = MIB << 20
memory = bytearray(os.urandom(4096) * (size >> 12))
for at in range(0, size, 4096):
    memory[at] = 1
os.write(1, b'{"ready":true,"function":"sized-MIB","pid":1,"threads":1}\n')
rest = b""
while piece := os.read(0, 65536):
    *whole, rest = (rest + piece).split(b"\n")
    for line in whole:
        request = json.loads(line)
        step = max(size // 64 & ~4095, 4096)
        n = sum(memory[at] for at in range(0, min(size, 64 * step), step))
        os.write(1, json.dumps({"id": request["id"], "ok": True, "output": {"n": n}}).encode() + b"\n")
"#;

/// The same in Node. A worker thread has the memory, too, and adds up for the main thread, which waits for it; the
/// threads of the runtime's own pools exist, as they do once files have been read.
const SIZED_NODE: &str = r#"
"use strict";
const fs = require("fs");
const { Worker, isMainThread, workerData } = require("worker_threads");
const WAITS = 0, ASKED = 1;

function work({ memory, control }) {
  const [bytes, state] = [new Uint8Array(memory), new Int32Array(control)];
  const step = Math.max((bytes.length / 64) & ~4095, 4096);
  for (;;) {
    Atomics.wait(state, 0, WAITS);
    let n = 0;
    for (let at = 0; at < Math.min(bytes.length, 64 * step); at += step) n += bytes[at];
    state[1] = n;
    Atomics.store(state, 0, WAITS);
    Atomics.notify(state, 0);
  }
}

function serve(state) {
  fs.writeSync(1, '{"ready":true,"function":"sized-node-MIB","pid":1,"threads":1}\n');
  const piece = Buffer.alloc(1 << 16);
  let rest = "";
  for (let got; (got = fs.readSync(0, piece)) > 0; ) {
    const lines = (rest + piece.toString("utf8", 0, got)).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      Atomics.store(state, 0, ASKED);
      Atomics.notify(state, 0);
      Atomics.wait(state, 0, ASKED);
      const { id } = JSON.parse(line);
      fs.writeSync(1, JSON.stringify({ id, ok: true, output: { n: state[1] } }) + "\n");
    }
  }
  process.exit(0);
}

if (isMainThread) {
  const memory = new SharedArrayBuffer(MIB << 20);
  const bytes = Buffer.from(memory).fill(require("crypto").randomBytes(4096));
  for (let at = 0; at < bytes.length; at += 4096) bytes[at] = 1;
  const control = new SharedArrayBuffer(8);
  // A worker prints through its main thread, whose own output would make the protocol's socket non-blocking.
  Object.defineProperty(process, "stdout", { get: () => process.stderr });
  new Worker(__filename, { workerData: { memory, control } }).once("online", () => {
    fs.readFile(__filename, () => serve(new Int32Array(control)));
  });
} else {
  work(workerData);
}
"#;

/// Loads a handler as the runner does (a fork's memory in no file is mostly its parent's, so only what is dirty and its
/// alone counts as private), then forks a child for each request, which answers it, tells what memory it
/// has, and ends.
const ZYGOTE: &str = r#"
import json, os, runpy, sys
serve = runpy.run_path("/function/runtime/serve.py")
name, path = sys.argv[1:3]
channel = serve["Channel"](*serve["move_protocol"]())
handler = serve["load"](path)
channel.send({"ready": True, "function": name, "pid": os.getpid(), "threads": 1})
for line in channel.lines():
    if not line.strip():
        continue
    child = os.fork()
    if child == 0:
        channel.send(serve["answer"](handler, line))
        fields = dict(row.split(":") for row in open("/proc/self/smaps_rollup").read().splitlines()[1:])
        kib = lambda key: int(fields[key].split()[0])
        channel.send({"private_kib": kib("Private_Dirty"), "proportional_kib": kib("Pss")})
        os._exit(0)
    os.waitpid(child, 0)
"#;

/// What a function of a wanted size runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runtime {
    Python,
    Node,
}

/// A function in Python, with one thread, that holds so much memory: `sized-100`. Its layer is written under `folder`.
///
/// # Errors
/// If it cannot be written.
pub fn synthetic(mib: u64, folder: &Path) -> io::Result<Subject> {
    sized(&format!("sized-{mib}"), Runtime::Python, mib, folder)
}

/// The same in Node, with a worker thread and those of its pools: `sized-node-100`.
///
/// # Errors
/// If its layer cannot be written.
pub fn synthetic_node(mib: u64, folder: &Path) -> io::Result<Subject> {
    sized(&format!("sized-node-{mib}"), Runtime::Node, mib, folder)
}

/// The one of this name; `None` if the name is none of theirs.
pub fn synthetic_named(name: &str, folder: &Path) -> Option<io::Result<Subject>> {
    let size = name.strip_prefix("sized-")?;
    match size.strip_prefix("node-") {
        Some(size) => size.parse().ok().map(|mib| synthetic_node(mib, folder)),
        None => size.parse().ok().map(|mib| synthetic(mib, folder)),
    }
}

fn sized(name: &str, runtime: Runtime, mib: u64, folder: &Path) -> io::Result<Subject> {
    let (source, program, ending) = match runtime {
        Runtime::Python => (SIZED, "/usr/bin/python3", "py"),
        Runtime::Node => (SIZED_NODE, "/usr/bin/node", "js"),
    };
    let file = format!("{name}.{ending}");
    let layer = write(folder, name, &file, &source.replace("MIB", &mib.to_string()))?;
    let program = Program::new([program.to_owned(), format!("/function/{file}")]);
    let program = super::roomy(Program { layers: vec![layer], ..program });
    // As many pages as are looked at.
    let looked = 64.min(mib << 20 >> 12);
    let one = super::input(looked);
    let inputs = serde_json::json!({ "base": one, "_1": one, "_2": one, "warm-up": one });
    let inputs = serde_json::from_value(inputs).map_err(io::Error::other)?;
    Ok(Subject { name: name.to_owned(), program, inputs })
}

/// The same function as a process that forks; `None` if it is not in Python.
pub(super) fn zygote(subject: &Subject) -> Option<Program> {
    let crate::sandbox::Start::Exec { argv } = &subject.program.start else { return None };
    let after = |option: &str| {
        let at = argv.iter().position(|word| word == option)?;
        argv.get(at + 1).cloned()
    };
    if !argv.first()?.ends_with("python3") {
        return None;
    }
    let (name, handler) = (after("--name")?, after("--handler")?);
    let argv = ["/usr/bin/python3".to_owned(), "-c".to_owned(), ZYGOTE.to_owned(), name, handler];
    Some(Program { start: crate::sandbox::Start::Exec { argv: argv.into() }, ..subject.program.clone() })
}

fn write(folder: &Path, name: &str, file: &str, source: &str) -> io::Result<PathBuf> {
    let layer = folder.join(name);
    let file = layer.join("function").join(file);
    fs::create_dir_all(layer.join("function"))?;
    fs::write(&file, source)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    Ok(layer)
}
