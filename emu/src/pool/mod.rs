//! Template pages in memory that several hosts share: CXL devices, and hosts that are asked by RDMA.
//!
//! Whatever holds the pages, a reader of them is a [`PageReader`]: it knows the table of hashes, and copies pages
//! by number. [`read_verified`] hands on no page whose hash is not the table's.
//!
//! * [`folder`]: a template's folder on a file system that maps a CXL device directly (ext4 with `dax=always`).
//! * [`device`]: a device that is mapped as a whole (`/dev/dax…`), with a [`directory`] of templates on it.
//! * [`rdma`]: a host that has registered its memory; reading takes none of its processors' time.
//! * [`region`] and [`namespace`] make such devices of CXL memory, on emulated and real hardware alike; [`node`] is for
//!   CXL memory that the kernel has made system memory, and [`online`] has it do so.
//! * [`survey`] reads a template from end to end, checks every page and says how fast that was.

pub mod device;
pub mod directory;
pub mod folder;
mod mapping;
pub mod namespace;
pub mod node;
pub mod online;
pub mod orders;
pub mod rdma;
pub mod region;
mod source;
pub mod survey;

pub use source::{PageReader, ReadError, read_verified};
