//! Routines that every launcher of the project can offer.

use super::inside::Inside;
use super::nursery::{Entries, Routine};

/// `pause` does nothing, for measurements of everything before. `attach` becomes the process of a template, `vmm` a
/// microVM's VMM.
pub const ROUTINES: Entries = &[
    ("pause", Routine::plain(pause)),
    (crate::template::ENTRY, crate::template::ROUTINE),
    crate::vm::ROUTINE,
];

fn pause(_: &mut Inside<'_>) -> i32 {
    loop {
        // SAFETY: waits for a signal.
        unsafe { libc::pause() };
    }
}
