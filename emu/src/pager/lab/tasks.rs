//! What a process in the lab is asked to do.

use std::time::Instant;

use rustix::thread::CpuSet;
use serde::{Deserialize, Serialize};

use super::program;
use crate::pager::source::delayed::mixed;
use crate::template::pages::PAGE;

/// The arena of a process.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    /// Where it starts.
    pub address: *mut u8,
    /// Pages.
    pub pages: usize,
}

// SAFETY: an address; who uses it says why it may.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Where a page is.
    fn page(&self, number: usize) -> *mut u8 {
        self.address.wrapping_add(number * PAGE)
    }
}

/// A task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Task {
    /// Read a word of each page once.
    Touch(Touch),
    /// Run a pseudo-random program.
    Program(program::Program),
}

/// Which pages to touch, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Touch {
    /// First page of the arena.
    pub first: usize,
    /// Pages, dealt to the threads in equal parts.
    pub count: usize,
    /// Only every so many pages.
    pub stride: usize,
    /// In pseudo-random order.
    pub shuffled: bool,
    /// Threads that touch at once.
    pub threads: usize,
    /// Write the word back.
    pub write: bool,
    /// Core to run on.
    pub core: Option<usize>,
}

impl Touch {
    /// All of a range in order, by one thread.
    #[must_use]
    pub fn all(first: usize, count: usize) -> Self {
        Self { first, count, stride: 1, shuffled: false, threads: 1, write: false, core: None }
    }
}

/// How a task ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Stands for everything that was read.
    pub hash: u64,
    /// From the start of the first thread to the end of the last, nanoseconds.
    pub wall_ns: u64,
    /// Pages that were touched.
    pub touched: u64,
    /// Half of the touches took less, nanoseconds.
    pub median_ns: u64,
    /// 99 of 100 took less.
    pub p99_ns: u64,
}

/// What touching these pages (number in the arena, first word) adds up to.
#[must_use]
pub fn touch_hash(pages: impl IntoIterator<Item = (usize, u64)>) -> u64 {
    pages.into_iter().fold(0, |sum, (page, word)| sum.wrapping_add(mixed(word ^ mixed(page as u64))))
}

/// Does a task.
#[must_use]
pub fn run(region: &Region, task: &Task) -> Done {
    match task {
        Task::Touch(touch) => run_touch(region, touch),
        Task::Program(program) => {
            let start = Instant::now();
            let hash = program::run(region, program);
            Done { hash, wall_ns: start.elapsed().as_nanos() as u64, ..Done::default() }
        }
    }
}

fn run_touch(region: &Region, touch: &Touch) -> Done {
    if let Some(core) = touch.core {
        let mut only = CpuSet::new();
        only.set(core);
        let _ = rustix::thread::sched_setaffinity(None, &only);
    }
    let mut order: Vec<usize> = (touch.first..touch.first + touch.count).step_by(touch.stride).collect();
    if touch.shuffled {
        order.sort_by_key(|page| mixed(*page as u64));
    }
    let (region, write, threads) = (*region, touch.write, touch.threads);
    let each = order.len().div_ceil(threads);
    // Room first: the times are to be those of faults in the arena only.
    let parts: Vec<(&[usize], Vec<u32>)> =
        order.chunks(each).map(|part| (part, vec![0; part.len()])).collect();
    let start = Instant::now();
    let work = |part: &[usize], times: &mut Vec<u32>| {
        let mut hash = 0_u64;
        let mut before = Instant::now();
        for (page, time) in part.iter().zip(times.iter_mut()) {
            // SAFETY: within the arena, to which only this task's threads have access, each to its own pages.
            let word = unsafe {
                let at = region.page(*page).cast::<u64>();
                let word = at.read_volatile();
                if write {
                    at.write_volatile(word);
                }
                word
            };
            let now = Instant::now();
            *time = (now - before).as_nanos().min(u128::from(u32::MAX)) as u32;
            before = now;
            hash = hash.wrapping_add(touch_hash([(*page, u64::from_le(word))]));
        }
        hash
    };
    let mut done = Done::default();
    let mut all = Vec::with_capacity(order.len());
    if threads == 1 {
        for (part, mut times) in parts {
            done.hash = done.hash.wrapping_add(work(part, &mut times));
            all.append(&mut times);
        }
    } else {
        std::thread::scope(|scope| {
            let started: Vec<_> = parts
                .into_iter()
                .map(|(part, mut times)| {
                    let work = &work;
                    scope.spawn(move || (work(part, &mut times), times))
                })
                .collect();
            for thread in started {
                let (hash, mut times) = thread.join().expect("touching does not panic");
                done.hash = done.hash.wrapping_add(hash);
                all.append(&mut times);
            }
        });
    }
    done.wall_ns = start.elapsed().as_nanos() as u64;
    done.touched = all.len() as u64;
    all.sort_unstable();
    let at = |part: f64| u64::from(all[((all.len() as f64 * part) as usize).min(all.len() - 1)]);
    if !all.is_empty() {
        (done.median_ns, done.p99_ns) = (at(0.5), at(0.99));
    }
    done
}
