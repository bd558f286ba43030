//! Brings the pages of a process one by one, and knows which it has touched and which it has written.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::pager::layout::{Layout, Origin};
use crate::pager::memory::{Mapping, ZEROS};
use crate::pager::pagemap::take_written;
use crate::pager::uffd::{Event, Events, PROTECTED, Stop, Uffd};
use crate::sandbox::wire;
use crate::template::Template;
use crate::template::attach::{HandOver, Server};
use crate::template::pages::PAGE;

/// What a process did between two looks, by page of the template.
#[derive(Debug, Default)]
pub(super) struct Lap {
    /// Touched for the first time.
    pub(super) touched: BTreeSet<u64>,
    /// Written.
    pub(super) written: BTreeSet<u64>,
}

/// Serves one process, and what it forks, until it is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    socket: OwnedFd,
    device: File,
    state: Arc<Mutex<State>>,
    /// Closed to end the thread.
    end: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    pages: Mapping,
    /// By process, as they came: the first is the one that is watched.
    layouts: Vec<Layout>,
    touched: u64,
    lap: Lap,
    failed: Option<String>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    /// For a process of this template.
    pub(super) fn start(template: &Template) -> io::Result<Self> {
        let pages = File::open(template.folder().join(crate::template::pages::PAGES))?;
        let length = pages.metadata()?.len() as usize;
        let state = State {
            pages: Mapping::file(&pages, length)?,
            layouts: Vec::new(),
            touched: 0,
            lap: Lap::default(),
            failed: None,
        };
        let state = Arc::new(Mutex::new(state));
        let (socket, theirs) = wire::pair()?;
        let (ended, end) = io::pipe()?;
        let device = File::options().read(true).write(true).open("/dev/userfaultfd")?;
        let for_thread = Arc::clone(&state);
        let thread = std::thread::Builder::new().name("page watcher".into()).spawn(move || {
            if let Err(error) = serve(&theirs, &ended, &for_thread) {
                lock(&for_thread).failed = Some(error.to_string());
            }
        })?;
        Ok(Self { socket, device, state, end: Some(end), thread: Some(thread) })
    }

    /// What the process is started with.
    pub(super) fn server(&self) -> Server<'_> {
        Server { socket: self.socket.as_fd(), device: self.device.as_fd(), cache: None }
    }

    /// Pages that were touched so far.
    pub(super) fn touched(&self) -> u64 {
        lock(&self.state).touched
    }

    /// What the process has done since the last look.
    pub(super) fn lap(&self, pid: i32) -> io::Result<Lap> {
        let mut state = lock(&self.state);
        if let Some(failed) = &state.failed {
            return Err(io::Error::other(failed.clone()));
        }
        let mut lap = std::mem::take(&mut state.lap);
        let pagemap = File::open(format!("/proc/{pid}/pagemap"))?;
        let Some(layout) = state.layouts.first() else { return Ok(lap) };
        for (start, pages) in layout.ranges() {
            let written = take_written(&pagemap, start, start + pages * PAGE as u64)?;
            lap.written.extend(written.into_iter().filter_map(|address| page(layout, address)));
        }
        Ok(lap)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The page of the template that belongs at an address.
fn page(layout: &Layout, address: u64) -> Option<u64> {
    match layout.run(address, 1).0 {
        Origin::Page(page) => Some(page),
        Origin::Zero => None,
    }
}

/// A fault that waits for an event to be read first.
struct Late {
    process: usize,
    address: u64,
    write: bool,
}

fn serve(socket: &OwnedFd, end: &PipeReader, state: &Mutex<State>) -> io::Result<()> {
    let mut uffds: Vec<Uffd> = Vec::new();
    let mut events = Events::new();
    let mut late: Vec<Late> = Vec::new();
    let soon = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    loop {
        let mut watched = vec![PollFd::new(end, PollFlags::IN)];
        // One process hands itself over; its descriptors tell everything else.
        match uffds.is_empty() {
            true => watched.push(PollFd::new(socket, PollFlags::IN)),
            false => watched.extend(uffds.iter().map(|uffd| PollFd::new(uffd, PollFlags::IN))),
        }
        match poll(&mut watched, (!late.is_empty()).then_some(&soon)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if !watched[0].revents().is_empty() {
            return Ok(());
        }
        let ready: Vec<bool> = watched[1..].iter().map(|fd| fd.revents().contains(PollFlags::IN)).collect();
        let mut state = lock(state);
        if uffds.is_empty() {
            if ready[0] {
                uffds.push(accept(socket, &mut state)?);
            }
            continue;
        }
        let mut faults = std::mem::take(&mut late);
        for (process, _) in ready.iter().enumerate().filter(|(_, ready)| **ready) {
            uffds[process].read(&mut events)?;
            for at in 0..events.len() {
                match events.take(at) {
                    Some(Event::Fault { address, write, .. }) => {
                        faults.push(Late { process, address, write });
                    }
                    Some(Event::Fork(child)) => {
                        uffds.push(child);
                        let copy = state.layouts[process].clone();
                        state.layouts.push(copy);
                    }
                    Some(Event::Remap { from, to, length }) => state.layouts[process].remap(from, to, length),
                    Some(Event::Remove { start, end }) => state.layouts[process].remove(start, end),
                    Some(Event::Unmap { start, end }) => state.layouts[process].unmap(start, end),
                    None => {}
                }
            }
        }
        for fault in faults {
            if !state.bring(&uffds[fault.process], &fault)? {
                late.push(fault);
            }
        }
    }
}

/// Takes the process that hands itself over, and lets it go on.
fn accept(socket: &OwnedFd, state: &mut State) -> io::Result<Uffd> {
    let Some((asked, mut files)) = wire::receive::<HandOver>(socket)? else {
        return Err(io::Error::other("the process has ended before it asked for its pages"));
    };
    let faults = files.pop().ok_or_else(|| io::Error::other("no userfaultfd came with its request"))?;
    let regions: Vec<crate::pager::Region> = asked
        .regions
        .iter()
        .map(|region| (region.address, region.length, region.first_page).into())
        .collect();
    let layout = Layout::new(&regions, state.pages.length() / PAGE as u64).map_err(io::Error::other)?;
    state.layouts.push(layout);
    rustix::io::write(socket, &[1])?;
    Ok(Uffd::from_fd(faults))
}

impl State {
    /// Installs the page of a fault; `false` if an event must be read first.
    fn bring(&mut self, uffd: &Uffd, fault: &Late) -> io::Result<bool> {
        let page = page(&self.layouts[fault.process], fault.address);
        let bytes = page.map_or(&ZEROS, |page| &self.pages.pages()[page as usize]);
        match uffd.copy(fault.address, std::slice::from_ref(bytes), PROTECTED).stop {
            Some(Stop::Again) => return Ok(false),
            Some(Stop::Other(errno)) => return Err(errno.into()),
            // Another thread's fault brought it, or nobody wants it any more: who waits looks again.
            Some(_) => drop(uffd.wake(fault.address, PAGE as u64)),
            None => {}
        }
        if let (Some(page), 0) = (page, fault.process) {
            self.touched += u64::from(self.lap.touched.insert(page));
            if fault.write {
                self.lap.written.insert(page);
            }
        }
        Ok(true)
    }
}
