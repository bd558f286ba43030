//! Open files of every kind come back: what was in them, where they stood, who watches them.

mod template_common;

use emu::doctor::skip_without;
use serde_json::json;
use template_common::python::serving;
use template_common::{NEEDS, Place, ask, lacks};

const SCRIPT: &str = r#"
import select, socket

class Spec(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("interval", "interval_ns", "value", "value_ns")]

hosts = os.open("/etc/hosts", os.O_RDONLY)
os.read(hosts, 4)
own = os.open("/tmp/folder-of-its-own.txt", os.O_RDWR | os.O_CREAT | os.O_APPEND)
os.write(own, b"hello world")
os.lseek(own, 6, os.SEEK_SET)
reader, writer = os.pipe()
os.write(writer, b"waiting")
again = os.dup(reader)
event = os.eventfd(41, os.EFD_NONBLOCK)
timer = libc.timerfd_create(time.CLOCK_MONOTONIC, 0)
libc.timerfd_settime(timer, 0, ctypes.byref(Spec(0, 0, 3600, 0)), None)
ticking = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK)
libc.timerfd_settime(ticking, 0, ctypes.byref(Spec(0, 20_000_000, 0, 20_000_000)), None)
mask = ctypes.c_uint64(1 << (10 - 1))
libc.pthread_sigmask(0, ctypes.byref(mask), None)
signals = libc.signalfd(-1, ctypes.byref(mask), os.O_NONBLOCK)
watcher = select.epoll()
watcher.register(reader, select.EPOLLIN)
watcher.register(event, select.EPOLLIN)
named = socket.socket(socket.AF_UNIX)
named.bind(b"\0trenvx-test")
named.listen(3)
waiting = socket.socket()
waiting.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
waiting.bind(("127.0.0.1", 0))
waiting.listen(7)
sixth = socket.socket(socket.AF_INET6)
sixth.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
sixth.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 9)
sixth.bind(("::1", 0))
sixth.listen(5)
both = socket.socket(socket.AF_INET6)
both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
both.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
both.bind(("::", 0))
both.listen(5)
path = socket.socket(socket.AF_UNIX)
path.bind("/tmp/named.socket")
os.chmod("/tmp/named.socket", 0o640)
path.listen(2)
lone = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
null = os.open("/dev/null", os.O_WRONLY)
chance = os.open("/dev/urandom", os.O_RDONLY)
folder = os.open("/etc", os.O_RDONLY | os.O_DIRECTORY)
high = libc.dup2(null, 300)
os.set_inheritable(folder, True)

def through(listener):
    client = socket.socket(listener.family)
    client.connect(listener.getsockname())
    server, _ = listener.accept()
    client.sendall(b"ping")
    return server.recv(4).decode()

def sixths():
    # An old client reaches the one for both; the other is for new ones only.
    client = socket.create_connection(("127.0.0.1", both.getsockname()[1]))
    server, peer = both.accept()
    client.sendall(b"four")
    option = lambda one, name: one.getsockopt(socket.IPPROTO_IPV6, name)
    return [
        through(sixth), sixth.getsockname()[0], option(sixth, socket.IPV6_V6ONLY), option(sixth, socket.IPV6_UNICAST_HOPS),
        server.recv(4).decode(), peer[0], option(both, socket.IPV6_V6ONLY),
    ]

def timers():
    spec = Spec()
    libc.timerfd_gettime(timer, ctypes.byref(spec))
    time.sleep(0.05)
    ticks = int.from_bytes(os.read(ticking, 8), "little")
    return [3500 < spec.value <= 3600, ticks >= 2]

def look():
    ready = sorted(fd == reader for fd, _ in watcher.poll(0))
    os.kill(os.getpid(), 10)
    answer = {
        "hosts": os.read(hosts, 5).decode(),
        "own": os.read(own, 100).decode(),
        "pipe": os.read(again, 100).decode(),
        "same": os.path.sameopenfile(reader, again),
        "event": int.from_bytes(os.read(event, 8), "little"),
        "timers": timers(),
        "signal": int.from_bytes(os.read(signals, 128)[:4], "little"),
        "ready": ready,
        "unix": through(named), "tcp": through(waiting), "ipv6": sixths(),
        "path": [through(path), os.stat("/tmp/named.socket").st_mode & 0o777],
        "lone": lone.fileno() >= 0 and lone.sendto(b"", ("127.0.0.1", 9)) == 0,
        "null": os.write(null, b"x") + os.write(300, b"yy"),
        "chance": len(os.read(chance, 8)),
        "folder": "hosts" in os.listdir(folder),
        "inheritable": [os.get_inheritable(folder), os.get_inheritable(null)],
        "fds": sorted(map(int, os.listdir("/proc/self/fd")))[:-1],
    }
    os.write(writer, b"more")
    answer["later"] = [os.read(reader, 10).decode(), len(watcher.poll(0))]
    return answer
"#;

#[test]
fn open_files_of_every_kind_come_back() {
    if skip_without(NEEDS) || lacks("python3") {
        return;
    }
    let place = Place::with(true);
    let program = place.script("descriptors.py", &serving(SCRIPT));
    let original = place.start(&program);
    let template = place.capture(&original, "descriptors").unwrap();
    let expected = json!({
        "hosts": "0.0.1", "own": "world", "pipe": "waiting", "same": true, "event": 41, "timers": [true, true],
        "signal": 10, "ready": [false, true], "unix": "ping", "tcp": "ping",
        "ipv6": ["ping", "::1", 1, 9, "four", "::ffff:127.0.0.1", 0], "path": ["ping", 0o640], "lone": true, "null": 3,
        "chance": 8, "folder": true, "inheritable": [true, false], "later": ["more", 0],
    });
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let mut attached = place.attach(&template, &program);
        let mut found = ask(&mut attached.sandbox, &json!("look()"));
        numbers.push(found.as_object_mut().unwrap().remove("fds").unwrap());
        assert_eq!(found, expected);
    }
    let mut original = original;
    let mut found = ask(&mut original, &json!("look()"));
    numbers.push(found.as_object_mut().unwrap().remove("fds").unwrap());
    assert_eq!(found, expected);
    // No descriptor more than the original has.
    assert!(numbers.iter().all(|one| *one == numbers[2]), "{numbers:?}");
}
