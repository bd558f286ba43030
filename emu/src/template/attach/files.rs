//! Descriptors of the template, made again in the new process.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::program::Numbers;
use crate::template::manifest::{Descriptor, File, KnownFile, OwnContent, OwnFile, from_hex};

/// Opens a file.
pub(super) fn open(path: &str, flags: i32) -> io::Result<RawFd> {
    let name = CString::new(path)?;
    // SAFETY: a string that lives during the call.
    done(unsafe { libc::open(name.as_ptr(), flags | libc::O_CLOEXEC | libc::O_NOCTTY, 0o644) })
}

/// Whether a file that was opened by its path is the one that the template knows; one that it does not know may be any.
pub(super) fn check(path: &str, open: RawFd, known: &[KnownFile]) -> Result<(), String> {
    let Ok(at) = known.binary_search_by(|known| known.path.as_str().cmp(path)) else { return Ok(()) };
    // SAFETY: a number of ours; it is not closed here, because it is placed elsewhere later.
    let file = std::mem::ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(open) });
    known[at].check(&file)
}

/// Gives a descriptor its number.
pub(super) fn place(from: RawFd, to: RawFd) -> Result<(), String> {
    if from == to {
        return Ok(());
    }
    copy(from, to)?;
    // SAFETY: a number of ours, which has its copy.
    unsafe { libc::close(from) };
    Ok(())
}

/// Copies a descriptor to a number.
pub(super) fn copy(from: RawFd, to: RawFd) -> Result<(), String> {
    // SAFETY: numbers of this process's own table.
    let copied = done(unsafe { libc::dup3(from, to, libc::O_CLOEXEC) });
    copied.map(|_| ()).map_err(|error| format!("cannot place descriptor {to}: {error}"))
}

/// Makes every descriptor.
pub(super) fn restore(
    descriptors: &[Descriptor],
    numbers: Numbers,
    known: &[KnownFile],
) -> Result<(), String> {
    let mut pipes: BTreeMap<u32, [RawFd; 2]> = BTreeMap::new();
    for Descriptor { number, file, .. } in descriptors {
        let at = |error: io::Error| format!("cannot make descriptor {number} again: {error}");
        match file {
            File::Same { number: other } => copy(*other, *number)?,
            File::Channel { flags } => {
                copy(numbers.channel(), *number)?;
                set_flags(*number, *flags).map_err(at)?;
            }
            File::Log => copy(numbers.log(), *number)?,
            File::Pipe { pipe, writes, flags, capacity, content } => {
                let ends = match pipes.get(pipe) {
                    Some(ends) => *ends,
                    None => {
                        let made = new_pipe(numbers, *capacity).map_err(at)?;
                        pipes.insert(*pipe, made);
                        made
                    }
                };
                fill(ends[1], content).map_err(at)?;
                copy(ends[usize::from(*writes)], *number)?;
                set_flags(*number, *flags).map_err(at)?;
            }
            File::Path { path, .. } => {
                let made = make(file).map_err(at)?;
                check(path, made, known)?;
                place(made, *number)?;
            }
            other => place(make(other).map_err(at)?, *number)?,
        }
    }
    for end in pipes.into_values().flatten() {
        // SAFETY: a number of ours, which has its copies.
        unsafe { libc::close(end) };
    }
    // Their members are there now.
    for Descriptor { number, file, .. } in descriptors {
        let File::Epoll { members } = file else { continue };
        for (member, (events, data)) in members {
            let mut event = libc::epoll_event { events: *events, u64: *data };
            // SAFETY: a structure that lives during the call.
            let added = unsafe { libc::epoll_ctl(*number, libc::EPOLL_CTL_ADD, *member, &raw mut event) };
            done(added).map_err(|error| format!("cannot add {member} to epoll set {number}: {error}"))?;
        }
    }
    for Descriptor { number, close_on_exec, .. } in descriptors {
        if !close_on_exec {
            // SAFETY: numbers.
            unsafe { libc::fcntl(*number, libc::F_SETFD, 0) };
        }
    }
    Ok(())
}

fn make(file: &File) -> io::Result<RawFd> {
    match file {
        File::Path { path, flags, offset } => {
            let made = open(path, *flags as i32)?;
            if *offset > 0 {
                // SAFETY: numbers.
                unsafe { libc::lseek(made, *offset as libc::off_t, libc::SEEK_SET) };
            }
            Ok(made)
        }
        File::Event { count, flags } => {
            // A count of more than 32 bits is written.
            // SAFETY: numbers.
            let made = done(unsafe { libc::eventfd(0, *flags as i32) })?;
            if *count > 0 {
                write_all(made, &count.to_le_bytes())?;
            }
            Ok(made)
        }
        File::Epoll { .. } => {
            // SAFETY: numbers.
            done(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
        }
        File::Timer { clock, flags, value_ns, interval_ns, ticks, set } => {
            timer(*clock, *flags, *value_ns, *interval_ns, *ticks, *set)
        }
        File::Signals { mask, flags } => {
            // SAFETY: eight bytes, as the kernel's set has.
            let made =
                unsafe { libc::syscall(libc::SYS_signalfd4, -1, std::ptr::from_ref(mask), 8, *flags as i32) };
            done(made as i32)
        }
        File::Listener { family, kind, protocol, flags, address, backlog, options } => {
            let made = socket(*family, *kind, *protocol, *flags, options)?;
            let address = from_hex(address).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
            // SAFETY: an address of this length that lives during the call.
            done(unsafe { libc::bind(made, address.as_ptr().cast(), address.len() as u32) })?;
            // SAFETY: numbers.
            done(unsafe { libc::listen(made, *backlog as i32) })?;
            Ok(made)
        }
        File::Socket { family, kind, protocol, flags, options } => {
            socket(*family, *kind, *protocol, *flags, options)
        }
        File::Same { .. } | File::Channel { .. } | File::Log | File::Pipe { .. } => {
            Err(io::Error::from_raw_os_error(libc::EINVAL))
        }
    }
}

fn socket(
    family: u32,
    kind: u32,
    protocol: u32,
    flags: u32,
    options: &[(i32, i32, i32)],
) -> io::Result<RawFd> {
    // SAFETY: numbers.
    let made = done(unsafe { libc::socket(family as i32, kind as i32, protocol as i32) })?;
    for (level, name, value) in options {
        // SAFETY: four bytes that live during the call.
        done(unsafe { libc::setsockopt(made, *level, *name, std::ptr::from_ref(value).cast(), 4) })?;
    }
    set_flags(made, flags)?;
    Ok(made)
}

fn timer(clock: i32, flags: u32, value_ns: u64, interval_ns: u64, ticks: u64, set: i32) -> io::Result<RawFd> {
    const TFD_IOC_SET_TICKS: libc::c_ulong = 0x4008_5400;
    // SAFETY: numbers.
    let made = done(unsafe { libc::timerfd_create(clock, flags as i32) })?;
    let time = |ns: u64| libc::timespec {
        tv_sec: (ns / 1_000_000_000) as libc::time_t,
        tv_nsec: (ns % 1_000_000_000) as libc::c_long,
    };
    let times = libc::itimerspec { it_interval: time(interval_ns), it_value: time(value_ns) };
    // SAFETY: a structure that lives during the call.
    done(unsafe { libc::timerfd_settime(made, set, &raw const times, std::ptr::null_mut()) })?;
    if ticks > 0 {
        // SAFETY: eight bytes that live during the call.
        done(unsafe { libc::ioctl(made, TFD_IOC_SET_TICKS, &raw const ticks) })?;
    }
    Ok(made)
}

/// Both ends of a new pipe, at numbers above all that the template has.
fn new_pipe(numbers: Numbers, capacity: u32) -> io::Result<[RawFd; 2]> {
    let mut ends = [0; 2];
    // SAFETY: room for two numbers.
    done(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) })?;
    // SAFETY: numbers.
    unsafe {
        if libc::fcntl(ends[0], libc::F_GETPIPE_SZ) != capacity as i32 {
            done(libc::fcntl(ends[0], libc::F_SETPIPE_SZ, capacity))?;
        }
    }
    for end in &mut ends {
        // SAFETY: numbers; the first one is closed once it has its copy.
        let high = done(unsafe { libc::fcntl(*end, libc::F_DUPFD_CLOEXEC, numbers.file(0)) })?;
        // SAFETY: as above.
        unsafe { libc::close(*end) };
        *end = high;
    }
    Ok(ends)
}

fn fill(end: RawFd, content: &str) -> io::Result<()> {
    let bytes = from_hex(content).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    if bytes.is_empty() { Ok(()) } else { write_all(end, &bytes) }
}

fn write_all(to: RawFd, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        // SAFETY: bytes that live during the call.
        let wrote = unsafe { libc::write(to, rest.as_ptr().cast(), rest.len()) };
        if wrote < 0 {
            return Err(io::Error::last_os_error());
        }
        rest = &rest[wrote as usize..];
    }
    Ok(())
}

/// Writes again what the template's process has written to its root; folders come before what is in them.
pub(super) fn write_own(files: &[OwnFile]) -> Result<(), String> {
    let mut folders = Vec::new();
    for file in files {
        let (path, mode) = (Path::new(&file.path), Permissions::from_mode(file.mode));
        let written = match &file.content {
            OwnContent::Folder => match fs::create_dir(path) {
                Ok(()) => {
                    folders.push((path, mode));
                    Ok(())
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
                result => result,
            },
            OwnContent::Link(target) => {
                let _ = fs::remove_file(path);
                std::os::unix::fs::symlink(target, path)
            }
            OwnContent::Gone if path.is_dir() => fs::remove_dir_all(path),
            OwnContent::Gone => fs::remove_file(path),
            // The socket makes it.
            OwnContent::Socket => Ok(()),
            OwnContent::File(content) => {
                let bytes =
                    from_hex(content).ok_or_else(|| format!("the content of {} is damaged", file.path))?;
                let since = Duration::from_nanos(file.modified_ns.unsigned_abs());
                write_file(path, &bytes, mode, SystemTime::UNIX_EPOCH + since)
            }
        };
        written.map_err(|error| format!("cannot write {} again: {error}", file.path))?;
    }
    // One that may not be written to is full by now.
    for (path, mode) in folders.into_iter().rev() {
        let closed = fs::set_permissions(path, mode);
        closed.map_err(|error| format!("cannot set the mode of {}: {error}", path.display()))?;
    }
    Ok(())
}

fn write_file(path: &Path, bytes: &[u8], mode: Permissions, modified: SystemTime) -> io::Result<()> {
    let make = || fs::File::create(path);
    // One of the layers that it had replaced, not written.
    let file = make().or_else(|_| fs::remove_file(path).and_then(|()| make()))?;
    io::Write::write_all(&mut &file, bytes)?;
    file.set_permissions(mode)?;
    file.set_modified(modified)
}

/// Sets the modes of the files that listening sockets have made.
pub(super) fn set_modes_of_sockets(files: &[OwnFile]) -> Result<(), String> {
    for file in files.iter().filter(|file| file.content == OwnContent::Socket) {
        let set = fs::set_permissions(&file.path, Permissions::from_mode(file.mode));
        set.map_err(|error| format!("cannot set the mode of {}: {error}", file.path))?;
    }
    Ok(())
}

/// Flags of the open file that can be set later.
fn set_flags(number: RawFd, flags: u32) -> io::Result<()> {
    const LATER: u32 = (libc::O_APPEND | libc::O_NONBLOCK | libc::O_DIRECT | libc::O_NOATIME) as u32;
    // SAFETY: numbers.
    done(unsafe { libc::fcntl(number, libc::F_SETFL, (flags & LATER) as i32) }).map(|_| ())
}

fn done(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
