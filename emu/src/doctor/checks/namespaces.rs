//! Kinds of namespace: each is unshared in a child.

use rustix::thread::UnshareFlags;

use super::child::{At, Fault, Outcome, check, die_with_parent, expect, reap, run};
use super::private::{Means, enter_mounts, enter_users, finding, unshare};
use super::{Finding, Host};

const FIX: &str = "use a kernel with this kind of namespace (zgrep _NS= /proc/config.gz shows which it has)";

/// A mount tree of its own.
pub(super) fn mount(_: &Host) -> Finding {
    finding(&run(|| Ok(enter_mounts()? as u64)), "unshared and made private", FIX)
}

/// Process numbers of its own: the next child is process 1.
pub(super) fn pid(_: &Host) -> Finding {
    let outcome = run(|| {
        let means = enter(UnshareFlags::NEWPID, "unshare pid")?;
        // SAFETY: this probe is the only thread of its process; its child leaves at once.
        let child = check(i64::from(unsafe { libc::fork() }), "fork process 1")?;
        if child == 0 {
            die_with_parent();
            // SAFETY: ends the child with an answer.
            unsafe { libc::_exit(i32::from(libc::getpid() != 1)) };
        }
        expect(reap(child as i32, 0) == Some(0), "number of the first process")?;
        Ok(means as u64)
    });
    finding(&outcome, "first process has number 1", FIX)
}

/// Network devices, addresses and ports of its own.
pub(super) fn net(_: &Host) -> Finding {
    simple(UnshareFlags::NEWNET, "unshare net")
}

/// System V and POSIX message queues and shared memory of its own.
pub(super) fn ipc(_: &Host) -> Finding {
    simple(UnshareFlags::NEWIPC, "unshare ipc")
}

/// A host name of its own.
pub(super) fn uts(_: &Host) -> Finding {
    let outcome = run(|| {
        let means = enter(UnshareFlags::NEWUTS, "unshare uts")?;
        rustix::system::sethostname(b"trenvx-doctor").at("set host name")?;
        Ok(means as u64)
    });
    finding(&outcome, "unshared, host name set", FIX)
}

/// Users of its own.
pub(super) fn user(_: &Host) -> Finding {
    let outcome = run(|| enter_users(UnshareFlags::empty()).map(|()| 0));
    let fix = "allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone)";
    match outcome {
        Outcome::Done(_) => Finding::ok("unshared, users mapped"),
        _ => Finding::missing(outcome.to_string(), fix),
    }
}

/// A cgroup tree of its own.
pub(super) fn cgroup(_: &Host) -> Finding {
    simple(UnshareFlags::NEWCGROUP, "unshare cgroup")
}

/// Clock offsets of its own.
pub(super) fn time(_: &Host) -> Finding {
    let time = UnshareFlags::from_bits_retain(libc::CLONE_NEWTIME as u32);
    simple(time, "unshare time")
}

fn simple(kind: UnshareFlags, step: &'static str) -> Finding {
    finding(&run(|| Ok(enter(kind, step)? as u64)), "unshared", FIX)
}

/// Unshares directly, else as root of a user namespace.
pub(super) fn enter(kind: UnshareFlags, step: &'static str) -> Result<Means, Fault> {
    match unshare(kind) {
        Ok(()) => Ok(Means::Directly),
        Err(rustix::io::Errno::PERM) => {
            enter_users(kind)?;
            Ok(Means::UserNamespace)
        }
        Err(errno) => Err(errno).at(step),
    }
}
