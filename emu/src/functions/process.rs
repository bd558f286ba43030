//! A function's process without a sandbox: in the base image under chroot, or directly on this machine.
//!
//! For the image, a thread takes a mount namespace of its own, lays the function's layers over the image there, and
//! starts the process from it. The mounts belong to the namespace: they are gone with the last process in it,
//! however that ends, and nothing is written to the image or to the machine's own folders. The function ends when
//! the other end of its socket is closed, so it does not outlive a caller that is killed.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;

use super::{Client, ClientError, Error, FunctionSpec, Ready, Reply};

/// How much of what a function printed is shown when it fails.
const SHOWN: usize = 2000;

/// Where a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Directly on this machine, with the function's paths as they are: for native functions.
    Host,
    /// In this base image, with the function's layers over it. Needs root.
    Image(PathBuf),
}

/// Why a function's process did not become ready.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A step before the process failed.
    #[error(transparent)]
    Prepare(#[from] Error),
    /// The process did not say that it is ready.
    #[error("{function}: {source}{}", printed(.stderr))]
    NotReady {
        /// Which function.
        function: String,
        /// What happened instead.
        source: ClientError,
        /// The end of what it printed.
        stderr: String,
    },
    /// Another function answered than the one that was started.
    #[error("{expected} was started, and {found} answered")]
    Mistaken {
        /// The one that was started.
        expected: String,
        /// The one that answered.
        found: String,
    },
}

/// A function's process that is ready. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    client: Option<Client<UnixStream>>,
    stderr: File,
    /// What it said when it was ready.
    pub ready: Ready,
    /// From the call that executes it to the arrival of its ready message.
    pub start: Duration,
}

impl Process {
    /// Starts the function and waits until it is ready.
    pub fn start(spec: &FunctionSpec, place: &Place, timeout: Duration) -> Result<Self, StartError> {
        let (ours, theirs) = UnixStream::pair().map_err(Error::io("make a socket for", &spec.name))?;
        let stderr = rustix::fs::memfd_create("stderr", rustix::fs::MemfdFlags::CLOEXEC)
            .map_err(Error::io("make a file for what is printed by", &spec.name))?;
        let stderr = File::from(stderr);
        let theirs = OwnedFd::from(theirs);
        let (child, begun) = match place {
            Place::Host => spawn(spec, theirs, &stderr, None)?,
            Place::Image(image) => std::thread::scope(|scope| {
                let thread = scope.spawn(|| {
                    let root = enter(&spec.name, &spec.layers, image)?;
                    spawn(spec, theirs, &stderr, Some(&root))
                });
                thread.join().expect("the thread that starts a process does not panic")
            })?,
        };
        let mut client = Client::new(ours).map_err(|source| StartError::NotReady {
            function: spec.name.clone(),
            source,
            stderr: String::new(),
        })?;
        let ready = client.ready(timeout);
        let start = begun.elapsed();
        let unready = Ready { function: String::new(), pid: 0, threads: 0 };
        let mut process = Self { child, client: Some(client), stderr, ready: unready, start };
        match ready {
            Ok(ready) => process.ready = ready,
            Err(source) => {
                let stderr = process.printed();
                return Err(StartError::NotReady { function: spec.name.clone(), source, stderr });
            }
        }
        if process.ready.function != spec.name {
            let found = process.ready.function.clone();
            return Err(StartError::Mistaken { expected: spec.name.clone(), found });
        }
        Ok(process)
    }

    /// Its number on this machine.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its protocol.
    pub fn client(&mut self) -> &mut Client<UnixStream> {
        self.client.as_mut().expect("the client is there until finish, which consumes the process")
    }

    /// Sends one input and waits for its answer.
    pub fn call(&mut self, input: &serde_json::Value, timeout: Duration) -> Result<Reply, ClientError> {
        self.client().call(input, timeout)
    }

    /// The end of what it printed to standard error so far.
    #[must_use]
    pub fn printed(&self) -> String {
        let mut bytes = [0; SHOWN];
        let length = self.stderr.metadata().map_or(0, |metadata| metadata.len());
        // At a place, because the position is the function's too.
        match self.stderr.read_at(&mut bytes, length.saturating_sub(SHOWN as u64)) {
            Ok(count) => String::from_utf8_lossy(&bytes[..count]).trim().to_owned(),
            Err(error) => format!("(cannot be read: {error})"),
        }
    }

    /// Ends it as it should end: its input ends, and it leaves by itself. `None` when it did not within `timeout`
    /// and was killed.
    pub fn finish(mut self, timeout: Duration) -> Option<ExitStatus> {
        self.client = None;
        let end = Instant::now() + timeout;
        while Instant::now() < end {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let (Ok(None), Ok(pid)) = (self.child.try_wait(), i32::try_from(self.child.id())) {
            // With whatever it started: it leads a group of its own, and is still there to hold the number.
            if let Some(group) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

/// Executes the function; returns the moment before that, too.
fn spawn(
    spec: &FunctionSpec,
    socket: OwnedFd,
    stderr: &File,
    root: Option<&Path>,
) -> Result<(Child, Instant), Error> {
    let name = || PathBuf::from(spec.argv.first().map_or("", String::as_str));
    let clone = |fd: &OwnedFd| fd.try_clone().map_err(Error::io("pass the socket to", name()));
    let mut command = Command::new(name());
    command.args(spec.argv.iter().skip(1)).env_clear().envs(spec.env.iter().cloned());
    command.stdin(Stdio::from(clone(&socket)?)).stdout(Stdio::from(socket));
    command.stderr(Stdio::from(stderr.try_clone().map_err(Error::io("pass a file to", name()))?));
    if let Some(root) = root {
        // This thread's own view of the file system: the thread ends after this.
        rustix::process::chroot(root).map_err(Error::io("change the root to", root))?;
    }
    command.current_dir(&spec.cwd);
    // Not in the way of a terminal's signals to the caller, which ends the function itself.
    command.process_group(0);
    // SAFETY: between fork and exec, one system call that allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| {
            // What this process got from its own caller and did not mark is not the function's. Kernels before 5.11
            // cannot do it, and then the function has these descriptors, too.
            libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
            Ok(())
        });
    }
    let begun = Instant::now();
    let child = command.spawn().map_err(Error::io("execute", name()))?;
    Ok((child, begun))
}

/// Gives this thread a mount namespace in which the function's layers lie over the image; returns their root.
pub(crate) fn enter(name: &str, layers: &[PathBuf], image: &Path) -> Result<PathBuf, Error> {
    if !image.join("usr").is_dir() {
        let (function, path) = (name.to_owned(), image.to_owned());
        return Err(Error::NotSetUp { function, what: "base image", path });
    }
    // SAFETY: a new mount namespace, and with it an own root and current folder, for this thread alone; it was
    // made for this and ends after the spawn. No descriptor or memory changes.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }
        .map_err(Error::io("get a mount namespace (which needs root) for", name))?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).map_err(Error::io("make private the mounts of", "/"))?;

    // What the function writes goes to memory, mounted in the image's own /run in this namespace only.
    let scratch = image.join("run");
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("tmpfs", &scratch, "tmpfs", flags, Some(c"mode=0755"))
        .map_err(Error::io("mount memory at", &scratch))?;
    let [upper, work, root] = ["upper", "work", "root"].map(|name| scratch.join(name));
    for folder in [&upper, &work, &root] {
        std::fs::create_dir(folder).map_err(Error::io("make", folder))?;
    }
    let options = overlay_options(layers, image, &upper, &work)?;
    rustix::mount::mount("overlay", &root, "overlay", MountFlags::NOSUID, Some(options.as_c_str()))
        .map_err(Error::io("lay layers over the image at", &root))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let proc = root.join("proc");
    rustix::mount::mount("proc", &proc, "proc", flags, None).map_err(Error::io("mount", &proc))?;
    Ok(root)
}

fn overlay_options(
    layers: &[PathBuf],
    image: &Path,
    upper: &Path,
    work: &Path,
) -> Result<std::ffi::CString, Error> {
    let mut lower = Vec::new();
    for path in layers.iter().map(PathBuf::as_path).chain([image]) {
        let text = path.to_str().filter(|text| !text.contains([':', ',', '\\']));
        lower.push(text.ok_or_else(|| {
            let source = std::io::Error::other("its path has a colon, a comma or a backslash: move it");
            Error::Io { action: "use as a layer", path: path.to_owned(), source }
        })?);
    }
    let options =
        format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), upper.display(), work.display());
    std::ffi::CString::new(options).map_err(|_| Error::Io {
        action: "use as a layer",
        path: image.to_owned(),
        source: std::io::Error::other("its path has a zero"),
    })
}

fn printed(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!("; it printed:\n{stderr}") }
}
