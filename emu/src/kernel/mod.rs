//! The seam between the manager of sandboxes and the kernel.
//!
//! [`Kernel`] has one method per thing that a manager does to the machine. [`Linux`] does it; [`Fake`] keeps
//! books instead and fails where it is told to, so that unit tests need no privileges and can show that every
//! failure on the way takes back what was made before it.

pub mod fake;
pub mod linux;

use std::fmt::Debug;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

pub use fake::Fake;
pub use linux::Linux;

use crate::sandbox::program::Limits;
use crate::sandbox::wire::{Answer, Order};

/// What a manager does to the machine. Sandboxes have numbers, which are in the names of what is made.
pub trait Kernel: Debug + Send + Sync {
    /// Makes the cgroup of a sandbox in every hierarchy that is used.
    ///
    /// # Errors
    /// As the kernel says; nothing is left then.
    fn make_cgroup(&self, number: u32) -> io::Result<Cgroup>;

    /// Sets limits; those in `known` are in force already.
    ///
    /// # Errors
    /// `EBUSY` when more memory is in use than is to be allowed.
    fn set_limits(&self, cgroup: &Cgroup, limits: &Limits, known: Option<&Limits>) -> io::Result<()>;

    /// Forgets peaks and failures, where the kernel can.
    ///
    /// # Errors
    /// As the kernel says.
    fn reset_counters(&self, cgroup: &Cgroup) -> io::Result<()>;

    /// Numbers that only grow, as they are now: the part of [`Self::usage`] that is needed at every start.
    ///
    /// # Errors
    /// As the kernel says.
    fn totals(&self, cgroup: &Cgroup) -> io::Result<Usage>;

    /// What a sandbox has used and where it met its limits.
    ///
    /// # Errors
    /// As the kernel says.
    fn usage(&self, cgroup: &Cgroup) -> io::Result<Usage>;

    /// How the cgroup looks in every hierarchy: a number that stays the same as long as `limits` are in force as they were
    /// set, every other setting is as it was, and nobody has made groups inside.
    ///
    /// # Errors
    /// As the kernel says.
    fn look(&self, cgroup: &Cgroup, limits: &Limits) -> io::Result<u64>;

    /// Moves a process into the cgroup.
    ///
    /// # Errors
    /// As the kernel says.
    fn migrate(&self, cgroup: &Cgroup, pid: i32, which: Membership) -> io::Result<()>;

    /// Files into which a process writes itself to become a member.
    ///
    /// # Errors
    /// As the kernel says.
    fn member_files(&self, cgroup: &Cgroup) -> io::Result<Vec<OwnedFd>>;

    /// Removes a cgroup whose members are gone or just going.
    ///
    /// # Errors
    /// If members stay.
    fn remove_cgroup(&self, cgroup: Cgroup) -> io::Result<()>;

    /// Builds a root: the layers over the base image, and a new writable layer of this size.
    ///
    /// # Errors
    /// As the kernel says.
    fn make_root(&self, layers: &[PathBuf], disk_bytes: u64) -> io::Result<Root>;

    /// Builds only what a function brings, for the published way of keeping the rest of the root.
    ///
    /// # Errors
    /// As the kernel says.
    fn make_app(&self, layers: &[PathBuf], disk_bytes: u64) -> io::Result<Root>;

    /// Makes a process 1, perhaps with a network namespace of its own.
    ///
    /// # Errors
    /// As the kernel says, and if the nursery is gone.
    fn spawn_init(&self, network_namespace: bool) -> io::Result<Init>;

    /// The network namespace that an init is in.
    ///
    /// # Errors
    /// If the init is gone.
    fn network_namespace(&self, init: &Init) -> io::Result<OwnedFd>;

    /// Connects a network namespace to the bridge by the pair with this number.
    ///
    /// # Errors
    /// As the kernel says.
    fn make_link(&self, number: u32, namespace: BorrowedFd<'_>) -> io::Result<()>;

    /// Removes the pair with this number; one that is gone is as good.
    ///
    /// # Errors
    /// As the kernel says.
    fn remove_link(&self, number: u32) -> io::Result<()>;

    /// Gives an init an order and waits for its answer, with which may come a process.
    ///
    /// # Errors
    /// `EPIPE` if the init is gone.
    fn order(
        &self,
        init: &Init,
        order: &Order,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<(Answer, Option<OwnedFd>)>;

    /// Ends an init and everything inside, and waits for that.
    ///
    /// # Errors
    /// As the kernel says.
    fn end_init(&self, init: Init) -> io::Result<()>;
}

/// Which cgroups a process is moved into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Those that it could not be born in: version 1 hierarchies.
    Limits,
    /// All.
    All,
}

/// A sandbox's cgroup.
#[derive(Debug)]
pub struct Cgroup {
    /// The sandbox.
    pub number: u32,
    /// Its directory in cgroup v2: to be born in, and to watch.
    pub folder: OwnedFd,
    /// The list of its members there.
    pub members: OwnedFd,
    /// Files that are read at every start, kept open by the implementation.
    pub(crate) files: Vec<OwnedFd>,
}

/// A root that has no place yet.
#[derive(Debug)]
pub struct Root {
    /// The mount: whoever gets it can move it in.
    pub tree: OwnedFd,
    /// The file system of the writable layer.
    pub writable: OwnedFd,
}

/// The process 1 of a sandbox.
#[derive(Debug)]
pub struct Init {
    /// Its number in the host.
    pub pid: i32,
    /// Its descriptor: becomes readable when it ends.
    pub process: OwnedFd,
    /// Takes orders.
    pub control: OwnedFd,
}

/// What a cgroup says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// In use now, bytes.
    pub memory_bytes: u64,
    /// Of that, memory of processes: it goes when they go. (Cached pages of files stay until somebody needs the room.)
    pub memory_anonymous_bytes: u64,
    /// Of that, pages of files that lie in memory, first touched here: they go with their file.
    pub memory_shared_bytes: u64,
    /// Most that was in use since counters were reset, bytes; 0 where the kernel does not tell.
    pub memory_peak_bytes: u64,
    /// Processes killed because the memory limit was met, since the cgroup was made.
    pub memory_kills: u64,
    /// Times that a new process was refused, since the cgroup was made.
    pub pids_refused: u64,
    /// Periods in which the processor limit held members back, since the cgroup was made.
    pub cpu_held_back: u64,
    /// Processor time, microseconds, since the cgroup was made.
    pub cpu_us: u64,
    /// Members now.
    pub pids: u64,
}

/// A descriptor that stands for nothing: what the fake hands out.
fn nothing() -> io::Result<OwnedFd> {
    Ok(std::fs::File::open("/dev/null")?.into())
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}
