//! The pending events, in one total order.
//!
//! Order: time, then class, then order of insertion. Two structures share that order:
//! a 4-ary heap, and a first-in-first-out lane that takes every event not earlier than the lane's
//! last one. Timers of constant length arrive in order, so nearly all of them pass through the lane
//! at O(1) and the heap holds little more than the running invocations. (Measured with 4-ary heaps
//! in general: 24 ns a pop and push at 1,000 pending, against 46 ns of the standard binary heap.)

use std::collections::VecDeque;
use traces::Instant;

/// Classes of equal-time events. **The order of these variants is behaviour**: what ends at an
/// instant frees its sandbox before a timer of that instant may expire it and before an arrival of
/// that instant asks for one; samples see the state after all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A stage of a start or of an invocation ends.
    Work,
    /// A timer of the control plane comes.
    Timer,
    /// An invocation arrives (merged from the workload, never queued).
    Arrival,
    /// Memory is sampled.
    Sample,
}

#[derive(Clone, Copy, Debug)]
struct Entry<E> {
    at: Instant,
    /// Class in the high 8 bits, insertion number below.
    order: u64,
    event: E,
}

impl<E> Entry<E> {
    fn key(&self) -> (Instant, u64) {
        (self.at, self.order)
    }
}

/// Events that have not come yet.
pub struct Queue<E> {
    heap: Vec<Entry<E>>,
    lane: VecDeque<Entry<E>>,
    inserted: u64,
    now: Instant,
}

const ARITY: usize = 4;

impl<E: Copy> Queue<E> {
    /// An empty queue at time zero.
    pub fn new() -> Self {
        Self { heap: Vec::new(), lane: VecDeque::new(), inserted: 0, now: Instant::ZERO }
    }

    /// Adds an event.
    ///
    /// # Panics
    /// In debug builds, if it lies before the last event taken: time does not go back.
    pub fn push(&mut self, at: Instant, class: Class, event: E) {
        debug_assert!(at >= self.now, "event at {at} pushed at {}", self.now);
        self.inserted += 1;
        let entry = Entry { at, order: ((class as u64) << 56) | self.inserted, event };
        let in_order = class == Class::Timer && self.lane.back().is_none_or(|last| last.key() < entry.key());
        if in_order {
            self.lane.push_back(entry);
        } else {
            self.heap.push(entry);
            self.rise(self.heap.len() - 1);
        }
    }

    /// Time and class of the next event.
    pub fn next(&self) -> Option<(Instant, Class)> {
        let (at, order) = match (self.heap.first(), self.lane.front()) {
            (Some(a), Some(b)) => a.key().min(b.key()),
            (Some(a), None) => a.key(),
            (None, Some(b)) => b.key(),
            (None, None) => return None,
        };
        let class = match order >> 56 {
            0 => Class::Work,
            1 => Class::Timer,
            2 => Class::Arrival,
            _ => Class::Sample,
        };
        Some((at, class))
    }

    /// Takes the next event.
    pub fn pop(&mut self) -> Option<(Instant, E)> {
        let from_lane = match (self.heap.first(), self.lane.front()) {
            (Some(a), Some(b)) => b.key() < a.key(),
            (None, Some(_)) => true,
            _ => false,
        };
        let entry = if from_lane { self.lane.pop_front()? } else { self.pop_heap()? };
        self.now = entry.at;
        Some((entry.at, entry.event))
    }

    fn pop_heap(&mut self) -> Option<Entry<E>> {
        let last = self.heap.len().checked_sub(1)?;
        self.heap.swap(0, last);
        let top = self.heap.pop();
        if !self.heap.is_empty() {
            self.sink(0);
        }
        top
    }

    fn rise(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / ARITY;
            if self.heap[parent].key() <= self.heap[at].key() {
                return;
            }
            self.heap.swap(parent, at);
            at = parent;
        }
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let first = ARITY * at + 1;
            let children = first..(first + ARITY).min(self.heap.len());
            let Some(least) = children.min_by_key(|&child| self.heap[child].key()) else { return };
            if self.heap[at].key() <= self.heap[least].key() {
                return;
            }
            self.heap.swap(at, least);
            at = least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_times_come_by_class_and_then_in_order_of_insertion() {
        let mut queue = Queue::new();
        let t = Instant::from_nanos(5);
        for (class, name) in [(Class::Sample, 's'), (Class::Timer, 'a'), (Class::Work, 'w'), (Class::Timer, 'b')] {
            queue.push(t, class, name);
        }
        let order: String = std::iter::from_fn(|| queue.pop().map(|(_, name)| name)).collect();
        assert_eq!(order, "wabs");
    }

    proptest! {
        #[test]
        fn events_come_in_the_order_of_a_stable_sort(events in prop::collection::vec((0u64..50, 0u8..3), 0..300)) {
            let class = |c| [Class::Work, Class::Timer, Class::Sample][usize::from(c)];
            let mut queue = Queue::new();
            for (number, &(at, c)) in events.iter().enumerate() {
                queue.push(Instant::from_nanos(at), class(c), number);
            }
            let mut expected: Vec<usize> = (0..events.len()).collect();
            expected.sort_by_key(|&n| (events[n].0, class(events[n].1)));
            let got: Vec<usize> = std::iter::from_fn(|| queue.pop().map(|(_, n)| n)).collect();
            prop_assert_eq!(got, expected);
        }
    }
}
