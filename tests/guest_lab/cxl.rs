//! CXL devices that guests share: as files, as a whole, and as a node of system memory.

use emu::guest::{Ended, Job};

use crate::house::{FILLER, HOST, House, MINUTE, READER};

/// The guest that fills it makes the devices: one that is mapped as a whole, one for files.
pub fn devices_are_made(house: &House) {
    assert_eq!(house.pool(FILLER, "device --mode devdax --mib 96").trim(), "/dev/dax0.0");
    house.pool(FILLER, "device --mode fsdax --mib 256 --mount /mnt/pool");
    // Once made, the same device is found.
    assert_eq!(house.pool(FILLER, "device --mode devdax").trim(), "/dev/dax0.0");
    house.refused(FILLER, "list --device /dev/dax0.0", "emu pool format");
    house.pool(FILLER, "format --device /dev/dax0.0");
    house.pool(FILLER, "fill --device /dev/dax0.0 --name python @template");
    house.pool(FILLER, "fill --mount /mnt/pool --name python @template");
}

/// The others find what is there, and read it.
pub fn one_guest_fills_and_all_read(house: &House) {
    let folder = house.pool(FILLER, "read --folder /mnt/pool/python");
    assert!(folder.contains(r#""source":"cxl-fsdax","pages":1792"#), "{folder}");
    assert!(folder.contains(r#""emulated_by":"tcg""#), "{folder}");
    house.shell(FILLER, "sync");
    for node in [HOST, READER] {
        house.pool(node, "device --mode devdax --read-only");
        house.pool(node, "device --mode fsdax --read-only --mount /mnt/pool");
        let device = house.pool(node, "read --device /dev/dax0.0 --name python");
        assert!(device.contains(r#""source":"cxl-devdax","pages":1792"#), "{device}");
        house.pool(node, "read --folder /mnt/pool/python");
    }
    house.refused(READER, "read --device /dev/dax0.0 --name ruby", "no template ruby");
    house.refused(READER, "read --folder @template", "not mapped directly");
}

/// Every byte of a private mapping is written, in a guest that may write to the device.
pub fn stores_go_to_local_memory_and_never_to_the_device(house: &House) {
    let write = "import mmap
with open('/mnt/pool/python/pages', 'rb') as f:
    m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY)
for page in range(0, len(m), 4096):
    m[page] ^= 255
assert m[0] != open('/mnt/pool/python/pages', 'rb').read(1)[0]
";
    house.python(FILLER, write);
    for node in [HOST, FILLER, READER] {
        house.pool(node, "read --folder /mnt/pool/python");
    }
}

pub fn two_guests_fill_at_once(house: &House) {
    let jobs: Vec<Job<'_>> = [FILLER, READER]
        .into_iter()
        .flat_map(|node| {
            let own = house.start(node, &format!("fill --device /dev/dax0.0 --name own{node} @other"));
            [own, house.start(node, "fill --device /dev/dax0.0 --name same @other")]
        })
        .collect();
    let ends: Vec<Ended> = jobs.into_iter().map(|job| job.wait(MINUTE).expect("an end")).collect();
    assert!(ends[0].is_success() && ends[2].is_success(), "{ends:?}");
    // Exactly one of both has the name, and the other is told so.
    assert_ne!(ends[1].is_success(), ends[3].is_success(), "{ends:?}");
    let loser = if ends[1].is_success() { &ends[3] } else { &ends[1] };
    assert!(loser.errors.contains("has a template same already"), "{loser:?}");
    for (node, name) in [(FILLER, "own3"), (READER, "own2"), (HOST, "same"), (READER, "same")] {
        house.pool(node, &format!("read --device /dev/dax0.0 --name {name}"));
    }
}

pub fn a_full_device_says_so(house: &House) {
    let mut filled = 0;
    let full = loop {
        let ended = house.run(FILLER, &format!("fill --device /dev/dax0.0 --name filler{filled} @template"));
        if !ended.is_success() {
            break ended;
        }
        filled += 1;
    };
    assert!(full.errors.contains("the pool is full: 10 MiB are wanted"), "{full:?}");
    house.pool(READER, &format!("read --device /dev/dax0.0 --name filler{}", filled - 1));
    // What is given back can be used again.
    house.pool(READER, "remove --device /dev/dax0.0 filler0");
    house.pool(READER, "fill --device /dev/dax0.0 --name again @template");
    house.pool(FILLER, "read --device /dev/dax0.0 --name again");
}

/// A third device is given to the kernel as system memory: a node, whose memory a tmpfs has.
pub fn a_node_of_cxl_memory_holds_templates(house: &House) {
    let doctor = |status: &str, detail: &str| {
        let report = house.shell(FILLER, "trenvx --out /tmp/out doctor --format json");
        let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
        let checks = report["checks"].as_array().expect("checks");
        let row = checks.iter().find(|row| row["facility"] == "cxl-node").expect("a row");
        assert_eq!(row["status"], status, "{row}");
        assert!(row["detail"].as_str().expect("text").starts_with(detail), "{row}");
    };
    doctor("missing", "no node has memory and no processors");
    house.refused(FILLER, "device --mode node --mount /mnt/node", "--online /dev/dax0.0");
    house.refused(FILLER, "device --mode node --online /dev/dax9.9 --mount /mnt/node", "is no DAX device");
    house.shell(FILLER, "ndctl create-namespace --mode devdax --map mem --size 512M");
    let device = house.shell(FILLER, "ls /dev/dax* | grep -vx /dev/dax0.0");
    let made =
        house.pool(FILLER, &format!("device --mode node --online {} --mount /mnt/node", device.trim()));
    // Whole blocks of 128 MiB of what is left beside the device's own records.
    assert_eq!(made.trim(), "node 1, 384 MiB");
    doctor("ok", "node1 (384 MiB)");
    house.pool(FILLER, "fill --mount /mnt/node --name python @template");
    let read = house.pool(FILLER, "read --folder /mnt/node/python");
    assert!(read.contains(r#""source":"cxl-node","pages":1792"#), "{read}");
    // Where its pages lie, and where a process's own copies of them do.
    let look = "import mmap
f = open('/mnt/node/python/pages', 'rb')
m = mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
def nodes():
    line = next(line for line in open('/proc/self/numa_maps') if '/mnt/node/python/pages' in line)
    words = dict(word.split('=') for word in line.split() if '=' in word)
    return [int(words.get(key, 0)) for key in ('N0', 'N1', 'anon')]
sum(m[page] for page in range(0, len(m), 4096))
print(nodes())
for page in range(100):
    m[page * 4096] ^= 255
print(nodes())
";
    let looked = house.python(FILLER, look);
    let lines: Vec<&str> = looked.lines().collect();
    // Every eighth page is a gap, which comes from local memory, as do the copies: 88 of pages and 12 of gaps.
    assert_eq!(lines, ["[256, 1792, 0]", "[344, 1704, 100]"]);
    house.pool(FILLER, "read --folder /mnt/node/python");
}
