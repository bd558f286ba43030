//! Node with its own threads (compiler, collector, libuv) and a worker of the program's.

mod template_common;

use std::path::Path;

use emu::doctor::{skip, skip_without};
use emu::sandbox::Base;
use serde_json::json;
use template_common::{NEEDS, Place, ask, lacks};

/// Answers with a count, what a worker thread counts, what the thread pool computes, and garbage that it made.
const SOURCE: &str = r#"
"use strict";
const { Worker } = require("worker_threads");
const crypto = require("crypto");
const fs = require("fs");
const worker = new Worker(`
  const { parentPort } = require("worker_threads");
  let count = 0;
  parentPort.on("message", (n) => parentPort.postMessage({ count: ++count, n }));
`, { eval: true });
let count = 0;
const kept = new Map();
const ask = (n) => new Promise((resolve) => { worker.once("message", resolve); worker.postMessage(n); });
const derive = (n) => new Promise((resolve, reject) =>
  crypto.pbkdf2("secret" + n, "salt", 100, 16, "sha256", (error, key) => error ? reject(error) : resolve(key.toString("hex"))));
async function handle(line) {
  const { id, input } = JSON.parse(line);
  count += 1;
  kept.set(count, "x".repeat(1000) + count);
  let churn = 0;
  for (let i = 0; i < (input.churn || 0); i++) { const a = new Array(1000).fill(i); churn += a[i % 1000] === i ? 1 : 0; }
  const read = await fs.promises.readFile("/etc/hostname", "utf8");
  const output = { count, kept: kept.size, last: kept.get(count).slice(-3), worker: await ask(count),
                   key: await derive(7), churn, read: read.trim() };
  fs.writeSync(1, JSON.stringify({ id, ok: true, output }) + "\n");
}
let rest = "";
process.stdin.on("data", (data) => {
  const lines = (rest + data).split("\n");
  rest = lines.pop();
  for (const line of lines) handle(line);
});
handle(JSON.stringify({ id: 0, input: {} })).then(() => fs.writeSync(1, '{"ready":true}\n'));
"#;

#[test]
fn node_goes_on_where_it_was() {
    if skip_without(NEEDS) || lacks("node") {
        return;
    }
    goes_on(&Place::new());
}

/// This machine's may be of another version than the image's: Node 20 here, Node 18 there.
#[test]
fn the_node_of_this_machine_does_too() {
    if skip_without(NEEDS) {
        return;
    }
    if !Path::new("/usr/bin/node").exists() {
        return skip("this machine has no node");
    }
    goes_on(&Place::on(Base::HostPrograms, false));
}

fn goes_on(place: &Place) {
    let program = place.script("state.js", SOURCE);
    let mut original = place.manager.create(&program).unwrap();
    let channel = &mut original.function_mut().unwrap().channel;
    loop {
        let line = channel.line(template_common::WITHIN).unwrap();
        if line.starts_with(b"{\"ready\"") {
            break;
        }
    }
    ask(&mut original, &json!({}));
    let template = place.capture(&original, "node").unwrap();
    assert!(template.manifest().threads.len() > 6, "{}", template.manifest().threads.len());
    let expected = ask(&mut original, &json!({ "churn": 1000 }));
    assert_eq!(expected["count"], 3);
    for _ in 0..5 {
        let mut attached = place.attach(&template, &program);
        assert_eq!(ask(&mut attached.sandbox, &json!({ "churn": 1000 })), expected);
        // The collector moves and gives back memory meanwhile.
        let later = ask(&mut attached.sandbox, &json!({ "churn": 300_000 }));
        assert_eq!(later["churn"], 300_000);
        assert_eq!(later["worker"]["count"], 4);
    }
}
