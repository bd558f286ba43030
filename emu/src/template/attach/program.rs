//! A template's program: everything that its new process does to become it, as one image that is mapped at a
//! place that the template does not use.
//!
//! It is made once for a template and is the same for every process, but for a few places that the carrier
//! fills in ([`Places`]). The table of page hashes is not needed for it, and nothing in it grows with the number of
//! pages: an area is one entry however large it is.

use libc::{c_long, c_ulong};
use serde::{Deserialize, Serialize};

use super::frame;
use super::interpreter::{ANYTHING, ARRIVE, EQUALS, FORKS, RETURN, STORE, SUCCEEDS, WAIT, code};
use super::report;
use crate::template::manifest::{Area, AreaKind, Manifest, Run, Thread, Way, from_hex};
use crate::template::pages::PAGE;

/// First address that user programs cannot have.
const END_OF_MEMORY: u64 = 0x7fff_ffff_f000;
/// Places that are tried for the image: far from where programs, heaps, libraries and stacks lie.
const FIRST_PLACE: u64 = 0x1000_0000_0000;
const NEXT_PLACE: u64 = 0x10_0000_0000;
/// Room that the image takes with everything that passes through its place.
const ROOM: u64 = 64 << 20;
/// Room for the kernel's own pages on their way, at the end of it.
const STAGING: u64 = 1 << 20;
/// Most that a filter for system calls has: instructions.
const FILTER: usize = 4096;

const PR_SET_MM: u64 = 35;
const PR_SET_MM_MAP: u64 = 14;
const ARCH_SET_GS: u64 = 0x1001;
const ARCH_SET_FS: u64 = 0x1002;

/// How pages of areas with [`Way::Attach`] become reachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backing {
    /// Private mappings of the file of pages: a page that is read is shared, one that is written is copied.
    Map,
    /// Copied into memory of the process's own before it runs: exact in every respect, and as dear as it is large.
    Copy,
    /// Memory of its own that a page server fills when it is touched.
    Fault,
    /// Private mappings of the server's cache, which it fills when a page is touched first by anybody.
    FaultShared,
}

impl Backing {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Copy => "copy",
            Self::Fault => "fault",
            Self::FaultShared => "fault-shared",
        }
    }

    /// Whether a page server takes part.
    #[must_use]
    pub fn is_served(self) -> bool {
        matches!(self, Self::Fault | Self::FaultShared)
    }
}

/// Addresses whose pages a page server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// First address.
    pub address: u64,
    /// Bytes.
    pub length: u64,
    /// Number in the file of pages of the first of them.
    pub first_page: u64,
    /// How they are installed.
    pub kind: RegionKind,
}

/// How a page server installs pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegionKind {
    /// By a copy for this process.
    Private,
    /// In the cache, at the page's place; then mapped.
    Shared,
}

/// What is sent to a page server, beside the descriptor of the userfaultfd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// Ascending, and without overlap.
    pub regions: Vec<Region>,
}

/// Numbers that the carrier gives its descriptors: above those of the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Numbers {
    pub(super) first: i32,
}

impl Numbers {
    /// Numbers for purposes; mapped files follow them.
    const FILES: i32 = 16;

    pub(super) fn status(self) -> i32 {
        self.first
    }
    pub(super) fn pages(self) -> i32 {
        self.first + 1
    }
    pub(super) fn faults(self) -> i32 {
        self.first + 2
    }
    pub(super) fn server(self) -> i32 {
        self.first + 3
    }
    pub(super) fn program(self) -> i32 {
        self.first + 4
    }
    pub(super) fn channel(self) -> i32 {
        self.first + 5
    }
    pub(super) fn log(self) -> i32 {
        self.first + 6
    }
    pub(super) fn executable(self) -> i32 {
        self.first + 7
    }
    pub(super) fn file(self, nth: usize) -> i32 {
        self.first + Self::FILES + nth as i32
    }
}

/// Where the carrier fills in what only it knows: addresses in the image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Places {
    /// Where its own page of the kernel (of this offset from its vdso) is written.
    pub(super) kernel: Vec<(u64, i64)>,
    /// Entries that give up capabilities: become nothing where the function keeps them.
    pub(super) drops: Vec<u64>,
    /// The entry that installs the filter: becomes nothing where there is none.
    pub(super) seal: u64,
    /// `struct sock_fprog`, and room for its instructions.
    pub(super) filter: (u64, u64),
    /// The report.
    pub(super) report: u64,
    /// The first entry.
    pub(super) first: u64,
}

/// A program that can be attached.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// Where the image must be mapped: the code first, the rest from the second page on.
    pub(super) at: u64,
    /// The image.
    pub(super) image: Vec<u8>,
    pub(super) places: Places,
    pub(super) numbers: Numbers,
    /// Paths of mapped files, in the order of their descriptors, and whether they are written.
    pub(super) files: Vec<(String, bool)>,
    /// What each entry is for, by its address.
    labels: Vec<(u64, String)>,
    /// What a page server must have.
    pub(super) regions: Vec<Region>,
}

impl Program {
    /// What the entry at `address` was for.
    pub(super) fn label(&self, address: u64) -> &str {
        let found = self.labels.iter().find(|(at, _)| *at == address);
        found.map_or("an unknown entry", |(_, label)| label)
    }

    /// Makes the program of a template.
    ///
    /// # Errors
    /// A text of what in the template is not as it must be.
    pub(super) fn new(manifest: &Manifest, backing: Backing) -> Result<Self, String> {
        Builder::new(manifest, backing)?.build()
    }
}

/// One entry.
struct Entry {
    call: u32,
    check: u32,
    arguments: [u64; 6],
    value: u64,
    label: String,
}

struct Builder<'a> {
    manifest: &'a Manifest,
    backing: Backing,
    at: u64,
    image: Vec<u8>,
    numbers: Numbers,
    places: Places,
    files: Vec<(String, bool)>,
    table: Vec<Entry>,
    labels: Vec<(u64, String)>,
    regions: Vec<Region>,
    /// Places of the kernel's pages in entries of the main table: entry, argument, offset from the vdso.
    kernel: Vec<(usize, usize, i64)>,
    ready: u64,
    go: u64,
}

impl<'a> Builder<'a> {
    fn new(manifest: &'a Manifest, backing: Backing) -> Result<Self, String> {
        let at = place(&manifest.areas).ok_or("no room in its address space")?;
        let highest = manifest.descriptors.iter().map(|descriptor| descriptor.number).max().unwrap_or(2);
        let mut image = code().to_vec();
        if image.is_empty() {
            return Err("templates are attached on x86-64 only".into());
        }
        image.resize(PAGE, 0);
        let mut builder = Self {
            manifest,
            backing,
            at,
            image,
            // Above what the carrier is given, too.
            numbers: Numbers { first: (highest + 1).max(32) },
            places: Places::default(),
            files: Vec::new(),
            table: Vec::new(),
            labels: Vec::new(),
            regions: Vec::new(),
            kernel: Vec::new(),
            ready: 0,
            go: 0,
        };
        // Words of their own line.
        builder.ready = builder.put(&[0; 64]);
        builder.go = builder.put(&[0; 64]);
        Ok(builder)
    }

    fn build(mut self) -> Result<Program, String> {
        self.places.report = self.put(&[0; report::LENGTH]);
        let filter = self.put(&vec![0; FILTER * 8]);
        let fprog = self.put(&[0_u64, filter].map(u64::to_le_bytes).concat());
        self.places.filter = (fprog, filter);
        let threads = &self.manifest.threads;
        let main = threads.first().ok_or("it has no thread")?;
        let others: Vec<u64> =
            threads[1..].iter().map(|thread| self.thread(thread)).collect::<Result<_, _>>()?;

        self.clear();
        self.moment(0, "note the time");
        self.map()?;
        if self.backing.is_served() {
            self.hand_over()?;
        }
        self.moment(1, "note the time");
        self.process(main)?;
        self.own(main)?;
        for (thread, table) in threads[1..].iter().zip(others) {
            self.clone(thread, table);
        }
        self.wait_for_threads(threads.len() as u64 - 1);
        self.moment(2, "note the time");
        self.seal(threads.len() as u64 - 1)?;
        self.leave(main)?;
        let first = self.place_table();
        self.places.first = first;
        let kernel = std::mem::take(&mut self.kernel);
        self.places.kernel = kernel
            .iter()
            .map(|(entry, argument, offset)| (first + *entry as u64 * 64 + 8 + *argument as u64 * 8, *offset))
            .collect();
        if self.image.len() as u64 > ROOM - STAGING {
            return Err(format!(
                "its program takes {} bytes and has room for {}",
                self.image.len(),
                ROOM - STAGING
            ));
        }
        self.image.resize(self.image.len().next_multiple_of(PAGE), 0);
        Ok(Program {
            at: self.at,
            image: self.image,
            places: self.places,
            numbers: self.numbers,
            files: self.files,
            labels: self.labels,
            regions: self.regions,
        })
    }

    /// Puts bytes into the image, at a multiple of 64; their address.
    fn put(&mut self, bytes: &[u8]) -> u64 {
        self.image.resize(self.image.len().next_multiple_of(64), 0);
        let address = self.at + self.image.len() as u64;
        self.image.extend_from_slice(bytes);
        address
    }

    fn put_hex(&mut self, text: &str) -> Result<u64, String> {
        let bytes = from_hex(text).ok_or("bytes in it are no hexadecimal digits")?;
        Ok(self.put(&bytes))
    }

    fn entry(&mut self, call: u32, check: u32, arguments: &[u64], value: u64, label: impl Into<String>) {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        self.table.push(Entry { call, check, arguments: all, value, label: label.into() });
    }

    fn call(&mut self, call: c_long, arguments: &[u64], label: impl Into<String>) {
        self.entry(call as u32, SUCCEEDS, arguments, 0, label);
    }

    /// Puts the entries so far into the image; the address of the first.
    fn place_table(&mut self) -> u64 {
        let table = std::mem::take(&mut self.table);
        let address = self.put(&[]);
        for (nth, entry) in table.into_iter().enumerate() {
            let at = address + nth as u64 * 64;
            self.image.extend_from_slice(&entry.call.to_le_bytes());
            self.image.extend_from_slice(&entry.check.to_le_bytes());
            for word in entry.arguments.iter().chain([&entry.value]) {
                self.image.extend_from_slice(&word.to_le_bytes());
            }
            if entry.call == libc::SYS_capset as u32 {
                self.places.drops.push(at);
            }
            if entry.call == libc::SYS_seccomp as u32 {
                self.places.seal = at;
            }
            self.labels.push((at, entry.label));
        }
        address
    }

    fn moment(&mut self, nth: u64, label: &str) {
        let at = self.places.report + report::FIRST_MOMENT + nth * 16;
        self.call(libc::SYS_clock_gettime, &[libc::CLOCK_MONOTONIC as u64, at], label);
    }

    /// Takes away everything that the carrier has, but for the image; the kernel's own pages go through staging.
    fn clear(&mut self) {
        let (at, end) = (self.at, self.at + ROOM);
        self.call(libc::SYS_munmap, &[0, at], "take away the memory below");
        let kernel = kernel_pages(&self.manifest.areas);
        let moved = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
        for (offset, area) in &kernel {
            let (bytes, staging) = (area.end - area.start, staging(end, *offset));
            self.kernel.push((self.table.len(), 0, *offset));
            let label = format!("take {} out of the way", name(area));
            self.call(libc::SYS_mremap, &[0, bytes, bytes, moved, staging], label);
        }
        self.call(libc::SYS_munmap, &[end, END_OF_MEMORY - end], "take away the memory above");
        for (offset, area) in &kernel {
            let bytes = area.end - area.start;
            let label = format!("move {} to {:x}", name(area), area.start);
            self.call(libc::SYS_mremap, &[staging(end, *offset), bytes, bytes, moved, area.start], label);
        }
    }

    fn map(&mut self) -> Result<(), String> {
        for area in &self.manifest.areas {
            let protection = u64::from(area.protection);
            let bytes = area.end - area.start;
            let covers =
                area.runs.first().is_some_and(|run| run.start == area.start && run.end() == area.end);
            match &area.kind {
                AreaKind::Kernel { .. } => continue,
                AreaKind::Anonymous { grows_down, no_reserve } => {
                    if !(covers && self.is_mapped(area)) {
                        let mut flags = libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_ANONYMOUS;
                        flags |= if *grows_down { libc::MAP_GROWSDOWN } else { 0 };
                        flags |= if *no_reserve { libc::MAP_NORESERVE } else { 0 };
                        self.mmap(area.start, bytes, protection, flags, -1, 0, "memory");
                    }
                }
                AreaKind::File { path, offset, shared, writes } => {
                    let flags = libc::MAP_FIXED | if *shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
                    let number = self.file(path, *writes);
                    if !covers || *shared {
                        self.mmap(area.start, bytes, protection, flags, number, *offset, path);
                    }
                }
            }
            for run in &area.runs {
                self.run(area, run)?;
            }
        }
        // Of neighbours at once: a call for each costs as much as mapping them.
        for (advice, start, end) in advised(&self.manifest.areas) {
            let label = format!("advise {advice} for {start:x}");
            self.call(libc::SYS_madvise, &[start, end - start, u64::from(advice)], label);
        }
        Ok(())
    }

    /// Whether pages of an area come as a mapping of a file.
    fn is_mapped(&self, area: &Area) -> bool {
        match self.backing {
            Backing::Map | Backing::FaultShared => area.way == Way::Attach,
            Backing::Copy | Backing::Fault => false,
        }
    }

    fn run(&mut self, area: &Area, run: &Run) -> Result<(), String> {
        let protection = u64::from(area.protection);
        let (bytes, offset) = (run.bytes(), run.first_page * PAGE as u64);
        let private = libc::MAP_PRIVATE | libc::MAP_FIXED;
        let pages = self.numbers.pages();
        if self.is_mapped(area) {
            self.mmap(run.start, bytes, protection, private, pages, offset, "pages of the template");
        } else if self.backing == Backing::Map || self.backing == Backing::Copy {
            let is_file = matches!(area.kind, AreaKind::File { .. });
            if is_file && self.backing == Backing::Copy {
                self.mmap(run.start, bytes, protection, private | libc::MAP_ANONYMOUS, -1, 0, "memory");
                // Keeps it apart from memory beside it, so that the kernel counts its pages apart, too.
                let apart = [run.start, bytes, libc::MADV_DONTDUMP as u64];
                self.call(libc::SYS_madvise, &apart, format!("keep {:x} apart", run.start));
            }
            let writable = protection & libc::PROT_WRITE as u64 != 0;
            let protect = |protection: u64| [run.start, bytes, protection];
            if !writable {
                let open = protect((libc::PROT_READ | libc::PROT_WRITE) as u64);
                self.call(libc::SYS_mprotect, &open, format!("open {:x}", run.start));
            }
            let arguments = [pages as u64, run.start, bytes, offset];
            self.entry(libc::SYS_pread64 as u32, EQUALS, &arguments, bytes, format!("fill {:x}", run.start));
            if !writable {
                self.call(libc::SYS_mprotect, &protect(protection), format!("close {:x}", run.start));
            }
        } else if matches!(area.kind, AreaKind::File { .. }) {
            let flags = private | libc::MAP_ANONYMOUS;
            self.mmap(run.start, bytes, protection, flags, -1, 0, "memory that is served");
        }
        if self.backing.is_served() {
            let kind = if self.is_mapped(area) { RegionKind::Shared } else { RegionKind::Private };
            let region = Region { address: run.start, length: bytes, first_page: run.first_page, kind };
            self.regions.push(region);
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "mmap has as many")]
    fn mmap(&mut self, at: u64, bytes: u64, protection: u64, flags: i32, fd: i32, offset: u64, what: &str) {
        let label = format!("map {what} at {at:x}, {bytes} bytes from {offset:x}");
        let arguments = [at, bytes, protection, flags as u64, i64::from(fd) as u64, offset];
        self.entry(libc::SYS_mmap as u32, EQUALS, &arguments, at, label);
    }

    fn file(&mut self, path: &str, writes: bool) -> i32 {
        let known = self.files.iter().position(|known| known.0 == path && known.1 == writes);
        let nth = known.unwrap_or_else(|| {
            self.files.push((path.to_owned(), writes));
            self.files.len() - 1
        });
        self.numbers.file(nth)
    }

    /// Registers what is served, sends the userfaultfd to the server and waits for its word.
    fn hand_over(&mut self) -> Result<(), String> {
        const UFFDIO_REGISTER: u64 = 0xc020_aa00;
        const MISSING: u64 = 1;
        const MINOR: u64 = 4;
        self.regions.sort_by_key(|region| region.address);
        let regions = self.regions.clone();
        let faults = self.numbers.faults() as u64;
        for region in &regions {
            let mode = match region.kind {
                RegionKind::Private => MISSING,
                RegionKind::Shared => MISSING | MINOR,
            };
            let request = self.put(&[region.address, region.length, mode, 0].map(u64::to_le_bytes).concat());
            let label = format!("register {:x}, {} bytes", region.address, region.length);
            self.call(libc::SYS_ioctl, &[faults, UFFDIO_REGISTER, request], label);
        }
        let text = serde_json::to_vec(&HandOver { regions }).map_err(|error| error.to_string())?;
        let length = text.len() as u64;
        let text = self.put(&text);
        let vector = self.put(&[text, length].map(u64::to_le_bytes).concat());
        // One descriptor: length 20, SOL_SOCKET, SCM_RIGHTS, its number.
        let mut beside = 20_u64.to_le_bytes().to_vec();
        for word in [libc::SOL_SOCKET, libc::SCM_RIGHTS, self.numbers.faults(), 0] {
            beside.extend_from_slice(&word.to_le_bytes());
        }
        let beside_length = beside.len() as u64;
        let beside = self.put(&beside);
        let message = self.put(&[0, 0, vector, 1, beside, beside_length, 0].map(u64::to_le_bytes).concat());
        let server = self.numbers.server() as u64;
        let arguments = [server, message, libc::MSG_NOSIGNAL as u64];
        self.entry(libc::SYS_sendmsg as u32, EQUALS, &arguments, length, "hand over to the page server");
        let word = self.put(&[0; 8]);
        let arguments = [server, word, 1];
        self.entry(libc::SYS_read as u32, EQUALS, &arguments, 1, "wait for the page server's word");
        Ok(())
    }

    /// What belongs to the whole process.
    fn process(&mut self, main: &Thread) -> Result<(), String> {
        let process = &self.manifest.process;
        if process.personality != 0 {
            self.call(libc::SYS_personality, &[u64::from(process.personality)], "set the personality");
        }
        let auxiliary =
            from_hex(&process.auxiliary).ok_or("its auxiliary vector is no hexadecimal digits")?;
        let auxiliary_length = auxiliary.len() as u64;
        let auxiliary = self.put(&auxiliary);
        let m = &process.memory;
        let executable = self.numbers.executable() as u64;
        let words = [
            m.start_code,
            m.end_code,
            m.start_data,
            m.end_data,
            m.start_brk,
            m.brk,
            m.start_stack,
            m.arg_start,
            m.arg_end,
            m.env_start,
            m.env_end,
            auxiliary,
            auxiliary_length | executable << 32,
        ];
        let map = self.put(&words.map(u64::to_le_bytes).concat());
        let length = (words.len() * 8) as u64;
        self.call(
            libc::SYS_prctl,
            &[PR_SET_MM, PR_SET_MM_MAP, map, length],
            "tell the kernel where things are",
        );
        for action in &process.actions {
            let words = [action.handler, action.flags, action.restorer, action.mask];
            let place = self.put(&words.map(u64::to_le_bytes).concat());
            let label = format!("set the action of signal {}", action.signal);
            self.call(libc::SYS_rt_sigaction, &[u64::from(action.signal), place, 0, 8], label);
        }
        self.call(libc::SYS_set_tid_address, &[main.clear_on_end], "set what is cleared at its end");
        let base = main.registers.fs_base;
        self.call(libc::SYS_arch_prctl, &[ARCH_SET_FS, base], "set the base of thread-local memory");
        Ok(())
    }

    /// What each thread does for itself.
    fn own(&mut self, thread: &Thread) -> Result<(), String> {
        let (head, length) = thread.robust_list;
        if head != 0 {
            self.call(libc::SYS_set_robust_list, &[head, length], "set the list of robust futexes");
        }
        let (rseq, length, signature) = thread.rseq;
        if rseq != 0 {
            let arguments = [rseq, u64::from(length), 0, u64::from(signature)];
            self.call(libc::SYS_rseq, &arguments, "register restartable sequences");
        }
        if thread.registers.gs_base != 0 {
            self.call(libc::SYS_arch_prctl, &[ARCH_SET_GS, thread.registers.gs_base], "set the second base");
        }
        let name = self.put(&[thread.name.as_bytes(), &[0; 16]].concat());
        self.call(libc::SYS_prctl, &[libc::PR_SET_NAME as u64, name], "set the name");
        let process = self.manifest.threads[0].number as u64;
        for information in &thread.pending {
            let place = self.put_hex(information)?;
            let signal = u64::from_str_radix(&information[..2], 16).map_err(|error| error.to_string())?;
            let arguments = [process, thread.number as u64, signal, place];
            self.call(libc::SYS_rt_tgsigqueueinfo, &arguments, format!("queue signal {signal}"));
        }
        Ok(())
    }

    /// The program of a thread: the address of its table.
    fn thread(&mut self, thread: &Thread) -> Result<u64, String> {
        let main = std::mem::take(&mut self.table);
        self.own(thread)?;
        self.drop_capabilities();
        self.entry(ARRIVE, SUCCEEDS, &[self.ready], 0, "arrive");
        self.wake(self.ready, "tell that it has arrived");
        self.entry(WAIT, SUCCEEDS, &[self.go, 1], 0, "wait for the others");
        self.resume(thread)?;
        let table = self.place_table();
        self.table = main;
        Ok(table)
    }

    fn wake(&mut self, word: u64, label: &str) {
        let wake = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as u64;
        self.call(libc::SYS_futex, &[word, wake, i32::MAX as u64], label);
    }

    fn drop_capabilities(&mut self) {
        // Version 3, this thread; no capability in either set.
        let head = self.put(&[0x2008_0522_u32, 0].map(u32::to_le_bytes).concat());
        let none = self.put(&[0; 24]);
        self.call(libc::SYS_capset, &[head, none], "give up capabilities");
    }

    fn clone(&mut self, thread: &Thread, table: u64) {
        let mut flags = libc::CLONE_VM
            | libc::CLONE_FS
            | libc::CLONE_FILES
            | libc::CLONE_SIGHAND
            | libc::CLONE_THREAD
            | libc::CLONE_SYSVSEM
            | libc::CLONE_SETTLS;
        if thread.clear_on_end != 0 {
            flags |= libc::CLONE_CHILD_CLEARTID;
        }
        let number = self.put(&thread.number.to_le_bytes());
        let words = [flags as u64, 0, thread.clear_on_end, 0, 0, 0, 0, thread.registers.fs_base, number, 1];
        let arguments = self.put(&words.map(u64::to_le_bytes).concat());
        let label = format!("make thread {} ({})", thread.number, thread.name);
        self.entry(libc::SYS_clone3 as u32, FORKS, &[arguments, (words.len() * 8) as u64], table, label);
    }

    fn wait_for_threads(&mut self, count: u64) {
        if count > 0 {
            self.entry(WAIT, SUCCEEDS, &[self.ready, count], 0, "wait for the threads");
        }
    }

    /// Gives up what functions may not have; from here on the process is as confined as an executed one.
    fn seal(&mut self, others: u64) -> Result<(), String> {
        self.drop_capabilities();
        let all_threads = if others > 0 { libc::SECCOMP_FILTER_FLAG_TSYNC } else { 0 } as c_ulong;
        let arguments = [u64::from(libc::SECCOMP_SET_MODE_FILTER), all_threads, self.places.filter.0];
        // With threads, the result is the number of one that could not follow.
        self.entry(libc::SYS_seccomp as u32, EQUALS, &arguments, 0, "install the filter");
        for information in &self.manifest.process.pending {
            let place = self.put_hex(information)?;
            let signal = u64::from_str_radix(&information[..2], 16).map_err(|error| error.to_string())?;
            let arguments = [self.manifest.threads[0].number as u64, signal, place];
            self.call(libc::SYS_rt_sigqueueinfo, &arguments, format!("queue signal {signal}"));
        }
        for timer in &self.manifest.process.timers {
            let parts = |us: u64| [us / 1_000_000, us % 1_000_000];
            let words = [parts(timer.interval_us), parts(timer.value_us)].concat();
            let place = self.put(&words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>());
            self.call(libc::SYS_setitimer, &[u64::from(timer.which), place, 0], "start a timer");
        }
        Ok(())
    }

    /// Says that the process runs, closes what was the carrier's, lets the threads go.
    fn leave(&mut self, main: &Thread) -> Result<(), String> {
        self.moment(3, "note the time");
        let length = report::LENGTH as u64;
        let arguments = [self.numbers.status() as u64, self.places.report, length];
        self.entry(libc::SYS_write as u32, EQUALS, &arguments, length, "say that it runs");
        let first = self.numbers.first as u64;
        self.call(libc::SYS_close_range, &[first, u64::from(u32::MAX), 0], "close the carrier's descriptors");
        self.entry(STORE, SUCCEEDS, &[self.go, 1], 0, "let the threads go");
        self.wake(self.go, "wake the threads");
        self.resume(main)
    }

    /// Becomes the thread.
    fn resume(&mut self, thread: &Thread) -> Result<(), String> {
        let extended = from_hex(&thread.extended).ok_or("its registers are no hexadecimal digits")?;
        if extended.len() < 576 {
            return Err(format!(
                "thread {} has {} bytes of extended registers",
                thread.number,
                extended.len()
            ));
        }
        let address = self.put(&vec![0; frame::length(extended.len())]);
        let frame = frame::build(address, thread, &extended, self.manifest.machine.features);
        let offset = (address - self.at) as usize;
        self.image[offset..offset + frame.len()].copy_from_slice(&frame);
        self.entry(RETURN, ANYTHING, &[frame::stack(address)], 0, "go on");
        Ok(())
    }
}

/// Where a page of the kernel waits: after the image, in the order in which the kernel has them.
fn staging(end: u64, offset: i64) -> u64 {
    // The data pages lie below the vdso, at most half of the room away.
    (end - STAGING / 2).wrapping_add_signed(offset)
}

fn name(area: &Area) -> &str {
    match &area.kind {
        AreaKind::Kernel { name } => name,
        _ => "",
    }
}

/// The kernel's own pages, with their offset from the vdso.
fn kernel_pages(areas: &[Area]) -> Vec<(i64, &Area)> {
    let vdso = areas.iter().find(|area| name(area) == "[vdso]").map_or(0, |area| area.start);
    let own = areas.iter().filter(|area| matches!(area.kind, AreaKind::Kernel { .. }));
    own.map(|area| (area.start.wrapping_sub(vdso) as i64, area)).collect()
}

/// Ranges of neighbours that were advised the same.
fn advised(areas: &[Area]) -> Vec<(u32, u64, u64)> {
    let mut kinds: Vec<u32> = areas.iter().flat_map(|area| area.advice.iter().copied()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let mut ranges: Vec<(u32, u64, u64)> = Vec::new();
    for advice in kinds {
        for area in areas.iter().filter(|area| area.advice.contains(&advice)) {
            match ranges.last_mut() {
                Some((last, _, end)) if *last == advice && *end == area.start => *end = area.end,
                _ => ranges.push((advice, area.start, area.end)),
            }
        }
    }
    ranges
}

/// A place that no area comes near.
fn place(areas: &[Area]) -> Option<u64> {
    let mut places = (0..0x400).map(|nth| FIRST_PLACE + nth * NEXT_PLACE);
    places.find(|at| areas.iter().all(|area| area.end <= at - ROOM || area.start >= at + 2 * ROOM))
}
