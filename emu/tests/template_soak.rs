//! Templates attached in sandboxes by every way, called and killed, leave nothing behind.

mod template_common;

use std::time::Duration;

use emu::bench_template::synthetic;
use emu::doctor::skip_without;
use emu::sandbox::{Config, Mode};
use emu::template::soak;
use template_common::served::SERVED;
use template_common::{NEEDS, Place, base, lacks};

#[test]
fn nothing_grows_while_templates_come_and_go() {
    if skip_without(&[NEEDS, SERVED, soak::NEEDS].concat()) || lacks("python3") {
        return;
    }
    let place = Place::new();
    let launcher = env!("CARGO_BIN_EXE_trenvx-function").into();
    let config = Config { launcher, base: base(), network: false, ..Config::new(Mode::Repurpose) };
    let subject = synthetic(8, place.folder.path()).unwrap();
    let soak = soak::run(config, &subject, Duration::from_secs(6), 3, |_| {}).unwrap();
    assert!(soak.attached.iter().all(|(_, count)| *count > 0) && soak.killed > 0, "{soak:?}");
    let (before, after) = (&soak.states[soak.states.len() / 2], soak.states.last().unwrap());
    assert!(after.grown_since(before).is_empty(), "{:?} {:#?}", after.grown_since(before), soak.states);
}
