//! A page server for tests: the smallest that keeps to the rules of userfaultfd. Serves from the file of pages.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use emu::template::Template;
use emu::template::attach::{HandOver, Region, RegionKind, Server};

const PAGE: u64 = 4096;
const UFFDIO_COPY: libc::c_ulong = 0xc028_aa03;
const UFFDIO_ZEROPAGE: libc::c_ulong = 0xc020_aa04;
const UFFDIO_CONTINUE: libc::c_ulong = 0xc020_aa07;
const UFFDIO_WAKE: libc::c_ulong = 0x8010_aa02;

/// Serves one process after another until it is dropped.
pub struct PageServer {
    socket: OwnedFd,
    device: OwnedFd,
    cache: Option<OwnedFd>,
    end: Arc<AtomicBool>,
    /// Pages installed.
    pub served: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl PageServer {
    /// Of a template; `shared`: with a cache that all processes share.
    pub fn start(template: &Template, shared: bool) -> Self {
        let pages = template.open_pages().unwrap();
        let cache = shared.then(|| {
            let cache = rustix::fs::memfd_create("cache", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
            rustix::fs::ftruncate(&cache, pages.metadata().unwrap().len()).unwrap();
            cache
        });
        let (socket, theirs) = emu::sandbox::wire::pair().unwrap();
        let device = File::options().read(true).write(true).open("/dev/userfaultfd").unwrap().into();
        let (end, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut state = State {
            pages,
            cache: cache.as_ref().map(|cache| File::from(cache.try_clone().unwrap())),
            filled: BTreeSet::new(),
            processes: Vec::new(),
            served: Arc::clone(&served),
        };
        let until = Arc::clone(&end);
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                state.once(&theirs);
            }
        });
        Self { socket, device, cache, end, served, thread: Some(thread) }
    }

    pub fn server(&self) -> Server<'_> {
        Server {
            socket: self.socket.as_fd(),
            device: self.device.as_fd(),
            cache: self.cache.as_ref().map(AsFd::as_fd),
        }
    }
}

impl Drop for PageServer {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct State {
    pages: File,
    cache: Option<File>,
    filled: BTreeSet<u64>,
    processes: Vec<Process>,
    served: Arc<AtomicU64>,
}

struct Process {
    faults: OwnedFd,
    regions: Vec<Region>,
    /// Pages that the program has given up: zeros from then on.
    dropped: BTreeSet<u64>,
}

fn wait(descriptors: &[BorrowedFd<'_>]) -> Vec<bool> {
    let mut polled: Vec<libc::pollfd> = descriptors
        .iter()
        .map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    // SAFETY: a list of this length.
    unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as u64, 20) };
    polled.iter().map(|polled| polled.revents & libc::POLLIN != 0).collect()
}

impl State {
    fn once(&mut self, socket: &OwnedFd) {
        let mut watched = vec![socket.as_fd()];
        watched.extend(self.processes.iter().map(|process| process.faults.as_fd()));
        let ready = wait(&watched);
        if ready[0]
            && let Ok(Some((message, mut descriptors))) = emu::sandbox::wire::receive::<HandOver>(socket)
        {
            let faults = descriptors.remove(0);
            self.processes.push(Process { faults, regions: message.regions, dropped: BTreeSet::new() });
            rustix::io::write(socket, b"!").unwrap();
        }
        for nth in 0..ready.len() - 1 {
            while ready[nth + 1] && self.event(nth) {}
        }
    }

    /// Serves one event; whether there was one.
    fn event(&mut self, nth: usize) -> bool {
        let mut message = [0_u8; 32];
        if rustix::io::read(&self.processes[nth].faults, &mut message) != Ok(32) {
            return false;
        }
        let word = |at: usize| u64::from_le_bytes(message[at..at + 8].try_into().unwrap());
        match message[0] {
            0x12 => self.fault(nth, word(16) & !(PAGE - 1)),
            0x13 => {
                // SAFETY: the kernel has put a new descriptor of ours there.
                let faults = unsafe { OwnedFd::from_raw_fd(word(8) as i32) };
                let process = &self.processes[nth];
                let (regions, dropped) = (process.regions.clone(), process.dropped.clone());
                self.processes.push(Process { faults, regions, dropped });
            }
            0x14 => self.processes[nth].moved(word(8), word(16), word(24)),
            0x15 | 0x16 => {
                let process = &mut self.processes[nth];
                process.dropped.extend((word(8)..word(16)).step_by(PAGE as usize));
            }
            other => panic!("event {other:#x}"),
        }
        true
    }

    fn fault(&mut self, nth: usize, address: u64) {
        let process = &self.processes[nth];
        let region = process.regions.iter().find(|r| (r.address..r.address + r.length).contains(&address));
        let region = region.filter(|_| !process.dropped.contains(&address)).copied();
        self.served.fetch_add(1, Ordering::Relaxed);
        let ask = |request: libc::c_ulong, words: &mut [u64]| {
            // SAFETY: the kernel's structures, which are words.
            let done = unsafe { libc::ioctl(process.faults.as_raw_fd(), request, words.as_mut_ptr()) };
            let error = std::io::Error::last_os_error();
            if done < 0 && error.raw_os_error() == Some(libc::EEXIST) {
                let mut range = [address, PAGE];
                // SAFETY: as above.
                unsafe { libc::ioctl(process.faults.as_raw_fd(), UFFDIO_WAKE, range.as_mut_ptr()) };
            }
            // An event that must be read first (EAGAIN): the thread faults again. A process that is gone (ESRCH).
            done == 0 || !matches!(error.raw_os_error(), Some(libc::EAGAIN))
        };
        let done = match region {
            None => ask(UFFDIO_ZEROPAGE, &mut [address, PAGE, 0, 0]),
            Some(region) => {
                let page = region.first_page + (address - region.address) / PAGE;
                let mut bytes = [0_u8; PAGE as usize];
                self.pages.read_exact_at(&mut bytes, page * PAGE).unwrap();
                if region.kind == RegionKind::Shared {
                    let cache = self.cache.as_ref().unwrap();
                    if self.filled.insert(page) {
                        cache.write_all_at(&bytes, page * PAGE).unwrap();
                    }
                    ask(UFFDIO_CONTINUE, &mut [address, PAGE, 0, 0])
                } else {
                    ask(UFFDIO_COPY, &mut [address, bytes.as_ptr() as u64, PAGE, 0, 0])
                }
            }
        };
        if !done {
            // Read the event that is in the way, and try again.
            while !self.event(nth) {}
            self.fault(nth, address);
        }
    }
}

impl Process {
    /// Pages of `from` are now at `to`.
    fn moved(&mut self, from: u64, to: u64, length: u64) {
        let mut pieces = Vec::new();
        for region in &self.regions {
            let start = region.address.max(from);
            let end = (region.address + region.length).min(from + length);
            if start < end {
                let first_page = region.first_page + (start - region.address) / PAGE;
                pieces.push(Region {
                    address: to + (start - from),
                    length: end - start,
                    first_page,
                    ..*region
                });
            }
        }
        let gone: Vec<u64> =
            self.dropped.iter().copied().filter(|at| (from..from + length).contains(at)).collect();
        // What was at the new place is no more.
        let place = to..to + length;
        self.dropped.retain(|at| !place.contains(at));
        self.dropped.extend(gone.iter().map(|at| at - from + to));
        self.dropped.extend((from..from + length).step_by(PAGE as usize));
        self.regions.splice(0..0, pieces);
    }
}
