//! The steps of a start, timed one by one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One step on the way to a running function process, or of a sandbox's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each is described by its line of the table")]
pub enum Step {
    MakeCgroup,
    SetLimits,
    ResetCounters,
    TakeRoot,
    SpawnInit,
    MigrateInit,
    TakeNetwork,
    MakeLink,
    SetUpNetwork,
    Message,
    Kill,
    DestroySockets,
    Check,
    Clone,
    MigrateFunction,
    EnterNamespaces,
    SwapRoot,
    MountProc,
    Confine,
    Seccomp,
    Run,
    RemoveLink,
    KillInit,
    RemoveCgroup,
    DropRoot,
}

/// What is known about a step: `(step, name, what it is, published cost with its source)`.
type Row = (Step, &'static str, &'static str, &'static str);

/// Every step once, in the order of a new start, a repurposed start, an end.
///
/// The published costs are those found in comments of the original system's code and in its papers' abstracts;
/// its own table of steps was not found, so most rows have none.
#[rustfmt::skip]
pub const STEPS: &[Row] = &[
    (Step::MakeCgroup,      "make cgroup",       "directories in each hierarchy",                  "not found"),
    (Step::SetLimits,       "set limits",        "memory, processor, number of processes",         "50 us (code comment)"),
    (Step::ResetCounters,   "reset counters",    "peaks and failures of the cgroup",               "not found"),
    (Step::TakeRoot,        "root tree",         "overlay: from the pool, or built",               "< 1 ms (talk)"),
    (Step::SpawnInit,       "spawn init",        "pid and net namespaces, resident init",          "not found"),
    (Step::MigrateInit,     "migrate init",      "into the v1 hierarchies",                        "not found"),
    (Step::TakeNetwork,     "take netns",        "enter a network namespace of the pool",          "not found"),
    (Step::MakeLink,        "make link",         "veth pair, one end on the bridge",               "netns in all: up to 600 ms under load"),
    (Step::SetUpNetwork,    "set up network",    "addresses, routes, links up",                    "in the netns figure"),
    (Step::Message,         "message",           "order to init and its answer, less its steps",   "not found"),
    (Step::Kill,            "kill old",          "every process of the old function, waited for",  "sometimes 4-5 ms (code comment)"),
    (Step::DestroySockets,  "destroy sockets",   "what the old function left in the netns",        "not found"),
    (Step::Check,           "check",             "fingerprint of the kept namespace",              "none: not done"),
    (Step::Clone,           "clone",             "pid, mount, ipc, uts namespaces; born in its cgroup", "391 us (spawn of criu)"),
    (Step::MigrateFunction, "migrate function",  "into its cgroup after birth",                    "not found"),
    (Step::EnterNamespaces, "enter namespaces",  "new cgroup namespace; or setns of the kept ones", "40 us (code comment)"),
    (Step::SwapRoot,        "swap root",         "move the detached tree in, change root",         "0.2 ms unmount + 0.8 ms bind (code comment)"),
    (Step::MountProc,       "mount proc",        "of the new pid namespace",                       "not found"),
    (Step::Confine,         "confine",           "host name, keyring, descriptors, user, capabilities", "not found"),
    (Step::Seccomp,         "seccomp",           "install the filter",                             "not found"),
    (Step::Run,             "run",               "until the program runs (exec, or its first instruction)", "not found"),
    (Step::RemoveLink,      "remove link",       "veth pair",                                      "not found"),
    (Step::KillInit,        "kill init",         "and with it everything inside",                  "not found"),
    (Step::RemoveCgroup,    "remove cgroup",     "directories in each hierarchy",                  "not found"),
    (Step::DropRoot,        "drop root",         "last reference to the file system",              "not found"),
];

impl Step {
    /// Its name for people and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// What is done in it.
    #[must_use]
    pub fn description(self) -> &'static str {
        self.row().2
    }

    /// What was published about it, with the kind of source; `not found` where nothing was.
    #[must_use]
    pub fn published(self) -> &'static str {
        self.row().3
    }

    /// Whether it belongs to the end of a sandbox, not to a start.
    #[must_use]
    pub fn is_of_an_end(self) -> bool {
        self >= Self::RemoveLink
    }

    fn row(self) -> &'static Row {
        STEPS.iter().find(|row| row.0 == self).expect("every step has a row")
    }
}

/// The steps of one start or one end, in the order in which they were done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Each with its duration.
    pub done: Vec<(Step, Duration)>,
    /// From the call to its result, with what lies between the steps.
    pub whole: Duration,
}

impl Steps {
    /// Time spent in one step; zero when it was not done.
    #[must_use]
    pub fn of(&self, step: Step) -> Duration {
        self.done.iter().filter(|(done, _)| *done == step).map(|(_, time)| *time).sum()
    }

    /// Notes a step that began at `since`, in nanoseconds of [`now`], and returns the present time.
    pub(crate) fn note(&mut self, step: Step, since: u64) -> u64 {
        let end = now();
        self.done.push((step, Duration::from_nanos(end.saturating_sub(since))));
        end
    }
}

/// Nanoseconds of the monotonic clock, which all processes of a machine share.
#[must_use]
pub fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_one_row() {
        for row in STEPS {
            assert_eq!(STEPS.iter().filter(|other| other.0 == row.0).count(), 1, "{}", row.1);
        }
        assert_eq!(Step::DropRoot as usize + 1, STEPS.len());
    }
}
