//! 16-byte records as bytes and back, without copying: the one place with `unsafe` code for it.

use crate::llm::LlmRequest;
use crate::workload::Invocation;
use memmap2::Mmap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

#[cfg(target_endian = "big")]
compile_error!("workload files are little-endian and are mapped into memory as they are");

/// Bytes of one record.
pub const RECORD_BYTES: usize = 16;

/// A plain 16-byte record.
///
/// # Safety
/// The type is `repr(C)`, 16 bytes long without padding, aligned to at most 16 bytes, and every
/// pattern of bits is a value of it.
pub unsafe trait Record: Copy + 'static {}

// SAFETY: two u64, repr(C), no padding, no invalid bit patterns.
unsafe impl Record for Invocation {}
// SAFETY: one u64 and two u32, repr(C), no padding, no invalid bit patterns.
unsafe impl Record for LlmRequest {}

/// The records as the bytes that a workload file holds.
pub fn as_bytes<T: Record>(records: &[T]) -> &[u8] {
    const { assert!(size_of::<T>() == RECORD_BYTES && align_of::<T>() <= RECORD_BYTES) };
    // SAFETY: `Record` promises 16 bytes without padding; the slice is that many initialised bytes,
    // borrowed as long as `records`.
    unsafe { std::slice::from_raw_parts(records.as_ptr().cast(), size_of_val(records)) }
}

/// Time-ordered records: in memory, or a section of a mapped file.
#[derive(Clone)]
pub struct Records<T: Record>(Storage<T>);

#[derive(Clone)]
enum Storage<T> {
    Owned(Vec<T>),
    Mapped { map: Arc<Mmap>, offset: usize, count: usize },
}

/// The invocations of a workload; reads as `&[Invocation]`.
pub type Invocations = Records<Invocation>;

impl<T: Record> Records<T> {
    /// `count` records that begin `offset` bytes into a mapped file; `None` if they do not lie
    /// within it or are not aligned.
    pub(crate) fn mapped(map: Arc<Mmap>, offset: usize, count: usize) -> Option<Self> {
        let end = count.checked_mul(RECORD_BYTES)?.checked_add(offset)?;
        let aligned = (map.as_ptr() as usize).wrapping_add(offset).is_multiple_of(align_of::<T>());
        (end <= map.len() && aligned).then_some(Self(Storage::Mapped { map, offset, count }))
    }

    /// Whether the records lie in a mapped file rather than in this process's own memory.
    pub fn is_mapped(&self) -> bool {
        matches!(self.0, Storage::Mapped { .. })
    }

    /// The records as an owned vector (copied if they are mapped).
    pub fn into_vec(self) -> Vec<T> {
        match self.0 {
            Storage::Owned(records) => records,
            Storage::Mapped { .. } => self.to_vec(),
        }
    }
}

impl<T: Record> Deref for Records<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match &self.0 {
            Storage::Owned(records) => records,
            Storage::Mapped { map, offset, count } => {
                // SAFETY: `mapped` has checked that `count` records lie within the map and are
                // aligned; every bit pattern is a record; the map lives as long as `self`. Nobody
                // writes to a workload file in place: it is replaced by renaming (atomic.rs).
                unsafe { std::slice::from_raw_parts(map.as_ptr().add(*offset).cast(), *count) }
            }
        }
    }
}

impl<T: Record> Default for Records<T> {
    fn default() -> Self {
        Self(Storage::Owned(Vec::new()))
    }
}

impl<T: Record> From<Vec<T>> for Records<T> {
    fn from(records: Vec<T>) -> Self {
        Self(Storage::Owned(records))
    }
}

impl<T: Record> FromIterator<T> for Records<T> {
    fn from_iter<I: IntoIterator<Item = T>>(records: I) -> Self {
        Self(Storage::Owned(records.into_iter().collect()))
    }
}

impl<'a, T: Record> IntoIterator for &'a Records<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Record + PartialEq> PartialEq for Records<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Record> fmt::Debug for Records<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records", self.len())
    }
}
