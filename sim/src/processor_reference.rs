//! [`Processor`] against processor sharing as its definition has it: every job's remaining work is
//! brought forward at min(1, capacity / jobs) from event to event.

use crate::processor::{Joined, Processor, Seat, Seats};
use crate::queue::{Class, Event, Number, Queue, Work};
use crate::shared::ONE;
use proptest::prelude::*;
use std::collections::BTreeMap;
use traces::{Duration, Instant};

/// What happens to the resource from outside.
#[derive(Clone, Copy, Debug)]
enum Happens {
    /// The next job joins, with so many ns of work.
    Join(u64),
    /// That job, if it is still there, is lost.
    Lose(u32),
    /// So many jobs are served at full rate from now on.
    Capacity(u64),
}

/// When each job came to its end; those that were lost are not in it.
type Ends = BTreeMap<u32, f64>;

/// The definition.
fn by_definition(mut capacity: f64, story: &[(u64, Happens)]) -> Ends {
    let (mut ends, mut left, mut now, mut joined) = (Ends::new(), BTreeMap::<u32, f64>::new(), 0.0f64, 0);
    let mut play_until = |until: f64, capacity: f64, left: &mut BTreeMap<u32, f64>| {
        while let Some(least) = left.values().copied().min_by(f64::total_cmp) {
            let rate = (capacity / left.len() as f64).min(1.0);
            let passes = (least / rate).min(until - now);
            now += passes;
            left.values_mut().for_each(|work| *work -= passes * rate);
            let through: Vec<u32> =
                left.iter().filter(|(_, work)| **work <= 1e-6).map(|(&job, _)| job).collect();
            for job in &through {
                left.remove(job);
                ends.insert(*job, now);
            }
            if through.is_empty() {
                break;
            }
        }
        if until.is_finite() {
            now = until;
        }
    };
    for &(at, happens) in story {
        play_until(at as f64, capacity, &mut left);
        match happens {
            Happens::Join(work) => {
                left.insert(joined, work as f64);
                joined += 1;
            }
            Happens::Lose(job) => {
                left.remove(&job);
            }
            Happens::Capacity(other) => capacity = other as f64,
        }
    }
    play_until(f64::INFINITY, capacity, &mut left);
    ends
}

struct Table(Vec<Seat>);

impl Seats for Table {
    fn seat(&mut self, job: u32) -> &mut Seat {
        &mut self.0[job as usize]
    }
}

/// The processor, driven as a cell drives it.
struct Driven {
    processor: Processor,
    seats: Table,
    queue: Queue<()>,
    /// The event that was set last for each job that is there.
    there: BTreeMap<u32, Number>,
    ends: Ends,
}

impl Driven {
    fn play(capacity: u64, story: &[(u64, Happens)]) -> Self {
        let seats = Table(vec![Seat::NONE; story.len()]);
        let mut driven = Self {
            processor: Processor::new(capacity * ONE),
            seats,
            queue: Queue::new(),
            there: BTreeMap::new(),
            ends: Ends::new(),
        };
        let mut joined = 0;
        for &(at, happens) in story {
            let at = Instant::from_nanos(at);
            while driven.queue.next().is_some_and(|next| next <= at) {
                driven.step();
            }
            match happens {
                Happens::Join(work) => {
                    driven.join(at, joined, Duration::from_nanos(work));
                    joined += 1;
                }
                Happens::Lose(job) => driven.lose(at, job),
                Happens::Capacity(capacity) => driven.set_capacity(at, capacity),
            }
        }
        while driven.queue.next().is_some() {
            driven.step();
        }
        assert!(driven.there.is_empty(), "jobs without an end: {:?}", driven.there);
        driven
    }

    fn step(&mut self) {
        let Some((now, event)) = self.queue.pop() else { return };
        match event {
            Event::Work(Work::Sandbox(job), number) if self.there.get(&job) == Some(&number) => {
                self.processor.end(&mut self.seats, now, job);
                self.ended(now, job);
            }
            Event::Work(Work::Processor(_), number) => {
                let mut left = Vec::new();
                if self.processor.leave(now, number, &mut left) {
                    let mut settled = Vec::new();
                    self.processor.settle(&mut self.seats, now, &mut settled);
                    for (job, ends) in settled {
                        self.expect(job, ends);
                    }
                    self.announce();
                    left.into_iter().for_each(|job| self.ended(now, job));
                }
            }
            _ => {}
        }
    }

    fn join(&mut self, now: Instant, job: u32, work: Duration) {
        let mut displaced = Vec::new();
        self.there.insert(job, Number::NONE);
        match self.processor.join(&mut self.seats, now, job, work, &mut displaced) {
            Joined::Ends(at) => self.expect(job, at),
            Joined::Shares => {
                self.forget(&displaced);
                self.announce();
            }
        }
    }

    fn lose(&mut self, now: Instant, job: u32) {
        if self.there.remove(&job).is_some() {
            self.processor.end(&mut self.seats, now, job);
            self.announce();
        }
    }

    fn set_capacity(&mut self, now: Instant, capacity: u64) {
        let mut displaced = Vec::new();
        self.processor.set_capacity(&mut self.seats, now, capacity * ONE, &mut displaced);
        self.forget(&displaced);
        self.announce();
    }

    fn expect(&mut self, job: u32, ends: Instant) {
        let number = self.queue.push(ends, Class::Work, Work::Sandbox(job));
        self.there.insert(job, number);
    }

    fn forget(&mut self, displaced: &[u32]) {
        for job in displaced {
            self.there.insert(*job, Number::NONE);
        }
    }

    fn announce(&mut self) {
        if let Some(at) = self.processor.to_announce() {
            let number = self.queue.push(at, Class::Work, Work::Processor(0));
            self.processor.announced(at, number);
        }
    }

    fn ended(&mut self, now: Instant, job: u32) {
        self.there.remove(&job);
        self.ends.insert(job, now.as_nanos() as f64);
        let there = self.there.len() as u32;
        assert!(self.processor.in_use() <= there, "{} of {there} jobs served", self.processor.in_use());
    }
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        6 => (0u64..2_000).prop_map(Happens::Join),
        2 => (0u32..30).prop_map(Happens::Lose),
        1 => (1u64..5).prop_map(Happens::Capacity),
    ]
}

#[test]
fn a_lost_job_leaves_its_share_to_the_others_from_then_on() {
    // One core, two jobs of 1000 ns from 0 on; at 600 each has done 300, and one is lost: the other
    // ends 700 ns later.
    let story = [(0, Happens::Join(1000)), (0, Happens::Join(1000)), (600, Happens::Lose(0))];
    assert_eq!(Driven::play(1, &story).ends, Ends::from([(1, 1300.0)]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_job_ends_when_processor_sharing_says(
        capacity in 1u64..5,
        steps in prop::collection::vec((0u64..1_000, happens()), 1..40),
    ) {
        let mut at = 0;
        let story: Vec<_> = steps.iter().map(|&(gap, happens)| { at += gap; (at, happens) }).collect();
        let lost: BTreeMap<u32, u64> = story.iter().filter_map(|&(at, happens)| match happens {
            Happens::Lose(job) => Some((job, at)),
            _ => None,
        }).collect();
        let (got, expected) = (Driven::play(capacity, &story), by_definition(capacity as f64, &story));
        // A leave comes at a whole ns, and what the job had beyond its end is lost to the others: at most
        // 1 ns for each job that leaves; and up to 1 ns of work whenever they go over to virtual time or
        // come back, which takes longer when it is shared.
        let within = 1.0 + 3.0 * story.len() as f64;
        for job in 0..story.len() as u32 {
            match (got.ends.get(&job), expected.get(&job)) {
                (Some(got), Some(expected)) => {
                    prop_assert!((got - expected).abs() <= within, "job {job}: {got} instead of {expected}");
                }
                (None, None) => {}
                // Lost within the rounding of its end.
                (one, other) => {
                    let end = one.or(other).copied().unwrap_or_default();
                    let lost = lost.get(&job).copied().unwrap_or_default() as f64;
                    prop_assert!((end - lost).abs() <= within, "job {job}: {one:?} instead of {other:?}");
                }
            }
        }
    }
}
