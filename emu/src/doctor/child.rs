//! Probes in a forked child: whatever a probe does to its own process ends with the child.
//!
//! A probe runs right after `fork`, perhaps in a copy of a program with many threads, so it must only make
//! system calls, use memory, and use data that was made before the fork. It must not print.

use std::io::{self, PipeReader};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::checks::Finding;

/// How long a probe may take before it is killed.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long a killed probe may take to disappear before it is left to itself.
const DEATH: Duration = Duration::from_secs(1);
/// Room for the name of the step that failed.
const STEP_BYTES: usize = 96;
const MESSAGE_BYTES: usize = 1 + 8 + STEP_BYTES;

/// The step of a probe that failed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) step: &'static str,
    pub(super) errno: Errno,
}

/// Names the step when a system call fails.
pub(super) trait At<T> {
    /// The value, or a fault at `step`.
    fn at(self, step: &'static str) -> Result<T, Fault>;
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at(self, step: &'static str) -> Result<T, Fault> {
        self.map_err(|errno| Fault { step, errno })
    }
}

/// Fails at `step` when a fact is not as it should be.
pub(super) fn expect(fact: bool, step: &'static str) -> Result<(), Fault> {
    if fact { Ok(()) } else { Err(Errno::PROTO).at(step) }
}

/// How a probe ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It worked and gave this number.
    Done(u64),
    /// A step failed.
    Failed { step: String, errno: Errno },
    /// It was killed at its deadline.
    TimedOut,
    /// It ended without an answer.
    Died,
}

impl Outcome {
    /// OK with `detail`, or missing with the step that failed and `fix`.
    pub(super) fn finding(&self, detail: &str, fix: &str) -> Finding {
        match self {
            Self::Done(_) => Finding::ok(detail),
            Self::Failed { errno, .. } if matches!(*errno, Errno::PERM | Errno::ACCESS) => {
                Finding::missing(self.to_string(), format!("run as root with every capability; or {fix}"))
            }
            _ => Finding::missing(self.to_string(), fix),
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done(_) => write!(f, "works"),
            Self::Failed { step, errno: Errno::PROTO } => write!(f, "{step}: not as expected"),
            Self::Failed { step, errno } => {
                let text = io::Error::from(*errno).to_string();
                write!(f, "{step}: {}", text.split(" (os error").next().unwrap_or(&text))
            }
            Self::TimedOut => write!(f, "no answer within {} s", DEADLINE.as_secs()),
            Self::Died => write!(f, "the probe died without an answer"),
        }
    }
}

/// Runs `probe` in a child and waits for its answer.
pub(super) fn run(probe: impl FnOnce() -> Result<u64, Fault>) -> Outcome {
    run_within(DEADLINE, probe)
}

fn run_within(deadline: Duration, probe: impl FnOnce() -> Result<u64, Fault>) -> Outcome {
    let Ok((answer, question)) = io::pipe() else {
        return Outcome::Died;
    };
    // SAFETY: the child only runs the probe, which keeps to the rules of this module, and leaves through `_exit`.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Outcome::Died;
    }
    if pid == 0 {
        drop(answer);
        // A panic must not unwind into the parent's frames, of which this is a copy.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            die_with_parent();
            // SAFETY: back to the default, without which a caller that ignores it would hide how our children end.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
            probe()
        }));
        if let Ok(result) = result {
            let _ = rustix::io::write(&question, &encode(result));
        }
        // SAFETY: ends the child at once, without the parent's exit handlers.
        unsafe { libc::_exit(0) };
    }
    drop(question);
    let end = Instant::now() + deadline;
    let outcome = match read_until(&answer, MESSAGE_BYTES, end) {
        Read::Late => Outcome::TimedOut,
        Read::All(message) => decode(&message),
    };
    // SAFETY: `pid` is our own child and has not been waited for.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    let end = Instant::now() + DEATH;
    while reap(pid, libc::WNOHANG).is_none() && Instant::now() < end {
        std::thread::sleep(Duration::from_micros(200));
    }
    outcome
}

/// Ends this process when its parent ends.
pub(super) fn die_with_parent() {
    // SAFETY: sets an attribute of this process only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Waits for a child of ours: its raw wait status, or `None` when it has not ended yet.
pub(super) fn reap(pid: libc::pid_t, options: libc::c_int) -> Option<libc::c_int> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is valid for the call.
        let got = unsafe { libc::waitpid(pid, &raw mut status, options) };
        if got == pid {
            return Some(status);
        }
        if got < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINTR) {
            continue;
        }
        return if got < 0 { Some(-1) } else { None };
    }
}

/// Turns the result of a raw system call into a `Result`.
pub(super) fn check(result: libc::c_long, step: &'static str) -> Result<libc::c_long, Fault> {
    if result < 0 {
        let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
        return Err(Errno::from_raw_os_error(errno)).at(step);
    }
    Ok(result)
}

/// As [`check`], for calls that make a descriptor.
pub(super) fn check_fd(result: libc::c_long, step: &'static str) -> Result<OwnedFd, Fault> {
    let fd = check(result, step)?;
    // SAFETY: the caller's system call has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// What came through a pipe.
pub(super) enum Read {
    /// Everything up to the end, or up to the limit.
    All(Vec<u8>),
    /// The deadline came first.
    Late,
}

/// Reads until the writers are gone, `limit` bytes came, or it is too late.
pub(super) fn read_until(from: &PipeReader, limit: usize, end: Instant) -> Read {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let mut poll = libc::pollfd { fd: from.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry.
        let ready = unsafe { libc::poll(&raw mut poll, 1, left.as_millis() as libc::c_int) };
        if ready == 0 {
            return Read::Late;
        }
        if ready < 0 {
            continue;
        }
        match rustix::io::read(from, &mut piece) {
            Ok(0) => return Read::All(bytes),
            Ok(n) => bytes.extend_from_slice(&piece[..n]),
            Err(Errno::INTR) => {}
            Err(_) => return Read::All(bytes),
        }
        if bytes.len() >= limit {
            return Read::All(bytes);
        }
    }
}

fn encode(result: Result<u64, Fault>) -> [u8; MESSAGE_BYTES] {
    let mut message = [0; MESSAGE_BYTES];
    match result {
        Ok(value) => message[1..9].copy_from_slice(&value.to_le_bytes()),
        Err(Fault { step, errno }) => {
            message[0] = 1;
            message[1..9].copy_from_slice(&(errno.raw_os_error() as u64).to_le_bytes());
            for (to, from) in message[9..].iter_mut().zip(step.as_bytes()) {
                *to = *from;
            }
        }
    }
    message
}

fn decode(message: &[u8]) -> Outcome {
    if message.len() < MESSAGE_BYTES {
        return Outcome::Died;
    }
    let value = u64::from_le_bytes(message[1..9].try_into().expect("eight bytes"));
    if message[0] == 0 {
        return Outcome::Done(value);
    }
    let step = String::from_utf8_lossy(&message[9..]);
    Outcome::Failed {
        step: step.trim_end_matches('\0').to_owned(),
        errno: Errno::from_raw_os_error(value as i32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_back() {
        assert_eq!(run(|| Ok(42)), Outcome::Done(42));
    }

    #[test]
    fn a_fault_names_its_step() {
        let outcome = run(|| Err(Errno::NOSYS).at("make a wish"));
        assert_eq!(outcome, Outcome::Failed { step: "make a wish".into(), errno: Errno::NOSYS });
        assert_eq!(outcome.to_string(), "make a wish: Function not implemented");
    }

    #[test]
    fn a_probe_that_hangs_is_killed_at_its_deadline() {
        let start = Instant::now();
        let outcome = run_within(Duration::from_millis(50), || {
            loop {
                std::thread::sleep(Duration::from_secs(60));
            }
        });
        assert_eq!(outcome, Outcome::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_probe_that_is_killed_is_told_apart() {
        // SAFETY: ends the child, which has nothing to clean up.
        assert_eq!(run(|| unsafe { libc::_exit(3) }), Outcome::Died);
    }
}
