//! Invocations that wait for memory or a start slot: in arrival order, and by function.

use crate::ids::Ticket;
use std::collections::{BTreeMap, VecDeque};
use traces::FunctionId;

/// One queue of waiting invocations for each group.
///
/// Each invocation is in two first-in-first-out lists, the common one of its group and its
/// function's; whichever serves it first, the other drops it when it comes to the front. A wait has
/// a number of its own, so a ticket that is used again is not mistaken for its predecessor.
pub(super) struct Waiting {
    queues: Vec<Queue>,
    /// The wait under way, by ticket.
    current: Vec<Wait>,
    /// Waits of all groups.
    len: usize,
}

#[derive(Clone, Copy)]
struct Wait {
    number: u32,
    group: u32,
    under_way: bool,
}

#[derive(Default)]
struct Queue {
    common: VecDeque<Entry>,
    by_function: BTreeMap<FunctionId, VecDeque<Entry>>,
    len: usize,
}

#[derive(Clone, Copy)]
struct Entry {
    ticket: Ticket,
    wait: u32,
    function: FunctionId,
}

impl Waiting {
    pub(super) fn new(groups: usize) -> Self {
        Self { queues: (0..groups).map(|_| Queue::default()).collect(), current: Vec::new(), len: 0 }
    }

    /// Whether nobody waits in the group.
    #[inline]
    pub(super) fn is_empty(&self, group: usize) -> bool {
        self.len == 0 || self.queues[group].len == 0
    }

    /// The invocation waits; answers with the number of its wait.
    pub(super) fn push(&mut self, group: usize, ticket: Ticket, function: FunctionId) -> u32 {
        if self.current.len() <= ticket.index() {
            self.current.resize(ticket.index() + 1, Wait { number: 0, group: 0, under_way: false });
        }
        let wait = &mut self.current[ticket.index()];
        wait.number = wait.number.wrapping_add(1);
        self.resume(group, ticket, function)
    }

    /// A wait goes on in another group, with the number it has; all waits of its former group have
    /// been taken out.
    pub(super) fn resume(&mut self, group: usize, ticket: Ticket, function: FunctionId) -> u32 {
        let wait = &mut self.current[ticket.index()];
        (wait.group, wait.under_way) = (group as u32, true);
        let entry = Entry { ticket, wait: wait.number, function };
        let queue = &mut self.queues[group];
        queue.common.push_back(entry);
        queue.by_function.entry(function).or_default().push_back(entry);
        queue.len += 1;
        self.len += 1;
        entry.wait
    }

    /// The invocation that has waited longest in the group.
    pub(super) fn front(&mut self, group: usize) -> Option<(Ticket, FunctionId)> {
        if self.is_empty(group) {
            return None;
        }
        while let Some(&entry) = self.queues[group].common.front() {
            if self.is_current(entry) {
                return Some((entry.ticket, entry.function));
            }
            self.queues[group].common.pop_front();
        }
        None
    }

    /// Takes the invocation that [`Self::front`] named.
    pub(super) fn pop_front(&mut self, group: usize) {
        if let Some(entry) = self.queues[group].common.pop_front() {
            self.end(entry.ticket);
        }
    }

    /// Takes all invocations of the group, in the order of their arrival.
    pub(super) fn drain(&mut self, group: usize) -> Vec<(Ticket, FunctionId)> {
        std::iter::from_fn(|| {
            let front = self.front(group);
            self.pop_front(group);
            front
        })
        .collect()
    }

    /// Takes the invocation of `function` that has waited longest in the group.
    pub(super) fn pop_of(&mut self, group: usize, function: FunctionId) -> Option<Ticket> {
        if self.is_empty(group) {
            return None;
        }
        while let Some(entry) = self.queues[group].by_function.get_mut(&function)?.pop_front() {
            if self.is_current(entry) {
                self.end(entry.ticket);
                return Some(entry.ticket);
            }
        }
        self.queues[group].by_function.remove(&function);
        None
    }

    /// Takes the invocation out if that wait of it is still under way; answers with its group.
    pub(super) fn give_up(&mut self, ticket: Ticket, number: u32) -> Option<usize> {
        let wait = self.current.get(ticket.index())?;
        let group = (wait.under_way && wait.number == number).then_some(wait.group as usize)?;
        self.end(ticket);
        Some(group)
    }

    fn is_current(&self, entry: Entry) -> bool {
        let wait = self.current[entry.ticket.index()];
        wait.under_way && wait.number == entry.wait
    }

    fn end(&mut self, ticket: Ticket) {
        let wait = &mut self.current[ticket.index()];
        wait.under_way = false;
        let queue = &mut self.queues[wait.group as usize];
        queue.len -= 1;
        self.len -= 1;
        if queue.len == 0 {
            queue.common.clear();
            queue.by_function.clear();
        }
    }
}
