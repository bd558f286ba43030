//! Which areas a process has, and the pages of each that are its own.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::maps::{self, Mapping};
use crate::template::error::Error;
use crate::template::manifest::{Area, AreaKind, Class, Run, Way};
use crate::template::pages::{ABSENT, PAGE, PageHash, PageTable, hash_page, is_zero};

/// Absent pages that a run may bridge: more become memory of its own instead.
const BRIDGED: u64 = 64;
/// Pages of gap after each run in the file of pages.
const GAP: u64 = 64;
/// Pages of a large page: a run has the same place in one as its address.
const LARGE: u64 = 512;
/// Zeros after the last page: what memory that grows beyond it finds.
const TAIL: u64 = 1 << 30;
/// Pages that are read at a time.
const AT_ONCE: usize = 256;

/// Advice that the kernel remembers of an area, and how it was given.
const ADVICE: [(&str, u32); 6] = [
    ("dc", libc::MADV_DONTFORK as u32),
    ("wf", libc::MADV_WIPEONFORK as u32),
    ("dd", libc::MADV_DONTDUMP as u32),
    ("hg", libc::MADV_HUGEPAGE as u32),
    ("nh", libc::MADV_NOHUGEPAGE as u32),
    ("mg", libc::MADV_MERGEABLE as u32),
];

/// The memory of a process and the file that its pages go to.
pub(super) struct Memory<'a> {
    pid: i32,
    memory: File,
    pagemap: File,
    to: &'a File,
    hashes: Vec<PageHash>,
}

impl<'a> Memory<'a> {
    pub(super) fn open(pid: i32, to: &'a File) -> Result<Self, Error> {
        let open = |name: &str| {
            let path = Path::new("/proc").join(pid.to_string()).join(name);
            File::open(&path).map_err(Error::file("open", &path))
        };
        Ok(Self { pid, memory: open("mem")?, pagemap: open("pagemap")?, to, hashes: Vec::new() })
    }

    /// Reads bytes of the process.
    pub(super) fn read(&self, address: u64, length: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; length];
        let read = self.memory.read_exact_at(&mut bytes, address);
        read.map_err(Error::step(format!("read {length} bytes at {address:x} of process {}", self.pid)))?;
        Ok(bytes)
    }

    /// Writes an area's own pages and describes it; `None` for what every process has anyway.
    pub(super) fn area(&mut self, mapping: &Mapping, executable: &str) -> Result<Option<Area>, Error> {
        let Some(kind) = kind(self.pid, mapping).map_err(Error::Uncapturable)? else { return Ok(None) };
        let advice: Vec<u32> =
            ADVICE.iter().filter(|(flag, _)| mapping.has(flag)).map(|(_, advice)| *advice).collect();
        let mut area = Area {
            start: mapping.start,
            end: mapping.end,
            protection: mapping.protection,
            class: class(&kind, executable),
            kind,
            advice,
            runs: Vec::new(),
            way: Way::Attach,
        };
        if matches!(area.kind, AreaKind::Kernel { .. }) {
            // The processor's and the kernel's: nothing in them is the process's.
            area.advice.clear();
            return Ok(Some(area));
        }
        if mapping.resident > 0 && !mapping.shared {
            area.runs = self.runs(mapping, matches!(area.kind, AreaKind::File { .. }))?;
        }
        area.way = way(&area);
        Ok(Some(area))
    }

    /// Finds and writes the pages that are the process's own and not zeros.
    fn runs(&mut self, mapping: &Mapping, is_file: bool) -> Result<Vec<Run>, Error> {
        let failed = |error| Error::step(format!("read the pages at {:x}", mapping.start))(error);
        let states = maps::states(&self.pagemap, mapping.start, mapping.end).map_err(failed)?;
        if states.iter().any(|state| state.is_guard()) {
            let what = format!("the memory at {:x} has guard pages (MADV_GUARD_INSTALL)", mapping.start);
            return Err(Error::Uncapturable(what));
        }
        let own: Vec<u64> = (0..states.len() as u64)
            .filter(|at| {
                let state = states[*at as usize];
                state.is_there() && !(is_file && state.is_of_file())
            })
            .collect();
        // Between pages that were written, a file has pages of its own, which zeros must not hide.
        let bridged = if is_file { 0 } else { BRIDGED };
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for at in own {
            let address = mapping.start + at * PAGE as u64;
            if !is_file && self.is_zero_at(address)? {
                continue;
            }
            match runs.last_mut() {
                Some((_, end)) if at <= *end + bridged => *end = at + 1,
                _ => runs.push((at, at + 1)),
            }
        }
        runs.into_iter().map(|(from, to)| self.write(mapping.start + from * PAGE as u64, to - from)).collect()
    }

    fn is_zero_at(&self, address: u64) -> Result<bool, Error> {
        let mut page = [0; PAGE];
        let read = self.memory.read_exact_at(&mut page, address);
        read.map_err(Error::step(format!("read the page at {address:x}")))?;
        Ok(is_zero(&page))
    }

    /// Copies pages into the file.
    fn write(&mut self, start: u64, pages: u64) -> Result<Run, Error> {
        let after = self.hashes.len() as u64 + if self.hashes.is_empty() { 0 } else { GAP };
        let phase = start / PAGE as u64 % LARGE;
        let first_page = after + (phase + LARGE - after % LARGE) % LARGE;
        self.hashes.resize(first_page as usize, ABSENT);
        let mut done = 0;
        while done < pages {
            let count = (pages - done).min(AT_ONCE as u64);
            let bytes = self.read(start + done * PAGE as u64, count as usize * PAGE)?;
            for (nth, page) in bytes.as_chunks::<PAGE>().0.iter().enumerate() {
                let hash = hash_page(page);
                self.hashes.push(hash);
                if hash != ABSENT {
                    let at = (first_page + done + nth as u64) * PAGE as u64;
                    self.to.write_all_at(page, at).map_err(Error::step("write the file of pages"))?;
                }
            }
            done += count;
        }
        Ok(Run { start, pages, first_page })
    }

    /// Ends the file; its table.
    pub(super) fn finish(self) -> io::Result<PageTable> {
        let end = self.hashes.len() as u64 * PAGE as u64;
        self.to.set_len(end + TAIL)?;
        Ok(PageTable::new(self.hashes))
    }
}

/// What cannot be a mapping of a file is copied: memory that grows downwards by itself, or is wiped in a child.
fn way(area: &Area) -> Way {
    let grows_down = matches!(area.kind, AreaKind::Anonymous { grows_down: true, .. });
    let wiped = area.advice.contains(&(libc::MADV_WIPEONFORK as u32));
    if grows_down || wiped { Way::Copy } else { Way::Attach }
}

/// What a mapping is; why it cannot be captured.
fn kind(pid: i32, mapping: &Mapping) -> Result<Option<AreaKind>, String> {
    let Mapping { start, end, path, .. } = mapping;
    let refuse = |why: &str| Err(format!("the memory at {start:x}-{end:x} ({path}) {why}"));
    if mapping.has("ht") {
        return refuse("has huge pages of its own kind (hugetlb)");
    }
    if mapping.has("um") || mapping.has("uw") || mapping.has("ui") {
        return refuse("is served by a userfaultfd: capture a process that was not attached that way");
    }
    if mapping.has("lo") {
        return refuse("is locked");
    }
    if mapping.key != 0 {
        return refuse("has a protection key (pkey_mprotect)");
    }
    if mapping.has("sl") {
        return refuse("is sealed (mseal)");
    }
    if mapping.has("ss") {
        return refuse("is a shadow stack");
    }
    match path.as_str() {
        "[vsyscall]" => Ok(None),
        "[vdso]" | "[vvar]" | "[vvar_vclock]" => Ok(Some(AreaKind::Kernel { name: path.clone() })),
        "" | "[heap]" | "[stack]" => anonymous(mapping, refuse),
        name if name.starts_with("[anon:") => anonymous(mapping, refuse),
        name if name.starts_with('/') => {
            if name.ends_with(" (deleted)") || name.starts_with("/memfd:") || name.starts_with("/SYSV") {
                return refuse("is memory that is shared, or a file that has no name any more");
            }
            let inside = format!("/proc/{pid}/root{name}");
            match std::fs::metadata(&inside) {
                Ok(metadata) if metadata.is_file() => {}
                _ => return refuse("is of a file that is not in its root"),
            }
            let writes = mapping.shared && (mapping.has("wr") || mapping.has("mw"));
            let (offset, shared) = (mapping.offset, mapping.shared);
            Ok(Some(AreaKind::File { path: name.to_owned(), offset, shared, writes }))
        }
        _ => refuse("is of a kind that is not known"),
    }
}

fn anonymous(
    mapping: &Mapping,
    refuse: impl Fn(&str) -> Result<Option<AreaKind>, String>,
) -> Result<Option<AreaKind>, String> {
    if mapping.shared {
        return refuse("is shared");
    }
    let (grows_down, no_reserve) = (mapping.has("gd"), mapping.has("nr"));
    Ok(Some(AreaKind::Anonymous { grows_down, no_reserve }))
}

fn class(kind: &AreaKind, executable: &str) -> Class {
    const RUNTIME: [&str; 5] = ["/libc.so", "/ld-linux", "/libm.so", "/libpython", "/libnode"];
    match kind {
        AreaKind::File { path, .. } if path == executable => Class::Runtime,
        AreaKind::File { path, .. } if RUNTIME.iter().any(|name| path.contains(name)) => Class::Runtime,
        AreaKind::File { .. } => Class::Library,
        AreaKind::Kernel { .. } => Class::Runtime,
        AreaKind::Anonymous { .. } => Class::Function,
    }
}
