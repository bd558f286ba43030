//! The process in a sandbox, as its manager sees it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sandbox::channel::{Channel, Log};
use crate::sandbox::program::Confinement;

/// A process in a sandbox.
#[derive(Debug)]
pub struct Function {
    /// Its descriptor: becomes readable when the function ends.
    pub process: OwnedFd,
    /// The manager's end of its descriptors 0 and 1.
    pub channel: Channel,
    /// What it writes to descriptor 2.
    pub log: Log,
    pub(super) ends: Ends,
    pub(super) writable: OwnedFd,
    pub(super) confinement: Confinement,
}

/// Which files the function's ends of its channel and log are, by their numbers in the kernel: how they are told
/// from what it opened itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Inode of its socket.
    pub channel: u64,
    /// Device and inode of its log.
    pub log: (u64, u64),
}

impl Ends {
    pub(super) fn of(channel: &OwnedFd, log: &OwnedFd) -> io::Result<Self> {
        let (channel, log) = (rustix::fs::fstat(channel)?, rustix::fs::fstat(log)?);
        Ok(Self { channel: channel.st_ino, log: (log.st_dev, log.st_ino) })
    }
}

impl Function {
    /// Its ends of channel and log.
    #[must_use]
    pub fn ends(&self) -> Ends {
        self.ends
    }

    /// The file system of its writable layer, in whose folder `upper` lies what it wrote.
    #[must_use]
    pub fn writable(&self) -> BorrowedFd<'_> {
        self.writable.as_fd()
    }

    /// Its number in the host, while it lives.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        use std::os::fd::AsRawFd;
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.process.as_raw_fd())).ok()?;
        crate::sandbox::init::pid_in(&text)
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.process, PollFlags::IN)], Some(&at_once)) == Ok(1)
    }

    /// Room left on its writable layer, bytes.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn disk_left(&self) -> io::Result<u64> {
        let state = rustix::fs::fstatfs(&self.writable)?;
        Ok(state.f_bavail * state.f_bsize as u64)
    }
}
