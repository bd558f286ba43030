//! Templates: made once, kept in a folder, loaded into memory to be cloned.
//!
//! ```text
//! out/vm/templates/NAME/
//!   manifest.json   what it is (Manifest)
//!   memory          guest memory, without its zeros
//!   state           devices
//!   working-set     pages that a clone touches up to its first reply; once recorded
//! ```
//!
//! A loaded template's memory is a file in memory that is sealed: nobody can write to it, whatever a VMM is made
//! to do. Each process that clones loads its own; clones of one process share it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;

use super::host::{ignore_shared, wake};
use super::manifest::FORMAT;
use super::{Accelerator, Error, Host, Image, Machine, Manifest, Started, Steps, clean, memory};
use crate::pager::working_set::WorkingSet;
use crate::template::pages::PAGE;

/// How long a guest may take to boot. Software emulation on a busy machine needs a tenth of it.
pub const BOOT: Duration = Duration::from_secs(90);
/// Name of the record of touched pages in a template's folder.
const WORKING_SET: &str = "working-set";
/// What makes a template.
const AGAIN: &str = "trenvx emu vm template NAME";
/// How long warming up may take: a browser under software emulation needs half a minute.
const WARMING: Duration = Duration::from_secs(300);
/// How long a guest is left alone before it is stopped. Without, its kernel still frees what was just dropped, and every
/// clone goes on with that (65 ms to its first reply instead of 57 here); after 400 ms, what kernels do twice a second is
/// due in each clone (60 ms).
const REST: Duration = Duration::from_millis(200);
/// How long each later step of making a template may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A template that can be cloned.
#[derive(Debug)]
pub struct Template {
    /// What it was booted from: clones read the same root.
    image: Image,
    manifest: Manifest,
    memory: File,
    state: File,
    /// What clones touch up to their first reply, once somebody has recorded it.
    working_set: OnceLock<Arc<WorkingSet>>,
}

/// A template that was just made.
#[derive(Debug)]
pub struct Made {
    /// The template.
    pub template: Template,
    /// The boot, up to the first reply.
    pub boot: Steps,
}

impl Template {
    /// Boots a guest, warms its agent up by running `warm` in it, and stops it for good.
    ///
    /// # Errors
    /// If the guest does not come up, or the warm-up fails.
    pub fn make(host: &Host, name: &str, machine: &Machine, warm: &str) -> Result<Made, Error> {
        check_name(name)?;
        let began = Instant::now();
        let vmm = vmm_version()?;
        let Started { mut vm, steps: boot } = host.boot(machine, BOOT)?;
        let booted_bytes = vm.memory()?.guest_own_bytes();
        let about =
            vm.ask("run", json!({ "code": "import sys; result = sys.version.split()[0]" }), PATIENCE)?;
        if !warm.is_empty() {
            vm.ask("run", json!({ "code": warm }), WARMING)?;
        }
        // What clones do first has been done once, and what both leave behind is over: else each clone does it.
        wake(&mut vm)?;
        vm.ask("settle", json!({}), PATIENCE)?;
        std::thread::sleep(REST);
        let kind = kind(&mut vm)?;
        let (memory, state) = stop(vm)?;
        let at = |step: &str| Error::at(step.to_owned());
        let kept = memory::file(memory::NAME, machine.memory_bytes()).map_err(at("make a file in memory"))?;
        let (memory_blake3, memory_data_bytes) =
            memory::copy(&memory, &kept).map_err(at("copy the guest's memory"))?;
        memory::seal(&kept).map_err(at("seal the template's memory"))?;
        memory::seal(&state).map_err(at("seal the template's state"))?;
        let state_bytes = state.metadata().map_err(at("look at the template's state"))?.len();
        let (state_blake3, _) = memory::digest(&state).map_err(at("read the template's state"))?;
        let manifest = Manifest {
            format: FORMAT,
            name: name.to_owned(),
            machine: machine.clone(),
            kind,
            vmm,
            accelerator: host.accelerator().name().to_owned(),
            image: host.image().about.recipe.clone(),
            kernel: host.image().about.kernel_version.clone(),
            python: about.as_str().unwrap_or_default().to_owned(),
            warm: warm.to_owned(),
            memory_blake3,
            memory_data_bytes,
            state_blake3,
            state_bytes,
            boot_ms: boot.whole.as_secs_f64() * 1e3,
            booted_bytes,
            made_ms: began.elapsed().as_secs_f64() * 1e3,
        };
        let image = host.image().clone();
        Ok(Made {
            template: Self { image, manifest, memory: kept, state, working_set: OnceLock::new() },
            boot,
        })
    }

    /// Writes it to its folder under `out`, instead of an earlier one of its name. There is a whole one or none.
    ///
    /// # Errors
    /// As the file system says.
    pub fn save(&self, out: &Path) -> Result<PathBuf, Error> {
        let folder = folder(out, &self.manifest.name);
        let at = |step: &str| Error::at(format!("{step} {}", folder.display()));
        clean::clean(out).map_err(at("remove leftovers beside"))?;
        let partial = clean::partial(out);
        fs::create_dir_all(&partial).map_err(at("begin"))?;
        let write = || -> io::Result<()> {
            for (name, file) in [("memory", &self.memory), ("state", &self.state)] {
                let to = File::options().create_new(true).read(true).write(true).open(partial.join(name))?;
                to.set_len(file.metadata()?.len())?;
                memory::copy(file, &to)?;
                to.sync_all()?;
            }
            let text = serde_json::to_vec_pretty(&self.manifest).map_err(io::Error::other)?;
            fs::write(partial.join("manifest.json"), text)?;
            // A folder cannot be renamed over one that is not empty.
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            fs::rename(&partial, &folder)
        };
        write().inspect_err(|_| drop(fs::remove_dir_all(&partial))).map_err(at("write"))?;
        Ok(folder)
    }

    /// Loads the one of this name, after looking whether it is whole and of this machine.
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason.
    pub fn load(out: &Path, name: &str, image: &Image, accelerator: &Accelerator) -> Result<Self, Error> {
        let refuse = |why: String| {
            let why = format!("{why}; make it again: {AGAIN}");
            Error::Refused { name: name.to_owned(), why }
        };
        let manifest = about(out, name)?;
        manifest.fits(image, accelerator, &vmm_version()?).map_err(refuse)?;
        let folder = folder(out, name);
        let take = |file: &str, wanted: u64, hash: &str, sort: &str| -> Result<File, Error> {
            let refuse = |why: String| refuse(format!("its {sort} is damaged: {why}"));
            let from = File::open(folder.join(file)).map_err(|error| refuse(error.to_string()))?;
            let length = from.metadata().map_err(|error| refuse(error.to_string()))?.len();
            if length != wanted {
                return Err(refuse(format!("{length} bytes instead of {wanted}")));
            }
            let to = memory::file(if file == "memory" { memory::NAME } else { "trenvx-vm-state" }, length)
                .map_err(Error::at("make a file in memory"))?;
            let (found, _) = memory::copy(&from, &to).map_err(|error| refuse(error.to_string()))?;
            if found != hash {
                return Err(refuse(format!("its BLAKE3 is {found} instead of {hash}")));
            }
            memory::seal(&to).map_err(Error::at("seal a template"))?;
            Ok(to)
        };
        let memory = take("memory", manifest.machine.memory_bytes(), &manifest.memory_blake3, "memory")?;
        let state = take("state", manifest.state_bytes, &manifest.state_blake3, "state of devices")?;
        let image = image.clone();
        let template = Self { image, manifest, memory, state, working_set: OnceLock::new() };
        if let Some(root) = template.root() {
            let pages = template.manifest.machine.memory_bytes() / PAGE as u64;
            // One that is damaged, or of another template, is recorded again.
            if let Ok(known) = WorkingSet::read(&folder.join(WORKING_SET), root, pages) {
                template.keep_working_set(known);
            }
        }
        Ok(template)
    }

    /// What clones touch up to their first reply, if it was recorded.
    #[must_use]
    pub fn working_set(&self) -> Option<Arc<WorkingSet>> {
        self.working_set.get().cloned()
    }

    /// Keeps a record of it; the first one is the one that counts.
    pub(super) fn keep_working_set(&self, set: WorkingSet) -> Arc<WorkingSet> {
        Arc::clone(self.working_set.get_or_init(|| Arc::new(set)))
    }

    /// Writes the record into the template's folder under `out`, where there is one of either.
    ///
    /// # Errors
    /// As the file system says.
    pub fn save_working_set(&self, out: &Path) -> Result<(), Error> {
        let path = folder(out, &self.manifest.name).join(WORKING_SET);
        let (Some(set), Some(root)) = (self.working_set.get(), self.root()) else { return Ok(()) };
        set.write(&path, root).map_err(Error::at(format!("write {}", path.display())))
    }

    /// What records of it name.
    fn root(&self) -> Option<blake3::Hash> {
        blake3::Hash::from_hex(&self.manifest.memory_blake3).ok()
    }

    /// What is known of it.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What it was booted from.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Whether its memory is still what it was, by its contents.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn is_unchanged(&self) -> io::Result<bool> {
        Ok(memory::digest(&self.memory)?.0 == self.manifest.memory_blake3)
    }

    /// Its memory, to be mapped.
    pub(super) fn memory(&self) -> io::Result<File> {
        self.memory.try_clone()
    }

    /// Its memory, copied in full.
    pub(super) fn copy_of_memory(&self) -> io::Result<File> {
        memory::copy_everything(&self.memory, self.manifest.machine.memory_bytes())
    }

    /// Its devices, to be read from the beginning.
    pub(super) fn state(&self) -> io::Result<File> {
        memory::reopen(&self.state)
    }
}

/// What is known of the template of this name.
///
/// # Errors
/// [`Error::Refused`] if there is none, or its manifest cannot be read.
pub fn about(out: &Path, name: &str) -> Result<Manifest, Error> {
    check_name(name)?;
    let refuse = |why: String| Error::Refused { name: name.to_owned(), why };
    let bytes = fs::read(folder(out, name).join("manifest.json")).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => none(out, name),
        _ => refuse(format!("manifest.json: {error}; make it again: {AGAIN}")),
    })?;
    serde_json::from_slice(&bytes)
        .map_err(|error| refuse(format!("manifest.json: {error}; make it again: {AGAIN}")))
}

fn none(out: &Path, name: &str) -> Error {
    let why = format!("there is none in {}; make it: {AGAIN}", clean::place(out).display());
    Error::Refused { name: name.to_owned(), why }
}

/// Names of all templates, in order.
///
/// # Errors
/// If the folder cannot be read.
pub fn list(out: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(clean::place(out)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| check_name(name).is_ok()).collect();
    names.sort();
    Ok(names)
}

/// Removes the one of this name.
///
/// # Errors
/// If there is none, or as the file system says.
pub fn remove(out: &Path, name: &str) -> Result<(), Error> {
    check_name(name)?;
    let folder = folder(out, name);
    if !folder.is_dir() {
        return Err(none(out, name));
    }
    fs::remove_dir_all(&folder).map_err(Error::at(format!("remove {}", folder.display())))
}

fn folder(out: &Path, name: &str) -> PathBuf {
    clean::place(out).join(name)
}

/// Names are folders: small letters, digits, and `-` inside.
fn check_name(name: &str) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.is_empty() && name.len() <= 64 && name.chars().all(plain) && !name.starts_with('-') {
        return Ok(());
    }
    let why = "a name has small letters, digits and - inside, 64 at most".to_owned();
    Err(Error::Refused { name: name.to_owned(), why })
}

/// The type of the guest's machine, with its version.
fn kind(vm: &mut super::Vm) -> Result<String, Error> {
    let machines = vm.qmp.run("query-machines", json!({}))?;
    let all = machines.as_array().map(Vec::as_slice).unwrap_or_default();
    let ours = all.iter().find(|machine| machine["alias"] == "q35");
    ours.and_then(|machine| machine["name"].as_str()).map(str::to_owned).ok_or_else(|| Error::Vmm {
        command: "query-machines".to_owned(),
        why: "it has no machine q35".to_owned(),
    })
}

/// Stops a guest, keeps the state of its devices, and ends the VMM: guest memory and state.
fn stop(mut vm: super::Vm) -> Result<(File, File), Error> {
    let mut keep = || {
        vm.qmp.run("stop", json!({}))?;
        ignore_shared(&mut vm)?;
        vm.give_state()?;
        vm.qmp.run("migrate", json!({ "uri": "fd:state" }))?;
        vm.qmp.migrated()?;
        vm.qmp.run("quit", json!({}))
    };
    keep().map_err(|error| vm.explain(error, "while its state was kept"))?;
    let (sandbox, memory, state) = vm.into_files();
    let function = sandbox.function().expect("a VMM is the function of its sandbox");
    // Sealing needs every mapping of it gone.
    let most = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    match poll(&mut [PollFd::new(&function.process, PollFlags::IN)], Some(&most)) {
        Ok(1..) => Ok((memory, state)),
        Ok(_) => Err(Error::at("wait for the VMM's end")(io::ErrorKind::TimedOut.into())),
        Err(errno) => Err(Error::at("wait for the VMM's end")(errno.into())),
    }
}

/// QEMU's version as it tells it, with its package's: states are for one version.
pub(crate) fn vmm_version() -> Result<String, Error> {
    let said = Command::new("qemu-system-x86_64").arg("--version").output();
    let said = said.map_err(Error::NoVmm)?;
    let text = String::from_utf8_lossy(&said.stdout);
    let first = text.lines().next().unwrap_or_default();
    Ok(first.trim_start_matches("QEMU emulator version ").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::manifest::tests::manifest;
    use std::os::unix::fs::FileExt;

    fn template() -> Template {
        let machine = Machine { memory_mib: 4, ..manifest().machine };
        let memory = memory::file("test", machine.memory_bytes()).unwrap();
        memory.write_all_at(b"warm", 1 << 20).unwrap();
        let state = memory::file("test", 5).unwrap();
        state.write_all_at(b"state", 0).unwrap();
        let (memory_blake3, memory_data_bytes) = memory::digest(&memory).unwrap();
        let (state_blake3, _) = memory::digest(&state).unwrap();
        let state_bytes = 5;
        let manifest =
            Manifest { machine, memory_blake3, memory_data_bytes, state_blake3, state_bytes, ..manifest() };
        let image = crate::vm::manifest::tests::image();
        Template { image, manifest, memory, state, working_set: OnceLock::new() }
    }

    #[test]
    fn templates_are_listed_and_removed_by_name() {
        let out = tempfile::tempdir().unwrap();
        assert!(list(out.path()).unwrap().is_empty());
        let folder = template().save(out.path()).unwrap();
        assert!(folder.ends_with("vm/templates/t"));
        // Again, over itself.
        template().save(out.path()).unwrap();
        assert_eq!(list(out.path()).unwrap(), ["t"]);
        assert_eq!(about(out.path(), "t").unwrap(), template().manifest);
        // Zeros are not kept.
        use std::os::unix::fs::MetadataExt;
        assert!(fs::metadata(folder.join("memory")).unwrap().blocks() * 512 < 1 << 20);
        // A record is of this very memory.
        let kept = template();
        kept.keep_working_set(WorkingSet { pages: vec![3, 1] });
        kept.save_working_set(out.path()).unwrap();
        let root = blake3::Hash::from_hex(&kept.manifest.memory_blake3).unwrap();
        let read = |root| WorkingSet::read(&folder.join(WORKING_SET), root, 1024);
        assert_eq!(read(root).unwrap().pages, [3, 1]);
        assert!(read(blake3::hash(b"another")).is_err());
        remove(out.path(), "t").unwrap();
        assert!(list(out.path()).unwrap().is_empty());
        for error in [about(out.path(), "t").unwrap_err(), remove(out.path(), "t").unwrap_err()] {
            assert!(error.to_string().contains("template t: there is none in"), "{error}");
        }
    }

    #[test]
    fn names_stay_inside_their_folder() {
        for name in ["", "..", "a/b", "A", "-a", ".partial-1"] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(check_name("agent-512-pmem").is_ok());
    }
}
