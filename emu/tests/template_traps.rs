//! What memory does that is a private mapping and must behave as memory of one's own: dropped, freed, grown, moved; by
//! the program itself and by an allocator that counts on zeros.

mod template_common;

use std::path::PathBuf;

use emu::doctor::{skip, skip_without};
use emu::sandbox::Program;
use emu::template::Backing;
use emu::template::manifest::{Area, AreaKind};
use serde_json::json;
use template_common::python::serving;
use template_common::{NEEDS, Place, ask, lacks};

const SCRIPT: &str = r#"
import mmap, signal, threading
PAGE, SIZE = 4096, 64 * 4096
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.mprotect.argtypes = libc.madvise.argtypes
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
FAILED = ctypes.c_void_p(-1).value

def new(at=None, flags=0x22):
    return libc.mmap(at, SIZE, 3, flags, -1, 0)

def filled():
    # Apart from others: the kernel joins neighbours.
    room = libc.mmap(None, 3 * SIZE, 0, 0x4022, -1, 0)
    at = new(room + SIZE, 0x32)
    ctypes.memset(at, 0xEE, SIZE)
    return at

def bytes_at(at, pages):
    return sorted(set(ctypes.string_at(at, pages * PAGE)))

areas = [filled() for _ in range(12)]
two = filled()
def result(done):
    return 0 if done == 0 else ctypes.get_errno()

def dropped(advice=4):
    at = areas.pop()
    done = result(libc.madvise(at + PAGE, 3 * PAGE, advice))
    return [done, bytes_at(at, 1), bytes_at(at + PAGE, 3), bytes_at(at + 4 * PAGE, 60)]

def dropped_read_only():
    at = areas.pop()
    libc.mprotect(at, SIZE, 1)
    return [result(libc.madvise(at, SIZE, 4)), bytes_at(at, 64)]

def dropped_with_fresh_memory():
    # The first half becomes memory of this process's own; both are dropped at once.
    at = areas.pop()
    libc.munmap(at, SIZE // 2)
    libc.mmap(at, SIZE // 2, 3, 0x32, -1, 0)
    ctypes.memset(at, 0xDD, 5 * PAGE)
    return [result(libc.madvise(at, SIZE, 4)), bytes_at(at, 64)]

def dropped_with_a_gap():
    at = areas.pop()
    libc.munmap(at + PAGE, PAGE)
    return [result(libc.madvise(at, 4 * PAGE, 4)), bytes_at(at, 1), bytes_at(at + 2 * PAGE, 2), bytes_at(at + 4 * PAGE, 1)]

def dropped_by_a_child():
    at = areas[-1]
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        os.write(writer, json.dumps([result(libc.madvise(at, SIZE, 4)), bytes_at(at, 64)]).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    child = json.loads(os.read(reader, 1000))
    os.close(reader); os.close(writer)
    return [child, bytes_at(at, 64)]

def dropped_where_no_signal_comes():
    found = []
    def drop():
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
        found.append(dropped()[:3])
    thread = threading.Thread(target=drop)
    thread.start(); thread.join()
    return found[0]

def dropped_of_another_file():
    # A file of the process's own at addresses of the template is not touched.
    at = areas.pop()
    with open("/tmp/own", "wb") as file:
        file.write(b"\x77" * SIZE)
    fd = os.open("/tmp/own", os.O_RDWR)
    assert libc.mmap(at, SIZE, 3, 0x11, fd, 0) == at
    done = result(libc.madvise(at, SIZE, 4))
    seen = bytes_at(at, 64)
    os.close(fd)
    return [done, seen, sorted(set(open("/tmp/own", "rb").read()))]

def grown(old, new, flags):
    at = areas.pop()
    moved = libc.mremap(at, old * PAGE, new * PAGE, flags)
    if moved == FAILED:
        return ["refused", ctypes.get_errno(), bytes_at(at, 64)]
    return ["done", bytes_at(moved, old), bytes_at(moved + old * PAGE, new - old)]

def shrunk():
    at = areas.pop()
    return [libc.mremap(at, SIZE, PAGE, 1) == at, bytes_at(at, 1)]

def churn():
    # More than a batch at once, and many times.
    at = two
    for _ in range(200):
        ctypes.memset(at, 0xAB, SIZE)
        assert libc.madvise(at, SIZE, 4) == 0
    return bytes_at(at, 64)
"#;

#[test]
fn memory_of_the_template_is_dropped_freed_grown_and_moved_as_memory_of_ones_own() {
    if skip_without(NEEDS) || lacks("python3") {
        return;
    }
    let place = Place::new();
    let program = place.script("traps.py", &serving(SCRIPT));
    let original = place.start(&program);
    let template = place.capture(&original, "traps").unwrap();
    let (zeros, full) = (json!([0]), json!([0xEE]));
    let refused = json!(["refused", libc::ENOMEM, full]);
    let freed = json!([libc::EINVAL, full, full, full]);
    let calls = [
        ("dropped()", json!([0, full, zeros, full])),
        ("dropped_read_only()", json!([0, zeros])),
        ("dropped_with_fresh_memory()", json!([0, zeros])),
        ("dropped_with_a_gap()", json!([libc::ENOMEM, zeros, zeros, full])),
        ("dropped_by_a_child()", json!([[0, zeros], full])),
        ("dropped_where_no_signal_comes()", json!([0, full, zeros])),
        ("dropped_of_another_file()", json!([0, [0x77], [0x77]])),
        ("dropped(8)", freed),
        ("grown(64, 80, 1)", refused.clone()),
        ("grown(4, 8, 1)", refused.clone()),
        ("shrunk()", json!([true, full])),
        ("churn()", zeros),
    ];
    let mut attached = place.attach(&template, &program);
    for (call, expected) in &calls {
        assert_eq!(ask(&mut attached.sandbox, &json!(call)), *expected, "{call}");
    }
    // Of written pages of a file, the file's bytes would have to come back.
    let is_data = |area: &&Area| matches!(area.kind, AreaKind::File { .. }) && area.protection & 2 != 0;
    let data = template.manifest().areas.iter().filter(is_data).find_map(|area| area.runs.first());
    let call = json!(format!("result(libc.madvise({}, PAGE, 4))", data.expect("written data").start));
    assert_eq!(ask(&mut attached.sandbox, &call), libc::EINVAL);
    // By copies, everything goes the kernel's way.
    let mut copied = place.attach_by(&template, &program, Backing::Copy);
    let grown = ask(&mut copied.sandbox, &json!("grown(64, 80, 1)"));
    assert_eq!(grown, json!(["done", [0xEE], [0]]));
}

const ALLOCATING: &str = r#"
for name in ("malloc", "calloc", "realloc"):
    getattr(libc, name).restype = ctypes.c_void_p
libc.malloc.argtypes, libc.calloc.argtypes = [ctypes.c_size_t], [ctypes.c_size_t] * 2
libc.realloc.argtypes, libc.free.argtypes = [ctypes.c_void_p, ctypes.c_size_t], [ctypes.c_void_p]
SIZES = [20_000, 100_000, 300_000, 3_000_000]

def fill(blocks):
    for block, size in blocks:
        ctypes.memset(block, 0xEE, size)
    return blocks

def make(count):
    return fill([(libc.malloc(size), size) for _ in range(count) for size in SIZES])

def release(blocks):
    while blocks:
        libc.free(blocks.pop()[0])

def zeros(count):
    # How many bytes that must be zeros are not.
    blocks = [(libc.calloc(1, size), size) for _ in range(count) for size in SIZES]
    wrong = sum(size - ctypes.string_at(block, size).count(0) for block, size in blocks)
    release(fill(blocks))
    return wrong

def grown(count):
    blocks = [(libc.realloc(block, size * 2), size) for block, size in make(count)]
    wrong = sum(size - ctypes.string_at(block, size).count(0xEE) for block, size in blocks)
    release(blocks)
    return wrong

held = make(6)
release(make(6))
def churn(times):
    wrong = 0
    release(held)
    for _ in range(times):
        wrong += zeros(6) + grown(3)
    return wrong
preloaded = "jemalloc" in open("/proc/self/maps").read()
"#;

/// This machine's library, where the set-up has installed it.
fn jemalloc() -> Option<PathBuf> {
    let found = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"]
        .map(|folder| PathBuf::from(folder).join("libjemalloc.so.2"));
    let found = found.into_iter().find(|path| path.is_file());
    if found.is_none() {
        skip("there is no libjemalloc.so.2: scripts/setup --with-emulator installs it");
    }
    found
}

fn allocates(place: &Place, mut program: Program, preloaded: bool) {
    program.limits.memory_bytes = Some(4 << 30);
    let original = place.start(&program);
    let template = place.capture(&original, "allocates").unwrap();
    let mut attached = place.attach(&template, &program);
    assert_eq!(ask(&mut attached.sandbox, &json!("preloaded")), preloaded);
    for _ in 0..3 {
        assert_eq!(ask(&mut attached.sandbox, &json!("churn(4)")), 0, "{:?}", program.env);
    }
}

#[test]
fn an_allocator_that_counts_on_dropped_memory_gets_zeros() {
    if skip_without(NEEDS) || lacks("python3") {
        return;
    }
    let Some(library) = jemalloc() else { return };
    let place = Place::new();
    let script = place.script("allocates.py", &serving(ALLOCATING));
    let layer = place.layer("libjemalloc.so.2", &std::fs::read(library).unwrap());
    // At once by DONTNEED; by FREE where it can be; as it comes.
    for how in ["dirty_decay_ms:0,muzzy_decay_ms:0", "dirty_decay_ms:0,muzzy_decay_ms:-1", "narenas:2"] {
        let mut program = script.clone();
        program.layers.push(layer.clone());
        program.env.insert("LD_PRELOAD".into(), "/function/libjemalloc.so.2".into());
        program.env.insert("MALLOC_CONF".into(), format!("{how},retain:true"));
        allocates(&place, program, true);
    }
}

#[test]
fn the_allocator_of_the_c_library_does() {
    if skip_without(NEEDS) || lacks("python3") {
        return;
    }
    let place = Place::new();
    let mut program = place.script("allocates.py", &serving(ALLOCATING));
    program.env.insert("MALLOC_TRIM_THRESHOLD_".into(), "0".into());
    allocates(&place, program, false);
}
