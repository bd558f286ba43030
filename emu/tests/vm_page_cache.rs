//! Goal: guests that read the same file by virtio-pmem share one copy of it, on the host; by virtio-blk each has one
//! of its own beside. Method: the measurement itself, with two guests.

mod vm_common;

use emu::vm::bench;
use runs::MeasuredRow;
use vm_common::{MEMORY_MIB, bed};

fn value(rows: &[MeasuredRow], panel: &str, subject: &str, part: &str) -> f64 {
    let row = rows.iter().find(|row| {
        row.panel == panel && row.subject == subject && row.metric == "page cache" && row.part == part
    });
    row.and_then(|row| row.median).unwrap_or_else(|| panic!("no row {panel} {subject} {part}: {rows:?}"))
}

#[test]
fn bypassing_guests_share_one_copy() {
    let Some(bed) = bed() else { return };
    let rows = bench::page_cache(&bed.setting, MEMORY_MIB + 64, 2, &[100]).expect("it is measured");
    let file = (bed.setting.image.about.data_bytes >> 20) as f64;
    let about = |value: f64, copies: f64| (value - copies * file).abs() <= 0.1 * file;
    let sum = |panel: &str, subject: &str| {
        value(&rows, panel, subject, "in the guests") + value(&rows, panel, subject, "on the host")
    };
    for (panel, copies) in [("1 VM, 100 MiB", 1.0), ("2 VMs, 100 MiB", 1.0)] {
        let pmem = sum(panel, "virtio-pmem, DAX");
        assert!(about(pmem, copies), "{panel}: {pmem} MiB by virtio-pmem");
    }
    // The host has read what guests touched, and nothing around it.
    let ahead =
        |row: &&MeasuredRow| row.part == "read ahead by the host" && row.subject == "virtio-pmem, DAX";
    let ahead: Vec<_> = rows.iter().filter(ahead).filter_map(|row| row.median).collect();
    assert!(ahead.len() == 2 && ahead.iter().all(|mib| *mib < 2.0), "{ahead:?} MiB");
    let goals = bench::goals_of_page_cache(&rows);
    assert!(goals.len() == 2 && goals.iter().all(|goal| goal.met == Some(true)), "{goals:?}");
    for (panel, copies) in [("1 VM, 100 MiB", 2.0), ("2 VMs, 100 MiB", 3.0)] {
        let blk = sum(panel, "virtio-blk");
        assert!(about(blk, copies), "{panel}: {blk} MiB by virtio-blk");
    }
}
