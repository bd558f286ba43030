//! The working set of a template: which pages a process touched, in the order of their first faults.
//!
//! ```text
//! "trenvxWS" | version u32 | 0 u32 | count u64 | root hash of the table [u8; 32] | hash of what follows [u8; 32]
//! then count page numbers, u64
//! ```
//!
//! Numbers are little-endian. Recording and replaying it is REAP (Ustiugov et al., ASPLOS 2021); joining pages that
//! are close to each other into regions, and prefetching those, is FaaSnap's loading set (Ao et al., EuroSys 2022).

use std::io::{self, Read};
use std::path::Path;

/// Name of its file in the folder of a template.
pub const WORKING_SET: &str = "working-set";

const MAGIC: &[u8; 8] = b"trenvxWS";
const VERSION: u32 = 1;
const HEAD: usize = 8 + 4 + 4 + 8 + 32 + 32;

/// Why a working set was refused.
#[derive(Debug, thiserror::Error)]
pub enum WorkingSetError {
    /// It could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is none, is of another version, or is cut off or changed.
    #[error("this is no working set of version {VERSION}, or it is damaged: record it again")]
    Damaged,
    /// It belongs to other pages.
    #[error("it was recorded with another template: record it again")]
    Foreign,
}

/// Pages in the order of their first faults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkingSet {
    /// Page numbers, each once.
    pub pages: Vec<u64>,
}

impl WorkingSet {
    /// Reads the working set of the template with this root hash.
    ///
    /// # Errors
    /// If it is damaged or belongs to another template.
    pub fn read(path: &Path, root: blake3::Hash, has: u64) -> Result<Self, WorkingSetError> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.read_to_end(&mut bytes)?;
        let (head, rest) = bytes.split_at_checked(HEAD).ok_or(WorkingSetError::Damaged)?;
        let field = |from: usize| u64::from_le_bytes(head[from..from + 8].try_into().expect("eight bytes"));
        let (numbers, cut) = rest.as_chunks::<8>();
        let good = &head[..8] == MAGIC
            && head[8..12] == VERSION.to_le_bytes()
            && field(16) == numbers.len() as u64
            && cut.is_empty()
            && blake3::hash(rest).as_bytes() == &head[56..HEAD];
        if !good {
            return Err(WorkingSetError::Damaged);
        }
        let pages: Vec<u64> = numbers.iter().map(|number| u64::from_le_bytes(*number)).collect();
        if &head[24..56] != root.as_bytes() || pages.iter().any(|page| *page >= has) {
            return Err(WorkingSetError::Foreign);
        }
        Ok(Self { pages })
    }

    /// Writes it, in the place of an older one if there is one; a reader sees either of the two.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path, root: blake3::Hash) -> io::Result<()> {
        let numbers: Vec<[u8; 8]> = self.pages.iter().map(|page| page.to_le_bytes()).collect();
        let numbers = numbers.as_flattened();
        let mut bytes = Vec::with_capacity(HEAD + numbers.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&0_u32.to_le_bytes());
        bytes.extend_from_slice(&(self.pages.len() as u64).to_le_bytes());
        bytes.extend_from_slice(root.as_bytes());
        bytes.extend_from_slice(blake3::hash(numbers).as_bytes());
        bytes.extend_from_slice(numbers);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let beside = path.with_extension(format!("{}.tmp", std::process::id()));
        std::fs::write(&beside, bytes)?;
        std::fs::rename(&beside, path).inspect_err(|_| drop(std::fs::remove_file(&beside)))
    }

    /// The pages as they were faulted: neighbours in time that are neighbours in the file make one range (first,
    /// count).
    #[must_use]
    pub fn in_order(&self) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for page in &self.pages {
            match ranges.last_mut() {
                Some((first, count)) if *first + *count == *page => *count += 1,
                _ => ranges.push((*page, 1)),
            }
        }
        ranges
    }

    /// Ranges (first, count) that hold all pages and what lies between pages that are at most `gap` pages apart.
    #[must_use]
    pub fn regions(&self, gap: u64) -> Vec<(u64, u64)> {
        let mut sorted = self.pages.clone();
        sorted.sort_unstable();
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for page in sorted {
            match ranges.last_mut() {
                Some((first, count)) if page <= *first + *count + gap => *count = page + 1 - *first,
                _ => ranges.push((page, 1)),
            }
        }
        ranges
    }
}

/// Records first faults, without allocation.
#[derive(Debug)]
pub struct Recorder {
    pages: Vec<u64>,
    seen: Box<[u64]>,
}

impl Recorder {
    /// For a template of `has` pages.
    #[must_use]
    pub fn new(has: u64) -> Self {
        Self { pages: Vec::with_capacity(has as usize), seen: vec![0; (has as usize).div_ceil(64)].into() }
    }

    /// A fault on this page.
    pub fn add(&mut self, page: u64) {
        let (word, bit) = ((page / 64) as usize, 1 << (page % 64));
        if self.seen[word] & bit == 0 {
            self.seen[word] |= bit;
            self.pages.push(page);
        }
    }

    /// What was recorded.
    #[must_use]
    pub fn finish(self) -> WorkingSet {
        WorkingSet { pages: self.pages }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded() -> WorkingSet {
        let mut recorder = Recorder::new(100);
        for page in [9, 10, 11, 40, 9, 5, 41, 90] {
            recorder.add(page);
        }
        recorder.finish()
    }

    #[test]
    fn first_faults_are_recorded_in_order() {
        assert_eq!(recorded().pages, [9, 10, 11, 40, 5, 41, 90]);
        assert_eq!(recorded().in_order(), [(9, 3), (40, 1), (5, 1), (41, 1), (90, 1)]);
    }

    #[test]
    fn pages_within_a_gap_make_a_region() {
        assert_eq!(recorded().regions(0), [(5, 1), (9, 3), (40, 2), (90, 1)]);
        assert_eq!(recorded().regions(3), [(5, 7), (40, 2), (90, 1)]);
        assert_eq!(recorded().regions(100), [(5, 86)]);
    }

    #[test]
    fn it_comes_back_and_is_refused_when_damaged_or_foreign() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sets/one");
        let root = blake3::hash(b"a template");
        recorded().write(&path, root).unwrap();
        recorded().write(&path, root).unwrap();
        assert_eq!(WorkingSet::read(&path, root, 100).unwrap(), recorded());
        let foreign = WorkingSet::read(&path, blake3::hash(b"another"), 100).unwrap_err();
        assert!(matches!(foreign, WorkingSetError::Foreign));
        assert!(matches!(WorkingSet::read(&path, root, 90), Err(WorkingSetError::Foreign)));
        let good = std::fs::read(&path).unwrap();
        for at in (0..good.len()).filter(|at| !(12..16).contains(at)) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, bad).unwrap();
            assert!(WorkingSet::read(&path, root, 100).is_err(), "byte {at}");
        }
        std::fs::write(&path, &good[..50]).unwrap();
        assert!(matches!(WorkingSet::read(&path, root, 100), Err(WorkingSetError::Damaged)));
    }
}
