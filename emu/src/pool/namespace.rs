//! Namespaces on persistent memory, by `ndctl`: what makes a block device that files are mapped from directly
//! (fsdax), or a character device that is mapped as a whole (devdax).

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, mount};
use serde::Deserialize;

/// How long a device's file may take to appear.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a namespace is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A block device for a file system.
    Fsdax,
    /// A character device.
    Devdax,
}

impl Mode {
    /// As `ndctl` calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fsdax => "fsdax",
            Self::Devdax => "devdax",
        }
    }
}

/// Why there is no namespace.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// A program failed or is missing.
    #[error("{program}: {said}")]
    Program {
        /// What was run.
        program: String,
        /// What it said.
        said: String,
    },
    /// There is none.
    #[error("no {mode} namespace in {region}: the host that fills the pool makes it")]
    None {
        /// The region.
        region: String,
        /// The mode.
        mode: &'static str,
    },
    /// Its device did not appear.
    #[error("{device} did not appear within {PATIENCE:?}", device = .0.display())]
    NoDevice(PathBuf),
    /// The file system could not be mounted.
    #[error("cannot mount {device} on {place} with dax=always: {why}", device = .device.display(), place = .place.display())]
    Mount {
        /// The device.
        device: PathBuf,
        /// Where.
        place: PathBuf,
        /// Why not.
        why: io::Error,
    },
}

/// As `ndctl list` shows one, in part.
#[derive(Debug, Deserialize)]
struct Listed {
    mode: String,
    blockdev: Option<String>,
    chardev: Option<String>,
}

/// Lets the kernel read the devices' labels anew, which say where namespaces are. It keeps what it read when it
/// found the device, and another host may have made namespaces since. Only before a device has a region: a device
/// that is in use stays as it is.
pub fn reread_labels() {
    for command in ["disable-dimm", "enable-dimm"] {
        // Of a device in use, which cannot be disabled, the kernel knows the labels.
        let _ = run(Command::new("ndctl").args([command, "--bus", "CXL", "all"]));
    }
}

/// The device of the first namespace in this mode that there is, by the names of devices.
///
/// # Errors
/// If `ndctl` is missing or fails, there is none, or the device does not appear.
pub fn find(region: &str, mode: Mode) -> Result<PathBuf, NamespaceError> {
    match listed(region, mode)? {
        Some(device) => appeared(device),
        None => Err(NamespaceError::None { region: region.to_owned(), mode: mode.name() }),
    }
}

fn listed(region: &str, mode: Mode) -> Result<Option<PathBuf>, NamespaceError> {
    let of_mode = list(region)?.into_iter().filter(|listed| listed.mode == mode.name());
    let devices = of_mode.filter_map(|listed| listed.blockdev.or(listed.chardev));
    // Hosts that share a device list its namespaces in another order, and name them alike.
    let first = devices.min_by_key(|device| (device.len(), device.clone()));
    Ok(first.map(|device| Path::new("/dev").join(device)))
}

/// The same, or one of `mib` MiB (all that is left for none) that is made now.
///
/// # Errors
/// If `ndctl` is missing or fails, or the device does not appear.
pub fn ensure(region: &str, mode: Mode, mib: Option<u64>) -> Result<PathBuf, NamespaceError> {
    if let Some(device) = listed(region, mode)? {
        return appeared(device);
    }
    let mut command = Command::new("ndctl");
    // Its bookkeeping in local memory: on the device it would be as slow as the device.
    command.args(["create-namespace", "--region", region, "--mode", mode.name(), "--map", "mem"]);
    if let Some(mib) = mib {
        command.args(["--size", &format!("{mib}M")]);
    }
    run(&mut command)?;
    find(region, mode)
}

/// Puts a file system on a block device if it has none of ours, and mounts it with `dax=always`.
///
/// # Errors
/// If it cannot be made or mounted.
pub fn mount_direct(device: &Path, place: &Path, read_only: bool) -> Result<(), NamespaceError> {
    let failed =
        |why: io::Error| NamespaceError::Mount { device: device.to_owned(), place: place.to_owned(), why };
    fs::create_dir_all(place).map_err(failed)?;
    // Another host that has the device mounted writes its journal; a reader leaves that alone.
    let (flags, options) = if read_only {
        (MountFlags::RDONLY, "dax=always,noload")
    } else {
        (MountFlags::empty(), "dax=always")
    };
    let options = CString::new(options).expect("no zero byte");
    if !has_ext4(device).map_err(failed)? {
        if read_only {
            return Err(failed(io::Error::other("it has no ext4 file system")));
        }
        // No time is spent on what is zero already, and none later by the kernel behind the reader's back.
        let options = ["-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,nodiscard", "-O", "^has_journal"];
        run(Command::new("mkfs.ext4").args(options).arg(device))?;
    }
    mount(device, place, "ext4", flags, Some(options.as_c_str())).map_err(|error| failed(error.into()))
}

/// The magic number of ext2 to ext4.
fn has_ext4(device: &Path) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    let mut magic = [0; 2];
    fs::File::open(device)?.read_exact_at(&mut magic, 1024 + 56)?;
    Ok(magic == [0x53, 0xef])
}

fn list(region: &str) -> Result<Vec<Listed>, NamespaceError> {
    let text = run(Command::new("ndctl").args(["list", "--namespaces", "--region", region]))?;
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(&text).map_err(|error| NamespaceError::Program {
        program: "ndctl list".into(),
        said: format!("not what was expected: {error}"),
    })
}

fn appeared(device: PathBuf) -> Result<PathBuf, NamespaceError> {
    let until = Instant::now() + PATIENCE;
    while !device.exists() {
        if Instant::now() > until {
            return Err(NamespaceError::NoDevice(device));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(device)
}

/// Why a program could not be started.
fn said(program: &str, error: &io::Error) -> String {
    let package = match program.split(' ').next() {
        Some("ndctl") => "ndctl",
        Some("mkfs.ext4") => "e2fsprogs",
        _ => return error.to_string(),
    };
    if error.kind() == io::ErrorKind::NotFound {
        format!("it is not installed: scripts/setup --guest does it (package {package})")
    } else {
        error.to_string()
    }
}

fn run(command: &mut Command) -> Result<String, NamespaceError> {
    let program = format!("{command:?}").replace('"', "");
    let output = command.env("LC_ALL", "C").stdin(Stdio::null()).output().map_err(|error| {
        NamespaceError::Program { program: program.clone(), said: said(&program, &error) }
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(NamespaceError::Program { program, said: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_missing_is_named_with_its_package() {
        let missing = io::Error::from(io::ErrorKind::NotFound);
        assert!(said("ndctl list --namespaces", &missing).ends_with("(package ndctl)"));
        assert!(said("mkfs.ext4 -q", &missing).ends_with("(package e2fsprogs)"));
    }
}
