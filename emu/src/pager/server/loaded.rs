//! Templates that the server has opened.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use crate::pager::cache::{Budget, Cache};
use crate::pager::source::SourceError;
use crate::pager::source::spec::OpenSource;
use crate::pager::source::tiers::{Tier, Tiers};
use crate::pager::stats::{Report, SourceStats};
use crate::pager::working_set::WORKING_SET;
use crate::template::pages::{PageTable, TABLE, TableError};

/// Why a template was refused.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no such folder.
    #[error("{0}: {1}")]
    Folder(PathBuf, io::Error),
    /// Its table of pages is not good.
    #[error("{0}: {1}")]
    Table(PathBuf, TableError),
    /// It has no pages.
    #[error("{0}: the table has no pages")]
    Empty(PathBuf),
    /// No source has it.
    #[error("{folder}: no source has this template: {reasons}")]
    Sources {
        /// Folder of the template.
        folder: PathBuf,
        /// What each source said.
        reasons: String,
    },
}

/// A template that is being served.
#[derive(Debug)]
pub struct Loaded {
    /// Counts up; never used again.
    pub number: usize,
    /// Its folder.
    pub folder: PathBuf,
    /// What its pages must be.
    pub table: PageTable,
    /// Where they come from.
    pub tiers: Tiers,
    /// Where its working set is kept.
    pub record: PathBuf,
    /// Sources that do not have it, and why.
    pub unusable: Vec<String>,
    cache: OnceLock<Cache>,
    budget: Arc<Budget>,
    made_of: (u64, u64, i64, i64),
}

impl Loaded {
    /// The shared cache, made when first asked for.
    ///
    /// # Errors
    /// Without memory or descriptors.
    pub fn cache(&self) -> io::Result<&Cache> {
        if let Some(cache) = self.cache.get() {
            return Ok(cache);
        }
        let made = Cache::new(self.pages())?;
        Ok(self.cache.get_or_init(|| made))
    }

    /// The shared cache, if there is one.
    #[must_use]
    pub fn cache_if_made(&self) -> Option<&Cache> {
        self.cache.get()
    }

    /// Pages, with gaps.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.table.hashes().len() as u64
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        if let Some(cache) = self.cache.get() {
            cache.retire(&self.budget);
        }
    }
}

/// All templates of a server.
#[derive(Debug)]
pub struct Library {
    sources: Vec<Arc<dyn OpenSource>>,
    /// Where working sets are kept; `None`: in the folders of the templates.
    records: Option<PathBuf>,
    threads: usize,
    budget: Arc<Budget>,
    shelf: Mutex<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    next: usize,
    by_folder: BTreeMap<PathBuf, Arc<Loaded>>,
}

impl Library {
    /// An empty one.
    #[must_use]
    pub fn new(
        sources: Vec<Arc<dyn OpenSource>>,
        records: Option<PathBuf>,
        threads: usize,
        budget: Arc<Budget>,
    ) -> Self {
        Self { sources, records, threads, budget, shelf: Mutex::default() }
    }

    /// The template in this folder, opened now if need be. A folder whose table has been replaced is another
    /// template; processes that are attached to the old one keep it.
    ///
    /// # Errors
    /// If it is not there or damaged, or no source has it.
    pub fn get(&self, folder: &Path) -> Result<Arc<Loaded>, LoadError> {
        let at = |error| LoadError::Folder(folder.to_owned(), error);
        let folder = folder.canonicalize().map_err(at)?;
        let made_of = made_of(&folder.join(TABLE).metadata().map_err(at)?);
        let mut shelf = self.shelf.lock().expect("loading does not panic");
        if let Some(loaded) = shelf.by_folder.get(&folder).filter(|loaded| loaded.made_of == made_of) {
            return Ok(Arc::clone(loaded));
        }
        // Templates that are gone from the store and have no process left.
        shelf.by_folder.retain(|folder, loaded| Arc::strong_count(loaded) > 1 || folder.exists());
        let loaded = Arc::new(self.load(&folder, shelf.next, made_of)?);
        shelf.next += 1;
        shelf.by_folder.insert(folder, Arc::clone(&loaded));
        Ok(loaded)
    }

    fn load(&self, folder: &Path, number: usize, made_of: (u64, u64, i64, i64)) -> Result<Loaded, LoadError> {
        let table = PageTable::read(&folder.join(TABLE));
        let table = table.map_err(|error| LoadError::Table(folder.to_owned(), error))?;
        if table.hashes().is_empty() {
            return Err(LoadError::Empty(folder.to_owned()));
        }
        let name = folder.display().to_string();
        let (mut tiers, mut unusable) = (Vec::new(), Vec::new());
        for opener in &self.sources {
            match opener.open(folder, &table) {
                Ok(source) if source.pages() >= table.hashes().len() as u64 => {
                    let stats = Arc::new(SourceStats::new(&name, source.name(), self.threads));
                    tiers.push(Tier { source, stats });
                }
                Ok(source) => {
                    let (end, has) = (table.hashes().len() as u64, source.pages());
                    unusable.push(format!(
                        "{}: {}",
                        source.name(),
                        SourceError::Range { first: 0, end, has }
                    ));
                }
                Err(error) => unusable.push(error.to_string()),
            }
        }
        if tiers.is_empty() {
            return Err(LoadError::Sources { folder: folder.to_owned(), reasons: unusable.join("; ") });
        }
        let record = match &self.records {
            None => folder.join(WORKING_SET),
            Some(records) => records.join(format!("{}.working-set", table.root().to_hex())),
        };
        Ok(Loaded {
            number,
            folder: folder.to_owned(),
            table,
            tiers: Tiers::new(tiers),
            record,
            unusable,
            cache: OnceLock::new(),
            budget: Arc::clone(&self.budget),
            made_of,
        })
    }

    /// Enters what the sources of all templates have done, and the pages that all caches hold.
    pub fn report(&self, report: &mut Report) {
        let shelf = self.shelf.lock().expect("loading does not panic");
        let tiers = shelf.by_folder.values().flat_map(|loaded| loaded.tiers.all());
        report.sources = tiers.map(|tier| tier.stats.sums()).collect();
        let unusable = shelf.by_folder.iter().flat_map(|(folder, loaded)| {
            loaded.unusable.iter().map(move |reason| format!("{}: {reason}", folder.display()))
        });
        report.unusable = unusable.collect();
        report.cache_pages = self.budget.used_pages();
    }
}

/// What tells a replaced table from the one that was read.
fn made_of(metadata: &Metadata) -> (u64, u64, i64, i64) {
    (metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec())
}
