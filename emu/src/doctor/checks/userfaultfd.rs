//! Page faults served by a program: which kinds the kernel hands over, and that pages can be installed.
//!
//! The requests are spelled out here, because the crate for them needs a C compiler's library to build.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};

use super::child::{At, Fault, Outcome, check, check_fd, expect, run};
use super::{Finding, Host};

const API: u64 = 0xaa;
const IOCTL_API: u64 = request(0x3f, size_of::<ApiArgument>());
const IOCTL_REGISTER: u64 = request(0x00, size_of::<[u64; 4]>());
const IOCTL_COPY: u64 = request(0x03, size_of::<[u64; 5]>());
const IOCTL_CONTINUE: u64 = request(0x07, size_of::<[u64; 4]>());
const IOCTL_NEW: u64 = API << 8;
const REGISTER_MISSING: u64 = 1 << 0;
const REGISTER_MINOR: u64 = 1 << 2;
const MINOR_SHMEM: u64 = 1 << 10;

/// Features by bit number, with whether the page server wants them.
const FEATURES: [(&str, bool); 17] = [
    ("PAGEFAULT_FLAG_WP", true),
    ("EVENT_FORK", true),
    ("EVENT_REMAP", true),
    ("EVENT_REMOVE", true),
    ("MISSING_HUGETLBFS", false),
    ("MISSING_SHMEM", true),
    ("EVENT_UNMAP", true),
    ("SIGBUS", false),
    ("THREAD_ID", true),
    ("MINOR_HUGETLBFS", false),
    ("MINOR_SHMEM", true),
    ("EXACT_ADDRESS", false),
    ("WP_HUGETLBFS_SHMEM", true),
    ("WP_UNPOPULATED", true),
    ("POISON", false),
    ("WP_ASYNC", true),
    ("MOVE", false),
];
const FIX: &str = "use a kernel with CONFIG_USERFAULTFD";

/// `_IOWR(UFFDIO, number, size)`
const fn request(number: u64, size: usize) -> u64 {
    (3 << 30) | ((size as u64) << 16) | (API << 8) | number
}

#[repr(C)]
#[derive(Default)]
struct ApiArgument {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// A missing page can be registered and filled by copying.
pub(super) fn missing_faults(_: &Host) -> Finding {
    let outcome = run(|| {
        let uffd = system_call()?;
        agree(&uffd, 0)?;
        let size = rustix::param::page_size();
        let source = vec![7_u8; size];
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let page = unsafe { mmap_anonymous(std::ptr::null_mut(), size, ProtFlags::READ, MapFlags::PRIVATE) };
        let page = page.at("mmap")?;
        register(&uffd, page, size, REGISTER_MISSING)?;
        let mut copy = [page as u64, source.as_ptr() as u64, size as u64, 0, 0];
        ioctl(&uffd, IOCTL_COPY, &mut copy, "copy a page")?;
        // SAFETY: the page is there now, so that reading it cannot fault into the descriptor that nobody serves.
        let byte = unsafe { page.cast::<u8>().read_volatile() };
        expect(byte == 7, "the copied page")?;
        Ok(0)
    });
    outcome.finding("registered a page and copied into it", FIX)
}

/// A page that is in the file but not in the page table can be mapped: how sandboxes share fetched pages.
pub(super) fn minor_faults(_: &Host) -> Finding {
    let outcome = run(|| {
        let uffd = system_call()?;
        agree(&uffd, MINOR_SHMEM)?;
        let size = rustix::param::page_size();
        let file = memfd_create("trenvx-doctor", MemfdFlags::CLOEXEC).at("memfd_create")?;
        ftruncate(&file, size as u64).at("ftruncate")?;
        rustix::io::pwrite(&file, &[7], 0).at("fill the file")?;
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let page = unsafe { mmap(std::ptr::null_mut(), size, ProtFlags::READ, MapFlags::SHARED, &file, 0) };
        let page = page.at("mmap")?;
        register(&uffd, page, size, REGISTER_MINOR)?;
        ioctl(&uffd, IOCTL_CONTINUE, &mut [page as u64, size as u64, 0, 0], "continue a page")?;
        // SAFETY: the page is mapped now, so that reading it cannot fault into the descriptor.
        let byte = unsafe { page.cast::<u8>().read_volatile() };
        expect(byte == 7, "the mapped page")?;
        Ok(0)
    });
    match outcome {
        Outcome::Done(_) => Finding::ok("mapped a page of a file by CONTINUE"),
        _ => Finding::degraded(outcome.to_string(), "COPY into each sandbox, without sharing"),
    }
}

/// Which features the kernel offers.
pub(super) fn features(_: &Host) -> Finding {
    match run(|| agree(&system_call()?, 0)) {
        Outcome::Done(offered) => features_finding(offered),
        outcome => outcome.finding("", FIX),
    }
}

fn features_finding(offered: u64) -> Finding {
    let names = |keep: &dyn Fn(usize) -> bool| -> Vec<&str> {
        (0..FEATURES.len()).filter(|bit| keep(*bit)).map(|bit| FEATURES[bit].0).collect()
    };
    let has = |bit: usize| offered & (1 << bit) != 0;
    let list = names(&has).join(" ");
    let absent = names(&|bit| !has(bit) && FEATURES[bit].1);
    if absent.is_empty() {
        return Finding::ok(list);
    }
    let detail = format!("{list}; without {}", absent.join(" "));
    Finding::degraded(detail, "page serving without these (Linux 6.7 or later has them all)")
}

/// The device, which gives descriptors to users by file permission.
pub(super) fn device(host: &Host) -> Finding {
    let path = host.file("dev/userfaultfd");
    let Ok(device) = std::fs::File::options().read(true).write(true).open(&path) else {
        let detail = if path.exists() { "/dev/userfaultfd: no permission" } else { "no /dev/userfaultfd" };
        return Finding::degraded(detail, "the system call, as root or for user-mode faults only");
    };
    let outcome = run(|| {
        // SAFETY: the request takes flags by value and makes a descriptor.
        let result = unsafe { libc::ioctl(device.as_raw_fd(), IOCTL_NEW as _, libc::O_CLOEXEC) };
        agree(&check_fd(i64::from(result), "new descriptor")?, 0)
    });
    outcome.finding("/dev/userfaultfd gives descriptors", FIX)
}

/// A descriptor by the system call; for user-mode faults only when more is not allowed.
fn system_call() -> Result<OwnedFd, Fault> {
    let open = |flags: i32| {
        // SAFETY: takes flags by value and makes a descriptor.
        check_fd(unsafe { libc::syscall(libc::SYS_userfaultfd, flags) }, "userfaultfd")
    };
    let user_mode_only = 1;
    open(libc::O_CLOEXEC | libc::O_NONBLOCK)
        .or_else(|_| open(libc::O_CLOEXEC | libc::O_NONBLOCK | user_mode_only))
}

/// Agrees on the interface with these features: the features that are offered.
fn agree(uffd: &OwnedFd, features: u64) -> Result<u64, Fault> {
    let mut api = ApiArgument { api: API, features, ioctls: 0 };
    ioctl(uffd, IOCTL_API, &mut api, "agree on features")?;
    Ok(api.features)
}

fn register(uffd: &OwnedFd, page: *mut libc::c_void, size: usize, mode: u64) -> Result<(), Fault> {
    ioctl(uffd, IOCTL_REGISTER, &mut [page as u64, size as u64, mode, 0], "register a page")
}

/// `argument` must be what `request` takes; the sizes are in the requests above.
fn ioctl<T>(uffd: &OwnedFd, request: u64, argument: &mut T, step: &'static str) -> Result<(), Fault> {
    debug_assert_eq!((request >> 16) & 0x3fff, size_of::<T>() as u64);
    // SAFETY: the argument has the size that the request carries and is valid for the call.
    let result = unsafe { libc::ioctl(uffd.as_raw_fd(), request as _, std::ptr::from_mut(argument)) };
    check(i64::from(result), step).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_the_kernels() {
        assert_eq!(IOCTL_API, 0xc018_aa3f);
        assert_eq!(IOCTL_REGISTER, 0xc020_aa00);
        assert_eq!(IOCTL_COPY, 0xc028_aa03);
        assert_eq!(IOCTL_CONTINUE, 0xc020_aa07);
    }

    #[test]
    fn wanted_features_that_are_absent_are_named() {
        use super::super::Status;
        assert_eq!(features_finding(0x1ffff).status, Status::Ok);
        let without_async = features_finding(0x1ffff & !(1 << 15));
        assert!(matches!(without_async.status, Status::Degraded { .. }));
        assert!(without_async.detail.ends_with("without WP_ASYNC"), "{}", without_async.detail);
        assert_eq!(features_finding(0x1ffff & !(1 << 16)).status, Status::Ok);
    }
}
