//! The part that makes the address space: what is taken away, what is mapped, what a page server is given.

use super::{Builder, ROOM, STAGING};
use crate::pager::uffd::{IOCTL_REGISTER, track};
use crate::template::attach::backing::{Backing, HandOver, Region, RegionKind};
use crate::template::attach::interpreter::EQUALS;
use crate::template::manifest::{Area, AreaKind, Run, Way};
use crate::template::pages::PAGE;

/// First address that user programs cannot have.
const END_OF_MEMORY: u64 = 0x7fff_ffff_f000;
/// Places that are tried for the image: far from where programs, heaps, libraries and stacks lie.
const FIRST_PLACE: u64 = 0x1000_0000_0000;
const NEXT_PLACE: u64 = 0x10_0000_0000;

impl Builder<'_> {
    /// Takes away everything that the carrier has, but for the image; the kernel's own pages go through staging.
    pub(super) fn clear(&mut self) {
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

    pub(super) fn map(&mut self) -> Result<(), String> {
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
            Backing::Copy | Backing::Fault | Backing::Watched => false,
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
    pub(super) fn hand_over(&mut self) -> Result<(), String> {
        self.regions.sort_by_key(|region| region.address);
        let regions = self.regions.clone();
        let faults = self.numbers.faults() as u64;
        for region in &regions {
            let modes = match region.kind {
                RegionKind::Private if self.backing == Backing::Watched => {
                    track::MISSING | track::WRITE_PROTECT
                }
                RegionKind::Private => track::MISSING,
                RegionKind::Shared => track::MISSING | track::MINOR,
            };
            let request = self.put(&[region.address, region.length, modes, 0].map(u64::to_le_bytes).concat());
            let label = format!("register {:x}, {} bytes", region.address, region.length);
            self.call(libc::SYS_ioctl, &[faults, IOCTL_REGISTER, request], label);
        }
        let text = serde_json::to_vec(&HandOver { regions }).map_err(|error| error.to_string())?;
        let length = text.len() as u64;
        let text = self.put(&text);
        let message = self.message(text, length, self.numbers.faults());
        let server = self.numbers.server() as u64;
        let arguments = [server, message, libc::MSG_NOSIGNAL as u64];
        self.entry(libc::SYS_sendmsg as u32, EQUALS, &arguments, length, "hand over to the page server");
        let word = self.put(&[0; 8]);
        let arguments = [server, word, 1];
        self.entry(libc::SYS_read as u32, EQUALS, &arguments, 1, "wait for the page server's word");
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
pub(super) fn place(areas: &[Area]) -> Option<u64> {
    let mut places = (0..0x400).map(|nth| FIRST_PLACE + nth * NEXT_PLACE);
    places.find(|at| areas.iter().all(|area| area.end <= at - ROOM || area.start >= at + 2 * ROOM))
}
