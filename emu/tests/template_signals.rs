//! Handlers, masks, pending signals and timers come back, and what else the kernel knows of a process.

mod template_common;

use emu::doctor::skip_without;
use serde_json::json;
use template_common::python::serving;
use template_common::{NEEDS, Place, ask, lacks};

const SCRIPT: &str = r#"
import faulthandler, signal, threading
seen = []
signal.signal(signal.SIGUSR1, lambda number, frame: seen.append("user1"))
signal.signal(signal.SIGUSR2, lambda number, frame: seen.append("user2"))
signal.signal(signal.SIGALRM, lambda number, frame: seen.append("alarm"))
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.signal(signal.SIGTERM, lambda number, frame: seen.append("term"))
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGTERM])
faulthandler.enable(file=2)
os.kill(os.getpid(), signal.SIGUSR2)
signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
signal.setitimer(signal.ITIMER_REAL, 3000, 0.25)
signal.setitimer(signal.ITIMER_VIRTUAL, 2000, 7)
os.umask(0o027)
os.chdir("/etc")
libc.prctl(15, b"renamed", 0, 0, 0)

def altstack():
    stack = (ctypes.c_uint64 * 3)()
    libc.sigaltstack(None, stack)
    return [hex(stack[0]), stack[1] & 0xffffffff, stack[2]]

def look():
    real = signal.getitimer(signal.ITIMER_REAL)
    virtual = signal.getitimer(signal.ITIMER_VIRTUAL)
    pending = sorted(signal.sigpending())
    blocked = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))
    os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(0.001)
    first = list(seen)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2, signal.SIGTERM])
    time.sleep(0.001)
    second = sorted(seen[len(first):])
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    time.sleep(0.05)
    return {
        "real": [2900 < real[0] <= 3000, real[1]], "virtual": [1900 < virtual[0] <= 2001, virtual[1]],
        "pending": pending, "blocked": blocked, "first": first, "second": second, "last": seen[-1],
        "umask": os.umask(0), "cwd": os.getcwd(), "name": open("/proc/self/comm").read().strip(),
        "altstack": altstack(), "exe": os.readlink("/proc/self/exe"),
        "cmdline": open("/proc/self/cmdline").read(), "environ": sorted(open("/proc/self/environ").read().split("\0")),
        "session": [os.getsid(0), os.getpgid(0)], "heap": libc.sbrk(0),
        "auxv": hash(open("/proc/self/auxv", "rb").read()) * 0 + len(open("/proc/self/auxv", "rb").read()),
    }
"#;

#[test]
fn signals_timers_and_attributes_come_back() {
    if skip_without(NEEDS) || lacks("python3") {
        return;
    }
    let place = Place::new();
    let program = place.script("signals.py", &serving(SCRIPT));
    let mut original = place.start(&program);
    let template = place.capture(&original, "signals").unwrap();
    let expected = ask(&mut original, &json!("look()"));
    let parts = [
        ("real", json!([true, 0.25])),
        ("virtual", json!([true, 7.0])),
        ("pending", json!([12, 15])),
        ("blocked", json!([12, 15])),
        ("first", json!(["user1"])),
        ("second", json!(["term", "user2"])),
        ("last", json!("alarm")),
        ("umask", json!(0o027)),
        ("cwd", json!("/etc")),
        ("name", json!("renamed")),
        ("session", json!([1, 1])),
    ];
    for (name, value) in parts {
        assert_eq!(expected[name], value, "{name}");
    }
    for _ in 0..2 {
        let mut attached = place.attach(&template, &program);
        assert_eq!(ask(&mut attached.sandbox, &json!("look()")), expected);
    }
}
