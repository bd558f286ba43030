//! Near memory in front of farther sources: pages that are wanted again and again are brought back to it.
//!
//! The near memory is a folder on a file system: on a CXL device that is mapped directly, or a tmpfs whose memory a
//! CXL node gives. Each template has a file there, laid out as its own and with gaps, so that only what was brought
//! takes room. Pages that a farther source has delivered, and that were right, are counted; after so many uses they are
//! handed to a thread that writes them there: nobody who faults waits for that. Pages of a recorded working set are
//! known to be hot, and are brought with their first use. Nothing is put out again: when the room is used up, the rest
//! stays far.
//!
//! What is here goes with the server. It is read by system calls, not by loads: a device that fails then is an error,
//! and the next source is asked.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::{PageSource, SourceError, check_range};
use crate::pager::memory::Page;
use crate::pager::working_set::WorkingSet;
use crate::template::pages::PageTable;

/// Uses after which a page is brought back, as in the simulator's tiered pool.
pub const AFTER: u8 = 4;
/// Runs of pages that wait to be written. Those that find no place come again with their next use.
const WAITING: usize = 64;

/// Pages that have been brought, by number.
#[derive(Debug)]
struct Here {
    file: File,
    /// As bits.
    pages: Box<[AtomicU64]>,
    /// Pages for which there is room.
    room: AtomicU64,
}

impl Here {
    fn has(&self, page: u64) -> bool {
        // What the bit stands for was written before it.
        self.pages[(page / 64) as usize].load(Ordering::Acquire) & (1 << (page % 64)) != 0
    }

    /// Writes pages; only one thread does.
    fn bring(&self, first: u64, pages: &[Page]) -> io::Result<()> {
        for (number, page) in (first..).zip(pages) {
            if self.has(number) {
                continue;
            }
            let Some(left) = self.room.load(Ordering::Relaxed).checked_sub(1) else { return Ok(()) };
            self.file.write_all_at(page, number * size_of::<Page>() as u64)?;
            self.room.store(left, Ordering::Relaxed);
            self.pages[(number / 64) as usize].fetch_or(1 << (number % 64), Ordering::Release);
        }
        Ok(())
    }
}

type Run = (u64, Vec<Page>);

/// Near memory for one template.
#[derive(Debug)]
pub struct Near {
    here: Arc<Here>,
    after: u8,
    uses: Box<[AtomicU8]>,
    bring: Option<SyncSender<Run>>,
    thread: Option<JoinHandle<()>>,
    name: String,
}

impl Near {
    /// Empty near memory in `folder`, for a template with this table; `working_set` is where its recorded one is kept,
    /// if there is one. Holds up to `bytes`, and what has been used `after` times.
    ///
    /// # Errors
    /// If there can be no file.
    pub fn open(
        folder: &Path,
        table: &PageTable,
        working_set: &Path,
        bytes: u64,
        after: u8,
    ) -> Result<Self, SourceError> {
        let count = table.hashes().len();
        let path = folder.join(format!("{}.{}.near", table.root().to_hex(), std::process::id()));
        let make = || {
            let file = File::options().read(true).write(true).create_new(true).open(&path)?;
            // It goes with its last user, however that ends.
            std::fs::remove_file(&path)?;
            file.set_len((count * size_of::<Page>()) as u64)?;
            Ok(file)
        };
        let file = make().map_err(SourceError::io("cannot make a file in the near memory"))?;
        let here = Arc::new(Here {
            file,
            pages: (0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            room: AtomicU64::new(bytes / size_of::<Page>() as u64),
        });
        let mut uses: Box<[AtomicU8]> = (0..count).map(|_| AtomicU8::new(0)).collect();
        // Without a record, uses tell.
        for page in
            WorkingSet::read(working_set, table.root(), count as u64).map_or(Vec::new(), |set| set.pages)
        {
            uses[page as usize] = AtomicU8::new(after.saturating_sub(1));
        }
        let (bring, runs) = sync_channel(WAITING);
        let for_thread = Arc::clone(&here);
        let thread = std::thread::Builder::new()
            .name("pager near".into())
            .spawn(move || write(&for_thread, &runs))
            .map_err(SourceError::io("cannot start the thread that brings pages"))?;
        Ok(Self {
            here,
            after,
            uses,
            bring: Some(bring),
            thread: Some(thread),
            name: format!("near {}", folder.display()),
        })
    }
}

fn write(here: &Here, runs: &Receiver<Run>) {
    for (first, pages) in runs {
        if let Err(error) = here.bring(first, &pages) {
            // Full, or it fails: no more is brought, and what is there is as good as before.
            eprintln!("trenvx: no more pages are brought to the near memory: {error}");
            here.room.store(0, Ordering::Relaxed);
        }
    }
}

impl Drop for Near {
    fn drop(&mut self) {
        drop(self.bring.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl PageSource for Near {
    fn name(&self) -> &str {
        &self.name
    }

    fn pages(&self) -> u64 {
        self.uses.len() as u64
    }

    fn is_partial(&self) -> bool {
        true
    }

    fn holds(&self, first: u64, count: usize) -> usize {
        (first..self.pages()).take(count).take_while(|page| self.here.has(*page)).count()
    }

    fn read(&self, first: u64, into: &mut [Page]) -> Result<(), SourceError> {
        check_range(first, into.len(), self.pages())?;
        if self.holds(first, into.len()) < into.len() {
            return Err(SourceError::Elsewhere);
        }
        let offset = first * size_of::<Page>() as u64;
        let read = self.here.file.read_exact_at(into.as_flattened_mut(), offset);
        read.map_err(SourceError::io("cannot read the near memory"))
    }

    fn offer(&self, first: u64, pages: &[Page]) {
        let Some(bring) = &self.bring else { return };
        if self.here.room.load(Ordering::Relaxed) == 0 {
            return;
        }
        let wanted = |page: u64| {
            let uses = &self.uses[page as usize];
            let used = uses.load(Ordering::Relaxed).saturating_add(1);
            uses.store(used, Ordering::Relaxed);
            used >= self.after && !self.here.has(page)
        };
        let mut run: Run = (first, Vec::new());
        for (page, bytes) in (first..).zip(pages) {
            if wanted(page) {
                if run.1.is_empty() {
                    run.0 = page;
                }
                run.1.push(*bytes);
            } else if !run.1.is_empty() {
                let _ = bring.try_send(std::mem::take(&mut run));
            }
        }
        if !run.1.is_empty() {
            let _ = bring.try_send(run);
        }
    }
}
