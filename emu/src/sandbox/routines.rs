//! Routines that every launcher of the project can offer.

use super::inside::Inside;
use super::nursery::{Entries, Routine};

/// `pause`: does nothing, for measurements of everything before, and as a process that a template engine fills.
/// `vmm`: becomes a microVM's VMM.
pub const ROUTINES: Entries = &[("pause", Routine { run: pause, seals_itself: false }), crate::vm::ROUTINE];

fn pause(_: &mut Inside<'_>) -> i32 {
    loop {
        // SAFETY: waits for a signal.
        unsafe { libc::pause() };
    }
}
