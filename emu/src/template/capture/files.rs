//! The open files of a process.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use libc::pid_t;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};

use super::sockets;
use crate::sandbox::{Ends, Function};
use crate::template::error::Error;
use crate::template::manifest::{Descriptor, File, Lock, LockKind, to_hex};

/// Flags that only count when a file is opened.
const AT_OPEN: u32 = (libc::O_CLOEXEC | libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC | libc::O_NOCTTY) as u32;
/// `struct tcp_info`: for a socket that listens, where it says how many connections may wait (`tcpi_sacked`).
const ROOM: usize = 28;
/// A queue as long as the kernel allows, where it does not tell.
const LONG_QUEUE: u32 = 4096;

/// Describes every descriptor of a function's process, ascending.
pub(super) fn capture(pid: pid_t, function: &Function) -> Result<Vec<Descriptor>, Error> {
    let folder = PathBuf::from(format!("/proc/{pid}/fd"));
    let listed = std::fs::read_dir(&folder).map_err(Error::file("list", &folder))?;
    let mut numbers: Vec<i32> =
        listed.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    let mut all = Vec::new();
    for number in numbers {
        let path = folder.join(number.to_string());
        let target = std::fs::read_link(&path).map_err(Error::file("read", &path))?;
        all.push(Seen::new(pid, number, target.to_string_lossy().into_owned())?);
    }
    let mut pipes = BTreeMap::new();
    let mut found: Vec<Descriptor> = Vec::new();
    for (nth, seen) in all.iter().enumerate() {
        let same = all[..nth].iter().find(|other| other.target == seen.target && seen.is_same(other));
        let locks = if same.is_some() { Vec::new() } else { seen.locks()? };
        let file = match same {
            Some(other) => File::Same { number: other.number },
            None => seen.file(&all, function.ends(), &mut pipes)?,
        };
        let close_on_exec = seen.flags & libc::O_CLOEXEC as u32 != 0;
        found.push(Descriptor { number: seen.number, close_on_exec, file, locks });
    }
    Ok(found)
}

/// A descriptor as the kernel shows it.
struct Seen {
    pid: pid_t,
    number: i32,
    target: String,
    flags: u32,
    offset: u64,
    information: String,
}

impl Seen {
    fn new(pid: pid_t, number: i32, target: String) -> Result<Self, Error> {
        let path = PathBuf::from(format!("/proc/{pid}/fdinfo/{number}"));
        let information = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        let mut seen = Self { pid, number, target, flags: 0, offset: 0, information };
        seen.flags = u32::from_str_radix(seen.field("flags:").unwrap_or("0"), 8).unwrap_or(0);
        seen.offset = seen.field("pos:").and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(seen)
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.information.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
    }

    fn refuse(&self, why: &str) -> Error {
        Error::Uncapturable(format!("descriptor {} ({}) {why}", self.number, self.target))
    }

    /// Whether both are one open file.
    fn is_same(&self, other: &Self) -> bool {
        const KCMP_FILE: i32 = 0;
        // SAFETY: takes numbers only.
        let result = unsafe {
            libc::syscall(libc::SYS_kcmp, self.pid, self.pid, KCMP_FILE, self.number, other.number)
        };
        result == 0
    }

    /// Flags to open it with.
    fn open_flags(&self) -> u32 {
        self.flags & !AT_OPEN
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", self.pid, self.number))
    }

    fn file(&self, all: &[Self], ends: Ends, pipes: &mut BTreeMap<String, u32>) -> Result<File, Error> {
        self.refuse_signals()?;
        match self.target.as_str() {
            "anon_inode:[eventfd]" => Ok(self.event()),
            "anon_inode:[eventpoll]" => self.epoll(all),
            "anon_inode:[timerfd]" => self.timer(),
            "anon_inode:[signalfd]" => {
                let mask = self.field("sigmask:").and_then(|text| u64::from_str_radix(text, 16).ok());
                let mask = mask.ok_or_else(|| self.refuse("does not tell its signals"))?;
                Ok(File::Signals { mask, flags: self.flags & (libc::O_NONBLOCK | libc::O_CLOEXEC) as u32 })
            }
            target if target.starts_with("pipe:") => self.pipe(all, pipes),
            target if target.starts_with("socket:") => {
                if target == format!("socket:[{}]", ends.channel) {
                    return Ok(File::Channel { flags: self.open_flags() });
                }
                self.socket()
            }
            target if target.starts_with('/') => self.named(target, ends),
            _ => Err(self.refuse("is of a kind that cannot be made again")),
        }
    }

    /// Locks that it holds.
    fn locks(&self) -> Result<Vec<Lock>, Error> {
        let lines = self.information.lines().filter_map(|line| line.strip_prefix("lock:"));
        lines
            .map(|line| {
                lock(line).ok_or_else(|| self.refuse(&format!("is locked in a way that is lost:{line}")))
            })
            .collect()
    }

    /// Nobody is told by a signal what happens to it.
    fn refuse_signals(&self) -> Result<(), Error> {
        const F_GETSIG: i32 = 11;
        const F_GETOWN_EX: i32 = 16;
        if self.flags & libc::O_PATH as u32 != 0 {
            return Ok(());
        }
        let ours = self.borrow().map_err(Error::step(format!("look at descriptor {}", self.number)))?;
        let mut owner = [0_i32; 2];
        // SAFETY: room for `struct f_owner_ex`; then numbers.
        let (asked, signal) = unsafe {
            (
                libc::fcntl(ours.as_raw_fd(), F_GETOWN_EX, owner.as_mut_ptr()),
                libc::fcntl(ours.as_raw_fd(), F_GETSIG),
            )
        };
        if asked == 0 && owner[1] != 0 || signal > 0 || self.flags & libc::O_ASYNC as u32 != 0 {
            return Err(self.refuse("tells its owner by signals (F_SETOWN, F_SETSIG, O_ASYNC)"));
        }
        Ok(())
    }

    fn event(&self) -> File {
        let count = self.field("eventfd-count:").and_then(|text| u64::from_str_radix(text, 16).ok());
        let semaphore = u32::from(self.field("eventfd-semaphore:") == Some("1"));
        let flags = self.flags & (libc::O_NONBLOCK | libc::O_CLOEXEC) as u32;
        File::Event { count: count.unwrap_or(0), flags: flags | semaphore }
    }

    fn epoll(&self, all: &[Self]) -> Result<File, Error> {
        let mut members = BTreeMap::new();
        for line in self.information.lines().filter(|line| line.starts_with("tfd:")) {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let after = |name: &str| {
                let at = words.iter().position(|word| *word == name)?;
                words.get(at + 1).copied()
            };
            let member: Option<i32> = after("tfd:").and_then(|text| text.parse().ok());
            let events = after("events:").and_then(|text| u32::from_str_radix(text, 16).ok());
            let data = after("data:").and_then(|text| u64::from_str_radix(text, 16).ok());
            let (Some(member), Some(events), Some(data)) = (member, events, data) else {
                return Err(self.refuse("shows a member in an unknown form"));
            };
            if !all.iter().any(|seen| seen.number == member) {
                return Err(self.refuse(&format!("watches descriptor {member}, which is closed")));
            }
            members.insert(member, (events, data));
        }
        Ok(File::Epoll { members })
    }

    fn timer(&self) -> Result<File, Error> {
        let number = |name: &str| self.field(name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let time = |name: &str| -> Option<u64> {
            let text = self.field(name)?.trim_matches(['(', ')']);
            let (seconds, nanoseconds) = text.split_once(',')?;
            let part = |text: &str| text.trim().parse::<u64>().ok();
            Some(part(seconds)? * 1_000_000_000 + part(nanoseconds)?)
        };
        let (Some(mut value_ns), Some(interval_ns)) = (time("it_value:"), time("it_interval:")) else {
            return Err(self.refuse("shows its time in an unknown form"));
        };
        if value_ns == 0 && number("ticks:") > 0 {
            // It has gone off and is set again when it is read.
            value_ns = interval_ns;
        }
        let clock = number("clockid:") as i32;
        let set =
            self.field("settime flags:").and_then(|text| i32::from_str_radix(text, 8).ok()).unwrap_or(0);
        if set & libc::TFD_TIMER_ABSTIME != 0 && value_ns > 0 {
            value_ns += now(clock).map_err(Error::step("read a clock"))?;
        }
        Ok(File::Timer {
            clock,
            set,
            flags: self.flags & (libc::O_NONBLOCK | libc::O_CLOEXEC) as u32,
            value_ns,
            interval_ns,
            ticks: number("ticks:"),
        })
    }

    fn pipe(&self, all: &[Self], pipes: &mut BTreeMap<String, u32>) -> Result<File, Error> {
        let ends: Vec<bool> =
            all.iter().filter(|seen| seen.target == self.target).map(|seen| seen.writes()).collect();
        if !(ends.contains(&true) && ends.contains(&false)) {
            return Err(self.refuse("is a pipe whose other end is not the process's"));
        }
        let next = pipes.len() as u32;
        let first = !pipes.contains_key(&self.target);
        let pipe = *pipes.entry(self.target.clone()).or_insert(next);
        let content = if first { self.waiting().map_err(Error::step("read a pipe"))? } else { Vec::new() };
        let ours = self.borrow().map_err(Error::step("look at a pipe"))?;
        // SAFETY: numbers.
        let capacity = unsafe { libc::fcntl(ours.as_raw_fd(), libc::F_GETPIPE_SZ) };
        Ok(File::Pipe {
            pipe,
            writes: self.writes(),
            flags: self.flags,
            capacity: capacity as u32,
            content: to_hex(&content),
        })
    }

    fn writes(&self) -> bool {
        self.flags & libc::O_ACCMODE as u32 == libc::O_WRONLY as u32
    }

    /// Bytes that wait in a pipe, without taking them out.
    fn waiting(&self) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let ours = rustix::fs::open(self.path(), flags, Mode::empty())?;
        let waiting = rustix::io::ioctl_fionread(&ours)?;
        let mut bytes = vec![0; waiting as usize];
        if waiting > 0 {
            let (reader, writer) = io::pipe()?;
            let room = i32::try_from(waiting).unwrap_or(i32::MAX).max(1 << 16);
            // SAFETY: numbers; a pipe that stays smaller makes the copy below short, which is seen.
            unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, room) };
            // SAFETY: both are pipes that live during the call.
            let copied = unsafe {
                libc::tee(ours.as_raw_fd(), writer.as_raw_fd(), waiting as usize, libc::SPLICE_F_NONBLOCK)
            };
            if copied < 0 || copied as u64 != waiting {
                return Err(io::Error::other(format!("{copied} of {waiting} bytes could be copied")));
            }
            io::Read::read_exact(&mut io::BufReader::new(reader), &mut bytes)?;
        }
        Ok(bytes)
    }

    fn named(&self, target: &str, ends: Ends) -> Result<File, Error> {
        let path = self.path();
        let metadata = std::fs::metadata(&path).map_err(Error::file("look at", &path))?;
        if (metadata.dev(), metadata.ino()) == ends.log {
            return Ok(File::Log);
        }
        if target.ends_with(" (deleted)") || target.starts_with("/memfd:") {
            return Err(self.refuse("is a file that has no name any more"));
        }
        let kind = metadata.file_type();
        if !(kind.is_file() || kind.is_dir() || kind.is_char_device()) {
            return Err(self.refuse("is neither file, folder nor device"));
        }
        let offset = if kind.is_file() { self.offset } else { 0 };
        Ok(File::Path { path: target.to_owned(), flags: self.open_flags(), offset })
    }

    fn socket(&self) -> Result<File, Error> {
        let ours = self.borrow().map_err(Error::step(format!("look at descriptor {}", self.number)))?;
        let option = |level: i32, name: i32| -> Option<i32> {
            let (mut value, mut length) = (0_i32, 4_u32);
            // SAFETY: room for four bytes, as its length says.
            let got = unsafe {
                libc::getsockopt(ours.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut length)
            };
            (got == 0).then_some(value)
        };
        let one = |name: i32| option(libc::SOL_SOCKET, name).map(|value| value as u32);
        let (Some(family), Some(kind), Some(protocol)) =
            (one(libc::SO_DOMAIN), one(libc::SO_TYPE), one(libc::SO_PROTOCOL))
        else {
            return Err(self.refuse("does not tell its kind"));
        };
        let flags = self.flags & !AT_OPEN;
        let address = address(&ours).map_err(Error::step("read the address of a socket"))?;
        let listens = one(libc::SO_ACCEPTCONN) == Some(1);
        let known = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6].contains(&(family as i32));
        let options = || sockets::options(&ours, family, kind, protocol).map_err(|why| self.refuse(&why));
        if listens && known {
            if family == libc::AF_UNIX as u32
                && ![None, Some(0), Some(b'/')].contains(&address.get(2).copied())
            {
                return Err(self.refuse("listens at a path that depends on a working folder"));
            }
            if connection_waits(&ours).map_err(Error::step("look at a socket that listens"))? {
                return Err(self.refuse("listens, and a connection waits to be accepted"));
            }
            return Ok(File::Listener {
                family,
                kind,
                protocol,
                flags,
                address: to_hex(&address),
                backlog: room(&ours).unwrap_or(LONG_QUEUE),
                options: options()?,
            });
        }
        let named = address.iter().skip(2).any(|byte| *byte != 0);
        let connected = peer(&ours);
        if connected || named || !known {
            return Err(self.refuse("is a socket that is connected or bound"));
        }
        Ok(File::Socket { family, kind, protocol, flags, options: options()? })
    }

    /// A copy of the descriptor.
    fn borrow(&self) -> io::Result<OwnedFd> {
        let pid = rustix::process::Pid::from_raw(self.pid).ok_or_else(|| io::Error::other("no process"))?;
        let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
        // SAFETY: numbers only.
        let got =
            unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_fd().as_raw_fd(), self.number, 0) };
        if got < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor of ours.
        Ok(unsafe { OwnedFd::from_raw_fd(got as i32) })
    }
}

/// A line such as `1: POSIX  ADVISORY  WRITE 1234 00:2f:17 0 EOF`.
fn lock(line: &str) -> Option<Lock> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, kind, "ADVISORY", access @ ("READ" | "WRITE"), _, _, start, last] = words[..] else {
        return None;
    };
    let kind = match kind {
        "FLOCK" => LockKind::Whole,
        "POSIX" => LockKind::Process,
        "OFDLCK" => LockKind::Open,
        _ => return None,
    };
    let start: u64 = start.parse().ok()?;
    let length = if last == "EOF" { 0 } else { last.parse::<u64>().ok()?.checked_sub(start)? + 1 };
    Some(Lock { kind, alone: access == "WRITE", start, length })
}

/// What a clock says, ns.
fn now(clock: i32) -> io::Result<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for a time.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

fn address(socket: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 128];
    let mut length = bytes.len() as u32;
    // SAFETY: room for as many bytes as its length says.
    let got = unsafe { libc::getsockname(socket.as_raw_fd(), bytes.as_mut_ptr().cast(), &raw mut length) };
    if got < 0 {
        return Err(io::Error::last_os_error());
    }
    bytes.truncate(length as usize);
    Ok(bytes)
}

/// Whether it has a peer.
fn peer(socket: &OwnedFd) -> bool {
    let mut bytes = [0; 128];
    let mut length = bytes.len() as u32;
    // SAFETY: room for as many bytes as its length says.
    unsafe { libc::getpeername(socket.as_raw_fd(), bytes.as_mut_ptr().cast(), &raw mut length) == 0 }
}

/// Whether somebody has connected to a socket that listens and has not been accepted yet.
fn connection_waits(socket: &OwnedFd) -> io::Result<bool> {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&at_once))? > 0)
}

/// How many connections may wait at a TCP socket that listens.
fn room(socket: &OwnedFd) -> Option<u32> {
    let mut bytes = [0_u8; 256];
    let mut length = bytes.len() as u32;
    // SAFETY: room for as many bytes as its length says.
    let got = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            bytes.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    (got == 0).then(|| u32::from_le_bytes(bytes[ROOM..ROOM + 4].try_into().expect("four bytes")))
}
