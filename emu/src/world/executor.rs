//! What the driver needs of whoever carries its commands out.

use std::time::Instant;

use platform::ids::SandboxId;
use traces::FunctionId;

use super::error::Refused;

/// A sandbox from one start (or repurposing) to the next: the control plane uses numbers of sandboxes again at
/// once, and news of the one before must not be taken for news of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life {
    /// The control plane's number.
    pub sandbox: SandboxId,
    /// Counts the lives of that number.
    pub number: u32,
}

/// What became of something that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Of which sandbox.
    pub life: Life,
    /// What happened.
    pub what: Happened,
}

/// See [`Event`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// The function is ready for its first invocation.
    Ready {
        /// The sandbox was to be repurposed and turned out not to be usable: why this is a new one.
        replaced: Option<String>,
    },
    /// The invocation has been answered: well, or with what is wrong with the answer.
    Answered(Result<(), String>),
    /// The start failed, or the function died.
    Gone(String),
}

/// Carries commands out. No call waits for sandboxes or functions, but for [`Self::wait`] and [`Self::close`].
pub trait Executor {
    /// Begins a new sandbox and brings the function up in it.
    fn start(&mut self, life: Life, function: FunctionId);

    /// Cleans the idle sandbox that was `old` and brings the function up in it.
    fn repurpose(&mut self, old: Life, new: Life, function: FunctionId);

    /// Sends an invocation.
    fn run(&mut self, life: Life, function: FunctionId);

    /// Gives a sandbox up, whatever it is doing. No event of it comes any more that matters.
    fn evict(&mut self, life: Life);

    /// Waits until something has happened or `until` has come, and appends what happened.
    ///
    /// # Errors
    /// If waiting itself fails: the run cannot go on.
    fn wait(&mut self, until: Instant, events: &mut Vec<Event>) -> Result<(), Refused>;

    /// Ends everything that is left and waits for that.
    fn close(&mut self);
}
