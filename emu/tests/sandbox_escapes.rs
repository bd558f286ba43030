//! Attempts to get out are refused, with the error that the table names.
//!
//! Each is made twice: by a usual function, and by one without the filter for system calls, so that the layers
//! below it are seen to hold by themselves.

mod common;

use std::collections::BTreeMap;

use common::{NEEDS, ask, function, manager, ready};
use emu::doctor::skip_without;
use emu::sandbox::{Confinement, Mode};
use serde_json::json;

/// Attempt, error for a usual function, error without the filter.
type Row = (&'static str, &'static str, &'static str);

#[rustfmt::skip]
const ATTEMPTS: &[Row] = &[
    ("mount", "EPERM", "EPERM"),
    ("mount-cgroup", "EPERM", "EPERM"),
    ("remount-proc", "EPERM", "EPERM"),
    ("umount", "EPERM", "EPERM"),
    ("new-mount-api", "EPERM", "EPERM"),
    ("pivot-root", "EPERM", "EPERM"),
    ("chroot", "EPERM", "EPERM"),
    ("mknod", "EPERM", "EPERM"),
    ("setns", "EPERM", "EPERM"),
    ("unshare-user", "EPERM", "EPERM"),
    ("unshare-net", "EPERM", "EPERM"),
    ("clone-user", "EPERM", "EPERM"),
    ("write-core-pattern", "EPERM", "EPERM"),
    ("write-net-setting", "EPERM", "EPERM"),
    ("write-sysrq", "EPERM", "EPERM"),
    ("write-oom-score-of-init", "EPERM", "EPERM"),
    ("write-cgroup", "EPERM", "EPERM"),
    ("read-kernel-memory", "EPERM", "EPERM"),
    ("read-host-root", "EPERM", "EPERM"),
    ("ptrace-init", "EPERM", "EPERM"),
    ("read-memory-of-init", "EPERM", "EPERM"),
    ("raw-socket", "EPERM", "EPERM"),
    ("packet-socket", "EPERM", "EPERM"),
    ("set-address", "EPERM", "EPERM"),
    ("kexec", "EPERM", "EPERM"),
    ("module", "EPERM", "EPERM"),
    ("reboot", "EPERM", "EPERM"),
    ("bpf", "EPERM", "EPERM"),
    ("perf", "EPERM", "EPERM"),
    ("userfaultfd-kernel-mode", "EPERM", "EPERM"),
    ("open-by-handle", "EPERM", "EPERM"),
    ("io-uring", "EPERM", "EPERM"),
    ("add-key", "EPERM", "EPERM"),
    ("set-clock", "EPERM", "EPERM"),
    ("set-host-name", "EPERM", "EPERM"),
    ("become-root", "EPERM", "EPERM"),
    ("lower-nice", "EPERM", "EPERM"),
    ("kernel-log", "EPERM", "EPERM"),
    ("swap", "EPERM", "EPERM"),
    ("port-access", "EPERM", "EPERM"),
    ("call-of-the-future", "EPERM", "EPERM"),
    ("give-file-capability", "EPERM", "EPERM"),
];

/// `done`: the kernel lets everybody do it to themselves, and the filter is what refuses it.
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
    let expected: BTreeMap<_, _> = ATTEMPTS.iter().map(|(name, usual, _)| (*name, (*usual).to_owned())).collect();
    assert_eq!(attempt(Confinement::default()), expected);
}

#[test]
fn without_the_filter_the_layers_below_refuse() {
    if skip_without(NEEDS) {
        return;
    }
    let expected: BTreeMap<_, _> = ATTEMPTS.iter().map(|(name, _, bare)| (*name, (*bare).to_owned())).collect();
    assert_eq!(attempt(Confinement { seccomp: false, ..Confinement::default() }), expected);
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
