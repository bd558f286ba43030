//! The real world: what runs on an actual machine instead of in the simulator.
//!
//! For now it holds [`doctor`], which finds out what this machine can do. Linux only.

#[cfg(not(target_os = "linux"))]
compile_error!("the emulator, and with it the command, needs Linux");

pub mod doctor;
