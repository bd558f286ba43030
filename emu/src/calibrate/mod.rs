//! What was measured on this machine becomes the constants of a machine file, which the simulator reads.
//!
//! Measurements are those of the experiments that measure a machine without a workload (`out/measurements/*.json`) and of
//! `trenvx emu bench pager --format json`. A time is taken only where it means something: not from a debug build, and not
//! from an emulated device or processor, whose rows say so. What is counted is taken from there, too. `RULES` says which
//! constant is made of what; a constant that nothing here gives keeps the value and the source that it had.

mod file;
mod found;

use std::collections::BTreeMap;

pub use file::{FileError, changed};
pub use found::{Found, PagerBench, ReadError, Value};

/// What a constant is made of.
#[derive(Clone, Copy, Debug)]
enum Of {
    /// Of this way to obtain a sandbox, one at a time: the steps, of e01.
    Steps(&'static str, &'static [&'static str]),
    /// A single fault that the page server serves from local memory with a copy, on the core of the process.
    Fault,
    /// The share of pages that are in an earlier template of the same run, of e03: a count.
    Alike,
}

/// A constant and what it is made of.
struct Rule {
    section: &'static str,
    key: &'static str,
    of: Of,
}

const fn rule(section: &'static str, key: &'static str, of: Of) -> Rule {
    Rule { section, key, of }
}

/// Which constants are made of what. Left out are those that no step is: the runtime's own time (`runtime`), the part of
/// a namespace's end that holds the lock (`netns_destroy`), the mean of a move between cgroups (`cgroup_migrate`), a fork
/// apart from the call that it is for (`zygote_fork`), and what is split between regions, pages and threads (`attach`,
/// `attach_region`, `criu_page`).
const RULES: &[Rule] = &[
    rule("sandbox", "netns_create", Of::Steps("new", &["spawn init", "make link", "set up network"])),
    rule("sandbox", "netns_enter", Of::Steps("repurpose", &["enter namespaces"])),
    rule("sandbox", "rootfs_mount", Of::Steps("new", &["root tree", "swap root", "mount proc", "seccomp"])),
    rule("sandbox", "rootfs_swap", Of::Steps("repurpose", &["root tree", "swap root", "mount proc"])),
    rule("sandbox", "cgroup_create", Of::Steps("new", &["make cgroup", "set limits"])),
    rule("sandbox", "cgroup_limits", Of::Steps("repurpose", &["set limits"])),
    rule("sandbox", "spawn", Of::Steps("repurpose", &["clone"])),
    rule("sandbox", "kill", Of::Steps("repurpose", &["kill old"])),
    rule("restore", "identical", Of::Alike),
    rule("fault", "userfaultfd", Of::Fault),
];

/// What became of the constants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration {
    /// New values by section and key.
    pub values: BTreeMap<(String, String), Value>,
    /// Constants that could have come from a measurement whose times mean nothing, and why they do not.
    pub refused: Vec<String>,
    /// What was counted and is no constant of a machine: for profiles of functions.
    pub counts: Vec<String>,
}

/// What the measurements give. Of several that give the same constant, the last one counts.
#[must_use]
pub fn calibrate(found: &[Found]) -> Calibration {
    let mut calibration = Calibration::default();
    for one in found {
        for Rule { section, key, of } in RULES {
            let Some(value) = one.value(*of) else { continue };
            match one.unreal(&value).filter(|_| value.is_time()) {
                Some(why) => calibration.refused.push(format!("{section}.{key}: {}: {why}", value.origin)),
                None => {
                    calibration.values.insert(((*section).to_owned(), (*key).to_owned()), value);
                }
            }
        }
        calibration.refused.extend(one.times_of_pools());
        calibration.counts.extend(one.counts_of_pools());
    }
    calibration
}

#[cfg(test)]
mod tests;
