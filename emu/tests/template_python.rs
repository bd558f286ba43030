//! CPython with state, in one thread and in several: counters, dictionaries and queues go on where they were.

mod template_common;

use emu::doctor::skip_without;
use serde_json::{Value, json};
use template_common::{NEEDS, Place, ask, lacks};

const SOURCE: &str = r#"
import json, os, queue, sys, threading

state = {"count": 0, "seen": {}, "big": [bytes([i % 251]) * 4096 for i in range(THOUSANDS)]}
work = queue.SimpleQueue()
done = queue.SimpleQueue()
local = threading.local()

def worker(name):
    local.name, local.count = name, 0
    while True:
        item = work.get()
        local.count += 1
        done.put([local.name, local.count, threading.get_native_id(), item])

threads = [threading.Thread(target=worker, args=(f"w{i}",), daemon=True) for i in range(THREADS)]
for thread in threads:
    thread.start()

def handle(line):
    request = json.loads(line)
    state["count"] += 1
    state["seen"][str(request["input"])] = state["count"]
    for i in range(len(threads)):
        work.put(i)
    answers = sorted(done.get(timeout=10)[3] for _ in threads)
    big = sum(b[0] for b in state["big"]) if state["big"] else 0
    output = {"count": state["count"], "seen": state["seen"], "big": big, "workers": answers,
              "pid": os.getpid(), "tids": sorted(t.native_id for t in threads)}
    os.write(1, json.dumps({"id": request["id"], "ok": True, "output": output}).encode() + b"\n")

os.write(1, b'{"ready":true}\n')
rest = b""
while piece := os.read(0, 65536):
    *whole, rest = (rest + piece).split(b"\n")
    for line in whole:
        handle(line)
"#;

fn state_goes_on(threads: usize) {
    if skip_without(NEEDS) || lacks("python3") {
        return;
    }
    let place = Place::new();
    let source = SOURCE.replace("THREADS", &threads.to_string()).replace("THOUSANDS", "2000");
    let program = place.script("state.py", &source);
    let mut original = place.start(&program);
    for nth in 1..=3 {
        assert_eq!(ask(&mut original, &json!(nth))["count"], nth);
    }
    let template = place.capture(&original, "state").unwrap();
    assert_eq!(template.manifest().threads.len(), threads + 1);
    template.verify().unwrap();
    let expected = ask(&mut original, &json!("next"));
    assert_eq!(expected["count"], 4);
    let mut answers: Vec<Value> = Vec::new();
    for _ in 0..5 {
        let mut attached = place.attach(&template, &program);
        answers.push(ask(&mut attached.sandbox, &json!("next")));
        assert_eq!(ask(&mut attached.sandbox, &json!("more"))["count"], 5);
    }
    // The same state, process and thread numbers; what one did is not seen by the others.
    assert_eq!(answers, vec![expected; 5]);
}

#[test]
fn one_thread_goes_on_where_it_was() {
    state_goes_on(0);
}

#[test]
fn five_threads_go_on_where_they_were() {
    state_goes_on(4);
}
