//! The real world: what runs on an actual machine instead of in the simulator.
//!
//! * [`agents`] ask a language model, use tools and browsers.
//! * [`doctor`] finds out what this machine can do.
//! * [`functions`] are the programs that sandboxes run.
//! * [`sandbox`]: isolated places for functions, made new or repurposed; [`kernel`] is the seam below it,
//!   [`clean`] removes what killed managers left, [`ending`] what this program would leave when it is told to end.
//! * [`template`]: the state of a real process, captured once and attached many times; [`pager`] serves its pages
//!   where they cannot be mapped.
//! * [`guest`]: virtual machines with CXL memory and RDMA; [`pool`]: template pages in such memory.
//! * [`vm`]: microVMs, their templates and clones.
//! * [`world`] runs experiments on them; [`measure`] those that have no workload.
//!
//! Linux only.

#[cfg(not(target_os = "linux"))]
compile_error!("the emulator, and with it the command, needs Linux");

pub mod agents;
pub mod bench_pager;
pub mod bench_sandbox;
pub mod bench_template;
pub mod bench_tiers;
pub mod calibrate;
pub mod clean;
pub mod criu;
pub mod doctor;
pub mod ending;
pub mod functions;
pub mod goal;
pub mod guest;
pub mod kernel;
pub mod measure;
pub mod pager;
pub mod pool;
pub mod sandbox;
pub mod template;
pub mod vm;
pub mod world;
