//! What managers and the page server say to each other: one datagram each, descriptors beside it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::layout::Region;
use super::stats::Report;

/// Changes when messages do.
pub const VERSION: u32 = 1;

/// How pages come into a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Copied into the process, as published: nothing is shared. Its regions are anonymous and registered for
    /// missing pages.
    Private,
    /// Mapped from one cache for all processes of the template. Its regions are private mappings of the cache's
    /// file, page n of the template at byte n x 4096, registered for missing and minor faults.
    Shared,
}

/// What is installed before the attach is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prefetch {
    /// Nothing.
    #[default]
    None,
    /// The recorded working set, in the order of its faults.
    WorkingSet,
    /// Regions of recorded pages that are at most so many pages apart.
    Regions {
        /// Pages.
        gap: u64,
    },
    /// Everything.
    All,
}

/// How a process is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// How pages come into the process.
    pub mode: Mode,
    /// Pages that are installed for one fault: the faulting one and those after it in its region; 1 to 512.
    pub batch: usize,
    /// Core on which the process runs, for the placement of its handler; `None`: any.
    pub core: Option<usize>,
    /// What is installed before the attach is answered.
    pub prefetch: Prefetch,
    /// Record the first faults, and keep them as the template's working set when the process ends. Faults are then
    /// served page by page.
    pub record: bool,
    /// Install the rest while there are no faults.
    pub background: bool,
}

impl Options {
    /// This mode; sixteen pages at a fault, where the gain of larger batches levels off; nothing else.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self { mode, batch: 16, core: None, prefetch: Prefetch::None, record: false, background: false }
    }
}

/// From a manager.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// Comes back with the answer.
    pub id: u64,
    /// What is asked.
    pub ask: Ask,
}

/// What a manager asks.
#[derive(Debug, Serialize, Deserialize)]
pub enum Ask {
    /// First of all.
    Hello {
        /// [`VERSION`].
        version: u32,
    },
    /// The file of the shared cache of a template.
    Cache {
        /// Folder of the template.
        template: PathBuf,
    },
    /// Serve a process. With it come its userfaultfd and its pidfd.
    Attach {
        /// Folder of the template.
        template: PathBuf,
        /// Ranges of the process.
        regions: Vec<Region>,
        /// How.
        options: Options,
    },
    /// What the server has counted.
    Report,
}

/// To a manager.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reply {
    /// Of the request; 0 for a notice.
    pub id: u64,
    /// What is answered or told.
    pub answer: Answer,
}

/// What the server answers and tells.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Ask::Hello`].
    Hello {
        /// [`VERSION`].
        version: u32,
    },
    /// To [`Ask::Cache`]; with it comes the file.
    Cache {
        /// Bytes.
        length: u64,
    },
    /// To [`Ask::Attach`]: the process may run.
    Attached {
        /// Its number in notices.
        attachment: u64,
        /// Pages that were installed before.
        prefetched: u64,
    },
    /// To [`Ask::Report`].
    Report(Box<Report>),
    /// To anything: it was not done.
    Refused {
        /// Why.
        reason: String,
    },
    /// Notice: a process has been ended, because a page that it needs cannot be had.
    Ended {
        /// Its number.
        attachment: u64,
        /// Why.
        reason: String,
        /// It is a forked child that this kernel cannot end: who it comes from is to be killed with all its children.
        waits: bool,
    },
    /// Notice: a process is gone and forgotten.
    Exited {
        /// Its number.
        attachment: u64,
    },
    /// Notice: a process has forked; with it comes a reference to the child's userfaultfd, to be kept as long as
    /// the parent's.
    Forked {
        /// Number of the child.
        attachment: u64,
        /// Number of its parent.
        parent: u64,
    },
}
