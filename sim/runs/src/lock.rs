//! One run, one runner: a lock file with the runner's process and host.
//!
//! The file is made with `create_new`, so exactly one of several runners gets it. A runner that died
//! leaves its file; whoever finds it takes it over, one at a time, under an advisory lock that the
//! kernel drops with the process. Whether a runner on this machine died is asked of the kernel. A
//! runner elsewhere cannot be asked: it writes its lock anew every [`BEAT`], and one that was seen
//! unchanged for [`LEASE`] is taken over. The clock of whoever looks decides, so the hosts' clocks
//! need not agree.
//!
//! A runner that was stopped for longer than that and wakes up finds that the lock is not its own any
//! more ([`Lock::is_held`]). Should it miss even that, it writes the bytes that the other one writes.

use crate::error::StoreError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

/// A lock without content is believed to be in the making for this long. One that is taken away too early
/// costs the same work twice: its maker sees before the end that it is not the holder.
const GRACE: Duration = Duration::from_secs(2);

/// Time between two signs of life.
const BEAT: Duration = Duration::from_secs(10);

/// A lock of another host without a sign of life for this long is taken over: six beats, as a shared
/// file system may show a change late.
const LEASE: Duration = Duration::from_secs(60);

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub pid: u32,
    pub host: String,
    /// Which boot of which kernel, and which process namespace: only there the process can be asked
    /// for. Names of hosts may be the same for several.
    machine: Option<String>,
    /// Start of the process in clock ticks since boot: process numbers are used again.
    started: Option<u64>,
    /// Number of the lock in its process.
    number: u64,
}

/// A lock that is held; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    holder: Holder,
    taken_over: bool,
}

/// Locks of this process, to be kept alive: their holder and the signs of life given so far.
static HELD: Mutex<BTreeMap<PathBuf, (Holder, u64)>> = Mutex::new(BTreeMap::new());

/// Locks of other machines: what they said when last seen to change, and when that was.
static SEEN: Mutex<BTreeMap<PathBuf, (String, Instant)>> = Mutex::new(BTreeMap::new());

impl Holder {
    /// This process.
    pub fn me() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let pid = std::process::id();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self { pid, host: host(), machine: machine(), started: started(pid), number }
    }

    /// A word that no other holder on any machine has, for names of files.
    pub fn token(&self) -> String {
        let whole = serde_json::to_string(self).unwrap_or_default();
        format!("{}-{}", self.pid, &blake3::hash(whole.as_bytes()).to_hex()[..12])
    }

    /// Known to be dead: of this machine, and its process number is free or another process's.
    /// `None` if it cannot be known.
    fn is_gone(&self) -> Option<bool> {
        if self.machine.is_none() || self.machine != machine() {
            return None;
        }
        Some(match self.started {
            Some(start) => started(self.pid) != Some(start),
            None => !Path::new(&format!("/proc/{}", self.pid)).exists(),
        })
    }
}

/// Tries to take the lock at `path`: the lock, or who holds it.
pub(crate) fn take(path: &Path) -> Result<Result<Lock, Holder>, StoreError> {
    take_after(path, LEASE)
}

fn take_after(path: &Path, lease: Duration) -> Result<Result<Lock, Holder>, StoreError> {
    if let Some(lock) = create(path)? {
        return Ok(Ok(lock));
    }
    if !is_stale(path, lease)? {
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
    let taken_over = is_stale(path, lease)?;
    if taken_over {
        remove(path)?;
    }
    match create(path)? {
        Some(mut lock) => {
            lock.taken_over = taken_over;
            Ok(Ok(lock))
        }
        None => Ok(Err(holder(path).unwrap_or_else(Holder::me))),
    }
}

fn create(path: &Path) -> Result<Option<Lock>, StoreError> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => {
            let lock = Lock { path: path.to_owned(), holder: Holder::me(), taken_over: false };
            let text = content(&lock.holder, 0);
            file.write_all(text.as_bytes()).map_err(StoreError::io(path, "writing"))?;
            held().insert(path.to_owned(), (lock.holder.clone(), 0));
            keep_alive();
            Ok(Some(lock))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(StoreError::io(path, "creating")(error)),
    }
}

/// The holder on the first line, the number of signs of life on the second.
fn content(holder: &Holder, beats: u64) -> String {
    format!("{}\n{beats}\n", serde_json::to_string(holder).unwrap_or_default())
}

fn holder(path: &Path) -> Option<Holder> {
    serde_json::from_str(std::fs::read_to_string(path).ok()?.lines().next()?).ok()
}

/// Who holds a lock, unless that runner is known to be gone.
pub(crate) fn runner(path: &Path) -> Option<Holder> {
    holder(path).filter(|holder| holder.is_gone() != Some(true))
}

/// Removes the lock of a runner that is known to be gone, where nobody will want it any more.
pub(crate) fn tidy(path: &Path) {
    if holder(path).is_some_and(|holder| holder.is_gone() == Some(true)) {
        let _ = std::fs::remove_file(path);
    }
}

fn is_stale(path: &Path, lease: Duration) -> Result<bool, StoreError> {
    if let Some(holder) = holder(path) {
        return Ok(holder.is_gone().unwrap_or_else(|| is_silent(path, lease)));
    }
    match std::fs::metadata(path).and_then(|meta| meta.modified()) {
        Ok(modified) => Ok(modified.elapsed().is_ok_and(|age| age > GRACE)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io(path, "looking at")(error)),
    }
}

/// Whether a lock has said the same for longer than the lease, as far as this process has watched it.
fn is_silent(path: &Path, lease: Duration) -> bool {
    let Ok(now) = std::fs::read_to_string(path) else { return false };
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    match seen.get(path) {
        Some((before, since)) if *before == now => since.elapsed() > lease,
        _ => {
            seen.insert(path.to_owned(), (now, Instant::now()));
            false
        }
    }
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::io(path, "removing")(error)),
        _ => Ok(()),
    }
}

fn held() -> std::sync::MutexGuard<'static, BTreeMap<PathBuf, (Holder, u64)>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives signs of life for every lock of this process, from the first lock on to its end.
fn keep_alive() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        // Without this thread, runners on other machines may take over what is still being run: the
        // same work twice, and no harm to results.
        let _ = std::thread::Builder::new().name("signs of life".into()).spawn(|| {
            loop {
                std::thread::sleep(BEAT);
                beat();
            }
        });
    });
}

fn beat() {
    for (path, (holder, beats)) in held().iter_mut() {
        // Written in place, and only where the lock is still ours: never made anew.
        if self::holder(path).as_ref() == Some(&*holder) {
            *beats += 1;
            let text = content(holder, *beats);
            let file = OpenOptions::new().write(true).open(path);
            let _ = file.and_then(|mut file| file.write_all(text.as_bytes()));
        }
    }
}

impl Lock {
    /// Whether it still is this runner's.
    pub fn is_held(&self) -> bool {
        holder(&self.path).as_ref() == Some(&self.holder)
    }

    /// Whether somebody who is gone held it before.
    pub fn was_taken_over(&self) -> bool {
        self.taken_over
    }

    /// A word that no other lock on any machine has, for names of files.
    pub fn token(&self) -> String {
        self.holder.token()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        held().remove(&self.path);
        // Nothing can be done about a failure here; a lock that stays is taken over once we are gone.
        if self.is_held() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Name of this host.
pub(crate) fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".into(), |name| name.trim().to_owned())
}

/// This boot of this kernel and this process namespace; `None` if there is no way to know.
fn machine() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// When a process started; `None` if there is none (or no way to know). A dead process that nobody
/// has waited for yet is none.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name may hold spaces and brackets: fields are counted from the last bracket.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elsewhere() -> Holder {
        Holder { machine: Some("elsewhere".into()), host: "elsewhere".into(), ..Holder::me() }
    }

    #[test]
    fn a_lock_is_held_once_and_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        let lock = take(&path).unwrap().unwrap();
        assert_eq!(take(&path).unwrap().unwrap_err(), lock.holder);
        drop(lock);
        assert!(take(&path).unwrap().is_ok());
    }

    #[test]
    fn the_lock_of_a_dead_process_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        let dead = Holder { started: Some(1), ..Holder::me() };
        std::fs::write(&path, content(&dead, 0)).unwrap();
        assert!(take(&path).unwrap().is_ok());
    }

    #[test]
    fn only_the_lock_of_a_dead_process_is_tidied_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        for (holder, stays) in
            [(Holder::me(), true), (elsewhere(), true), (Holder { started: Some(1), ..Holder::me() }, false)]
        {
            std::fs::write(&path, content(&holder, 0)).unwrap();
            tidy(&path);
            assert_eq!(path.exists(), stays, "{holder:?}");
        }
        tidy(&path);
    }

    #[test]
    fn the_lock_of_another_machine_is_kept_while_it_gives_signs_of_life() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        let lease = Duration::from_millis(100);
        for beats in 0..4 {
            std::fs::write(&path, content(&elsewhere(), beats)).unwrap();
            assert_eq!(take_after(&path, lease).unwrap().unwrap_err().host, "elsewhere");
            std::thread::sleep(lease / 2);
        }
        // One that has fallen silent is taken over, and its holder can tell.
        std::thread::sleep(lease * 2);
        assert!(take_after(&path, lease).unwrap().is_ok());
    }

    #[test]
    fn a_sign_of_life_changes_the_lock_and_a_lost_lock_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, lost) = (folder.path().join("ours.lock"), folder.path().join("lost.lock"));
        let (kept, taken) = (take(&ours).unwrap().unwrap(), take(&lost).unwrap().unwrap());
        let other = content(&elsewhere(), 7);
        std::fs::write(&lost, &other).unwrap();
        let before = std::fs::read_to_string(&ours).unwrap();
        beat();
        assert_ne!(std::fs::read_to_string(&ours).unwrap(), before);
        assert!(kept.is_held() && !taken.is_held());
        drop(taken);
        assert_eq!(std::fs::read_to_string(&lost).unwrap(), other, "another one's lock is left alone");
    }
}
