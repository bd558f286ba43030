//! Goal: a clone starts far sooner than a guest boots, and with little memory of its own; a full copy has all of it.
//! Method: the measurement itself, with one start by each of two methods. The factor here is a loose one, because tests
//! run beside others; the measurement tells the true one.

mod vm_common;

use emu::vm::{Method, bench};
use runs::MeasuredRow;
use vm_common::{MEMORY_MIB, bed};

fn median(rows: &[MeasuredRow], subject: &str, metric: &str, part: &str) -> f64 {
    let row = rows.iter().find(|row| row.subject == subject && row.metric == metric && row.part == part);
    row.and_then(|row| row.median).unwrap_or_else(|| panic!("no row {subject} {metric} {part}: {rows:?}"))
}

#[test]
fn clones_start_sooner_than_boots_and_share_what_copies_own() {
    let Some(bed) = bed() else { return };
    let methods = [Method::VanillaCh, Method::E2b];
    let rows = bench::starts(&bed.setting, &methods, &[MEMORY_MIB], 1).expect("it is measured");
    let (boot, clone) = (median(&rows, "boot", "start", ""), median(&rows, "e2b", "start", ""));
    assert!(boot > 8.0 * clone, "boot {boot} ms, clone {clone} ms");
    let own = |subject| median(&rows, subject, "memory", "guest, its own");
    assert!(own("e2b") <= 0.2 * own("boot"), "clone {} MiB, booted {} MiB", own("e2b"), own("boot"));
    assert!(own("vanilla-ch") >= f64::from(MEMORY_MIB), "{} MiB", own("vanilla-ch"));
    let sum = |subject: &str| -> f64 {
        let steps = rows.iter().filter(|row| row.subject == subject && row.metric == "step");
        steps.filter_map(|row| row.median).sum()
    };
    for (subject, whole) in [("e2b", clone), ("vanilla-ch", median(&rows, "vanilla-ch", "start", ""))] {
        assert!((sum(subject) - whole).abs() <= 0.02 * whole, "{subject}: {} of {whole} ms", sum(subject));
    }
}
