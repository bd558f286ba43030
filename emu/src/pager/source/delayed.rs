//! A stated delay: any source, made as slow as a remote memory is said to be.
//!
//! The model is one device with a queue. A read occupies it for the longer of `1 / IOPS` and `bytes / bandwidth`,
//! after the reads before it; its pages are there one latency later. A result that was had with such a delay is a
//! statement about the delay, and says so by the source's name.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use super::{Done, PageSource, ReadQueue, SourceError, check_range};
use crate::pager::memory::{Page, PageBuffer};

/// Below this, a thread waits for its read: going back to sleep and being woken costs as much.
const WORTH_SLEEPING: Duration = Duration::from_micros(10);
/// Reads that a queue has outstanding.
const DEPTH: usize = 64;

/// How slow a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// From the end of its occupation to the pages, the same or the middle of a spread.
    pub latency: Duration,
    /// Each latency is drawn evenly from so many percent below to so many above; 0: always the same.
    pub spread_percent: u32,
    /// Fixes the draws.
    pub seed: u64,
    /// Bytes per second; `None`: without limit.
    pub bandwidth: Option<u64>,
    /// Reads per second; `None`: without limit.
    pub iops: Option<u64>,
}

impl Delay {
    /// Only a latency.
    #[must_use]
    pub fn latency(latency: Duration) -> Self {
        Self { latency, spread_percent: 0, seed: 0, bandwidth: None, iops: None }
    }

    fn occupation(&self, bytes: usize) -> u64 {
        let per_read = self.iops.map_or(0, |iops| 1_000_000_000 / iops.max(1));
        let moved = self.bandwidth.map_or(0, |bandwidth| bytes as u64 * 1_000_000_000 / bandwidth.max(1));
        per_read.max(moved)
    }

    /// The latency of the read with this number, nanoseconds.
    fn drawn(&self, number: u64) -> u64 {
        let middle = self.latency.as_nanos() as u64;
        if self.spread_percent == 0 {
            return middle;
        }
        let spread = middle * u64::from(self.spread_percent.min(100)) / 100;
        middle - spread + mixed(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) % (2 * spread + 1)
    }
}

/// The finaliser of SplitMix64: evenly spread bits from a count.
pub(crate) fn mixed(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The device: when it is free again, and how many reads it has had. Shared by its queues, without locks.
#[derive(Debug)]
struct Device {
    delay: Delay,
    epoch: Instant,
    free_at: AtomicU64,
    reads: AtomicU64,
}

impl Device {
    /// Enters a read: when its pages are there.
    fn enter(&self, now: Instant, bytes: usize) -> Instant {
        let now = now.duration_since(self.epoch).as_nanos() as u64;
        let occupation = self.delay.occupation(bytes);
        let before = self.free_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free_at| {
            Some(free_at.max(now) + occupation)
        });
        let occupied = before.unwrap_or_else(|free_at| free_at).max(now) + occupation;
        let latency = self.delay.drawn(self.reads.fetch_add(1, Ordering::Relaxed));
        self.epoch + Duration::from_nanos(occupied + latency)
    }
}

/// A source behind a slow device.
#[derive(Debug)]
pub struct Delayed {
    inner: Arc<dyn PageSource>,
    device: Arc<Device>,
    name: String,
}

impl Delayed {
    /// Slows `inner` down.
    #[must_use]
    pub fn new(inner: Arc<dyn PageSource>, delay: Delay) -> Self {
        let name = format!("{} + stated {:?}", inner.name(), delay.latency);
        let device =
            Device { delay, epoch: Instant::now(), free_at: AtomicU64::new(0), reads: AtomicU64::new(0) };
        Self { inner, device: Arc::new(device), name }
    }
}

impl PageSource for Delayed {
    fn name(&self) -> &str {
        &self.name
    }

    fn pages(&self) -> u64 {
        self.inner.pages()
    }

    fn is_trusted(&self) -> bool {
        self.inner.is_trusted()
    }

    fn read(&self, first: u64, into: &mut [Page]) -> Result<(), SourceError> {
        let due = self.device.enter(Instant::now(), size_of_val(into));
        self.inner.read(first, into)?;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            if left > WORTH_SLEEPING * 10 {
                std::thread::sleep(left - WORTH_SLEEPING * 8);
            }
            std::hint::spin_loop();
        }
    }

    fn queue(&self) -> Result<Option<Box<dyn ReadQueue>>, SourceError> {
        let delay = &self.device.delay;
        if delay.latency < WORTH_SLEEPING && delay.bandwidth.is_none() && delay.iops.is_none() {
            return Ok(None);
        }
        let timer = rustix::time::timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )
        .map_err(|errno| SourceError::io("cannot make a timer")(errno.into()))?;
        Ok(Some(Box::new(DelayedQueue {
            inner: Arc::clone(&self.inner),
            device: Arc::clone(&self.device),
            timer,
            waiting: VecDeque::with_capacity(DEPTH),
            room: PageBuffer::new(super::MOST_PAGES).map_err(SourceError::io("no memory to read into"))?,
        })))
    }
}

/// Reads that wait for their time. The inner source is read when the time has come.
struct DelayedQueue {
    inner: Arc<dyn PageSource>,
    device: Arc<Device>,
    timer: OwnedFd,
    /// By the time they are due.
    waiting: VecDeque<Waiting>,
    room: PageBuffer,
}

struct Waiting {
    due: Instant,
    token: u64,
    first: u64,
    count: usize,
}

impl DelayedQueue {
    /// Sets the timer to the first that is due, or stops it.
    fn arm(&self) {
        let left = self.waiting.front().map_or(Duration::ZERO, |first| {
            // Zero would stop the timer.
            first.due.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1))
        });
        let value = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) as _ };
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::time::timerfd_settime(
            &self.timer,
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: zero, it_value: value },
        )
        .expect("a timer of ours takes a valid time");
    }
}

impl ReadQueue for DelayedQueue {
    fn submit(&mut self, token: u64, first: u64, count: usize) -> Result<(), SourceError> {
        check_range(first, count, self.inner.pages())?;
        if self.waiting.len() == DEPTH {
            return Err(SourceError::Full);
        }
        let due = self.device.enter(Instant::now(), count * size_of::<Page>());
        let place = self.waiting.partition_point(|other| other.due <= due);
        self.waiting.insert(place, Waiting { due, token, first, count });
        if place == 0 {
            self.arm();
        }
        Ok(())
    }

    fn ready(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }

    fn complete(&mut self, done: &mut Done<'_>) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.timer, &mut count);
        while self.waiting.front().is_some_and(|first| first.due <= Instant::now()) {
            let Waiting { token, first, count, .. } = self.waiting.pop_front().expect("looked at above");
            let room = &mut self.room.pages_mut()[..count];
            match self.inner.read(first, room) {
                Ok(()) => done(token, Ok(room)),
                Err(error) => done(token, Err(error)),
            }
        }
        self.arm();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(delay: Delay) -> Device {
        Device { delay, epoch: Instant::now(), free_at: AtomicU64::new(0), reads: AtomicU64::new(0) }
    }

    #[test]
    fn reads_queue_for_the_device_and_their_latencies_overlap() {
        let delay = Delay { bandwidth: Some(4096 * 1000), ..Delay::latency(Duration::from_millis(5)) };
        let device = device(delay);
        let start = device.epoch;
        // A page takes 1 ms of the device; then come 5 ms of latency.
        assert_eq!(device.enter(start, 4096), start + Duration::from_millis(6));
        assert_eq!(device.enter(start, 4096), start + Duration::from_millis(7));
        // An idle device starts at once.
        let later = start + Duration::from_millis(100);
        assert_eq!(device.enter(later, 8192), later + Duration::from_millis(7));
    }

    #[test]
    fn a_spread_stays_within_its_bounds_and_is_the_same_for_the_same_seed() {
        let delay = Delay { spread_percent: 50, seed: 7, ..Delay::latency(Duration::from_micros(10)) };
        let drawn: Vec<u64> = (0..1000).map(|number| delay.drawn(number)).collect();
        assert!(drawn.iter().all(|latency| (5_000..=15_000).contains(latency)));
        let mean = drawn.iter().sum::<u64>() / 1000;
        assert!((9_700..10_300).contains(&mean), "{mean}");
        assert_eq!(drawn, (0..1000).map(|number| delay.drawn(number)).collect::<Vec<_>>());
    }
}
