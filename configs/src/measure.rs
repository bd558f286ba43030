//! [`Measure`]: what is measured on a real machine without any workload.

use serde::{Deserialize, Serialize};

/// One kind of measurement and its extent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Making, repurposing and destroying sandboxes, step by step.
    Sandboxes {
        /// How many at a time, one panel each.
        ways: Vec<u32>,
        /// Starts per mode and number of ways.
        starts: u32,
    },
    /// Each function, started cold in a sandbox: start, service time, memory, threads.
    Functions {
        /// Their names; empty for all.
        functions: Vec<String>,
        /// Processes of each.
        starts: u32,
        /// Calls of each process after the first.
        calls: u32,
    },
}

impl Measure {
    /// Words of the alternatives, as in files.
    pub(crate) const KINDS: &'static [&'static str] = &["sandboxes", "functions"];

    /// The word of its kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sandboxes { .. } => "sandboxes",
            Self::Functions { .. } => "functions",
        }
    }
}
