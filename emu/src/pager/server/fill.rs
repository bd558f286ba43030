//! How one run of pages gets into a process: from memory, from the cache, or from a source.

use std::sync::Arc;
use std::time::Instant;

use super::attached::Attached;
use super::handler::Handler;
use super::reads::ReadFor;
use crate::pager::cache::State;
use crate::pager::layout::Origin;
use crate::pager::memory::{Page, ZEROS};
use crate::pager::messages::Mode;
use crate::pager::source::SourceError;
use crate::pager::source::tiers::{Attempt, check};
use crate::pager::uffd::{Installed, Stop};
use crate::template::pages::PAGE;

/// Why pages are installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// A thread waits for the first of them.
    Fault {
        /// It wants to write.
        write: bool,
    },
    /// For the job of this number.
    Job(u64),
}

impl Why {
    fn writes(self) -> bool {
        matches!(self, Self::Fault { write: true })
    }
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Filled {
    /// So many pages are dealt with.
    Done(usize),
    /// So many pages are on their way.
    Pending(usize),
    /// Not now: an event is unread, a page is being filled by another thread, or a queue is full.
    Later,
    /// There is no memory for it now.
    NoRoom,
    /// The process has no memory any more.
    Gone,
    /// It cannot be done.
    Failed(String),
}

impl Handler {
    /// Installs pages of one kind from `address` on: at least the first, at most `most`.
    pub(super) fn fill(
        &mut self,
        attached: &mut Attached,
        address: u64,
        most: usize,
        why: Why,
        started: Instant,
    ) -> Filled {
        let (origin, pages) = attached.layout.run(address, most);
        let Origin::Page(first) = origin else {
            return self.zeros(attached, address, pages, why);
        };
        // The first is always done; those after it as long as they are of the same kind and not there yet.
        let present = attached.template.table.is_present(first);
        let same =
            |page: &u64| !attached.is_marked(*page) && attached.template.table.is_present(*page) == present;
        let count = 1 + (first + 1..first + pages as u64).take_while(same).count();
        if !present {
            let filled = self.zeros(attached, address, count, why);
            if let Filled::Done(done) = filled {
                attached.mark(first, done);
            }
            return filled;
        }
        let count = attached.template.tiers.together(first, count);
        match attached.mode() {
            Mode::Private => self.private(attached, address, first, count, why, started),
            Mode::Shared => self.shared(attached, address, first, count, why, started),
        }
    }

    /// The page of zeros; for a write a page of its own at once, which saves the second fault.
    fn zeros(&mut self, attached: &Attached, address: u64, pages: usize, why: Why) -> Filled {
        let (filled, done) = if why.writes() {
            self.place(attached, address, 1, |uffd, at, _, _| uffd.copy(at, std::slice::from_ref(&ZEROS), 0))
        } else {
            self.place(attached, address, pages, |uffd, at, _, left| uffd.zero(at, left, 0))
        };
        self.stats().counts.zero_pages.add(done);
        filled
    }

    fn private(
        &mut self,
        attached: &mut Attached,
        address: u64,
        first: u64,
        count: usize,
        why: Why,
        started: Instant,
    ) -> Filled {
        let tier = &attached.template.tiers.all()[0];
        let Some(mapped) = tier.source.mapped().filter(|_| tier.source.is_trusted()) else {
            return self.fetch(attached, address, first, count, why, started, false);
        };
        let pages = &mapped[first as usize..][..count];
        let (filled, done) =
            self.place(attached, address, count, |uffd, at, from, _| uffd.copy(at, &pages[from..], 0));
        self.stats().counts.copied_pages.add(done);
        tier.stats.of(self.index()).read(done as usize);
        match filled {
            Filled::Done(done) => {
                attached.mark(first, done);
                Filled::Done(done)
            }
            // The mapping cannot be read: somebody has cut the file off.
            Filled::Failed(reason) => {
                let error = std::io::Error::from_raw_os_error(libc::EFAULT);
                tier.stats.of(self.index()).failed(&SourceError::io("cannot read the mapped pages")(error));
                if attached.template.tiers.all().len() == 1 {
                    return Filled::Failed(reason);
                }
                let read = self.read_for(attached, address, first, count, why, started);
                self.read(Some(attached), ReadFor { attempt: Attempt::at(1), ..read })
            }
            other => other,
        }
    }

    fn shared(
        &mut self,
        attached: &mut Attached,
        address: u64,
        first: u64,
        count: usize,
        why: Why,
        started: Instant,
    ) -> Filled {
        loop {
            let cache = match attached.template.cache() {
                Ok(cache) => cache,
                Err(error) => return Filled::Failed(format!("no memory for the shared cache: {error}")),
            };
            match cache.run(first, count) {
                (State::Present, same) => return self.resume(attached, address, first, same),
                (State::Absent, same) => match cache.claim(first, same) {
                    0 => {}
                    claimed => return self.fetch(attached, address, first, claimed, why, started, true),
                },
                (State::Filling, same) => {
                    if matches!(why, Why::Job(_)) {
                        return Filled::Done(same);
                    }
                    cache.wait(self.index());
                    if cache.run(first, 1).0 == State::Filling {
                        return Filled::Later;
                    }
                }
            }
        }
    }

    /// Maps pages that the cache has. Memory that is no mapping of the cache, such as a stack, gets copies of them.
    fn resume(&mut self, attached: &mut Attached, address: u64, first: u64, count: usize) -> Filled {
        let cache = attached.template.cache_if_made().expect("it has these pages");
        let mut copied = 0;
        let (filled, done) = self.place(attached, address, count, |uffd, at, from, left| {
            let mapped = uffd.resume(at, left, 0);
            if mapped.pages > 0 || mapped.stop != Some(Stop::Other(rustix::io::Errno::INVAL)) {
                return mapped;
            }
            let copy = uffd.copy(at, cache.present(first + from as u64, left), 0);
            copied += copy.pages as u64;
            copy
        });
        self.stats().counts.copied_pages.add(copied);
        self.stats().counts.continued_pages.add(done - copied);
        if let Filled::Done(done) = filled {
            attached.mark(first, done);
        }
        filled
    }

    /// Gets pages from the sources. Claimed ones go into the cache.
    #[allow(clippy::too_many_arguments, reason = "a read is described by all of them")]
    fn fetch(
        &mut self,
        attached: &mut Attached,
        address: u64,
        first: u64,
        count: usize,
        why: Why,
        started: Instant,
        claimed: bool,
    ) -> Filled {
        if !claimed && self.reads().brings(attached.key, address, first) {
            // Its thread is woken with the page. One that only wants a batch comes back for the rest.
            return if matches!(why, Why::Job(_)) { Filled::Done(1) } else { Filled::Pending(1) };
        }
        let read = self.read_for(attached, address, first, count, why, started);
        self.read(Some(attached), ReadFor { claimed, ..read })
    }

    fn read_for(
        &self,
        attached: &Attached,
        address: u64,
        first: u64,
        count: usize,
        why: Why,
        started: Instant,
    ) -> ReadFor {
        let job = if let Why::Job(job) = why { Some(job) } else { None };
        ReadFor {
            key: attached.key,
            template: Arc::clone(&attached.template),
            address,
            first,
            count,
            attempt: self.first_attempt(&attached.template, first, count),
            claimed: false,
            job,
            write: why.writes(),
            started,
            asked: started,
        }
    }

    /// Begins a read, or does it where the source has no queue; goes on to the next source when one fails.
    pub(super) fn read(&mut self, mut attached: Option<&mut Attached>, mut read: ReadFor) -> Filled {
        loop {
            read.asked = Instant::now();
            let template = Arc::clone(&read.template);
            let tier = template.tiers.of(read.attempt);
            let failed = match self.queue_of(&template, read.attempt.tier) {
                Ok(true) => match self.submit(&read) {
                    Ok(()) => return Filled::Pending(read.count),
                    Err(error) if template.tiers.is_to_wait(read.attempt, &error) => {
                        if read.started.elapsed() < self.patience_with(&template, read.attempt) {
                            self.unclaim(&read);
                            return Filled::Later;
                        }
                        // A queue that stays full is one that does not answer.
                        self.silence(&read);
                        error
                    }
                    Err(error) => error,
                },
                Ok(false) => {
                    let mut scratch = self.take_scratch();
                    let into = &mut scratch.pages_mut()[..read.count];
                    let result = tier
                        .source
                        .read(read.first, into)
                        .and_then(|()| check(&*tier.source, &template.table, read.first, into));
                    let filled = result.map(|()| self.deliver(attached.as_deref_mut(), &read, into));
                    self.put_scratch(scratch);
                    match filled {
                        Ok(filled) => return filled,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            if let Err(reason) = self.fall(&mut read, &failed) {
                return Filled::Failed(reason);
            }
        }
    }

    /// After a failure: on to the next attempt.
    ///
    /// # Errors
    /// When there is none left; the pages are not claimed any more then.
    pub(super) fn fall(&mut self, read: &mut ReadFor, error: &SourceError) -> Result<(), String> {
        let tier = read.template.tiers.of(read.attempt);
        tier.stats.of(self.index()).failed(error);
        match read.template.tiers.next(read.attempt, error) {
            Some(attempt) => {
                read.attempt = attempt;
                Ok(())
            }
            None => {
                let reason = format!(
                    "page {} of {} cannot be had; {} said last: {error}",
                    read.first,
                    read.template.folder.display(),
                    tier.source.name()
                );
                self.unclaim(read);
                Err(reason)
            }
        }
    }

    /// Gives up what was claimed for a read.
    pub(super) fn unclaim(&mut self, read: &ReadFor) {
        if let (true, Some(cache)) = (read.claimed, read.template.cache_if_made()) {
            let waiters = cache.release(read.first, read.count);
            self.wake_threads(waiters);
        }
    }

    /// Good pages have come: into the cache if they are claimed, and into the process if there still is one.
    pub(super) fn deliver(
        &mut self,
        attached: Option<&mut Attached>,
        read: &ReadFor,
        pages: &[Page],
    ) -> Filled {
        let tier = read.template.tiers.of(read.attempt);
        read.template.tiers.offer(read.attempt, read.first, pages);
        tier.stats.of(self.index()).read(pages.len());
        tier.stats.times(self.index()).add(read.asked.elapsed());
        let mut shared = false;
        if read.claimed {
            let cache = read.template.cache_if_made().expect("claimed in it");
            match cache.publish(read.first, pages, self.budget()) {
                Ok(waiters) => {
                    shared = true;
                    self.stats().counts.cached_pages.add(pages.len() as u64);
                    self.wake_threads(waiters);
                }
                Err(_) => {
                    // Without room, the process gets pages of its own.
                    self.stats().counts.cache_full_pages.add(pages.len() as u64);
                    self.unclaim(read);
                }
            }
        }
        let Some(attached) = attached.filter(|attached| !attached.ended) else {
            return Filled::Done(read.count);
        };
        // The process may have changed its memory while the pages were on their way.
        let mut at = 0;
        while at < read.count {
            let address = read.address + (at * PAGE) as u64;
            let (origin, same) = attached.layout.run(address, read.count - at);
            if origin != Origin::Page(read.first + at as u64) {
                let _ = attached.uffd.wake(address, (same * PAGE) as u64);
                at += same;
                continue;
            }
            let pages = &pages[at..at + same];
            let filled = if shared {
                self.resume(attached, address, read.first + at as u64, same)
            } else {
                let (filled, done) =
                    self.place(attached, address, same, |uffd, to, from, _| uffd.copy(to, &pages[from..], 0));
                self.stats().counts.copied_pages.add(done);
                if let Filled::Done(done) = filled {
                    attached.mark(read.first + at as u64, done);
                }
                filled
            };
            match filled {
                Filled::Done(done) => at += done,
                other => {
                    // Other threads may have come for these pages meanwhile: they are to ask again.
                    let _ = attached.uffd.wake(address, ((read.count - at) * PAGE) as u64);
                    return other;
                }
            }
        }
        Filled::Done(read.count)
    }

    /// Calls `install` until `pages` are in place from `address` on, or something stops it: with the address, how
    /// many are in place, and how many are left. Says what became of it and how many pages were new. Stops at a
    /// page behind the first that is there already.
    fn place(
        &self,
        attached: &Attached,
        address: u64,
        pages: usize,
        mut install: impl FnMut(&crate::pager::uffd::Uffd, u64, usize, usize) -> Installed,
    ) -> (Filled, u64) {
        let mut done = 0;
        while done < pages {
            let at = address + (done * PAGE) as u64;
            let installed = install(&attached.uffd, at, done, pages - done);
            done += installed.pages;
            let filled = match installed.stop {
                None => continue,
                Some(Stop::Again) if installed.pages > 0 => continue,
                Some(Stop::Exists) => {
                    self.stats().counts.exists.add(1);
                    // Somebody may wait for it who came when it was being installed.
                    let _ = attached.uffd.wake(at, PAGE as u64);
                    return (Filled::Done(done + 1), done as u64);
                }
                Some(Stop::Again) => {
                    self.stats().counts.again.add(1);
                    Filled::Later
                }
                Some(Stop::Unregistered) => {
                    // Unmapped meanwhile: who waits there is to find out.
                    let _ = attached.uffd.wake(at, PAGE as u64);
                    return (Filled::Done(done + 1), done as u64);
                }
                Some(Stop::Gone) => Filled::Gone,
                Some(Stop::Other(rustix::io::Errno::NOMEM)) => Filled::NoRoom,
                Some(Stop::Source) => Filled::Failed(format!("the page for {at:#x} cannot be read")),
                Some(Stop::Other(errno)) => {
                    Filled::Failed(format!("cannot install a page at {at:#x}: {errno}"))
                }
            };
            return if done > 0 { (Filled::Done(done), done as u64) } else { (filled, 0) };
        }
        (Filled::Done(done), done as u64)
    }
}
