//! What goes out: estimators and intervals, drawing, verdicts on claims, the HTML report.
//!
//! Everything here is recomputed from records; nothing is edited by hand, and the same records give
//! the same bytes. An experiment's runs are reduced as they are loaded ([`ExperimentData::of`],
//! [`ExperimentData::add_as`]), then
//!
//! * summarised in a long table ([`summary::write`]),
//! * drawn ([`figure::render`]): SVG, the exact rows drawn, provenance,
//! * or, where it measured without a workload, drawn from its rows ([`measured::render`]),
//! * compared with claims ([`claims::judge`]),
//! * shown on one page ([`report::report`]).

mod adapt;
pub mod artifact;
pub mod claims;
pub mod compare;
pub mod draw;
pub mod error;
pub mod estimate;
pub mod figure;
pub mod files;
pub mod input;
pub mod measured;
pub mod metric;
mod packed;
#[cfg(test)]
mod pictures;
#[cfg(feature = "png")]
pub mod png;
pub mod reduce;
pub mod reference;
pub mod report;
pub mod steady;
pub mod summary;
#[cfg(test)]
mod synthetic;
pub mod validate;

pub use claims::{Claim, Evidence, Judged, Verdict, judge, judge_by};
pub use error::{Error, Result};
pub use figure::{FigureFile, FigureKind, FigureSpec, Provenance, Reported, render};
pub use input::{ExperimentData, PointData, SeedRun, StandIn};
pub use report::{ReportInput, Section, report};
