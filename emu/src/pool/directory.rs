//! The directory of templates on a device that is mapped as a whole.
//!
//! ```text
//! byte 0       head: "trenvxPD" | version u32 | slots u32 | size of the device u64 | lock u64 | check [u8; 16]
//! byte 4096    128 slots of 256 bytes: state u64 | owner u64 | start u64 | pages u64 | table u64 |
//!              root hash [u8; 32] | name [u8; 64] | check [u8; 16]
//! byte 2 MiB   pages and tables of templates, each from a multiple of 2 MiB: page n of a template at
//!              start + n x 4096, so that every host builds it over the same offsets; its table is 16 bytes a
//!              page, at `table`, in the same extent
//! ```
//!
//! Numbers are little-endian; a check is the first half of the BLAKE3 hash of what it covers: the head up to the
//! lock, a slot from `owner` on. A slot's state is written last, so that a host that reads sees a whole entry or
//! none.
//!
//! Hosts take turns in changing the directory by the lock, which holds the taker's number. That asks for atomic
//! operations between hosts, which CXL 3 devices give to memory that is shared in hardware; where they are missing,
//! one host fills and the others read. Copying pages needs no lock: an entry that is being filled keeps its space.
//! A host that dies while it fills leaves such an entry, which is shown and can be removed; one that dies within
//! the few microseconds of a change leaves the lock, which is then named and can be broken. Whoever fills an entry
//! that was removed under its hands publishes nothing. A damaged slot costs its own template, and filling others
//! until it is given back, since the space that it takes is not known.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use super::mapping::Mapping;
use crate::template::pages::{PAGE, PageHash};

const MAGIC: &[u8; 8] = b"trenvxPD";
const VERSION: u32 = 1;
/// Most templates on a device.
pub const SLOTS: usize = 128;
const SLOT: usize = 256;
const FIRST_SLOT: usize = 4096;
/// Templates start at multiples of this, and the first one at it.
pub const ALIGNMENT: u64 = 2 << 20;
const LOCK_AT: usize = 24;
const HEAD_CHECK_AT: usize = 32;
/// Longest name of a template, bytes.
pub const LONGEST_NAME: usize = 64;
/// How long the lock may be held by others. It takes microseconds.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a slot may change hands. It takes microseconds; one that is wrong for longer is damaged.
const REUSE: Duration = Duration::from_millis(5);

const FREE: u64 = 0;
const FILLING: u64 = 1;
const READY: u64 = 2;

/// Offsets within a slot.
mod field {
    pub(super) const STATE: usize = 0;
    pub(super) const OWNER: usize = 8;
    pub(super) const START: usize = 16;
    pub(super) const PAGES: usize = 24;
    pub(super) const TABLE: usize = 32;
    pub(super) const ROOT: usize = 40;
    pub(super) const NAME: usize = 72;
    pub(super) const CHECK: usize = 136;
}

/// Why a directory cannot be used or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// It holds something else, or nothing.
    #[error(
        "no pool of this program: it begins with {0:02x?}. 'trenvx emu pool format' makes one and forgets what was there"
    )]
    Foreign([u8; 8]),
    /// Of another version.
    #[error("the pool has version {0}, and this program uses version {VERSION}")]
    Version(u32),
    /// Its head or a slot is damaged.
    #[error("the pool's directory is damaged: {0}")]
    Damaged(String),
    /// A slot is damaged, so nobody knows which space is its own.
    #[error(
        "slot {slot} of the pool's directory is damaged ({what}), so what is free is not known: when nobody fills it, \
         give it back with 'trenvx emu pool remove --slot {slot}'"
    )]
    Slot {
        /// Which.
        slot: usize,
        /// What is wrong with it.
        what: String,
    },
    /// A slot that is as it should be was to be given back for its damage.
    #[error("slot {0} is not damaged: remove what is there by its name")]
    Whole(usize),
    /// An entry is not its filler's any more.
    #[error("template {0} was removed while it was being filled: it was not published")]
    Taken(String),
    /// There is no room.
    #[error("the pool is full: {wanted} MiB are wanted and the largest gap has {gap} MiB")]
    Full {
        /// MiB asked for.
        wanted: u64,
        /// MiB of the largest gap.
        gap: u64,
    },
    /// There is no free slot.
    #[error("the pool has {SLOTS} templates, which is the most")]
    Slots,
    /// A template of that name is there or being filled.
    #[error("the pool has a template {name} already{}", if *.filling { ", which is being filled" } else { "" })]
    Exists {
        /// The name.
        name: String,
        /// Whether it is not whole yet.
        filling: bool,
    },
    /// There is no such template.
    #[error("the pool has no template {0}")]
    None(String),
    /// There is no template of this content.
    #[error("the pool has no whole template with root hash {0}")]
    NoRoot(String),
    /// It is not whole yet.
    #[error("template {0} is being filled, or its filler died: remove it and fill it again")]
    Filling(String),
    /// Somebody has the lock for long.
    #[error(
        "host {0:x} has locked the pool for {PATIENCE:?}: if it is dead, break the lock with 'trenvx emu pool unlock'"
    )]
    Locked(u64),
    /// A name that cannot be kept.
    #[error("'{0}' cannot be a name: 1 to {LONGEST_NAME} bytes")]
    Name(String),
}

/// A template on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Number of the host that filled it.
    pub owner: u64,
    /// Where its first page lies.
    pub start: u64,
    /// Pages.
    pub pages: u64,
    /// Where its table lies.
    pub table: u64,
    /// Fixes every byte of it.
    pub root: [u8; 32],
    /// Whether all of it is there.
    pub is_ready: bool,
}

impl Entry {
    /// Bytes from `start` to the end of its table, in whole steps.
    fn extent(pages: u64) -> u64 {
        (pages * (PAGE + size_of::<PageHash>()) as u64).next_multiple_of(ALIGNMENT).max(ALIGNMENT)
    }
}

/// The directory of a device.
#[derive(Debug)]
pub(super) struct Directory<'a> {
    device: &'a Mapping,
}

impl<'a> Directory<'a> {
    /// Makes an empty one, whatever was there.
    pub(super) fn format(device: &'a Mapping) -> Self {
        let mut head = [0; HEAD_CHECK_AT + 16];
        head[..8].copy_from_slice(MAGIC);
        head[8..12].copy_from_slice(&VERSION.to_le_bytes());
        head[12..16].copy_from_slice(&(SLOTS as u32).to_le_bytes());
        head[16..24].copy_from_slice(&(device.len() as u64).to_le_bytes());
        let check = half(&head[..LOCK_AT]);
        head[HEAD_CHECK_AT..].copy_from_slice(&check);
        device.write(0, &[0; 8]);
        device.write(FIRST_SLOT, &[0; SLOTS * SLOT]);
        device.flush(0, FIRST_SLOT + SLOTS * SLOT);
        device.write(0, &head);
        device.flush(0, head.len());
        Self { device }
    }

    /// Checks the head.
    pub(super) fn open(device: &'a Mapping) -> Result<Self, DirectoryError> {
        let mut head = [0; HEAD_CHECK_AT + 16];
        device.read(0, &mut head);
        let magic: [u8; 8] = head[..8].try_into().expect("eight bytes");
        if &magic != MAGIC {
            return Err(DirectoryError::Foreign(magic));
        }
        let version = u32::from_le_bytes(head[8..12].try_into().expect("four bytes"));
        if version != VERSION {
            return Err(DirectoryError::Version(version));
        }
        let size = u64::from_le_bytes(head[16..24].try_into().expect("eight bytes"));
        if half(&head[..LOCK_AT]) != head[HEAD_CHECK_AT..] {
            return Err(DirectoryError::Damaged("the head's check is wrong".into()));
        }
        if size != device.len() as u64 {
            let found = device.len();
            return Err(DirectoryError::Damaged(format!(
                "it was made for {size} bytes, and the device has {found}"
            )));
        }
        Ok(Self { device })
    }

    /// Every template, whole or not, and the slots that are damaged: they take nothing from the others.
    pub(super) fn entries(&self) -> (Vec<Entry>, Vec<Damage>) {
        let (mut entries, mut damages) = (Vec::new(), Vec::new());
        for slot in 0..SLOTS {
            match self.entry(slot) {
                Ok(entry) => entries.extend(entry),
                Err(what) => damages.push(Damage { slot, what }),
            }
        }
        (entries, damages)
    }

    /// The whole template of that name.
    pub(super) fn find(&self, name: &str) -> Result<Entry, DirectoryError> {
        let entry = self.entries().0.into_iter().find(|entry| entry.name == name);
        let entry = entry.ok_or_else(|| DirectoryError::None(name.to_owned()))?;
        if entry.is_ready { Ok(entry) } else { Err(DirectoryError::Filling(name.to_owned())) }
    }

    /// A whole template with this root hash, whatever its name.
    pub(super) fn find_root(&self, root: &blake3::Hash) -> Result<Entry, DirectoryError> {
        let mut entries = self.entries().0.into_iter();
        entries
            .find(|entry| entry.is_ready && entry.root == *root.as_bytes())
            .ok_or_else(|| DirectoryError::NoRoot(root.to_string()))
    }

    /// Takes space and a slot for a template that `owner` is about to fill.
    pub(super) fn reserve(
        &self,
        owner: u64,
        name: &str,
        pages: u64,
        root: [u8; 32],
    ) -> Result<Reserved, DirectoryError> {
        if name.is_empty() || name.len() > LONGEST_NAME || name.contains('\0') {
            return Err(DirectoryError::Name(name.to_owned()));
        }
        let _lock = self.lock(owner)?;
        let (entries, damages) = self.entries();
        if let Some(Damage { slot, what }) = damages.into_iter().next() {
            return Err(DirectoryError::Slot { slot, what });
        }
        if let Some(entry) = entries.iter().find(|entry| entry.name == name) {
            return Err(DirectoryError::Exists { name: name.to_owned(), filling: !entry.is_ready });
        }
        let free = |slot: &usize| self.state(*slot).load(Ordering::Acquire) == FREE;
        let slot = (0..SLOTS).find(free).ok_or(DirectoryError::Slots)?;
        let start = self.gap(&entries, Entry::extent(pages))?;
        let table = start + pages * PAGE as u64;
        let entry = Entry { name: name.to_owned(), owner, start, pages, table, root, is_ready: false };
        self.put(slot, &entry);
        Ok(Reserved { slot, entry })
    }

    /// Says that a reserved template is whole. What it consists of must have been flushed before.
    ///
    /// Somebody may have removed it meanwhile, and its slot and space may be another's by now: then nothing is
    /// published.
    pub(super) fn publish(&self, reserved: &Reserved) -> Result<(), DirectoryError> {
        let _lock = self.lock(reserved.entry.owner)?;
        self.check_held(reserved)?;
        self.set_state(reserved.slot, READY);
        Ok(())
    }

    /// That a reserved template is still its filler's.
    pub(super) fn check_held(&self, reserved: &Reserved) -> Result<(), DirectoryError> {
        if self.entry(reserved.slot).is_ok_and(|entry| entry.as_ref() == Some(&reserved.entry)) {
            return Ok(());
        }
        Err(DirectoryError::Taken(reserved.entry.name.clone()))
    }

    /// Gives the space of a reserved template back, if it is still its filler's.
    pub(super) fn give_back(&self, reserved: &Reserved) -> Result<(), DirectoryError> {
        let _lock = self.lock(reserved.entry.owner)?;
        self.check_held(reserved)?;
        self.set_state(reserved.slot, FREE);
        Ok(())
    }

    /// Gives the space of a template back, whole or not.
    pub(super) fn remove(&self, owner: u64, name: &str) -> Result<(), DirectoryError> {
        let _lock = self.lock(owner)?;
        let is_it =
            |slot: &usize| self.entry(*slot).is_ok_and(|entry| entry.is_some_and(|entry| entry.name == name));
        let slot = (0..SLOTS).find(is_it).ok_or_else(|| DirectoryError::None(name.to_owned()))?;
        self.set_state(slot, FREE);
        Ok(())
    }

    /// Gives a damaged slot back.
    pub(super) fn clear(&self, owner: u64, slot: usize) -> Result<(), DirectoryError> {
        let _lock = self.lock(owner)?;
        if slot >= SLOTS || self.entry(slot).is_ok() {
            return Err(DirectoryError::Whole(slot));
        }
        self.set_state(slot, FREE);
        Ok(())
    }

    fn set_state(&self, slot: usize, state: u64) {
        self.state(slot).store(state, Ordering::Release);
        self.device.flush(slot_at(slot), 8);
    }

    /// Takes the lock from a host that is dead, and says which one had it.
    pub(super) fn unlock(&self) -> u64 {
        self.word(LOCK_AT).swap(0, Ordering::SeqCst)
    }

    fn lock(&self, owner: u64) -> Result<Lock<'a>, DirectoryError> {
        let word = self.word(LOCK_AT);
        let until = Instant::now() + PATIENCE;
        while let Err(holder) = word.compare_exchange(0, owner, Ordering::SeqCst, Ordering::SeqCst) {
            if Instant::now() > until {
                return Err(DirectoryError::Locked(holder));
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        Ok(Lock { word, owner })
    }

    /// The first gap of so many bytes between templates.
    fn gap(&self, entries: &[Entry], wanted: u64) -> Result<u64, DirectoryError> {
        let mut taken: Vec<(u64, u64)> =
            entries.iter().map(|entry| (entry.start, entry.start + Entry::extent(entry.pages))).collect();
        taken.sort_unstable();
        let size = self.device.len() as u64;
        taken.push((size, size));
        let (mut from, mut largest) = (ALIGNMENT, 0);
        for (start, end) in taken {
            let gap = start.saturating_sub(from);
            if gap >= wanted {
                return Ok(from);
            }
            largest = largest.max(gap);
            from = from.max(end);
        }
        Err(DirectoryError::Full { wanted: wanted >> 20, gap: largest >> 20 })
    }

    fn put(&self, slot: usize, entry: &Entry) {
        let mut bytes = [0; SLOT];
        let mut set = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        set(field::OWNER, &entry.owner.to_le_bytes());
        set(field::START, &entry.start.to_le_bytes());
        set(field::PAGES, &entry.pages.to_le_bytes());
        set(field::TABLE, &entry.table.to_le_bytes());
        set(field::ROOT, &entry.root);
        set(field::NAME, entry.name.as_bytes());
        let check = half(&bytes[field::OWNER..field::CHECK]);
        bytes[field::CHECK..field::CHECK + 16].copy_from_slice(&check);
        self.device.write(slot_at(slot), &bytes);
        self.device.flush(slot_at(slot), SLOT);
        self.set_state(slot, FILLING);
    }

    /// What is in a slot, or what is wrong with it.
    fn entry(&self, slot: usize) -> Result<Option<Entry>, String> {
        let damaged = |what: &str| what.to_owned();
        let until = Instant::now() + REUSE;
        let (state, bytes) = loop {
            let state = self.state(slot).load(Ordering::Acquire);
            if state == FREE {
                return Ok(None);
            }
            let mut bytes = [0; SLOT];
            self.device.read(slot_at(slot), &mut bytes);
            let good = half(&bytes[field::OWNER..field::CHECK]) == bytes[field::CHECK..field::CHECK + 16];
            // A slot that is being given to another template is half of each for a moment.
            fence(Ordering::SeqCst);
            if good && self.state(slot).load(Ordering::Acquire) == state {
                break (state, bytes);
            }
            if Instant::now() > until {
                return Err(damaged("its check is wrong"));
            }
            std::thread::sleep(Duration::from_micros(50));
        };
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let name = bytes[field::NAME..field::NAME + LONGEST_NAME].split(|byte| *byte == 0).next();
        let name =
            std::str::from_utf8(name.unwrap_or_default()).map_err(|_| damaged("its name is no text"))?;
        let entry = Entry {
            name: name.to_owned(),
            owner: number(field::OWNER),
            start: number(field::START),
            pages: number(field::PAGES),
            table: number(field::TABLE),
            root: bytes[field::ROOT..field::ROOT + 32].try_into().expect("32 bytes"),
            is_ready: match state {
                FILLING => false,
                READY => true,
                other => return Err(damaged(&format!("no state is {other}"))),
            },
        };
        // A right check only says that somebody wrote it so.
        let end = entry
            .pages
            .checked_mul((PAGE + size_of::<PageHash>()) as u64)
            .and_then(|length| length.checked_add(entry.start));
        let inside = end.is_some_and(|end| end <= self.device.len() as u64)
            && entry.start >= ALIGNMENT
            && entry.start.is_multiple_of(ALIGNMENT)
            && entry.table == entry.start + entry.pages * PAGE as u64;
        if inside { Ok(Some(entry)) } else { Err(damaged("it lies outside of the device")) }
    }

    fn state(&self, slot: usize) -> &'a AtomicU64 {
        self.word(slot_at(slot) + field::STATE)
    }

    fn word(&self, at: usize) -> &'a AtomicU64 {
        debug_assert!(at.is_multiple_of(8));
        // SAFETY: eight bytes of the mapping, aligned since the mapping starts at a page; every access to these
        // words while others may write them goes through atomics, but for `read`, which tolerates any value.
        unsafe { AtomicU64::from_ptr(self.device.at(at, 8).cast()) }
    }
}

/// A slot that is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Which.
    pub slot: usize,
    /// What is wrong with it.
    pub what: String,
}

/// Space and a slot that are the owner's.
#[derive(Debug)]
pub(super) struct Reserved {
    slot: usize,
    pub(super) entry: Entry,
}

/// The lock, given back with this value.
struct Lock<'a> {
    word: &'a AtomicU64,
    owner: u64,
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // If somebody has broken it, it is not ours any more.
        let _ = self.word.compare_exchange(self.owner, 0, Ordering::SeqCst, Ordering::SeqCst);
    }
}

fn slot_at(slot: usize) -> usize {
    FIRST_SLOT + slot * SLOT
}

fn half(bytes: &[u8]) -> [u8; 16] {
    blake3::hash(bytes).as_bytes()[..16].try_into().expect("half of 32 bytes")
}
