//! The simulated world: a discrete-event simulator of sandbox reuse and template restore.
//!
//! A run is a pure function of (checked spec, workload, [`MODEL_VERSION`]): same bytes out,
//! whatever the thread count. The workload is drawn from the seed's named streams before the run; the
//! few draws of the model itself (churn, varying reads, random placement) come from streams of their
//! own.
//!
//! # What makes it fast, what was tried, what is missing
//!
//! `trenvx bench sim` measures it. The job of these figures is ten million invocations on 1,000 nodes
//! under `faasd`, held in memory (in the last row drawn in blocks); goal: 8 million a second, 125 ns. Times move by a fifth with the machine's
//! other work; the machine has no performance counters, so instructions are cachegrind's.
//!
//! | step | ns | what |
//! |---|---|---|
//! | before | 173 | arrivals merged with the queue, a lane for timers in order, keys of 16 bytes in a 4-ary heap whose four children are a cache line, processors without virtual time until they are overloaded, records put off and entered many at a time |
//! | neighbours | 149 to 160 | what a use of a sandbox touches beside it: lists by group and node are made when first asked for (`platform`'s `control/lists.rs`), places on a processor are a table instead of a list through the jobs, half a line for each function (`costs::Brief`) instead of four; a warm start that is nothing but service is entered once, and counted in its six counts and distributions at the end (`platform`'s `recorder.rs`). About 2,040 instructions. The goal was missed by 16 to 22 % |
//! | straight on | 140 | an arrival and an end know their function of the control plane where they are called; what nearly all invocations do is inlined, what few do is not. 0.31 of the bare loop's rate. The goal is missed by 11 % |
//!
//! It seems bound by instructions rather than by memory: what is left is spread over the whole way of an
//! invocation, the queue being the largest part (a quarter of the samples of a profile). Tried and left out:
//! - link-time optimisation of the whole program in one unit: slower than `thin` in four;
//! - huge pages for slabs and histograms: no difference;
//! - a heap of eight children instead of four: published measurements have it slower below 10^4 pending
//!   events;
//! - prefetching the next arrival's function: needs `unsafe`, which this package does without, and memory is
//!   not what it waits for.
//!
//! Not tried: calendar buckets in front of the heap (published measurements have them slower than a 4-ary
//! heap below 10^4 pending events); profile-guided optimisation, which a build from source must not need.
//!
//! Racks that nothing connects are the other half: see [`simulate_in_parts`].
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
