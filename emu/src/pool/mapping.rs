//! Memory mapped from a file or device.

use std::fs::File;
use std::io;
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// A mapping of a file or device from its begin, unmapped with this value.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory belongs to the mapping and not to a thread.
unsafe impl Send for Mapping {}
// SAFETY: shared access only reads, or goes through atomics.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `length` bytes that can be read, private: a page is copied to local memory by its first write, and without
    /// one the loads go to where the file lies.
    pub(super) fn private(file: &File, length: usize) -> io::Result<Self> {
        Self::new(file, length, ProtFlags::READ, MapFlags::PRIVATE)
    }

    /// `length` bytes that can be read, shared with every other user of the device.
    pub(super) fn shared(file: &File, length: usize) -> io::Result<Self> {
        Self::new(file, length, ProtFlags::READ, MapFlags::SHARED)
    }

    /// The same, to be written too.
    pub(super) fn shared_mut(file: &File, length: usize) -> io::Result<Self> {
        Self::new(file, length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED)
    }

    /// Memory of our own, zeros at first.
    pub(super) fn anonymous(length: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: as in `new`.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), length, protection, MapFlags::PRIVATE) }?;
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { start, length })
    }

    fn new(file: &File, length: usize, protection: ProtFlags, flags: MapFlags) -> io::Result<Self> {
        // SAFETY: the address is the kernel's choice, so nothing that is mapped is replaced.
        let start = unsafe { mmap(ptr::null_mut(), length, protection, flags, file, 0) }?;
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { start, length })
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The address of byte `at`, of which `length` bytes follow within the mapping.
    ///
    /// # Panics
    /// If they do not: callers check what they read from a device before.
    pub(super) fn at(&self, at: usize, length: usize) -> *mut u8 {
        assert!(
            at.checked_add(length).is_some_and(|end| end <= self.length),
            "{at}+{length} of {}",
            self.length
        );
        // SAFETY: within the mapping by the line above.
        unsafe { self.start.as_ptr().add(at) }
    }

    /// Copies bytes out.
    pub(super) fn read(&self, at: usize, into: &mut [u8]) {
        let from = self.at(at, into.len());
        // SAFETY: `from` has so many bytes, and `into` is memory of ours that nobody else writes. Another host may
        // write the source meanwhile: what comes is checked by its hash before anybody relies on it.
        unsafe { ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
    }

    /// Copies bytes in. Only for mappings that may be written.
    pub(super) fn write(&self, at: usize, bytes: &[u8]) {
        let to = self.at(at, bytes.len());
        // SAFETY: `to` has so many bytes, which this host has reserved for itself in the directory.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// Pushes what was written out of this processor's caches, to where other hosts see it.
    pub(super) fn flush(&self, at: usize, length: usize) {
        let start = self.at(at, length);
        #[cfg(target_arch = "x86_64")]
        for line in (0..length).step_by(64) {
            // SAFETY: the line is in the mapping, and flushing changes no contents.
            unsafe { std::arch::x86_64::_mm_clflush(start.add(line)) };
        }
        let _ = start;
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, and nothing that borrows from it outlives it.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}
