//! Descriptors of processes: to see them end, and to take descriptors out of them.

use std::os::fd::AsRawFd;

use rustix::fs::{MemfdFlags, fstat, memfd_create};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open, pidfd_send_signal};

use super::child::{At, expect, run};
use super::children::Waiting;
use super::{Finding, Host};

/// A process can be named and ended by a descriptor.
pub(super) fn open(_: &Host) -> Finding {
    let outcome = run(|| {
        let mut child = Waiting::fork()?;
        let pid = Pid::from_raw(child.pid).expect("a child's number is not 0");
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).at("pidfd_open")?;
        pidfd_send_signal(&pidfd, Signal::KILL).at("pidfd_send_signal")?;
        expect(child.signal() == Some(libc::SIGKILL), "death by pidfd")?;
        Ok(0)
    });
    outcome.finding("opened, signalled", "use Linux 5.3 or later")
}

/// A descriptor can be taken out of another process.
pub(super) fn getfd(_: &Host) -> Finding {
    let outcome = run(|| {
        let theirs = memfd_create("trenvx-doctor", MemfdFlags::CLOEXEC).at("memfd_create")?;
        let (number, inode) = (theirs.as_raw_fd(), fstat(&theirs).at("fstat")?.st_ino);
        let child = Waiting::fork()?;
        drop(theirs);
        let pid = Pid::from_raw(child.pid).expect("a child's number is not 0");
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).at("pidfd_open")?;
        let taken = pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()).at("pidfd_getfd")?;
        expect(fstat(&taken).at("fstat")?.st_ino == inode, "the file that was taken")?;
        Ok(0)
    });
    outcome.finding("took a descriptor out of a child", "use Linux 5.6 or later, with CAP_SYS_PTRACE")
}
