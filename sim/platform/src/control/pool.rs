//! The sandboxes, and the order in which idle ones are used and given up.
//!
//! Sandboxes live in a slab. An idle one is in two doubly linked lists threaded through the slab:
//! that of its function (most recently used first: where reuse takes from) and that of its group
//! (least recently used first: what is repurposed or evicted next). Every operation is O(1), except
//! a search for a victim on one node of a cluster-wide list, which skips other nodes' sandboxes.

use crate::ids::{NodeId, SandboxId, Ticket};
use crate::records::StartKind;
use traces::{Bytes, FunctionId, Instant};

/// The function of a prepopulated sandbox.
pub(super) const NO_FUNCTION: FunctionId = FunctionId(u32::MAX);
const NIL: u32 = u32::MAX;

/// What a sandbox is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The slot holds no sandbox.
    Free,
    /// Being made or repurposed for an invocation.
    Starting,
    /// Running an invocation.
    Running,
    /// Kept.
    Idle,
}

/// Answer to a keep-alive timer.
pub(super) enum TimerAnswer {
    /// The keep-alive has ended.
    Expired,
    /// The sandbox was used since: ask again then.
    Again(Instant),
    /// That sandbox is gone or busy.
    Stale,
}

#[derive(Clone, Copy, Debug)]
struct Links {
    prev: u32,
    next: u32,
}

const UNLINKED: Links = Links { prev: NIL, next: NIL };

#[derive(Clone, Debug)]
struct Sandbox {
    state: State,
    kind: StartKind,
    timer_set: bool,
    node: NodeId,
    function: FunctionId,
    ticket: Ticket,
    generation: u32,
    declared: Bytes,
    deadline: Instant,
    of_function: Links,
    of_group: Links,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    head: u32,
    tail: u32,
}

const EMPTY: Ends = Ends { head: NIL, tail: NIL };

/// All sandboxes of the cluster.
pub(super) struct Pool {
    slots: Vec<Sandbox>,
    free: Vec<u32>,
    functions: usize,
    /// Idle sandboxes by group × function; the head was used last.
    by_function: Vec<u32>,
    /// Idle sandboxes by group; the head was used first.
    by_use: Vec<Ends>,
    idle_memory: Vec<Bytes>,
    idle: u32,
    live: u32,
}

impl Pool {
    pub(super) fn new(groups: usize, functions: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            functions,
            by_function: vec![NIL; groups * functions],
            by_use: vec![EMPTY; groups],
            idle_memory: Vec::new(),
            idle: 0,
            live: 0,
        }
    }

    pub(super) fn idle(&self) -> u32 {
        self.idle
    }

    pub(super) fn live(&self) -> u32 {
        self.live
    }

    pub(super) fn state(&self, sandbox: SandboxId) -> State {
        self.slots[sandbox.index()].state
    }

    pub(super) fn place_of(&self, sandbox: SandboxId) -> (NodeId, FunctionId) {
        let slot = &self.slots[sandbox.index()];
        (slot.node, slot.function)
    }

    pub(super) fn declared(&self, sandbox: SandboxId) -> Bytes {
        self.slots[sandbox.index()].declared
    }

    /// Declared memory of the node's idle sandboxes.
    pub(super) fn idle_memory(&self, node: NodeId) -> Bytes {
        self.idle_memory.get(node.index()).copied().unwrap_or_default()
    }

    /// A new sandbox, starting for `ticket`.
    pub(super) fn create(
        &mut self,
        node: NodeId,
        function: FunctionId,
        declared: Bytes,
        ticket: Ticket,
        kind: StartKind,
    ) -> SandboxId {
        let index = self.new_slot(node);
        let sandbox = SandboxId(index);
        self.bind(sandbox, function, declared, ticket, kind);
        sandbox
    }

    /// A new sandbox of no function, idle.
    pub(super) fn create_idle(&mut self, group: usize, node: NodeId, declared: Bytes) {
        let index = self.new_slot(node);
        self.slots[index as usize].declared = declared;
        self.make_idle(group, SandboxId(index), None);
    }

    /// An unlinked sandbox starts for `ticket` as a sandbox of `function`.
    pub(super) fn bind(
        &mut self,
        sandbox: SandboxId,
        function: FunctionId,
        declared: Bytes,
        ticket: Ticket,
        kind: StartKind,
    ) {
        let slot = &mut self.slots[sandbox.index()];
        slot.state = State::Starting;
        slot.function = function;
        slot.declared = declared;
        slot.ticket = ticket;
        slot.kind = kind;
    }

    /// A started sandbox runs the invocation it was started for.
    pub(super) fn run_bound(&mut self, sandbox: SandboxId) -> (NodeId, Ticket, StartKind) {
        let slot = &mut self.slots[sandbox.index()];
        debug_assert_eq!(slot.state, State::Starting);
        slot.state = State::Running;
        (slot.node, slot.ticket, slot.kind)
    }

    /// The sandbox becomes idle, used last of its group. Answers with the generation to set a
    /// timer for, if there is a deadline and no timer is under way.
    pub(super) fn make_idle(
        &mut self,
        group: usize,
        sandbox: SandboxId,
        deadline: Option<Instant>,
    ) -> Option<u32> {
        let slot = &mut self.slots[sandbox.index()];
        slot.state = State::Idle;
        slot.deadline = deadline.unwrap_or(Instant::MAX);
        let set = deadline.is_some() && !slot.timer_set;
        slot.timer_set |= set;
        let answer = set.then_some(slot.generation);
        self.link(group, sandbox);
        answer
    }

    /// Undoes a [`Self::take_idle`]: the sandbox is again the least recently used of its group.
    pub(super) fn put_back(&mut self, group: usize, sandbox: SandboxId) {
        self.slots[sandbox.index()].state = State::Idle;
        self.link_function(group, sandbox.0);
        let head = self.by_use[group].head;
        self.slots[sandbox.index()].of_group = Links { prev: NIL, next: head };
        match head {
            NIL => self.by_use[group].tail = sandbox.0,
            head => self.slots[head as usize].of_group.prev = sandbox.0,
        }
        self.by_use[group].head = sandbox.0;
        self.count_idle(sandbox);
    }

    /// The most recently used idle sandbox of the function, which now runs.
    pub(super) fn take_idle_of(&mut self, group: usize, function: FunctionId) -> Option<SandboxId> {
        let head = self.by_function[group * self.functions + function.index()];
        if head == NIL {
            return None;
        }
        self.take_idle(group, SandboxId(head));
        Some(SandboxId(head))
    }

    /// Takes an idle sandbox out of the lists; it now counts as running.
    pub(super) fn take_idle(&mut self, group: usize, sandbox: SandboxId) {
        let slot = &mut self.slots[sandbox.index()];
        debug_assert_eq!(slot.state, State::Idle);
        slot.state = State::Running;
        let (function, of_function, of_group) = (slot.function, slot.of_function, slot.of_group);
        slot.of_function = UNLINKED;
        slot.of_group = UNLINKED;
        self.idle -= 1;
        self.idle_memory[slot.node.index()] -= slot.declared;
        if function != NO_FUNCTION {
            match of_function.prev {
                NIL => self.by_function[group * self.functions + function.index()] = of_function.next,
                prev => self.slots[prev as usize].of_function.next = of_function.next,
            }
            if of_function.next != NIL {
                self.slots[of_function.next as usize].of_function.prev = of_function.prev;
            }
        }
        match of_group.prev {
            NIL => self.by_use[group].head = of_group.next,
            prev => self.slots[prev as usize].of_group.next = of_group.next,
        }
        match of_group.next {
            NIL => self.by_use[group].tail = of_group.prev,
            next => self.slots[next as usize].of_group.prev = of_group.prev,
        }
    }

    /// The least recently used idle sandbox of the group.
    pub(super) fn least_recently_used(&self, group: usize) -> Option<SandboxId> {
        let head = self.by_use[group].head;
        (head != NIL).then_some(SandboxId(head))
    }

    /// The least recently used idle sandbox of the group on one node.
    pub(super) fn least_recently_used_on(&self, group: usize, node: NodeId) -> Option<SandboxId> {
        if self.idle_memory(node) == Bytes::ZERO {
            return None;
        }
        let mut at = self.by_use[group].head;
        while at != NIL && self.slots[at as usize].node != node {
            at = self.slots[at as usize].of_group.next;
        }
        (at != NIL).then_some(SandboxId(at))
    }

    /// An unlinked sandbox is gone; its name may be used again.
    pub(super) fn free(&mut self, sandbox: SandboxId) {
        let slot = &mut self.slots[sandbox.index()];
        slot.state = State::Free;
        slot.timer_set = false;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(sandbox.0);
        self.live -= 1;
    }

    /// What a keep-alive timer means now.
    pub(super) fn timer_came(&mut self, now: Instant, sandbox: SandboxId, generation: u32) -> TimerAnswer {
        let slot = &mut self.slots[sandbox.index()];
        if slot.generation != generation || slot.state == State::Free {
            return TimerAnswer::Stale;
        }
        if slot.state != State::Idle || slot.deadline == Instant::MAX {
            slot.timer_set = false;
            return TimerAnswer::Stale;
        }
        if slot.deadline <= now { TimerAnswer::Expired } else { TimerAnswer::Again(slot.deadline) }
    }

    fn new_slot(&mut self, node: NodeId) -> u32 {
        if self.idle_memory.len() <= node.index() {
            self.idle_memory.resize(node.index() + 1, Bytes::ZERO);
        }
        self.live += 1;
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.node = node;
            slot.function = NO_FUNCTION;
            return index;
        }
        self.slots.push(Sandbox {
            state: State::Free,
            kind: StartKind::Cold,
            timer_set: false,
            node,
            function: NO_FUNCTION,
            ticket: Ticket(NIL),
            generation: 0,
            declared: Bytes::ZERO,
            deadline: Instant::MAX,
            of_function: UNLINKED,
            of_group: UNLINKED,
        });
        (self.slots.len() - 1) as u32
    }

    fn link(&mut self, group: usize, sandbox: SandboxId) {
        self.link_function(group, sandbox.0);
        let tail = self.by_use[group].tail;
        self.slots[sandbox.index()].of_group = Links { prev: tail, next: NIL };
        match tail {
            NIL => self.by_use[group].head = sandbox.0,
            tail => self.slots[tail as usize].of_group.next = sandbox.0,
        }
        self.by_use[group].tail = sandbox.0;
        self.count_idle(sandbox);
    }

    fn link_function(&mut self, group: usize, index: u32) {
        let function = self.slots[index as usize].function;
        if function == NO_FUNCTION {
            return;
        }
        let head = &mut self.by_function[group * self.functions + function.index()];
        let old = std::mem::replace(head, index);
        self.slots[index as usize].of_function = Links { prev: NIL, next: old };
        if old != NIL {
            self.slots[old as usize].of_function.prev = index;
        }
    }

    fn count_idle(&mut self, sandbox: SandboxId) {
        let slot = &self.slots[sandbox.index()];
        self.idle += 1;
        self.idle_memory[slot.node.index()] += slot.declared;
    }
}
