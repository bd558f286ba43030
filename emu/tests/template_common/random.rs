//! A function in Python that writes, reads, maps, unmaps, drops and grows memory at random: `step(seed, count, traps)`
//! gives the hash of what it then holds.

pub const SCRIPT: &str = r#"
import hashlib, random
PAGE = 4096
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
for call in (libc.munmap, libc.madvise, libc.mprotect):
    call.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * (call is not libc.munmap)
FAILED = ctypes.c_void_p(-1).value
regions = []

def new(pages):
    at = libc.mmap(None, pages * PAGE, 3, 0x22, -1, 0)
    assert at != FAILED
    return at

def write(rng):
    at, pages = rng.choice(regions)
    page = rng.randrange(pages)
    data = bytes([rng.randrange(256)]) * rng.randrange(1, PAGE)
    ctypes.memmove(at + page * PAGE, data, len(data))

def make(rng):
    if len(regions) < 60:
        regions.append([new(pages := rng.randrange(1, 65)), pages])

def cut(rng):
    if len(regions) < 10:
        return
    nth = rng.randrange(len(regions))
    at, pages = regions[nth]
    keep = rng.randrange(pages)
    libc.munmap(at + keep * PAGE, (pages - keep) * PAGE)
    if keep:
        regions[nth][1] = keep
    else:
        regions.pop(nth)

def protect(rng):
    at, pages = rng.choice(regions)
    libc.mprotect(at, pages * PAGE, 1)
    ctypes.string_at(at, PAGE)
    libc.mprotect(at, pages * PAGE, 3)

def drop(rng):
    at, pages = rng.choice(regions)
    first = rng.randrange(pages)
    count = rng.randrange(1, pages - first + 1)
    assert libc.madvise(at + first * PAGE, count * PAGE, 4) == 0

def grow(rng):
    region = rng.choice(regions)
    at, pages = region
    more = pages + rng.randrange(1, 20)
    moved = libc.mremap(at, pages * PAGE, more * PAGE, 1)
    if moved == FAILED:
        # As allocators do.
        moved = new(more)
        ctypes.memmove(moved, at, pages * PAGE)
        libc.munmap(at, pages * PAGE)
    region[:] = [moved, more]

def allocate(rng):
    blocks = [bytearray(rng.randrange(1, 400_000)) for _ in range(8)]
    assert not any(block[-1] for block in blocks)
    libc.malloc_trim(0)

def step(seed, count, traps):
    rng = random.Random(seed)
    for _ in range(8 - len(regions)):
        make(rng)
    acts = [write] * 6 + [make, cut, protect, allocate] + [drop, grow] * traps
    for _ in range(count):
        rng.choice(acts)(rng)
        if not regions:
            make(rng)
    digest = hashlib.sha256()
    for at, pages in regions:
        digest.update(ctypes.string_at(at, pages * PAGE))
    return digest.hexdigest()
"#;
