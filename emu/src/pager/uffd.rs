//! `userfaultfd`: page faults of a process, served by a program.
//!
//! The crate of that name is left out: it reads the `EAGAIN` of a partial copy as a length, and has neither
//! MOVE, POISON nor WP_ASYNC. It also needs a C compiler's library to build, which these few requests do not.
//!
//! Three rules of the kernel shape everything above this file:
//! * Every install says how much it did, also when it fails: the count is signed, and negative means an error.
//! * While an event (fork, mremap, madvise, munmap) is unread, every install fails with `EAGAIN`.
//! * A fault that has been read is not told again, unless the range is woken and the thread faults again.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::template::pages::PAGE;

const API: u64 = 0xaa;
/// `_IOWR(UFFDIO, number, size)`
const fn both(number: u64, size: usize) -> u64 {
    (3 << 30) | ((size as u64) << 16) | (API << 8) | number
}
/// `_IOR(UFFDIO, number, size)`
const fn out(number: u64, size: usize) -> u64 {
    (2 << 30) | ((size as u64) << 16) | (API << 8) | number
}

const IOCTL_API: u64 = both(0x3f, size_of::<[u64; 3]>());
/// `USERFAULTFD_IOC_NEW`, of the device.
const IOCTL_NEW: u64 = API << 8;
/// Registers a range; for a program that makes the call without this file, too.
pub(crate) const IOCTL_REGISTER: u64 = both(0x00, size_of::<[u64; 4]>());
const IOCTL_UNREGISTER: u64 = out(0x01, size_of::<[u64; 2]>());
const IOCTL_WAKE: u64 = out(0x02, size_of::<[u64; 2]>());
const IOCTL_COPY: u64 = both(0x03, size_of::<[u64; 5]>());
const IOCTL_ZEROPAGE: u64 = both(0x04, size_of::<[u64; 4]>());
const IOCTL_MOVE: u64 = both(0x05, size_of::<[u64; 5]>());
const IOCTL_WRITEPROTECT: u64 = both(0x06, size_of::<[u64; 3]>());
const IOCTL_CONTINUE: u64 = both(0x07, size_of::<[u64; 4]>());
const IOCTL_POISON: u64 = both(0x08, size_of::<[u64; 4]>());

/// The lowest address a process can map, by the kernel's usual setting: nothing of ours is ever there.
const PROBE_ADDRESS: u64 = 0x1_0000;

/// What the descriptor tells beyond missing pages. Bits of the kernel's `UFFD_FEATURE_…`.
pub mod feature {
    /// A fork makes a descriptor for the child.
    pub const EVENT_FORK: u64 = 1 << 1;
    /// `mremap` is told.
    pub const EVENT_REMAP: u64 = 1 << 2;
    /// `madvise` with `DONTNEED` or `REMOVE` is told.
    pub const EVENT_REMOVE: u64 = 1 << 3;
    /// Missing pages of shared memory.
    pub const MISSING_SHMEM: u64 = 1 << 5;
    /// `munmap` is told.
    pub const EVENT_UNMAP: u64 = 1 << 6;
    /// Pages that the file has and the process has not.
    pub const MINOR_SHMEM: u64 = 1 << 10;
    /// Write protection of pages that are not there yet.
    pub const WP_UNPOPULATED: u64 = 1 << 13;
    /// Pages that kill who touches them.
    pub const POISON: u64 = 1 << 14;
    /// The kernel lifts write protection itself and remembers.
    pub const WP_ASYNC: u64 = 1 << 15;
    /// Pages can be moved within a process.
    pub const MOVE: u64 = 1 << 16;

    /// What the page server needs of a descriptor that is handed to it. `EVENT_FORK` asks for `CAP_SYS_PTRACE`
    /// in whoever agrees on it.
    pub const SERVED: u64 =
        EVENT_FORK | EVENT_REMAP | EVENT_REMOVE | EVENT_UNMAP | MISSING_SHMEM | MINOR_SHMEM | POISON;
    /// The same on kernels before 6.6. A forked child that has to be ended is then ended with its parent.
    pub const SERVED_BEFORE_POISON: u64 = SERVED & !POISON;

    /// What is needed to know which pages a process touches and which of them it writes.
    pub const WATCHED: u64 =
        EVENT_FORK | EVENT_REMAP | EVENT_REMOVE | EVENT_UNMAP | WP_ASYNC | WP_UNPOPULATED;
}

/// Which faults of a range are told. Bits of the kernel's `UFFDIO_REGISTER_MODE_…`.
pub mod track {
    /// A page that is not there.
    pub const MISSING: u64 = 1 << 0;
    /// A write to a protected page.
    pub const WRITE_PROTECT: u64 = 1 << 1;
    /// A page that the file has.
    pub const MINOR: u64 = 1 << 2;
}

/// Install without waking who waits. For every install of this module.
pub const DONT_WAKE: u64 = 1;
/// Install protected from writes. For [`Uffd::copy`].
pub const PROTECTED: u64 = 2;

/// Why an install did not do all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// `EAGAIN`: an event waits to be read, or a later page stopped it; read events, then go on.
    Again,
    /// `EEXIST`: the page is there already.
    Exists,
    /// `ENOENT`: the range is not registered any more.
    Unregistered,
    /// `ESRCH`: the process, or the memory it had, is gone.
    Gone,
    /// `EFAULT`: the page to be copied cannot be read, or the page to be mapped is not in the file.
    Source,
    /// Anything else, such as `ENOMEM`.
    Other(Errno),
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::AGAIN => Self::Again,
            Errno::EXIST => Self::Exists,
            Errno::NOENT => Self::Unregistered,
            Errno::SRCH => Self::Gone,
            Errno::FAULT => Self::Source,
            errno => Self::Other(errno),
        }
    }
}

/// What an install did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Installed {
    /// Pages that are in place now because of this call.
    pub pages: usize,
    /// Why there are no more; `None` when all are in place.
    pub stop: Option<Stop>,
}

/// What happened in a process.
#[derive(Debug)]
pub enum Event {
    /// A thread waits for a page.
    Fault {
        /// Start of the page.
        address: u64,
        /// It wants to write.
        write: bool,
        /// The file has the page.
        minor: bool,
    },
    /// The process has forked; the child's faults come from this descriptor.
    Fork(Uffd),
    /// A range has moved.
    Remap {
        /// Where it was.
        from: u64,
        /// Where it is.
        to: u64,
        /// Bytes.
        length: u64,
    },
    /// The pages of a range are about to be dropped: zeros from now on.
    Remove {
        /// First byte.
        start: u64,
        /// Behind the last byte.
        end: u64,
    },
    /// A range is not mapped any more.
    Unmap {
        /// First byte.
        start: u64,
        /// Behind the last byte.
        end: u64,
    },
}

/// As the kernel writes them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Message {
    event: u8,
    reserved: [u8; 7],
    argument: [u64; 3],
}

/// Room for events that are read at once; made once, used for every read.
#[derive(Debug)]
pub struct Events {
    room: [MaybeUninit<Message>; Self::MOST],
    filled: usize,
}

impl Events {
    /// Events that one read takes.
    pub const MOST: usize = 32;

    /// Empty room.
    #[must_use]
    pub fn new() -> Self {
        Self { room: [const { MaybeUninit::uninit() }; Self::MOST], filled: 0 }
    }

    /// How many were read last.
    #[must_use]
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Whether nothing was there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    fn message(&self, at: usize) -> Message {
        assert!(at < self.filled);
        // SAFETY: the kernel has filled the first `filled` messages in whole.
        unsafe { self.room[at].assume_init() }
    }

    /// The fault at this place, if it is one: address of the page, write, minor.
    #[must_use]
    pub fn fault(&self, at: usize) -> Option<(u64, bool, bool)> {
        let message = self.message(at);
        let [flags, address, _] = message.argument;
        (message.event == 0x12).then_some((address & !(PAGE as u64 - 1), flags & 1 != 0, flags & 4 != 0))
    }

    /// Takes the event at this place; a fork's descriptor can be taken once. `None` for what is not known.
    pub fn take(&mut self, at: usize) -> Option<Event> {
        let message = self.message(at);
        let [first, second, third] = message.argument;
        match message.event {
            0x12 => {
                let (address, write, minor) = self.fault(at)?;
                Some(Event::Fault { address, write, minor })
            }
            0x13 => {
                self.room[at].write(Message { event: 0, ..message });
                // SAFETY: the kernel has made this descriptor for the reader of the event, which is taken once.
                let fd = unsafe { OwnedFd::from_raw_fd(first as u32 as i32) };
                Some(Event::Fork(Uffd(fd)))
            }
            0x14 => Some(Event::Remap { from: first, to: second, length: third }),
            0x15 => Some(Event::Remove { start: first, end: second }),
            0x16 => Some(Event::Unmap { start: first, end: second }),
            _ => None,
        }
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

/// A descriptor for the faults of one process.
#[derive(Debug)]
pub struct Uffd(OwnedFd);

impl Uffd {
    /// A descriptor for this process, with these features. Never blocks: a blocking one cannot be polled.
    ///
    /// # Errors
    /// Without the permission, or where the kernel lacks a feature (`EINVAL`).
    pub fn open(features: u64) -> io::Result<Self> {
        let make = |flags: i32| {
            // SAFETY: takes flags by value and makes a descriptor.
            let fd =
                unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK | flags) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the system call has just made it.
            Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
        };
        let user_mode_only = 1;
        Self(make(0).or_else(|_| make(user_mode_only))?).agreed(features)
    }

    /// The same by `/dev/userfaultfd`, which no privilege is needed for; of what a page server needs, on older kernels
    /// what they have.
    ///
    /// # Errors
    /// As [`Uffd::open`].
    pub fn open_by(device: impl AsFd, features: u64) -> io::Result<Self> {
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
        // SAFETY: takes flags by value and makes a descriptor.
        let fd = unsafe { libc::ioctl(device.as_fd().as_raw_fd(), IOCTL_NEW as libc::Ioctl, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the device has just made it.
        Self(unsafe { OwnedFd::from_raw_fd(fd) }).agreed(features)
    }

    fn agreed(self, features: u64) -> io::Result<Self> {
        match self.call(IOCTL_API, &mut [API, features, 0]) {
            // A feature that the kernel does not know: nothing is agreed on then, and one may ask for less.
            Err(Errno::INVAL) if features == feature::SERVED => {
                self.call(IOCTL_API, &mut [API, feature::SERVED_BEFORE_POISON, 0])?;
            }
            agreed => agreed?,
        }
        Ok(self)
    }

    /// Agrees on these features with the kernel, for a descriptor that was made without.
    ///
    /// # Errors
    /// Where the kernel lacks one, or features were agreed on already (`EINVAL`).
    pub fn agree(&self, features: u64) -> io::Result<()> {
        Ok(self.call(IOCTL_API, &mut [API, features, 0])?)
    }

    /// A descriptor that somebody has made and agreed on.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// A second reference. While one is open, who faults waits; when the last is closed, missing pages read as
    /// zeros.
    ///
    /// # Errors
    /// Without free descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Asks for the faults of a range.
    ///
    /// # Errors
    /// If it is not mapped, or its kind of memory does not have these faults.
    pub fn register(&self, address: u64, length: u64, modes: u64) -> io::Result<()> {
        Ok(self.call(IOCTL_REGISTER, &mut [address, length, modes, 0])?)
    }

    /// Gives a range back: what is missing reads as zeros.
    ///
    /// # Errors
    /// If it is not mapped.
    pub fn unregister(&self, address: u64, length: u64) -> io::Result<()> {
        Ok(self.call(IOCTL_UNREGISTER, &mut [address, length])?)
    }

    /// Lets who waits in a range try again.
    ///
    /// # Errors
    /// If the range is none.
    pub fn wake(&self, address: u64, length: u64) -> io::Result<()> {
        Ok(self.call(IOCTL_WAKE, &mut [address, length])?)
    }

    /// Copies pages to `to`.
    pub fn copy(&self, to: u64, pages: &[[u8; PAGE]], mode: u64) -> Installed {
        let length = size_of_val(pages) as u64;
        self.install(IOCTL_COPY, &mut [to, pages.as_ptr() as u64, length, mode, 0], pages.len())
    }

    /// Maps the page of zeros.
    pub fn zero(&self, to: u64, pages: usize, mode: u64) -> Installed {
        self.install(IOCTL_ZEROPAGE, &mut [to, (pages * PAGE) as u64, mode, 0], pages)
    }

    /// Maps pages that the file behind the range has.
    pub fn resume(&self, to: u64, pages: usize, mode: u64) -> Installed {
        self.install(IOCTL_CONTINUE, &mut [to, (pages * PAGE) as u64, mode, 0], pages)
    }

    /// Moves pages of the same process.
    pub fn relocate(&self, to: u64, from: u64, pages: usize) -> Installed {
        self.install(IOCTL_MOVE, &mut [to, from, (pages * PAGE) as u64, 0, 0], pages)
    }

    /// Makes missing pages kill who touches them (`SIGBUS`).
    pub fn poison(&self, to: u64, pages: usize) -> Installed {
        self.install(IOCTL_POISON, &mut [to, (pages * PAGE) as u64, 0, 0], pages)
    }

    /// Protects a range from writes, or lifts that.
    ///
    /// # Errors
    /// If it is not registered for it; `EAGAIN` while an event is unread.
    pub fn protect(&self, address: u64, length: u64, on: bool) -> io::Result<()> {
        Ok(self.call(IOCTL_WRITEPROTECT, &mut [address, length, u64::from(on)])?)
    }

    /// Whether the memory behind the descriptor is gone. The descriptor itself never says so.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.state() == Some(Stop::Gone)
    }

    /// How it answers to a request for an address at which nothing is mapped: a living process with
    /// [`Stop::Unregistered`] or, while an event is unread, [`Stop::Again`]; a dead one with [`Stop::Gone`]; what
    /// is no userfaultfd with something else.
    #[must_use]
    pub fn state(&self) -> Option<Stop> {
        self.resume(PROBE_ADDRESS, 1, 0).stop
    }

    /// Reads what has happened since, as far as there is room.
    ///
    /// # Errors
    /// As `read`; nothing to read is no error.
    pub fn read(&self, into: &mut Events) -> rustix::io::Result<()> {
        into.filled = 0;
        // SAFETY: the room is valid for writes of its size, and only as much is trusted as the kernel has filled.
        let got =
            unsafe { libc::read(self.0.as_raw_fd(), into.room.as_mut_ptr().cast(), size_of_val(&into.room)) };
        if got < 0 {
            return match last_errno() {
                Errno::AGAIN | Errno::INTR => Ok(()),
                errno => Err(errno),
            };
        }
        into.filled = got as usize / size_of::<Message>();
        Ok(())
    }

    /// The last number of every install's argument is the count of bytes done, or an error as a negative number.
    fn install<const N: usize>(&self, request: u64, argument: &mut [u64; N], pages: usize) -> Installed {
        match self.call(request, argument) {
            Ok(()) => Installed { pages, stop: None },
            Err(errno) => {
                let done = argument[N - 1] as i64;
                if done > 0 {
                    return Installed { pages: done as usize / PAGE, stop: Some(Stop::Again) };
                }
                let errno = if done < 0 { Errno::from_raw_os_error(-done as i32) } else { errno };
                Installed { pages: 0, stop: Some(errno.into()) }
            }
        }
    }

    fn call<const N: usize>(&self, request: u64, argument: &mut [u64; N]) -> rustix::io::Result<()> {
        debug_assert_eq!((request >> 16) & 0x3fff, size_of::<[u64; N]>() as u64);
        // SAFETY: the argument has the size that the request carries and is valid for the call. Memory that the
        // requests change belongs to the process that the descriptor was made for, which asked for it.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), request as _, argument.as_mut_ptr()) };
        if result < 0 { Err(last_errno()) } else { Ok(()) }
    }
}

impl AsFd for Uffd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Uffd> for OwnedFd {
    fn from(uffd: Uffd) -> Self {
        uffd.0
    }
}

fn last_errno() -> Errno {
    Errno::from_raw_os_error(io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::skip_without;
    use crate::pager::memory::Mapping;

    const PAGES: usize = 8;

    fn arena(features: u64, modes: u64) -> (Uffd, Mapping) {
        let uffd = Uffd::open(features).unwrap();
        let arena = Mapping::anonymous(PAGES * PAGE).unwrap();
        uffd.register(arena.address(), arena.length(), modes).unwrap();
        (uffd, arena)
    }

    #[test]
    fn requests_are_the_kernels() {
        let requests = [IOCTL_UNREGISTER, IOCTL_WAKE, IOCTL_MOVE, IOCTL_WRITEPROTECT, IOCTL_POISON];
        assert_eq!(requests, [0x8010_aa01, 0x8010_aa02, 0xc028_aa05, 0xc018_aa06, 0xc020_aa08]);
    }

    #[test]
    fn a_copy_that_meets_a_page_says_how_far_it_came_and_why_it_stopped() {
        if skip_without(&["userfaultfd"]) {
            return;
        }
        let (uffd, arena) = arena(0, track::MISSING);
        let at = |page: u64| arena.address() + page * PAGE as u64;
        let source = [[7; PAGE]; PAGES];
        assert_eq!(uffd.copy(at(3), &source[..1], 0), Installed { pages: 1, stop: None });
        assert_eq!(uffd.copy(at(0), &source, 0), Installed { pages: 3, stop: Some(Stop::Again) });
        assert_eq!(uffd.copy(at(3), &source[..2], 0), Installed { pages: 0, stop: Some(Stop::Exists) });
        assert_eq!(uffd.zero(at(4), 2, 0), Installed { pages: 2, stop: None });
        assert_eq!(arena.bytes()[3 * PAGE], 7);
        assert_eq!(arena.bytes()[4 * PAGE], 0);
        assert_eq!(uffd.copy(PROBE_ADDRESS, &source[..1], 0).stop, Some(Stop::Unregistered));
        assert!(!uffd.is_gone());
    }

    #[test]
    fn pages_move_within_the_process() {
        if skip_without(&["userfaultfd"]) {
            return;
        }
        let Ok(uffd) = Uffd::open(feature::MOVE) else {
            return crate::doctor::skip("this kernel cannot move pages by userfaultfd (Linux 6.8 or later)");
        };
        let arena = Mapping::anonymous(PAGES * PAGE).unwrap();
        let mut from = Mapping::anonymous(PAGES * PAGE).unwrap();
        from.bytes_mut().fill(9);
        uffd.register(arena.address(), arena.length(), track::MISSING).unwrap();
        assert_eq!(uffd.relocate(arena.address(), from.address(), 2), Installed { pages: 2, stop: None });
        assert_eq!(arena.bytes()[2 * PAGE - 1], 9);
        assert_eq!(from.bytes()[0], 0);
    }

    #[test]
    fn written_pages_are_told_by_the_kernel_alone() {
        if skip_without(&["userfaultfd"]) {
            return;
        }
        let Ok(uffd) = Uffd::open(feature::WP_ASYNC | feature::WP_UNPOPULATED) else {
            return crate::doctor::skip(
                "this kernel has no asynchronous write protection (Linux 6.7 or later)",
            );
        };
        let mut arena = Mapping::anonymous(PAGES * PAGE).unwrap();
        uffd.register(arena.address(), arena.length(), track::WRITE_PROTECT).unwrap();
        uffd.protect(arena.address(), arena.length(), true).unwrap();
        arena.bytes_mut()[PAGE] = 1;
        let mut events = Events::new();
        uffd.read(&mut events).unwrap();
        assert!(events.is_empty());
        // Bit 57 of an entry of the page map: the page is write-protected.
        let map = std::fs::File::open("/proc/self/pagemap").unwrap();
        let mut entries = [0; 16];
        std::os::unix::fs::FileExt::read_exact_at(&map, &mut entries, arena.address() / PAGE as u64 * 8)
            .unwrap();
        let protected = entries.as_chunks::<8>().0.iter().map(|entry| u64::from_le_bytes(*entry) >> 57 & 1);
        assert_eq!(protected.collect::<Vec<_>>(), [1, 0]);
    }

    #[test]
    fn a_dead_process_is_gone() {
        if skip_without(&["userfaultfd"]) {
            return;
        }
        let (ours, theirs) = crate::sandbox::wire::pair().unwrap();
        let mut child = crate::pager::lab::fork(&[theirs.as_fd()], |channel| {
            let uffd = Uffd::open(0).map_err(|error| error.to_string())?;
            crate::sandbox::wire::send(&channel[0], &1, &[uffd.as_fd()]).map_err(|error| error.to_string())
        })
        .unwrap();
        drop(theirs);
        let (_, mut fds) = crate::sandbox::wire::receive::<u8>(&ours).unwrap().unwrap();
        let uffd = Uffd::from_fd(fds.remove(0));
        assert!(child.wait().success());
        assert!(uffd.is_gone());
        assert_eq!(uffd.copy(PROBE_ADDRESS, &[[0; PAGE]], 0).stop, Some(Stop::Gone));
    }
}
