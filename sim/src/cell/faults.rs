//! What fails and comes back: nodes, devices, NICs, on a schedule that is known before the run.

use super::{Activity, Cell, Flags, NO_FUNCTION, OnTouch, one};
use configs::Spec;
use configs::spec::{Churn, Fault, FaultKind};
use platform::control::Input;
use platform::ids::{NodeId, SandboxId};
use platform::memory::{ByClass, MemoryClass};
use platform::policy::placement::home_rack;
use platform::records::{Happening, TimelinePlace};
use rand_distr::{Distribution, Exp1};
use std::collections::BTreeMap;
use traces::rng::Streams;
use traces::{Bytes, Duration, FunctionId, Instant};

/// All failures and returns of a run, in order of time.
pub(super) struct Schedule(Vec<Event>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Event {
    at: Instant,
    what: FaultKind,
    /// Whether it comes back, or fails.
    returns: bool,
}

impl Schedule {
    /// The events of the spec that concern this cell (its nodes and racks are numbered from its place
    /// on), and its nodes' churn: each fails after an exponential time and is back after another.
    pub(super) fn new(
        spec: &Spec,
        nodes: u32,
        racks: u32,
        cell: u32,
        until: Instant,
        streams: &Streams,
    ) -> Self {
        let mut failures = Failures::default();
        for Fault { at, lasts, what } in &spec.faults.events {
            let own = |number: u32, count: u32| number.checked_sub(cell * count).filter(|&n| n < count);
            let what = match *what {
                FaultKind::Node { node } => own(node, nodes).map(|node| FaultKind::Node { node }),
                FaultKind::CxlDevice { rack } => own(rack, racks).map(|rack| FaultKind::CxlDevice { rack }),
                FaultKind::Nic { node, factor } => {
                    own(node, nodes).map(|node| FaultKind::Nic { node, factor })
                }
                FaultKind::RdmaPool {} => Some(FaultKind::RdmaPool {}),
            };
            let Some(what) = what else { continue };
            let fails = Instant::ZERO + *at;
            failures.add(what, fails, fails + *lasts);
        }
        if let Some(churn) = spec.faults.churn {
            come_and_go(churn, nodes, until, streams, &mut failures);
        }
        Self(failures.events())
    }

    pub(super) fn len(&self) -> u32 {
        self.0.len() as u32
    }

    pub(super) fn at(&self, index: u32) -> Instant {
        self.0[index as usize].at
    }
}

/// Failures as they are asked for: of one thing, several may overlap.
#[derive(Default)]
struct Failures {
    /// Of each node and pool device, from when until when.
    of_whole: BTreeMap<Whole, Vec<(Instant, Instant)>>,
    /// Of each node's NIC, from when until when, and what share of it is left.
    of_nics: BTreeMap<u32, Vec<(Instant, Instant, f64)>>,
}

/// What fails as a whole; of what fails at one time in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whole {
    Node(u32),
    CxlDevice(u32),
    RdmaPool,
}

impl Failures {
    fn add(&mut self, what: FaultKind, from: Instant, until: Instant) {
        let thing = match what {
            FaultKind::Node { node } => Whole::Node(node),
            FaultKind::CxlDevice { rack } => Whole::CxlDevice(rack),
            FaultKind::RdmaPool {} => Whole::RdmaPool,
            FaultKind::Nic { node, factor } => {
                self.of_nics.entry(node).or_default().push((from, until, factor));
                return;
            }
        };
        self.of_whole.entry(thing).or_default().push((from, until));
    }

    /// In order of time. What fails once more before it is back is back when both failures are over.
    fn events(self) -> Vec<Event> {
        let mut events = Vec::new();
        for (whole, mut failures) in self.of_whole {
            failures.sort_unstable();
            let what = match whole {
                Whole::Node(node) => FaultKind::Node { node },
                Whole::CxlDevice(rack) => FaultKind::CxlDevice { rack },
                Whole::RdmaPool => FaultKind::RdmaPool {},
            };
            let mut failures = failures.into_iter().peekable();
            while let Some((from, mut until)) = failures.next() {
                while let Some((_, later)) = failures.next_if(|&(next, _)| next < until) {
                    until = until.max(later);
                }
                events.push(Event { at: from, what, returns: false });
                events.push(Event { at: until, what, returns: true });
            }
        }
        for (node, slow) in self.of_nics {
            slow_downs(node, &slow, &mut events);
        }
        events.sort_by_key(|event| event.at);
        events
    }
}

/// Of a NIC's slow-downs that overlap the slowest counts; it is back when all are over.
fn slow_downs(node: u32, slow: &[(Instant, Instant, f64)], events: &mut Vec<Event>) {
    let mut turns: Vec<Instant> = slow.iter().flat_map(|&(from, until, _)| [from, until]).collect();
    turns.sort_unstable();
    turns.dedup();
    let mut before = None;
    for at in turns {
        let in_force = slow.iter().filter(|&&(from, until, _)| from <= at && at < until);
        let slowest = in_force.map(|&(_, _, factor)| factor).min_by(f64::total_cmp);
        if slowest != before {
            let what = FaultKind::Nic { node, factor: slowest.unwrap_or(1.0) };
            events.push(Event { at, what, returns: slowest.is_none() });
        }
        before = slowest;
    }
}

/// Every node fails after an exponential time and is back after another.
fn come_and_go(churn: Churn, nodes: u32, until: Instant, streams: &Streams, failures: &mut Failures) {
    for node in 0..nodes {
        let mut rng = streams.stream("churn", node.into());
        let mut draw = |mean: Duration| mean.scale(Distribution::<f64>::sample(&Exp1, &mut rng));
        let mut at = Instant::ZERO;
        loop {
            at += draw(churn.up);
            if at >= until {
                break;
            }
            let back = at + draw(churn.down);
            failures.add(FaultKind::Node { node }, at, back);
            at = back;
        }
    }
}

impl Cell {
    /// Something fails, or comes back.
    pub(super) fn fault(&mut self, index: u32) {
        let Event { what, returns, .. } = self.faults.0[index as usize];
        if self.timeline.is_some() {
            self.watch_fault(what, returns);
        }
        match (what, returns) {
            (FaultKind::Node { node }, false) => self.lose_node(NodeId(node)),
            (FaultKind::Node { node }, true) => self.bring_back(NodeId(node)),
            (FaultKind::CxlDevice { rack }, false) => self.lose_device(rack as usize),
            (FaultKind::CxlDevice { rack }, true) => {
                if let Some(device) = self.devices.get_mut(rack as usize) {
                    device.come_back();
                }
            }
            (FaultKind::RdmaPool {}, false) => self.lose_pool(),
            (FaultKind::RdmaPool {}, true) => {
                if let Some(pool) = &mut self.pool {
                    pool.come_back();
                }
            }
            (FaultKind::Nic { node, factor }, false) => self.scale_nic(node, factor),
            (FaultKind::Nic { node, .. }, true) => self.scale_nic(node, 1.0),
        }
    }

    /// The node's sandboxes are gone, and so is what it held once for them: its zygotes, and the
    /// parents of forks. With a parent goes every fork that still fetches pages from it.
    fn lose_node(&mut self, node: NodeId) {
        self.down[node.index()] = true;
        let parents = self.parents_on(node);
        self.give_back(node, &one(MemoryClass::NodeShared, self.costs.resident));
        self.give_back(node, &one(MemoryClass::InstancePrivate, parents));
        self.tell(Input::NodeLost { node });
        self.locks[node.index()] = super::Locks::default();
        if parents == Bytes::ZERO {
            return;
        }
        let forks: Vec<u32> =
            (0..self.sandboxes.len() as u32).filter(|&index| self.is_orphan(index)).collect();
        for sandbox in forks {
            // What starts meanwhile boots, also under the name of one that has just gone.
            if self.is_orphan(sandbox) {
                self.tell(Input::SandboxLost { sandbox: SandboxId(sandbox) });
            }
        }
    }

    /// The node is there again, with what every node holds at the beginning.
    fn bring_back(&mut self, node: NodeId) {
        self.down[node.index()] = false;
        let parents = self.parents_on(node);
        self.hold_on(node, &one(MemoryClass::NodeShared, self.costs.resident));
        self.hold_on(node, &one(MemoryClass::InstancePrivate, parents));
        self.tell(Input::NodeJoined { node });
    }

    /// What the parents of forks hold whose place is that node.
    fn parents_on(&self, node: NodeId) -> Bytes {
        let of_node = |function: &FunctionId| home_rack(*function, self.down.len() as u32) == node.0;
        let functions = (0..self.costs.class_of.len() as u32).map(FunctionId);
        functions.filter(of_node).map(|function| self.costs.of(function).parent).sum()
    }

    /// Whether the function is forked from a parent, and the parent's node is down.
    pub(super) fn lacks_parent(&self, function: FunctionId) -> bool {
        self.costs.of(function).parent > Bytes::ZERO
            && self.down[home_rack(function, self.down.len() as u32) as usize]
    }

    /// Whether a sandbox is a fork whose parent is gone before its first invocation is through.
    fn is_orphan(&self, index: u32) -> bool {
        let activity = &self.sandboxes[index as usize];
        activity.function != NO_FUNCTION
            && activity.uses == 0
            && !activity.flags.has(Flags::FALLBACK)
            && self.lacks_parent(activity.function)
    }

    /// The templates of a rack are lost, and with them every sandbox that still has pages there.
    fn lose_device(&mut self, rack: usize) {
        if let Some(device) = self.devices.get_mut(rack) {
            let lost = device.fail(self.measured, self.now);
            self.lose_templates(one(MemoryClass::PoolCxl, lost), TimelinePlace::Device(rack as u32));
            self.lose_users(Flags::ATTACHED, |cell, activity| cell.rack(activity.node) == rack);
        }
    }

    /// The templates of the RDMA pool are lost, and with them every sandbox that still fetches from it.
    fn lose_pool(&mut self) {
        if let Some(pool) = &mut self.pool {
            let lost = pool.fail(self.measured, self.now);
            self.lose_templates(one(MemoryClass::PoolRdma, lost), TimelinePlace::Cluster);
            self.lose_users(Flags::REMOTE, |_, _| true);
        }
    }

    fn lose_templates(&mut self, lost: ByClass, place: TimelinePlace) {
        self.accounting.take(self.now, &lost);
        if self.timeline.is_some() {
            self.watch_memory(place, &lost, &ByClass::default());
        }
    }

    /// Who has a template where `flag` says, and there, loses it.
    fn lose_users(&mut self, flag: Flags, is_there: impl Fn(&Self, &Activity) -> bool) {
        let users: Vec<u32> = (0..self.sandboxes.len() as u32)
            .filter(|&index| {
                let activity = &self.sandboxes[index as usize];
                activity.function != NO_FUNCTION && activity.flags.has(flag) && is_there(self, activity)
            })
            .collect();
        // The others go on without it, and give nothing back to the device when they go.
        for &sandbox in &users {
            if !self.still_needs_template(sandbox, flag) {
                self.sandboxes[sandbox as usize].flags.take(flag);
            }
        }
        for sandbox in users {
            // What the loss of one lets others start may have taken the place of another: that one is
            // gone already, and who has its name now has no template on the device.
            if self.sandboxes[sandbox as usize].flags.has(flag) {
                self.tell(Input::SandboxLost { sandbox: SandboxId(sandbox) });
            }
        }
    }

    /// Whether a sandbox would miss the pages of its template that lie where `flag` says: one that
    /// reads them in place always, one that copies them as it touches them until its first invocation
    /// is through, one that copied them before only until its start is.
    fn still_needs_template(&self, index: u32, flag: Flags) -> bool {
        let activity = &self.sandboxes[index as usize];
        let (always, until_used) = match flag {
            Flags::REMOTE => {
                (self.fetches_on_touch == OnTouch::Always, self.fetches_on_touch == OnTouch::First)
            }
            _ => (self.reads_in_place, self.copies_on_touch),
        };
        always || activity.flags.has(Flags::FRESH) || (until_used && activity.uses == 0)
    }

    #[cold]
    fn watch_fault(&mut self, what: FaultKind, returns: bool) {
        let (happening, place) = match what {
            FaultKind::Node { node } => {
                let happening = if returns { Happening::NodeBack } else { Happening::NodeLost };
                (happening, TimelinePlace::Node(node))
            }
            FaultKind::CxlDevice { rack } => {
                let happening = if returns { Happening::DeviceBack } else { Happening::DeviceLost };
                (happening, TimelinePlace::Device(rack))
            }
            FaultKind::RdmaPool {} => {
                let happening = if returns { Happening::PoolBack } else { Happening::PoolLost };
                (happening, TimelinePlace::Cluster)
            }
            FaultKind::Nic { node, .. } => {
                let happening = if returns { Happening::NicBack } else { Happening::NicSlow };
                (happening, TimelinePlace::Node(node))
            }
        };
        self.watch_mark(happening, place, None, None);
    }

    fn scale_nic(&mut self, node: u32, factor: f64) {
        self.nic_share[node as usize] = factor;
        let capacity = ((self.costs.nic_streams as f64 * factor).round() as u64).max(1);
        let nic = self.processor_of(NodeId(node), crate::costs::Resource::Nic);
        self.set_capacity(nic, capacity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_once_more_is_back_when_both_failures_are_over() {
        let at = |second| Instant::ZERO + Duration::from_secs(second);
        let mut failures = Failures::default();
        let (node, device) = (FaultKind::Node { node: 1 }, FaultKind::CxlDevice { rack: 1 });
        for (what, from, until) in [(node, 5, 9), (device, 4, 6), (node, 1, 6), (node, 2, 3), (node, 9, 10)] {
            failures.add(what, at(from), at(until));
        }
        let events: Vec<_> = failures.events().iter().map(|e| (e.at, e.what, e.returns)).collect();
        let expected = [
            (at(1), node, false),
            (at(4), device, false),
            (at(6), device, true),
            (at(9), node, true),
            (at(9), node, false),
            (at(10), node, true),
        ];
        assert_eq!(events, expected);
    }

    #[test]
    fn of_slow_downs_that_overlap_the_slowest_counts_until_the_last_is_over() {
        let at = |second| Instant::ZERO + Duration::from_secs(second);
        let nic = |factor| FaultKind::Nic { node: 1, factor };
        let mut failures = Failures::default();
        for (factor, from, until) in [(0.5, 1, 10), (0.1, 2, 4), (0.7, 3, 12), (0.3, 20, 21)] {
            failures.add(nic(factor), at(from), at(until));
        }
        let events: Vec<_> = failures.events().iter().map(|e| (e.at, e.what, e.returns)).collect();
        let expected = [
            (at(1), nic(0.5), false),
            (at(2), nic(0.1), false),
            (at(4), nic(0.5), false),
            (at(10), nic(0.7), false),
            (at(12), nic(1.0), true),
            (at(20), nic(0.3), false),
            (at(21), nic(1.0), true),
        ];
        assert_eq!(events, expected);
    }

    #[test]
    fn a_node_that_comes_and_goes_is_back_after_every_failure() {
        let churn = Churn { up: Duration::from_secs(100), down: Duration::from_secs(10) };
        let until = Instant::ZERO + Duration::from_secs(10_000);
        let mut failures = Failures::default();
        come_and_go(churn, 3, until, &Streams::new(1), &mut failures);
        let events = failures.events();
        for node in 0..3 {
            let own = |e: &&Event| e.what == FaultKind::Node { node };
            let returns: Vec<bool> = events.iter().filter(own).map(|event| event.returns).collect();
            assert!(returns.len() > 100, "about 90 failures in 10,000 s");
            assert!(returns.chunks(2).all(|pair| pair == [false, true]));
        }
    }
}
