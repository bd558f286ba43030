//! The guest lab: virtual machines that have what this machine lacks, CXL memory and RDMA between hosts.
//!
//! A lab is one or more QEMU guests with a distribution's kernel. They see this machine's files read-only under a
//! writable layer and run the same `trenvx`; a control channel carries commands, what they print, and how they
//! end. The devices are emulated, so what is found here is true in function and never in time: every result says
//! which accelerator it came from.
//!
//! * [`image`]: the kernel and first file system that guests boot, made once by `trenvx emu guest build`.
//! * [`lab`]: boots and ends guests; [`node`] is the host's end of one, [`agent`] the guest's, [`wire`] between
//!   them; [`switch`] is the network between guests, [`accelerator`] decides between KVM and TCG.
//! * [`leftovers`] finds guests whose lab is gone.
//!
//! Guests and their helpers need no root on the host, and open no port on it.

pub mod accelerator;
pub mod agent;
pub mod image;
mod initramfs;
pub mod lab;
pub mod leftovers;
mod modules;
pub mod node;
mod qemu;
pub mod switch;
pub mod wire;

pub use lab::{Backing, Lab, LabError, Spec};
pub use modules::ModulesError;
pub use node::{Ended, Event, Job, Node, NodeError};
pub use qemu::{Accelerator, CXL_STEP_MIB};

/// Name of the image's folder in the folder of all outputs.
pub const FOLDER: &str = "guest";
/// Name of the folder of labs' logs there: one for each process that boots some.
pub const LOGS: &str = "labs";
