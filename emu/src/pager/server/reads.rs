//! Reads that are under way.

use std::sync::Arc;
use std::time::Instant;

use super::attached::Key;
use super::loaded::Loaded;
use crate::pager::source::tiers::Attempt;
use crate::template::pages::PAGE;

/// Reads that a thread has under way at most; more faults wait.
const MOST: usize = 512;

/// A read of consecutive pages for a process.
#[derive(Clone, Debug)]
pub struct ReadFor {
    /// Whose.
    pub key: Key,
    /// Of which template.
    pub template: Arc<Loaded>,
    /// Where the first page belongs.
    pub address: u64,
    /// Its number.
    pub first: u64,
    /// Pages.
    pub count: usize,
    /// Where it is tried.
    pub attempt: Attempt,
    /// The pages are claimed in the shared cache.
    pub claimed: bool,
    /// The job that asked, or `None` for a fault.
    pub job: Option<u64>,
    /// The fault was a write.
    pub write: bool,
    /// When the fault was read.
    pub started: Instant,
    /// When this attempt was begun.
    pub asked: Instant,
}

/// All reads that a thread has under way.
#[derive(Debug)]
pub struct Reads {
    places: Vec<(u32, Option<ReadFor>)>,
    free: Vec<u32>,
}

impl Reads {
    /// None.
    pub fn new() -> Self {
        Self { places: (0..MOST).map(|_| (0, None)).collect(), free: (0..MOST as u32).rev().collect() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        MOST - self.free.len()
    }

    /// Enters a read: its token. `None` when there is no room.
    pub fn enter(&mut self, read: ReadFor) -> Option<u64> {
        let place = self.free.pop()?;
        let (generation, entry) = &mut self.places[place as usize];
        *entry = Some(read);
        Some(u64::from(*generation) << 32 | u64::from(place))
    }

    /// Takes the read of a token out, unless it was given up.
    pub fn take(&mut self, token: u64) -> Option<ReadFor> {
        let (place, generation) = (token as u32, (token >> 32) as u32);
        let (found, entry) = self.places.get_mut(place as usize)?;
        let read = if *found == generation { entry.take() } else { None }?;
        *found = found.wrapping_add(1);
        self.free.push(place);
        Some(read)
    }

    /// Takes the first read out of which something is so.
    pub fn take_first(&mut self, is_so: impl Fn(&ReadFor) -> bool) -> Option<ReadFor> {
        let place = self.places.iter().position(|(_, read)| read.as_ref().is_some_and(&is_so))?;
        self.take(u64::from(self.places[place].0) << 32 | place as u64)
    }

    /// Whether there is one for this template.
    pub fn any_of(&self, template: usize) -> bool {
        self.len() > 0
            && self
                .places
                .iter()
                .any(|(_, read)| read.as_ref().is_some_and(|read| read.template.number == template))
    }

    /// Whether a page is on its way to this address of a process.
    pub fn brings(&self, key: Key, address: u64, page: u64) -> bool {
        let comes = |read: &ReadFor| {
            let place = page.wrapping_sub(read.first);
            read.key == key && place < read.count as u64 && read.address + place * PAGE as u64 == address
        };
        self.len() > 0 && self.places.iter().any(|(_, read)| read.as_ref().is_some_and(comes))
    }
}
