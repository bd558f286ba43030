//! Guest memory that comes when it is touched: the VMM maps an empty file, and its page faults are served from a page
//! source through userfaultfd.
//!
//! The descriptor must be of the VMM's own address space. It has no right to make one, so it is born with
//! `/dev/userfaultfd` open, and is made to ask it, as the template engine makes processes do system calls; then the
//! descriptor is taken out and the VMM keeps none. Pages are copied in, so they are the VM's own: a template's pages
//! that are served are not shared, as those that are mapped are.
//!
//! What a clone touches up to its first reply is recorded once and installed before the next ones run: REAP's way
//! (Ustiugov et al., ASPLOS 2021).

use std::fs::File;
use std::io::{self, PipeWriter};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::Error;
use super::machine::descriptor;
use super::remote::Remote;
use crate::pager::memory::{Page, PageBuffer};
use crate::pager::source::delayed::{Delay, Delayed};
use crate::pager::source::{PageSource, SourceError, check_range};
use crate::pager::uffd::{Events, Stop, Uffd, feature, track};
use crate::pager::working_set::{Recorder, WorkingSet};
use crate::template::pages::PAGE;

/// Pages that one fault brings, of an aligned run: the middle of what was measured to pay off for functions (16 to 64).
const BATCH: u64 = 16;
/// Pages that are read and installed at once beforehand.
const AHEAD: u64 = 64;
/// Pages between two of a working set that come along.
const GAP: u64 = 0;

/// How a guest's memory is served.
#[derive(Clone, Debug)]
pub struct Lazily {
    /// Installed before the guest runs.
    pub working_set: Option<Arc<WorkingSet>>,
    /// Fetch single pages, and remember them in the order of their faults.
    pub record: bool,
    /// A stated latency of the source.
    pub latency: Option<Duration>,
}

/// What was served so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Pages that were installed before the guest ran.
    pub prefetched: u64,
    /// Faults.
    pub faults: u64,
    /// Pages that faults brought, without those of zeros.
    pub pages: u64,
    /// Pages that were touched, in order; only where they are recorded.
    pub touched: Option<WorkingSet>,
}

/// A template's memory as a page source.
#[derive(Debug)]
pub(super) struct GuestPages {
    memory: File,
    pages: u64,
}

impl GuestPages {
    pub(super) fn new(memory: File, bytes: u64) -> Self {
        Self { memory, pages: bytes / PAGE as u64 }
    }
}

impl PageSource for GuestPages {
    fn name(&self) -> &str {
        "guest memory"
    }

    fn pages(&self) -> u64 {
        self.pages
    }

    fn is_trusted(&self) -> bool {
        // The file is sealed, and was compared with its manifest when it was loaded.
        true
    }

    fn read(&self, first: u64, into: &mut [Page]) -> Result<(), SourceError> {
        check_range(first, into.len(), self.pages)?;
        let read = self.memory.read_exact_at(into.as_flattened_mut(), first * PAGE as u64);
        read.map_err(SourceError::io("read the template's memory"))
    }
}

/// Serves one VMM's guest memory until it is dropped. The VMM must be gone by then: it would read zeros.
#[derive(Debug)]
pub(super) struct Server {
    end: Option<PipeWriter>,
    thread: Option<JoinHandle<io::Result<Served>>>,
    /// A second reference, so that nobody reads zeros if the thread fails.
    _uffd: Uffd,
}

impl Server {
    /// Takes over the faults of the VMM `pid`, which has `memory`, an empty file, mapped, and does not run its guest yet.
    pub(super) fn start(
        pid: u32,
        memory: &File,
        source: Arc<dyn PageSource>,
        how: &Lazily,
    ) -> Result<Self, Error> {
        let at = |step: &str| Error::at(step.to_owned());
        let source: Arc<dyn PageSource> = match how.latency {
            Some(latency) => Arc::new(Delayed::new(source, Delay::latency(latency))),
            None => source,
        };
        let mut vmm = Remote::hold(pid)?;
        let (begin, length) = vmm.mapping(memory).map_err(at("find the guest's memory in the VMM"))?;
        let uffd = take_descriptor(&mut vmm)?;
        drop(vmm);
        uffd.agree(feature::MISSING_SHMEM).map_err(at("agree on userfaultfd"))?;
        uffd.register(begin, length, track::MISSING).map_err(at("register the guest's memory"))?;
        // What was touched before nobody would fill in.
        let there = memory.metadata().map_err(at("look at the guest's memory"))?.blocks();
        if there != 0 {
            let why =
                format!("the VMM has touched {} KiB of guest memory before it could be served", there / 2);
            return Err(at("serve the guest's memory")(io::Error::other(why)));
        }
        let mut serving = Serving {
            uffd: uffd.try_clone().map_err(at("hold the userfaultfd"))?,
            begin,
            pages: length / PAGE as u64,
            source,
            room: PageBuffer::new(AHEAD as usize).map_err(at("make room for pages"))?,
            recorder: how.record.then(|| Recorder::new(length / PAGE as u64)),
            served: Served::default(),
        };
        if let Some(set) = &how.working_set {
            serving.prefetch(set).map_err(at("install the working set"))?;
        }
        let (ended, end) = io::pipe().map_err(at("make a pipe"))?;
        let process = rustix::process::pidfd_open(
            rustix::process::Pid::from_raw(pid.cast_signed())
                .ok_or_else(|| at("find the VMM")(io::ErrorKind::NotFound.into()))?,
            rustix::process::PidfdFlags::empty(),
        );
        let process = process.map_err(|errno| at("hold the VMM")(errno.into()))?;
        let thread = std::thread::Builder::new().name("guest memory".into()).spawn(move || {
            let served = serving.until(ended.as_fd());
            if served.is_err() {
                // It would wait for ever.
                let _ = rustix::process::pidfd_send_signal(&process, rustix::process::Signal::KILL);
            }
            served
        });
        Ok(Self { end: Some(end), thread: Some(thread.map_err(at("start a thread"))?), _uffd: uffd })
    }

    /// Ends it: what was served.
    pub(super) fn finish(mut self) -> Result<Served, Error> {
        drop(self.end.take());
        let thread = self.thread.take().expect("it is ended once");
        thread.join().expect("it does not panic").map_err(Error::at("serve the guest's memory"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Serving {
    uffd: Uffd,
    begin: u64,
    pages: u64,
    source: Arc<dyn PageSource>,
    room: PageBuffer,
    recorder: Option<Recorder>,
    served: Served,
}

impl Serving {
    fn prefetch(&mut self, set: &WorkingSet) -> io::Result<()> {
        for (mut first, count) in set.regions(GAP) {
            let end = first + count;
            while first < end {
                let some = AHEAD.min(end - first);
                self.install(first, some)?;
                self.served.prefetched += some;
                first += some;
            }
        }
        Ok(())
    }

    /// Serves faults until the other end of `ended` is closed.
    fn until(mut self, ended: BorrowedFd<'_>) -> io::Result<Served> {
        let mut events = Events::new();
        loop {
            let uffd = self.uffd.try_clone()?;
            let mut entries =
                [PollFd::new(&uffd, PollFlags::IN), PollFd::from_borrowed_fd(ended, PollFlags::IN)];
            match poll(&mut entries, None) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
                Ok(_) if !entries[1].revents().is_empty() => break,
                Ok(_) => {}
            }
            self.uffd.read(&mut events)?;
            for nth in 0..events.len() {
                let Some((address, _, _)) = events.fault(nth) else { continue };
                self.served.faults += 1;
                let page = (address - self.begin) / PAGE as u64;
                let (first, count) = match &mut self.recorder {
                    Some(recorder) => {
                        recorder.add(page);
                        (page, 1)
                    }
                    None => {
                        let first = page / BATCH * BATCH;
                        (first, BATCH.min(self.pages - first))
                    }
                };
                self.served.pages += self.install(first, count)?;
                // Whoever waits for a page that was there already was not woken by its installation.
                self.uffd.wake(address, PAGE as u64)?;
            }
        }
        self.served.touched = self.recorder.map(Recorder::finish);
        Ok(self.served)
    }

    /// Brings a run of pages, as far as they are not there; how many are not zeros.
    fn install(&mut self, first: u64, count: u64) -> io::Result<u64> {
        let into = &mut self.room.pages_mut()[..count as usize];
        self.source.read(first, into).map_err(io::Error::other)?;
        let pages = &self.room.pages()[..count as usize];
        let is_zero = |page: &Page| page.iter().all(|byte| *byte == 0);
        let (mut at, mut brought) = (0, 0);
        while at < pages.len() {
            let zero = is_zero(&pages[at]);
            let run = pages[at..].iter().take_while(|page| is_zero(page) == zero).count();
            let to = self.begin + (first + at as u64) * PAGE as u64;
            let done =
                if zero { self.uffd.zero(to, run, 0) } else { self.uffd.copy(to, &pages[at..at + run], 0) };
            if !zero {
                brought += done.pages as u64;
            }
            at += done.pages;
            match done.stop {
                None | Some(Stop::Again) => {}
                Some(Stop::Exists) => at += 1,
                // The VMM has ended: nobody waits.
                Some(Stop::Gone | Stop::Unregistered) => return Ok(brought),
                Some(stop) => return Err(io::Error::other(format!("pages cannot be installed: {stop:?}"))),
            }
        }
        Ok(brought)
    }
}

/// Makes the VMM ask its userfaultfd device for a descriptor, and takes that out. It keeps neither.
fn take_descriptor(vmm: &mut Remote) -> Result<Uffd, Error> {
    /// `USERFAULTFD_IOC_NEW`
    const NEW: u64 = 0xaa00;
    let device = descriptor::FAULTS as u64;
    let flags = (libc::O_CLOEXEC | libc::O_NONBLOCK) as u64;
    let made = vmm.call("make a userfaultfd in the VMM", libc::SYS_ioctl, &[device, NEW, flags])?;
    let taken = take_out(vmm.pid(), made as i32).map_err(Error::at("take the userfaultfd out of the VMM"));
    for descriptor in [made as u64, device] {
        vmm.call("close a descriptor in the VMM", libc::SYS_close, &[descriptor])?;
    }
    Ok(Uffd::from_fd(taken?))
}

/// A copy of another process's descriptor.
fn take_out(pid: i32, descriptor: i32) -> io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
    let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    // SAFETY: numbers by value; the call makes a descriptor.
    let taken = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), descriptor, 0) };
    if taken < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made it, and nobody else has its number.
    Ok(unsafe { OwnedFd::from_raw_fd(taken as i32) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::memory;

    #[test]
    fn pages_of_a_template_are_read_by_number() {
        let file = memory::file("test", 8 * PAGE as u64).unwrap();
        file.write_all_at(&[7; PAGE], 5 * PAGE as u64).unwrap();
        let source = GuestPages::new(file, 8 * PAGE as u64);
        let mut room = PageBuffer::new(3).unwrap();
        source.read(4, room.pages_mut()).unwrap();
        let first: Vec<u8> = room.pages().iter().map(|page| page[0]).collect();
        assert_eq!(first, [0, 7, 0]);
        assert!(source.read(6, room.pages_mut()).is_err(), "beyond its end");
    }
}
