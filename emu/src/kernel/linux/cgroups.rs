//! Cgroups of sandboxes: version 2 for identity, birth and killing; limits there where it has the controllers,
//! else in the version 1 hierarchies beside it.

mod look;

use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags};

use self::look::Limit;
use super::super::{Cgroup, Membership, Usage};
use super::inspect::read_again;
use crate::sandbox::Label;
use crate::sandbox::program::Limits;

/// Controllers that limits need.
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];
/// Where version 2 is mounted when the machine has not done so.
const OWN_MOUNT: &str = "/run/trenvx/cgroup2";
/// How long members that were killed may take to be gone.
const DEATH: Duration = Duration::from_secs(5);
/// Period of processor limits, microseconds: the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;
const INITS: &str = "inits";

/// Places in a cgroup's list of open files.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
enum Files {
    Kills,
    Pids,
    Cpu,
    Time,
    /// This and the following take a zero.
    Resettable,
}

/// Where hierarchies are mounted on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Hierarchies {
    /// Version 2.
    pub(crate) unified: PathBuf,
    /// Version 1, by controller; empty for those that version 2 has.
    pub(crate) single: Vec<(&'static str, PathBuf)>,
    /// Controllers that version 2 has.
    controllers: Vec<&'static str>,
}

impl Hierarchies {
    /// Finds them; mounts version 2 if nobody has.
    pub(crate) fn find() -> io::Result<Self> {
        let table = fs::read_to_string("/proc/self/mountinfo")?;
        let mounts = || {
            table.lines().filter_map(|line| {
                let (before, after) = line.split_once(" - ")?;
                let mut after = after.split(' ');
                let kind = after.next()?;
                Some((kind, PathBuf::from(before.split(' ').nth(4)?), after.nth(1)?))
            })
        };
        let unified = mounts().find(|(kind, ..)| *kind == "cgroup2").map(|(_, point, _)| point);
        let unified = match unified {
            Some(point) => point,
            None => {
                fs::create_dir_all(OWN_MOUNT)?;
                let flags = rustix::mount::MountFlags::empty();
                rustix::mount::mount("cgroup2", OWN_MOUNT, "cgroup2", flags, None)?;
                PathBuf::from(OWN_MOUNT)
            }
        };
        let there = fs::read_to_string(unified.join("cgroup.controllers"))?;
        let controllers: Vec<_> =
            CONTROLLERS.into_iter().filter(|name| there.split_whitespace().any(|one| one == *name)).collect();
        let mut single = Vec::new();
        for name in CONTROLLERS.into_iter().filter(|name| !controllers.contains(name)) {
            let has = |options: &str| options.split(',').any(|option| option == name);
            let found = mounts().find(|(kind, _, options)| *kind == "cgroup" && has(options));
            single.extend(found.map(|(_, point, _)| (name, point)));
        }
        Ok(Self { unified, single, controllers })
    }

    /// Every folder under which cgroups of ours may lie.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.unified.as_path()).chain(self.single.iter().map(|(_, point)| point.as_path()))
    }
}

/// The cgroups of one manager.
#[derive(Debug)]
pub(super) struct Cgroups {
    hierarchies: Hierarchies,
    name: String,
}

impl Cgroups {
    pub(super) fn make(label: &Label) -> io::Result<Self> {
        let hierarchies = Hierarchies::find()?;
        let cgroups = Self { hierarchies, name: label.cgroup() };
        for place in cgroups.hierarchies.places() {
            fs::create_dir_all(place.join(&cgroups.name))?;
        }
        fs::create_dir_all(cgroups.unified().join(INITS))?;
        for controller in &cgroups.hierarchies.controllers {
            let on = format!("+{controller}");
            // Those above may be on already, or be managed by somebody; those of ours must be.
            let _ = fs::write(cgroups.hierarchies.unified.join("cgroup.subtree_control"), &on);
            fs::write(cgroups.unified().join("cgroup.subtree_control"), &on)?;
        }
        Ok(cgroups)
    }

    fn unified(&self) -> PathBuf {
        self.hierarchies.unified.join(&self.name)
    }

    /// Files of inits lie apart from functions: killing a function's cgroup must not kill its init.
    pub(super) fn adopt_nursery(&self, pid: i32) -> io::Result<()> {
        write(&self.unified().join(INITS).join("cgroup.procs"), &pid.to_string())
    }

    fn of(&self, place: &Path, number: u32) -> PathBuf {
        place.join(&self.name).join(format!("s{number}"))
    }

    pub(super) fn make_one(&self, number: u32) -> io::Result<Cgroup> {
        for place in self.hierarchies.places() {
            let made = fs::create_dir(self.of(place, number));
            if let Err(error) = made {
                self.remove_number(number)?;
                return Err(error);
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(self.of(&self.hierarchies.unified, number), flags, Mode::empty())?;
        let list = OFlags::RDONLY | OFlags::CLOEXEC;
        let members = rustix::fs::openat(&folder, "cgroup.procs", list, Mode::empty())?;
        let files = self.open_files(number)?;
        Ok(Cgroup { number, folder, members, files })
    }

    /// The folder in which `controller` keeps the limits of a sandbox, and whether that is version 2.
    fn folder(&self, controller: &str, number: u32) -> Option<(PathBuf, bool)> {
        if self.hierarchies.controllers.contains(&controller) {
            return Some((self.of(&self.hierarchies.unified, number), true));
        }
        let (_, place) = self.hierarchies.single.iter().find(|(name, _)| *name == controller)?;
        Some((self.of(place, number), false))
    }

    pub(super) fn set_limits(
        &self,
        cgroup: &Cgroup,
        limits: &Limits,
        known: Option<&Limits>,
    ) -> io::Result<()> {
        let [memory, cpu, pids] = Limit::all(limits, |name| self.hierarchies.controllers.contains(&name));
        let differs =
            |differs: fn(&Limits, &Limits) -> bool| known.is_none_or(|known| differs(limits, known));
        if differs(|new, old| new.memory_bytes != old.memory_bytes) {
            self.set_limit(cgroup, &memory, limits.memory_bytes.is_some())?;
        }
        // A quota is written again even if it is the same: that gives back the processor time that the last function has
        // used up, for which the next one (and an init that is in the group) would otherwise wait.
        let cpu_differs = |known: &Limits| known.cpu_millis.is_some() || limits.cpu_millis.is_some();
        if known.map_or(limits.cpu_millis.is_some(), cpu_differs) {
            self.set_limit(cgroup, &cpu, limits.cpu_millis.is_some())?;
        }
        if differs(|new, old| new.pids != old.pids) {
            self.set_limit(cgroup, &pids, limits.pids.is_some())?;
        }
        Ok(())
    }

    /// Writes a limit. Without the controller only no limit can be had.
    fn set_limit(&self, cgroup: &Cgroup, limit: &Limit, is_some: bool) -> io::Result<()> {
        match self.folder(limit.controller, cgroup.number) {
            Some((folder, _)) => write(&folder.join(limit.file), &limit.written),
            None if is_some => Err(no_controller(limit.controller)),
            None => Ok(()),
        }
    }

    /// Opens what [`Self::reset_counters`] and [`Self::totals`] use, in the order of [`Files`].
    fn open_files(&self, number: u32) -> io::Result<Vec<OwnedFd>> {
        let memory = self.folder("memory", number);
        let unified = memory.as_ref().is_none_or(|(_, unified)| *unified);
        let kills = if unified { "memory.events" } else { "memory.oom_control" };
        let mut wanted = vec![
            (memory.clone(), kills, OFlags::RDONLY),
            (self.folder("pids", number), "pids.events", OFlags::RDONLY),
            (self.folder("cpu", number), "cpu.stat", OFlags::RDONLY),
            (Some((self.of(&self.hierarchies.unified, number), true)), "cpu.stat", OFlags::RDONLY),
        ];
        if !unified {
            // Version 2 has no counter that can be put back for everybody: whoever reads takes differences.
            wanted.push((memory.clone(), "memory.max_usage_in_bytes", OFlags::WRONLY));
            wanted.push((memory, "memory.failcnt", OFlags::WRONLY));
        }
        wanted
            .into_iter()
            .map(|(folder, name, flags)| match folder {
                Some((folder, _)) => {
                    Ok(rustix::fs::open(folder.join(name), flags | OFlags::CLOEXEC, Mode::empty())?)
                }
                // Without the controller nothing is counted.
                None => Ok(std::fs::File::open("/dev/null")?.into()),
            })
            .collect()
    }

    pub(super) fn reset_counters(&self, cgroup: &Cgroup) -> io::Result<()> {
        for file in cgroup.files.iter().skip(Files::Resettable as usize) {
            rustix::io::pwrite(file, b"0", 0)?;
        }
        Ok(())
    }

    pub(super) fn totals(&self, cgroup: &Cgroup) -> Usage {
        let keyed = |file: Files, key: &str| -> u64 {
            let bytes = cgroup.files.get(file as usize).and_then(|file| read_again(file).ok());
            let text = String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
            text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok()).unwrap_or(0)
        };
        Usage {
            memory_kills: keyed(Files::Kills, "oom_kill "),
            pids_refused: keyed(Files::Pids, "max "),
            cpu_held_back: keyed(Files::Cpu, "nr_throttled "),
            cpu_us: keyed(Files::Time, "usage_usec "),
            ..Usage::default()
        }
    }

    pub(super) fn usage(&self, cgroup: &Cgroup) -> io::Result<Usage> {
        let mut usage = self.totals(cgroup);
        let number = |folder: &Path, name: &str| -> io::Result<u64> {
            let text = fs::read_to_string(folder.join(name))?;
            text.trim().parse().map_err(io::Error::other)
        };
        if let Some((folder, unified)) = self.folder("memory", cgroup.number) {
            if unified {
                usage.memory_bytes = number(&folder, "memory.current")?;
                // Newer kernels only.
                usage.memory_peak_bytes = number(&folder, "memory.peak").unwrap_or(0);
            } else {
                usage.memory_bytes = number(&folder, "memory.usage_in_bytes")?;
                usage.memory_peak_bytes = number(&folder, "memory.max_usage_in_bytes")?;
            }
            let stat = fs::read_to_string(folder.join("memory.stat"))?;
            let of = |key: &str| stat.lines().find_map(|line| line.strip_prefix(key)?.parse::<u64>().ok());
            usage.memory_anonymous_bytes = of(if unified { "anon " } else { "rss " }).unwrap_or(0);
            usage.memory_shared_bytes = of("shmem ").unwrap_or(0);
        }
        if let Some((folder, _)) = self.folder("pids", cgroup.number) {
            usage.pids = number(&folder, "pids.current")?;
        }
        Ok(usage)
    }

    pub(super) fn migrate(&self, cgroup: &Cgroup, pid: i32, which: Membership) -> io::Result<()> {
        for place in self.members_of(which) {
            write(&self.of(place, cgroup.number).join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    fn members_of(&self, which: Membership) -> impl Iterator<Item = &Path> {
        let all = which == Membership::All;
        self.hierarchies.places().skip(usize::from(!all))
    }

    pub(super) fn member_files(&self, cgroup: &Cgroup) -> io::Result<Vec<OwnedFd>> {
        let open = |place: &Path| -> io::Result<OwnedFd> {
            let file = self.of(place, cgroup.number).join("cgroup.procs");
            Ok(rustix::fs::openat(CWD, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?)
        };
        self.members_of(Membership::All).map(open).collect()
    }

    pub(super) fn remove_one(&self, cgroup: Cgroup) -> io::Result<()> {
        let Cgroup { number, folder, members, files } = cgroup;
        drop((folder, members, files));
        self.remove_number(number)
    }

    fn remove_number(&self, number: u32) -> io::Result<()> {
        let mut fault = Ok(());
        for place in self.hierarchies.places() {
            fault = fault.and(remove_folder(&self.of(place, number)));
        }
        fault
    }

    pub(super) fn remove_all(&self) -> io::Result<()> {
        remove_manager(&self.hierarchies, &self.name)
    }
}

/// Kills whatever is in the cgroups of a manager and removes them all.
pub(crate) fn remove_manager(hierarchies: &Hierarchies, name: &str) -> io::Result<()> {
    let unified = hierarchies.unified.join(name);
    if unified.exists() {
        // Reaches everything below, also what is being forked just now.
        write(&unified.join("cgroup.kill"), "1")?;
    }
    let mut fault = Ok(());
    for place in hierarchies.places() {
        let top = place.join(name);
        let Ok(entries) = fs::read_dir(&top) else { continue };
        for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
            fault = fault.and(remove_folder(&entry.path()));
        }
        fault = fault.and(remove_folder(&top));
    }
    fault
}

/// Removes a cgroup whose last members may just be leaving; one that is not there is as good.
fn remove_folder(folder: &Path) -> io::Result<()> {
    let end = Instant::now() + DEATH;
    loop {
        match fs::remove_dir(folder) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < end => {
                // A function that may do everything can have made groups inside.
                let inside = fs::read_dir(folder).into_iter().flatten().flatten();
                for group in inside.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
                    let _ = fs::remove_dir(group.path());
                }
                std::thread::sleep(Duration::from_micros(500));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => return result,
        }
    }
}

fn quota_us(millis: u32) -> u64 {
    // The kernel takes no less than a millisecond.
    (u64::from(millis) * CPU_PERIOD_US / 1000).max(1000)
}

fn no_controller(name: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("no cgroup hierarchy has the controller {name}; see `trenvx doctor`"),
    )
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    fs::File::options().write(true).open(file)?.write_all(text.as_bytes())
}
