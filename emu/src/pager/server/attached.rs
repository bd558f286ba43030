//! A process that is served.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use super::connection::Peer;
use super::loaded::Loaded;
use crate::pager::layout::Layout;
use crate::pager::messages::{Mode, Options};
use crate::pager::uffd::{Stop, Uffd};
use crate::pager::working_set::Recorder;

/// Names a slot of a thread, and the process that had it when the name was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Number of the slot.
    pub slot: u32,
    /// How often the slot had been given before.
    pub generation: u32,
}

/// A process that is served.
#[derive(Debug)]
pub struct Attached {
    /// Its number in notices.
    pub id: u64,
    /// Where it is kept.
    pub key: Key,
    /// Its faults.
    pub uffd: Uffd,
    /// The process; a forked child has none.
    pub pidfd: Option<OwnedFd>,
    /// Who attached it.
    pub peer: Arc<Peer>,
    /// Its pages.
    pub template: Arc<Loaded>,
    /// What belongs where.
    pub layout: Layout,
    /// How it is served.
    pub options: Options,
    /// Pages of the template that have been installed, as bits: only for choosing what to install beside a fault.
    pub installed: Box<[u64]>,
    /// Its first faults, if they are recorded.
    pub recorder: Option<Recorder>,
    /// It is being ended.
    pub ended: bool,
}

impl Attached {
    /// How pages come into the process.
    pub fn mode(&self) -> Mode {
        self.options.mode
    }

    /// No installed page yet.
    pub fn nothing_installed(pages: u64) -> Box<[u64]> {
        vec![0; (pages as usize).div_ceil(64)].into()
    }

    /// Notes pages that are in place.
    pub fn mark(&mut self, first: u64, count: usize) {
        for page in first..first + count as u64 {
            self.installed[(page / 64) as usize] |= 1 << (page % 64);
        }
    }

    /// Whether this page is known to be in place.
    pub fn is_marked(&self, page: u64) -> bool {
        self.installed[(page / 64) as usize] & (1 << (page % 64)) != 0
    }

    /// Kills the process. A forked child, whose number nobody has told, gets poisoned memory instead: it is killed
    /// when it touches what is missing. False if the kernel cannot do that: it waits until its manager kills it.
    pub fn kill(&mut self) -> bool {
        self.ended = true;
        match &self.pidfd {
            Some(pidfd) => {
                // It may be gone already.
                let _ = rustix::process::pidfd_send_signal(pidfd.as_fd(), rustix::process::Signal::KILL);
                true
            }
            None => self.poison(),
        }
    }

    fn poison(&self) -> bool {
        for (mut address, mut pages) in self.layout.ranges() {
            while pages > 0 {
                let done = self.uffd.poison(address, pages as usize);
                // A page that is in place may stay.
                let step = match done.stop {
                    Some(Stop::Exists) => done.pages as u64 + 1,
                    Some(Stop::Again) if done.pages > 0 => done.pages as u64,
                    None => done.pages as u64,
                    Some(Stop::Other(_)) => return false,
                    _ => break,
                };
                address += step * crate::template::pages::PAGE as u64;
                pages = pages.saturating_sub(step);
            }
        }
        true
    }
}

/// All processes of a thread.
#[derive(Debug, Default)]
pub struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    attached: Option<Box<Attached>>,
}

impl Slots {
    /// The key that [`Slots::put`] is to be called with.
    pub fn reserve(&mut self) -> Key {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        Key { slot, generation: self.slots[slot as usize].generation }
    }

    /// Takes a process out to work on it; it must be put back or given up.
    pub fn take(&mut self, key: Key) -> Option<Box<Attached>> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.generation != key.generation { None } else { slot.attached.take() }
    }

    /// Puts a process into the slot of its key.
    pub fn put(&mut self, attached: Box<Attached>) {
        let slot = attached.key.slot as usize;
        self.slots[slot].attached = Some(attached);
    }

    /// Frees the slot of a process that was taken out.
    pub fn give_up(&mut self, key: Key) {
        let slot = &mut self.slots[key.slot as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.slot);
    }

    /// Those that are in their slots.
    pub fn iter(&self) -> impl Iterator<Item = &Attached> {
        self.slots.iter().filter_map(|slot| slot.attached.as_deref())
    }
}

/// A fault that waits for something and is tried again.
#[derive(Clone, Copy, Debug)]
pub struct Deferred {
    /// Whose.
    pub key: Key,
    /// The page.
    pub address: u64,
    /// It wants to write.
    pub write: bool,
    /// When it was read.
    pub started: Instant,
}

/// Pages to be installed before anybody asks.
#[derive(Debug)]
pub struct Job {
    /// Names it in reads.
    pub number: u64,
    /// Whose.
    pub key: Key,
    /// Ranges left: address and pages.
    pub spans: VecDeque<(u64, u64)>,
    /// Pages at a time.
    pub chunk: usize,
    /// Reads that are not complete.
    pub outstanding: usize,
    /// Since when it has not got on.
    pub stuck_since: Option<Instant>,
    /// Pages that were installed.
    pub installed: u64,
    /// The request that is answered at the end; without one it is work for idle moments.
    pub answers: Option<u64>,
}

/// Reads that a job has under way at most.
const JOB_READS: usize = 8;

impl Job {
    /// Whether there is something to do now.
    pub fn can_step(&self) -> bool {
        if self.spans.is_empty() { self.outstanding == 0 } else { self.outstanding < JOB_READS }
    }
}
