//! Attempts to get out are refused, with the error that the table names.
//!
//! Each is made twice: by a usual function, and by one without the filter for system calls, so that the layers
//! below it are seen to hold by themselves.

mod common;
mod sandbox_attempts;

use std::collections::BTreeMap;

use common::{NEEDS, ask, function, manager, ready};
use emu::doctor::skip_without;
use emu::sandbox::{Confinement, Mode};
use sandbox_attempts::ATTEMPTS;
use serde_json::json;

fn attempt(confinement: Confinement) -> BTreeMap<&'static str, String> {
    let manager = manager(Mode::New);
    let mut program = function();
    program.confinement = confinement;
    let mut sandbox = manager.create(&program).unwrap();
    ready(&mut sandbox);
    ATTEMPTS
        .iter()
        .map(|(name, ..)| {
            let answer = ask(&mut sandbox, name, json!({}));
            (*name, answer.map_or_else(|error| error, |_| "done".to_owned()))
        })
        .collect()
}

#[test]
fn a_usual_function_is_refused() {
    if skip_without(NEEDS) {
        return;
    }
    let expected: BTreeMap<_, _> =
        ATTEMPTS.iter().map(|(name, usual, _)| (*name, (*usual).to_owned())).collect();
    assert_eq!(attempt(Confinement::default()), expected);
}

#[test]
fn without_the_filter_the_layers_below_refuse() {
    if skip_without(NEEDS) {
        return;
    }
    let answers = attempt(Confinement { seccomp: false, ..Confinement::default() });
    for (name, _, bare) in ATTEMPTS {
        let answer = answers[name].as_str();
        let as_expected = match *bare {
            "any" => true,
            "refused" => answer != "done",
            error => answer == error,
        };
        assert!(as_expected, "{name}: {answer}, not {bare}");
    }
}

/// Root inside, as far as its number goes, but without capabilities.
#[test]
fn a_function_that_is_root_by_number_is_refused_all_that_needs_a_capability() {
    if skip_without(NEEDS) {
        return;
    }
    let answers = attempt(Confinement { user: 0, ..Confinement::default() });
    for name in ["mount", "setns", "mknod", "raw-socket", "kexec", "bpf", "ptrace-init"] {
        assert_eq!(answers[name], "EPERM", "{name}");
    }
}
