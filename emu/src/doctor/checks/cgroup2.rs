//! cgroup v2: the core (identity, kill, freeze, birth in a cgroup) and its controllers, which are apart.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use super::child::{At, Fault, expect, run};
use super::children::Waiting;
use super::private::{Means, SCRATCH, enter_scratch};
use super::{Finding, Host, cgroup1};

/// Controllers that sandbox limits need.
pub(super) const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
const FIX: &str = "use a kernel with cgroup v2, 5.14 or later, and let this user make cgroups";

/// A cgroup can be made and removed.
pub(super) fn core(host: &Host) -> Finding {
    let (place, seen) = match host.mounts("cgroup2").first() {
        Some((point, _)) => (Some(point.clone()), "mounted"),
        None => (None, "not mounted, can be mounted"),
    };
    let outcome = run(|| in_new_cgroup(place.as_deref(), |_| Ok(())));
    outcome.finding(&format!("{seen}; cgroup made and removed"), FIX)
}

/// The controllers that limits need are in cgroup v2, not bound to v1.
pub(super) fn controllers(host: &Host) -> Finding {
    let Some(absent) = absent_controllers(host) else {
        return Finding::missing("cgroup v2 is not mounted", "mount cgroup2 at /sys/fs/cgroup");
    };
    if absent.is_empty() {
        return Finding::ok(format!("{} are there", CONTROLLERS.join(", ")));
    }
    let detail = format!("without {}", absent.join(", "));
    if absent.iter().all(|name| cgroup1::has(host, name)) {
        return Finding::degraded(format!("{detail}: bound to cgroup v1"), "cgroup v1 for limits");
    }
    Finding::missing(detail, "boot with cgroup v2 alone (systemd.unified_cgroup_hierarchy=1)")
}

/// The controllers that mounted cgroup v2 lacks; `None` when it is not mounted.
pub(super) fn absent_controllers(host: &Host) -> Option<Vec<&'static str>> {
    let (point, _) = host.mounts("cgroup2").into_iter().next()?;
    let file = point.strip_prefix("/").unwrap_or(&point).join("cgroup.controllers");
    let text = host.read(file.to_str()?)?;
    let there = |name: &str| text.split_whitespace().any(|found| found == name);
    Some(CONTROLLERS.into_iter().filter(|name| !there(name)).collect())
}

/// A process can be born in a cgroup.
pub(super) fn clone_into(host: &Host) -> Finding {
    let place = place(host);
    let outcome = run(|| {
        in_new_cgroup(place.as_deref(), |cgroup| {
            let child = Waiting::clone_into(cgroup.as_fd())?;
            let members = read(cgroup, "cgroup.procs").at("read cgroup.procs")?;
            expect(members.trim() == child.pid.to_string(), "members of the cgroup")
        })
    });
    outcome.finding("clone3 made a process in a cgroup", FIX)
}

/// All processes of a cgroup can be killed at once.
pub(super) fn kill(host: &Host) -> Finding {
    let place = place(host);
    let outcome = run(|| {
        in_new_cgroup(place.as_deref(), |cgroup| {
            let mut child = Waiting::fork()?;
            write(cgroup, "cgroup.procs", &child.pid.to_string()).at("move into the cgroup")?;
            write(cgroup, "cgroup.kill", "1").at("write cgroup.kill")?;
            expect(child.signal() == Some(libc::SIGKILL), "death by cgroup.kill")
        })
    });
    outcome.finding("killed a cgroup", FIX)
}

/// All processes of a cgroup can be stopped and go on.
pub(super) fn freeze(host: &Host) -> Finding {
    let place = place(host);
    let outcome = run(|| {
        in_new_cgroup(place.as_deref(), |cgroup| {
            let child = Waiting::fork()?;
            write(cgroup, "cgroup.procs", &child.pid.to_string()).at("move into the cgroup")?;
            write(cgroup, "cgroup.freeze", "1").at("write cgroup.freeze")?;
            let end = Instant::now() + Duration::from_secs(2);
            let mut frozen = false;
            while !frozen && Instant::now() < end {
                let events = read(cgroup, "cgroup.events").at("read cgroup.events")?;
                frozen = events.contains("frozen 1");
                std::thread::sleep(Duration::from_micros(200));
            }
            write(cgroup, "cgroup.freeze", "0").at("thaw")?;
            expect(frozen, "frozen state")
        })
    });
    outcome.finding("froze and thawed a cgroup", FIX)
}

fn place(host: &Host) -> Option<PathBuf> {
    host.mounts("cgroup2").into_iter().next().map(|(point, _)| point)
}

/// In a probe: makes a cgroup under `place` (a mount of our own when there is none), uses it, removes it.
fn in_new_cgroup(
    place: Option<&Path>,
    using: impl FnOnce(&OwnedFd) -> Result<(), Fault>,
) -> Result<u64, Fault> {
    let place = match place {
        Some(place) => place.to_owned(),
        None => {
            expect(enter_scratch()? == Means::Directly, "mount cgroup2 without root")?;
            mount("cgroup2", SCRATCH, "cgroup2", MountFlags::empty(), None).at("mount cgroup2")?;
            PathBuf::from(SCRATCH)
        }
    };
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = rustix::fs::open(&place, flags, Mode::empty()).at("open the mount of cgroup2")?;
    let name = format!("trenvx-doctor-{}", rustix::process::getpid());
    rustix::fs::mkdirat(&parent, &name, Mode::from(0o755)).at("make a cgroup")?;
    let result = rustix::fs::openat(&parent, &name, flags, Mode::empty())
        .at("open a cgroup")
        .and_then(|cgroup| using(&cgroup));
    let removed = remove(&parent, &name).at("remove a cgroup");
    result.and(removed).map(|()| 0)
}

/// Removes a cgroup whose last members may just be leaving.
fn remove(parent: &OwnedFd, name: &str) -> rustix::io::Result<()> {
    let end = Instant::now() + Duration::from_secs(1);
    loop {
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::BUSY) if Instant::now() < end => {
                std::thread::sleep(Duration::from_micros(200));
            }
            result => return result,
        }
    }
}

fn write(cgroup: &OwnedFd, name: &str, text: &str) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(cgroup, name, flags, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes()).map(|_| ())
}

fn read(cgroup: &OwnedFd, name: &str) -> rustix::io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(cgroup, name, flags, Mode::empty())?;
    let mut bytes = [0; 4096];
    let length = rustix::io::read(&file, &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}
