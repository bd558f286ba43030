//! Memory of an attached process: heap and mappings grow, children are forked, the stack grows, and the C library's
//! further heaps, which drop what they give back, hand out zeros where they must.

mod template_common;

use emu::doctor::skip_without;
use emu::template::Backing;
use emu::template::manifest::Way;
use serde_json::json;
use template_common::python::serving;
use template_common::{NEEDS, Place, ask, lacks};

const SCRIPT: &str = r#"
import subprocess, threading, queue
libc.sbrk.restype = libc.malloc.restype = libc.calloc.restype = ctypes.c_void_p
libc.sbrk.argtypes = [ctypes.c_long]
libc.malloc.argtypes, libc.calloc.argtypes = [ctypes.c_size_t], [ctypes.c_size_t, ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
work, done = queue.Queue(), queue.Queue()

def worker():
    while True:
        done.put(eval(work.get(), globals()))

threading.Thread(target=worker, daemon=True).start()

def there(call):
    work.put(call)
    return done.get(timeout=20)

def fill(count, size):
    blocks = [libc.malloc(size) for _ in range(count)]
    for block in blocks:
        ctypes.memset(block, 0xEE, size)
    for block in blocks:
        libc.free(block)
    libc.malloc_trim(0)
    return count

held = []

def hold(count, size):
    held.extend(libc.malloc(size) for _ in range(count))
    for block in held:
        ctypes.memset(block, 0xEE, size)

def release():
    while held:
        libc.free(held.pop())

def zeros(count, size):
    blocks = [libc.calloc(1, size) for _ in range(count)]
    wrong = sum(ctypes.string_at(block, size).count(0xEE) for block in blocks)
    for block in blocks:
        libc.free(block)
    return wrong

clean = ctypes.create_string_buffer(1 << 20)
libc.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]

def heap():
    # Nothing is allocated meanwhile: the C library believes that the heap is its own.
    before = libc.sbrk(1 << 20)
    new = libc.memcmp(before, clean, 1 << 20)
    ctypes.memset(before, 7, 1 << 20)
    libc.sbrk(-(1 << 20))
    libc.sbrk(1 << 20)
    again = libc.memcmp(before, clean, 1 << 20)
    libc.sbrk(-(1 << 20))
    return [new == 0, again == 0]

def mapped():
    import mmap
    areas = [mmap.mmap(-1, 1 << 22) for _ in range(20)]
    return sum(area[:].count(0) == 1 << 22 for area in areas)

def deep(n):
    return 0 if n == 0 else 1 + deep(n - 1)

def recursion():
    sys.setrecursionlimit(20000)
    threading.stack_size(0)
    return eval("deep(5000)", globals())

def child():
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, str([zeros(10, 100000), len(os.listdir("/proc/self/task"))]).encode())
        os._exit(3)
    _, status = os.waitpid(pid, 0)
    answer = os.read(reader, 100).decode()
    os.close(reader); os.close(writer)
    echo = subprocess.run(["/bin/echo", "executed"], capture_output=True).stdout.decode()
    return [answer, os.waitstatus_to_exitcode(status), echo]

there("fill(20, 100000)")
there("hold(200, 100000)")
fill(200, 100000)
"#;

/// Where private mappings are not memory of one's own, and where they are not used.
const DROPPED: &str = r#"
import mmap
page = mmap.mmap(-1, 16 << 12, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
page.write(b"template" * 512 * 16)

def dropped():
    page[:4] = b"mine"
    page.madvise(mmap.MADV_DONTNEED)
    return page[:8].decode()
"#;

#[test]
fn dropped_memory_is_zeros_and_grown_memory_ends_in_zeros() {
    if skip_without(NEEDS) || lacks("python3") {
        return;
    }
    let place = Place::new();
    let program = place.script("dropped.py", &serving(DROPPED));
    let original = place.start(&program);
    let template = place.capture(&original, "dropped").unwrap();
    for backing in [Backing::Map, Backing::Copy] {
        let mut attached = place.attach_by(&template, &program, backing);
        assert_eq!(ask(&mut attached.sandbox, &json!("dropped()")), "\0\0\0\0\0\0\0\0", "{backing:?}");
    }
}

#[test]
fn memory_of_an_attached_process_is_its_own() {
    if skip_without(NEEDS) || lacks("python3") {
        return;
    }
    let place = Place::new();
    let program = place.script("memory.py", &serving(SCRIPT));
    let original = place.start(&program);
    let template = place.capture(&original, "memory").unwrap();
    let copied = |area: &&emu::template::manifest::Area| area.way == Way::Copy;
    assert_eq!(template.manifest().areas.iter().filter(copied).count(), 1, "only the stack is copied");
    let calls = [
        ("heap()", json!([true, true])),
        ("mapped()", json!(20)),
        ("recursion()", json!(5000)),
        ("child()", json!(["[0, 1]", 3, "executed\n"])),
        // What is given back at the end of a further heap is dropped, and counted on as zeros afterwards.
        ("there('release()')", json!(null)),
        ("there('zeros(200, 100000)')", json!(0)),
        ("there('fill(400, 100000)')", json!(400)),
        ("there('zeros(400, 100000)')", json!(0)),
        ("there('fill(400, 30000)')", json!(400)),
        ("there('zeros(600, 60000)')", json!(0)),
        ("zeros(400, 100000)", json!(0)),
        ("fill(400, 100000)", json!(400)),
        ("zeros(400, 100000)", json!(0)),
    ];
    for _ in 0..2 {
        let mut attached = place.attach(&template, &program);
        for (call, expected) in &calls {
            assert_eq!(ask(&mut attached.sandbox, &json!(call)), *expected, "{call}");
        }
    }
}
