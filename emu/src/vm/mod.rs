//! MicroVMs: booted once, kept as a template, and cloned from it.
//!
//! A *template* is a guest that was booted, whose agent got warm, and that was then stopped: its memory, and the
//! state of its devices. A *clone* is a new VMM whose guest memory is a private mapping of the template's and whose
//! devices load that state: nothing is copied before a page is written, so what a start costs does not depend on
//! how much memory the guest has.
//!
//! ```text
//! image  (scripts/vm-image)     kernel, initial file system, one read-only root for all
//!   └─ template                 boot, warm up, stop, keep: a sealed file in memory, and a folder to load it from
//!        └─ clone 1 … n         sandbox → VMM → devices → first reply, by one of the rows (Method)
//! ```
//!
//! The VMM is QEMU, in the same sandbox as a container's function: namespaces, cgroup, no capabilities, the filter for
//! system calls. Whatever it needs comes to it as open descriptors, so its sandbox holds no file of the machine
//! but the installed programs. The guest's agent answers over a virtio port; its network device ends in the VMM, which
//! makes the guest's connections in its sandbox's network namespace.
//!
//! # Architecture invariants
//! * No clone can change a template: its memory is sealed against writing before the first clone gets it.
//! * The root image is never copied, and never written: guests put a writable layer of bounded size over it.
//! * What runs under software emulation says so in every row ([`Accelerator`]).
//!
//! # Files
//! * `image` (and `whole`: whether it is), `accelerator`, `machine`: what a guest consists of; `room`: whether there is
//!   memory for it; `launch`: how the VMM comes into its sandbox.
//! * `qmp`: the VMM's own channel; `guest`: one guest and how it may end; `guest/` is what runs inside.
//! * `lazy`: guest memory that comes when it is touched; `remote`: system calls that a VMM is made to do.
//! * [`template`], `host`: templates, and starts by each of the rows; `manifest`: what is known of a template.
//! * [`account`]: whose memory is what. [`mod@bench`]: the measurements. [`clean`]: what killed makers left.

mod accelerator;
pub mod account;
pub mod bench;
pub mod clean;
mod error;
mod guest;
mod host;
mod image;
mod launch;
mod lazy;
mod machine;
mod manifest;
mod memory;
mod qmp;
mod remote;
pub(crate) mod room;
pub mod template;
mod whole;

pub use accelerator::Accelerator;
pub use error::Error;
pub use guest::{Vm, Watcher};
pub use host::{Host, Method, Started, Steps};
pub use image::Image;
pub use launch::ROUTINE;
pub use lazy::{Lazily, Served};
pub use machine::{Machine, RootDevice};
pub use manifest::Manifest;
pub use template::Template;
