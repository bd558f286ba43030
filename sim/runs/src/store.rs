//! [`Store`]: finished runs by key. What is in it is complete, and is checked when it is read.

use crate::error::StoreError;
use crate::key::RunKey;
use crate::lock::{self, Lock};
use crate::manifest::Manifest;
use crate::records::{self, FileNote, Sink, note_of};
use platform::RunRecord;
use platform::records::RECORD_SCHEMA;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Name of the file that is written last.
const DONE: &str = "DONE";
const MANIFEST: &str = "manifest.json";

/// Runs by key, under one output folder.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// What a runner may do with a key.
#[derive(Debug)]
pub enum Claim {
    /// It is there already.
    Done,
    /// It is yours to run.
    Mine(Slot),
    /// Another runner is at it.
    Busy {
        /// Its process.
        pid: u32,
        /// Its host.
        host: String,
    },
}

/// The right to write one run. Dropping it without [`Slot::commit`] leaves nothing behind.
#[derive(Debug)]
pub struct Slot {
    final_path: PathBuf,
    partial: PathBuf,
    lock: Lock,
}

/// A run read back.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRun {
    /// How and where it was run.
    pub manifest: Manifest,
    /// What it produced.
    pub record: RunRecord,
}

/// The content of `DONE`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Complete {
    record_schema: u32,
    functions: u64,
    memory_samples: u64,
    invocations: u64,
    files: BTreeMap<String, FileNote>,
}

impl Store {
    /// The store below an output folder (`out`); made if it is not there.
    pub fn open(out: &Path) -> Result<Self, StoreError> {
        let root = out.join("runs");
        fs::create_dir_all(&root).map_err(StoreError::io(&root, "creating"))?;
        Ok(Self { root })
    }

    /// The folder of a run, whether it exists or not.
    pub fn path(&self, key: &RunKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// Whether a run is complete: `DONE` is there and its files have the sizes it says.
    pub fn is_done(&self, key: &RunKey) -> bool {
        let path = self.path(key);
        complete(&path).is_ok_and(|complete| sizes(&path, &complete).is_ok())
    }

    /// Asks for the right to run a key. Remains of runners that were killed are removed; a run that
    /// was damaged after it was written is set aside as `KEY.damaged-PID`.
    pub fn claim(&self, key: &RunKey) -> Result<Claim, StoreError> {
        let lock_path = self.root.join(format!("{key}.lock"));
        if self.is_done(key) {
            // Whoever was killed between its last two steps left its lock.
            lock::tidy(&lock_path);
            return Ok(Claim::Done);
        }
        let lock = match lock::take(&lock_path)? {
            Ok(lock) => lock,
            Err(holder) => return Ok(Claim::Busy { pid: holder.pid, host: holder.host }),
        };
        // The one who held it before may just have finished.
        if self.is_done(key) {
            return Ok(Claim::Done);
        }
        self.clear(key, &lock)?;
        let partial = self.root.join(format!("{key}.partial-{}", lock.token()));
        fs::create_dir(&partial).map_err(StoreError::io(&partial, "creating"))?;
        Ok(Claim::Mine(Slot { final_path: self.path(key), partial, lock }))
    }

    /// Who is at a key now, as far as its lock tells: process and host.
    pub fn runner(&self, key: &RunKey) -> Option<(u32, String)> {
        lock::runner(&self.root.join(format!("{key}.lock"))).map(|holder| (holder.pid, holder.host))
    }

    /// Bytes of a complete run's files; `None` if it is not complete.
    pub fn bytes(&self, key: &RunKey) -> Option<u64> {
        let path = self.path(key);
        let files = complete(&path).ok()?.files;
        let size = |name: &str| fs::metadata(path.join(name)).map_or(0, |meta| meta.len());
        Some(files.values().map(|note| note.bytes).sum::<u64>() + size(MANIFEST) + size(DONE))
    }

    /// Removes what earlier runners of this key left. Only for the holder of its lock.
    fn clear(&self, key: &RunKey, lock: &Lock) -> Result<(), StoreError> {
        let path = self.path(key);
        if path.exists() {
            let aside = self.root.join(format!("{key}.damaged-{}", std::process::id()));
            fs::rename(&path, &aside).map_err(StoreError::io(&path, "setting aside"))?;
        }
        // Whoever was killed left its lock, too; looking through a large store for every run would
        // take longer than many runs do.
        if !lock.was_taken_over() {
            return Ok(());
        }
        let prefix = format!("{key}.partial-");
        let entries = fs::read_dir(&self.root).map_err(StoreError::io(&self.root, "listing"))?;
        for entry in entries.filter_map(Result::ok) {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                fs::remove_dir_all(entry.path()).map_err(StoreError::io(&entry.path(), "removing"))?;
            }
        }
        Ok(())
    }

    /// Keys of every complete run, sorted.
    pub fn keys(&self) -> Result<Vec<RunKey>, StoreError> {
        let entries = fs::read_dir(&self.root).map_err(StoreError::io(&self.root, "listing"))?;
        let mut keys: Vec<RunKey> = entries
            .filter_map(|entry| RunKey::parse(entry.ok()?.file_name().to_str()?))
            .filter(|key| self.is_done(key))
            .collect();
        keys.sort();
        Ok(keys)
    }

    /// The timeline of a run, if it has one: for ui.perfetto.dev.
    pub fn timeline(&self, key: &RunKey) -> Option<PathBuf> {
        Some(self.path(key).join(records::TIMELINE)).filter(|path| path.is_file())
    }

    /// Reads a run's manifest alone.
    pub fn manifest(&self, key: &RunKey) -> Result<Manifest, StoreError> {
        let path = self.path(key);
        complete(&path)?;
        Manifest::read(&path.join(MANIFEST))
    }

    /// Reads some fields of a run's manifest, unchecked; `None` if they cannot be read.
    pub(crate) fn read_manifest<T: DeserializeOwned>(&self, key: &RunKey) -> Option<T> {
        serde_json::from_str(&fs::read_to_string(self.path(key).join(MANIFEST)).ok()?).ok()
    }

    /// Reads a run after checking every file of it.
    pub fn load(&self, key: &RunKey) -> Result<StoredRun, StoreError> {
        let path = self.path(key);
        let complete = complete(&path)?;
        sizes(&path, &complete)?;
        for (name, note) in &complete.files {
            let file = path.join(name);
            if note_of(&file).map_err(StoreError::io(&file, "reading"))? != *note {
                return Err(StoreError::Altered { path: file });
            }
        }
        let record = records::read(&path, &complete.files)?;
        let counts = |record: &RunRecord| {
            (
                record.functions.len() as u64,
                record.memory.samples.len() as u64,
                record.invocations.len() as u64,
            )
        };
        if counts(&record) != (complete.functions, complete.memory_samples, complete.invocations) {
            let what = format!("row counts differ from the files': {:?}", counts(&record));
            return Err(StoreError::malformed(&path.join(DONE), None, what));
        }
        Ok(StoredRun { manifest: Manifest::read(&path.join(MANIFEST))?, record })
    }
}

/// `DONE` of a run's folder.
fn complete(path: &Path) -> Result<Complete, StoreError> {
    let file = path.join(DONE);
    let text = fs::read_to_string(&file).map_err(|error| match error.kind() {
        ErrorKind::NotFound => StoreError::Missing { path: path.to_owned() },
        _ => StoreError::io(&file, "reading")(error),
    })?;
    // The schema is read first: another one may have other fields.
    #[derive(Deserialize)]
    struct Schema {
        record_schema: u32,
    }
    let malformed =
        |error: serde_json::Error| StoreError::malformed(&file, Some(error.line() as u64), error.to_string());
    let Schema { record_schema } = serde_json::from_str(&text).map_err(malformed)?;
    if record_schema != RECORD_SCHEMA {
        return Err(StoreError::ForeignSchema { path: file, found: record_schema, expected: RECORD_SCHEMA });
    }
    serde_json::from_str(&text).map_err(malformed)
}

fn sizes(path: &Path, complete: &Complete) -> Result<(), StoreError> {
    for (name, note) in &complete.files {
        let file = path.join(name);
        let found = match fs::metadata(&file) {
            Ok(meta) => meta.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) => return Err(StoreError::io(&file, "looking at")(error)),
        };
        if found != note.bytes {
            return Err(StoreError::WrongSize { path: file, expected: note.bytes, found });
        }
    }
    Ok(())
}

impl Slot {
    /// Writes the run: record files, manifest, `DONE`, each to the disk before the next step, then the
    /// rename that makes it visible. `DONE` is the same bytes for the same run; the manifest has its own
    /// checksum. [`StoreError::Lost`] if another runner has taken this one for dead meanwhile.
    pub fn commit(self, record: &RunRecord, manifest: Manifest) -> Result<(), StoreError> {
        match self.write(record, manifest) {
            Err(_) if !self.lock.is_held() => Err(StoreError::Lost { path: self.final_path.clone() }),
            done => done,
        }
    }

    fn write(&self, record: &RunRecord, manifest: Manifest) -> Result<(), StoreError> {
        let began = Instant::now();
        let files = records::write(record, &self.partial)?;
        let manifest = Manifest { write_s: began.elapsed().as_secs_f64(), ..manifest };
        self.text(MANIFEST, &manifest.text())?;
        let complete = Complete {
            record_schema: RECORD_SCHEMA,
            functions: record.functions.len() as u64,
            memory_samples: record.memory.samples.len() as u64,
            invocations: record.invocations.len() as u64,
            files,
        };
        let done = serde_json::to_string_pretty(&complete)
            .map_err(|e| StoreError::malformed(&self.partial.join(DONE), None, e.to_string()))?;
        self.text(DONE, &(done + "\n"))?;
        sync_folder(&self.partial)?;
        if !self.lock.is_held() {
            return Err(StoreError::Lost { path: self.final_path.clone() });
        }
        fs::rename(&self.partial, &self.final_path)
            .map_err(StoreError::io(&self.final_path, "renaming to"))?;
        self.final_path.parent().map_or(Ok(()), sync_folder)
    }

    fn text(&self, name: &str, text: &str) -> Result<(), StoreError> {
        let path = self.partial.join(name);
        let mut sink = Sink::create(&path)?;
        sink.write_all(text.as_bytes()).map_err(StoreError::io(&path, "writing"))?;
        sink.finish().map(drop)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // After a commit there is nothing here any more. What cannot be removed now is removed by
        // the next runner of this key.
        let _ = fs::remove_dir_all(&self.partial);
    }
}

fn sync_folder(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(StoreError::io(path, "syncing"))
}
