//! What fails and comes back: nodes, devices, NICs, on a schedule that is known before the run.

use super::{Cell, Flags, NO_FUNCTION, one};
use configs::Spec;
use configs::spec::{Churn, Fault, FaultKind};
use platform::control::Input;
use platform::ids::{NodeId, SandboxId};
use platform::memory::MemoryClass;
use rand_distr::{Distribution, Exp1};
use traces::rng::Streams;
use traces::{Duration, Instant};

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
        let mut events = Vec::new();
        for Fault { at, lasts, what } in &spec.faults.events {
            let own = |number: u32, count: u32| number.checked_sub(cell * count).filter(|&n| n < count);
            let what = match *what {
                FaultKind::Node { node } => own(node, nodes).map(|node| FaultKind::Node { node }),
                FaultKind::CxlDevice { rack } => own(rack, racks).map(|rack| FaultKind::CxlDevice { rack }),
                FaultKind::Nic { node, factor } => {
                    own(node, nodes).map(|node| FaultKind::Nic { node, factor })
                }
            };
            let Some(what) = what else { continue };
            let fails = Instant::ZERO + *at;
            events.push(Event { at: fails, what, returns: false });
            events.push(Event { at: fails + *lasts, what, returns: true });
        }
        if let Some(churn) = spec.faults.churn {
            come_and_go(churn, nodes, until, streams, &mut events);
        }
        events.sort_by_key(|event| event.at);
        Self(events)
    }

    pub(super) fn len(&self) -> u32 {
        self.0.len() as u32
    }

    pub(super) fn at(&self, index: u32) -> Instant {
        self.0[index as usize].at
    }
}

/// Every node fails after an exponential time and is back after another.
fn come_and_go(churn: Churn, nodes: u32, until: Instant, streams: &Streams, events: &mut Vec<Event>) {
    for node in 0..nodes {
        let mut rng = streams.stream("churn", node.into());
        let mut draw = |mean: Duration| mean.scale(Distribution::<f64>::sample(&Exp1, &mut rng));
        let mut at = Instant::ZERO;
        loop {
            at = at + draw(churn.up);
            if at >= until {
                break;
            }
            events.push(Event { at, what: FaultKind::Node { node }, returns: false });
            at = at + draw(churn.down);
            events.push(Event { at, what: FaultKind::Node { node }, returns: true });
        }
    }
}

impl Cell {
    /// Something fails, or comes back.
    pub(super) fn fault(&mut self, index: u32) {
        let Event { what, returns, .. } = self.faults.0[index as usize];
        match (what, returns) {
            (FaultKind::Node { node }, false) => self.lose_node(NodeId(node)),
            (FaultKind::Node { node }, true) => self.tell(Input::NodeJoined { node: NodeId(node) }),
            (FaultKind::CxlDevice { rack }, false) => self.lose_device(rack as usize),
            (FaultKind::CxlDevice { rack }, true) => {
                if let Some(device) = self.devices.get_mut(rack as usize) {
                    device.come_back();
                }
            }
            (FaultKind::Nic { node, factor }, false) => self.scale_nic(node, factor),
            (FaultKind::Nic { node, .. }, true) => self.scale_nic(node, 1.0),
        }
    }

    /// The node's sandboxes are gone, and so is what it held once for them.
    fn lose_node(&mut self, node: NodeId) {
        self.tell(Input::NodeLost { node });
        self.locks[node.index()] = super::Locks::default();
    }

    /// Templates are lost, and with them every sandbox that still has pages of its template there.
    fn lose_device(&mut self, rack: usize) {
        if rack >= self.devices.len() {
            return;
        }
        let lost = self.devices[rack].fail(self.measured, self.now);
        self.accounting.take(self.now, &one(MemoryClass::PoolCxl, lost));
        let attached: Vec<u32> = (0..self.sandboxes.len() as u32)
            .filter(|&index| {
                let activity = &self.sandboxes[index as usize];
                activity.function != NO_FUNCTION
                    && activity.flags.has(Flags::ATTACHED)
                    && self.rack(activity.node) == rack
                    && self.still_needs_template(index)
            })
            .collect();
        for sandbox in attached {
            self.tell(Input::SandboxLost { sandbox: SandboxId(sandbox) });
        }
    }

    /// Whether a sandbox would miss the pages of its template: one that reads them in place always,
    /// one that copied them only until its start is through.
    fn still_needs_template(&self, index: u32) -> bool {
        self.reads_in_place || self.sandboxes[index as usize].flags.has(Flags::FRESH)
    }

    fn scale_nic(&mut self, node: u32, factor: f64) {
        let capacity = ((self.costs.nic_streams as f64 * factor).round() as u64).max(1);
        let nic = self.processor_of(NodeId(node), crate::costs::Resource::Nic);
        self.set_capacity(nic, capacity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_comes_and_goes_is_back_after_every_failure() {
        let churn = Churn { up: Duration::from_secs(100), down: Duration::from_secs(10) };
        let until = Instant::ZERO + Duration::from_secs(10_000);
        let mut events = Vec::new();
        come_and_go(churn, 3, until, &Streams::new(1), &mut events);
        for node in 0..3 {
            let own = |e: &&Event| e.what == FaultKind::Node { node };
            let returns: Vec<bool> = events.iter().filter(own).map(|event| event.returns).collect();
            assert!(returns.len() > 100, "about 90 failures in 10,000 s");
            assert!(returns.chunks(2).all(|pair| pair == [false, true]));
        }
    }
}
