//! Routines that every launcher of the project can offer.

use super::inside::Inside;
use super::nursery::{Entries, Routine};

/// `pause`: does nothing, for measurements of everything before, and as a process that a template engine fills.
pub const ROUTINES: Entries = &[("pause", Routine { run: pause, seals_itself: false })];

fn pause(_: &mut Inside<'_>) -> i32 {
    loop {
        // SAFETY: waits for a signal.
        unsafe { libc::pause() };
    }
}
