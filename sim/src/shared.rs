//! Processor sharing in virtual time: for resources that have more jobs than they serve at full rate.
//!
//! With `n` jobs on a resource of capacity `c`, each job proceeds at rate min(1, c / n). Virtual
//! time advances at that rate, so a job that needs work `w` and joins at virtual time `v` leaves at
//! virtual time `v + w` whatever joins or leaves meanwhile: an event costs O(log n), and nobody's
//! remaining work is ever touched. Virtual time is an integer count of 1/1024 ns: exact while the
//! resource is not overloaded, and within 1/1024 ns a change where it is.
//!
//! A capacity is counted in thousandths of a job, so that a NIC can be slower than one stream of reads.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use traces::{Duration, Instant};

const FRACTION: u64 = 1024;

/// Capacity that serves one job at full rate.
pub const ONE: u64 = 1000;

/// The resource and the jobs on it.
#[derive(Clone, Debug)]
pub struct Shared {
    capacity: u64,
    virtual_now: u64,
    updated: Instant,
    joined: u32,
    /// (virtual time of leaving, order of joining, job)
    jobs: BinaryHeap<Reverse<(u64, u32, u32)>>,
}

impl Shared {
    /// An empty resource that serves `capacity` thousandths of a job at full rate.
    ///
    /// # Panics
    /// If the capacity is zero.
    pub fn new(capacity: u64) -> Self {
        assert!(capacity > 0, "a resource needs a capacity");
        Self { capacity, virtual_now: 0, updated: Instant::ZERO, joined: 0, jobs: BinaryHeap::new() }
    }

    /// Number of jobs.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// A job joins.
    pub fn join(&mut self, now: Instant, job: u32, work: Duration) {
        self.advance(now);
        if self.jobs.is_empty() {
            self.virtual_now = 0;
            self.joined = 0;
        }
        self.joined += 1;
        self.jobs.push(Reverse((self.virtual_now + work.as_nanos() * FRACTION, self.joined, job)));
    }

    /// When the next job leaves, if none joins before.
    pub fn next_leave(&self) -> Option<Instant> {
        let &Reverse((leave, _, _)) = self.jobs.peek()?;
        let ahead = leave.saturating_sub(self.virtual_now);
        let jobs = self.jobs.len() as u64;
        let real = if jobs * ONE <= self.capacity {
            ahead.div_ceil(FRACTION)
        } else {
            (u128::from(ahead) * u128::from(jobs * ONE)).div_ceil(u128::from(self.capacity * FRACTION)) as u64
        };
        Some(self.updated + Duration::from_nanos(real))
    }

    /// A job whose work is done by `now`, which leaves.
    pub fn leave(&mut self, now: Instant) -> Option<u32> {
        self.advance(now);
        let &Reverse((leave, _, job)) = self.jobs.peek()?;
        if leave > self.virtual_now {
            return None;
        }
        self.jobs.pop();
        Some(job)
    }

    /// A job leaves before its work is done: O(jobs).
    pub fn remove(&mut self, now: Instant, job: u32) {
        self.advance(now);
        self.jobs.retain(|&Reverse((_, _, other))| other != job);
    }

    /// All jobs leave, in the order in which they would have: each is added to `left` with the instant
    /// at which it would end if it were alone from now on.
    pub fn drain(&mut self, now: Instant, left: &mut Vec<(u32, Instant)>) {
        self.advance(now);
        while let Some(Reverse((leave, _, job))) = self.jobs.pop() {
            let work = leave.saturating_sub(self.virtual_now).div_ceil(FRACTION);
            left.push((job, now + Duration::from_nanos(work)));
        }
    }

    /// The capacity changes.
    ///
    /// # Panics
    /// If it is zero.
    pub fn set_capacity(&mut self, now: Instant, capacity: u64) {
        assert!(capacity > 0, "a resource needs a capacity");
        self.advance(now);
        self.capacity = capacity;
    }

    fn advance(&mut self, now: Instant) {
        let real = now.since(self.updated).as_nanos();
        self.updated = now;
        if real == 0 || self.jobs.is_empty() {
            return;
        }
        let jobs = self.jobs.len() as u64;
        self.virtual_now += if jobs * ONE <= self.capacity {
            real * FRACTION
        } else {
            (u128::from(real) * u128::from(self.capacity * FRACTION) / u128::from(jobs * ONE)) as u64
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(n)
    }

    #[test]
    fn two_jobs_on_one_core_take_twice_as_long_while_both_are_there() {
        // a needs 10 ms and joins at 0; b needs 10 ms and joins at 5. Both run at half rate until a
        // leaves at 15 (5 alone + 2 × 5 shared); b has then done 5 and leaves at 20.
        let mut core = Shared::new(ONE);
        core.join(ms(0), 0, Duration::from_millis(10));
        core.join(ms(5), 1, Duration::from_millis(10));
        assert_eq!(core.next_leave(), Some(ms(15)));
        assert_eq!(core.leave(ms(15)), Some(0));
        assert_eq!(core.leave(ms(15)), None);
        assert_eq!(core.next_leave(), Some(ms(20)));
        assert_eq!(core.leave(ms(20)), Some(1));
        assert_eq!(core.next_leave(), None);
    }

    #[test]
    fn jobs_within_the_capacity_do_not_feel_each_other() {
        let mut cores = Shared::new(4 * ONE);
        for job in 0..4 {
            cores.join(ms(u64::from(job)), job, Duration::from_millis(7));
        }
        for job in 0..4 {
            assert_eq!(cores.next_leave(), Some(ms(7 + u64::from(job))));
            assert_eq!(cores.leave(ms(7 + u64::from(job))), Some(job));
        }
    }

    #[test]
    fn half_a_capacity_makes_even_one_job_take_twice_as_long() {
        let mut nic = Shared::new(ONE / 2);
        nic.join(ms(0), 0, Duration::from_millis(5));
        assert_eq!(nic.next_leave(), Some(ms(10)));
        assert_eq!((nic.leave(ms(9)), nic.leave(ms(10))), (None, Some(0)));
    }

    #[test]
    fn equal_jobs_leave_in_the_order_they_joined() {
        let mut core = Shared::new(ONE);
        for job in [3, 1, 2] {
            core.join(ms(0), job, Duration::from_millis(1));
        }
        let left: Vec<u32> = std::iter::from_fn(|| core.leave(ms(3))).collect();
        assert_eq!(left, [3, 1, 2]);
    }
}
