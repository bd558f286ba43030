//! Who holds what, and the removal of what nobody holds any more.
//!
//! A manager holds a lock on its file in [`labels::RUN`] as long as it lives; the kernel lets go of it however it
//! ends. Whatever carries a label whose lock nobody holds is a leftover. See [`labels`] for the names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::kernel::linux::{Hierarchies, labelled_links, remove_link, remove_manager_cgroups};
use crate::sandbox::labels::{self, Label};

/// Networks are cut from the block that is set apart for measurements of networks (RFC 2544).
const BLOCK: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// Addresses of one manager's network.
const NETWORK: u32 = 4096;
/// Networks in the block.
const NETWORKS: u32 = 32;
/// How often what is our own is looked for at a sudden end: a thread may be making more of it.
const ROUNDS: u32 = 5;

/// A label that is ours, and the network that goes with it, until this is dropped.
#[derive(Debug)]
pub struct Claim {
    label: Label,
    network: u32,
    _lock: File,
}

impl Claim {
    /// Takes a label that nobody has.
    ///
    /// # Errors
    /// If [`labels::RUN`] cannot be written, or every network is taken.
    pub(crate) fn take() -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        fs::create_dir_all(labels::RUN)?;
        let _everyone = lock_everyone()?;
        for _ in 0..20 {
            let nth = NEXT.fetch_add(1, Ordering::Relaxed) % 20;
            let label =
                Label::new(std::process::id(), nth).ok_or_else(|| io::Error::other("no such label"))?;
            let Some(mut lock) = try_lock(&label)? else { continue };
            // A process that had our number may have died and left things.
            remove(&label)?;
            let taken: BTreeSet<u32> = holders()?.values().filter_map(|holder| holder.network).collect();
            let network = (0..NETWORKS)
                .find(|network| !taken.contains(network))
                .ok_or_else(|| io::Error::other(format!("all {NETWORKS} networks are in use by managers")))?;
            lock.set_len(0)?;
            write!(lock, "{} {network}", std::process::id())?;
            return Ok(Self { label, network, _lock: lock });
        }
        Err(io::Error::other("this process has 20 managers already"))
    }

    /// The label.
    pub(crate) fn label(&self) -> &Label {
        &self.label
    }

    /// The first address of its network: the bridge's.
    pub(crate) fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(BLOCK.to_bits() + self.network * NETWORK + 1)
    }

    /// Removes everything with its label.
    pub(crate) fn clean(&self) {
        // What stays is found by the next `clean`.
        let _ = remove(&self.label);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Ok(_everyone) = lock_everyone() {
            let _ = fs::remove_file(self.label.lock());
        }
    }
}

/// What was found and removed, or found in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Things removed, by name.
    pub removed: Vec<String>,
    /// Labels of managers that live.
    pub living: Vec<Label>,
    /// What could not be removed, and why.
    pub failed: Vec<String>,
}

/// Removes every leftover of managers that are gone.
///
/// # Errors
/// If the machine cannot be searched.
pub fn clean() -> io::Result<Report> {
    let mut report = Report::default();
    if !Path::new(labels::RUN).exists() {
        fs::create_dir_all(labels::RUN)?;
    }
    report.removed.extend(crate::guest::leftovers::remove()?);
    let _everyone = lock_everyone()?;
    for (label, things) in find()? {
        // The lock file may be gone although things are left; making it anew is how to own them.
        let Some(lock) = try_lock(&label)? else {
            report.living.push(label);
            continue;
        };
        match remove(&label) {
            Ok(()) => report.removed.extend(things),
            Err(error) => report.failed.push(format!("{}: {error}", label.id())),
        }
        drop(lock);
        let _ = fs::remove_file(label.lock());
    }
    remove_probes(&mut report)?;
    remove_socket(&mut report);
    remove_templates(&mut report);
    if report.living.is_empty() {
        let own = Path::new(labels::RUN).join("cgroup2");
        if own.exists() {
            let _ = rustix::mount::unmount(&own, rustix::mount::UnmountFlags::empty());
            let _ = fs::remove_dir(&own);
        }
    }
    Ok(report)
}

/// Removes everything with a label of this very process, whose managers may be at work: before a sudden end.
///
/// # Errors
/// If the machine cannot be searched. What cannot be removed stays for [`clean`].
pub(crate) fn remove_own() -> io::Result<()> {
    if !Path::new(labels::RUN).is_dir() {
        return Ok(());
    }
    let _everyone = lock_everyone()?;
    for _ in 0..ROUNDS {
        let own: Vec<Label> = find()?.into_keys().filter(|label| label.is_of(std::process::id())).collect();
        if own.is_empty() {
            break;
        }
        for label in own {
            if remove(&label).is_ok() {
                let _ = fs::remove_file(label.lock());
            }
        }
    }
    Ok(())
}

/// The socket of a manager that does not listen any more.
fn remove_socket(report: &mut Report) {
    let refused = UnixStream::connect(labels::SOCKET)
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if refused {
        match fs::remove_file(labels::SOCKET) {
            Ok(()) => report.removed.push(format!("socket {}", labels::SOCKET)),
            Err(error) => report.failed.push(format!("{}: {error}", labels::SOCKET)),
        }
    }
}

/// Templates in memory that somebody was writing who was killed.
fn remove_templates(report: &mut Report) {
    let folder = Path::new(crate::template::store::DRAM);
    if !folder.is_dir() {
        return;
    }
    match crate::template::Store::open(folder).and_then(|store| store.remove_leavings()) {
        Ok(removed) => {
            report.removed.extend(removed.iter().map(|path| format!("template {}", path.display())));
        }
        Err(error) => report.failed.push(error.to_string()),
    }
}

/// Cgroups of probes of the doctor, which are named after the probe's process, when that was killed.
fn remove_probes(report: &mut Report) -> io::Result<()> {
    let hierarchies = Hierarchies::find()?;
    for place in hierarchies.places() {
        for entry in fs::read_dir(place)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let pid = name.strip_prefix("trenvx-doctor-").and_then(|pid| pid.parse::<u32>().ok());
            if pid.is_none_or(|pid| Path::new("/proc").join(pid.to_string()).exists()) {
                continue;
            }
            match remove_manager_cgroups(&hierarchies, &name) {
                Ok(()) => report.removed.push(format!("cgroup {}", entry.path().display())),
                Err(error) => report.failed.push(format!("{name}: {error}")),
            }
        }
    }
    Ok(())
}

/// Everything that carries a label, by label: names of things.
///
/// # Errors
/// If the machine cannot be searched.
pub fn find() -> io::Result<BTreeMap<Label, Vec<String>>> {
    let mut found: BTreeMap<Label, Vec<String>> = BTreeMap::new();
    for (label, name) in labelled_links()? {
        found.entry(label).or_default().push(format!("link {name}"));
    }
    for place in Hierarchies::find()?.places() {
        for entry in fs::read_dir(place)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(label) = Label::of_cgroup(&name) {
                found.entry(label).or_default().push(format!("cgroup {}", entry.path().display()));
            }
        }
    }
    for entry in fs::read_dir(labels::RUN)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(label) = Label::of_file(&name) {
            found.entry(label).or_default().push(format!("file {}", entry.path().display()));
        }
    }
    Ok(found)
}

/// Removes what carries a label that the caller holds.
fn remove(label: &Label) -> io::Result<()> {
    // Processes first: they hold the rest.
    remove_manager_cgroups(&Hierarchies::find()?, &label.cgroup())?;
    for (owner, name) in labelled_links()? {
        if owner == *label {
            remove_link(&name)?;
        }
    }
    match fs::remove_dir_all(label.folder()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A manager that lives or lived.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    network: Option<u32>,
}

/// Managers that hold their lock, by id.
fn holders() -> io::Result<BTreeMap<String, Holder>> {
    let mut holders = BTreeMap::new();
    for entry in fs::read_dir(labels::RUN)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(id) = name.strip_suffix(".lock") else { continue };
        let Some(label) = Label::parse(id) else { continue };
        if try_lock(&label)?.is_none() {
            let mut text = String::new();
            File::open(entry.path())?.read_to_string(&mut text)?;
            let network = text.split_whitespace().nth(1).and_then(|number| number.parse().ok());
            holders.insert(id.to_owned(), Holder { network });
        }
    }
    Ok(holders)
}

/// Keeps others from starting, ending and cleaning meanwhile.
fn lock_everyone() -> io::Result<File> {
    let file = File::open(labels::RUN)?;
    file.lock()?;
    Ok(file)
}

/// The lock of a label, or `None` when somebody holds it.
fn try_lock(label: &Label) -> io::Result<Option<File>> {
    loop {
        let path = label.lock();
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Whoever removed the file held its lock; ours must be on the file that has the name now.
        if fs::metadata(&path).is_ok_and(|now| file.metadata().is_ok_and(|ours| ours.ino() == now.ino())) {
            return Ok(Some(file));
        }
    }
}
