//! A template's program: everything that its new process does to become it, as one image that is mapped at a
//! place that the template does not use.
//!
//! It is made once for a template and is the same for every process, but for a few places that the carrier
//! fills in ([`Places`]). The table of page hashes is not needed for it, and nothing in it grows with the number of
//! pages: an area is one entry however large it is.

mod memory;
mod threads;

use libc::c_long;
use serde::{Deserialize, Serialize};

use self::memory::place;
use super::backing::{Backing, Region};
use super::guard;
use super::interpreter::{SUCCEEDS, code};
use super::report;
use crate::sandbox::{GIVEN, MOST_GIVEN};
use crate::template::manifest::{Manifest, from_hex};
use crate::template::pages::PAGE;

/// Room that the image takes with everything that passes through its place.
const ROOM: u64 = 64 << 20;
/// Room for the kernel's own pages on their way, at the end of it.
const STAGING: u64 = 1 << 20;
/// Most that a filter for system calls has: instructions.
const FILTER: usize = 4096;

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
    /// Instructions of the guard that come before the filter's.
    pub(super) guard: u64,
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
    /// The number that the guard's listener gets, where there is a guard.
    listener: Option<i32>,
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
            numbers: Numbers { first: (highest + 1).max(GIVEN + MOST_GIVEN as i32) },
            places: Places::default(),
            files: Vec::new(),
            table: Vec::new(),
            labels: Vec::new(),
            regions: Vec::new(),
            kernel: Vec::new(),
            ready: 0,
            go: 0,
            listener: None,
        };
        // Words of their own line.
        builder.ready = builder.put(&[0; 64]);
        builder.go = builder.put(&[0; 64]);
        Ok(builder)
    }

    fn build(mut self) -> Result<Program, String> {
        self.places.report = self.put(&[0; report::LENGTH]);
        let mut room: Vec<u8> = Vec::new();
        if self.backing.maps() {
            let prelude = guard::filter::prelude(&guard::ranges(self.manifest));
            self.places.guard = prelude.len() as u64;
            room.extend(prelude.iter().flat_map(|op| op.to_le_bytes()));
        }
        room.resize(FILTER * 8, 0);
        let filter = self.put(&room);
        let fprog = self.put(&[0_u64, filter].map(u64::to_le_bytes).concat());
        self.places.filter = (fprog, filter);
        let threads = &self.manifest.threads;
        let main = threads.first().ok_or("it has no thread")?;
        let others: Vec<u64> =
            threads[1..].iter().map(|thread| self.thread(thread)).collect::<Result<_, _>>()?;

        self.clear();
        self.moment(0, "note the time");
        self.map()?;
        // Every mapped file has its number now.
        self.listener = self.backing.maps().then(|| self.free_number());
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

    /// The lowest number of a descriptor that is free when the filter is installed.
    fn free_number(&self) -> i32 {
        let numbers = self.numbers;
        let mut used: Vec<i32> =
            self.manifest.descriptors.iter().map(|descriptor| descriptor.number).collect();
        used.extend([numbers.status(), numbers.pages(), numbers.program(), numbers.channel()]);
        used.extend([numbers.log(), numbers.executable()]);
        if self.backing.is_served() {
            used.extend([numbers.faults(), numbers.server()]);
        }
        (0..).find(|number| !used.contains(number)).unwrap_or(0)
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
}
