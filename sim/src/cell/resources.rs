//! Processors and locks of the cell's nodes and racks.

use super::{Cell, Flags, NOWHERE, PER_NODE};
use crate::costs::Resource;
use crate::processor::Joined;
use crate::queue::{Class, Number, Work};
use platform::ids::{NodeId, SandboxId};
use traces::{Duration, Instant};

impl Cell {
    pub(super) fn processor_of(&self, node: NodeId, resource: Resource) -> u32 {
        let of_node = (node.index() * PER_NODE) as u32;
        match resource {
            Resource::Nic => of_node + 1,
            Resource::Disk => of_node + 2,
            Resource::CxlDevice => (self.memory.len() * PER_NODE + self.rack(node)) as u32,
            _ => of_node,
        }
    }

    /// Until when a resource that serves one after the other is taken.
    pub(super) fn serial(&mut self, node: NodeId, resource: Resource) -> &mut Instant {
        let rack = self.rack(node);
        let locks = &mut self.locks[node.index()];
        match resource {
            Resource::MountLock => &mut locks.mount,
            Resource::CgroupLock => &mut locks.cgroup,
            Resource::NicLine => &mut locks.nic_line,
            Resource::DiskLine => &mut locks.disk_line,
            Resource::StorageLink => &mut self.storage_links[rack],
            _ => &mut locks.netns,
        }
    }

    /// The sandbox joins a processor.
    #[inline]
    pub(super) fn on_processor(&mut self, index: u32, sandbox: SandboxId, work: Duration) {
        let processor = &mut self.processors[index as usize];
        let Some(seat) = processor.sit_down(self.now, sandbox.0, work) else {
            self.share_processor(index, sandbox, work);
            return;
        };
        let is_cores = processor.is_cores;
        let event = self.queue.push(seat.ends(), Class::Work, Work::Sandbox(sandbox.0));
        let activity = &mut self.sandboxes[sandbox.index()];
        (activity.on, activity.seat, activity.event) = (index, seat, event);
        if is_cores {
            self.book_core_time();
            self.cores_busy += 1;
        }
    }

    /// As [`Self::on_processor`], on one that is overloaded now if it was not yet.
    #[cold]
    fn share_processor(&mut self, index: u32, sandbox: SandboxId, work: Duration) {
        self.sandboxes[sandbox.index()].on = index;
        let processor = &mut self.processors[index as usize];
        let before = processor.in_use();
        let joined = processor.join(&mut self.sandboxes, self.now, sandbox.0, work, &mut self.displaced);
        self.count_cores(index, before);
        match joined {
            Joined::Ends(at) => {
                let event = self.queue.push(at, Class::Work, Work::Sandbox(sandbox.0));
                self.sandboxes[sandbox.index()].event = event;
            }
            Joined::Shares => {
                self.forget_ends();
                self.announce(index);
            }
        }
    }

    /// A sandbox whose end on a processor was known has come to it, or it is lost.
    #[inline]
    pub(super) fn off_processor(&mut self, index: u32, sandbox: SandboxId) {
        let processor = &mut self.processors[index as usize];
        if !processor.get_up(self.sandboxes[sandbox.index()].seat) {
            self.leave_shared(index, sandbox);
        } else if processor.is_cores {
            self.book_core_time();
            self.cores_busy -= 1;
        }
    }

    #[cold]
    fn leave_shared(&mut self, index: u32, sandbox: SandboxId) {
        let processor = &mut self.processors[index as usize];
        let before = processor.in_use();
        processor.end(&mut self.sandboxes, self.now, sandbox.0);
        self.count_cores(index, before);
    }

    /// A leave that was announced has come.
    pub(super) fn leave(&mut self, index: u32, announcement: Number) {
        let mut left = std::mem::take(&mut self.leaving);
        let processor = &mut self.processors[index as usize];
        let before = processor.in_use();
        if processor.leave(self.now, announcement, &mut left) {
            let mut settled = std::mem::take(&mut self.settled);
            processor.settle(&mut self.sandboxes, self.now, &mut settled);
            self.count_cores(index, before);
            for (job, ends) in settled.drain(..) {
                let event = self.queue.push(ends, Class::Work, Work::Sandbox(job));
                self.sandboxes[job as usize].event = event;
            }
            self.settled = settled;
            self.announce(index);
            for job in left.drain(..) {
                self.sandboxes[job as usize].on = NOWHERE;
                self.advance(SandboxId(job));
            }
        }
        self.leaving = left;
    }

    /// The processor's capacity becomes another one.
    pub(super) fn set_capacity(&mut self, processor: u32, capacity: u64) {
        self.processors[processor as usize].set_capacity(
            &mut self.sandboxes,
            self.now,
            capacity,
            &mut self.displaced,
        );
        self.forget_ends();
        self.announce(processor);
    }

    /// The sandbox stops whatever it is doing: none of its events counts any more.
    pub(super) fn stop(&mut self, sandbox: SandboxId) {
        let activity = self.activity(sandbox);
        activity.event = Number::NONE;
        activity.flags.take(Flags::RUNNING);
        let on = std::mem::replace(&mut activity.on, NOWHERE);
        let reading = activity.flags.has(Flags::READING);
        if on != NOWHERE {
            self.off_processor(on, sandbox);
            self.announce(on);
        }
        if reading {
            self.end_reading(sandbox);
        }
        if self.timeline.is_some() {
            self.watch_end(sandbox);
        }
    }

    /// Books the core time since it was last booked.
    #[inline]
    pub(super) fn book_core_time(&mut self) {
        let passed = self.now.since(self.cores_updated);
        self.cores_updated = self.now;
        self.core_time += passed * self.cores_busy;
    }

    fn announce(&mut self, index: u32) {
        let processor = &mut self.processors[index as usize];
        if let Some(at) = processor.to_announce() {
            let event = self.queue.push(at, Class::Work, Work::Processor(index));
            processor.announced(at, event);
        }
    }

    /// Jobs whose known ends no longer hold: their events mean nothing any more.
    fn forget_ends(&mut self) {
        for job in self.displaced.drain(..) {
            self.sandboxes[job as usize].event = Number::NONE;
        }
    }

    fn count_cores(&mut self, index: u32, before: u32) {
        let processor = &self.processors[index as usize];
        let after = processor.in_use();
        if processor.is_cores && after != before {
            self.book_core_time();
            self.cores_busy = self.cores_busy + u64::from(after) - u64::from(before);
        }
    }
}
