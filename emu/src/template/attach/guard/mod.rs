//! The guard of attached processes: makes memory that is mapped from a template behave as memory of one's own.
//!
//! Two calls would show the difference. Memory that is dropped (`MADV_DONTNEED`) must be zeros afterwards, and a
//! mapping of a file has the file's bytes again. Memory that grows (`mremap`) must end in zeros, and a mapping of a
//! file goes on with the file's next bytes. So the filter for system calls of a process with such mappings asks about
//! these calls where they touch addresses that came from the template, and a thread beside the manager answers:
//!
//! * Dropped pages of the template are overwritten with zeros: right, although they do not become free. Fresh memory
//!   in the same range is overwritten, too, where it is there. Dropped pages *of a file* would have the file's bytes
//!   again, which the guard cannot map: `EINVAL`, as for locked memory.
//! * Growing or moving memory of the template has no room (`ENOMEM`): whoever calls has a copy as its other way.
//! * Everything else goes its usual way.
//!
//! A process that calls neither never meets the guard. Children of the process are guarded as it is; what they
//! execute has no memory of a template. Without the manager nobody answers, and then sandboxes end, too.

pub(super) mod filter;

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};

use crate::template::manifest::{AreaKind, Manifest, Way};
use crate::template::pages::PAGE;

/// `MADV_DONTNEED_LOCKED`.
pub(super) const DONTNEED_LOCKED: u32 = 24;

/// What a guard knows of a template: stretches of its file of pages that lie over files, ascending.
#[derive(Debug)]
pub(super) struct Guard {
    over_files: Vec<(u64, u64)>,
}

/// Addresses that come as mappings of a template.
pub(super) fn ranges(manifest: &Manifest) -> Vec<(u64, u64)> {
    let mapped = manifest.areas.iter().filter(|area| area.way == Way::Attach);
    mapped.flat_map(|area| &area.runs).map(|run| (run.start, run.end())).collect()
}

impl Guard {
    pub(super) fn new(manifest: &Manifest) -> Arc<Self> {
        let files = manifest.areas.iter().filter(|area| matches!(area.kind, AreaKind::File { .. }));
        let runs = files.flat_map(|area| &area.runs);
        let mut over_files: Vec<(u64, u64)> =
            runs.map(|run| (run.first_page, run.first_page + run.pages)).collect();
        over_files.sort_unstable();
        Arc::new(Self { over_files })
    }

    /// Answers for a process and its children, until there are none. `pages` is what they have mapped.
    ///
    /// # Errors
    /// If there can be no thread for it.
    pub(super) fn watch(self: &Arc<Self>, listener: OwnedFd, pages: &File) -> io::Result<()> {
        let guard = Arc::clone(self);
        let pages = pages.metadata()?;
        let mapped = (pages.dev(), pages.ino());
        let thread = std::thread::Builder::new().name("trenvx-guard".into()).stack_size(256 << 10);
        thread.spawn(move || guard.answer_all(&listener, mapped)).map(drop)
    }

    fn answer_all(&self, listener: &OwnedFd, mapped: (u64, u64)) {
        loop {
            let mut watched = [PollFd::new(listener, PollFlags::IN)];
            match poll(&mut watched, None) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return,
                Ok(_) => {}
            }
            if !watched[0].revents().contains(PollFlags::IN) {
                // Nobody has the filter any more.
                return;
            }
            let mut asked = Notification::default();
            // SAFETY: room for what the kernel writes: its `struct seccomp_notif`, zeroed.
            if unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut asked) } < 0 {
                // Whoever asked has been killed or interrupted.
                continue;
            }
            let mut answer = Response { id: asked.id, ..Response::default() };
            let still = || {
                // SAFETY: reads a number.
                unsafe { libc::ioctl(listener.as_raw_fd(), IS_VALID, &raw const asked.id) == 0 }
            };
            match self.answer(&asked, mapped, still) {
                Ok(Answer::Usual) => answer.flags = CONTINUE,
                Ok(Answer::Done) => {}
                Ok(Answer::Refused(errno)) => answer.error = -errno,
                // What cannot be done right is not done.
                Err(error) => answer.error = -error.raw_os_error().unwrap_or(libc::EIO),
            }
            // SAFETY: reads the kernel's `struct seccomp_notif_resp`. An error means that nobody waits any more.
            unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw const answer) };
        }
    }

    fn answer(
        &self,
        asked: &Notification,
        mapped: (u64, u64),
        still: impl Fn() -> bool,
    ) -> io::Result<Answer> {
        let [start, length, third, flags, ..] = asked.arguments;
        let page = PAGE as u64;
        let length = length.checked_next_multiple_of(page).unwrap_or(u64::MAX);
        let end = start.saturating_add(length);
        let maps = Maps::open(asked.pid)?;
        let memory = Memory::open(asked.pid)?;
        if !still() {
            // The number may be somebody else's by now.
            return Ok(Answer::Usual);
        }
        let areas = maps.within(start, end)?;
        let is_template = |area: &Area| (area.device, area.inode) == mapped;
        if !areas.iter().any(is_template) {
            return Ok(Answer::Usual);
        }
        if i64::from(asked.call) == libc::SYS_mremap {
            const ELSEWHERE: u64 = (libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP) as u64;
            let stays = third.checked_next_multiple_of(page).is_some_and(|new| new <= length);
            return Ok(if stays && flags & ELSEWHERE == 0 {
                Answer::Usual
            } else {
                Answer::Refused(libc::ENOMEM)
            });
        }
        if !start.is_multiple_of(page) {
            return Ok(Answer::Refused(libc::EINVAL));
        }
        let is_other_file = |area: &Area| !is_template(area) && area.inode != 0 && !area.shared;
        if areas.iter().any(|area| is_other_file(area) || is_template(area) && self.is_over_file(area)) {
            return Ok(Answer::Refused(libc::EINVAL));
        }
        let pagemap = File::open(format!("/proc/{}/pagemap", asked.pid))?;
        let mut next = start;
        let mut complete = true;
        for area in &areas {
            complete &= area.start <= next;
            if is_template(area) {
                memory.zero(area.start, area.end)?;
            } else if !area.shared {
                memory.zero_what_is_there(&pagemap, area)?;
            }
            next = area.end;
        }
        // As the kernel has it: what is there has been dropped, and that there are gaps is told.
        Ok(if complete && next >= end { Answer::Done } else { Answer::Refused(libc::ENOMEM) })
    }

    /// Whether part of an area of the template lies where the process had a file.
    fn is_over_file(&self, area: &Area) -> bool {
        let first = area.offset / PAGE as u64;
        let end = first + (area.end - area.start) / PAGE as u64;
        let at = self.over_files.partition_point(|(_, last)| *last <= first);
        self.over_files.get(at).is_some_and(|(start, _)| *start < end)
    }
}

enum Answer {
    /// The kernel does what was asked.
    Usual,
    /// It has been done.
    Done,
    Refused(i32),
}

/// The memory of a process.
struct Memory {
    pid: i32,
    file: File,
}

impl Memory {
    fn open(pid: u32) -> io::Result<Self> {
        let file = File::options().write(true).open(format!("/proc/{pid}/mem"))?;
        Ok(Self { pid: pid as i32, file })
    }

    fn zero(&self, start: u64, end: u64) -> io::Result<()> {
        static ZEROS: [u8; 64 * PAGE] = [0; 64 * PAGE];
        let mut at = start;
        while at < end {
            let count = (end - at).min(ZEROS.len() as u64);
            match self.file.write_all_at(&ZEROS[..count as usize], at) {
                // A page that a server has to bring first: this way into memory does not wait for it.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => {
                    self.bring(at, count)?;
                    self.file.write_all_at(&ZEROS[..count as usize], at)?;
                }
                result => result?,
            }
            at += count;
        }
        Ok(())
    }

    /// Touches every page, which waits for a page server.
    fn bring(&self, start: u64, bytes: u64) -> io::Result<()> {
        for at in (start..start + bytes).step_by(PAGE) {
            let mut byte = 0_u8;
            let ours = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
            let theirs = libc::iovec { iov_base: at as *mut libc::c_void, iov_len: 1 };
            // SAFETY: room for one byte.
            let read =
                unsafe { libc::process_vm_readv(self.pid, &raw const ours, 1, &raw const theirs, 1, 0) };
            if read < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }

    fn zero_what_is_there(&self, pagemap: &File, area: &Area) -> io::Result<()> {
        let states = crate::template::capture::maps::states(pagemap, area.start, area.end)?;
        for (nth, _) in states.iter().enumerate().filter(|(_, state)| state.is_there()) {
            let at = area.start + (nth * PAGE) as u64;
            self.zero(at, at + PAGE as u64)?;
        }
        Ok(())
    }
}

/// A part of an address space that lies in a range, cut to it.
#[derive(Clone, Copy, Debug)]
struct Area {
    start: u64,
    end: u64,
    offset: u64,
    device: u64,
    inode: u64,
    shared: bool,
}

/// The mappings of a process.
struct Maps {
    pid: u32,
    file: File,
}

impl Maps {
    fn open(pid: u32) -> io::Result<Self> {
        Ok(Self { pid, file: File::open(format!("/proc/{pid}/maps"))? })
    }

    /// What lies in a range, ascending.
    fn within(&self, start: u64, end: u64) -> io::Result<Vec<Area>> {
        let mut found = Vec::new();
        let mut at = start;
        while at < end {
            let mut query = Query { size: size_of::<Query>() as u64, address: at, ..Query::default() };
            query.flags = COVERING_OR_NEXT;
            // SAFETY: the kernel's `struct procmap_query`, without room for names.
            if unsafe { libc::ioctl(self.file.as_raw_fd(), QUERY, &raw mut query) } < 0 {
                let error = io::Error::last_os_error();
                match error.raw_os_error() {
                    Some(libc::ENOENT) => break,
                    // Kernels before 6.11 have only the text.
                    Some(libc::ENOTTY) => return self.within_by_text(start, end),
                    _ => return Err(error),
                }
            }
            if query.start >= end {
                break;
            }
            let device = rustix::fs::makedev(query.device_major, query.device_minor);
            let shared = query.area_flags & SHARED != 0;
            let whole = Area {
                start: query.start,
                end: query.end,
                offset: query.offset,
                device,
                inode: query.inode,
                shared,
            };
            found.push(whole.cut(start, end));
            at = query.end;
        }
        Ok(found)
    }

    fn within_by_text(&self, start: u64, end: u64) -> io::Result<Vec<Area>> {
        let mappings = crate::template::capture::maps::read(self.pid as i32)?;
        let inside = mappings.iter().filter(|mapping| mapping.start < end && mapping.end > start);
        Ok(inside
            .map(|mapping| {
                let whole = Area {
                    start: mapping.start,
                    end: mapping.end,
                    offset: mapping.offset,
                    device: mapping.device,
                    inode: mapping.inode,
                    shared: mapping.shared,
                };
                whole.cut(start, end)
            })
            .collect())
    }
}

impl Area {
    fn cut(mut self, start: u64, end: u64) -> Self {
        if self.start < start {
            self.offset += start - self.start;
            self.start = start;
        }
        self.end = self.end.min(end);
        self
    }
}

const RECEIVE: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
const IS_VALID: libc::c_ulong = 0x4008_2102;
const QUERY: libc::c_ulong = 0xc068_6611;
/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`.
const CONTINUE: u32 = 1;
const COVERING_OR_NEXT: u64 = 0x10;
const SHARED: u64 = 8;

/// `struct seccomp_notif`.
#[repr(C)]
#[derive(Debug, Default)]
struct Notification {
    id: u64,
    pid: u32,
    flags: u32,
    call: i32,
    architecture: u32,
    instruction: u64,
    arguments: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
#[derive(Debug, Default)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// `struct procmap_query`.
#[repr(C)]
#[derive(Debug, Default)]
struct Query {
    size: u64,
    flags: u64,
    address: u64,
    start: u64,
    end: u64,
    area_flags: u64,
    page_size: u64,
    offset: u64,
    inode: u64,
    device_major: u32,
    device_minor: u32,
    name_size: u32,
    build_size: u32,
    name: u64,
    build: u64,
}

const _: () = assert!(size_of::<Notification>() == 80 && size_of::<Query>() == 104);
