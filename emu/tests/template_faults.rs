//! Processes whose pages a server brings when they are touched: private copies, and one cache for all.

mod template_common;

use emu::doctor::skip_without;
use emu::template::{Attached, Backing, Prepared, Template};
use serde_json::{Value, json};
use template_common::python::serving;
use template_common::served::{PageServer, SERVED};
use template_common::{NEEDS, Place, ask, lacks};

const SCRIPT: &str = r#"
import hashlib, mmap, random, subprocess, threading
random.seed(11)
state = bytearray(random.randbytes(4 << 20))
page = mmap.mmap(-1, 64 << 12, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
page.write(b"template" * 512 * 64)
gate = threading.Event()
count = 0

def work():
    global count
    while True:
        gate.wait()
        gate.clear()
        count += 1
        done.set()

done = threading.Event()
threading.Thread(target=work, daemon=True).start()

def step():
    done.clear()
    gate.set()
    done.wait(10)
    return [count, hashlib.sha256(state).hexdigest()]

def dropped():
    before = page[:8].decode()
    page.madvise(mmap.MADV_DONTNEED)
    return [before, sum(page[:])]

def forked():
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        state[0] ^= 1
        os.write(writer, hashlib.sha256(state).hexdigest().encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reader, 100).decode()
    os.close(reader); os.close(writer)
    return [theirs != hashlib.sha256(state).hexdigest(), subprocess.run(["/bin/echo", "hi"], capture_output=True).stdout.decode()]
"#;

fn attach(place: &Place, template: &Template, backing: Backing, server: &PageServer) -> Attached {
    let program = place.script("faults.py", &serving(SCRIPT));
    let prepared = Prepared::new(template, backing).unwrap();
    let attached = server.attach(&prepared, template, (&place.manager, &program), 1);
    attached.unwrap_or_else(|error| panic!("{error}")).0
}

fn goes_on(backing: Backing) {
    let needs = [NEEDS, SERVED].concat();
    if skip_without(&needs) || lacks("python3") {
        return;
    }
    let place = Place::new();
    let program = place.script("faults.py", &serving(SCRIPT));
    let mut original = place.start(&program);
    ask(&mut original, &json!("step()"));
    let template = place.capture(&original, "faults").unwrap();
    let calls = ["step()", "step()", "forked()", "dropped()", "dropped()", "step()"];
    let answers = |sandbox: &mut emu::sandbox::Sandbox| -> Vec<Value> {
        calls.iter().map(|call| ask(sandbox, &json!(call))).collect()
    };
    let expected = answers(&mut original);
    assert_eq!(expected[2], json!([true, "hi\n"]));
    assert_eq!(expected[3], json!(["template", 0]));
    let server = PageServer::start(place.folder.path(), "dram");
    for nth in 1..=2 {
        let mut attached = attach(&place, &template, backing, &server);
        assert_eq!(answers(&mut attached.sandbox), expected);
        let pages = server.client.report().unwrap().counts.faults;
        assert!(pages > nth * 1000, "{pages} faults after {nth} processes");
    }
}

#[test]
fn pages_come_as_private_copies() {
    goes_on(Backing::Fault);
}

#[test]
fn pages_come_from_a_cache_that_all_share() {
    goes_on(Backing::FaultShared);
}
