//! Reading page tables in bulk.

use rustix::fs::{Mode, OFlags};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

use super::child::{At, Outcome, check, expect, run};
use super::{Finding, Host};
use crate::pager::pagemap::{IS_PRESENT, PAGEMAP_SCAN, ScanArgument};

/// A scan of a mapping of two pages finds the one that was touched.
pub(super) fn scan(_: &Host) -> Finding {
    let outcome = run(|| {
        use std::os::fd::AsRawFd;
        let size = rustix::param::page_size();
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let pages = unsafe { mmap_anonymous(std::ptr::null_mut(), 2 * size, access, MapFlags::PRIVATE) };
        let start = pages.at("mmap")? as u64;
        let touched = start + size as u64;
        // SAFETY: the second page of the mapping made above.
        unsafe { (touched as *mut u8).write_volatile(1) };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let pagemap = rustix::fs::open("/proc/self/pagemap", flags, Mode::empty()).at("open pagemap")?;
        let mut region = [0_u64; 3];
        let mut argument = ScanArgument {
            size: size_of::<ScanArgument>() as u64,
            start,
            end: start + 2 * size as u64,
            vec: region.as_mut_ptr() as u64,
            vec_len: 1,
            category_mask: IS_PRESENT,
            return_mask: IS_PRESENT,
            ..ScanArgument::default()
        };
        // SAFETY: the argument is the kernel's structure; it names a region of three words that is valid.
        let found = unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN as _, &raw mut argument) };
        let found = check(i64::from(found), "PAGEMAP_SCAN")?;
        let region = std::hint::black_box(region);
        expect(found == 1 && region[..2] == [touched, argument.end], "the touched page")?;
        Ok(0)
    });
    match outcome {
        Outcome::Done(_) => Finding::ok("found the page that was touched"),
        _ => Finding::degraded(
            format!("{outcome} (Linux 6.7 or later has it)"),
            "/proc/PID/pagemap, entry by entry",
        ),
    }
}
