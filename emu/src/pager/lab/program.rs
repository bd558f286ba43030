//! A pseudo-random program over an arena: however its pages are served, its hash must be the same.
//!
//! Each thread has a part of the arena to itself. It reads whole pages, writes words, drops pages (they are zeros
//! then), unmaps and moves them, and now and then forks a child that reads some. The hash covers everything that was
//! read; a thread's steps depend on its seed only, so that the threads' interleaving does not show.

use serde::{Deserialize, Serialize};

use super::tasks::Region;
use crate::pager::source::delayed::mixed;
use crate::template::pages::PAGE;

/// A program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Fixes everything.
    pub seed: u64,
    /// Steps of each thread.
    pub steps: usize,
    /// Threads.
    pub threads: usize,
    /// Also change the memory map.
    pub maps: bool,
    /// Also fork.
    pub forks: bool,
}

/// Runs it: its hash.
#[must_use]
pub fn run(region: &Region, program: &Program) -> u64 {
    let each = region.pages / program.threads;
    let hashes: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..program.threads)
            .map(|thread| {
                let part = Region {
                    // SAFETY: within the arena.
                    address: unsafe { region.address.add(thread * each * PAGE) },
                    pages: each,
                };
                scope.spawn(move || Thread::new(part, program, thread as u64).run())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("the program does not panic")).collect()
    });
    hashes.into_iter().enumerate().fold(0, |sum, (thread, hash)| sum ^ mixed(hash ^ thread as u64))
}

struct Thread<'a> {
    program: &'a Program,
    state: u64,
    hash: blake3::Hasher,
    /// Where each page is now, unless it has been unmapped.
    pages: Vec<Option<*mut u8>>,
    /// Addresses that pages can be moved to.
    spare: *mut u8,
    spare_left: usize,
}

impl<'a> Thread<'a> {
    fn new(part: Region, program: &'a Program, thread: u64) -> Self {
        let spare_left = if program.maps { program.steps.min(4096) } else { 0 };
        // SAFETY: a new mapping, at an address of the kernel's choice, without access.
        let spare = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                (spare_left + 1) * PAGE,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        assert!(spare != libc::MAP_FAILED, "no addresses to move pages to");
        // SAFETY: within the part.
        let pages = (0..part.pages).map(|page| Some(unsafe { part.address.add(page * PAGE) })).collect();
        Self {
            program,
            state: mixed(program.seed ^ (thread << 32)),
            hash: blake3::Hasher::new(),
            pages,
            spare: spare.cast(),
            spare_left,
        }
    }

    fn draw(&mut self, below: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (mixed(self.state) % below as u64) as usize
    }

    fn run(mut self) -> u64 {
        for _ in 0..self.program.steps {
            let page = self.draw(self.pages.len());
            match self.draw(100) {
                0..45 => self.read(page),
                45..75 => self.write(page),
                75..85 if self.program.maps => self.forget(page),
                85..90 if self.program.maps => self.unmap(page),
                90..99 if self.program.maps => self.relocate(page),
                99 if self.program.forks => self.fork(page),
                _ => self.read(page),
            }
        }
        // Everything that is left.
        for page in 0..self.pages.len() {
            self.read(page);
        }
        u64::from_le_bytes(self.hash.finalize().as_bytes()[..8].try_into().expect("eight bytes"))
    }

    fn read(&mut self, page: usize) {
        let Some(address) = self.pages[page] else { return };
        // SAFETY: mapped, and only this thread uses it.
        self.hash.update(unsafe { std::slice::from_raw_parts(address, PAGE) });
    }

    fn write(&mut self, page: usize) {
        let (word, value) = (self.draw(PAGE / 8), self.draw(usize::MAX));
        let Some(address) = self.pages[page] else { return };
        // SAFETY: mapped, and only this thread uses it.
        unsafe { address.cast::<usize>().add(word).write_volatile(value) };
    }

    /// Pages from `page` on that lie one after another: their number, at most `most`.
    fn row(&self, page: usize, most: usize) -> usize {
        let Some(start) = self.pages[page] else { return 0 };
        let next =
            |at: &usize| self.pages.get(page + at).copied().flatten() == Some(start.wrapping_add(at * PAGE));
        1 + (1..most).take_while(next).count()
    }

    /// Drops pages: they read as zeros from now on, as anonymous memory does.
    fn forget(&mut self, page: usize) {
        let most = self.draw(8) + 1;
        let row = self.row(page, most);
        let Some(address) = self.pages[page] else { return };
        // SAFETY: mapped, and only this thread uses it.
        let result = unsafe { libc::madvise(address.cast(), row * PAGE, libc::MADV_DONTNEED) };
        assert_eq!(result, 0, "madvise: {}", std::io::Error::last_os_error());
    }

    fn unmap(&mut self, page: usize) {
        let row = self.row(page, 2);
        let Some(address) = self.pages[page] else { return };
        // SAFETY: mapped by nobody else, and not used after this.
        let result = unsafe { libc::munmap(address.cast(), row * PAGE) };
        assert_eq!(result, 0, "munmap: {}", std::io::Error::last_os_error());
        self.pages[page..page + row].fill(None);
    }

    fn relocate(&mut self, page: usize) {
        let most = self.draw(6) + 1;
        let row = self.row(page, most);
        let Some(address) = self.pages[page] else { return };
        // Twice, for the case that they must move one by one.
        if row * 2 > self.spare_left {
            return;
        }
        self.spare_left -= row * 2;
        if self.move_row(page, address, row) {
            return;
        }
        // Neighbours that came from different places are different mappings, which do not move together.
        for at in 0..row {
            let moved = self.move_row(page + at, address.wrapping_add(at * PAGE), 1);
            assert!(moved, "mremap: {}", std::io::Error::last_os_error());
        }
    }

    fn move_row(&mut self, page: usize, address: *mut u8, row: usize) -> bool {
        let target = self.spare;
        // Not used again, whatever becomes of it.
        self.spare = self.spare.wrapping_add(row * PAGE);
        // SAFETY: the target is spare, the source only this thread's.
        let to = unsafe {
            libc::mremap(
                address.cast(),
                row * PAGE,
                row * PAGE,
                libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
                target.cast::<libc::c_void>(),
            )
        };
        if to == libc::MAP_FAILED {
            return false;
        }
        for (at, entry) in self.pages[page..page + row].iter_mut().enumerate() {
            *entry = Some(target.wrapping_add(at * PAGE));
        }
        true
    }

    /// A child reads some pages and says what it saw by how it ends; what it writes, the parent must not see.
    fn fork(&mut self, page: usize) {
        // SAFETY: the child only touches memory and ends.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            let mut sum = 0_u8;
            for address in self.pages[page..].iter().take(16).flatten() {
                // SAFETY: mapped, and this process has only this thread.
                unsafe {
                    sum = sum.wrapping_mul(31).wrapping_add(address.add(page % PAGE).read_volatile());
                    address.add(page % PAGE).write_volatile(0xee);
                }
            }
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(i32::from(sum & 0x7f)) };
        }
        let mut status = 0;
        // SAFETY: `status` is valid for the call.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        assert_eq!(waited, pid);
        self.hash.update(&status.to_le_bytes());
    }
}
