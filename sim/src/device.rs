//! A pool device, the CXL device of a rack or the RDMA pool: which templates it holds, and for whom.
//!
//! A template that the device does not hold is filled in from network storage by its first user;
//! others wait for the same fill. If it does not fit, templates that no sandbox uses make room, least
//! recently used first; if it still does not fit, or the device is down, the start has to do without.

use crate::accounting::{Measured, Place};
use crate::costs::{Costs, Tier};
use platform::records::PlaceRecord;
use traces::{Bytes, Duration, FunctionId, Instant};

/// What a start gets from the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supply {
    /// The template, after this wait.
    After(Duration),
    /// Nothing.
    Nothing,
}

/// How many bytes the device holds more and less after a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Filled in.
    pub more: Bytes,
    /// Given up.
    pub less: Bytes,
    /// Templates given up.
    pub displaced: u64,
    /// Whether a template was filled in.
    pub filled: bool,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    present: bool,
    users: u32,
    /// When its fill is through.
    ready: Instant,
    /// Its neighbours among those that nobody uses: who came before and after it.
    before: u32,
    after: u32,
}

/// No template.
const NONE: u32 = u32::MAX;

/// The device.
pub struct Device {
    tier: Tier,
    up: bool,
    capacity: Bytes,
    templates: Vec<Held>,
    /// Templates in each common memory.
    sharers: Vec<u32>,
    commons: Vec<Bytes>,
    /// Templates that nobody uses: the first to have become so, and the last.
    first_unused: u32,
    last_unused: u32,
    link_free: Instant,
    /// The memory it holds.
    pub place: Place,
}

impl Device {
    /// A device before the run that holds the templates `at_home` says.
    pub fn new(tier: Tier, capacity: Bytes, costs: &Costs, at_home: impl Fn(FunctionId) -> bool) -> Self {
        let absent = Held { present: false, users: 0, ready: Instant::ZERO, before: NONE, after: NONE };
        let mut device = Self {
            tier,
            up: true,
            capacity,
            templates: vec![absent; costs.class_of.len()],
            sharers: vec![0; costs.commons as usize],
            commons: vec![Bytes::ZERO; costs.commons as usize],
            first_unused: NONE,
            last_unused: NONE,
            link_free: Instant::ZERO,
            place: Place::default(),
        };
        let functions = || (0..costs.class_of.len() as u32).map(FunctionId);
        for function in functions() {
            let common = &mut device.commons[costs.common_of(function)];
            *common = (*common).max(costs.of(function).template.common(tier));
        }
        let measured = Measured { from: Instant::ZERO, until: Instant::ZERO };
        for function in functions().filter(|&function| at_home(function)) {
            device.bring_in(costs, function, measured, Instant::ZERO);
            device.lay_aside(function.0);
        }
        device
    }

    /// Bytes that it has room for.
    pub fn capacity(&self) -> Bytes {
        self.capacity
    }

    /// A sandbox of the function is about to use its template.
    pub fn acquire(
        &mut self,
        costs: &Costs,
        function: FunctionId,
        measured: Measured,
        now: Instant,
        change: &mut Change,
    ) -> Supply {
        if !self.up {
            return Supply::Nothing;
        }
        if !self.templates[function.index()].present {
            if !self.make_room(costs, function, measured, now, change) {
                return Supply::Nothing;
            }
            change.more += self.bring_in(costs, function, measured, now);
            change.filled = true;
            self.link_free = self.link_free.max(now) + costs.of(function).template.fill(self.tier);
            self.templates[function.index()].ready = self.link_free;
        } else if self.templates[function.index()].users == 0 {
            self.take_up(function.0);
        }
        let template = &mut self.templates[function.index()];
        template.users += 1;
        Supply::After(template.ready.max(now).since(now))
    }

    /// A sandbox of the function no longer uses its template.
    pub fn release(&mut self, function: FunctionId) {
        let template = &mut self.templates[function.index()];
        // A device that failed has forgotten its users.
        if !template.present || template.users == 0 {
            return;
        }
        template.users -= 1;
        if template.users == 0 {
            self.lay_aside(function.0);
        }
    }

    /// Everything on the device is lost, and it is down. Answers with what it held.
    pub fn fail(&mut self, measured: Measured, now: Instant) -> Bytes {
        self.up = false;
        for template in &mut self.templates {
            template.present = false;
            template.users = 0;
        }
        self.sharers.fill(0);
        (self.first_unused, self.last_unused) = (NONE, NONE);
        let held = self.place.held();
        self.place.change(measured, now, |bytes| *bytes = Bytes::ZERO);
        held
    }

    /// The device is there again, empty.
    pub fn come_back(&mut self) {
        self.up = true;
    }

    /// A template has lost its last user.
    fn lay_aside(&mut self, index: u32) {
        let last = std::mem::replace(&mut self.last_unused, index);
        let template = &mut self.templates[index as usize];
        (template.before, template.after) = (last, NONE);
        *self.after(last) = index;
    }

    /// A template is no longer among those that nobody uses.
    fn take_up(&mut self, index: u32) {
        let Held { before, after, .. } = self.templates[index as usize];
        *self.after(before) = after;
        match after {
            NONE => self.last_unused = before,
            _ => self.templates[after as usize].before = before,
        }
    }

    /// Which unused template comes after that one, or is the first.
    fn after(&mut self, index: u32) -> &mut u32 {
        match index {
            NONE => &mut self.first_unused,
            _ => &mut self.templates[index as usize].after,
        }
    }

    /// The record of the whole run.
    pub fn finish(self, measured: Measured) -> PlaceRecord {
        self.place.finish(measured)
    }

    /// Bytes that the function's template needs beyond what is there.
    fn needs(&self, costs: &Costs, function: FunctionId) -> Bytes {
        let template = &costs.of(function).template;
        let common = costs.common_of(function);
        let first = template.common(self.tier) > Bytes::ZERO && self.sharers[common] == 0;
        template.own(self.tier) + if first { self.commons[common] } else { Bytes::ZERO }
    }

    fn bring_in(&mut self, costs: &Costs, function: FunctionId, measured: Measured, now: Instant) -> Bytes {
        let needs = self.needs(costs, function);
        if costs.of(function).template.common(self.tier) > Bytes::ZERO {
            self.sharers[costs.common_of(function)] += 1;
        }
        self.templates[function.index()].present = true;
        self.place.change(measured, now, |bytes| *bytes += needs);
        needs
    }

    fn make_room(
        &mut self,
        costs: &Costs,
        function: FunctionId,
        measured: Measured,
        now: Instant,
        change: &mut Change,
    ) -> bool {
        while self.place.held() + self.needs(costs, function) > self.capacity {
            let victim = FunctionId(self.first_unused);
            if victim.0 == NONE {
                return false;
            }
            self.take_up(victim.0);
            let template = &costs.of(victim).template;
            let mut freed = template.own(self.tier);
            if template.common(self.tier) > Bytes::ZERO {
                let common = costs.common_of(victim);
                self.sharers[common] -= 1;
                if self.sharers[common] == 0 {
                    freed += self.commons[common];
                }
            }
            self.templates[victim.index()].present = false;
            self.place.change(measured, now, |bytes| *bytes -= freed);
            change.less += freed;
            change.displaced += 1;
        }
        true
    }
}
