//! How pages of a template become reachable, and what a page server is told about it.

use serde::{Deserialize, Serialize};

use crate::pager::uffd::feature;

/// How pages of areas with [`crate::template::manifest::Way::Attach`] become reachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backing {
    /// Private mappings of the file of pages: a page that is read is shared, one that is written is copied.
    Map,
    /// Copied into memory of the process's own before it runs: exact in every respect, and as dear as it is large.
    Copy,
    /// Memory of its own that a page server fills when it is touched.
    Fault,
    /// Private mappings of the server's cache, which it fills when a page is touched first by anybody.
    FaultShared,
    /// As [`Backing::Fault`], and the kernel notes which pages are written: to count them.
    Watched,
}

impl Backing {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Copy => "copy",
            Self::Fault => "fault",
            Self::FaultShared => "fault-shared",
            Self::Watched => "watched",
        }
    }

    /// Whether pages come as mappings of a file, which need a guard.
    pub(super) fn maps(self) -> bool {
        matches!(self, Self::Map | Self::FaultShared)
    }

    /// Whether a page server takes part.
    #[must_use]
    pub fn is_served(self) -> bool {
        matches!(self, Self::Fault | Self::FaultShared | Self::Watched)
    }

    /// With a page server: the features that are asked of userfaultfd.
    pub(super) fn features(self) -> Option<u64> {
        match self {
            Self::Map | Self::Copy => None,
            Self::Fault | Self::FaultShared => Some(feature::SERVED),
            Self::Watched => Some(feature::WATCHED),
        }
    }
}

/// Addresses whose pages a page server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// First address.
    pub address: u64,
    /// Bytes.
    pub length: u64,
    /// Number in the file of pages of the first of them.
    pub first_page: u64,
    /// How they are installed.
    pub kind: RegionKind,
}

/// How a page server installs pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegionKind {
    /// By a copy for this process.
    Private,
    /// In the cache, at the page's place; then mapped.
    Shared,
}

/// What is sent to a page server, beside the descriptor of the userfaultfd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// Ascending, and without overlap.
    pub regions: Vec<Region>,
}
