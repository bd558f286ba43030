//! Descriptors of the template, made again in the new process.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{FromRawFd, RawFd};

use super::program::Numbers;
use crate::template::manifest::{Descriptor, File, KnownFile, OwnFile, from_hex};

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
            File::Pipe { pipe, writes, flags, content } => {
                let ends = match pipes.get(pipe) {
                    Some(ends) => *ends,
                    None => {
                        let made = new_pipe(numbers).map_err(at)?;
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
        File::Timer { clock, flags, value_ns, interval_ns, ticks } => {
            timer(*clock, *flags, *value_ns, *interval_ns, *ticks)
        }
        File::Signals { mask, flags } => {
            // SAFETY: eight bytes, as the kernel's set has.
            let made =
                unsafe { libc::syscall(libc::SYS_signalfd4, -1, std::ptr::from_ref(mask), 8, *flags as i32) };
            done(made as i32)
        }
        File::Listener { family, kind, protocol, flags, address, backlog, options } => {
            let made = socket(*family, *kind, *protocol, *flags)?;
            for (level, name, value) in options {
                // SAFETY: four bytes that live during the call.
                let set =
                    unsafe { libc::setsockopt(made, *level, *name, std::ptr::from_ref(value).cast(), 4) };
                done(set)?;
            }
            let address = from_hex(address).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
            // SAFETY: an address of this length that lives during the call.
            done(unsafe { libc::bind(made, address.as_ptr().cast(), address.len() as u32) })?;
            // SAFETY: numbers.
            done(unsafe { libc::listen(made, *backlog as i32) })?;
            Ok(made)
        }
        File::Socket { family, kind, protocol, flags } => socket(*family, *kind, *protocol, *flags),
        File::Same { .. } | File::Channel { .. } | File::Log | File::Pipe { .. } => {
            Err(io::Error::from_raw_os_error(libc::EINVAL))
        }
    }
}

fn socket(family: u32, kind: u32, protocol: u32, flags: u32) -> io::Result<RawFd> {
    // SAFETY: numbers.
    let made = done(unsafe { libc::socket(family as i32, kind as i32, protocol as i32) })?;
    set_flags(made, flags)?;
    Ok(made)
}

fn timer(clock: i32, flags: u32, value_ns: u64, interval_ns: u64, ticks: u64) -> io::Result<RawFd> {
    const TFD_IOC_SET_TICKS: libc::c_ulong = 0x4008_5400;
    // SAFETY: numbers.
    let made = done(unsafe { libc::timerfd_create(clock, flags as i32) })?;
    let time = |ns: u64| libc::timespec {
        tv_sec: (ns / 1_000_000_000) as libc::time_t,
        tv_nsec: (ns % 1_000_000_000) as libc::c_long,
    };
    let times = libc::itimerspec { it_interval: time(interval_ns), it_value: time(value_ns) };
    // SAFETY: a structure that lives during the call.
    done(unsafe { libc::timerfd_settime(made, 0, &raw const times, std::ptr::null_mut()) })?;
    if ticks > 0 {
        // SAFETY: eight bytes that live during the call.
        done(unsafe { libc::ioctl(made, TFD_IOC_SET_TICKS, &raw const ticks) })?;
    }
    Ok(made)
}

/// Both ends of a new pipe, at numbers above all that the template has.
fn new_pipe(numbers: Numbers) -> io::Result<[RawFd; 2]> {
    let mut ends = [0; 2];
    // SAFETY: room for two numbers.
    done(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) })?;
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

/// Writes a file of the template's own, in folders that are made where they are not there.
pub(super) fn write_own(file: &OwnFile) -> Result<(), String> {
    let bytes = from_hex(&file.content).ok_or_else(|| format!("the content of {} is damaged", file.path))?;
    let written = (|| {
        if let Some(folder) = std::path::Path::new(&file.path).parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&file.path, bytes)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(file.mode);
        std::fs::set_permissions(&file.path, mode)
    })();
    written.map_err(|error| format!("cannot write {} again: {error}", file.path))
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
