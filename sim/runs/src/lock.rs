//! One run, one runner: a lock file with the runner's process and host.
//!
//! The file is made with `create_new`, so exactly one of several runners gets it. A runner that died
//! leaves its file; whoever finds it takes it over, one at a time, under an advisory lock that the
//! kernel drops with the process. Processes of other hosts cannot be asked: their locks are kept.

use crate::error::StoreError;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A lock without content is believed to be in the making for this long.
const GRACE: Duration = Duration::from_secs(10);

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub pid: u32,
    pub host: String,
    /// Start of the process in clock ticks since boot: process numbers are used again.
    started: Option<u64>,
}

/// A lock that is held; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
}

impl Holder {
    fn me() -> Self {
        let pid = std::process::id();
        Self { pid, host: host(), started: started(pid) }
    }

    /// Known to be dead: on this host, and its process number is free or another process's.
    fn is_gone(&self) -> bool {
        if self.host != host() {
            return false;
        }
        match self.started {
            Some(start) => started(self.pid) != Some(start),
            None => !Path::new(&format!("/proc/{}", self.pid)).exists(),
        }
    }
}

/// Tries to take the lock at `path`: the lock, or who holds it.
pub(crate) fn take(path: &Path) -> Result<Result<Lock, Holder>, StoreError> {
    if let Some(lock) = create(path)? {
        return Ok(Ok(lock));
    }
    if !is_stale(path)? {
        return Ok(Err(holder(path).unwrap_or_else(Holder::me)));
    }
    let guard_path = path.with_file_name("takeover.lock");
    let guard = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&guard_path)
        .map_err(StoreError::io(&guard_path, "opening"))?;
    guard.lock().map_err(StoreError::io(&guard_path, "locking"))?;
    // Looked at again: another runner may have taken it over meanwhile.
    if is_stale(path)? {
        remove(path)?;
    }
    match create(path)? {
        Some(lock) => Ok(Ok(lock)),
        None => Ok(Err(holder(path).unwrap_or_else(Holder::me))),
    }
}

fn create(path: &Path) -> Result<Option<Lock>, StoreError> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => {
            let lock = Lock { path: path.to_owned() };
            let text = serde_json::to_string(&Holder::me()).unwrap_or_default();
            file.write_all(text.as_bytes()).map_err(StoreError::io(path, "writing"))?;
            Ok(Some(lock))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(StoreError::io(path, "creating")(error)),
    }
}

fn holder(path: &Path) -> Option<Holder> {
    serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
}

fn is_stale(path: &Path) -> Result<bool, StoreError> {
    if let Some(holder) = holder(path) {
        return Ok(holder.is_gone());
    }
    match std::fs::metadata(path).and_then(|meta| meta.modified()) {
        Ok(modified) => Ok(modified.elapsed().is_ok_and(|age| age > GRACE)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io(path, "looking at")(error)),
    }
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::io(path, "removing")(error)),
        _ => Ok(()),
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Nothing can be done about a failure here; a lock that stays is taken over once we are gone.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Name of this host.
pub(crate) fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".into(), |name| name.trim().to_owned())
}

/// When a process started; `None` if there is none (or no way to know).
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name may hold spaces and brackets: fields are counted from the last bracket.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once_and_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        let lock = take(&path).unwrap().unwrap();
        assert_eq!(take(&path).unwrap().unwrap_err(), Holder::me());
        drop(lock);
        assert!(take(&path).unwrap().is_ok());
    }

    #[test]
    fn the_lock_of_a_dead_process_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        let dead = Holder { started: Some(1), ..Holder::me() };
        std::fs::write(&path, serde_json::to_string(&dead).unwrap()).unwrap();
        assert!(take(&path).unwrap().is_ok());
    }

    #[test]
    fn the_lock_of_another_host_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        let elsewhere = Holder { pid: 1, host: "elsewhere".into(), started: Some(1) };
        std::fs::write(&path, serde_json::to_string(&elsewhere).unwrap()).unwrap();
        assert_eq!(take(&path).unwrap().unwrap_err(), elsewhere);
    }
}
