//! What can go wrong with templates.

use std::io;
use std::path::{Path, PathBuf};

use super::pages::TableError;

/// A failure, with what was being done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was being done.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A step failed.
    #[error("cannot {step}: {source}")]
    Step {
        /// What was being done.
        step: String,
        /// Why not.
        source: io::Error,
    },
    /// The process has something that a template cannot hold.
    #[error("cannot capture the process: {0}")]
    Uncapturable(String),
    /// It did not come to rest.
    #[error("the process did not come to rest within {0:?}: its threads are still at work")]
    Restless(std::time::Duration),
    /// The template is not what it says that it is.
    #[error("template {id} is damaged: {what}")]
    Damaged {
        /// Which one.
        id: String,
        /// What is wrong.
        what: String,
    },
    /// Its table of pages is not.
    #[error("template {id}: {source}")]
    Table {
        /// Which one.
        id: String,
        /// What is wrong.
        source: TableError,
    },
    /// It was made on another machine.
    #[error("template {id} cannot be attached here: {what}; capture it again on this machine")]
    Foreign {
        /// Which one.
        id: String,
        /// What differs.
        what: String,
    },
    /// There is no such template.
    #[error("no template {id} in {folder}; `trenvx emu template list` names those that there are")]
    Unknown {
        /// What was asked for.
        id: String,
        /// The store.
        folder: PathBuf,
    },
    /// The process of a new sandbox could not become the template's.
    #[error("attach of {id} failed: {what}")]
    Attach {
        /// Which one.
        id: String,
        /// The step, with the kernel's reason.
        what: String,
    },
    /// The sandbox could not be made.
    #[error(transparent)]
    Sandbox(#[from] crate::sandbox::Error),
    /// The page server refused or is gone.
    #[error(transparent)]
    Server(crate::pager::ClientError),
    /// A function did not answer, or wrongly.
    #[error("{function}: {what}")]
    Wrong {
        /// Its name.
        function: String,
        /// What was wrong.
        what: String,
    },
}

impl Error {
    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    pub(crate) fn step(step: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let step = step.into();
        move |source| Self::Step { step, source }
    }
}
