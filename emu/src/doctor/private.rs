//! For probes: a mount tree and a file system of their own, which vanish with the probe.

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::UnshareFlags;

use super::checks::Finding;
use super::child::{At, Fault, Outcome};

/// Where a probe puts its own tmpfs. It hides what lies there from the probe only.
pub(super) const SCRATCH: &str = "/tmp";

/// How a probe came by its mount tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// As the user that we are.
    Directly = 0,
    /// As root of a user namespace of its own.
    UserNamespace = 1,
}

/// Gives this process a mount tree of its own: directly, else as root of a user namespace of its own.
///
/// Only for probes in a child: the change cannot be undone.
pub(super) fn enter_mounts() -> Result<Means, Fault> {
    let means = match unshare(UnshareFlags::NEWNS) {
        Ok(()) => Means::Directly,
        Err(Errno::PERM) => {
            enter_users(UnshareFlags::NEWNS)?;
            Means::UserNamespace
        }
        Err(errno) => return Err(errno).at("unshare mounts"),
    };
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).at("make mounts private")?;
    Ok(means)
}

/// As [`enter_mounts`], with an empty tmpfs at [`SCRATCH`].
pub(super) fn enter_scratch() -> Result<Means, Fault> {
    let means = enter_mounts()?;
    mount("tmpfs", SCRATCH, "tmpfs", MountFlags::empty(), c"size=64m,mode=0755").at("mount tmpfs")?;
    Ok(means)
}

/// Makes this process root of a user namespace of its own, with `more` namespaces.
pub(super) fn enter_users(more: UnshareFlags) -> Result<(), Fault> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    unshare(UnshareFlags::NEWUSER | more).at("unshare users")?;
    write("/proc/self/setgroups", "deny").at("write setgroups")?;
    write("/proc/self/uid_map", &format!("0 {uid} 1")).at("write uid_map")?;
    write("/proc/self/gid_map", &format!("0 {gid} 1")).at("write gid_map")
}

/// Leaves the namespaces of these kinds for new ones.
pub(super) fn unshare(kinds: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: none of the kinds used by probes un-shares the descriptor table.
    unsafe { rustix::thread::unshare_unsafe(kinds) }
}

/// Writes a whole short file of the kernel's.
pub(super) fn write(path: &str, text: &str) -> rustix::io::Result<()> {
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes()).map(|_| ())
}

/// A finding from a probe that answers with its [`Means`]: what works only in a user namespace is degraded.
pub(super) fn finding(outcome: &Outcome, detail: &str, fix: &str) -> Finding {
    match outcome {
        Outcome::Done(means) if *means == Means::UserNamespace as u64 => {
            Finding::degraded(format!("{detail}, but not without a user namespace"), "a user namespace")
        }
        _ => outcome.finding(detail, fix),
    }
}
