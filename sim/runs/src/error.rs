//! What can be wrong with a store and its runs.

use std::io;
use std::path::{Path, PathBuf};

/// A run cannot be written, found or believed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("{path}: {doing} failed: {source}", path = path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What was attempted.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The run was never completed.
    #[error("{path}: no such run: run the experiment first", path = path.display())]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// Another runner has taken this one for dead: it gave no sign of life for too long.
    #[error("{path}: another process has taken this run over", path = path.display())]
    Lost {
        /// Where the run would be.
        path: PathBuf,
    },
    /// A file is shorter or longer than when it was written.
    #[error("{path}: {found} bytes instead of {expected}: damaged after it was written; delete this run and run it again", path = path.display())]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// Bytes written.
        expected: u64,
        /// Bytes there now.
        found: u64,
    },
    /// A file's content is not what was written.
    #[error("{path}: checksum differs: changed after it was written; delete this run and run it again", path = path.display())]
    Altered {
        /// The file.
        path: PathBuf,
    },
    /// The records were written by a version with other columns.
    #[error("{path}: record schema {found}, this version reads {expected}: run it again, or read it with the version that wrote it", path = path.display())]
    ForeignSchema {
        /// The file that says so.
        path: PathBuf,
        /// Schema of the run.
        found: u32,
        /// Schema of this version.
        expected: u32,
    },
    /// A file does not hold what its name promises.
    #[error("{path}{}: {what}", line.map(|n| format!(":{n}")).unwrap_or_default(), path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line from 1, where there is one.
        line: Option<u64>,
        /// What is wrong.
        what: String,
    },
}

impl StoreError {
    /// Wraps an I/O error with the path and the attempt.
    pub(crate) fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, doing, source }
    }

    /// A file that does not hold what its name promises.
    pub(crate) fn malformed(path: &Path, line: Option<u64>, what: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_owned(), line, what: what.into() }
    }
}
