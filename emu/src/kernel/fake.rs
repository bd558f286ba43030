//! A kernel that only keeps books.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Cgroup, Init, Kernel, Membership, Root, Usage, nothing};
use crate::sandbox::fingerprint::{Fingerprint, Part};
use crate::sandbox::program::Limits;
use crate::sandbox::wire::{Answer, Order};

/// What the fake kernel holds and was asked, shared with the test.
#[derive(Clone, Debug, Default)]
pub struct Fake {
    books: Arc<Mutex<Books>>,
}

/// The books.
#[derive(Debug, Default)]
pub struct Books {
    /// Numbers of cgroups that exist.
    pub cgroups: BTreeSet<u32>,
    /// Numbers of links that exist.
    pub links: BTreeSet<u32>,
    /// Inits that live.
    pub inits: BTreeSet<i32>,
    /// Roots built so far.
    pub roots: u64,
    /// Every call that was made, by name.
    pub calls: Vec<&'static str>,
    /// The call of this number (from 0) fails.
    pub fail_at: Option<usize>,
    /// How network namespaces look from now on.
    pub looks: u64,
    /// How cgroups look from now on.
    pub cgroups_look: u64,
    /// What cgroups hold of files in memory from now on, bytes.
    pub memory_shared_bytes: u64,
    next_pid: i32,
}

impl Fake {
    /// The books.
    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, name: &'static str) -> io::Result<MutexGuard<'_, Books>> {
        let mut books = self.books();
        let at = books.calls.len();
        books.calls.push(name);
        if books.fail_at == Some(at) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        Ok(books)
    }
}

impl Kernel for Fake {
    fn make_cgroup(&self, number: u32) -> io::Result<Cgroup> {
        self.call("make_cgroup")?.cgroups.insert(number);
        Ok(Cgroup { number, folder: nothing()?, members: nothing()?, files: Vec::new() })
    }

    fn set_limits(&self, _: &Cgroup, _: &Limits, _: Option<&Limits>) -> io::Result<()> {
        self.call("set_limits").map(|_| ())
    }

    fn reset_counters(&self, _: &Cgroup) -> io::Result<()> {
        self.call("reset_counters").map(|_| ())
    }

    fn totals(&self, _: &Cgroup) -> io::Result<Usage> {
        self.call("totals").map(|_| Usage::default())
    }

    fn usage(&self, _: &Cgroup) -> io::Result<Usage> {
        self.call("usage")
            .map(|books| Usage { memory_shared_bytes: books.memory_shared_bytes, ..Usage::default() })
    }

    fn look(&self, _: &Cgroup, _: &Limits) -> io::Result<u64> {
        self.call("look").map(|books| books.cgroups_look)
    }

    fn migrate(&self, _: &Cgroup, _: i32, _: Membership) -> io::Result<()> {
        self.call("migrate").map(|_| ())
    }

    fn member_files(&self, _: &Cgroup) -> io::Result<Vec<OwnedFd>> {
        self.call("member_files").map(|_| Vec::new())
    }

    fn remove_cgroup(&self, cgroup: Cgroup) -> io::Result<()> {
        self.call("remove_cgroup")?.cgroups.remove(&cgroup.number);
        Ok(())
    }

    fn make_root(&self, _: &[PathBuf], _: u64) -> io::Result<Root> {
        self.call("make_root")?.roots += 1;
        Ok(Root { tree: nothing()?, writable: nothing()? })
    }

    fn make_app(&self, layers: &[PathBuf], disk_bytes: u64) -> io::Result<Root> {
        self.make_root(layers, disk_bytes)
    }

    fn spawn_init(&self, _: bool) -> io::Result<Init> {
        let mut books = self.call("spawn_init")?;
        books.next_pid += 1;
        let pid = books.next_pid;
        books.inits.insert(pid);
        Ok(Init { pid, process: nothing()?, control: nothing()? })
    }

    fn network_namespace(&self, _: &Init) -> io::Result<OwnedFd> {
        self.call("network_namespace").and_then(|_| nothing())
    }

    fn make_link(&self, number: u32, _: BorrowedFd<'_>) -> io::Result<()> {
        if !self.call("make_link")?.links.insert(number) {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        Ok(())
    }

    fn remove_link(&self, number: u32) -> io::Result<()> {
        self.call("remove_link")?.links.remove(&number);
        Ok(())
    }

    fn order(&self, _: &Init, order: &Order, _: &[BorrowedFd<'_>]) -> io::Result<(Answer, Option<OwnedFd>)> {
        let books = self.call("order")?;
        let fingerprint = order.check.map(|_| Fingerprint { parts: vec![(Part::Links, books.looks)] });
        let process = if order.start.is_some() { Some(nothing()?) } else { None };
        Ok((Answer { fingerprint, started: process.is_some(), ..Answer::default() }, process))
    }

    fn end_init(&self, init: Init) -> io::Result<()> {
        self.call("end_init")?.inits.remove(&init.pid);
        Ok(())
    }
}
