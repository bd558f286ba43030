//! The files that guests boot from, and how they are made.
//!
//! ```text
//! out/guest/image.json   which kernel this is, and by which recipe it was made
//!           kernel       as its package has it
//!           initramfs    busybox, `init.sh`, and the modules of every group with their order
//! ```
//!
//! The kernel's package is downloaded and unpacked, never installed: nothing of the machine's own boot changes.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::initramfs::Archive;
use super::modules::{Modules, ModulesError};

const INIT: &[u8] = include_bytes!("init.sh");
const META: &str = "image.json";
/// The package whose dependency is the distribution's current kernel of the full flavour.
const CURRENT: &str = "linux-image-amd64";

/// Drivers that are loaded together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// What every guest needs: its bus, the control channel, the host's files, the network, entropy.
    Base,
    /// CXL memory, the namespaces on it and the file system that maps it.
    Cxl,
    /// RDMA in software.
    Rdma,
    /// What CRIU asks the kernel for.
    Criu,
    /// What the network of sandboxes is made of.
    Sandboxes,
}

impl Group {
    const ALL: [Self; 5] = [Self::Base, Self::Cxl, Self::Rdma, Self::Criu, Self::Sandboxes];

    /// Its name on the guest's kernel command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Cxl => "cxl",
            Self::Rdma => "rdma",
            Self::Criu => "criu",
            Self::Sandboxes => "sandboxes",
        }
    }

    /// Its modules; what they need is found.
    fn modules(self) -> &'static [&'static str] {
        match self {
            Self::Base => {
                &["virtio_pci", "virtio_console", "virtio_net", "virtio_rng", "9pnet_virtio", "9p", "overlay"]
            }
            // ext4 sums up its metadata with crc32c, by an alias that no dependency names.
            Self::Cxl => &[
                "crc32c_generic",
                "cxl_acpi",
                "cxl_pci",
                "cxl_mem",
                "cxl_pmem",
                "nd_pmem",
                "dax_pmem",
                "device_dax",
                "kmem",
                "ext4",
            ],
            // Without crc32_generic the link is refused.
            Self::Rdma => &["crc32_generic", "rdma_rxe", "rdma_ucm", "ib_umad"],
            Self::Criu => &[
                "nfnetlink",
                "nf_tables",
                "unix_diag",
                "inet_diag",
                "tcp_diag",
                "udp_diag",
                "netlink_diag",
                "af_packet_diag",
                "tun",
            ],
            Self::Sandboxes => &["veth", "bridge"],
        }
    }
}

/// Why the files could not be made or found.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// There is no image.
    #[error("no guest image in {place}: make one with 'trenvx emu guest build'", place = .0.display())]
    None(PathBuf),
    /// It was made by another version of this program.
    #[error(
        "the guest image in {place} was made by another recipe: make it anew with 'trenvx emu guest build'",
        place = .0.display()
    )]
    Old(PathBuf),
    /// A program that makes it is missing.
    #[error("{program} is not installed: run scripts/setup --guest (package {package})")]
    Program {
        /// Which.
        program: &'static str,
        /// Where it comes from.
        package: &'static str,
    },
    /// A program failed.
    #[error("{program} failed: {said}")]
    Failed {
        /// What was run.
        program: String,
        /// The end of what it said.
        said: String,
    },
    /// The package holds no kernel as it should.
    #[error("{package} holds no kernel: {wanted} is missing")]
    NoKernel {
        /// The package.
        package: String,
        /// What was looked for.
        wanted: &'static str,
    },
    /// Its modules are not those that the lab needs.
    #[error(transparent)]
    Modules(#[from] ModulesError),
    /// A file could not be read or written.
    #[error("{path}: {why}", path = .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> ImageError {
    let path = path.to_owned();
    move |why| ImageError::Io { path, why }
}

/// What `image.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Release of the kernel, as `uname -r` says it in the guest.
    pub kernel: String,
    /// The package that it came from.
    pub package: String,
    /// Hash of what this program puts into the initramfs and in which order it loads modules.
    pub recipe: String,
}

/// A kernel and an initramfs to boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    folder: PathBuf,
    meta: Meta,
}

impl Image {
    /// The image in a folder, made by this version's recipe.
    ///
    /// # Errors
    /// If there is none, or an old one.
    pub fn open(folder: &Path) -> Result<Self, ImageError> {
        let path = folder.join(META);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ImageError::None(folder.to_owned()));
            }
            Err(error) => return Err(io_at(&path)(error)),
        };
        let meta: Meta = serde_json::from_slice(&text).map_err(|_| ImageError::Old(folder.to_owned()))?;
        if meta.recipe != recipe() {
            return Err(ImageError::Old(folder.to_owned()));
        }
        Ok(Self { folder: folder.to_owned(), meta })
    }

    /// What it is.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The kernel.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.folder.join("kernel")
    }

    /// The initramfs.
    #[must_use]
    pub fn initramfs(&self) -> PathBuf {
        self.folder.join("initramfs")
    }

    /// Makes the image in `folder` from a kernel package: `package` if given, else the distribution's current
    /// one, downloaded. There is a whole image or none: it is made beside its place and renamed into it. With one
    /// there that was made by this recipe and no package given, it does nothing.
    ///
    /// # Errors
    /// If a program is missing or fails, or the package is not as it should be.
    pub fn build(folder: &Path, package: Option<&Path>) -> Result<Self, ImageError> {
        if package.is_none()
            && let Ok(image) = Self::open(folder)
        {
            return Ok(image);
        }
        let busybox = find_program("busybox", "busybox-static")?;
        find_program("dpkg-deb", "dpkg")?;
        // Two that build at once share the place beside it: they take turns, and the second finds it made.
        let parent =
            folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(io_at(parent))?;
        let _turn =
            File::open(parent).and_then(|parent| parent.lock().map(|()| parent)).map_err(io_at(parent))?;
        if package.is_none()
            && let Ok(image) = Self::open(folder)
        {
            return Ok(image);
        }
        let work = folder.with_extension("partial");
        remove(&work)?;
        fs::create_dir_all(&work).map_err(io_at(&work))?;
        let made = make(&work, package, &busybox);
        let unpacked = work.join("unpacked");
        remove(&unpacked)?;
        if let Err(error) = made {
            remove(&work)?;
            return Err(error);
        }
        remove(folder)?;
        fs::rename(&work, folder).map_err(io_at(folder))?;
        Self::open(folder)
    }
}

/// Hash of everything that decides what an initramfs holds, besides the kernel.
fn recipe() -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(INIT);
    for group in Group::ALL {
        hasher.update(group.name().as_bytes());
        for module in group.modules() {
            hasher.update(module.as_bytes());
        }
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// Fills `work` with the files of an image.
fn make(work: &Path, package: Option<&Path>, busybox: &Path) -> Result<(), ImageError> {
    let unpacked = work.join("unpacked");
    fs::create_dir(&unpacked).map_err(io_at(&unpacked))?;
    let package = match package {
        Some(path) => path.to_owned(),
        None => download(&unpacked)?,
    };
    let name = package.file_name().unwrap_or_default().to_string_lossy().into_owned();
    run(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&unpacked))?;

    let absent = |wanted| ImageError::NoKernel { package: name.clone(), wanted };
    let lib = [unpacked.join("lib/modules"), unpacked.join("usr/lib/modules")];
    let modules =
        lib.iter().find_map(|path| only_entry(path)).ok_or_else(|| absent("lib/modules/RELEASE"))?;
    let release = modules.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let kernel = unpacked.join("boot").join(format!("vmlinuz-{release}"));
    if !kernel.exists() {
        return Err(absent("boot/vmlinuz-RELEASE"));
    }
    let target = work.join("kernel");
    fs::rename(&kernel, &target).map_err(io_at(&target))?;
    write_initramfs(&work.join("initramfs"), &Modules::of(&modules)?, busybox)?;

    let meta = Meta { kernel: release, package: name, recipe: recipe() };
    let path = work.join(META);
    let text = serde_json::to_vec_pretty(&meta).expect("plain strings");
    fs::write(&path, text).map_err(io_at(&path))
}

fn write_initramfs(path: &Path, modules: &Modules, busybox: &Path) -> Result<(), ImageError> {
    let file = File::create(path).map_err(io_at(path))?;
    let mut archive = Archive::new(BufWriter::new(file));
    let mut write = || -> Result<(), ImageError> {
        for folder in ["bin", "dev", "proc", "sys", "modules", "host", "layer", "root"] {
            archive.folder(folder).map_err(io_at(path))?;
        }
        // Messages of the first program go nowhere without it: devtmpfs is not mounted yet.
        archive.device("dev/console", (5, 1)).map_err(io_at(path))?;
        let bytes = fs::read(busybox).map_err(io_at(busybox))?;
        // A program that needs libraries names their loader in its first page.
        if bytes[..bytes.len().min(4096)].windows(9).any(|window| window == b"/ld-linux") {
            return Err(ImageError::Program {
                program: "a busybox without libraries",
                package: "busybox-static",
            });
        }
        archive.file("bin/busybox", &bytes).map_err(io_at(path))?;
        archive.file("init", INIT).map_err(io_at(path))?;
        let mut written = BTreeSet::new();
        for group in Group::ALL {
            // Each group names everything that it needs, since any other may be left out: the guest skips what
            // is loaded already.
            let mut order = String::new();
            for module in modules.order(group.modules(), &mut BTreeSet::new())? {
                let name = module.file_stem().unwrap_or_default().to_string_lossy().replace('-', "_");
                order.push_str(&name);
                order.push('\n');
                let bytes = fs::read(&module).map_err(io_at(&module))?;
                if written.insert(name.clone()) {
                    archive.file(&format!("modules/{name}"), &bytes).map_err(io_at(path))?;
                }
            }
            archive
                .file(&format!("modules/{}.order", group.name()), order.as_bytes())
                .map_err(io_at(path))?;
        }
        Ok(())
    };
    write()?;
    archive.finish().and_then(|mut to| to.flush()).map_err(io_at(path))
}

/// Downloads the distribution's current kernel of the full flavour.
fn download(folder: &Path) -> Result<PathBuf, ImageError> {
    find_program("apt-get", "apt; or give a package with --kernel")?;
    let depends = run(Command::new("apt-cache").args(["depends", CURRENT]))?;
    let name = depends
        .lines()
        .find_map(|line| {
            line.trim().strip_prefix("Depends: ").filter(|name| name.starts_with("linux-image-"))
        })
        .ok_or_else(|| ImageError::Failed {
            program: format!("apt-cache depends {CURRENT}"),
            said: "it names no kernel: run apt-get update, or give a package with --kernel".to_owned(),
        })?;
    run(Command::new("apt-get").args(["download", "--quiet", name]).current_dir(folder))?;
    let found = fs::read_dir(folder).map_err(io_at(folder))?.flatten().map(|entry| entry.path());
    found.into_iter().find(|path| path.extension() == Some(OsStr::new("deb"))).ok_or_else(|| {
        ImageError::Failed { program: format!("apt-get download {name}"), said: "no package came".to_owned() }
    })
}

/// The one entry of a folder.
fn only_entry(folder: &Path) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).next()
}

fn remove(folder: &Path) -> Result<(), ImageError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_at(folder)(error)),
        _ => Ok(()),
    }
}

/// Where a program is, in `PATH` or the places of administrators' programs.
pub(crate) fn find_program(program: &'static str, package: &'static str) -> Result<PathBuf, ImageError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
        .ok_or(ImageError::Program { program, package })
}

/// Runs a program to its end and returns what it printed.
fn run(command: &mut Command) -> Result<String, ImageError> {
    let program = format!("{command:?}").replace('"', "");
    let failed = |said: String| ImageError::Failed { program: program.clone(), said };
    let output = command
        .stdin(Stdio::null())
        .env("LC_ALL", "C")
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = said.trim().lines().rev().take(3).collect();
    Err(failed(last.into_iter().rev().collect::<Vec<_>>().join("; ")))
}
