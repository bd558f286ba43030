//! The CXL device of a rack: which templates it holds, for whom, and how busy it is.
//!
//! A template that the device does not hold is filled in from network storage by its first user;
//! others wait for the same fill. If it does not fit, templates that no sandbox uses make room, least
//! recently used first; if it still does not fit, or the device is down, the start has to do without.

use crate::accounting::{Measured, Place};
use crate::costs::Costs;
use configs::Spec;
use platform::records::PlaceRecord;
use std::collections::BTreeSet;
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
    /// When its last user left.
    left: Instant,
}

/// The device.
pub struct Device {
    up: bool,
    capacity: Bytes,
    bandwidth: f64,
    /// Nanoseconds of additional latency for each unit of u / (1 - u).
    queueing_ns: f64,
    latency_ns: f64,
    dram_ns: f64,
    /// Bytes a second that running instances read in place.
    demand: u64,
    templates: Vec<Held>,
    /// Templates in each common memory.
    sharers: Vec<u32>,
    commons: Vec<Bytes>,
    unused: BTreeSet<(Instant, u32)>,
    link_free: Instant,
    /// The memory it holds.
    pub place: Place,
}

/// Utilisation from which on the model of the latency does not go further.
const SATURATED: f64 = 0.95;

impl Device {
    /// A device before the run that holds the templates `at_home` says.
    pub fn new(spec: &Spec, costs: &Costs, at_home: impl Fn(FunctionId) -> bool) -> Self {
        let cxl = &spec.machine.cxl;
        let line_ns = 64.0 / cxl.bandwidth as f64 * 1e9;
        let absent = Held { present: false, users: 0, ready: Instant::ZERO, left: Instant::ZERO };
        let mut device = Self {
            up: true,
            capacity: cxl.capacity,
            bandwidth: cxl.bandwidth as f64,
            queueing_ns: cxl.queued_lines * line_ns,
            latency_ns: cxl.latency.as_nanos() as f64,
            dram_ns: spec.machine.dram.latency.as_nanos().max(1) as f64,
            demand: 0,
            templates: vec![absent; costs.class_of.len()],
            sharers: vec![0; costs.commons as usize],
            commons: vec![Bytes::ZERO; costs.commons as usize],
            unused: BTreeSet::new(),
            link_free: Instant::ZERO,
            place: Place::default(),
        };
        let functions = || (0..costs.class_of.len() as u32).map(FunctionId);
        for function in functions() {
            let common = &mut device.commons[costs.common_of(function)];
            *common = (*common).max(costs.of(function).template.common);
        }
        let measured = Measured { from: Instant::ZERO, until: Instant::ZERO };
        for function in functions().filter(|&function| at_home(function)) {
            device.bring_in(costs, function, measured, Instant::ZERO);
            device.unused.insert((Instant::ZERO, function.0));
        }
        device
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
            self.link_free = self.link_free.max(now) + costs.of(function).template.fill;
            self.templates[function.index()].ready = self.link_free;
        }
        let template = &mut self.templates[function.index()];
        if template.users == 0 {
            self.unused.remove(&(template.left, function.0));
        }
        template.users += 1;
        Supply::After(template.ready.max(now).since(now))
    }

    /// A sandbox of the function no longer uses its template.
    pub fn release(&mut self, function: FunctionId, now: Instant) {
        let template = &mut self.templates[function.index()];
        // A device that failed has forgotten its users.
        if !template.present || template.users == 0 {
            return;
        }
        template.users -= 1;
        if template.users == 0 {
            template.left = now;
            self.unused.insert((now, function.0));
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
        self.unused.clear();
        let held = self.place.held();
        self.place.change(measured, now, |bytes| *bytes = Bytes::ZERO);
        held
    }

    /// The device is there again, empty.
    pub fn come_back(&mut self) {
        self.up = true;
    }

    /// An instance that reads `demand` bytes a second in place begins to run: how its service time
    /// grows, in parts per million of it, when its share `stalled` of it waits for this memory.
    pub fn begin_reading(&mut self, stalled: f64, demand: u64) -> u64 {
        self.demand += demand;
        let utilisation = (self.demand as f64 / self.bandwidth).min(SATURATED);
        let latency = self.latency_ns + self.queueing_ns * utilisation / (1.0 - utilisation);
        let slower = stalled * (latency / self.dram_ns - 1.0).max(0.0);
        (slower * 1e6).round() as u64
    }

    /// It has ended.
    pub fn end_reading(&mut self, demand: u64) {
        self.demand -= demand;
    }

    /// The record of the whole run.
    pub fn finish(self, measured: Measured) -> PlaceRecord {
        self.place.finish(measured)
    }

    /// Bytes that the function's template needs beyond what is there.
    fn needs(&self, costs: &Costs, function: FunctionId) -> Bytes {
        let template = &costs.of(function).template;
        let common = costs.common_of(function);
        let first = template.common > Bytes::ZERO && self.sharers[common] == 0;
        template.cxl + if first { self.commons[common] } else { Bytes::ZERO }
    }

    fn bring_in(&mut self, costs: &Costs, function: FunctionId, measured: Measured, now: Instant) -> Bytes {
        let needs = self.needs(costs, function);
        if costs.of(function).template.common > Bytes::ZERO {
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
            let Some((_, victim)) = self.unused.pop_first() else { return false };
            let victim = FunctionId(victim);
            let template = &costs.of(victim).template;
            let mut freed = template.cxl;
            if template.common > Bytes::ZERO {
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
