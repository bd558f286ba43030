//! Vocabulary and control plane of serverless sandboxes.
//!
//! This package performs no I/O, reads no clock, spawns no thread, holds no `unsafe`, and knows
//! neither TOML nor CSV. The simulator and the emulator drive the same code: a policy cannot tell
//! which world it is in.
#![forbid(unsafe_code)]

pub mod control;
pub mod ids;
pub mod memory;
pub mod policy;
pub mod profile;
pub mod recorder;
pub mod records;
pub mod system;

pub use control::{Command, ControlConfig, ControlPlane, EvictReason, Input, Timer};
pub use ids::{NodeId, SandboxId, Ticket};
pub use memory::{Behaviour, ByClass, Content, MemoryClass, PageGroups};
pub use profile::Profile;
pub use records::{Outcome, RunRecord, StartKind};
