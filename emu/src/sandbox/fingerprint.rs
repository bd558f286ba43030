//! What a used sandbox looks like, in parts that can be compared with how it looked when new: its network namespace,
//! and its cgroup.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One part of what outlives a function in a kept namespace or cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Part {
    /// Network devices: names, flags, sizes, hardware addresses.
    Links,
    /// Addresses of devices.
    Addresses,
    /// Routes of both families.
    Routes,
    /// Rules that choose a table of routes.
    Rules,
    /// Queueing disciplines.
    Queues,
    /// Hardware addresses of others.
    Neighbours,
    /// nftables: the number of changes, tables.
    Nftables,
    /// iptables: tables that were brought to life.
    Iptables,
    /// Sockets, also those that only wait for their time to pass.
    Sockets,
    /// Unix sockets with a name, abstract ones too.
    UnixSockets,
    /// Everything under `/proc/sys/net`.
    Settings,
    /// Members of the cgroup, when the function is gone.
    Processes,
    /// Limits and settings of the cgroup in every hierarchy, where they are not as the manager set them; groups inside.
    Cgroup,
    /// Memory that is charged to the cgroup, far above what a new sandbox has.
    Memory,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Links => "links",
            Self::Addresses => "addresses",
            Self::Routes => "routes",
            Self::Rules => "rules",
            Self::Queues => "queues",
            Self::Neighbours => "neighbours",
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
            Self::Sockets => "sockets",
            Self::UnixSockets => "unix sockets",
            Self::Settings => "settings",
            Self::Processes => "processes",
            Self::Cgroup => "cgroup",
            Self::Memory => "memory",
        };
        f.write_str(name)
    }
}

/// A hash of each part that was looked at, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Each part once.
    pub parts: Vec<(Part, u64)>,
}

impl Fingerprint {
    /// Parts that are not as in `other`, among those that both looked at.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<Part> {
        let differs = |(part, hash): &(Part, u64)| {
            other.parts.iter().any(|(other, value)| other == part && value != hash).then_some(*part)
        };
        self.parts.iter().filter_map(differs).collect()
    }
}

/// FNV-1a, 64 bits: short, stable, and nobody gains from a collision that only hides a change from himself to
/// the next function of the same tenant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hash(pub(crate) u64);

impl Hash {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        // Two pieces are not the same as their sum.
        self.0 = (self.0 ^ 0xff).wrapping_mul(0x0100_0000_01b3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parts_that_both_have_are_compared() {
        let new = Fingerprint { parts: vec![(Part::Links, 1), (Part::Routes, 2), (Part::Settings, 3)] };
        let used = Fingerprint { parts: vec![(Part::Links, 1), (Part::Routes, 9)] };
        assert_eq!(used.differences(&new), [Part::Routes]);
        assert_eq!(new.differences(&new), []);
    }
}
