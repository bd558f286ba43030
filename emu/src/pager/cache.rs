//! The shared cache of a template: one file in memory that every process maps, filled page by page.
//!
//! A page is absent, being filled, or present. Only present pages are mapped into processes: who fills a page
//! writes it into the file step by step, and a mapping would show the steps. The state is an atomic byte per page,
//! so that threads agree on who fills a page without a lock.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use rustix::fs::SealFlags;

use super::memory::{Mapping, Page, memory_file, reserve};
use crate::template::pages::PAGE;

const ABSENT: u8 = 0;
const FILLING: u8 = 1;
const PRESENT: u8 = 2;

/// What the caches of a server may hold together.
#[derive(Debug)]
pub struct Budget {
    limit_pages: u64,
    used_pages: AtomicU64,
}

impl Budget {
    /// So many bytes; `None`: what the machine has.
    #[must_use]
    pub fn new(limit: Option<u64>) -> Self {
        let limit_pages = limit.map_or(u64::MAX, |bytes| bytes / PAGE as u64);
        Self { limit_pages, used_pages: AtomicU64::new(0) }
    }

    /// Pages that are in use.
    #[must_use]
    pub fn used_pages(&self) -> u64 {
        self.used_pages.load(Ordering::Relaxed)
    }

    fn take(&self, pages: u64) -> bool {
        let more = |used: u64| used.checked_add(pages).filter(|used| *used <= self.limit_pages);
        self.used_pages.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn give_back(&self, pages: u64) {
        self.used_pages.fetch_sub(pages, Ordering::Relaxed);
    }
}

/// What the state of a page says to who needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody has it.
    Absent,
    /// Somebody fetches it.
    Filling,
    /// It can be mapped.
    Present,
}

/// The pages of one template that have been fetched.
#[derive(Debug)]
pub struct Cache {
    file: File,
    mapping: Mapping,
    states: Box<[AtomicU8]>,
    /// Bit n: thread n waits for some page of this cache.
    waiters: AtomicU64,
    held: AtomicU64,
}

impl Cache {
    /// An empty cache for so many pages. Takes no memory yet but a byte a page.
    ///
    /// # Errors
    /// Without memory or descriptors.
    pub fn new(pages: u64) -> io::Result<Self> {
        let length = pages * PAGE as u64;
        let file = memory_file("trenvx-pages", length)?;
        let mapping = Mapping::shared(&file, length as usize)?;
        // From here on, only the mapping above can write: whoever gets the descriptor can only read.
        rustix::fs::fcntl_add_seals(&file, SealFlags::FUTURE_WRITE)?;
        let states = (0..pages).map(|_| AtomicU8::new(ABSENT)).collect();
        Ok(Self { file, mapping, states, waiters: AtomicU64::new(0), held: AtomicU64::new(0) })
    }

    /// The file, to be mapped privately by processes. It cannot be written through it.
    ///
    /// # Errors
    /// Without free descriptors.
    pub fn file(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }

    /// The state of the first page, and for how many pages from there it is the same; at most `most`.
    #[must_use]
    pub fn run(&self, first: u64, most: usize) -> (State, usize) {
        let states = &self.states[first as usize..][..most];
        let state = states[0].load(Ordering::Acquire);
        let same = states.iter().skip(1).take_while(|other| other.load(Ordering::Acquire) == state).count();
        let named = match state {
            ABSENT => State::Absent,
            FILLING => State::Filling,
            _ => State::Present,
        };
        (named, same + 1)
    }

    /// Claims absent pages from `first` on, to fill them: how many, up to the first that somebody else has.
    #[must_use]
    pub fn claim(&self, first: u64, most: usize) -> usize {
        let states = &self.states[first as usize..][..most];
        let claim =
            |state: &AtomicU8| state.compare_exchange(ABSENT, FILLING, Ordering::Acquire, Ordering::Relaxed);
        states.iter().take_while(|state| claim(state).is_ok()).count()
    }

    /// Gives claimed pages up, without having filled them. Returns the threads that wait, as bits.
    #[must_use]
    pub fn release(&self, first: u64, count: usize) -> u64 {
        self.settle(first, count, ABSENT)
    }

    /// Puts claimed pages into the cache. Returns the threads that wait, as bits.
    ///
    /// # Errors
    /// If there is no room for them, in the budget or in the machine: they are still claimed then.
    pub fn publish(&self, first: u64, pages: &[Page], budget: &Budget) -> io::Result<u64> {
        let count = pages.len() as u64;
        if !budget.take(count) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        // Room first: without it, writing to the mapping would be a SIGBUS.
        let room = match self.mapping.populate(first as usize, pages.len()) {
            Err(rustix::io::Errno::INVAL) => reserve(&self.file, first, pages.len()),
            room => room,
        };
        if let Err(errno) = room {
            budget.give_back(count);
            return Err(errno.into());
        }
        // SAFETY: the pages are claimed by this thread, so that no other writes them; nobody reads them through
        // this mapping, and processes map them only once they are present, which is after this.
        unsafe { self.mapping.fill(first as usize, pages) };
        self.held.fetch_add(count, Ordering::Relaxed);
        Ok(self.settle(first, pages.len(), PRESENT))
    }

    /// Present pages, for memory that is no mapping of the cache.
    ///
    /// # Panics
    /// If one of them is not present.
    #[must_use]
    pub fn present(&self, first: u64, count: usize) -> &[Page] {
        assert_eq!(self.run(first, count), (State::Present, count), "only present pages are given away");
        let at = self.mapping.address() as usize + first as usize * PAGE;
        // SAFETY: within the mapping, whose pages the states count; a present page is never written again, and the
        // mapping lives as long as this cache.
        unsafe { std::slice::from_raw_parts(at as *const Page, count) }
    }

    /// Pages that are present.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Notes that a thread waits for pages; it must look at their state again afterwards.
    pub fn wait(&self, thread: usize) {
        self.waiters.fetch_or(1 << (thread % 64), Ordering::SeqCst);
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    fn settle(&self, first: u64, count: usize, state: u8) -> u64 {
        for page in &self.states[first as usize..][..count] {
            page.store(state, Ordering::Release);
        }
        // Either this sees the bit of who waits, or who waits sees the new state.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.waiters.load(Ordering::SeqCst) == 0 { 0 } else { self.waiters.swap(0, Ordering::SeqCst) }
    }

    /// Gives its room in the budget back, when the template is forgotten.
    pub fn retire(&self, budget: &Budget) {
        budget.give_back(self.held.swap(0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_claimed_once_and_present_when_published() {
        let (cache, budget) = (Cache::new(8).unwrap(), Budget::new(None));
        assert_eq!(cache.claim(2, 3), 3);
        assert_eq!(cache.claim(0, 8), 2);
        assert_eq!(cache.run(0, 8), (State::Filling, 5));
        cache.wait(3);
        assert_eq!(cache.publish(2, &[[7; PAGE]; 3], &budget).unwrap(), 1 << 3);
        assert_eq!(cache.run(2, 6), (State::Present, 3));
        assert_eq!(cache.release(0, 2), 0);
        assert_eq!(cache.run(0, 8), (State::Absent, 2));
        assert_eq!((cache.held(), budget.used_pages()), (3, 3));
        let copy = Mapping::private(cache.file().unwrap(), 8 * PAGE).unwrap();
        assert_eq!(copy.bytes()[4 * PAGE], 7);
        cache.retire(&budget);
        assert_eq!(budget.used_pages(), 0);
    }

    #[test]
    fn nobody_writes_through_the_descriptor() {
        let cache = Cache::new(1).unwrap();
        let file = File::from(cache.file().unwrap());
        assert!(std::os::unix::fs::FileExt::write_at(&file, &[1], 0).is_err());
        assert!(Mapping::shared(&file, PAGE).is_err());
        assert!(file.set_len(0).is_err());
    }

    #[test]
    fn a_full_budget_refuses_and_leaves_the_claim() {
        let (cache, budget) = (Cache::new(8).unwrap(), Budget::new(Some(2 * PAGE as u64)));
        assert_eq!(cache.claim(0, 3), 3);
        let error = cache.publish(0, &[[1; PAGE]; 3], &budget).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(cache.run(0, 8), (State::Filling, 3));
        assert_eq!(cache.publish(0, &[[1; PAGE]; 2], &budget).unwrap(), 0);
        assert_eq!(cache.release(2, 1), 0);
    }
}
