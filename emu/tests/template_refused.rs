//! What a template cannot hold is refused by name, and the function lives on.

mod template_common;

use emu::doctor::skip_without;
use emu::template::Error;
use serde_json::json;
use template_common::python::serving;
use template_common::{NEEDS, Place, ask, lacks};

/// What a script does, and what the refusal must name.
const REFUSED: &[(&str, &str)] = &[
    ("import socket; pair = socket.socketpair()", "socket that is connected"),
    ("import mmap; shared = mmap.mmap(-1, 8192)", "/dev/zero (deleted)"),
    ("import subprocess; child = subprocess.Popen(['/bin/sleep', '100'])", "child processes"),
    ("import tempfile; gone = tempfile.TemporaryFile(); gone.write(b'x'); gone.flush()", "no name any more"),
    ("reader, writer = os.pipe(); os.close(writer)", "other end"),
    ("watch = libc.inotify_init()", "anon_inode:inotify"),
    ("made = ctypes.c_void_p(); libc.timer_create(1, None, ctypes.byref(made))", "timer_create"),
    ("large = open('/tmp/large', 'wb'); large.write(bytes(2 << 20)); large.flush()", "/tmp/large"),
    ("page = ctypes.create_string_buffer(8192); libc.mlock(ctypes.byref(page), 4096)", "locked"),
];

#[test]
fn what_cannot_be_captured_is_named() {
    if skip_without(NEEDS) || lacks("python3") {
        return;
    }
    let place = Place::new();
    for (script, named) in REFUSED {
        let program = place.script("refused.py", &serving(script));
        let mut original = place.start(&program);
        match place.capture(&original, "refused").map(|template| template.id().to_owned()) {
            Err(Error::Uncapturable(what)) => assert!(what.contains(named), "{script}: {what}"),
            other => panic!("{script}: {other:?}"),
        }
        assert_eq!(ask(&mut original, &json!("6 * 7")), 42, "{script}");
    }
    // Nothing of the attempts is left.
    assert_eq!(std::fs::read_dir(place.store.folder()).unwrap().count(), 0);
}

#[test]
fn a_function_that_is_at_work_is_not_captured() {
    if skip_without(NEEDS) || lacks("python3") {
        return;
    }
    let place = Place::new();
    let script = "import threading\ndef work():\n    while True: pass\n\
                  threading.Thread(target=work, daemon=True).start()";
    let original = place.start(&place.script("busy.py", &serving(script)));
    let request = emu::template::Request {
        rest: std::time::Duration::from_millis(300),
        ..emu::template::Request::new("busy", 0)
    };
    let result = emu::template::capture(&place.store, original.function().unwrap(), &request);
    assert!(matches!(result, Err(Error::Restless(_))), "{result:?}");
}
