//! Reads a template from end to end, checks every page and says how fast that was. Also makes templates whose
//! pages are random, for tests and measurements.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, Write};
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use super::source::{PageReader, ReadError, read_verified};
use crate::guest::node::{EMULATED, EMULATED_BY};
use crate::template::pages::{ABSENT, PAGE, PAGES, PageTable, TABLE, hash_page};

/// What came of reading a template.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Survey {
    /// Kind of memory.
    pub source: &'static str,
    /// Pages that were read, each compared with its hash.
    pub pages: u64,
    /// Pages asked for at a time.
    pub batch: usize,
    /// Time of the whole, without comparing, seconds.
    pub read_s: f64,
    /// Median time of a batch, microseconds.
    pub batch_us_p50: f64,
    /// 99th percentile of the same.
    pub batch_us_p99: f64,
    /// MB (10^6 bytes) per second of reading.
    pub mb_per_s: f64,
    /// In a guest of the lab: what runs it. The times are then those of an emulation and say nothing of devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emulated_by: Option<String>,
    /// What has to be read with the times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<&'static str>,
}

/// Reads every present page once, `batch` at a time, and compares it with the table.
///
/// # Errors
/// If a page cannot be read or is wrong.
///
/// # Panics
/// If `batch` is 0.
pub fn survey(reader: &mut (impl PageReader + ?Sized), batch: usize) -> Result<Survey, ReadError> {
    let present: Vec<u64> =
        (0..reader.table().hashes().len() as u64).filter(|page| reader.table().is_present(*page)).collect();
    let mut into = vec![[0; PAGE]; batch];
    let mut times = Vec::new();
    for pages in present.chunks(batch) {
        let into = &mut into[..pages.len()];
        // What an earlier batch left must not pass for what this one brought.
        into.fill([0; PAGE]);
        let begin = Instant::now();
        reader.read(pages, into)?;
        times.push(begin.elapsed().as_secs_f64());
        for (page, bytes) in pages.iter().zip(into.iter()) {
            if !reader.table().matches(*page, bytes) {
                return Err(ReadError::Wrong { from: reader.name(), page: *page });
            }
        }
    }
    // An absent page costs no transfer; one is enough to see that it is zeros.
    let absent = (0..reader.table().hashes().len() as u64).find(|page| !reader.table().is_present(*page));
    if let Some(page) = absent {
        read_verified(reader, &[page], &mut [[1; PAGE]])?;
    }
    let read_s: f64 = times.iter().sum();
    times.sort_by(f64::total_cmp);
    let quantile = |share: f64| {
        let at = (times.len() as f64 * share) as usize;
        times.get(at.min(times.len().saturating_sub(1))).copied().unwrap_or_default() * 1e6
    };
    Ok(Survey {
        source: reader.kind(),
        pages: present.len() as u64,
        batch,
        read_s,
        batch_us_p50: quantile(0.5),
        batch_us_p99: quantile(0.99),
        mb_per_s: if read_s > 0.0 { (present.len() * PAGE) as f64 / 1e6 / read_s } else { 0.0 },
        emulated_by: std::env::var(EMULATED_BY).ok(),
        label: std::env::var_os(EMULATED_BY).map(|_| EMULATED),
    })
}

/// Makes the folder of a template of `pages` pages of noise from `seed`, of which every eighth is absent.
///
/// # Errors
/// If it cannot be written.
pub fn synthetic(folder: &Path, pages: u64, seed: u64) -> io::Result<PageTable> {
    fs::create_dir_all(folder)?;
    let mut to = BufWriter::new(File::create_new(folder.join(PAGES))?);
    let mut hashes = Vec::new();
    for number in 0..pages {
        if number % 8 == 7 {
            to.seek_relative(PAGE as i64)?;
            hashes.push(ABSENT);
            continue;
        }
        let mut page = [0; PAGE];
        let mut noise = blake3::Hasher::new();
        noise.update(&seed.to_le_bytes()).update(&number.to_le_bytes());
        noise.finalize_xof().fill(&mut page);
        to.write_all(&page)?;
        hashes.push(hash_page(&page));
    }
    let file = to.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.set_len(pages * PAGE as u64)?;
    let table = PageTable::new(hashes);
    table.write(&folder.join(TABLE))?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages in a vector, one of which may be damaged.
    struct Held(PageTable, Vec<u8>);

    impl PageReader for Held {
        fn kind(&self) -> &'static str {
            "held"
        }
        fn name(&self) -> String {
            "held".into()
        }
        fn table(&self) -> &PageTable {
            &self.0
        }
        fn read(&mut self, pages: &[u64], into: &mut [[u8; PAGE]]) -> Result<(), ReadError> {
            for (page, into) in pages.iter().zip(into) {
                into.copy_from_slice(&self.1[*page as usize * PAGE..][..PAGE]);
            }
            Ok(())
        }
    }

    #[test]
    fn every_page_is_compared() {
        let folder = tempfile::tempdir().unwrap();
        let table = synthetic(folder.path(), 20, 3).unwrap();
        assert_eq!(table.present(), 18);
        let bytes = fs::read(folder.path().join(PAGES)).unwrap();
        let mut held = Held(table, bytes);
        assert_eq!(survey(&mut held, 4).unwrap().pages, 18);
        for page in [0, 7, 19] {
            held.1[page * PAGE + 99] ^= 1;
            let error = survey(&mut held, 4).unwrap_err();
            assert!(matches!(error, ReadError::Wrong { page: wrong, .. } if wrong == page as u64), "{error}");
            held.1[page * PAGE + 99] ^= 1;
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_template() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, seed| synthetic(&folder.path().join(name), 9, seed).unwrap().root();
        assert_eq!(make("a", 1), make("b", 1));
        assert_ne!(make("c", 1), make("d", 2));
    }
}
