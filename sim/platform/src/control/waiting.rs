//! Invocations that wait for memory or a start slot: in arrival order, and by function.

use crate::ids::Ticket;
use std::collections::VecDeque;
use traces::FunctionId;

/// One queue of waiting invocations.
///
/// Each is in two first-in-first-out lists, the common one and its function's; whichever serves it
/// first, the other drops it when it comes to the front. A wait has a number of its own, so a
/// ticket that is used again is not mistaken for its predecessor.
pub(super) struct Waiting {
    common: VecDeque<(u64, Ticket, FunctionId)>,
    by_function: Vec<VecDeque<(u64, Ticket)>>,
    /// Number of the wait under way, by ticket; 0 for none.
    current: Vec<u64>,
    waits: u64,
    len: usize,
}

impl Waiting {
    pub(super) fn new(functions: usize) -> Self {
        Self {
            common: VecDeque::new(),
            by_function: vec![VecDeque::new(); functions],
            current: Vec::new(),
            waits: 0,
            len: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The invocation waits; answers with the number of its wait.
    pub(super) fn push(&mut self, ticket: Ticket, function: FunctionId) -> u64 {
        self.waits += 1;
        if self.current.len() <= ticket.index() {
            self.current.resize(ticket.index() + 1, 0);
        }
        self.current[ticket.index()] = self.waits;
        self.common.push_back((self.waits, ticket, function));
        self.by_function[function.index()].push_back((self.waits, ticket));
        self.len += 1;
        self.waits
    }

    /// The invocation that has waited longest.
    pub(super) fn front(&mut self) -> Option<(Ticket, FunctionId)> {
        while let Some(&(wait, ticket, function)) = self.common.front() {
            if self.current[ticket.index()] == wait {
                return Some((ticket, function));
            }
            self.common.pop_front();
        }
        None
    }

    /// Takes the invocation that [`Self::front`] named.
    pub(super) fn pop_front(&mut self) {
        if let Some((_, ticket, _)) = self.common.pop_front() {
            self.current[ticket.index()] = 0;
            self.len -= 1;
        }
    }

    /// Takes the invocation of `function` that has waited longest.
    pub(super) fn pop_of(&mut self, function: FunctionId) -> Option<Ticket> {
        if self.len == 0 {
            return None;
        }
        while let Some((wait, ticket)) = self.by_function[function.index()].pop_front() {
            if self.current[ticket.index()] == wait {
                self.current[ticket.index()] = 0;
                self.len -= 1;
                return Some(ticket);
            }
        }
        None
    }

    /// Takes the invocation out if that wait of it is still under way.
    pub(super) fn give_up(&mut self, ticket: Ticket, wait: u64) -> bool {
        match self.current.get_mut(ticket.index()) {
            Some(current) if *current == wait => {
                *current = 0;
                self.len -= 1;
                true
            }
            _ => false,
        }
    }
}
