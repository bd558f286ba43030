//! The one error of this package.

use std::path::PathBuf;

/// What can go wrong while drawing and writing. A missing run is not an error: the figure says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be written.
    #[error(transparent)]
    File(#[from] traces::Error),
    /// The folder of a file could not be made.
    #[error("{path}: cannot make this folder: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A table could not be written as CSV.
    #[error("table {table}: {source}")]
    Table {
        /// Which table.
        table: String,
        /// What the writer said.
        source: csv::Error,
    },
    /// Provenance could not be written as JSON.
    #[error("provenance of {figure}: {source}")]
    Provenance {
        /// Which figure.
        figure: String,
        /// What the writer said.
        source: serde_json::Error,
    },
    /// The SVG writer failed.
    #[error("figure {figure}: {why}")]
    Draw {
        /// Which figure.
        figure: String,
        /// What it said.
        why: String,
    },
    /// Two figures of an experiment have the same name.
    #[error("experiment {experiment}: two figures are named {name:?}; give each its own name")]
    DuplicateFigure {
        /// Which experiment.
        experiment: String,
        /// The name.
        name: String,
    },
    /// The report's template failed.
    #[error("report: {0}")]
    Report(#[from] minijinja::Error),
    /// A word that is no metric, statistic or figure kind.
    #[error("{word:?} is not a {what}; known: {known}")]
    UnknownWord {
        /// What was read.
        word: String,
        /// What was expected.
        what: &'static str,
        /// The words that are known.
        known: String,
    },
}

/// Result of this package.
pub type Result<T> = std::result::Result<T, Error>;
