//! What this machine can do: one small check per facility.
//!
//! Every check answers with a word: [`Status::Ok`], [`Status::Degraded`] with the fallback that is used
//! instead, or [`Status::Missing`] with what would fix it. A check that can be harmless really uses its
//! facility (mounts an overlay, freezes a cgroup, copies a page through userfaultfd); it does so in a child
//! process with a deadline, so that the caller's own process is never changed and never hangs. Nothing is
//! left behind, and a check never fails: without privileges it reports what is missing.
//!
//! The findings are saved with every run, tests skip by them, and claims that they rule out say NOT RUN.
//!
//! * `checks/`: one file per group of facilities; `checks::ALL` is the one table of them.
//! * `child`: forked probes; `tool`: installed programs; `host`: the files that checks read.

mod checks;
mod child;
mod host;
mod machine;
mod private;
mod report;
mod skip;
mod table;
mod tool;

pub use checks::facilities;
pub use host::{Host, Said};
pub use machine::Machine;
pub use report::{Check, Group, Report, Status};
pub use skip::{lacking, skip, skip_without};

/// Examines this machine: describes it and runs every check. Takes a second or two.
#[must_use]
pub fn examine() -> Report {
    examine_host(&Host::this())
}

/// Examines `host`, whose files may lie under another root than `/`. Checks that need no file still ask the
/// running kernel.
#[must_use]
pub fn examine_host(host: &Host) -> Report {
    let checks = checks::ALL.iter().map(|probe| probe.examine(host)).collect();
    Report::new(Machine::describe(host), checks)
}
