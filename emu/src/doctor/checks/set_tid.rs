//! Processes and threads with chosen numbers.

use rustix::thread::UnshareFlags;

use super::child::{At, check, die_with_parent, expect, reap, run};
use super::children::{CloneArguments, clone3};
use super::private::unshare;
use super::{Finding, Host};

/// Free in a fresh process namespace.
const CHOSEN: libc::pid_t = 4242;

/// `clone3` gives a child the number that it is asked for, in a fresh process namespace.
pub(super) fn find(_: &Host) -> Finding {
    let outcome = run(|| {
        unshare(UnshareFlags::NEWPID).at("unshare pid")?;
        // SAFETY: the probe is the only thread of its process; its child leaves through `_exit`.
        let init = check(i64::from(unsafe { libc::fork() }), "fork process 1")?;
        if init == 0 {
            die_with_parent();
            // SAFETY: ends process 1 with an answer.
            unsafe { libc::_exit(i32::from(!clone_with_number())) };
        }
        expect(reap(init as i32, 0) == Some(0), "clone3 with set_tid")?;
        Ok(0)
    });
    outcome.finding("clone3 gave the number it was asked for", "use Linux 5.5 or later")
}

fn clone_with_number() -> bool {
    let numbers = [CHOSEN];
    let arguments = CloneArguments {
        exit_signal: libc::SIGCHLD as u64,
        set_tid: numbers.as_ptr() as u64,
        set_tid_size: 1,
        ..CloneArguments::default()
    };
    match clone3(&arguments, "clone3") {
        // SAFETY: ends the child with an answer.
        Ok(0) => unsafe { libc::_exit(i32::from(libc::getpid() != CHOSEN)) },
        Ok(pid) => pid == CHOSEN && reap(pid, 0) == Some(0),
        Err(_) => false,
    }
}
