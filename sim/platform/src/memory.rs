//! Page groups of a function, and the classes in which memory is accounted.

use serde::{Deserialize, Serialize};
use traces::{Bytes, Pages};

/// What the pages of a group hold; it decides with whom they can be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// The language runtime: the same in every function of that language.
    Runtime,
    /// Imported libraries: the same in every function that imports them.
    Library,
    /// The function's own code and initialised data: the same in every instance of the function.
    Function,
    /// What an invocation makes for itself while it runs: in no image and shared with nobody.
    Instance,
}

/// What an invocation does to the pages of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// Touched, and only read.
    ReadOnly,
    /// Written (and so copied, where the page is shared).
    Written,
    /// Made by initialisation and not touched by an invocation.
    Untouched,
}

impl Content {
    /// Every content class.
    pub const ALL: [Self; 4] = [Self::Runtime, Self::Library, Self::Function, Self::Instance];
}

impl Behaviour {
    /// Every behaviour.
    pub const ALL: [Self; 3] = [Self::ReadOnly, Self::Written, Self::Untouched];
}

/// Anonymous pages of one instance at the end of an invocation, by content × behaviour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PageGroups([[Pages; 3]; 4]);

impl PageGroups {
    /// No pages in any group.
    pub const EMPTY: Self = Self([[Pages::ZERO; 3]; 4]);

    /// The pages of one group.
    pub fn get(&self, content: Content, behaviour: Behaviour) -> Pages {
        self.0[content as usize][behaviour as usize]
    }

    /// Sets the pages of one group.
    pub fn set(&mut self, content: Content, behaviour: Behaviour, pages: Pages) {
        self.0[content as usize][behaviour as usize] = pages;
    }

    /// Pages of one behaviour, over all contents.
    pub fn with(&self, behaviour: Behaviour) -> Pages {
        Content::ALL.iter().map(|&c| self.get(c, behaviour)).sum()
    }

    /// The pages that exist before the invocation: what an image or template of the function holds.
    pub fn image(&self) -> Self {
        let mut image = *self;
        image.0[Content::Instance as usize] = [Pages::ZERO; 3];
        image
    }

    /// Pages an invocation touches.
    pub fn working_set(&self) -> Pages {
        self.with(Behaviour::ReadOnly) + self.with(Behaviour::Written)
    }

    /// All pages.
    pub fn footprint(&self) -> Pages {
        Behaviour::ALL.iter().map(|&b| self.with(b)).sum()
    }

    /// The same proportions with a footprint of `target` (to within a page a group).
    pub fn scaled_to(&self, target: Pages) -> Self {
        let from = self.footprint();
        if from == Pages::ZERO {
            return *self;
        }
        let factor = target.0 as f64 / from.0 as f64;
        Self(self.0.map(|row| row.map(|pages| pages.scale(factor))))
    }
}

/// Where memory lies and who pays for it. Every byte of a run is in exactly one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryClass {
    /// Node DRAM, one sandbox's own: initialised, copied or fetched into it.
    InstancePrivate,
    /// Node DRAM, one sandbox's own: copied from a template by its first store to the page.
    CopiedOnWrite,
    /// Node DRAM, one copy for all sandboxes of a profile on the node (host page cache).
    NodeShared,
    /// Node DRAM, one sandbox's own: what a microVM adds (VMM, guest kernel).
    GuestOverhead,
    /// Node DRAM, one guest's own: file pages that a microVM caches for itself.
    GuestPageCache,
    /// Node DRAM: browsers of agents, shared by those of one browser.
    Browser,
    /// CXL pool: templates and snapshots, one copy for all nodes that share the pool.
    PoolCxl,
    /// Memory of the RDMA pool's memory node: templates, one copy for all nodes.
    PoolRdma,
}

impl MemoryClass {
    /// Number of classes.
    pub const COUNT: usize = 8;
    /// Every class, in the order of output columns.
    pub const ALL: [Self; Self::COUNT] = [
        Self::InstancePrivate,
        Self::CopiedOnWrite,
        Self::NodeShared,
        Self::GuestOverhead,
        Self::GuestPageCache,
        Self::Browser,
        Self::PoolCxl,
        Self::PoolRdma,
    ];

    /// Whether the class lies in node DRAM (what the paper's memory figures count).
    pub const fn is_local(self) -> bool {
        !matches!(self, Self::PoolCxl | Self::PoolRdma)
    }

    /// Column and key name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InstancePrivate => "instance_private",
            Self::CopiedOnWrite => "copied_on_write",
            Self::NodeShared => "node_shared",
            Self::GuestOverhead => "guest_overhead",
            Self::GuestPageCache => "guest_page_cache",
            Self::Browser => "browser",
            Self::PoolCxl => "pool_cxl",
            Self::PoolRdma => "pool_rdma",
        }
    }
}

/// Bytes in each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByClass(pub [Bytes; MemoryClass::COUNT]);

impl ByClass {
    /// Bytes in one class.
    pub fn get(&self, class: MemoryClass) -> Bytes {
        self.0[class as usize]
    }

    /// Adds to one class.
    pub fn add(&mut self, class: MemoryClass, bytes: Bytes) {
        self.0[class as usize] += bytes;
    }

    /// Takes from one class.
    ///
    /// # Panics
    /// In debug builds, if the class holds less: memory that was never accounted is given back.
    pub fn take(&mut self, class: MemoryClass, bytes: Bytes) {
        self.0[class as usize] -= bytes;
    }

    /// Bytes in node DRAM.
    pub fn local(&self) -> Bytes {
        MemoryClass::ALL.iter().filter(|c| c.is_local()).map(|&c| self.get(c)).sum()
    }

    /// Both together.
    pub fn with(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|class| self.0[class] + other.0[class]))
    }

    /// `part` of `whole` equal parts, rounded down.
    pub fn share(&self, part: u64, whole: u64) -> Self {
        Self(self.0.map(|bytes| Bytes((u128::from(bytes.0) * u128::from(part) / u128::from(whole)) as u64)))
    }

    /// All bytes.
    pub fn total(&self) -> Bytes {
        self.0.iter().copied().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_sum_to_the_footprint_and_scale_together() {
        let mut groups = PageGroups::EMPTY;
        groups.set(Content::Runtime, Behaviour::ReadOnly, Pages(600));
        groups.set(Content::Function, Behaviour::Written, Pages(300));
        groups.set(Content::Library, Behaviour::Untouched, Pages(100));
        assert_eq!((groups.footprint(), groups.working_set()), (Pages(1000), Pages(900)));
        groups.set(Content::Instance, Behaviour::Written, Pages(70));
        assert_eq!((groups.footprint(), groups.image().footprint()), (Pages(1070), Pages(1000)));
        groups.set(Content::Instance, Behaviour::Written, Pages::ZERO);
        assert_eq!(groups.scaled_to(Pages(2000)).get(Content::Function, Behaviour::Written), Pages(600));
    }
}
