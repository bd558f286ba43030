//! What can go wrong with sandboxes.

use std::io;

use super::fingerprint::Part;

/// A failure, with the sandbox and the step.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The manager could not begin.
    #[error("cannot {step}: {source}")]
    SetUp {
        /// What was being done.
        step: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A step outside the sandbox failed. The sandbox has been given up.
    #[error("sandbox {number}: cannot {step}: {source}")]
    Step {
        /// The sandbox.
        number: u32,
        /// What was being done.
        step: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A step inside the sandbox failed. The sandbox has been given up.
    #[error("sandbox {number}: inside: {step}: {source}")]
    Inside {
        /// The sandbox.
        number: u32,
        /// What was being done.
        step: String,
        /// Why not.
        source: io::Error,
    },
    /// A used sandbox is not as it was when new. It has been destroyed; start the function in another one.
    #[error("sandbox {number} is not clean ({}): it was destroyed", list(parts))]
    Unclean {
        /// The sandbox.
        number: u32,
        /// What differs.
        parts: Vec<Part>,
    },
    /// Every number of a manager is taken.
    #[error("a manager has {most} sandboxes at most, and all are in use or still being destroyed")]
    Full {
        /// How many there are.
        most: u32,
    },
    /// The function did not answer.
    #[error("sandbox {number}: {source}")]
    Channel {
        /// The sandbox.
        number: u32,
        /// How it failed.
        source: super::channel::Failure,
    },
}

fn list(parts: &[Part]) -> String {
    parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
