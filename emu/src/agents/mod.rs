//! Agents: programs that ask a language model again and again and work with what it answers.
//!
//! ```text
//!            ┌ mock model (HTTP, recordings, waits of the bundled traces)
//! agent ─────┤
//! (Python)   └ broker ── browser ── local web site
//! ```
//!
//! * [`catalog`]: the six agents of `emu/agents`, in the shape of those that TrEnv-X was evaluated with.
//! * [`llm`], [`pace`], [`recording`]: the model that they ask, how long it takes, what it answers.
//! * [`site`]: the pages that they visit; [`http`]: the server below it and below the model.
//! * [`browser`]: one browser for several agents.
//! * [`place`]: where agents run: processes, sandboxes, microVMs.
//! * [`ward`]: where everything runs, so that it ends with the harness.
//! * [`harness`]: runs agents at once and records what they cost.

pub mod bench;
pub mod browser;
pub mod catalog;
mod error;
pub mod harness;
pub mod http;
pub mod llm;
pub mod pace;
pub mod place;
pub mod profile;
pub mod recording;
pub mod report;
pub mod site;
pub mod ward;

pub use catalog::{AGENTS_VARIABLE, Manifest};
pub use error::Error;
