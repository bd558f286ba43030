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
//! | `MADV_DONTNEED`, then read | zeros | the template's bytes | the C library, CPython and V8 do not count on zeros (their suites show it); for allocators that do, such as jemalloc: [`Backing::Copy`] or [`Backing::Fault`] |
//! | `MADV_FREE` | pages go when memory is short | `EINVAL` | allocators fall back to `MADV_DONTNEED` |
//! | `mremap` to grow a part | zeros | the next bytes of the file | after each run of pages lies a gap, and zeros are not in the file; growing a whole area that has a tail of its own fails, and allocators copy |
//! | grow the stack | by itself | files cannot | the main stack is copied |
//! | `brk` up, down | zeros | zeros: what is given back is unmapped | nothing |
//!
//! A run of absent pages within an area becomes memory of its own, so nothing is written to the template's file.

pub mod attach;
pub mod capture;
mod error;
pub mod groups;
pub mod inspect;
mod known;
mod machine;
pub mod manifest;
pub mod pages;
pub mod store;
mod subject;
pub mod usage;

pub use attach::{Attached, Backing, ENTRY, Prepared, ROUTINE, Served};
pub use capture::{Request, capture};
pub use error::Error;
pub use store::{Scratch, Store, Template};
pub use subject::Subject;
