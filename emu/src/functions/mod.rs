//! The benchmark functions: what sandboxes run.
//!
//! Each function is a folder of `emu/functions` with a manifest, a handler, pinned requirements, and a generator of
//! its data where it needs any. [`list`] and [`find`] read the manifests; [`Manifest::locate`] turns one into a
//! [`FunctionSpec`]: what to execute, and the read-only layers that hold its files.
//!
//! ```text
//! emu/functions/NAME          manifest.toml  handler  requirements.txt  generate.py      in the repository
//! out/functions/python|node/NAME   function/packages, function/node_modules              scripts/functions
//! out/functions/data/NAME          function/data                                         scripts/functions
//! out/functions/code/NAME-HASH     function/code, function/runtime; this program         `locate`
//! out/images/base                  the root below all of them                            scripts/image
//! ```
//!
//! The trees of layers begin at the sandbox's root, so a sandbox's root is an overlay of the layers and the base
//! image, without further mounts. Everything of a function is under `/function`.
//!
//! A function is a process that speaks a line protocol on one socket ([`Client`]). [`Process`] starts one without a
//! sandbox, and [`measure`] checks its answers and tells what it costs: the table of functions, without sandboxes.

pub mod built_in;
mod check;
mod client;
mod error;
mod manifest;
mod measure;
mod places;
pub(crate) mod process;
mod spec;
mod stage;
mod table;
mod usage;

pub use check::Expect;
pub use client::{Client, ClientError, Ready, Reply};
pub use error::Error;
pub use manifest::{Input, Inputs, Language, Manifest, find, list};
pub use measure::{Measured, measure};
pub use places::{FUNCTIONS_VARIABLE, Places};
pub use process::{Place, Process, StartError};
pub use spec::FunctionSpec;
pub use table::table;
pub use usage::Usage;
