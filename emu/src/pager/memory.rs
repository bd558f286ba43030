//! Mappings that end with their owner, and buffers of pages.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use crate::template::pages::PAGE;

/// The bytes of a page.
pub type Page = [u8; PAGE];

/// A page of zeros.
pub static ZEROS: Page = [0; PAGE];

/// A range of this process's memory, unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    address: *mut u8,
    length: usize,
}

// SAFETY: a range of memory, reached through the borrow rules of its methods.
unsafe impl Send for Mapping {}
// SAFETY: shared references only read.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// New private memory, without huge pages: a fault is to be one page.
    ///
    /// # Errors
    /// Without memory or addresses.
    pub fn anonymous(length: usize) -> io::Result<Self> {
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let address = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        // SAFETY: the range was mapped above.
        unsafe { rustix::mm::madvise(address, length, rustix::mm::Advice::LinuxNoHugepage) }?;
        Ok(Self { address: address.cast(), length })
    }

    /// The first `length` bytes of a file, read only, shared with the page cache.
    ///
    /// # Errors
    /// If it cannot be mapped.
    pub fn file(file: impl AsFd, length: usize) -> io::Result<Self> {
        Self::of(file, length, ProtFlags::READ, MapFlags::SHARED)
    }

    /// The same, writable, and what is written goes to the file.
    ///
    /// # Errors
    /// If it cannot be mapped.
    pub fn shared(file: impl AsFd, length: usize) -> io::Result<Self> {
        Self::of(file, length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED)
    }

    /// The same, writable, and what is written stays here.
    ///
    /// # Errors
    /// If it cannot be mapped.
    pub fn private(file: impl AsFd, length: usize) -> io::Result<Self> {
        Self::of(file, length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
    }

    fn of(file: impl AsFd, length: usize, protection: ProtFlags, flags: MapFlags) -> io::Result<Self> {
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let address = unsafe { rustix::mm::mmap(std::ptr::null_mut(), length, protection, flags, file, 0) }?;
        Ok(Self { address: address.cast(), length })
    }

    /// Where it starts.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.address as u64
    }

    /// Bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length as u64
    }

    /// The bytes. A page that is missing and registered makes the reader wait for its server.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: mapped and readable for the life of `self`.
        unsafe { std::slice::from_raw_parts(self.address, self.length) }
    }

    /// The whole pages.
    #[must_use]
    pub fn pages(&self) -> &[Page] {
        self.bytes().as_chunks().0
    }

    /// The bytes, for writing; only of [`Mapping::anonymous`], [`Mapping::private`] and [`Mapping::shared`].
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: mapped and writable for the life of `self`.
        unsafe { std::slice::from_raw_parts_mut(self.address, self.length) }
    }

    /// Gives the range away: its memory lives as long as the process.
    #[must_use]
    pub fn leak(self) -> *mut u8 {
        let address = self.address;
        std::mem::forget(self);
        address
    }

    /// Gives pages of a shared mapping memory, so that writing them cannot fail and does not fault one by one.
    ///
    /// # Errors
    /// `EFAULT` or `ENOMEM` without memory; `EINVAL` before Linux 5.14.
    pub(super) fn populate(&self, first: usize, pages: usize) -> rustix::io::Result<()> {
        assert!((first + pages) * PAGE <= self.length);
        // SAFETY: in the range by the line above; what is there is not changed.
        unsafe {
            rustix::mm::madvise(
                self.address.add(first * PAGE).cast(),
                pages * PAGE,
                rustix::mm::Advice::LinuxPopulateWrite,
            )
        }
    }

    /// Copies pages into a shared mapping, of which other threads write other pages at the same time.
    ///
    /// # Safety
    /// Nobody else reads or writes these pages meanwhile, and they are writable.
    pub(super) unsafe fn fill(&self, first: usize, pages: &[Page]) {
        assert!((first + pages.len()) * PAGE <= self.length);
        // SAFETY: in the range by the line above; not used by others by the promise of the caller.
        unsafe {
            std::ptr::copy_nonoverlapping(
                pages.as_ptr().cast(),
                self.address.add(first * PAGE),
                size_of_val(pages),
            );
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by us and not used after this.
        let _ = unsafe { rustix::mm::munmap(self.address.cast(), self.length) };
    }
}

/// Pages on the heap, at the start of a page: what direct reads and devices ask for.
#[derive(Debug)]
pub struct PageBuffer(Mapping);

impl PageBuffer {
    /// Room for so many pages, already resident.
    ///
    /// # Errors
    /// Without memory.
    pub fn new(pages: usize) -> io::Result<Self> {
        let mut memory = Mapping::anonymous(pages.max(1) * PAGE)?;
        memory.bytes_mut().fill(0);
        Ok(Self(memory))
    }

    /// The pages.
    #[must_use]
    pub fn pages(&self) -> &[Page] {
        self.0.pages()
    }

    /// The pages, for writing.
    pub fn pages_mut(&mut self) -> &mut [Page] {
        self.0.bytes_mut().as_chunks_mut().0
    }
}

/// A file in memory of `length` bytes, empty, whose size is fixed and that can be sealed further.
///
/// # Errors
/// Without memory or descriptors.
pub fn memory_file(name: &str, length: u64) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::NOEXEC_SEAL;
    let file = match rustix::fs::memfd_create(name, flags) {
        // Kernels before 6.3 do not know the last flag.
        Err(rustix::io::Errno::INVAL) => {
            rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        }
        made => made,
    }?;
    rustix::fs::ftruncate(&file, length)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK)?;
    Ok(file.into())
}

/// Makes room in a file, so that writing to its mapping cannot fail.
///
/// # Errors
/// `ENOSPC` or `ENOMEM`.
pub fn reserve(file: impl AsFd, first_page: u64, pages: usize) -> rustix::io::Result<()> {
    let (offset, length) = (first_page * PAGE as u64, (pages * PAGE) as u64);
    rustix::io::retry_on_intr(|| rustix::fs::fallocate(&file, FallocateFlags::empty(), offset, length))
}
