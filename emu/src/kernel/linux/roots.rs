//! Root trees: one overlay each, made without a place in any mount namespace, so nothing is left when its last
//! holder is gone.
//!
//! From the top: a new tmpfs that takes what is written; the function's layers; the manager's own layer (device
//! nodes, empty places for mounts, names); the base image.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags};

use super::super::Root;
use crate::sandbox::Label;
use crate::sandbox::program::FUNCTION_USER;

/// What lies under all layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// A root in a folder, such as debootstrap makes.
    Image(PathBuf),
    /// The programs of this machine: its `/usr`, read-only, which also stands at `/`.
    HostPrograms,
}

/// Device nodes: name, major, minor.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Makes root trees.
#[derive(Debug)]
pub(super) struct Roots {
    folder: PathBuf,
    /// Lower layers under those of the function, the upper one first.
    below: Vec<OwnedFd>,
}

impl Roots {
    /// Makes the manager's layer.
    pub(super) fn make(label: &Label, base: &Base) -> io::Result<Self> {
        let folder = label.folder();
        let layer = folder.join("layer");
        make_layer(&layer, base)?;
        let below = match base {
            Base::Image(image) => image.as_path(),
            Base::HostPrograms => Path::new("/usr"),
        };
        let below = vec![open_folder(&layer)?, open_folder(below)?];
        Ok(Self { folder, below })
    }

    pub(super) fn build(&self, layers: &[PathBuf], disk_bytes: u64) -> io::Result<Root> {
        let layers = layers.iter().map(|layer| open_folder(layer)).collect::<io::Result<Vec<_>>>()?;
        overlay(layers.iter().chain(&self.below), &self.folder, disk_bytes)
    }

    pub(super) fn build_app(&self, layers: &[PathBuf], disk_bytes: u64) -> io::Result<Root> {
        let mut layers = layers.iter().map(|layer| open_folder(layer)).collect::<io::Result<Vec<_>>>()?;
        if layers.is_empty() {
            layers.push(open_folder(&self.folder.join("layer/home/app"))?);
        }
        overlay(layers.iter(), &self.folder, disk_bytes)
    }

    /// Removes the manager's layer.
    pub(super) fn remove(&self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn open_folder(folder: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(folder, flags, Mode::empty()).map_err(|errno| {
        let error = io::Error::from(errno);
        io::Error::new(error.kind(), format!("layer {}: {error}", folder.display()))
    })
}

fn overlay<'a>(
    layers: impl Iterator<Item = &'a OwnedFd>,
    folder: &Path,
    disk_bytes: u64,
) -> io::Result<Root> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "size", disk_bytes.to_string())?;
    rustix::mount::fsconfig_set_string(&context, "mode", "0755")?;
    rustix::mount::fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID;
    let writable = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    for name in ["upper", "work"] {
        rustix::fs::mkdirat(&writable, name, Mode::from(0o755))?;
    }
    let lower: Vec<String> = layers.map(by_number).collect();
    let tree = match lay(&lower, &writable) {
        // Kernels that got "clone_private_mnt(): make sure that caller has CAP_SYS_ADMIN" as a correction of an older
        // one (Debian's 6.1) take no layer from a mount that has no place: give it one for this moment.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            let place = Placed::new(&writable, folder)?;
            let tree = lay(&lower, &writable);
            drop(place);
            tree?
        }
        laid => laid?,
    };
    Ok(Root { tree, writable })
}

/// By descriptor: short whatever the paths are (the kernel takes 255 characters), and nothing to escape.
fn by_number(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// An overlay over `lower` that writes to `writable`.
fn lay(lower: &[String], writable: &OwnedFd) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "lowerdir", lower.join(":"))?;
    for name in ["upper", "work"] {
        let path = format!("{}/{name}", by_number(writable));
        rustix::mount::fsconfig_set_string(&context, format!("{name}dir"), path)?;
    }
    rustix::mount::fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID;
    Ok(rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// A mount that has a place in this namespace as long as this lives.
struct Placed {
    folder: PathBuf,
}

impl Placed {
    fn new(mount: &OwnedFd, below: &Path) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let folder = below.join(format!("upper-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir_all(&folder)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        match rustix::mount::move_mount(mount, "", CWD, &folder, flags) {
            Ok(()) => Ok(Self { folder }),
            Err(errno) => {
                let _ = fs::remove_dir(&folder);
                Err(errno.into())
            }
        }
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        // The descriptor, and the overlay's own copy of the mount, keep it.
        let _ = rustix::mount::unmount(&self.folder, UnmountFlags::DETACH);
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Fills the layer that every function finds over the base image.
fn make_layer(layer: &Path, base: &Base) -> io::Result<()> {
    let _ = fs::remove_dir_all(layer);
    for (name, mode) in [
        ("", 0o755),
        ("dev", 0o755),
        ("dev/shm", 0o1777),
        ("proc", 0o555),
        ("tmp", 0o1777),
        ("run", 0o755),
        ("etc", 0o755),
        ("home", 0o755),
        ("home/app", 0o755),
    ] {
        let path = layer.join(name);
        fs::DirBuilder::new().recursive(true).mode(mode).create(&path)?;
        // Whatever the umask is.
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    for (name, major, minor) in DEVICES {
        let path = layer.join("dev").join(name);
        rustix::fs::mknodat(
            CWD,
            &path,
            FileType::CharacterDevice,
            Mode::from(0o666),
            rustix::fs::makedev(major, minor),
        )?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    }
    for (name, target) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")]
    {
        symlink(target, layer.join("dev").join(name))?;
    }
    let user = FUNCTION_USER;
    let files = [
        ("hosts", "127.0.0.1 localhost function\n::1 localhost\n".to_owned()),
        ("hostname", "function\n".to_owned()),
        ("passwd", format!("root:x:0:0:root:/root:/bin/sh\nfunction:x:{user}:{user}::/tmp:/bin/sh\n")),
        ("group", format!("root:x:0:\nfunction:x:{user}:\n")),
    ];
    for (name, text) in files {
        fs::write(layer.join("etc").join(name), text)?;
    }
    if *base == Base::HostPrograms {
        // `/usr` of the machine stands at the root, and under its own name too.
        symlink(".", layer.join("usr"))?;
        for name in ["ld.so.cache", "ld.so.conf"] {
            let _ = fs::copy(Path::new("/etc").join(name), layer.join("etc").join(name));
        }
        if let Ok(links) = fs::read_dir("/etc/alternatives") {
            fs::create_dir_all(layer.join("etc/alternatives"))?;
            for link in links.flatten() {
                if let Ok(target) = fs::read_link(link.path()) {
                    symlink(target, layer.join("etc/alternatives").join(link.file_name()))?;
                }
            }
        }
    }
    Ok(())
}
