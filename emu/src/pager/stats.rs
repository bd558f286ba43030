//! What the server counts. Every thread has cells of its own, which only it writes: counting takes no lock and no
//! shared cache line, and reading sums the cells up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::source::SourceError;

/// A count that one thread writes and everybody reads.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds, from the one thread that writes.
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }

    /// Takes away, from the one thread that writes.
    pub fn sub(&self, less: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) - less, Ordering::Relaxed);
    }

    /// What it is now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Two buckets for every doubling, from nanoseconds to four seconds.
const BUCKETS: usize = 64;

/// Times, as counts in buckets.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Count; BUCKETS],
    sum_ns: Count,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| Count::default()), sum_ns: Count::default() }
    }
}

impl Histogram {
    /// Counts a time.
    pub fn add(&self, time: Duration) {
        let ns = time.as_nanos() as u64;
        self.sum_ns.add(ns);
        self.buckets[bucket(ns)].add(1);
    }
}

fn bucket(ns: u64) -> usize {
    let ns = ns.clamp(2, u64::from(u32::MAX));
    let octave = ns.ilog2();
    let half = (ns >> (octave - 1)) & 1;
    (octave * 2) as usize + half as usize
}

/// The end of a bucket, nanoseconds.
#[must_use]
pub fn bucket_end_ns(bucket: usize) -> u64 {
    let (octave, half) = (bucket as u32 / 2, bucket as u64 % 2);
    if octave == 0 { 2 } else { (3 + half) << (octave - 1) }
}

macro_rules! counts {
    ($(#[$meta:meta])* $cells:ident, $sums:ident { $($(#[doc = $doc:literal])+ $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        #[repr(align(128))]
        #[allow(missing_docs, reason = "documented where they are summed up")]
        pub struct $cells {
            $(pub $field: Count,)*
        }

        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $sums {
            $($(#[doc = $doc])+ pub $field: u64,)*
        }

        impl $sums {
            /// Name, meaning and value of each.
            #[must_use]
            pub fn list(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($field), concat!($($doc),+).trim_ascii(), self.$field),)*]
            }

            fn gather(&mut self, cells: &$cells) {
                $(self.$field += cells.$field.get();)*
            }
        }
    };
}

counts! {
    /// What a thread of the server has done.
    ThreadCells, ThreadSums {
        /// Faults that were served.
        faults,
        /// Pages that were copied into processes.
        copied_pages,
        /// Pages that were mapped from the shared cache.
        continued_pages,
        /// Pages of zeros.
        zero_pages,
        /// Pages that were installed before anybody asked.
        prefetched_pages,
        /// Pages that were there already.
        exists,
        /// Installs that had to be tried again, because an event was unread.
        again,
        /// Faults that waited for something and were tried again.
        deferred,
        /// Pages that the cache had no room for.
        cache_full_pages,
        /// Pages that were put into the cache.
        cached_pages,
        /// Processes that were attached.
        attached,
        /// Processes that are gone.
        detached,
        /// Processes that were ended, because a page could not be had.
        ended,
        /// Forks of attached processes.
        forks,
        /// Ranges that moved.
        remaps,
        /// Ranges that became zeros.
        removes,
        /// Ranges that were unmapped.
        unmaps,
        /// Messages that a manager did not take.
        notices_lost,
    }
}

counts! {
    /// What was read from a source.
    SourceCells, SourceSums {
        /// Reads.
        reads,
        /// Pages that came.
        pages,
        /// Bytes that came.
        bytes,
        /// Reads that failed.
        failures,
        /// Pages that differed from the template's table, and were thrown away.
        wrong_pages,
        /// Reads that were not answered in time.
        late,
    }
}

/// Cells of all threads for one source.
#[derive(Debug)]
pub struct SourceStats {
    template: String,
    name: String,
    cells: Box<[(SourceCells, Histogram)]>,
}

impl SourceStats {
    /// For a source of a template, and so many threads.
    #[must_use]
    pub fn new(template: &str, name: &str, threads: usize) -> Self {
        let cells = (0..threads).map(|_| Default::default()).collect();
        Self { template: template.to_owned(), name: name.to_owned(), cells }
    }

    /// The cells of this thread.
    #[must_use]
    pub fn of(&self, thread: usize) -> &SourceCells {
        &self.cells[thread].0
    }

    /// The times of this thread's reads.
    #[must_use]
    pub fn times(&self, thread: usize) -> &Histogram {
        &self.cells[thread].1
    }

    /// What all threads have counted.
    #[must_use]
    pub fn sums(&self) -> SourceReport {
        let mut counts = SourceSums::default();
        let mut times = Times::default();
        for (cells, histogram) in &self.cells {
            counts.gather(cells);
            times.gather(histogram);
        }
        SourceReport { template: self.template.clone(), source: self.name.clone(), counts, read: times }
    }
}

impl SourceCells {
    /// A read that brought pages.
    pub fn read(&self, pages: usize) {
        self.reads.add(1);
        self.pages.add(pages as u64);
        self.bytes.add(pages as u64 * crate::template::pages::PAGE as u64);
    }

    /// A read that did not.
    pub fn failed(&self, error: &SourceError) {
        if matches!(error, SourceError::Elsewhere) {
            return;
        }
        self.reads.add(1);
        match error {
            SourceError::Hash(_) => self.wrong_pages.add(1),
            SourceError::Late(_) => self.late.add(1),
            _ => self.failures.add(1),
        }
    }
}

/// The cells of one thread of the server.
#[derive(Debug, Default)]
pub struct ThreadStats {
    /// Counts.
    pub counts: ThreadCells,
    /// From the moment a fault was read to the moment its page was in place.
    pub faults: Histogram,
}

/// Times of many events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// Their sum, nanoseconds.
    pub sum_ns: u64,
    /// How many are in each bucket; see [`bucket_end_ns`].
    pub buckets: Vec<u64>,
}

impl Times {
    fn gather(&mut self, histogram: &Histogram) {
        self.sum_ns += histogram.sum_ns.get();
        self.buckets.resize(BUCKETS, 0);
        for (sum, count) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *sum += count.get();
        }
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// A time that this part of them did not exceed, to within a bucket.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let place = ((self.count() as f64 * part).ceil() as u64).max(1);
        let mut before = 0;
        let bucket = self.buckets.iter().position(|count| {
            before += count;
            before >= place
        })?;
        Some(Duration::from_nanos(bucket_end_ns(bucket)))
    }
}

/// What one source has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// The template's folder.
    pub template: String,
    /// Its name.
    pub source: String,
    /// Counts.
    pub counts: SourceSums,
    /// Times of reads, from asking to having.
    pub read: Times,
}

/// What the whole server has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Counts of all threads.
    pub counts: ThreadSums,
    /// From the moment a fault was read to the moment its page was in place.
    pub faults: Times,
    /// Processes that are attached now, forked ones included.
    pub attachments: u64,
    /// Pages that the caches of all templates hold now.
    pub cache_pages: u64,
    /// By template and source.
    pub sources: Vec<SourceReport>,
    /// Sources that do not have a template, and why.
    pub unusable: Vec<String>,
}

impl Report {
    /// Sums the threads up.
    #[must_use]
    pub fn of<'a>(threads: impl IntoIterator<Item = &'a ThreadStats>) -> Self {
        let mut report = Self::default();
        for thread in threads {
            report.counts.gather(&thread.counts);
            report.faults.gather(&thread.faults);
        }
        report.attachments =
            (report.counts.attached + report.counts.forks).saturating_sub(report.counts.detached);
        report
    }

    /// The sources of this name, summed up over templates.
    #[must_use]
    pub fn source(&self, name: &str) -> SourceSums {
        let mut sums = SourceSums::default();
        for report in self.sources.iter().filter(|report| report.source == name) {
            let found = &report.counts;
            sums.reads += found.reads;
            sums.pages += found.pages;
            sums.bytes += found.bytes;
            sums.failures += found.failures;
            sums.wrong_pages += found.wrong_pages;
            sums.late += found.late;
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_the_bucket_that_ends_behind_it() {
        for ns in [1, 2, 3, 4, 5, 6, 7, 8, 1000, 1023, 1024, 1535, 1536, 123_456_789] {
            let bucket = bucket(ns);
            assert!(ns < bucket_end_ns(bucket), "{ns}");
            assert!(bucket < 3 || ns >= bucket_end_ns(bucket - 1), "{ns}");
        }
    }

    #[test]
    fn quantiles_come_from_the_sum_of_all_threads() {
        let threads = [ThreadStats::default(), ThreadStats::default()];
        for us in 1..=50 {
            threads[0].faults.add(Duration::from_micros(us));
            threads[1].faults.add(Duration::from_micros(us + 50));
        }
        threads[1].counts.faults.add(50);
        let report = Report::of(&threads);
        assert_eq!((report.faults.count(), report.counts.faults), (100, 50));
        let median = report.faults.quantile(0.5).unwrap();
        assert!((50..80).contains(&median.as_micros()), "{median:?}");
        assert_eq!(Times::default().quantile(0.5), None);
    }
}
