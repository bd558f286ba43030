//! Overlay file systems: mounted on a tmpfs, in a private mount tree.

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountFlags, mount};

use super::child::{At, expect, run};
use super::private::{SCRATCH, enter_scratch, finding};
use super::{Finding, Host};

/// An overlay can be mounted, shows its lower layer and takes writes.
pub(super) fn find(host: &Host) -> Finding {
    let outcome = run(|| {
        let means = enter_scratch()?;
        rustix::process::chdir(SCRATCH).at("enter tmpfs")?;
        for folder in ["lower", "upper", "work", "merged", "lower/seen"] {
            rustix::fs::mkdirat(CWD, folder, Mode::from(0o755)).at("make folders")?;
        }
        let layers = c"lowerdir=lower,upperdir=upper,workdir=work";
        mount("overlay", "merged", "overlay", MountFlags::empty(), layers).at("mount overlay")?;
        rustix::fs::mkdirat(CWD, "merged/seen/new", Mode::from(0o755)).at("write to overlay")?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open("upper/seen/new", flags, Mode::empty()).at("find the copy in the upper layer")?;
        let below = rustix::fs::open("lower/seen/new", flags, Mode::empty());
        expect(below.is_err(), "lower layer left alone")?;
        Ok(means as u64)
    });
    let listed = if host.has_file_system("overlay") { "" } else { " (loaded on demand)" };
    finding(
        &outcome,
        &format!("mounted, written through{listed}"),
        "use a kernel with overlayfs (modprobe overlay)",
    )
}
