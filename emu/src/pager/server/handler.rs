//! One thread that serves faults: an epoll loop over the descriptors of its processes.
//!
//! Order within a turn: all events of a process before its faults, faults before deferred ones, those before work
//! for idle moments. A fault that was read is served, deferred, or its range is woken, never forgotten.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use super::Shared;
use super::attached::{Attached, Deferred, Job, Key, Slots};
use super::fill::{Filled, Why};
use super::loaded::Loaded;
use super::mailbox::{Mailbox, Told};
use super::reads::{ReadFor, Reads};
use crate::pager::cache::Budget;
use crate::pager::memory::PageBuffer;
use crate::pager::messages::{Answer, Mode};
use crate::pager::source::tiers::Attempt;
use crate::pager::source::{MOST_PAGES, ReadQueue};
use crate::pager::stats::ThreadStats;
use crate::pager::uffd::{Event, Events, Uffd};

/// How long a deferred fault waits if nothing happens.
const DEFERRED: Duration = Duration::from_millis(1);
/// How often forked children, which nobody tells about, are looked at.
const PROBE: Duration = Duration::from_millis(250);
/// Turns of a spinning thread between looks at everything that is not a fault.
const SPINS: u32 = 256;
/// Processes that a spinning thread asks one by one; with more, it asks the kernel which.
const SPIN_ASKS: usize = 4;

type Queue = Box<dyn ReadQueue>;

/// The thread.
pub(super) struct Handler {
    pub(super) index: usize,
    pub(super) spins: bool,
    pub(super) shared: Arc<Shared>,
    pub(super) stats: Arc<ThreadStats>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) epoll: OwnedFd,
    pub(super) slots: Slots,
    pub(super) reads: Reads,
    /// By template and tier; `Some(None)`: the source has no queue.
    pub(super) queues: Vec<((usize, usize), Option<Queue>)>,
    pub(super) retries: Vec<ReadFor>,
    /// Sources, by template and tier, that have not answered in time, and until when they are not asked first.
    pub(super) silent: Vec<((usize, usize), Instant)>,
    pub(super) deferred: VecDeque<Deferred>,
    pub(super) jobs: Vec<Job>,
    pub(super) next_job: u64,
    /// Something has happened that deferred faults may have waited for.
    pub(super) progress: bool,
    pub(super) probed: Instant,
    pub(super) scratch: Option<Box<PageBuffer>>,
    pub(super) events: Option<Box<Events>>,
}

impl Handler {
    pub(super) fn new(index: usize, shared: Arc<Shared>, spins: bool) -> std::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mailbox = Arc::clone(&shared.mailboxes[index]);
        epoll::add(&epoll, &mailbox.bell, Told::Bell.data(), epoll::EventFlags::IN)?;
        Ok(Self {
            index,
            spins,
            stats: Arc::clone(&shared.stats[index]),
            shared,
            mailbox,
            epoll,
            slots: Slots::default(),
            reads: Reads::new(),
            queues: Vec::new(),
            retries: Vec::new(),
            silent: Vec::new(),
            deferred: VecDeque::with_capacity(256),
            jobs: Vec::new(),
            next_job: 0,
            progress: false,
            probed: Instant::now(),
            scratch: Some(Box::new(PageBuffer::new(MOST_PAGES)?)),
            events: Some(Box::default()),
        })
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn stats(&self) -> &ThreadStats {
        &self.stats
    }

    pub(super) fn reads(&self) -> &Reads {
        &self.reads
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.shared.budget
    }

    pub(super) fn patience(&self) -> Duration {
        self.shared.config.patience
    }

    /// How long the source of this attempt may take.
    pub(super) fn patience_with(&self, template: &Loaded, attempt: Attempt) -> Duration {
        self.shared.patience(template, attempt)
    }

    /// Where a read begins: at the first source that holds the pages and is not known to be silent, if there is one.
    pub(super) fn first_attempt(&self, template: &Loaded, first: u64, count: usize) -> Attempt {
        let is_silent = |tier: &usize| {
            let name = (template.number, *tier);
            self.silent.iter().any(|(other, until)| *other == name && Instant::now() < *until)
        };
        if self.silent.is_empty() && !template.tiers.is_partial() {
            return Attempt::default();
        }
        let tiers = template.tiers.all();
        let mut holds = (0..tiers.len()).filter(|tier| tiers[*tier].source.holds(first, count) == count);
        let any = holds.clone().next();
        Attempt::at(holds.find(|tier| !is_silent(tier)).or(any).unwrap_or(0))
    }

    pub(super) fn take_scratch(&mut self) -> Box<PageBuffer> {
        self.scratch.take().expect("one read at a time")
    }

    pub(super) fn put_scratch(&mut self, scratch: Box<PageBuffer>) {
        self.scratch = Some(scratch);
    }

    /// Tells threads, as bits, that pages for which they wait may be there.
    pub(super) fn wake_threads(&mut self, threads: u64) {
        if threads == 0 {
            return;
        }
        for (index, mailbox) in self.shared.mailboxes.iter().enumerate() {
            if threads & (1 << (index % 64)) != 0 {
                if index == self.index { self.progress = true } else { mailbox.retry() }
            }
        }
    }

    /// Serves until told to stop.
    pub(super) fn run(mut self) {
        let mut ready = Vec::with_capacity(64);
        let mut spun = 0;
        loop {
            if self.spins && self.spin(&mut spun) {
                continue;
            }
            ready.clear();
            let timeout = self.timeout();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut ready), timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => panic!("cannot wait for faults: {errno}"),
            }
            for event in &ready {
                match Told::of(event.data) {
                    Told::Bell => {
                        if self.answer_bell() {
                            return;
                        }
                    }
                    Told::Faults(key) => self.serve(key),
                    Told::Exit(key) => self.exited(key),
                    Told::Queue(template, tier) => self.complete(template as usize, tier as usize),
                }
            }
            self.after(ready.is_empty());
        }
    }

    /// A turn of a spinning thread: whether the next can follow at once.
    pub(super) fn spin(&mut self, spun: &mut u32) -> bool {
        *spun += 1;
        if *spun >= SPINS || !self.jobs.is_empty() || self.reads.len() > 0 {
            *spun = 0;
            return false;
        }
        let mut keys = [None; SPIN_ASKS];
        let mut number = 0;
        for attached in self.slots.iter() {
            if number == SPIN_ASKS {
                return false;
            }
            keys[number] = Some(attached.key);
            number += 1;
        }
        for key in keys.iter().flatten() {
            self.serve(*key);
        }
        if !self.deferred.is_empty() {
            self.after(false);
        }
        number > 0
    }

    pub(super) fn timeout(&self) -> Option<Timespec> {
        let wait = if self.jobs.iter().any(Job::can_step) || self.progress || !self.retries.is_empty() {
            Duration::ZERO
        } else if !self.deferred.is_empty() {
            DEFERRED
        } else if self.spins && self.slots.iter().next().is_some() {
            Duration::ZERO
        } else if self.reads.len() > 0 {
            self.shared.config.patience / 4
        } else if self.slots.iter().any(|attached| attached.pidfd.is_none()) {
            PROBE
        } else {
            return None;
        };
        Some(Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) as _ })
    }

    /// What follows the events of a turn.
    pub(super) fn after(&mut self, idle: bool) {
        if !self.deferred.is_empty() {
            self.retry_deferred();
        }
        self.progress = false;
        if self.reads.len() > 0 {
            self.give_up_late();
        }
        while let Some(read) = self.retries.pop() {
            self.read_again(&read);
        }
        if self.slots.iter().any(|attached| attached.pidfd.is_none()) && self.probed.elapsed() >= PROBE {
            self.probe();
        }
        self.work(idle);
    }

    /// Reads and serves what has happened in a process.
    pub(super) fn serve(&mut self, key: Key) {
        let Some(mut attached) = self.slots.take(key) else { return };
        let mut events = self.events.take().expect("one process at a time");
        while attached.uffd.read(&mut events).is_ok() && !events.is_empty() {
            let started = Instant::now();
            for at in 0..events.len() {
                if events.fault(at).is_none() {
                    self.changed(&mut attached, events.take(at));
                }
            }
            for at in 0..events.len() {
                if let Some((address, write, _)) = events.fault(at) {
                    self.fault(&mut attached, address, write, started);
                }
            }
            if events.len() < Events::MOST {
                break;
            }
        }
        self.events = Some(events);
        self.slots.put(attached);
    }

    pub(super) fn fault(&mut self, attached: &mut Attached, address: u64, write: bool, started: Instant) {
        if attached.ended {
            return;
        }
        let batch = if attached.recorder.is_some() { 1 } else { attached.options.batch };
        match self.fill(attached, address, batch, Why::Fault { write }, started) {
            Filled::Done(_) => {
                self.stats.counts.faults.add(1);
                self.stats.faults.add(started.elapsed());
                self.record(attached, address);
            }
            // Counted when it comes.
            Filled::Pending(_) => self.record(attached, address),
            Filled::NoRoom if started.elapsed() > self.patience() => {
                self.end(attached, format!("no memory for the page at {address:#x}"));
            }
            Filled::Later | Filled::NoRoom => {
                self.stats.counts.deferred.add(1);
                self.deferred.push_back(Deferred { key: attached.key, address, write, started });
            }
            Filled::Gone => {}
            Filled::Failed(reason) => self.end(attached, reason),
        }
        for job in self.jobs.iter_mut().filter(|job| job.answers.is_none()) {
            job.chunk = self.shared.config.idle_chunk;
        }
    }

    pub(super) fn record(&mut self, attached: &mut Attached, address: u64) {
        if let Some(recorder) = &mut attached.recorder
            && let (crate::pager::layout::Origin::Page(page), _) = attached.layout.run(address, 1)
        {
            recorder.add(page);
        }
    }

    /// The process has changed its memory.
    pub(super) fn changed(&mut self, attached: &mut Attached, event: Option<Event>) {
        let counts = &self.stats.counts;
        let range = match event {
            Some(Event::Fork(uffd)) => {
                counts.forks.add(1);
                return self.forked(attached, uffd);
            }
            Some(Event::Remap { from, to, length }) => {
                counts.remaps.add(1);
                attached.layout.remap(from, to, length);
                (from, from + length)
            }
            Some(Event::Remove { start, end }) => {
                counts.removes.add(1);
                attached.layout.remove(start, end);
                (start, end)
            }
            Some(Event::Unmap { start, end }) => {
                counts.unmaps.add(1);
                attached.layout.unmap(start, end);
                (start, end)
            }
            Some(Event::Fault { .. }) | None => return,
        };
        self.progress = true;
        // Who waits there for a page that is on its way is to find out how things are now.
        let _ = attached.uffd.wake(range.0, range.1 - range.0);
    }

    pub(super) fn forked(&mut self, parent: &Attached, uffd: Uffd) {
        self.progress = true;
        let key = self.slots.reserve();
        let mut child = Box::new(Attached {
            id: self.shared.next_id(),
            key,
            uffd,
            pidfd: None,
            peer: Arc::clone(&parent.peer),
            template: Arc::clone(&parent.template),
            layout: parent.layout.clone(),
            options: parent.options,
            // Mapped pages of a file are not copied by a fork: the child faults them again.
            installed: match parent.mode() {
                Mode::Private => parent.installed.clone(),
                Mode::Shared => Attached::nothing_installed(parent.template.pages()),
            },
            recorder: None,
            ended: false,
        });
        let told = Answer::Forked { attachment: child.id, parent: parent.id };
        if !child.peer.tell(0, told, &[child.uffd.as_fd()]) {
            self.stats.counts.notices_lost.add(1);
        }
        if epoll::add(&self.epoll, &child.uffd, Told::Faults(key).data(), epoll::EventFlags::IN).is_err() {
            child.kill();
        }
        self.slots.put(child);
    }

    /// Kills a process, because it cannot go on, and says why.
    pub(super) fn end(&mut self, attached: &mut Attached, reason: String) {
        if attached.ended {
            return;
        }
        self.stats.counts.ended.add(1);
        let waits = !attached.kill();
        let told = Answer::Ended { attachment: attached.id, reason, waits };
        if !attached.peer.tell(0, told, &[]) {
            self.stats.counts.notices_lost.add(1);
        }
    }

    pub(super) fn retry_deferred(&mut self) {
        let due = Instant::now();
        // Longer than any source may take.
        let long = self.shared.config.patience.max(self.shared.config.alone) * 2;
        for _ in 0..self.deferred.len() {
            let Some(deferred) = self.deferred.pop_front() else { return };
            let Some(mut attached) = self.slots.take(deferred.key) else { continue };
            if !self.progress && due.duration_since(deferred.started) > long {
                // Nobody has got on for long: the thread is to come back, if it still waits.
                let _ = attached.uffd.wake(deferred.address, crate::template::pages::PAGE as u64);
            } else {
                self.fault(&mut attached, deferred.address, deferred.write, deferred.started);
            }
            self.slots.put(attached);
        }
    }
}
