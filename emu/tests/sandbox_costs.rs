//! Repurposing is worth it on the machine that runs the tests.

mod common;

use common::{NEEDS, config};
use emu::bench_sandbox::{Settings, Way, run, table};
use emu::doctor::skip_without;
use emu::sandbox::{Mode, Program};

/// The machine may be busy with other tests, so the bound is far below what a quiet machine shows; the figures
/// are printed, and `trenvx emu bench sandbox` measures them properly.
#[test]
fn a_repurposed_start_is_much_shorter_than_a_new_one() {
    if skip_without(NEEDS) {
        return;
    }
    let long = std::env::var_os("TRENVX_LONG").is_some();
    let (ways, starts) = if long { (vec![1, 4, 16], 300) } else { (vec![1], 30) };
    let modes = if long { Way::ALL.to_vec() } else { vec![Way::New, Way::Repurpose] };
    let config = emu::sandbox::Config { ready: 32, ..config(Mode::New) };
    let settings = Settings { config, program: Program::call("pause", [""; 0]), ways, starts, modes };
    let rows = run(&settings).unwrap();
    println!("{}", table(&rows));
    let whole = |way| {
        let row = rows.iter().find(|row| row.way == way).expect("it was asked for");
        row.start.median_us + row.destroy.map_or(0.0, |destroy| destroy.median_us)
    };
    let ratio = whole(Way::New) / whole(Way::Repurpose);
    assert!(ratio > 3.0, "new and its end / repurposed = {ratio:.1}");
}
