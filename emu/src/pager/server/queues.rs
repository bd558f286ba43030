//! Reads whose pages come later: handing them to a source's queue, and what becomes of them.

use std::sync::Arc;
use std::time::Instant;

use rustix::event::epoll;

use super::attached::{Attached, Deferred};
use super::fill::Filled;
use super::handler::Handler;
use super::loaded::Loaded;
use super::mailbox::Told;
use super::reads::ReadFor;
use crate::pager::source::tiers::check;
use crate::pager::source::{Pages, SourceError};

/// How long a source that has not answered in time is not asked first, in times of the patience.
const SILENT: u32 = 10;

impl Handler {
    /// Makes the queue of a source if it is to have one: whether it has.
    pub(super) fn queue_of(&mut self, template: &Loaded, tier: usize) -> Result<bool, SourceError> {
        let name = (template.number, tier);
        if let Some((_, queue)) = self.queues.iter().find(|(other, _)| *other == name) {
            return Ok(queue.is_some());
        }
        let queue = template.tiers.all()[tier].source.queue()?;
        if let Some(queue) = &queue {
            let data = Told::Queue(template.number as u32, tier as u8).data();
            epoll::add(&self.epoll, queue.ready(), data, epoll::EventFlags::IN)
                .map_err(|errno| SourceError::io("cannot wait for the source")(errno.into()))?;
        }
        let has = queue.is_some();
        self.queues.push((name, queue));
        Ok(has)
    }

    /// Hands a read to its source's queue.
    pub(super) fn submit(&mut self, read: &ReadFor) -> Result<(), SourceError> {
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
    pub(super) fn complete(&mut self, template: usize, tier: usize) {
        let Some(place) = self.queues.iter().position(|(name, _)| *name == (template, tier)) else { return };
        let Some(mut queue) = self.queues[place].1.take() else { return };
        queue.complete(&mut |token, result| self.completed(token, result));
        if let Some((_, entry)) = self.queues.iter_mut().find(|(name, _)| *name == (template, tier)) {
            *entry = Some(queue);
        }
        self.tidy(template);
    }

    /// Drops the queues of a template, and with them their connections, when nobody needs them.
    pub(super) fn tidy(&mut self, template: usize) {
        let in_use = self.slots.iter().any(|other| other.template.number == template)
            || self.reads.any_of(template)
            || self.retries.iter().any(|read| read.template.number == template);
        if !in_use {
            self.queues.retain(|((other, _), _)| *other != template);
        }
    }

    pub(super) fn completed(&mut self, token: u64, result: Pages<'_>) {
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
    pub(super) fn settled(&mut self, attached: Option<&mut Attached>, read: &ReadFor, filled: Filled) {
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
            // It is looked at again, and ends there if there is no memory for long.
            Filled::Later | Filled::NoRoom => {
                let ReadFor { key, address, write, started, .. } = *read;
                self.stats.counts.deferred.add(1);
                self.deferred.push_back(Deferred { key, address, write, started });
            }
            Filled::Gone => {}
            Filled::Failed(reason) => self.end(attached, reason),
        }
    }

    /// Asks elsewhere for what does not come.
    pub(super) fn give_up_late(&mut self) {
        let now = Instant::now();
        let shared = Arc::clone(&self.shared);
        let late =
            |read: &ReadFor| now.duration_since(read.asked) > shared.patience(&read.template, read.attempt);
        loop {
            let Some(mut read) = self.reads.take_first(late) else { return };
            let late = SourceError::Late(now.duration_since(read.asked).as_millis() as u64);
            self.silence(&read);
            match self.fall(&mut read, &late) {
                Ok(()) => self.retries.push(read),
                Err(reason) => self.settle_alone(&read, Filled::Failed(reason)),
            }
        }
    }

    /// Does not ask the source of a read first for a while.
    pub(super) fn silence(&mut self, read: &ReadFor) {
        let name = (read.template.number, read.attempt.tier);
        let until = Instant::now() + self.shared.config.patience * SILENT;
        self.silent.retain(|(other, until)| *other != name && Instant::now() < *until);
        self.silent.push((name, until));
    }

    pub(super) fn read_again(&mut self, read: &ReadFor) {
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

    pub(super) fn settle_alone(&mut self, read: &ReadFor, filled: Filled) {
        let mut attached = self.slots.take(read.key);
        self.settled(attached.as_deref_mut(), read, filled);
        if let Some(attached) = attached {
            self.slots.put(attached);
        }
    }
}
