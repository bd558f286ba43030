//! The pending events, in one total order.
//!
//! Order: time, then class, then order of insertion. Three structures share that order: a 4-ary heap
//! of stages, a first-in-first-out lane of the timers that are set in order (constant keep-alives
//! mostly are), and a 4-ary heap of the other timers. Keeping the many timers apart leaves the heap
//! that every event passes through as small as the number of running invocations.

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
    order: u64,
    event: E,
}

impl<E> Entry<E> {
    fn key(&self) -> Key {
        (self.at, self.order)
    }
}

/// Events that have not come yet.
pub struct Queue<E> {
    /// Stages and samples: about as many as there are running invocations.
    work: Heap<E>,
    /// Timers that were set out of order: about as many as there are idle sandboxes.
    timers: Heap<E>,
    /// Timers that were set in order.
    lane: VecDeque<Entry<E>>,
    /// Key of the first timer, so that the two structures above are not looked at for every event.
    first_timer: Key,
    inserted: u64,
    now: Instant,
}

/// Time, then class in the high 8 bits and insertion number below.
type Key = (Instant, u64);

const NEVER: Key = (Instant::MAX, u64::MAX);

impl<E: Copy> Queue<E> {
    /// An empty queue at time zero.
    pub fn new() -> Self {
        Self {
            work: Heap(Vec::new()),
            timers: Heap(Vec::new()),
            lane: VecDeque::new(),
            first_timer: NEVER,
            inserted: 0,
            now: Instant::ZERO,
        }
    }

    /// Adds an event.
    ///
    /// # Panics
    /// In debug builds, if it lies before the last event taken: time does not go back.
    pub fn push(&mut self, at: Instant, class: Class, event: E) {
        debug_assert!(at >= self.now, "event at {at} pushed at {}", self.now);
        self.inserted += 1;
        let entry = Entry { at, order: ((class as u64) << 56) | self.inserted, event };
        if class != Class::Timer {
            self.work.push(entry);
            return;
        }
        if self.lane.back().is_none_or(|last| last.key() < entry.key()) {
            self.lane.push_back(entry);
        } else {
            self.timers.push(entry);
        }
        self.first_timer = self.first_timer.min(entry.key());
    }

    /// Time and class of the next event.
    #[inline]
    pub fn next(&self) -> Option<(Instant, Class)> {
        let (at, order) = self.work.first().min(self.first_timer);
        let class = match order >> 56 {
            0 => Class::Work,
            1 => Class::Timer,
            2 => Class::Arrival,
            3 => Class::Sample,
            _ => return None,
        };
        Some((at, class))
    }

    /// Takes the next event.
    #[inline]
    pub fn pop(&mut self) -> Option<(Instant, E)> {
        let entry = if self.first_timer < self.work.first() { self.pop_timer() } else { self.work.pop() }?;
        self.now = entry.at;
        Some((entry.at, entry.event))
    }

    fn pop_timer(&mut self) -> Option<Entry<E>> {
        let lane = |lane: &VecDeque<Entry<E>>| lane.front().map_or(NEVER, Entry::key);
        let entry =
            if lane(&self.lane) < self.timers.first() { self.lane.pop_front() } else { self.timers.pop() };
        self.first_timer = lane(&self.lane).min(self.timers.first());
        entry
    }
}

/// A 4-ary heap, least key first.
struct Heap<E>(Vec<Entry<E>>);

const ARITY: usize = 4;

impl<E: Copy> Heap<E> {
    fn first(&self) -> Key {
        self.0.first().map_or(NEVER, Entry::key)
    }

    fn push(&mut self, entry: Entry<E>) {
        let mut hole = self.0.len();
        self.0.push(entry);
        while hole > 0 {
            let parent = (hole - 1) / ARITY;
            if self.0[parent].key() <= entry.key() {
                break;
            }
            self.0[hole] = self.0[parent];
            hole = parent;
        }
        self.0[hole] = entry;
    }

    fn pop(&mut self) -> Option<Entry<E>> {
        let last = self.0.pop()?;
        let Some(&top) = self.0.first() else { return Some(last) };
        let mut hole = 0;
        loop {
            let first = ARITY * hole + 1;
            let children = first..(first + ARITY).min(self.0.len());
            let Some(least) = children.min_by_key(|&child| self.0[child].key()) else { break };
            if last.key() <= self.0[least].key() {
                break;
            }
            self.0[hole] = self.0[least];
            hole = least;
        }
        self.0[hole] = last;
        Some(top)
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
        for (class, name) in
            [(Class::Sample, 's'), (Class::Timer, 'a'), (Class::Work, 'w'), (Class::Timer, 'b')]
        {
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
