//! From trees to checked types: one file per part of the spec.

mod agents;
pub(crate) mod cluster;
pub(crate) mod constants;
pub(crate) mod emu;
pub(crate) mod faults;
pub(crate) mod figures;
pub(crate) mod machine;
pub(crate) mod measure;
pub(crate) mod profiles;
pub(crate) mod systems;
pub(crate) mod workload;
