//! What can go wrong with agents before they run.

use std::io;
use std::path::{Path, PathBuf};

/// Why agents cannot be run. Every message names what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no folder of agents where one was looked for.
    #[error(
        "{0}: no folder of agents here: run inside the repository, or name one with {variable}",
        variable = super::AGENTS_VARIABLE
    )]
    NoAgents(PathBuf),
    /// A name that no agent has.
    #[error("there is no agent `{name}`: {}", .nearest.as_ref().map_or_else(|| format!("there are {}", .known.join(", ")), |near| format!("did you mean `{near}`?")))]
    Unknown {
        /// The name that was given.
        name: String,
        /// The known name that was probably meant.
        nearest: Option<String>,
        /// All of them.
        known: Vec<String>,
    },
    /// A file that does not say what it should.
    #[error("{}: {message}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// A number that makes no sense.
    #[error("{what}: {found}: expected {expected}")]
    Setting {
        /// Which setting.
        what: &'static str,
        /// What was given.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// No browser answered.
    #[error("the browser {program} did not start: {reason}")]
    Browser {
        /// The program.
        program: String,
        /// Why, with the end of what it printed.
        reason: String,
    },
    /// Agents that shared browsers read something else than those with one each.
    #[error(
        "with {per_browser} agents to a browser they read {found}, and with {first} {expected}: browsers are not measured doing the same"
    )]
    Differs {
        /// Agents to a browser.
        per_browser: usize,
        /// Digest of what they read.
        found: String,
        /// Agents to a browser in the first row.
        first: usize,
        /// Digest of what those read.
        expected: String,
    },
    /// No sandbox for an agent.
    #[error(transparent)]
    Sandbox(#[from] crate::sandbox::Error),
    /// No microVM for an agent.
    #[error(transparent)]
    Vm(#[from] crate::vm::Error),
    /// A file could not be written whole.
    #[error(transparent)]
    Unwritten(#[from] traces::error::Error),
    /// A step of the operating system failed.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
}

impl Error {
    /// Whether this machine lacks something: a program, an image, memory, a right.
    #[must_use]
    pub fn is_lack(&self) -> bool {
        match self {
            Self::NoAgents(_) | Self::Browser { .. } => true,
            Self::Vm(error) => error.is_lack(),
            Self::Sandbox(_) => false,
            Self::Io { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }

    /// Adds what was being done, and to what, to a failure of the operating system.
    pub(super) fn io<E: Into<io::Error>>(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source: source.into() }
    }

    /// Nobody would have a browser.
    pub(super) fn no_sharing() -> Self {
        Self::Setting { what: "agents per browser", found: "0".to_owned(), expected: "at least 1" }
    }

    /// A file that is wrong.
    pub(super) fn file(file: &Path, message: impl std::fmt::Display) -> Self {
        Self::File { file: file.to_owned(), message: format!("{message}") }
    }
}
