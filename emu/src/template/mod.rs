//! Memory templates: the state of a real process, captured once and attached many times without copying.
//!
//! [`capture()`] stops a function that waits for its next request and writes what it is into a [`Store`].
//! [`Prepared`] makes new processes of it in sandboxes, as often as wanted: their memory is a private mapping of the
//! template's pages, so that a page which is only read is there once.
//!
//! * `manifest`, [`pages`]: the format. [`store`]: where templates lie. `machine`: where they can be attached.
//! * `capture`: from a process to a template. `attach`: from a template to a process.
//! * [`groups`]: which pages a request reads and writes.
//!
//! # Where a private mapping is not memory of one's own
//!
//! | what a program does | own memory | mapping of a template | so |
//! |---|---|---|---|
//! | `MADV_DONTNEED`, then read | zeros | would be the template's bytes | the guard of the process writes zeros: right, but the pages stay in use |
//! | the same of written data of a library | the file's bytes | would be the template's | `EINVAL`, as for locked memory |
//! | `MADV_FREE` | pages go when memory is short | `EINVAL` | allocators fall back to `MADV_DONTNEED` |
//! | `mremap` to grow or move | zeros at the end | would be the next bytes of the file | `ENOMEM`, and allocators copy |
//! | grow the stack | by itself | files cannot | the main stack is copied |
//! | `brk` up, down | zeros | zeros: what is given back is unmapped | nothing |
//!
//! The guard (`attach::guard`) is asked by the filter for system calls, where a drop or a move touches addresses that
//! came from the template, and nowhere else. [`Backing::Copy`] and [`Backing::Fault`] have memory of their own and
//! need none of it.
//!
//! A run of absent pages within an area becomes memory of its own, so nothing is written to the template's file.

pub mod attach;
pub mod capture;
mod error;
pub mod groups;
mod hex;
pub mod inspect;
mod known;
mod machine;
pub mod manifest;
pub mod pages;
mod sharing;
pub mod store;
mod subject;
pub mod usage;

pub use attach::{Attached, Backing, ENTRY, Prepared, ROUTINE, Served};
pub use capture::{Request, capture};
pub use error::Error;
pub use store::{Scratch, Store, Template};
pub use subject::Subject;
