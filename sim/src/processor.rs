//! A resource shared by processor sharing: the cores of a node, its NIC, a CXL device.
//!
//! With `n` jobs on a resource of capacity `c`, each job proceeds at rate min(1, c / n).
//!
//! Nearly always n ≤ c, and then a job's end is known when it joins: it is an event of its own, and
//! nothing is kept here but who is there. Only when one job too many joins does the resource go over
//! to virtual time (module `shared`), where one event stands for the next leave; it comes back when
//! half the capacity is free. So a job on a resource that is not overloaded costs one queue operation
//! in each direction, and touches no heap of the resource.

use crate::queue::Number;
use crate::shared::{ONE, Shared};
use traces::{Duration, Instant};

/// No job.
pub const NOBODY: u32 = u32::MAX;

/// What a job on a processor knows of it: kept with the job, so that a processor that is not
/// overloaded needs no memory of its own for it.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    /// When it ends, if nobody gets in its way.
    ends: Instant,
    previous: u32,
    next: u32,
}

impl Seat {
    /// Of a job that is on no processor.
    pub const NONE: Self = Self { ends: Instant::ZERO, previous: NOBODY, next: NOBODY };
}

/// Whoever keeps the jobs' seats.
pub trait Seats {
    /// A job's seat.
    fn seat(&mut self, job: u32) -> &mut Seat;
}

/// What a join leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// The job ends then, if nobody gets in its way.
    Ends(Instant),
    /// It shares with all others, from now on or already: no end is certain.
    Shares,
}

/// The resource and the jobs on it.
pub struct Processor {
    /// Jobs that it serves at full rate.
    capacity: u32,
    /// The same in thousandths of a job.
    exactly: u64,
    /// Jobs whose end is known, and the first of them.
    alone: u32,
    first: u32,
    /// Whether its use is reported as that of cores.
    pub is_cores: bool,
    is_overloaded: bool,
    /// In force while it is overloaded; kept for the next time after the first.
    sharing: Option<Box<Sharing>>,
}

/// Jobs in virtual time, and the event that stands for the next leave.
struct Sharing {
    jobs: Shared,
    announced: Instant,
    announcement: Number,
}

impl Sharing {
    fn new(exactly: u64) -> Self {
        let jobs = Shared::new(exactly);
        Self { jobs, announced: Instant::MAX, announcement: Number::default() }
    }
}

impl Processor {
    /// The cores of a node.
    pub fn cores(cores: u32) -> Self {
        Self { is_cores: true, ..Self::new(u64::from(cores) * ONE) }
    }

    /// An empty resource that serves `exactly` so many thousandths of a job at full rate.
    pub fn new(exactly: u64) -> Self {
        Self {
            capacity: whole(exactly),
            exactly,
            alone: 0,
            first: NOBODY,
            is_cores: false,
            is_overloaded: false,
            sharing: None,
        }
    }

    /// Jobs that are served now, each counted as the share it gets: at most the capacity.
    pub fn in_use(&self) -> u32 {
        match self.shared() {
            None => self.alone,
            Some(sharing) => self.capacity.min(sharing.jobs.len() as u32),
        }
    }

    /// A job joins. `displaced` gets the jobs whose known ends no longer hold.
    pub fn join(
        &mut self,
        seats: &mut impl Seats,
        now: Instant,
        job: u32,
        work: Duration,
        displaced: &mut Vec<u32>,
    ) -> Joined {
        if let Some(sharing) = self.shared_mut() {
            sharing.jobs.join(now, job, work);
            return Joined::Shares;
        }
        if self.alone < self.capacity {
            let ends = now + work;
            self.sit(seats, job, ends);
            return Joined::Ends(ends);
        }
        self.share(seats, now, displaced).jobs.join(now, job, work);
        Joined::Shares
    }

    /// A job whose end was known has come to it, or a job is lost.
    pub fn end(&mut self, seats: &mut impl Seats, now: Instant, job: u32) {
        if let Some(sharing) = self.shared_mut() {
            sharing.jobs.remove(now, job);
            return;
        }
        let Seat { previous, next, .. } = std::mem::replace(seats.seat(job), Seat::NONE);
        if next != NOBODY {
            seats.seat(next).previous = previous;
        }
        match previous {
            NOBODY => self.first = next,
            previous => seats.seat(previous).next = next,
        }
        self.alone -= 1;
    }

    /// An announcement has come: the jobs that leave now are added to `left`. `false` if the
    /// announcement no longer counts.
    pub fn leave(&mut self, now: Instant, announcement: Number, left: &mut Vec<u32>) -> bool {
        let Some(sharing) = self.shared_mut().filter(|s| s.announcement == announcement) else {
            return false;
        };
        sharing.announced = Instant::MAX;
        left.extend(std::iter::from_fn(|| sharing.jobs.leave(now)));
        true
    }

    /// When a leave is to be announced, if at another time than before.
    pub fn to_announce(&self) -> Option<Instant> {
        let sharing = self.shared()?;
        let next = sharing.jobs.next_leave()?;
        (next != sharing.announced).then_some(next)
    }

    /// It was announced by that event.
    pub fn announced(&mut self, at: Instant, announcement: Number) {
        if let Some(sharing) = self.shared_mut() {
            sharing.announced = at;
            sharing.announcement = announcement;
        }
    }

    /// Goes back to jobs with known ends if half the capacity is free: those jobs and ends are added to
    /// `settled`.
    pub fn settle(&mut self, seats: &mut impl Seats, now: Instant, settled: &mut Vec<(u32, Instant)>) {
        let few = |sharing: &Sharing| sharing.jobs.len() as u32 <= self.capacity / 2;
        if !self.shared().is_some_and(few) {
            return;
        }
        self.is_overloaded = false;
        let before = settled.len();
        if let Some(sharing) = &mut self.sharing {
            sharing.jobs.drain(now, settled);
        }
        for &(job, ends) in &settled[before..] {
            self.sit(seats, job, ends);
        }
    }

    /// The resource has another capacity, in thousandths of a job, from now on. Everybody shares, so that no known end has to
    /// be believed; `displaced` gets those who had one.
    pub fn set_capacity(
        &mut self,
        seats: &mut impl Seats,
        now: Instant,
        exactly: u64,
        displaced: &mut Vec<u32>,
    ) {
        let sharing = self.share(seats, now, displaced);
        sharing.jobs.set_capacity(now, exactly);
        sharing.announced = Instant::MAX;
        self.capacity = whole(exactly);
        self.exactly = exactly;
    }

    /// How jobs share it, if it is overloaded.
    fn shared(&self) -> Option<&Sharing> {
        if self.is_overloaded { self.sharing.as_deref() } else { None }
    }

    fn shared_mut(&mut self) -> Option<&mut Sharing> {
        if self.is_overloaded { self.sharing.as_deref_mut() } else { None }
    }

    /// From now on all share it, if they do not yet: jobs with known ends go over to virtual time.
    fn share(&mut self, seats: &mut impl Seats, now: Instant, displaced: &mut Vec<u32>) -> &mut Sharing {
        let is_new = !std::mem::replace(&mut self.is_overloaded, true);
        let sharing = self.sharing.get_or_insert_with(|| Box::new(Sharing::new(self.exactly)));
        if is_new {
            (sharing.announced, sharing.announcement) = (Instant::MAX, Number::default());
            let mut job = std::mem::replace(&mut self.first, NOBODY);
            while job != NOBODY {
                let seat = std::mem::replace(seats.seat(job), Seat::NONE);
                sharing.jobs.join(now, job, seat.ends.since(now));
                displaced.push(job);
                job = seat.next;
            }
            self.alone = 0;
        }
        sharing
    }

    fn sit(&mut self, seats: &mut impl Seats, job: u32, ends: Instant) {
        *seats.seat(job) = Seat { ends, previous: NOBODY, next: self.first };
        if self.first != NOBODY {
            seats.seat(self.first).previous = job;
        }
        self.first = job;
        self.alone += 1;
    }
}

fn whole(exactly: u64) -> u32 {
    u32::try_from(exactly / ONE).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{Class, Queue, Work};

    struct Table([Seat; 10]);

    impl Seats for Table {
        fn seat(&mut self, job: u32) -> &mut Seat {
            &mut self.0[job as usize]
        }
    }

    fn ms(n: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(n)
    }

    #[test]
    fn one_job_too_many_makes_all_share_until_half_the_capacity_is_free() {
        // Two cores, three jobs of 12, 12 and 4 ms that join at 0, 0 and 6: from 6 on each runs at
        // 2/3. The short one is through at 12, when the others have done 6 + 4 ms and only two are
        // left, at full rate: both end at 14.
        let mut cores = Processor::cores(2);
        let (mut displaced, mut left) = (Vec::new(), Vec::new());
        let (mut seats, mut queue) = (Table([Seat::NONE; 10]), Queue::<()>::new());
        let mut announce = |cores: &mut Processor| {
            let at = cores.to_announce().unwrap();
            let number = queue.push(at, Class::Work, Work::Processor(0));
            cores.announced(at, number);
            (at, number)
        };
        let work = Duration::from_millis;
        assert_eq!(cores.join(&mut seats, ms(0), 7, work(12), &mut displaced), Joined::Ends(ms(12)));
        assert_eq!(cores.join(&mut seats, ms(0), 8, work(12), &mut displaced), Joined::Ends(ms(12)));
        assert_eq!(cores.join(&mut seats, ms(6), 9, work(4), &mut displaced), Joined::Shares);
        assert_eq!((displaced.as_slice(), cores.in_use()), ([8, 7].as_slice(), 2));
        let (at, first) = announce(&mut cores);
        assert!(cores.leave(at, first, &mut left));
        assert_eq!((at, std::mem::take(&mut left)), (ms(12), vec![9]));
        let settled = |cores: &mut Processor, seats: &mut Table, at| {
            let mut settled = Vec::new();
            cores.settle(seats, at, &mut settled);
            settled
        };
        assert_eq!(settled(&mut cores, &mut seats, at), []);
        let (at, second) = announce(&mut cores);
        assert!(!cores.leave(at, first, &mut left), "a stale announcement means nothing");
        assert!(cores.leave(at, second, &mut left));
        assert_eq!((at, left), (ms(14), vec![8, 7]));
        assert_eq!((settled(&mut cores, &mut seats, at), cores.in_use()), (Vec::new(), 0));
        assert_eq!(cores.join(&mut seats, ms(20), 1, work(5), &mut displaced), Joined::Ends(ms(25)));
        // Overloaded once more: what was announced before means nothing, and time begins anew.
        assert_eq!(cores.join(&mut seats, ms(20), 2, work(5), &mut displaced), Joined::Ends(ms(25)));
        assert_eq!(cores.join(&mut seats, ms(20), 3, work(2), &mut displaced), Joined::Shares);
        assert!(!cores.leave(ms(23), second, &mut Vec::new()));
        assert_eq!(cores.to_announce(), Some(ms(23)));
    }
}
