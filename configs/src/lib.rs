//! Experiments as data: raw → checked → spec.
//!
//! A value passes three forms. As written it knows its place (`tree`, `source`); checked it is typed and
//! in base units (`check`, `values`, `units`); put together it is a [`Spec`], which is all that the
//! worlds see. Nothing here looks at trace data or starts anything.
//!
//! ```text
//! base.toml < experiment file < its [tier.*] < its [[panel]] < its [sweep] ; --set goes over files and panels
//! ```
#![forbid(unsafe_code)]

mod check;
pub mod claims;
mod diagnostic;
mod effective;
mod experiment;
mod figure;
mod files;
mod find;
mod form;
mod layers;
mod load;
mod measure;
mod reference;
mod section;
mod set;
mod source;
pub mod spec;
mod suggest;
mod sweep;
mod tree;
mod typed;
mod units;
mod values;

pub use diagnostic::{Diagnostic, Diagnostics};
pub use experiment::{ConstantNote, EffectiveValue, Experiment, FigureKind, Point, Quantity, WorldKind};
pub use figure::{FigureSpec, Reported};
pub use find::{CONFIGS_VARIABLE, Listed, find, list, root};
pub use load::{load, load_typed, service_times};
pub use measure::Measure;
pub use reference::Reference;
pub use spec::{Spec, Tier};
pub use suggest::hint;
pub use typed::Typed;
