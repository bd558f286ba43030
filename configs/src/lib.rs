//! Experiments as data: raw → checked → spec.

pub mod spec;

pub use spec::{Spec, Tier};
