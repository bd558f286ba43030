//! One thread that serves faults: an epoll loop over the descriptors of its processes.
//!
//! Order within a turn: all events of a process before its faults, faults before deferred ones, those before work
//! for idle moments. A fault that was read is served, deferred, or its range is woken, never forgotten.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, Timespec, epoll};

use super::Shared;
use super::attached::{Attached, Deferred, Job, Key, Slots};
use super::connection::Peer;
use super::fill::{Filled, Why};
use super::loaded::Loaded;
use super::reads::{ReadFor, Reads};
use crate::pager::cache::Budget;
use crate::pager::layout::Layout;
use crate::pager::memory::PageBuffer;
use crate::pager::messages::{Answer, Mode, Options};
use crate::pager::source::tiers::{Attempt, check};
use crate::pager::source::{MOST_PAGES, Pages, ReadQueue, SourceError};
use crate::pager::stats::ThreadStats;
use crate::pager::uffd::{Event, Events, Uffd};
use crate::pager::working_set::Recorder;

/// How long a deferred fault waits if nothing happens.
const DEFERRED: Duration = Duration::from_millis(1);
/// How often forked children, which nobody tells about, are looked at.
const PROBE: Duration = Duration::from_millis(250);
/// How long a source that has not answered in time is not asked first, in times of the patience.
const SILENT: u32 = 10;
/// Turns of a spinning thread between looks at everything that is not a fault.
const SPINS: u32 = 64;
/// Processes that a spinning thread asks one by one; with more, it asks the kernel which.
const SPIN_ASKS: usize = 4;

/// What a thread is told by others.
pub(super) enum Command {
    Attach(Box<NewProcess>),
    /// This manager is gone.
    Drop(u64),
    Stop,
}

/// A process to be served.
pub(super) struct NewProcess {
    pub request: u64,
    pub peer: Arc<Peer>,
    pub uffd: Uffd,
    pub pidfd: OwnedFd,
    pub template: Arc<Loaded>,
    pub layout: Layout,
    pub options: Options,
    /// To be installed before the answer: address and pages.
    pub spans: Vec<(u64, u64)>,
}

/// Where others leave commands for a thread.
pub(super) struct Mailbox {
    commands: Mutex<Vec<Command>>,
    bell: OwnedFd,
    /// A page for which the thread waits may be there.
    retry: AtomicBool,
}

impl Mailbox {
    pub fn new() -> rustix::io::Result<Self> {
        let bell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { commands: Mutex::default(), bell, retry: AtomicBool::new(false) })
    }

    pub fn send(&self, command: Command) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        self.ring();
    }

    pub fn retry(&self) {
        self.retry.store(true, Ordering::Release);
        self.ring();
    }

    fn ring(&self) {
        // Fails only when the count is at its end, and then the bell rings already.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }
}

type Queue = Box<dyn ReadQueue>;

/// What the epoll tells about.
enum Source {
    Bell,
    Faults(Key),
    Exit(Key),
    Queue(u32, u8),
}

impl Source {
    fn data(&self) -> epoll::EventData {
        let keyed = |kind: u64, key: &Key| kind << 62 | u64::from(key.slot) << 32 | u64::from(key.generation);
        epoll::EventData::new_u64(match self {
            Self::Bell => 0,
            Self::Faults(key) => keyed(1, key),
            Self::Exit(key) => keyed(2, key),
            Self::Queue(template, tier) => 3 << 62 | u64::from(*template) << 8 | u64::from(*tier),
        })
    }

    fn of(data: epoll::EventData) -> Self {
        let data = data.u64();
        let key = Key { slot: (data >> 32) as u32 & 0x3fff_ffff, generation: data as u32 };
        match data >> 62 {
            0 => Self::Bell,
            1 => Self::Faults(key),
            2 => Self::Exit(key),
            _ => Self::Queue((data >> 8) as u32, data as u8),
        }
    }
}

/// The thread.
pub(super) struct Handler {
    index: usize,
    spins: bool,
    shared: Arc<Shared>,
    stats: Arc<ThreadStats>,
    mailbox: Arc<Mailbox>,
    epoll: OwnedFd,
    slots: Slots,
    reads: Reads,
    /// By template and tier; `Some(None)`: the source has no queue.
    queues: Vec<((usize, usize), Option<Queue>)>,
    retries: Vec<ReadFor>,
    /// Sources, by template and tier, that have not answered in time, and until when they are not asked first.
    silent: Vec<((usize, usize), Instant)>,
    deferred: VecDeque<Deferred>,
    jobs: Vec<Job>,
    next_job: u64,
    /// Something has happened that deferred faults may have waited for.
    progress: bool,
    probed: Instant,
    scratch: Option<Box<PageBuffer>>,
    events: Option<Box<Events>>,
}

impl Handler {
    pub fn new(index: usize, shared: Arc<Shared>, spins: bool) -> std::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mailbox = Arc::clone(&shared.mailboxes[index]);
        epoll::add(&epoll, &mailbox.bell, Source::Bell.data(), epoll::EventFlags::IN)?;
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

    pub fn index(&self) -> usize {
        self.index
    }

    pub fn stats(&self) -> &ThreadStats {
        &self.stats
    }

    pub fn reads(&self) -> &Reads {
        &self.reads
    }

    pub fn budget(&self) -> &Budget {
        &self.shared.budget
    }

    pub fn patience(&self) -> Duration {
        self.shared.config.patience
    }

    /// Where a read begins: at the first source that is not known to be silent, if there is one.
    pub fn first_attempt(&self, template: &Loaded) -> Attempt {
        let is_silent = |tier: &usize| {
            let name = (template.number, *tier);
            self.silent.iter().any(|(other, until)| *other == name && Instant::now() < *until)
        };
        if self.silent.is_empty() {
            return Attempt::default();
        }
        Attempt::at((0..template.tiers.all().len()).find(|tier| !is_silent(tier)).unwrap_or(0))
    }

    pub fn take_scratch(&mut self) -> Box<PageBuffer> {
        self.scratch.take().expect("one read at a time")
    }

    pub fn put_scratch(&mut self, scratch: Box<PageBuffer>) {
        self.scratch = Some(scratch);
    }

    /// Tells threads, as bits, that pages for which they wait may be there.
    pub fn wake_threads(&mut self, threads: u64) {
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
    pub fn run(mut self) {
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
                match Source::of(event.data) {
                    Source::Bell => {
                        if self.answer_bell() {
                            return;
                        }
                    }
                    Source::Faults(key) => self.serve(key),
                    Source::Exit(key) => self.exited(key),
                    Source::Queue(template, tier) => self.complete(template as usize, tier as usize),
                }
            }
            self.after(ready.is_empty());
        }
    }

    /// A turn of a spinning thread: whether the next can follow at once.
    fn spin(&mut self, spun: &mut u32) -> bool {
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

    fn timeout(&self) -> Option<Timespec> {
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
    fn after(&mut self, idle: bool) {
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
    fn serve(&mut self, key: Key) {
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

    fn fault(&mut self, attached: &mut Attached, address: u64, write: bool, started: Instant) {
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
            Filled::Later => {
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

    fn record(&mut self, attached: &mut Attached, address: u64) {
        if let Some(recorder) = &mut attached.recorder
            && let (crate::pager::layout::Origin::Page(page), _) = attached.layout.run(address, 1)
        {
            recorder.add(page);
        }
    }

    /// The process has changed its memory.
    fn changed(&mut self, attached: &mut Attached, event: Option<Event>) {
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

    fn forked(&mut self, parent: &Attached, uffd: Uffd) {
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
        if epoll::add(&self.epoll, &child.uffd, Source::Faults(key).data(), epoll::EventFlags::IN).is_err() {
            child.kill();
        }
        self.slots.put(child);
    }

    /// Kills a process, because it cannot go on, and says why.
    fn end(&mut self, attached: &mut Attached, reason: String) {
        if attached.ended {
            return;
        }
        self.stats.counts.ended.add(1);
        attached.kill();
        let told = Answer::Ended { attachment: attached.id, reason };
        if !attached.peer.tell(0, told, &[]) {
            self.stats.counts.notices_lost.add(1);
        }
    }

    fn retry_deferred(&mut self) {
        let due = Instant::now();
        for _ in 0..self.deferred.len() {
            let Some(deferred) = self.deferred.pop_front() else { return };
            let Some(mut attached) = self.slots.take(deferred.key) else { continue };
            if !self.progress && due.duration_since(deferred.started) > self.shared.config.patience * 20 {
                // Nobody has got on for long: the thread is to come back, if it still waits.
                let _ = attached.uffd.wake(deferred.address, crate::template::pages::PAGE as u64);
            } else {
                self.fault(&mut attached, deferred.address, deferred.write, deferred.started);
            }
            self.slots.put(attached);
        }
    }

    /// Makes the queue of a source if it is to have one: whether it has.
    pub fn queue_of(&mut self, template: &Loaded, tier: usize) -> Result<bool, SourceError> {
        let name = (template.number, tier);
        if let Some((_, queue)) = self.queues.iter().find(|(other, _)| *other == name) {
            return Ok(queue.is_some());
        }
        let queue = template.tiers.all()[tier].source.queue()?;
        if let Some(queue) = &queue {
            let data = Source::Queue(template.number as u32, tier as u8).data();
            epoll::add(&self.epoll, queue.ready(), data, epoll::EventFlags::IN)
                .map_err(|errno| SourceError::io("cannot wait for the source")(errno.into()))?;
        }
        let has = queue.is_some();
        self.queues.push((name, queue));
        Ok(has)
    }

    /// Hands a read to its source's queue.
    pub fn submit(&mut self, read: &ReadFor) -> Result<(), SourceError> {
        let token = self.reads.enter(read.clone()).ok_or(SourceError::Full)?;
        let name = (read.template.number, read.attempt.tier);
        let queue = self.queues.iter_mut().find(|(other, _)| *other == name);
        let queue = queue.and_then(|(_, queue)| queue.as_mut()).ok_or(SourceError::Full);
        let result = queue.and_then(|queue| queue.submit(token, read.first, read.count));
        if result.is_err() {
            self.reads.take(token);
        } else if let Some(job) = read.job
            && let Some(job) = self.jobs.iter_mut().find(|other| other.number == job)
        {
            job.outstanding += 1;
        }
        result
    }

    /// Collects what a queue has.
    fn complete(&mut self, template: usize, tier: usize) {
        let Some(place) = self.queues.iter().position(|(name, _)| *name == (template, tier)) else { return };
        let Some(mut queue) = self.queues[place].1.take() else { return };
        queue.complete(&mut |token, result| self.completed(token, result));
        if let Some((_, entry)) = self.queues.iter_mut().find(|(name, _)| *name == (template, tier)) {
            *entry = Some(queue);
        }
        self.tidy(template);
    }

    /// Drops the queues of a template, and with them their connections, when nobody needs them.
    fn tidy(&mut self, template: usize) {
        let in_use = self.slots.iter().any(|other| other.template.number == template)
            || self.reads.any_of(template)
            || self.retries.iter().any(|read| read.template.number == template);
        if !in_use {
            self.queues.retain(|((other, _), _)| *other != template);
        }
    }

    fn completed(&mut self, token: u64, result: Pages<'_>) {
        // One that was given up has been asked for elsewhere.
        let Some(mut read) = self.reads.take(token) else { return };
        let source = Arc::clone(&read.template.tiers.of(read.attempt).source);
        let good = result.and_then(|pages| {
            check(&*source, &read.template.table, read.first, pages)?;
            Ok(pages)
        });
        let mut attached = self.slots.take(read.key);
        match good {
            Ok(pages) => {
                let filled = self.deliver(attached.as_deref_mut(), &read, pages);
                self.settled(attached.as_deref_mut(), &read, filled);
            }
            Err(error) => match self.fall(&mut read, &error) {
                Ok(()) => self.retries.push(read.clone()),
                Err(reason) => self.settled(attached.as_deref_mut(), &read, Filled::Failed(reason)),
            },
        }
        if let Some(attached) = attached {
            self.slots.put(attached);
        }
    }

    /// A read has come to its end.
    fn settled(&mut self, attached: Option<&mut Attached>, read: &ReadFor, filled: Filled) {
        self.progress = true;
        if let Some(job) = read.job {
            if let Some(job) = self.jobs.iter_mut().find(|other| other.number == job) {
                job.outstanding -= 1;
            }
            if let (Filled::Failed(_), Some(attached)) = (filled, attached) {
                // A thread may have come for one of these pages: it is to ask again, and to hear the reason.
                let length = (read.count * crate::template::pages::PAGE) as u64;
                let _ = attached.uffd.wake(read.address, length);
            }
            return;
        }
        let Some(attached) = attached else { return };
        match filled {
            Filled::Done(_) | Filled::Pending(_) => {
                self.stats.counts.faults.add(1);
                self.stats.faults.add(read.started.elapsed());
            }
            Filled::Later => {
                let ReadFor { key, address, write, started, .. } = *read;
                self.stats.counts.deferred.add(1);
                self.deferred.push_back(Deferred { key, address, write, started });
            }
            Filled::Gone => {}
            Filled::Failed(reason) => self.end(attached, reason),
        }
    }

    /// Asks elsewhere for what does not come.
    fn give_up_late(&mut self) {
        let patience = self.shared.config.patience;
        let Some(before) = Instant::now().checked_sub(patience) else { return };
        while let Some(token) = self.reads.older(before) {
            let Some(mut read) = self.reads.take(token) else { return };
            let late = SourceError::Late(patience.as_millis() as u64);
            let (name, until) =
                ((read.template.number, read.attempt.tier), Instant::now() + patience * SILENT);
            self.silent.retain(|(other, until)| *other != name && Instant::now() < *until);
            self.silent.push((name, until));
            match self.fall(&mut read, &late) {
                Ok(()) => self.retries.push(read),
                Err(reason) => self.settle_alone(&read, Filled::Failed(reason)),
            }
        }
    }

    fn read_again(&mut self, read: &ReadFor) {
        let mut attached = self.slots.take(read.key);
        // It counts anew when it is submitted.
        if let Some(job) = read.job
            && let Some(job) = self.jobs.iter_mut().find(|other| other.number == job)
        {
            job.outstanding -= 1;
        }
        let filled = self.read(attached.as_deref_mut(), read.clone());
        if let Some(attached) = attached {
            self.slots.put(attached);
        }
        if matches!(filled, Filled::Pending(_)) {
            return;
        }
        if let Some(job) = read.job
            && let Some(job) = self.jobs.iter_mut().find(|other| other.number == job)
        {
            job.outstanding += 1;
        }
        self.settle_alone(read, filled);
    }

    fn settle_alone(&mut self, read: &ReadFor, filled: Filled) {
        let mut attached = self.slots.take(read.key);
        self.settled(attached.as_deref_mut(), read, filled);
        if let Some(attached) = attached {
            self.slots.put(attached);
        }
    }

    /// Commands of others: whether the thread is to end.
    fn answer_bell(&mut self) -> bool {
        let _ = rustix::io::read(&self.mailbox.bell, &mut [0_u8; 8]);
        if self.mailbox.retry.swap(false, Ordering::Acquire) {
            self.progress = true;
        }
        let commands =
            std::mem::take(&mut *self.mailbox.commands.lock().unwrap_or_else(PoisonError::into_inner));
        for command in commands {
            match command {
                Command::Attach(new) => self.attach(*new),
                Command::Drop(peer) => self.drop_peer(peer),
                Command::Stop => {
                    let keys: Vec<Key> = self.slots.iter().map(|attached| attached.key).collect();
                    for key in keys {
                        self.kill_and_forget(key);
                    }
                    return true;
                }
            }
        }
        false
    }

    fn attach(&mut self, new: NewProcess) {
        let key = self.slots.reserve();
        let pages = new.template.pages();
        let mut attached = Box::new(Attached {
            id: self.shared.next_id(),
            key,
            uffd: new.uffd,
            pidfd: Some(new.pidfd),
            peer: new.peer,
            recorder: new.options.record.then(|| Recorder::new(pages)),
            installed: Attached::nothing_installed(pages),
            template: new.template,
            layout: new.layout,
            options: new.options,
            ended: false,
        });
        let pidfd = attached.pidfd.as_ref().expect("given above");
        let entered = epoll::add(&self.epoll, pidfd, Source::Exit(key).data(), epoll::EventFlags::IN)
            .and_then(|()| {
                let faults = Source::Faults(key).data();
                epoll::add(&self.epoll, &attached.uffd, faults, epoll::EventFlags::IN).inspect_err(|_| {
                    let _ = epoll::delete(&self.epoll, pidfd);
                })
            });
        if let Err(errno) = entered {
            let reason = format!("cannot wait for its faults: {errno}");
            attached.peer.tell(new.request, Answer::Refused { reason }, &[]);
            self.slots.give_up(key);
            return;
        }
        self.stats.counts.attached.add(1);
        let mut answers = Some(new.request);
        if !new.spans.is_empty() {
            self.start_job(key, new.spans, answers.take());
        }
        if attached.options.background {
            let all = attached.layout.ranges().collect();
            self.start_job(key, all, None);
        }
        if let Some(request) = answers {
            let told = Answer::Attached { attachment: attached.id, prefetched: 0 };
            if !attached.peer.tell(request, told, &[]) {
                attached.kill();
            }
        }
        self.slots.put(attached);
    }

    fn start_job(&mut self, key: Key, spans: Vec<(u64, u64)>, answers: Option<u64>) {
        self.next_job += 1;
        let chunk = if answers.is_some() { 64 } else { self.shared.config.idle_chunk };
        self.jobs.push(Job {
            number: self.next_job,
            key,
            spans: spans.into(),
            chunk,
            outstanding: 0,
            stuck_since: None,
            installed: 0,
            answers,
        });
    }

    /// One step of the first job; jobs that nobody waits for only when the turn was idle.
    fn work(&mut self, idle: bool) {
        let wanted = |job: &Job| (job.answers.is_some() || idle) && job.can_step();
        let Some(place) = self.jobs.iter().position(wanted) else { return };
        let job = &mut self.jobs[place];
        let (number, key, chunk) = (job.number, job.key, job.chunk);
        let since = *job.stuck_since.get_or_insert_with(Instant::now);
        let front = job.spans.front().copied();
        let finished = front.is_none() && job.outstanding == 0;
        let Some(mut attached) = self.slots.take(key) else {
            self.jobs.remove(place);
            return;
        };
        if finished || attached.ended {
            let job = self.jobs.remove(place);
            if let Some(request) = job.answers {
                let told = Answer::Attached { attachment: attached.id, prefetched: job.installed };
                if !attached.peer.tell(request, told, &[]) {
                    attached.kill();
                }
            }
            self.slots.put(attached);
            return;
        }
        if let Some((address, pages)) = front {
            let most = (pages as usize).min(chunk);
            let filled = self.fill(&mut attached, address, most, Why::Job(number), since);
            let (step, new) = match filled {
                Filled::Done(done) | Filled::Pending(done) => (done, done as u64),
                Filled::Later => (0, 0),
                // Whoever needs the page will ask for it and hear the reason.
                Filled::Failed(_) => (1, 0),
                Filled::Gone => (pages as usize, 0),
            };
            self.stats.counts.prefetched_pages.add(new);
            let job = &mut self.jobs[place];
            job.installed += new;
            if step > 0 {
                job.stuck_since = None;
            }
            let (address, pages) = job.spans.front_mut().expect("looked at above");
            *address += (step * crate::template::pages::PAGE) as u64;
            *pages -= step as u64;
            if *pages == 0 {
                job.spans.pop_front();
            }
            if job.answers.is_none() {
                job.chunk = (job.chunk * 2).min(self.shared.config.idle_chunk * 64).min(MOST_PAGES);
            }
        }
        self.slots.put(attached);
        // The others take their turns.
        let job = self.jobs.remove(place);
        self.jobs.push(job);
    }

    fn exited(&mut self, key: Key) {
        if let Some(attached) = self.slots.take(key) {
            self.forget(*attached, true);
        }
    }

    /// Looks for forked children that are gone.
    fn probe(&mut self) {
        self.probed = Instant::now();
        let children = self.slots.iter().filter(|attached| attached.pidfd.is_none());
        let gone: Vec<Key> = children.filter(|child| child.uffd.is_gone()).map(|child| child.key).collect();
        for key in gone {
            self.exited(key);
        }
    }

    fn drop_peer(&mut self, peer: u64) {
        let of_peer = self.slots.iter().filter(|attached| attached.peer.number() == peer);
        let keys: Vec<Key> = of_peer.map(|attached| attached.key).collect();
        for key in keys {
            self.kill_and_forget(key);
        }
    }

    /// A process that nobody serves any more would read zeros: it is killed first.
    fn kill_and_forget(&mut self, key: Key) {
        if let Some(mut attached) = self.slots.take(key) {
            attached.kill();
            self.forget(*attached, false);
        }
    }

    fn forget(&mut self, mut attached: Attached, tell: bool) {
        // The descriptors have copies elsewhere, so that closing ours would not take them out.
        let _ = epoll::delete(&self.epoll, &attached.uffd);
        if let Some(pidfd) = &attached.pidfd {
            let _ = epoll::delete(&self.epoll, pidfd);
        }
        self.stats.counts.detached.add(1);
        if let Some(recorder) = attached.recorder.take().filter(|_| tell && !attached.ended) {
            self.shared.scribe(&attached.template, recorder.finish());
        }
        if tell && !attached.peer.tell(0, Answer::Exited { attachment: attached.id }, &[]) {
            self.stats.counts.notices_lost.add(1);
        }
        let (key, template) = (attached.key, attached.template.number);
        self.jobs.retain(|job| job.key != key);
        self.deferred.retain(|deferred| deferred.key != key);
        self.slots.give_up(key);
        drop(attached);
        self.tidy(template);
    }
}
