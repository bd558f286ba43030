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
    ("libc.mlockall(2)", "memory to come is locked"),
    (
        "import fcntl; held = open('/tmp/held', 'w'); fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)",
        "is locked in a way that is lost",
    ),
    ("import fcntl; ends = os.pipe(); fcntl.fcntl(ends[0], fcntl.F_SETOWN, os.getpid())", "F_SETOWN"),
    ("os.nice(3)", "a priority of its own (nice)"),
    ("os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))", "a scheduling policy"),
    ("libc.syscall(251, 1, 0, (3 << 13) | 0)", "input and output priority"),
    ("libc.prctl(4, 0, 0, 0, 0)", "PR_SET_DUMPABLE"),
    ("libc.prctl(1, 15, 0, 0, 0)", "PR_SET_PDEATHSIG"),
    ("libc.prctl(29, 123456, 0, 0, 0)", "PR_SET_TIMERSLACK"),
    ("libc.prctl(36, 1, 0, 0, 0)", "PR_SET_CHILD_SUBREAPER"),
    ("libc.prctl(41, 1, 0, 0, 0)", "PR_SET_THP_DISABLE"),
    ("libc.prctl(33, 1, 0, 0, 0)", "PR_MCE_KILL"),
    ("libc.prctl(65, 1, 0, 0, 0)", "PR_SET_MDWE"),
    (
        "libc.set_mempolicy = lambda *a: libc.syscall(238, *a); libc.set_mempolicy(4, None, 0)",
        "set_mempolicy",
    ),
    (OWN_FILTER, "filter for system calls of its own"),
    (PRIORITY_LOCK, "handed on by priority"),
    ("import socket, struct; s = socket.socket(); s.setsockopt(1, 13, struct.pack('ii', 1, 5))", "SO_LINGER"),
    (
        "import socket; s = socket.socket(); s.settimeout(None); s.setsockopt(1, 20, bytes([9] + [0] * 15))",
        "SO_RCVTIMEO",
    ),
    (
        "import socket; s = socket.socket(socket.AF_UNIX); os.chdir('/tmp'); s.bind('near'); s.listen()",
        "depends on a working",
    ),
    (
        "import socket; s = socket.socket(socket.AF_UNIX); s.bind('/tmp/dead'); s.close()",
        "/tmp/dead is neither file",
    ),
    ("os.mkfifo('/tmp/pipe')", "/tmp/pipe is neither file"),
    ("open('/tmp/one', 'w').close(); os.link('/tmp/one', '/tmp/two')", "/tmp/one has several names"),
    ("[open(f'/tmp/{n}', 'wb').write(bytes(1 << 20)) for n in range(5)]", "those before it have more than"),
    ("[open(f'/tmp/{n}', 'wb').close() for n in range(1001)]", "more than 1000 files"),
    ("open('/tmp/named', 'w').close(); os.setxattr('/tmp/named', 'user.note', b'x')", "(user.note)"),
    ("os.mkdir('/tmp/base'); open(b'/tmp/base/\\xff', 'w').close()", "has no name in UTF-8"),
];

/// A filter that allows everything.
const OWN_FILTER: &str = "import struct; ops = struct.pack('HBBI', 6, 0, 0, 0x7fff0000); \
    room = ctypes.create_string_buffer(ops); \
    filter = ctypes.create_string_buffer(struct.pack('Hxxxxxxq', 1, ctypes.addressof(room))); \
    assert libc.prctl(22, 2, ctypes.byref(filter), 0, 0) == 0";

/// One thread waits for a lock that another has.
const PRIORITY_LOCK: &str = "import threading; word = ctypes.c_uint(0); \
    assert libc.syscall(202, ctypes.byref(word), 6, 0, None) == 0; \
    threading.Thread(target=lambda: libc.syscall(202, ctypes.byref(word), 6, 0, None), daemon=True).start(); \
    time.sleep(0.1)";

#[test]
fn what_cannot_be_captured_is_named() {
    if skip_without(NEEDS) || lacks("python3") {
        return;
    }
    let place = Place::new();
    let mut wrong = Vec::new();
    let several = std::thread::available_parallelism().is_ok_and(|processors| processors.get() > 1);
    let bound = ("os.sched_setaffinity(0, {0})", "processors of its own choice");
    for (script, named) in REFUSED.iter().chain(several.then_some(&bound)) {
        let program = place.script("refused.py", &serving(script));
        let mut original = place.start(&program);
        match place.capture(&original, "refused").map(|template| template.id().to_owned()) {
            Err(Error::Uncapturable(what)) if what.contains(named) => {}
            other => wrong.push(format!("{script}: {other:?}")),
        }
        assert_eq!(ask(&mut original, &json!("6 * 7")), 42, "{script}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Nothing of the attempts is left.
    assert_eq!(std::fs::read_dir(place.store.folder()).unwrap().count(), 0);
}

/// Two sockets that listen, at descriptors 77 and 78.
const LISTENERS: &str = r#"
import socket
def listen(family, address, number):
    made = socket.socket(family)
    made.bind(address)
    made.listen()
    os.dup2(made.fileno(), number)
    made.close()
    return socket.socket(fileno=number)
tcp = listen(socket.AF_INET, ("127.0.0.1", 0), 77)
path = listen(socket.AF_UNIX, "/tmp/listens", 78)
def connect(listener):
    with socket.socket(listener.family) as client:
        client.connect(listener.getsockname())
def accept(listener):
    listener.accept()[0].close()
"#;

#[test]
fn a_connection_that_waits_to_be_accepted_is_named_by_its_listener() {
    if skip_without(NEEDS) || lacks("python3") {
        return;
    }
    // Its loopback is up.
    let place = Place::with(true);
    let mut original = place.start(&place.script("listens.py", &serving(LISTENERS)));
    place.capture(&original, "nobody waits").unwrap();
    for (listener, number) in [("tcp", 77), ("path", 78)] {
        ask(&mut original, &json!(format!("connect({listener})")));
        let refused = place.capture(&original, "somebody waits").unwrap_err().to_string();
        let named = format!("descriptor {number} ");
        assert!(refused.contains(&named) && refused.contains("waits to be accepted"), "{refused}");
        ask(&mut original, &json!(format!("accept({listener})")));
        place.capture(&original, "nobody waits").unwrap();
    }
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
