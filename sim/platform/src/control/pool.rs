//! The sandboxes, and the orders in which idle ones are used and given up.
//!
//! Sandboxes live in a slab, one cache line each. An idle one is threaded through these lists, each
//! operation O(1):
//! - that of its function and group, most recently used first: where reuse takes from;
//! - that of its group, least recently used first: what is repurposed next;
//! - that of its node, least recently used first: what is evicted next. Where a group is one node
//!   this is the group's list;
//! - that of its shelf, where sandboxes are shared only inside a tenant or by layers.
//!
//! The second and the third are made when they are first asked for (once a run, O(n log n)): systems
//! that do not repurpose never ask for the one, runs in which memory is never short not for the other.
//! Where the keep-alive policy ranks idle sandboxes, a sorted set for each node takes the place of
//! the node's list (O(log n)).

use super::lists::{Links, Lists, NIL, OnDemand, UNLINKED};
use crate::ids::{NodeId, SandboxId, Ticket};
use crate::records::StartKind;
use crate::system::Layer;
use std::collections::{BTreeMap, BTreeSet};
use traces::{Bytes, FunctionId, Instant};

/// The function of a prepopulated or bare sandbox.
pub(super) const NO_FUNCTION: FunctionId = FunctionId(u32::MAX);

/// What a sandbox is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The slot holds no sandbox.
    Free,
    /// Being made or repurposed, for an invocation or to be pre-warmed.
    Starting,
    /// Running an invocation.
    Running,
    /// Kept.
    Idle,
}

/// Answer to a keep-alive timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimerAnswer {
    /// The keep-alive has ended.
    Expired,
    /// The sandbox was used since: ask again then.
    Again(Instant),
    /// That sandbox is gone or busy.
    Stale,
}

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Sandbox {
    declared: Bytes,
    deadline: Instant,
    node: NodeId,
    function: FunctionId,
    ticket: Ticket,
    generation: u32,
    of_function: Links,
    /// When it became idle last: the least is the least recently used.
    used: u64,
    state: State,
    kind: StartKind,
    layer: Layer,
    timer_set: bool,
}

/// A start for nobody.
const NOBODY: Ticket = Ticket(NIL);

/// What a sandbox becomes when it is started or repurposed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Binding {
    pub function: FunctionId,
    pub declared: Bytes,
    pub ticket: Option<Ticket>,
    pub kind: StartKind,
}

/// Which lists a pool keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub groups: usize,
    pub nodes: usize,
    pub functions: usize,
    /// Shelves of a group; 0 where idle sandboxes of all kinds can stand in for each other.
    pub shelves: usize,
    /// Whether evictions follow ranks.
    pub ranked: bool,
}

/// Heads of the lists of functions: a table where there is one group, a map where most are empty.
enum Heads {
    Dense(Vec<u32>),
    Sparse(BTreeMap<(u32, u32), u32>),
}

/// All sandboxes of the cluster.
pub(super) struct Pool {
    layout: Layout,
    slots: Vec<Sandbox>,
    free: Vec<u32>,
    by_function: Heads,
    by_group: OnDemand,
    /// `None` where each group is one node, or where ranks say what goes first.
    by_node: Option<OnDemand>,
    /// Empty where there are no shelves.
    by_shelf: Lists,
    /// The shelf that each sandbox is on, or [`NIL`].
    shelf_of: Vec<u32>,
    ranked: Vec<BTreeSet<(u64, u64, u32)>>,
    /// What each sandbox was worth when it became idle.
    ranks: Vec<u64>,
    uses: u64,
    idle: u32,
    live: u32,
}

impl Pool {
    pub(super) fn new(layout: Layout) -> Self {
        let Layout { groups, nodes, functions, shelves, ranked } = layout;
        let dense = groups == 1;
        Self {
            layout,
            slots: Vec::new(),
            free: Vec::new(),
            by_function: if dense {
                Heads::Dense(vec![NIL; functions])
            } else {
                Heads::Sparse(BTreeMap::new())
            },
            by_group: OnDemand::Asleep(groups),
            by_node: (groups != nodes && !ranked).then_some(OnDemand::Asleep(nodes)),
            by_shelf: Lists::new(groups * shelves),
            shelf_of: Vec::new(),
            ranked: vec![BTreeSet::new(); if ranked { nodes } else { 0 }],
            ranks: Vec::new(),
            uses: 0,
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
        self.slots.get(sandbox.index()).map_or(State::Free, |slot| slot.state)
    }

    pub(super) fn place_of(&self, sandbox: SandboxId) -> (NodeId, FunctionId) {
        let slot = &self.slots[sandbox.index()];
        (slot.node, slot.function)
    }

    pub(super) fn layer(&self, sandbox: SandboxId) -> Layer {
        self.slots[sandbox.index()].layer
    }

    pub(super) fn declared(&self, sandbox: SandboxId) -> Bytes {
        self.slots[sandbox.index()].declared
    }

    /// Whom the sandbox is starting or running for.
    pub(super) fn ticket(&self, sandbox: SandboxId) -> Option<Ticket> {
        let slot = &self.slots[sandbox.index()];
        (matches!(slot.state, State::Starting | State::Running) && slot.ticket != NOBODY)
            .then_some(slot.ticket)
    }

    /// What an idle sandbox is worth.
    pub(super) fn rank(&self, sandbox: SandboxId) -> u64 {
        self.ranks.get(sandbox.index()).copied().unwrap_or_default()
    }

    /// The sandboxes that are on the node, in order of their names: O(sandboxes).
    pub(super) fn on_node(&self, node: NodeId) -> Vec<SandboxId> {
        let here = |(_, slot): &(usize, &Sandbox)| slot.node == node && slot.state != State::Free;
        self.slots.iter().enumerate().filter(here).map(|(index, _)| SandboxId(index as u32)).collect()
    }

    /// A new sandbox, starting.
    pub(super) fn create(&mut self, node: NodeId, binding: Binding) -> SandboxId {
        let sandbox = self.new_slot(node);
        self.bind(sandbox, binding);
        sandbox
    }

    /// A new sandbox of no function, idle.
    pub(super) fn create_idle(&mut self, group: usize, shelf: Option<usize>, node: NodeId, declared: Bytes) {
        let sandbox = self.new_slot(node);
        self.slots[sandbox.index()].declared = declared;
        self.make_idle(group, shelf, sandbox, Layer::Bare, None, 0);
    }

    /// An unlinked sandbox starts.
    pub(super) fn bind(&mut self, sandbox: SandboxId, binding: Binding) {
        let slot = &mut self.slots[sandbox.index()];
        slot.state = State::Starting;
        slot.function = binding.function;
        slot.declared = binding.declared;
        slot.ticket = binding.ticket.unwrap_or(NOBODY);
        slot.kind = binding.kind;
        slot.layer = Layer::Function;
    }

    /// A started sandbox runs the invocation it was started for; `None` if it was pre-warmed.
    pub(super) fn run_bound(&mut self, sandbox: SandboxId) -> (NodeId, Option<Ticket>, StartKind) {
        let slot = &mut self.slots[sandbox.index()];
        debug_assert_eq!(slot.state, State::Starting);
        slot.state = State::Running;
        (slot.node, (slot.ticket != NOBODY).then_some(slot.ticket), slot.kind)
    }

    /// A running sandbox runs another invocation.
    pub(super) fn rebind(&mut self, sandbox: SandboxId, ticket: Ticket) {
        self.slots[sandbox.index()].ticket = ticket;
    }

    /// The sandbox becomes idle, used last. Answers with the generation to set a timer for, if the
    /// timer that is under way comes too late for the deadline or there is none.
    #[inline(always)]
    pub(super) fn make_idle(
        &mut self,
        group: usize,
        shelf: Option<usize>,
        sandbox: SandboxId,
        layer: Layer,
        deadline: Option<Instant>,
        rank: u64,
    ) -> Option<u32> {
        let slot = &mut self.slots[sandbox.index()];
        slot.state = State::Idle;
        slot.layer = layer;
        let deadline = deadline.unwrap_or(Instant::MAX);
        let sooner = deadline < slot.deadline;
        slot.deadline = deadline;
        let set = deadline != Instant::MAX && (!slot.timer_set || sooner);
        if set && slot.timer_set {
            slot.generation = slot.generation.wrapping_add(1);
        }
        slot.timer_set |= set;
        let answer = set.then_some(slot.generation);
        self.link(group, shelf, sandbox, rank);
        answer
    }

    /// The most recently used idle sandbox of the function.
    pub(super) fn idle_of(&self, group: usize, function: FunctionId) -> Option<SandboxId> {
        let head = self.head(group, function);
        (head != NIL).then_some(SandboxId(head))
    }

    /// Takes an idle sandbox out of the lists; it now counts as running.
    #[inline(always)]
    pub(super) fn take_idle(&mut self, group: usize, sandbox: SandboxId) {
        let slots = &mut self.slots;
        let slot = &mut slots[sandbox.index()];
        debug_assert_eq!(slot.state, State::Idle);
        slot.state = State::Running;
        let (node, function, of_function) = (slot.node.index(), slot.function, slot.of_function);
        let (of_a_function, used) = (slot.layer == Layer::Function && function != NO_FUNCTION, slot.used);
        slot.of_function = UNLINKED;
        self.idle -= 1;
        self.by_group.remove(group, sandbox.0);
        if let Some(by_node) = &mut self.by_node {
            by_node.remove(node, sandbox.0);
        }
        if of_a_function {
            if of_function.next != NIL {
                slots[of_function.next as usize].of_function.prev = of_function.prev;
            }
            match of_function.prev {
                NIL => self.set_head(group, function, of_function.next),
                prev => slots[prev as usize].of_function.next = of_function.next,
            }
        }
        if !self.by_shelf.is_absent() {
            let at = std::mem::replace(&mut self.shelf_of[sandbox.index()], NIL);
            if at != NIL {
                self.by_shelf.remove(at as usize, sandbox.0);
            }
        }
        if self.layout.ranked {
            let rank = self.ranks[sandbox.index()];
            self.ranked[node].remove(&(rank, used, sandbox.0));
        }
    }

    /// The least recently used idle sandbox of the group.
    pub(super) fn least_recently_used(&mut self, group: usize) -> Option<SandboxId> {
        let slots = &self.slots;
        let one_group = self.layout.groups == 1;
        let lists = self
            .by_group
            .awake(|| in_order_of_use(slots, |slot| if one_group { 0 } else { slot.node.index() }));
        lists.first(group).map(SandboxId)
    }

    /// The least recently used idle sandbox of a shelf.
    pub(super) fn least_recently_used_on(&self, group: usize, shelf: usize) -> Option<SandboxId> {
        self.by_shelf.first(group * self.layout.shelves + shelf).map(SandboxId)
    }

    /// The idle sandbox of the node that goes first when memory is needed.
    pub(super) fn victim(&mut self, group: usize, node: NodeId) -> Option<SandboxId> {
        if self.layout.ranked {
            return self.ranked[node.index()].first().map(|&(_, _, index)| SandboxId(index));
        }
        let slots = &self.slots;
        match &mut self.by_node {
            None => self.least_recently_used(group),
            Some(by_node) => {
                let lists = by_node.awake(|| in_order_of_use(slots, |slot| slot.node.index()));
                lists.first(node.index()).map(SandboxId)
            }
        }
    }

    /// An unlinked sandbox is gone; its name may be used again.
    pub(super) fn free(&mut self, sandbox: SandboxId) {
        let slot = &mut self.slots[sandbox.index()];
        slot.state = State::Free;
        slot.timer_set = false;
        slot.deadline = Instant::MAX;
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
        if slot.deadline > now {
            return TimerAnswer::Again(slot.deadline);
        }
        slot.timer_set = false;
        TimerAnswer::Expired
    }

    /// An unlinked sandbox holds less from now on.
    pub(super) fn demote(&mut self, sandbox: SandboxId, to: Layer, declared: Bytes) {
        let slot = &mut self.slots[sandbox.index()];
        slot.layer = to;
        slot.declared = declared;
        if to == Layer::Bare {
            slot.function = NO_FUNCTION;
        }
    }

    fn new_slot(&mut self, node: NodeId) -> SandboxId {
        self.live += 1;
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.node = node;
            slot.function = NO_FUNCTION;
            return SandboxId(index);
        }
        self.slots.push(Sandbox {
            declared: Bytes::ZERO,
            deadline: Instant::MAX,
            node,
            function: NO_FUNCTION,
            ticket: NOBODY,
            generation: 0,
            of_function: UNLINKED,
            used: 0,
            state: State::Free,
            kind: StartKind::Cold,
            layer: Layer::Bare,
            timer_set: false,
        });
        if !self.by_shelf.is_absent() {
            self.shelf_of.push(NIL);
        }
        if self.layout.ranked {
            self.ranks.push(0);
        }
        SandboxId((self.slots.len() - 1) as u32)
    }

    #[inline(always)]
    fn link(&mut self, group: usize, shelf: Option<usize>, sandbox: SandboxId, rank: u64) {
        self.link_function(group, sandbox);
        self.uses += 1;
        let slot = &mut self.slots[sandbox.index()];
        slot.used = self.uses;
        let node = slot.node.index();
        self.by_group.push_back(group, sandbox.0);
        if let Some(by_node) = &mut self.by_node {
            by_node.push_back(node, sandbox.0);
        }
        if let Some(shelf) = shelf {
            let at = group * self.layout.shelves + shelf;
            self.shelf_of[sandbox.index()] = at as u32;
            self.by_shelf.push_back(at, sandbox.0);
        }
        if self.layout.ranked {
            self.ranks[sandbox.index()] = rank;
            self.ranked[node].insert((rank, self.uses, sandbox.0));
        }
        self.idle += 1;
    }

    #[inline(always)]
    fn link_function(&mut self, group: usize, sandbox: SandboxId) {
        let slot = &self.slots[sandbox.index()];
        let function = slot.function;
        if function == NO_FUNCTION || slot.layer != Layer::Function {
            return;
        }
        let old = self.head(group, function);
        self.set_head(group, function, sandbox.0);
        self.slots[sandbox.index()].of_function = Links { prev: NIL, next: old };
        if old != NIL {
            self.slots[old as usize].of_function.prev = sandbox.0;
        }
    }

    #[inline]
    fn head(&self, group: usize, function: FunctionId) -> u32 {
        match &self.by_function {
            Heads::Dense(heads) => heads[function.index()],
            Heads::Sparse(heads) => heads.get(&(function.0, group as u32)).copied().unwrap_or(NIL),
        }
    }

    #[inline]
    fn set_head(&mut self, group: usize, function: FunctionId, head: u32) {
        match &mut self.by_function {
            Heads::Dense(heads) => heads[function.index()] = head,
            Heads::Sparse(heads) => set_sparse(heads, (function.0, group as u32), head),
        }
    }
}

/// The idle sandboxes, least recently used first, each with the list that it belongs in.
fn in_order_of_use(slots: &[Sandbox], list: impl Fn(&Sandbox) -> usize) -> Vec<(usize, u32)> {
    let mut idle: Vec<u32> =
        (0..slots.len() as u32).filter(|&index| slots[index as usize].state == State::Idle).collect();
    idle.sort_unstable_by_key(|&index| slots[index as usize].used);
    idle.into_iter().map(|index| (list(&slots[index as usize]), index)).collect()
}

#[inline(never)]
fn set_sparse(heads: &mut BTreeMap<(u32, u32), u32>, list: (u32, u32), head: u32) {
    if head == NIL {
        heads.remove(&list);
    } else {
        heads.insert(list, head);
    }
}
