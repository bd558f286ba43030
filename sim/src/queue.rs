//! The pending events, in one total order.
//!
//! Order: time, then class, then order of insertion. Three structures share that order: a 4-ary heap
//! of work, a first-in-first-out lane of the timers that are set in order (constant keep-alives
//! mostly are), and a 4-ary heap of the other timers. Keeping the many timers apart leaves the heap
//! that every event passes through as small as the number of running invocations. An event of work
//! is nothing but its key, so that the four children of a heap node fill one cache line.

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

/// Whose work an event stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A sandbox's: the stage under way ends.
    Sandbox(u32),
    /// A processor's: a job may leave.
    Processor(u32),
    /// A fault's, by its number: something fails, or comes back.
    Fault(u32),
    /// Memory is sampled.
    Sample,
}

/// From the highest bits down: 64 of time, 2 of class, 34 of insertion number; of work also 2 of kind
/// and 26 of whose it is. One comparison orders two events.
pub(crate) type Key = u128;

const NEVER: Key = Key::MAX;
const CLASS: u32 = 62;
const INSERTED: u32 = 28;
const KIND: u32 = 26;
const INSERTIONS: u64 = 1 << (CLASS - INSERTED);

/// Most sandboxes, processors or faults that events can name.
pub const NAMES: u32 = 1 << KIND;

fn key(at: Instant, class: Class, inserted: u64) -> Key {
    (Key::from(at.as_nanos()) << 64) | Key::from((class as u64) << CLASS | inserted << INSERTED)
}

fn instant(key: Key) -> Instant {
    Instant::from_nanos((key >> 64) as u64)
}

fn encode(work: Work) -> Key {
    let (kind, name) = match work {
        Work::Sandbox(name) => (0, name),
        Work::Processor(name) => (1, name),
        Work::Fault(name) => (2, name),
        Work::Sample => (3, 0),
    };
    debug_assert!(name < NAMES, "{work:?} has a number that no event can hold");
    Key::from(kind << KIND | name)
}

fn decode(key: Key) -> Work {
    let low = key as u32;
    let name = low & (NAMES - 1);
    match low >> KIND & 3 {
        0 => Work::Sandbox(name),
        1 => Work::Processor(name),
        2 => Work::Fault(name),
        _ => Work::Sample,
    }
}

/// The number of an event of work: whoever set it keeps it, and knows by it whether an event that
/// comes is the last one set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Number(u64);

impl Number {
    /// Of no event.
    pub const NONE: Self = Self(0);
}

/// An event that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<T> {
    /// Work of the world, and the event's number.
    Work(Work, Number),
    /// A timer of the control plane.
    Timer(T),
}

/// Events that have not come yet: work of the world, and timers `T`.
pub struct Queue<T> {
    /// About as many as there are running invocations.
    work: KeyHeap,
    /// Timers that were set out of order: about as many as there are idle sandboxes.
    timers: Heap<T>,
    /// Timers that were set in order.
    lane: VecDeque<(Key, T)>,
    /// Key of the first timer, so that the two structures above are not looked at for every event.
    first_timer: Key,
    inserted: u64,
    now: Instant,
}

impl<T: Copy> Queue<T> {
    /// An empty queue at time zero.
    pub fn new() -> Self {
        Self {
            work: KeyHeap::new(),
            timers: Heap(Vec::new()),
            lane: VecDeque::new(),
            first_timer: NEVER,
            inserted: 0,
            now: Instant::ZERO,
        }
    }

    /// Adds work, or a sample.
    ///
    /// # Panics
    /// If more events were set than keys have numbers for (17 thousand million). In debug builds, if
    /// it lies before the last event taken: time does not go back.
    #[inline]
    pub fn push(&mut self, at: Instant, class: Class, work: Work) -> Number {
        let key = self.next_key(at, class);
        self.work.push(key | encode(work));
        Number(self.inserted)
    }

    /// Adds a timer.
    ///
    /// # Panics
    /// As [`Self::push`].
    pub fn set_timer(&mut self, at: Instant, timer: T) {
        let key = self.next_key(at, Class::Timer);
        if self.lane.back().is_none_or(|&(last, _)| last < key) {
            self.lane.push_back((key, timer));
        } else {
            self.timers.push(key, timer);
        }
        self.first_timer = self.first_timer.min(key);
    }

    /// When the next event comes.
    pub fn next(&self) -> Option<Instant> {
        let first = self.first();
        (first != NEVER).then(|| instant(first))
    }

    /// Whether an arrival at that instant comes before every event.
    pub fn arrival_is_first(&self, at: Instant) -> bool {
        key(at, Class::Arrival, 0) < self.first()
    }

    /// Takes the next event.
    #[inline]
    pub fn pop(&mut self) -> Option<(Instant, Event<T>)> {
        let (key, event) = if self.first_timer < self.work.first() {
            let (key, timer) = self.pop_timer()?;
            (key, Event::Timer(timer))
        } else {
            let key = self.work.pop()?;
            let number = Number((key as u64 >> INSERTED) & (INSERTIONS - 1));
            (key, Event::Work(decode(key), number))
        };
        self.now = instant(key);
        Some((self.now, event))
    }

    fn first(&self) -> Key {
        self.work.first().min(self.first_timer)
    }

    #[cold]
    fn pop_timer(&mut self) -> Option<(Key, T)> {
        let lane = |lane: &VecDeque<(Key, T)>| lane.front().map_or(NEVER, |&(key, _)| key);
        let timer =
            if lane(&self.lane) < self.timers.first() { self.lane.pop_front() } else { self.timers.pop() };
        self.first_timer = lane(&self.lane).min(self.timers.first());
        timer
    }

    fn next_key(&mut self, at: Instant, class: Class) -> Key {
        debug_assert!(at >= self.now, "event at {at} pushed at {}", self.now);
        self.inserted += 1;
        assert!(self.inserted < INSERTIONS, "more events than a queue has numbers for");
        key(at, class, self.inserted)
    }
}

/// A 4-ary heap of nothing but keys, least key first.
///
/// The four children of a node are one cache line, the n-th line (from 1) those of node n - 1; the
/// root stands alone in line 0. Places without a key hold [`NEVER`], so that the least of four needs
/// no look at how many there are.
pub(crate) struct KeyHeap {
    lines: Vec<Line>,
    len: usize,
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([Key; ARITY]);

impl KeyHeap {
    /// An empty heap.
    pub(crate) fn new() -> Self {
        Self { lines: vec![Line([NEVER; ARITY])], len: 0 }
    }

    /// The least key; the largest there is, if there are none.
    pub(crate) fn first(&self) -> Key {
        self.lines[0].0[ROOT]
    }

    /// A place in the lines. The root's is the last of line 0; the children of place p are line p - 2.
    fn at(&mut self, place: usize) -> &mut Key {
        &mut self.lines[place / ARITY].0[place % ARITY]
    }

    /// Adds a key.
    #[inline]
    pub(crate) fn push(&mut self, key: Key) {
        let mut hole = self.len + ROOT;
        self.len += 1;
        if hole / ARITY == self.lines.len() {
            self.lines.push(Line([NEVER; ARITY]));
        }
        while hole > ROOT {
            let parent = hole / ARITY + 2;
            let above = *self.at(parent);
            if above <= key {
                break;
            }
            *self.at(hole) = above;
            hole = parent;
        }
        *self.at(hole) = key;
    }

    /// Takes the least key.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Key> {
        if self.len == 0 {
            return None;
        }
        let top = self.first();
        self.len -= 1;
        let last = std::mem::replace(self.at(self.len + ROOT), NEVER);
        if self.len == 0 {
            return Some(top);
        }
        let mut hole = ROOT;
        while let Some(&Line([a, b, c, d])) = self.lines.get(hole - 2) {
            // Two by two, and without branches: which child is least is a coin toss that a branch
            // predictor loses.
            let (left, l) = if b < a { (b, 1) } else { (a, 0) };
            let (right, r) = if d < c { (d, 3) } else { (c, 2) };
            let (least, child) = if right < left { (right, r) } else { (left, l) };
            if last <= least {
                break;
            }
            let children = hole - 2;
            *self.at(hole) = least;
            hole = ARITY * children + child;
        }
        *self.at(hole) = last;
        Some(top)
    }
}

/// A 4-ary heap, least key first.
struct Heap<E>(Vec<(Key, E)>);

const ARITY: usize = 4;

/// Place of the root of a [`KeyHeap`].
const ROOT: usize = ARITY - 1;

impl<E: Copy> Heap<E> {
    fn first(&self) -> Key {
        self.0.first().map_or(NEVER, |&(key, _)| key)
    }

    fn push(&mut self, key: Key, event: E) {
        let mut hole = self.0.len();
        self.0.push((key, event));
        while hole > 0 {
            let parent = (hole - 1) / ARITY;
            if self.0[parent].0 <= key {
                break;
            }
            self.0[hole] = self.0[parent];
            hole = parent;
        }
        self.0[hole] = (key, event);
    }

    fn pop(&mut self) -> Option<(Key, E)> {
        let last = self.0.pop()?;
        let Some(&top) = self.0.first() else { return Some(last) };
        let mut hole = 0;
        loop {
            let first = ARITY * hole + 1;
            let Some(children) = self.0.get(first..(first + ARITY).min(self.0.len())) else { break };
            let mut least = (NEVER, 0);
            for (child, &(key, _)) in children.iter().enumerate() {
                // Written so that it compiles to conditional moves: which child is least is a coin
                // toss that a branch predictor loses.
                least = if key < least.0 { (key, child) } else { least };
            }
            if last.0 <= least.0 {
                break;
            }
            self.0[hole] = children[least.1];
            hole = first + least.1;
        }
        self.0[hole] = last;
        Some(top)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(queue: &mut Queue<u32>, at: Instant, class: Class, event: u32) {
        if class == Class::Timer {
            queue.set_timer(at, event);
        } else {
            queue.push(at, class, Work::Sandbox(event));
        }
    }

    fn take(queue: &mut Queue<u32>) -> Option<u32> {
        match queue.pop()?.1 {
            Event::Work(Work::Sandbox(event), _) | Event::Timer(event) => Some(event),
            Event::Work(other, _) => panic!("{other:?} was never put in"),
        }
    }

    #[test]
    fn whose_work_it_is_and_its_number_come_back() {
        let mut queue = Queue::<()>::new();
        let at = Instant::from_nanos(u64::MAX / 2);
        let last = NAMES - 1;
        for work in [Work::Sandbox(last), Work::Processor(last), Work::Fault(0), Work::Sample] {
            let number = queue.push(at, Class::Sample, work);
            assert_eq!(queue.pop(), Some((at, Event::Work(work, number))));
        }
    }

    #[test]
    fn equal_times_come_by_class_and_then_in_order_of_insertion() {
        let mut queue = Queue::new();
        let t = Instant::from_nanos(5);
        for (class, name) in
            [(Class::Sample, b's'), (Class::Timer, b'a'), (Class::Work, b'w'), (Class::Timer, b'b')]
        {
            put(&mut queue, t, class, name.into());
        }
        let mut order = String::new();
        while let Some(at) = queue.next() {
            assert_eq!(at, t);
            if queue.arrival_is_first(t) && !order.contains('!') {
                order.push('!');
            }
            order.extend(take(&mut queue).and_then(char::from_u32));
        }
        assert_eq!(order, "wab!s");
    }

    proptest! {
        #[test]
        fn events_come_in_the_order_of_a_stable_sort(events in prop::collection::vec((0u64..50, 0u8..3), 0..300)) {
            let class = |c| [Class::Work, Class::Timer, Class::Sample][usize::from(c)];
            let mut queue = Queue::new();
            for (number, &(at, c)) in events.iter().enumerate() {
                put(&mut queue, Instant::from_nanos(at), class(c), number as u32);
            }
            let mut expected: Vec<u32> = (0..events.len() as u32).collect();
            expected.sort_by_key(|&n| (events[n as usize].0, class(events[n as usize].1)));
            let got: Vec<u32> = std::iter::from_fn(|| take(&mut queue)).collect();
            prop_assert_eq!(got, expected);
        }
    }
}
