//! Children of a probe: made by `clone3`, or by `fork` and kept waiting.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::child::{Fault, check, die_with_parent, reap};

/// Not in every C library's headers as a number that fits.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A child that waits until it is killed, at the latest when this value is dropped.
pub(super) struct Waiting {
    pub(super) pid: libc::pid_t,
    reaped: bool,
}

impl Waiting {
    /// Forks it. Only for probes in a child, which have a single thread.
    pub(super) fn fork() -> Result<Self, Fault> {
        // SAFETY: the probe is the only thread of its process; its child only waits.
        let pid = check(i64::from(unsafe { libc::fork() }), "fork")?;
        if pid == 0 {
            die_with_parent();
            wait_forever();
        }
        Ok(Self { pid: pid as i32, reaped: false })
    }

    /// Makes it with `clone3`, born in `cgroup`.
    pub(super) fn clone_into(cgroup: BorrowedFd<'_>) -> Result<Self, Fault> {
        let arguments = CloneArguments {
            flags: CLONE_INTO_CGROUP,
            exit_signal: libc::SIGCHLD as u64,
            cgroup: cgroup.as_raw_fd() as u64,
            ..CloneArguments::default()
        };
        let pid = clone3(&arguments, "clone3 into a cgroup")?;
        if pid == 0 {
            die_with_parent();
            wait_forever();
        }
        Ok(Self { pid, reaped: false })
    }

    /// Waits until it has ended by itself or by another's hand: the signal that ended it.
    pub(super) fn signal(&mut self) -> Option<i32> {
        let status = reap(self.pid, libc::__WALL)?;
        self.reaped = true;
        (libc::WIFSIGNALED(status)).then(|| libc::WTERMSIG(status))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.reaped {
            // SAFETY: our own child, not waited for yet.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            reap(self.pid, libc::__WALL);
        }
    }
}

fn wait_forever() -> ! {
    loop {
        // SAFETY: takes nothing and touches nothing.
        unsafe { libc::pause() };
    }
}

/// `struct clone_args` of the kernel, up to the field `cgroup`.
#[repr(C)]
#[derive(Default)]
pub(super) struct CloneArguments {
    pub(super) flags: u64,
    pub(super) pidfd: u64,
    pub(super) child_tid: u64,
    pub(super) parent_tid: u64,
    pub(super) exit_signal: u64,
    pub(super) stack: u64,
    pub(super) stack_size: u64,
    pub(super) tls: u64,
    pub(super) set_tid: u64,
    pub(super) set_tid_size: u64,
    pub(super) cgroup: u64,
}

/// Makes a child as by `fork`, with these arguments: 0 in the child. Without shared memory or stack only.
pub(super) fn clone3(arguments: &CloneArguments, step: &'static str) -> Result<libc::pid_t, Fault> {
    debug_assert_eq!(arguments.stack, 0);
    // SAFETY: the structure is the kernel's own, valid for the call; memory is not shared with the child.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone3, std::ptr::from_ref(arguments), size_of::<CloneArguments>())
    };
    check(pid, step).map(|pid| pid as i32)
}
