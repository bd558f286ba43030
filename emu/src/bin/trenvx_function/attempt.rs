//! Attempts to get out. Each answers with the error by name, or with what it got.

use std::os::fd::AsRawFd;

use serde_json::{Value, json};

use super::{Action, done, last_errno, name_of};

pub(super) const ACTIONS: &[(&str, Action)] = &[
    ("mount", |_| call(libc::SYS_mount, &[text(c"x"), text(c"/tmp"), text(c"tmpfs"), 0, 0])),
    ("mount-cgroup", |_| call(libc::SYS_mount, &[text(c"x"), text(c"/tmp"), text(c"cgroup2"), 0, 0])),
    ("remount-proc", |_| call(libc::SYS_mount, &[0, text(c"/proc"), 0, 0x1020, 0])),
    ("umount", |_| call(libc::SYS_umount2, &[text(c"/proc"), libc::MNT_DETACH as usize])),
    ("new-mount-api", |_| call(libc::SYS_fsopen, &[text(c"tmpfs"), 0])),
    ("mount-setattr", |_| mount_setattr()),
    ("open-tree", |_| call(libc::SYS_open_tree, &[libc::AT_FDCWD as usize, text(c"/"), 1])),
    ("pivot-root", |_| call(libc::SYS_pivot_root, &[text(c"/"), text(c"/tmp")])),
    ("chroot", |_| call(libc::SYS_chroot, &[text(c"/tmp")])),
    ("mknod", |_| mknod()),
    ("setns", |_| setns()),
    ("unshare-user", |_| call(libc::SYS_unshare, &[libc::CLONE_NEWUSER as usize])),
    ("unshare-net", |_| call(libc::SYS_unshare, &[libc::CLONE_NEWNET as usize])),
    ("clone-user", |_| clone_user()),
    ("write-core-pattern", |_| write("/proc/sys/kernel/core_pattern")),
    ("write-net-setting", |_| write("/proc/sys/net/core/somaxconn")),
    ("write-sysrq", |_| write("/proc/sysrq-trigger")),
    ("write-cgroup", |_| write("/sys/fs/cgroup/unified/cgroup.procs")),
    ("read-kernel-memory", |_| open("/dev/mem")),
    ("read-host-root", |_| open("/root")),
    ("ptrace-init", |_| ptrace_init()),
    ("read-memory-of-init", |_| call(libc::SYS_process_vm_readv, &[1, 0, 0, 0, 0, 0])),
    ("raw-socket", |_| call(libc::SYS_socket, &[libc::AF_INET as usize, libc::SOCK_RAW as usize, 1])),
    ("packet-socket", |_| call(libc::SYS_socket, &[libc::AF_PACKET as usize, libc::SOCK_RAW as usize, 0])),
    ("set-address", |_| set_address()),
    ("kexec", |_| call(libc::SYS_kexec_load, &[0, 0, 0, 0])),
    ("kexec-file", |_| call(libc::SYS_kexec_file_load, &[usize::MAX, usize::MAX, 1, text(c""), 0])),
    ("module-file", |_| call(libc::SYS_finit_module, &[0, text(c""), 0])),
    ("unload-module", |_| call(libc::SYS_delete_module, &[text(c"no-such-module"), 0])),
    ("module", |_| call(libc::SYS_init_module, &[0, 0, text(c"")])),
    ("reboot", |_| call(libc::SYS_reboot, &[0xfee1_dead, 0x2812_1969, 0, 0])),
    ("bpf", |_| bpf()),
    ("perf", |_| perf()),
    ("userfaultfd-kernel-mode", |_| call(libc::SYS_userfaultfd, &[0])),
    ("open-by-handle", |_| open_by_handle()),
    ("io-uring", |_| io_uring()),
    ("add-key", |_| call(libc::SYS_add_key, &[text(c"user"), text(c"x"), text(c"y"), 1, -4_isize as usize])),
    ("read-key", |_| call(libc::SYS_keyctl, &[0, -3_isize as usize, 1])),
    ("descriptor-of-init", |_| descriptor_of_init()),
    ("clone3-user", |_| clone3_user()),
    ("watch-file-system", |_| call(libc::SYS_fanotify_init, &[0, 0])),
    ("account", |_| call(libc::SYS_acct, &[text(c"/tmp/account")])),
    ("socket-to-host", |_| call(libc::SYS_socket, &[libc::AF_VSOCK as usize, libc::SOCK_STREAM as usize, 0])),
    ("type-into-terminal", |_| call(libc::SYS_ioctl, &[0, libc::TIOCSTI as usize, text(c"x")])),
    ("set-clock", |_| set_clock()),
    ("set-host-name", |_| call(libc::SYS_sethostname, &[text(c"x"), 1])),
    ("become-root", |_| call(libc::SYS_setuid, &[0])),
    ("lower-nice", |_| nice()),
    ("kernel-log", |_| call(libc::SYS_syslog, &[3, 0, 0])),
    ("swap", |_| call(libc::SYS_swapoff, &[text(c"/x")])),
    ("port-access", |_| port_access()),
    ("call-of-the-future", |_| call(900, &[])),
    ("give-file-capability", |_| file_capability()),
];

fn text(text: &'static std::ffi::CStr) -> usize {
    text.as_ptr() as usize
}

/// A raw call with pointers to constants or numbers only.
fn call(number: libc::c_long, args: &[usize]) -> Result<Value, String> {
    let at = |nth: usize| args.get(nth).copied().unwrap_or(0);
    // SAFETY: pointers among the arguments are to constants that end with a zero; the calls of this file change
    // nothing of this process's memory.
    done(unsafe { libc::syscall(number, at(0), at(1), at(2), at(3), at(4), at(5)) })
}

fn mknod() -> Result<Value, String> {
    let disk = libc::makedev(8, 0);
    call(
        libc::SYS_mknodat,
        &[libc::AT_FDCWD as usize, text(c"/tmp/disk"), (libc::S_IFBLK | 0o600) as usize, disk as usize],
    )
}

/// Takes away the marks of the mount that the root is.
fn mount_setattr() -> Result<Value, String> {
    // Nothing to set, nosuid to clear.
    let attributes = [0_u64, 2, 0, 0];
    let size = size_of_val(&attributes);
    let root = [libc::AT_FDCWD as usize, text(c"/"), 0];
    call(libc::SYS_mount_setattr, &[root[0], root[1], root[2], attributes.as_ptr() as usize, size])
}

/// Takes the channel out of process 1, which is this one or not.
fn descriptor_of_init() -> Result<Value, String> {
    // SAFETY: makes a descriptor of a process, which is closed again.
    unsafe {
        let process = libc::syscall(libc::SYS_pidfd_open, 1, 0);
        let result = call(libc::SYS_pidfd_getfd, &[process as usize, 0, 0]);
        libc::close(process as i32);
        result
    }
}

fn clone3_user() -> Result<Value, String> {
    // `struct clone_args`, first version: flags, then the signal at the child's end as the fifth number.
    let arguments = [libc::CLONE_NEWUSER as u64, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0];
    // SAFETY: as `fork`: memory is not shared; the child ends at once.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), size_of_val(&arguments)) };
    if pid == 0 {
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    done(pid)
}

fn setns() -> Result<Value, String> {
    let file = std::fs::File::open("/proc/self/ns/net").map_err(|error| error.to_string())?;
    call(libc::SYS_setns, &[file.as_raw_fd() as usize, 0])
}

fn clone_user() -> Result<Value, String> {
    let flags = (libc::CLONE_NEWUSER | libc::SIGCHLD) as usize;
    // SAFETY: as `fork`: memory is not shared; the child ends at once.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    if pid == 0 {
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    done(pid)
}

fn write(path: &str) -> Result<Value, String> {
    open_with(std::fs::File::options().write(true), path)
}

fn open(path: &str) -> Result<Value, String> {
    open_with(std::fs::File::options().read(true), path)
}

fn open_with(options: &std::fs::OpenOptions, path: &str) -> Result<Value, String> {
    match options.open(path) {
        Ok(_) => Ok(json!("opened")),
        Err(error) => Err(name_of(error.raw_os_error().unwrap_or(0))),
    }
}

/// A child of ours tries to trace process 1.
fn ptrace_init() -> Result<Value, String> {
    const PTRACE_SEIZE: usize = 0x4206;
    // SAFETY: this program has one thread; the child makes a call and ends with its error as code.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            let result = libc::syscall(libc::SYS_ptrace, PTRACE_SEIZE, 1, 0, 0);
            let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
            libc::_exit(if result < 0 { errno } else { 0 });
        }
        let mut status = 0;
        libc::waitpid(child, &raw mut status, 0);
        match libc::WEXITSTATUS(status) {
            0 => Ok(json!("traced")),
            errno => Err(name_of(errno)),
        }
    }
}

fn set_address() -> Result<Value, String> {
    let mut request = super::leave::device("lo");
    request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
    // SAFETY: a socket of our own and a valid request; closed again.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
        let result = libc::ioctl(fd, libc::SIOCSIFFLAGS, &raw mut request);
        let errno = last_errno();
        libc::close(fd);
        if result < 0 { Err(errno) } else { Ok(json!("changed")) }
    }
}

fn bpf() -> Result<Value, String> {
    // An array map of one element: type 2, key 4 bytes, value 4 bytes, 1 entry.
    let attributes = [2_u32, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    call(libc::SYS_bpf, &[0, attributes.as_ptr() as usize, size_of_val(&attributes)])
}

fn perf() -> Result<Value, String> {
    // Kernel samples of a hardware counter: `struct perf_event_attr`, first version.
    let mut attributes = [0_u8; 64];
    attributes[4] = 64;
    call(libc::SYS_perf_event_open, &[attributes.as_ptr() as usize, usize::MAX, 0, usize::MAX, 0])
}

fn open_by_handle() -> Result<Value, String> {
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        data: [u8; 8],
    }
    // The inode that is the root of most file systems.
    let handle = Handle { bytes: 8, kind: 1, data: [2, 0, 0, 0, 0, 0, 0, 0] };
    let root = std::fs::File::open("/").map_err(|error| error.to_string())?;
    call(
        libc::SYS_open_by_handle_at,
        &[root.as_raw_fd() as usize, (&raw const handle) as usize, libc::O_RDONLY as usize],
    )
}

fn io_uring() -> Result<Value, String> {
    let parameters = [0_u32; 30];
    call(libc::SYS_io_uring_setup, &[4, parameters.as_ptr() as usize])
}

fn set_clock() -> Result<Value, String> {
    let time = [0_i64; 2];
    call(libc::SYS_clock_settime, &[0, time.as_ptr() as usize])
}

fn nice() -> Result<Value, String> {
    call(libc::SYS_setpriority, &[0, 0, -10_isize as usize])
}

#[cfg(target_arch = "x86_64")]
fn port_access() -> Result<Value, String> {
    call(libc::SYS_iopl, &[3])
}

#[cfg(not(target_arch = "x86_64"))]
fn port_access() -> Result<Value, String> {
    Err("EPERM".into())
}

/// A file that would give every capability to whoever executes it.
fn file_capability() -> Result<Value, String> {
    std::fs::write("/tmp/program", b"").map_err(|error| error.to_string())?;
    let value = [0x0200_0001_u32.to_le(), u32::MAX, 0, u32::MAX, 0];
    call(
        libc::SYS_setxattr,
        &[text(c"/tmp/program"), text(c"security.capability"), value.as_ptr() as usize, 20, 0],
    )
}
