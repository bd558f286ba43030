//! Whose memory is what: a VMM's mappings by what they are for, and the host's page cache of one file.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use serde::Serialize;

/// `cachestat`, since Linux 6.5; the same number everywhere.
const CACHESTAT: libc::c_long = 451;
/// How the code that software emulation translated is mapped.
const CODE: &str = "rwxp";

/// Memory of mappings of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Resident, bytes.
    pub rss_bytes: u64,
    /// Resident, pages that several processes have divided among them, bytes.
    pub pss_bytes: u64,
    /// Resident and of nobody else just now, bytes. Pages of a template count while no other clone has them.
    pub private_bytes: u64,
    /// Resident and of no file: what was written to private mappings, bytes.
    pub anonymous_bytes: u64,
}

impl Share {
    fn add(&mut self, key: &str, bytes: u64) {
        match key {
            "Rss" => self.rss_bytes += bytes,
            "Pss" => self.pss_bytes += bytes,
            "Private_Clean" | "Private_Dirty" => self.private_bytes += bytes,
            "Anonymous" => self.anonymous_bytes += bytes,
            _ => {}
        }
    }
}

/// A VMM's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The guest's memory.
    pub guest: Share,
    /// The root image, where it is mapped (persistent memory): pages of the host's page cache.
    pub root: Share,
    /// Code that software emulation translated.
    pub code: Share,
    /// The VMM's own.
    pub vmm: Share,
    /// Programs and libraries.
    pub files: Share,
    /// Guest memory that is there whether the VMM has touched it or not: what the file behind it holds, bytes.
    /// Nothing for a private mapping of a template, which belongs to all its clones.
    pub allocated_bytes: u64,
}

impl Memory {
    /// Of the process `pid`, whose guest has `memory`, and `root` mapped.
    pub(super) fn of(pid: u32, memory: &File, root: Option<&File>, private: bool) -> io::Result<Self> {
        let key = |file: &File| -> io::Result<(u64, u64)> {
            let about = file.metadata()?;
            Ok((about.dev(), about.ino()))
        };
        let (guest, root) = (key(memory)?, root.map(key).transpose()?);
        let text = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
        // Blocks of 512 bytes, whatever the page size is.
        let allocated_bytes = if private { 0 } else { memory.metadata()?.blocks() * 512 };
        Ok(Self { allocated_bytes, ..Self::read(&text, guest, root) })
    }

    fn read(smaps: &str, guest: (u64, u64), root: Option<(u64, u64)>) -> Self {
        let mut memory = Self::default();
        let mut kind = Kind::Vmm;
        for line in smaps.lines() {
            let Some((first, rest)) = line.split_once(char::is_whitespace) else { continue };
            let Some(key) = first.strip_suffix(':') else {
                kind = Kind::of(rest, guest, root);
                continue;
            };
            let bytes = rest.trim().strip_suffix(" kB").and_then(|number| number.parse::<u64>().ok());
            let share = match kind {
                Kind::Guest => &mut memory.guest,
                Kind::Root => &mut memory.root,
                Kind::Code => &mut memory.code,
                Kind::Vmm => &mut memory.vmm,
                Kind::File => &mut memory.files,
            };
            share.add(key, bytes.unwrap_or(0) * 1024);
        }
        memory
    }

    /// Guest memory that exists for this VM alone, bytes: what a clone has written, or all of a guest's that shares
    /// none.
    #[must_use]
    pub fn guest_own_bytes(&self) -> u64 {
        self.guest.anonymous_bytes + self.allocated_bytes
    }

    /// Guest memory that is a template's and in use by this VM, among others, bytes.
    #[must_use]
    pub fn guest_shared_bytes(&self) -> u64 {
        if self.allocated_bytes > 0 { 0 } else { self.guest.rss_bytes - self.guest.anonymous_bytes }
    }

    /// Everything that exists for this VM alone, bytes: goes when it ends.
    #[must_use]
    pub fn own_bytes(&self) -> u64 {
        self.guest_own_bytes()
            + self.code.anonymous_bytes
            + self.vmm.anonymous_bytes
            + self.files.anonymous_bytes
    }

    /// All of it, shared pages divided among those who share them, bytes.
    #[must_use]
    pub fn pss_bytes(&self) -> u64 {
        [self.guest, self.root, self.code, self.vmm, self.files].iter().map(|share| share.pss_bytes).sum()
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Guest,
    Root,
    Code,
    Vmm,
    File,
}

impl Kind {
    /// From the rest of a mapping's line: `rw-p 00000000 00:01 1234 /path`.
    fn of(rest: &str, guest: (u64, u64), root: Option<(u64, u64)>) -> Self {
        let mut words = rest.split_whitespace();
        let rights = words.next().unwrap_or_default();
        let device = words.nth(1).and_then(device).unwrap_or_default();
        let inode: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or_default();
        match (device, inode) {
            (_, 0) if rights == CODE => Self::Code,
            (_, 0) => Self::Vmm,
            file if file == guest => Self::Guest,
            file if Some(file) == root => Self::Root,
            _ => Self::File,
        }
    }
}

/// `fe:01` as a device number.
fn device(word: &str) -> Option<u64> {
    let (major, minor) = word.split_once(':')?;
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    Some(libc::makedev(number(major)?, number(minor)?))
}

/// How much of a file, or of a part of it that begins and ends with pages, is in the host's page cache, bytes.
///
/// # Errors
/// As the kernel says.
pub fn cached_bytes(file: &File, part: Option<(u64, u64)>) -> io::Result<u64> {
    let (from, length) = part.unwrap_or((0, file.metadata()?.len()));
    #[repr(C)]
    struct Range {
        from: u64,
        length: u64,
    }
    #[repr(C)]
    #[derive(Default)]
    struct Cached {
        pages: u64,
        dirty: u64,
        writeback: u64,
        evicted: u64,
        recently_evicted: u64,
    }
    let page = rustix::param::page_size() as u64;
    let range = Range { from, length };
    let mut cached = Cached::default();
    // SAFETY: an open descriptor, and two structures of the layout that the call is documented to have, alive.
    let result = unsafe { libc::syscall(CACHESTAT, file.as_raw_fd(), &raw const range, &raw mut cached, 0) };
    if result == 0 {
        return Ok(cached.pages * page);
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ENOSYS) { resident_bytes(file, from, length) } else { Err(error) }
}

/// The same by mapping the file and asking which pages would not fault, for older kernels.
fn resident_bytes(file: &File, from: u64, length: u64) -> io::Result<u64> {
    use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
    let page = rustix::param::page_size();
    let length = usize::try_from(length).map_err(io::Error::other)?;
    if length == 0 {
        return Ok(0);
    }
    let mut pages = vec![0_u8; length.div_ceil(page)];
    // SAFETY: a new mapping at a place of the kernel's choice, which is only asked about and then unmapped; the
    // vector has a byte for each of its pages.
    let asked = unsafe {
        let at = mmap(std::ptr::null_mut(), length, ProtFlags::READ, MapFlags::SHARED, file, from)?;
        let asked = libc::mincore(at, length, pages.as_mut_ptr());
        let asked = if asked == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
        munmap(at, length)?;
        asked
    };
    asked?;
    Ok(pages.iter().filter(|page| **page & 1 == 1).count() as u64 * page as u64)
}

/// Takes a file out of the host's page cache, as far as nobody has it mapped or has written to it.
///
/// # Errors
/// As the kernel says.
pub fn forget(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn mappings_are_told_apart() {
        let smaps = "\
7f0000000000-7f0020000000 rw-p 00000000 00:01 77                         /memfd:trenvx-vm-memory (deleted)
Rss:               20000 kB
Pss:               15000 kB
Private_Clean:      1000 kB
Private_Dirty:      9000 kB
Anonymous:          8000 kB
VmFlags: rd wr mr mw me ac sd
7f0040000000-7f0060000000 r--s 00000000 fe:01 99                         /somewhere/root.img
Rss:                4000 kB
Pss:                2000 kB
Anonymous:             0 kB
7f0080000000-7f00c0000000 rwxp 00000000 00:00 0
Rss:                3000 kB
Pss:                3000 kB
Private_Dirty:      3000 kB
Anonymous:          3000 kB
560000000000-560000100000 rw-p 00000000 00:00 0                          [heap]
Rss:                1000 kB
Pss:                1000 kB
Anonymous:          1000 kB
7f00d0000000-7f00d0100000 r-xp 00000000 fe:01 12                         /usr/lib/libc.so.6
Rss:                 500 kB
Pss:                  50 kB
";
        let guest = (libc::makedev(0, 1), 77);
        let root = Some((libc::makedev(0xfe, 1), 99));
        let memory = Memory::read(smaps, guest, root);
        assert_eq!(memory.guest.rss_bytes, 20_000 << 10);
        assert_eq!(memory.guest.private_bytes, 10_000 << 10);
        assert_eq!((memory.root.rss_bytes, memory.code.rss_bytes), (4000 << 10, 3000 << 10));
        assert_eq!((memory.vmm.rss_bytes, memory.files.pss_bytes), (1000 << 10, 50 << 10));
        assert_eq!(memory.guest_own_bytes(), 8000 << 10);
        assert_eq!(memory.own_bytes(), 12_000 << 10);
        assert_eq!(memory.pss_bytes(), 21_050 << 10);
        assert_eq!(memory.guest_shared_bytes(), 12_000 << 10);
        // Without a template, everything behind the mapping is its own, touched or not.
        let own = Memory { allocated_bytes: 512 << 20, guest: Share::default(), ..memory };
        assert_eq!((own.guest_own_bytes(), own.guest_shared_bytes()), (512 << 20, 0));
    }

    #[test]
    fn written_files_are_in_the_page_cache_by_both_ways_of_asking() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![1; 1 << 20]).unwrap();
        assert_eq!(cached_bytes(&file, None).unwrap(), 1 << 20);
        assert_eq!(resident_bytes(&file, 0, 1 << 20).unwrap(), 1 << 20);
        let part = (64 << 10, 128 << 10);
        assert_eq!(cached_bytes(&file, Some(part)).unwrap(), part.1);
        assert_eq!(resident_bytes(&file, part.0, part.1).unwrap(), part.1);
    }
}
