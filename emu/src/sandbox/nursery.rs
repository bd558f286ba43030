//! The nursery: a small process with one thread in which inits are born.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
};

use super::init;
use super::inside::{Inside, join_new_keyring, last_error};
use super::wire::{At, Birth, Born, Fault, receive, send};

/// First argument of a process that is to be a nursery.
pub(crate) const HIDDEN: &str = "trenvx-nursery";

/// A routine of the launcher that can be a function's process.
#[derive(Clone, Copy, Debug)]
pub struct Routine {
    /// What runs. Its result is the exit code.
    pub run: fn(&mut Inside<'_>) -> i32,
    /// It installs the filter for system calls itself ([`Inside::seal`]), after what functions may not do.
    pub seals_itself: bool,
    /// It keeps the capabilities that choosing thread numbers and a userfaultfd take (`CAP_CHECKPOINT_RESTORE`,
    /// `CAP_SYS_PTRACE`) until it has used them, and then gives them up itself.
    pub restores: bool,
}

impl Routine {
    /// A routine that is a function from its first instruction.
    #[must_use]
    pub const fn plain(run: fn(&mut Inside<'_>) -> i32) -> Self {
        Self { run, seals_itself: false, restores: false }
    }
}

/// Routines by name.
pub type Entries = &'static [(&'static str, Routine)];

/// Turns this process into a nursery, if it was started as one; never returns then. Every program that may be
/// named as launcher ([`super::Config::launcher`]) calls it before anything else, while it has one thread.
pub fn enter_if_asked(entries: Entries) {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_none_or(|first| first != HIDDEN) || args.next().is_some() {
        return;
    }
    let code = match run(entries) {
        Ok(()) => 0,
        Err(fault) => {
            eprintln!("trenvx nursery: {}: {}", fault.step, fault.source());
            3
        }
    };
    std::process::exit(code);
}

/// Takes births until the manager is gone.
fn run(entries: Entries) -> Result<(), Fault> {
    // SAFETY: the manager started us with the socket as descriptor 0, which nobody else uses.
    let stdin = unsafe { OwnedFd::from_raw_fd(0) };
    let socket = rustix::io::fcntl_dupfd_cloexec(&stdin, 10).at("keep the socket")?;
    std::mem::forget(stdin);
    rustix::net::sockopt::socket_type(&socket).at("be started by a manager, over a socket")?;
    let _ = rustix::process::setsid();
    // SAFETY: actions of this process, which functions inherit: what our forebears ignore is nothing to them.
    // Only inits that end are to vanish by themselves; each init undoes that for itself.
    unsafe {
        for signal in 1..=31 {
            libc::signal(signal, libc::SIG_DFL);
        }
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
    }
    // Keys of whoever started the manager are nobody's business below.
    join_new_keyring().at("join a new session keyring")?;
    let proc = new_mount("proc", MountAttrFlags::empty()).at("mount proc")?;
    enter_empty_root()?;
    // A word that everything is ready, so that a nursery that cannot work fails at the manager's start.
    send(&socket, &Born::Yes { pid: rustix::process::getpid().as_raw_nonzero().get() }, &[])
        .at("answer the manager")?;
    while let Some((birth, descriptors)) = receive::<Birth>(&socket).at("read from the manager")? {
        let mut descriptors = descriptors.into_iter();
        let Some(control) = descriptors.next() else {
            send(&socket, &Born::No(Fault::new("take the control socket", rustix::io::Errno::BADF)), &[])
                .at("answer the manager")?;
            continue;
        };
        match bear(&birth, &control, &socket, &proc, entries) {
            Ok((pid, process)) => send(&socket, &Born::Yes { pid }, &[process.as_fd()]),
            Err(fault) => send(&socket, &Born::No(fault), &[]),
        }
        .at("answer the manager")?;
    }
    Ok(())
}

fn bear(
    birth: &Birth,
    control: &OwnedFd,
    socket: &OwnedFd,
    proc: &OwnedFd,
    entries: Entries,
) -> Result<(i32, OwnedFd), Fault> {
    let mut flags = libc::CLONE_NEWPID as u64;
    if birth.network_namespace {
        flags |= libc::CLONE_NEWNET as u64;
    }
    let (pid, process) = clone3(flags, None).at("clone the init")?;
    if pid == 0 {
        // SAFETY: in the child, which has its own table: the nursery's socket is not its business.
        unsafe { libc::close(socket.as_raw_fd()) };
        let code = init::run(control, proc, entries);
        // SAFETY: ends the child without the nursery's exit handlers.
        unsafe { libc::_exit(code) };
    }
    let process = process.expect("a parent gets the descriptor");
    Ok((pid, process))
}

/// A mount of a file system that has no place.
pub(crate) fn new_mount(kind: &str, attributes: MountAttrFlags) -> rustix::io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(&context)?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// A mount namespace with nothing in it: functions' namespaces start as its copies, and the fewer mounts it has
/// the cheaper is a copy.
fn enter_empty_root() -> Result<(), Fault> {
    // The other kinds only matter when a suite lets functions share what they should not.
    // SAFETY: one thread; no table is shared.
    if unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS) } < 0 {
        return Err(last_error()).at("unshare mounts");
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).at("make mounts private")?;
    let empty = new_mount("tmpfs", MountAttrFlags::MOUNT_ATTR_RDONLY).at("mount an empty root")?;
    let by_descriptor = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&empty, "", rustix::fs::CWD, "/proc", by_descriptor)
        .at("place the empty root")?;
    rustix::process::fchdir(&empty).at("enter the empty root")?;
    // The old root comes to lie on the new one, and goes.
    rustix::process::pivot_root(".", ".").at("change the root")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).at("leave the old root")?;
    rustix::process::chdir("/").at("enter the root")
}

/// `struct clone_args` of the kernel, up to the field `cgroup`.
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Makes a child as by `fork`, in new namespaces, perhaps born in a cgroup: its number (0 in the child) and, in
/// the parent, its descriptor. Only for processes with one thread.
pub(crate) fn clone3(flags: u64, cgroup: Option<&OwnedFd>) -> rustix::io::Result<(i32, Option<OwnedFd>)> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut descriptor: libc::c_int = -1;
    let mut arguments = CloneArguments {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: (&raw mut descriptor) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArguments::default()
    };
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: the structure is the kernel's own and valid for the call, as is the place for the descriptor;
    // memory is not shared with the child, which has the only thread of its process.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone3, std::ptr::from_ref(&arguments), size_of::<CloneArguments>())
    };
    if pid < 0 {
        return Err(last_error());
    }
    // SAFETY: in the parent the kernel has put a new descriptor there.
    let process = (pid != 0).then(|| unsafe { OwnedFd::from_raw_fd(descriptor) });
    Ok((pid as i32, process))
}

/// Opens a file of a folder for reading or for nothing.
pub(crate) fn open_in(folder: impl AsFd, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(folder, name, flags | OFlags::CLOEXEC, Mode::empty())?)
}
