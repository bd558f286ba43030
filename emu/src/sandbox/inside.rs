//! The new process on its way from `clone3` to the function's first instruction.
//!
//! It is a copy of its init, which has one thread, so it may allocate; it leaves only through `exec` or `_exit`.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags};
use rustix::process::{Gid, Resource, Rlimit, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::BpfProgram;

use super::nursery::{Entries, Routine};
use super::program::{Confinement, GIVEN, Start};
use super::steps::now;
use super::wire::{At, Fault, StartOrder};

/// Where a function's own tree lies when the root is kept, as published.
const APP: &str = "/home/app";
/// Open files that a function may have.
const OPEN_FILES: u64 = 4096;
/// Highest capability number that any kernel may have.
const CAPABILITIES: u32 = 64;

/// Moments that the new process notes in memory shared with its init.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub(crate) enum Moment {
    Born,
    Member,
    InNamespaces,
    InRoot,
    HasProc,
    Confined,
    Filtered,
    Runs,
}

/// The shared memory: nanoseconds of [`now`] for each [`Moment`].
pub(crate) type Moments = [AtomicU64; 8];

/// What the new process is given.
pub(crate) struct Inputs<'a> {
    pub(crate) order: &'a StartOrder,
    pub(crate) entries: Entries,
    pub(crate) filter: &'a BpfProgram,
    pub(crate) moments: &'a Moments,
    pub(crate) root: OwnedFd,
    pub(crate) channel: OwnedFd,
    pub(crate) log: OwnedFd,
    /// Member files to write oneself into.
    pub(crate) migrations: Vec<OwnedFd>,
    /// For a routine.
    pub(crate) given: Vec<OwnedFd>,
    /// Namespaces of the sandbox's first function that are entered.
    pub(crate) kept: &'a [OwnedFd],
    /// Whether the init has given up what an `exec` could gain, for all its children.
    pub(crate) bounded: bool,
    /// A fault is written here; it closes when the function runs.
    pub(crate) status: OwnedFd,
}

/// What a routine finds inside: its arguments and the way to close the door behind itself.
#[derive(Debug)]
pub struct Inside<'a> {
    /// As in [`Start::Call`].
    pub args: &'a [String],
    filter: Option<&'a BpfProgram>,
}

impl Inside<'_> {
    /// Installs the filter for system calls, if the function is to have one. For routines that seal themselves
    /// because they must first do what functions may not.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn seal(&mut self) -> Result<(), seccompiler::Error> {
        self.filter.take().map_or(Ok(()), super::seccomp::install)
    }

    /// The filter that the function is to have, for a routine that installs it in all threads of a process that it
    /// restores.
    #[must_use]
    pub fn filter(&self) -> Option<&BpfProgram> {
        self.filter
    }
}

/// Turns the new process into the function. Returns only what went wrong.
pub(crate) fn become_function(inputs: &Inputs<'_>) -> Fault {
    match enter(inputs) {
        Ok(never) => never,
        Err(fault) => {
            let bytes = serde_json::to_vec(&fault).unwrap_or_default();
            if rustix::io::write(&inputs.status, &bytes).is_err() {
                // SAFETY: the first number is closed once descriptors have taken their places, and then this is it.
                let placed = unsafe { BorrowedFd::borrow_raw(KEPT_STATUS) };
                let _ = rustix::io::write(placed, &bytes);
            }
            fault
        }
    }
}

fn enter(inputs: &Inputs<'_>) -> Result<Fault, Fault> {
    let Inputs {
        order,
        entries,
        filter,
        moments,
        root,
        channel,
        log,
        migrations,
        given,
        kept,
        bounded,
        status,
    } = inputs;
    let note = |moment: Moment| moments[moment as usize].store(now(), Ordering::Relaxed);
    note(Moment::Born);
    let confinement = &order.confinement;
    // SAFETY: an attribute of this process alone.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    for members in migrations {
        rustix::io::write(members, b"0").at("migrate to a cgroup")?;
    }
    note(Moment::Member);
    enter_kept(kept)?;
    if kept.is_empty() || !order.keep.cgroup {
        unshare(libc::CLONE_NEWCGROUP).at("unshare cgroup")?;
    }
    note(Moment::InNamespaces);
    let opened;
    let inside_root = if order.keep.mounts && !kept.is_empty() {
        swap_app(root)?;
        opened = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at("open the root")?;
        &opened
    } else {
        // Over the empty root of the namespace, not instead of it: taking a mount away would wait for a grace
        // period, and without the capability to change its root nobody comes back to what lies under it.
        move_to(root, CWD, "/").at("move the root in")?;
        rustix::process::fchdir(root).at("enter the root")?;
        rustix::process::chroot(".").at("change the root")?;
        root
    };
    note(Moment::InRoot);
    mount_proc(inside_root)?;
    note(Moment::HasProc);

    rustix::system::sethostname(order.hostname.as_bytes()).at("set the host name")?;
    if order.keyring {
        join_new_keyring().at("join a new session keyring")?;
    }
    rustix::process::setsid().at("start a session")?;
    restrict_resources()?;
    if confinement.user_namespace {
        enter_user_namespace(inside_root, confinement.user)?;
    }
    rustix::process::chdir(&*order.cwd).at("enter the working folder")?;
    let routine = match &order.start {
        Start::Exec { .. } => None,
        Start::Call { entry, .. } => Some(find(entries, entry).at("find the routine")?),
    };
    take_descriptors(channel, log, status, given, order.close_descriptors)?;
    give_up_privileges(confinement, routine.is_some_and(|routine| routine.restores), *bounded)?;
    note(Moment::Confined);
    let seals_itself = routine.is_some_and(|routine| routine.seals_itself);
    if confinement.seccomp && !seals_itself {
        super::seccomp::install(filter)
            .map_err(|_| Fault { step: "install the filter".into(), errno: libc::EINVAL })?;
    }
    note(Moment::Filtered);
    match (&order.start, routine) {
        (Start::Call { args, .. }, Some(routine)) => {
            // SAFETY: closes the only copy of the status pipe, which nothing uses any more; it is the sign that
            // the function runs. An exec would close it.
            unsafe { libc::close(KEPT_STATUS) };
            note(Moment::Runs);
            let filter = (confinement.seccomp && seals_itself).then_some(*filter);
            let code = (routine.run)(&mut Inside { args, filter });
            // SAFETY: ends the process without running handlers that belong to the init.
            unsafe { libc::_exit(code) }
        }
        (Start::Exec { argv }, _) => Err(execute(argv, &order.env)),
        (Start::Call { .. }, None) => Err(Fault::new("find the routine", Errno::NOENT)),
    }
}

fn find(entries: Entries, name: &str) -> rustix::io::Result<Routine> {
    entries.iter().find(|(entry, _)| *entry == name).map(|(_, routine)| *routine).ok_or(Errno::NOENT)
}

/// `setns` to each namespace of the sandbox's first function.
fn enter_kept(kept: &[OwnedFd]) -> Result<(), Fault> {
    for namespace in kept {
        // SAFETY: a valid descriptor; 0 stands for whatever kind it is.
        let result = unsafe { libc::setns(namespace.as_raw_fd(), 0) };
        if result < 0 {
            return Err(last_error()).at("enter a kept namespace");
        }
    }
    Ok(())
}

/// Replaces the tree at [`APP`], and the procfs of the dead pid namespace.
fn swap_app(tree: &OwnedFd) -> Result<(), Fault> {
    rustix::process::chdir("/").at("enter the kept root")?;
    match rustix::mount::unmount(APP, UnmountFlags::DETACH) {
        Ok(()) | Err(Errno::INVAL) => {}
        Err(errno) => return Err(errno).at("unmount the old function"),
    }
    move_to(tree, CWD, APP).at("mount the new function")?;
    match rustix::mount::unmount("/proc", UnmountFlags::DETACH) {
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(errno) => Err(errno).at("unmount the old proc"),
    }
}

fn move_to(tree: &OwnedFd, folder: BorrowedFd<'_>, name: &str) -> rustix::io::Result<()> {
    rustix::mount::move_mount(tree, "", folder, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Mounts the procfs of this pid namespace.
fn mount_proc(root: &OwnedFd) -> Result<(), Fault> {
    let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC).at("open proc")?;
    rustix::mount::fsconfig_create(&context).at("make proc")?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let proc =
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).at("mount proc")?;
    move_to(&proc, root.as_fd(), "proc").at("move proc in")
}

pub(super) fn join_new_keyring() -> rustix::io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: without a name, a new anonymous keyring is made; no memory is passed.
    let result =
        unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<u8>()) };
    if result < 0 { Err(last_error()) } else { Ok(()) }
}

/// Limits of the process that cgroups do not have: no core files, a bounded number of open files.
fn restrict_resources() -> Result<(), Fault> {
    let resources = [(Resource::Core, libc::RLIMIT_CORE), (Resource::Nofile, libc::RLIMIT_NOFILE)];
    for (resource, number) in resources {
        let now = rustix::process::getrlimit(resource);
        let given = (now.current.unwrap_or(u64::MAX), now.maximum.unwrap_or(u64::MAX));
        let (current, maximum) = restricted(number, given);
        let limit = Rlimit { current: Some(current), maximum: Some(maximum) };
        rustix::process::setrlimit(resource, limit).at("limit resources")?;
    }
    Ok(())
}

/// The limit of a function, of one that its init has: what holds, and how far it can be raised.
pub(crate) fn restricted(resource: u32, given: (u64, u64)) -> (u64, u64) {
    let wanted = match resource {
        libc::RLIMIT_CORE => 0,
        libc::RLIMIT_NOFILE => OPEN_FILES,
        _ => return given,
    };
    let limit = given.1.min(wanted);
    (limit, limit)
}

/// A user namespace in which only `user` exists, as itself.
fn enter_user_namespace(root: &OwnedFd, user: u32) -> Result<(), Fault> {
    become_user(user)?;
    // SAFETY: attributes of this process; its own files in proc must belong to it to write the maps.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) };
    unshare(libc::CLONE_NEWUSER).at("unshare user")?;
    let map = format!("{user} {user} 1");
    for (name, text) in
        [("proc/self/setgroups", "deny"), ("proc/self/uid_map", &map), ("proc/self/gid_map", &map)]
    {
        let file = rustix::fs::openat(root, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        let file = file.at("open a user map")?;
        rustix::io::write(&file, text.as_bytes()).at("write a user map")?;
    }
    Ok(())
}

fn become_user(user: u32) -> Result<(), Fault> {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    rustix::thread::set_thread_groups(&[]).at("leave groups")?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).at("become the group")?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).at("become the user")
}

/// Choosing the numbers of threads; being told of forks under a userfaultfd.
const RESTORING: CapabilitySet = CapabilitySet::CHECKPOINT_RESTORE.union(CapabilitySet::SYS_PTRACE);

/// Descriptors that stay: 0, 1, 2, and the status pipe here until exec.
const KEPT_STATUS: RawFd = 3;

/// The channel becomes 0 and 1, the log 2, the status pipe 3; everything else closes.
fn take_descriptors(
    channel: &OwnedFd,
    log: &OwnedFd,
    status: &OwnedFd,
    given: &[OwnedFd],
    close_others: bool,
) -> Result<(), Fault> {
    // Out of the way of the numbers that are about to be taken.
    let beyond = (GIVEN + given.len() as RawFd).max(64);
    let high = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, beyond).at("move a descriptor");
    let first_status = status.as_raw_fd();
    let (channel, log, status) = (high(channel)?, high(log)?, high(status)?);
    let given = given.iter().map(high).collect::<Result<Vec<_>, _>>()?;
    let usual = [(&channel, 0, 0), (&channel, 1, 0), (&log, 2, 0), (&status, KEPT_STATUS, libc::O_CLOEXEC)];
    let last = GIVEN + given.len() as RawFd;
    let beside = given.iter().zip(GIVEN..last).map(|(given, number)| (given, number, libc::O_CLOEXEC));
    for (from, to, flags) in usual.into_iter().chain(beside) {
        // SAFETY: both are numbers of this process's table; values that own the overwritten numbers are
        // never dropped, because this process leaves through exec or _exit.
        if unsafe { libc::dup3(from.as_raw_fd(), to, flags) } < 0 {
            return Err(last_error()).at("place a descriptor");
        }
    }
    let highest_status = status.as_raw_fd();
    std::mem::forget((channel, log, status, given));
    if !close_others {
        // Only for suites; but the pipe must close when the function runs.
        for copy in [first_status, highest_status] {
            // SAFETY: our own numbers, which nothing uses any more.
            unsafe { libc::close(copy) };
        }
        return Ok(());
    }
    // SAFETY: as above.
    let result = unsafe { libc::syscall(libc::SYS_close_range, last, libc::c_uint::MAX, 0) };
    if result < 0 { Err(last_error()).at("close descriptors") } else { Ok(()) }
}

/// Gives up what an `exec` could gain. Each drop makes new credentials, so an init that starts confined functions
/// does it once for all of them.
/// Whether nothing is left in it.
pub(super) fn drop_bounding_set() -> bool {
    for capability in 0..CAPABILITIES {
        // SAFETY: takes numbers only. Numbers beyond the kernel's last end the loop.
        match unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) } {
            0 => {}
            // SAFETY: as above.
            1 if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } == 0 => {}
            // Beyond the last, or refused.
            known => return known < 0,
        }
    }
    true
}

/// `restores`: keeps what a routine needs that fills this process with the threads of another
/// ([`Routine::restores`]) and gives it up itself.
fn give_up_privileges(confinement: &Confinement, restores: bool, bounded: bool) -> Result<(), Fault> {
    if confinement.drop_capabilities && !bounded {
        drop_bounding_set();
    }
    if restores {
        rustix::thread::set_keep_capabilities(true).at("keep capabilities")?;
    }
    if !confinement.user_namespace && confinement.user != 0 {
        become_user(confinement.user)?;
    }
    if restores {
        // It only mattered for the change of user.
        rustix::thread::set_keep_capabilities(false).at("keep no capabilities")?;
    }
    if confinement.drop_capabilities {
        let none = CapabilitySet::empty();
        let left = if restores { RESTORING } else { none };
        let sets = CapabilitySets { effective: left, permitted: left, inheritable: none };
        rustix::thread::set_capabilities(None, sets).at("drop capabilities")?;
        rustix::thread::set_no_new_privs(true).at("set no_new_privs")?;
    } else if confinement.seccomp {
        rustix::thread::set_no_new_privs(true).at("set no_new_privs")?;
    }
    // SAFETY: an attribute of this process: it may look at itself although it changed its user, and the parent's
    // death still ends it (changing the user has cleared that).
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 1);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
    rustix::process::umask(Mode::from_raw_mode(0o022));
    Ok(())
}

/// Executes the program, looked for in the folders of its own `PATH`. Returns only the fault.
fn execute(argv: &[String], env: &[String]) -> Fault {
    let Some(file) = argv.first() else {
        return Fault::new("execute: no program is named", Errno::INVAL);
    };
    let path = env.iter().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or("/usr/bin:/bin");
    let candidates: Vec<String> = if file.contains('/') {
        vec![file.clone()]
    } else {
        path.split(':').map(|folder| format!("{folder}/{file}")).collect()
    };
    let text = |value: &String| CString::new(value.as_str()).map_err(|_| Errno::INVAL);
    let all = |values: &[String]| values.iter().map(text).collect::<Result<Vec<_>, _>>();
    let (argv, env) = match (all(argv), all(env)) {
        (Ok(argv), Ok(env)) => (argv, env),
        _ => return Fault::new("execute: an argument or variable contains a zero byte", Errno::INVAL),
    };
    let pointers = |values: &[CString]| {
        values.iter().map(|value| value.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
    };
    let (argv_pointers, env_pointers) = (pointers(&argv), pointers(&env));
    let mut errno = Errno::NOENT;
    for candidate in candidates {
        let Ok(name) = CString::new(candidate) else { continue };
        // SAFETY: strings and both lists, which end with a null pointer, live until the call replaces us.
        unsafe { libc::execve(name.as_ptr(), argv_pointers.as_ptr(), env_pointers.as_ptr()) };
        let failed = last_error();
        if failed != Errno::NOENT {
            errno = failed;
        }
    }
    Fault::new(&format!("execute {file}"), errno)
}

fn unshare(kinds: libc::c_int) -> rustix::io::Result<()> {
    // SAFETY: this process has one thread and shares no table with another.
    if unsafe { libc::unshare(kinds) } < 0 { Err(last_error()) } else { Ok(()) }
}

pub(super) fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
