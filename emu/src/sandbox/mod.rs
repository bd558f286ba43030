//! Real sandboxes: created, repurposed for another function, and shown to be clean.
//!
//! # Processes
//!
//! ```text
//! manager (any program, any number of threads)
//!   └─ nursery          single-threaded, re-executed from the launcher, in an empty root of its own
//!        └─ init        one per sandbox: process 1 of its pid namespace, in its network namespace; resident
//!             └─ function   process 1 of its own pid, mount, ipc, uts and cgroup namespaces; new each time
//! ```
//!
//! * The *nursery* exists because a manager with threads must not run much code between `fork` and `exec`, and
//!   because forking a large process copies its page tables: about 0.1 ms for the nursery, milliseconds for a
//!   manager with gigabytes. It has one thread and a few hundred pages, so its copies may allocate and fail
//!   properly. A new init costs no `exec` at all.
//! * An *init* keeps what is dear to make (network namespace with its veth pair and addresses, membership of
//!   cgroups) and forks functions. It takes orders over a socket of its own; when that closes, or its nursery
//!   ends, it ends and the kernel ends everything inside. A killed manager leaves no process behind.
//! * A *function* gets every cheap namespace new, and its whole root as one detached overlay that was made
//!   outside. Most of what functions leave behind is thereby gone by construction; the rest (network namespace and
//!   cgroup) is compared with how it looked at first, and a sandbox that differs is destroyed. The init, which remembers
//!   the first look, starts nothing in it; the manager counts it. Settings, limits and memory that is still held are looked
//!   at where a function could have changed them, and before a sandbox goes back to a pool.
//! * Each sandbox has a port of its manager's bridge. Ports are isolated: sandboxes reach the host and not each other.
//!
//! # What is not hidden
//!
//! Counters of the network device and of protocols in a kept network namespace (`/proc/net/dev`, `netstat`) go
//! on counting, so a function can see how many packets its predecessors exchanged. Keys of a *user* have no namespace, and
//! all functions have the same user: the filter for system calls is what keeps them from keys.
//!
//! # Files
//! * [`program`]: what is asked for; [`steps`], [`labels`], [`fingerprint`], [`error`]: vocabulary.
//! * `manager`: the public side; `pool`: idle sandboxes, and a start in one of them.
//! * `nursery`, `init`, `inside`: the three kinds of process below it; `wire`: what they say to each other.
//! * [`seccomp`]: the filter; [`channel`]: one request and its answer.

pub mod channel;
pub mod error;
pub mod fingerprint;
mod init;
mod inside;
pub mod labels;
mod manager;
mod nursery;
mod pool;
pub mod program;
mod routines;
pub mod seccomp;
pub mod steps;
pub mod wire;

pub use crate::kernel::linux::Base;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use fingerprint::{Fingerprint, Part};
pub use inside::Inside;
pub(crate) use inside::restricted;
pub use labels::Label;
pub use manager::{
    Birth, Config, Ends, Function, LimitMet, MOST, Manager, Mode, OldLayer, Reset, Sandbox, Statistics,
};
pub use nursery::{Entries, Routine, enter_if_asked};
pub use pool::{Origin, Pool, Tenant};
pub use program::{Confinement, GIVEN, Limits, MOST_GIVEN, Program, Start};
pub use routines::ROUTINES;
pub use steps::{Step, Steps};

/// The argument that makes a launcher a nursery.
pub(crate) fn nursery_argument() -> &'static str {
    nursery::HIDDEN
}
