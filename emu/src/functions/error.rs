//! What can go wrong with functions before they run.

use std::io;
use std::path::PathBuf;

/// Why a function cannot be used. Every message names what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no folder of functions where one was looked for.
    #[error(
        "{0}: no folder of functions here: run inside the repository, or name one with {variable}",
        variable = super::FUNCTIONS_VARIABLE
    )]
    NoFunctions(PathBuf),
    /// A name that no function has.
    #[error("there is no function `{name}`{}", hint(.nearest))]
    Unknown {
        /// The name that was given.
        name: String,
        /// The known name that was probably meant.
        nearest: Option<String>,
    },
    /// A manifest is not as it should be.
    #[error("{}:{line}:{column}: {message}", .file.display())]
    Manifest {
        /// The manifest.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// Something that the set-up makes is not there.
    #[error("{function}: no {what} at {}: run scripts/setup --functions", .path.display())]
    NotSetUp {
        /// The function that needs it.
        function: String,
        /// What is missing.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
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
    /// Adds what was being done, and to what, to a failure of the operating system.
    pub(crate) fn io<E: Into<io::Error>>(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source: source.into() }
    }

    /// Whether setting up the functions would help.
    #[must_use]
    pub fn needs_setup(&self) -> bool {
        matches!(self, Self::NotSetUp { .. })
    }
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(
        || ": `trenvx emu functions list` shows them".to_owned(),
        |name| format!(": did you mean `{name}`?"),
    )
}
