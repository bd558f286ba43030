//! What sandboxes and nodes hold.

use super::{Cell, Flags, NO_FUNCTION, one};
use crate::costs::NOTHING;
use platform::control::Input;
use platform::ids::{NodeId, SandboxId};
use platform::memory::{ByClass, MemoryClass};
use platform::records::{Happening, TimelinePlace};
use traces::Bytes;

impl Cell {
    /// The sandbox's own memory goes to another level of its plan.
    pub(super) fn set_level(&mut self, sandbox: SandboxId, level: u8) {
        let activity = &mut self.sandboxes[sandbox.index()];
        let old = std::mem::replace(&mut activity.level, level);
        if old == level {
            return;
        }
        let costs = self.costs.of(activity.function);
        let plan = if activity.flags.has(Flags::FALLBACK) { &costs.fallback } else { &costs.plan };
        let (before, after) = (*self.costs.level(plan, old), *self.costs.level(plan, level));
        let node = activity.node;
        self.accounting.change(self.now, &before, &after);
        let place = &mut self.memory[node.index()];
        place.change(self.measured, self.now, |held| *held = *held + after.local() - before.local());
        if place.held() > self.dram {
            self.pressure.push(node);
        }
        if self.timeline.is_some() {
            self.watch_memory(TimelinePlace::Node(node.0), &before, &after);
        }
    }

    /// One more sandbox uses what its node holds once for all: file pages, the function's image. The
    /// first brings them in.
    pub(super) fn share(&mut self, sandbox: SandboxId) {
        let activity = &self.sandboxes[sandbox.index()];
        let (node, function) = (activity.node, activity.function);
        let costs = self.costs.of(function);
        let (files, image) = (costs.files, costs.image);
        let users = &mut self.file_users[node.index() * self.costs.files.len() + files as usize];
        *users += 1;
        if *users == 1 {
            let pages = one(MemoryClass::NodeShared, self.costs.files[files as usize]);
            self.hold_on(node, &pages);
        }
        let mut cold_cache = false;
        if image > Bytes::ZERO {
            let users = self.image_users.entry((function.0, node.0)).or_insert(0);
            *users += 1;
            cold_cache = *users == 1;
        }
        if cold_cache {
            self.hold_on(node, &one(MemoryClass::NodeShared, image));
        }
        let flags = &mut self.sandboxes[sandbox.index()].flags;
        flags.set(Flags::SHARING);
        if cold_cache {
            flags.set(Flags::COLD_CACHE);
        }
    }

    /// The sandbox gives back everything that it holds of its function, and its share in what others
    /// hold with it.
    pub(super) fn release(&mut self, sandbox: SandboxId) {
        if self.activity(sandbox).function == NO_FUNCTION {
            return;
        }
        self.leave_browser(sandbox);
        self.set_level(sandbox, NOTHING);
        let activity = &mut self.sandboxes[sandbox.index()];
        let (node, function) = (activity.node, activity.function);
        activity.function = NO_FUNCTION;
        let attached = activity.flags.take(Flags::ATTACHED);
        let remote = activity.flags.take(Flags::REMOTE);
        let shares = activity.flags.take(Flags::SHARING);
        if attached {
            let rack = self.rack(node);
            self.devices[rack].release(function);
        }
        if remote && let Some(pool) = &mut self.pool {
            pool.release(function);
        }
        if shares {
            self.unshare(node, function);
        }
    }

    fn unshare(&mut self, node: NodeId, function: traces::FunctionId) {
        let costs = self.costs.of(function);
        let (files, image) = (costs.files, costs.image);
        let users = &mut self.file_users[node.index() * self.costs.files.len() + files as usize];
        *users -= 1;
        if *users == 0 {
            let pages = one(MemoryClass::NodeShared, self.costs.files[files as usize]);
            self.give_back(node, &pages);
        }
        if image > Bytes::ZERO
            && let Some(users) = self.image_users.get_mut(&(function.0, node.0))
        {
            *users -= 1;
            if *users == 0 {
                self.image_users.remove(&(function.0, node.0));
                self.give_back(node, &one(MemoryClass::NodeShared, image));
            }
        }
    }

    /// After enough invocations, read-only pages are copied to local memory, off the critical path.
    pub(super) fn promote(&mut self, sandbox: SandboxId) {
        let activity = &self.sandboxes[sandbox.index()];
        let costs = self.costs.of(activity.function);
        // An agent's memory comes and goes with its steps.
        if costs.agent.is_some() {
            return;
        }
        let level = costs.plan.promoted();
        if activity.uses == self.promote_after
            && !activity.flags.has(Flags::FALLBACK)
            && activity.level < level
        {
            let node = activity.node;
            self.counters.promoted += 1;
            self.set_level(sandbox, level);
            if self.timeline.is_some() {
                self.watch_sandbox(Happening::Promoted, node, sandbox);
            }
        }
    }

    /// A node holds more.
    pub(super) fn hold_on(&mut self, node: NodeId, bytes: &ByClass) {
        self.accounting.add(self.now, bytes);
        let local = bytes.local();
        let place = &mut self.memory[node.index()];
        place.change(self.measured, self.now, |held| *held += local);
        if place.held() > self.dram {
            self.pressure.push(node);
        }
        if self.timeline.is_some() {
            self.watch_memory(TimelinePlace::Node(node.0), &ByClass::default(), bytes);
        }
    }

    /// A node holds less.
    pub(super) fn give_back(&mut self, node: NodeId, bytes: &ByClass) {
        self.accounting.take(self.now, bytes);
        let local = bytes.local();
        self.memory[node.index()].change(self.measured, self.now, |held| *held -= local);
        if self.timeline.is_some() {
            self.watch_memory(TimelinePlace::Node(node.0), bytes, &ByClass::default());
        }
    }

    /// Asks the control plane to relieve nodes that use more than their DRAM.
    pub(super) fn relieve(&mut self) {
        while let Some(node) = self.pressure.pop() {
            while self.memory[node.index()].held() > self.dram {
                let before = self.counters.evicted;
                self.tell(Input::MemoryPressure { node });
                if self.counters.evicted == before {
                    self.counters.overcommitted += 1;
                    break;
                }
            }
        }
    }
}
