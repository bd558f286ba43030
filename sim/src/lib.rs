//! The simulated world: a discrete-event simulator of sandbox reuse and template restore.
//!
//! A run is a pure function of (checked spec, workload, [`MODEL_VERSION`]): same bytes out,
//! whatever the thread count. Randomness lies in the workload alone, which is drawn from the seed's
//! named streams before the run.
#![forbid(unsafe_code)]

mod accounting;
mod bare;
mod costs;
mod engine;
mod queue;
mod recorder;
mod shared;
mod world;

pub use bare::bare_loop;
pub use engine::{Play, simulate};
pub use world::SimulatedWorld;

/// Version of the model. Results of different versions are different runs; golden numbers move
/// only with it.
pub const MODEL_VERSION: u32 = 1;
