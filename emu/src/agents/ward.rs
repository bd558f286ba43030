//! What agents and browsers run in: cgroups of one label, which end with the harness however that ends.
//!
//! A [`Ward`] holds a label as managers of sandboxes do ([`crate::sandbox::labels`]), so that
//! [`crate::clean`] knows everything in it. Each agent and each browser has a cgroup of its own in it ([`Cell`]),
//! whose members are counted and killed together, whatever they forked.
//!
//! A guard sees to what no destructor can: a shell that reads from a pipe which only the harness can write. When
//! the harness is killed, the pipe ends, and the guard kills the ward. The empty cgroups and the folder are then
//! left to `trenvx emu clean`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Error;
use crate::clean::Claim;
use crate::kernel::linux::Hierarchies;

/// How long members that were killed may take to be gone.
const DEATH: Duration = Duration::from_secs(5);
/// What the guard does. Its input ends with the harness.
const GUARD: &str = r#"read -r _; echo 1 >"$1/cgroup.kill""#;

/// A label, a cgroup and a folder that belong to one run. Dropped, everything in it is killed and removed.
#[derive(Debug)]
pub struct Ward {
    claim: Claim,
    top: PathBuf,
    guard: Child,
}

/// The cgroup of one agent or browser. Dropped, its members are killed and it is removed.
#[derive(Debug)]
pub struct Cell {
    folder: PathBuf,
}

impl Ward {
    /// A new one. Needs root and cgroup version 2.
    ///
    /// # Errors
    /// The step that failed; what is left then is found by [`crate::clean`].
    pub fn new() -> Result<Arc<Self>, Error> {
        let claim = Claim::take().map_err(Error::io("take a label (which needs root) in", "/run/trenvx"))?;
        let hierarchies = Hierarchies::find().map_err(Error::io("find", "/sys/fs/cgroup"))?;
        let top = hierarchies.unified.join(claim.label().cgroup());
        fs::create_dir_all(&top).map_err(Error::io("make the cgroup", &top))?;
        let folder = claim.label().folder();
        fs::create_dir_all(&folder).map_err(Error::io("make the folder", &folder))?;
        let guard = Command::new("/bin/sh")
            .args(["-c", GUARD, "guard"])
            .arg(&top)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()
            .map_err(Error::io("start the guard", "/bin/sh"))?;
        Ok(Arc::new(Self { claim, top, guard }))
    }

    /// A folder for sockets, profiles of browsers and work of agents.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.claim.label().folder()
    }

    /// The id that everything of it carries.
    #[must_use]
    pub fn id(&self) -> &str {
        self.claim.label().id()
    }

    /// A new cgroup in it.
    ///
    /// # Errors
    /// If it cannot be made, or is there already.
    pub fn cell(&self, name: &str) -> Result<Cell, Error> {
        let folder = self.top.join(name);
        fs::create_dir(&folder).map_err(Error::io("make the cgroup", &folder))?;
        Ok(Cell { folder })
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        // First the guard: it must not write to a cgroup that somebody else may have by then.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        self.claim.clean();
    }
}

impl Cell {
    /// Lets `command` begin in this cgroup: it joins after the fork and before it executes, so that nothing that it
    /// starts is ever outside.
    ///
    /// # Errors
    /// If the cgroup cannot be opened.
    pub fn begin(&self, command: &mut Command) -> Result<(), Error> {
        let path = self.folder.join("cgroup.procs");
        let file = File::options().write(true).open(&path).map_err(Error::io("open", &path))?;
        // SAFETY: between fork and exec, system calls that allocate nothing and take no lock; the descriptor is
        // owned by the closure and so is open as long as the command lives.
        unsafe {
            command.pre_exec(move || {
                if libc::write(file.as_raw_fd(), c"0".as_ptr().cast(), 1) != 1 {
                    return Err(io::Error::last_os_error());
                }
                // What this process got from its own caller and did not mark is not the agent's.
                libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
                Ok(())
            });
        }
        Ok(())
    }

    /// Its members now.
    #[must_use]
    pub fn members(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.trim().parse().ok()).collect()
    }

    /// Processor time of all that were ever in it.
    #[must_use]
    pub fn processor_time(&self) -> Duration {
        let text = fs::read_to_string(self.folder.join("cpu.stat")).unwrap_or_default();
        let found = text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.trim().parse().ok());
        Duration::from_micros(found.unwrap_or(0))
    }

    /// Memory of its members, bytes: resident, with shared pages divided among those who share them (PSS).
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.members().into_iter().filter_map(proportional).sum()
    }

    /// Kills all members at once.
    pub fn kill(&self) {
        let kill = || -> io::Result<()> {
            File::options().write(true).open(self.folder.join("cgroup.kill"))?.write_all(b"1")
        };
        // It fails when the cgroup is gone, and then nobody is in it.
        let _ = kill();
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        self.kill();
        let end = Instant::now() + DEATH;
        while let Err(error) = fs::remove_dir(&self.folder) {
            if error.kind() == io::ErrorKind::NotFound || Instant::now() > end {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The proportional set size of a process, bytes; `None` when it is gone.
pub(super) fn proportional(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
