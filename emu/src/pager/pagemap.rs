//! `PAGEMAP_SCAN`: which pages of a process have been written, told by its page tables in bulk.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use crate::template::pages::PAGE;

/// `_IOWR('f', 16, struct pm_scan_arg)`
pub(crate) const PAGEMAP_SCAN: u64 = 0xc060_6610;
/// The page is in a range whose writes the kernel notes (`PAGE_IS_WPALLOWED`).
const IS_WATCHED: u64 = 1 << 0;
/// It was written since it was last protected (`PAGE_IS_WRITTEN`).
const IS_WRITTEN: u64 = 1 << 1;
/// It is there (`PAGE_IS_PRESENT`).
pub(crate) const IS_PRESENT: u64 = 1 << 3;
/// Protect what is found (`PM_SCAN_WP_MATCHING`).
const PROTECT: u64 = 1 << 0;
/// Ranges that one call can give.
const ROOM: usize = 256;

/// `struct pm_scan_arg` of the kernel.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct ScanArgument {
    pub(crate) size: u64,
    pub(crate) flags: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) walk_end: u64,
    pub(crate) vec: u64,
    pub(crate) vec_len: u64,
    pub(crate) max_pages: u64,
    pub(crate) category_inverted: u64,
    pub(crate) category_mask: u64,
    pub(crate) category_anyof_mask: u64,
    pub(crate) return_mask: u64,
}

/// `struct page_region` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    start: u64,
    end: u64,
    categories: u64,
}

/// Addresses of pages between `start` and `end` that were written since they were last protected; each is protected
/// again in the same step, so that no write is missed or told twice. Only pages that are there and registered for
/// asynchronous write protection count. `pagemap` is `/proc/PID/pagemap` of the process.
///
/// # Errors
/// Where the kernel cannot do it (before Linux 6.7), or the process is gone.
pub fn take_written(pagemap: impl AsFd, start: u64, end: u64) -> io::Result<Vec<u64>> {
    let mut pages = Vec::new();
    let mut room = [Found::default(); ROOM];
    let mut at = start;
    while at < end {
        let wanted = IS_WATCHED | IS_WRITTEN | IS_PRESENT;
        let mut argument = ScanArgument {
            size: size_of::<ScanArgument>() as u64,
            flags: PROTECT,
            start: at,
            end,
            vec: room.as_mut_ptr() as u64,
            vec_len: ROOM as u64,
            category_mask: wanted,
            return_mask: wanted,
            ..ScanArgument::default()
        };
        // SAFETY: the argument is the kernel's structure; it names room for `ROOM` ranges, which outlives the call.
        let found = unsafe {
            libc::ioctl(pagemap.as_fd().as_raw_fd(), PAGEMAP_SCAN as libc::Ioctl, &raw mut argument)
        };
        if found < 0 {
            return Err(io::Error::last_os_error());
        }
        for range in std::hint::black_box(&room).iter().take(found as usize) {
            pages.extend((range.start..range.end).step_by(PAGE));
        }
        if argument.walk_end <= at {
            return Err(io::Error::other("the kernel's scan of a page table does not come forward"));
        }
        at = argument.walk_end;
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::skip_without;
    use crate::pager::memory::Mapping;
    use crate::pager::uffd::{Uffd, feature, track};

    #[test]
    fn each_write_is_told_once() {
        if skip_without(&["userfaultfd", "pagemap-scan"]) {
            return;
        }
        // More ranges than one call gives.
        let pages = 3 * ROOM;
        let mut arena = Mapping::anonymous(pages * PAGE).unwrap();
        let uffd = Uffd::open(feature::WP_ASYNC | feature::WP_UNPOPULATED).unwrap();
        uffd.register(arena.address(), arena.length(), track::WRITE_PROTECT).unwrap();
        arena.bytes_mut().fill(1);
        let map = std::fs::File::open("/proc/self/pagemap").unwrap();
        let (start, end) = (arena.address(), arena.address() + arena.length());
        assert_eq!(take_written(&map, start, end).unwrap().len(), pages);
        assert!(take_written(&map, start, end).unwrap().is_empty());
        let odd: Vec<u64> = (0..pages as u64).filter(|page| page % 2 == 1).collect();
        for page in &odd {
            arena.bytes_mut()[*page as usize * PAGE] = 2;
        }
        let expected: Vec<u64> = odd.iter().map(|page| start + page * PAGE as u64).collect();
        assert_eq!(take_written(&map, start, end).unwrap(), expected);
        let seen: u64 = arena.bytes().iter().map(|byte| u64::from(*byte)).sum();
        assert!(seen > 0);
        assert!(take_written(&map, start, end).unwrap().is_empty(), "reading is no writing");
    }
}
