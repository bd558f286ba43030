//! What a timeline is told. Nothing here changes anything; without a timeline nothing here is called.

use super::{Cell, NO_FUNCTION, NO_TICKET, PER_NODE};
use crate::costs::Resource;
use crate::timeline::{Doing, What};
use platform::ids::{NodeId, SandboxId};
use platform::memory::ByClass;
use platform::records::{Happening, InvocationRecord, Outcome, Step, TimelineMark, TimelinePlace};
use traces::{Duration, FunctionId};

impl Cell {
    /// The sandbox waits for its template.
    #[cold]
    pub(super) fn watch_fill(&mut self, sandbox: SandboxId) {
        self.watch(sandbox, What::Step(Step::TemplateFill));
    }

    /// The sandbox is at a stage from now on.
    #[cold]
    pub(super) fn watch_stage(&mut self, sandbox: SandboxId, stage: u32) {
        let (now, node) = (self.now, self.sandboxes[sandbox.index()].node);
        let resource = self.costs.stages[stage as usize].resource;
        let work = self.work_of(stage, node);
        let work_begins = match resource {
            Resource::Delay | Resource::Cores | Resource::Nic | Resource::Disk | Resource::CxlDevice => now,
            _ => now + self.serial(node, resource).since(now).saturating_sub(work),
        };
        self.watch(sandbox, What::Stage(stage, work_begins));
    }

    /// The sandbox is at a phase of its handler from now on.
    #[cold]
    pub(super) fn watch_phase(&mut self, sandbox: SandboxId, resource: Resource) {
        let step = if resource == Resource::Delay { Step::HandlerWaits } else { Step::Handler };
        self.watch(sandbox, What::Step(step));
    }

    fn watch(&mut self, sandbox: SandboxId, what: What) {
        let activity = &self.sandboxes[sandbox.index()];
        let (node, function) = (activity.node, activity.function);
        let flight = (activity.ticket != NO_TICKET).then(|| &self.in_flight[activity.ticket.index()]);
        let doing = Doing {
            node: node.0,
            function: function.0,
            invocation: flight.map(|flight| flight.number),
            start: flight.and_then(|flight| flight.kind),
            what,
        };
        if let Some(timeline) = &mut self.timeline {
            timeline.turn(&self.costs, self.now, sandbox.0, Some(doing));
        }
        self.watch_cores(node);
    }

    /// The sandbox has ended what it was at.
    #[cold]
    pub(super) fn watch_end(&mut self, sandbox: SandboxId) {
        let node = self.sandboxes[sandbox.index()].node;
        if let Some(timeline) = &mut self.timeline {
            timeline.turn(&self.costs, self.now, sandbox.0, None);
        }
        self.watch_cores(node);
    }

    fn watch_cores(&mut self, node: NodeId) {
        let cores = self.processors[node.index() * PER_NODE].in_use();
        if let Some(timeline) = &mut self.timeline {
            timeline.use_cores(self.now, node.0, cores);
        }
    }

    /// A place holds `to` instead of `from`.
    #[cold]
    pub(super) fn watch_memory(&mut self, place: TimelinePlace, from: &ByClass, to: &ByClass) {
        if let Some(timeline) = &mut self.timeline {
            timeline.hold(self.now, place, from, to);
        }
    }

    /// Something happens to a sandbox.
    #[cold]
    pub(super) fn watch_sandbox(&mut self, what: Happening, node: NodeId, sandbox: SandboxId) {
        let function = self.activity(sandbox).function;
        self.watch_mark(what, TimelinePlace::Node(node.0), Some(sandbox), Some(function));
    }

    /// Something happens.
    #[cold]
    pub(super) fn watch_mark(
        &mut self,
        what: Happening,
        place: TimelinePlace,
        sandbox: Option<SandboxId>,
        function: Option<FunctionId>,
    ) {
        let function = function.filter(|&function| function != NO_FUNCTION).map(|function| function.0);
        let mark =
            TimelineMark { at: self.now, place, sandbox: sandbox.map(|sandbox| sandbox.0), what, function };
        if let Some(timeline) = &mut self.timeline {
            timeline.mark(mark);
        }
    }

    /// An invocation has ended.
    #[cold]
    pub(super) fn watch_invocation(&mut self, record: &InvocationRecord) {
        let what = match record.outcome {
            Outcome::TimedOut => Some(Happening::TimedOut),
            Outcome::Rejected => Some(Happening::Rejected),
            _ => None,
        };
        if let Some(what) = what {
            self.watch_mark(what, TimelinePlace::Cluster, None, Some(FunctionId(record.function)));
        }
        if record.queueing_ns > Duration::ZERO
            && let Some(timeline) = &mut self.timeline
        {
            timeline.waited(record.number, record.function, record.arrival_ns, record.queueing_ns);
        }
    }
}
