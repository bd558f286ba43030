//! The simulated world: a discrete-event simulator of sandbox reuse and template restore.
//!
//! A run is a pure function of (checked spec, workload, [`MODEL_VERSION`]): same bytes out,
//! whatever the thread count. The workload is drawn from the seed's named streams before the run; the
//! few draws of the model itself (churn, varying reads, random placement) come from streams of their
//! own.
#![forbid(unsafe_code)]

mod accounting;
mod agents;
mod bare;
mod cell;
mod costs;
mod device;
mod engine;
mod processor;
#[cfg(test)]
mod processor_reference;
mod queue;
mod reads;
mod shared;
mod timeline;
mod warnings;
mod world;

pub use bare::bare_loop;
pub use engine::{Play, needs_numbers, simulate, simulate_in_parts, simulate_sharded};
pub use world::SimulatedWorld;

/// Version of the model. Results of different versions are different runs; golden numbers move
/// only with it.
pub const MODEL_VERSION: u32 = 5;
