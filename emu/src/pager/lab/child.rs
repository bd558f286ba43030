//! Forked children that end with their parents.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

/// A forked child of this process, killed when dropped.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    ended: Option<ExitStatus>,
}

/// Forks. The child has only the descriptors in `keep` and the standard ones, runs `body` with what it keeps, and
/// ends. It is killed when the thread that forked it ends.
///
/// # Errors
/// Without room for another process.
pub fn fork(
    keep: &[BorrowedFd<'_>],
    body: impl FnOnce(Vec<OwnedFd>) -> Result<(), String>,
) -> io::Result<Child> {
    let mut kept: Vec<i32> = keep.iter().map(AsRawFd::as_raw_fd).collect();
    let order = kept.clone();
    kept.sort_unstable();
    // SAFETY: the child keeps to this block and leaves through `_exit`. It allocates, which the C library allows
    // after a fork, and takes no lock of this program.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        // A panic must not unwind into the parent's frames, of which this is a copy.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // SAFETY: an attribute of this process only.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let mut from = 3;
            for fd in kept.iter().copied().chain([i32::MAX]) {
                if fd > from {
                    // SAFETY: nothing in this process uses these: it is a copy that keeps to `body`.
                    unsafe { libc::syscall(libc::SYS_close_range, from, fd - 1, 0) };
                }
                from = fd.saturating_add(1);
            }
            // SAFETY: open, as they were kept, and owned by nobody else in this process.
            body(order.iter().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) }).collect())
        }));
        let code = match result {
            Ok(Ok(())) => 0,
            Ok(Err(reason)) => {
                let _ = writeln!(io::stderr(), "a forked process: {reason}");
                1
            }
            Err(_) => 101,
        };
        // SAFETY: ends the child at once, without the parent's exit handlers.
        unsafe { libc::_exit(code) };
    }
    let pid = Pid::from_raw(pid).expect("a child has a number");
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    Ok(Child { pid, pidfd, ended: None })
}

impl Child {
    /// Its number.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Names it, also when its number has been given to another.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Kills it.
    pub fn kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.reap(WaitOptions::empty()).expect("waited for")
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.reap(WaitOptions::NOHANG)
    }

    fn reap(&mut self, options: WaitOptions) -> Option<ExitStatus> {
        if self.ended.is_none() {
            let found = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(self.pid), options));
            self.ended = match found {
                Ok(found) => found.map(|(_, status)| ExitStatus::from_raw(status.as_raw())),
                // Somebody else has waited for it.
                Err(_) => Some(ExitStatus::from_raw(0x7f00)),
            };
        }
        self.ended
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.kill();
            self.wait();
        }
    }
}
