//! The real world: what runs on an actual machine instead of in the simulator.
//!
//! [`doctor`] finds out what this machine can do; [`functions`] are the programs that sandboxes run. Linux only.

#[cfg(not(target_os = "linux"))]
compile_error!("the emulator, and with it the command, needs Linux");

pub mod doctor;
pub mod functions;
