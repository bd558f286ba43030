//! CRIU as a way to bring a function back: a plain dump of a warm function, and restores of it, with all pages at
//! once or with pages on demand (`lazy-pages`). It is a rival of attached templates with a baseline of its own: the
//! process is the same function in the same image under `chroot`, without a sandbox.
//!
//! All happens in one thread with a mount namespace of its own, which is gone with the last process in it. The
//! protocol goes through two named pipes, which CRIU opens again by their paths.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use crate::functions::{Client, ClientError, FunctionSpec, Input, process};
use crate::template::{pages::PAGE, usage};

/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(120);
/// How long the server of pages may take to be there.
const SERVER: Duration = Duration::from_secs(20);

/// Why a function could not be dumped or restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A step failed.
    #[error("cannot {step}: {why}")]
    Step {
        /// What was being done.
        step: &'static str,
        /// Why not.
        why: io::Error,
    },
    /// The image or the layers are not there.
    #[error(transparent)]
    Function(#[from] crate::functions::Error),
    /// CRIU did not do it.
    #[error("criu {command}: {said}")]
    Criu {
        /// Its subcommand.
        command: &'static str,
        /// The last errors of its log.
        said: String,
    },
    /// The function does not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It answers, and wrongly.
    #[error("{0}")]
    Wrong(String),
}

fn step(step: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |why| Error::Step { step, why }
}

/// What one restore gave.
#[derive(Clone, Debug)]
pub struct Restored {
    /// From the call of CRIU until it has left and the function may run.
    pub attach: Duration,
    /// The first request, to its checked reply.
    pub reply: Duration,
    /// Pages that had come by then.
    pub pages: u64,
    /// After the reply.
    pub memory: usage::MemoryUse,
}

/// What came of a dump and its restores.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Pages in the images.
    pub image_pages: u64,
    /// Pages of anonymous memory that were compared after a restore, and were as at the dump.
    pub compared: u64,
    /// Each restore.
    pub restored: Vec<Restored>,
}

/// Dumps the function after `warm_ups` calls, restores it `starts` times, each with one checked call, and once more
/// to compare its memory.
///
/// # Errors
/// If CRIU cannot do it here, or the function is not as it was.
pub fn run(
    spec: &FunctionSpec,
    image: &Path,
    warm_ups: u32,
    starts: u32,
    lazy: bool,
) -> Result<Outcome, Error> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut dumped = Dumped::new(spec, image, warm_ups)?;
            let compared = dumped.compare(lazy)?;
            let restored = (0..starts).map(|_| dumped.start(spec, lazy)).collect::<Result<_, _>>()?;
            Ok(Outcome { image_pages: dumped.image_pages, compared, restored })
        });
        thread.join().expect("the thread that dumps does not panic")
    })
}

/// Both ends of the protocol.
#[derive(Debug)]
struct Pipes {
    to: File,
    from: File,
}

impl Pipes {
    /// Opened for both ways, so that neither side sees an end when the other is away.
    fn open(root: &Path) -> Result<Self, Error> {
        let open = |name| {
            File::options().read(true).write(true).open(root.join(name)).map_err(step("open a named pipe"))
        };
        Ok(Self { to: open(TO)?, from: open(FROM)? })
    }
}

impl Read for Pipes {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.from.read(into)
    }
}

impl Write for Pipes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl AsFd for Pipes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.from.as_fd()
    }
}

const TO: &str = "to-function";
const FROM: &str = "from-function";

/// A process that runs. Dropped, it is killed and waited for, so that its number is free.
#[derive(Debug)]
struct Running(i32);

impl Running {
    fn end(&self) {
        // SAFETY: `self.0` is a child of this process that nobody else waits for: it was spawned here, or it was
        // restored while this process took over orphans.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Takes over orphans as long as it lives: a restored process is one as soon as CRIU leaves it.
#[derive(Debug)]
struct Guardian;

impl Guardian {
    fn new() -> Result<Self, Error> {
        // SAFETY: changes an attribute of this process, and no memory.
        match unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) } {
            0 => Ok(Self),
            _ => Err(step("take over orphans")(io::Error::last_os_error())),
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 0) };
    }
}

#[derive(Debug)]
struct Dumped {
    images: PathBuf,
    client: Client<Pipes>,
    pid: i32,
    image_pages: u64,
    /// Hash of each page of anonymous memory at the dump, by address.
    memory: Vec<(u64, blake3::Hash)>,
    _guardian: Guardian,
}

impl Dumped {
    fn new(spec: &FunctionSpec, image: &Path, warm_ups: u32) -> Result<Self, Error> {
        let root = process::enter(spec, image)?;
        let images = root.with_file_name("criu");
        fs::create_dir(&images).map_err(step("make the folder of images"))?;
        for name in [TO, FROM] {
            mknodat(CWD, root.join(name), FileType::Fifo, Mode::from(0o600), 0)
                .map_err(|errno| step("make a named pipe")(errno.into()))?;
        }
        let null = root.join("dev/null");
        let _ = fs::remove_file(&null);
        mknodat(CWD, &null, FileType::CharacterDevice, Mode::from(0o666), makedev(1, 3))
            .map_err(|errno| step("make /dev/null")(errno.into()))?;
        let mut client = Client::new(Pipes::open(&root)?)?;
        let guardian = Guardian::new()?;
        let child = spawn(spec, &root)?;
        let pid = i32::try_from(child.id()).expect("a process number");
        let running = Running(pid);
        client.ready(WITHIN).map_err(|error| printed(&error, &root))?;
        for _ in 0..warm_ups {
            call(&mut client, &spec.inputs.warm_up)?;
        }
        let memory = anonymous(pid).map_err(step("read the function's memory"))?;
        criu("dump", &images, &["--tree", &pid.to_string()])?;
        drop(running);
        let mut image_pages = 0;
        for entry in fs::read_dir(&images).map_err(step("list the images"))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("pages-") {
                image_pages += entry.metadata().map_err(step("read the images"))?.len() / PAGE as u64;
            }
        }
        Ok(Self { images, client, pid, image_pages, memory, _guardian: guardian })
    }

    /// Restores it; with the server of its pages, if they come on demand.
    fn restore(&self, lazy: bool) -> Result<(Running, Option<Server>, Duration), Error> {
        let server = lazy.then(|| Server::start(&self.images)).transpose()?;
        let began = Instant::now();
        let more: &[&str] =
            if lazy { &["--restore-detached", "--lazy-pages"] } else { &["--restore-detached"] };
        criu("restore", &self.images, more)?;
        Ok((Running(self.pid), server, began.elapsed()))
    }

    fn start(&mut self, spec: &FunctionSpec, lazy: bool) -> Result<Restored, Error> {
        let (running, server, attach) = self.restore(lazy)?;
        let called = Instant::now();
        call(&mut self.client, &spec.inputs.base)?;
        let reply = called.elapsed();
        let memory = usage::of(self.pid).map_err(step("read what the function holds"))?;
        let pages = match &server {
            Some(server) => server.copied()?,
            None => self.image_pages,
        };
        drop(running);
        drop(server);
        Ok(Restored { attach, reply, pages, memory })
    }

    /// Restores it once without a call: each page of its anonymous memory must be as it was, but for those that the
    /// kernel itself writes when a process goes on (which processor it is on).
    fn compare(&self, lazy: bool) -> Result<u64, Error> {
        let (running, server, _) = self.restore(lazy)?;
        let now = anonymous(self.pid).map_err(step("read the restored memory"))?;
        drop(running);
        drop(server);
        let differ = self
            .memory
            .iter()
            .filter(|page| {
                now.binary_search_by_key(&page.0, |one| one.0).map_or(true, |at| now[at].1 != page.1)
            })
            .count();
        // The area of restartable sequences is one page, the stack that a signal is delivered on another.
        if differ > 2 {
            return Err(Error::Wrong(format!(
                "{differ} of {} pages are not as they were at the dump",
                self.memory.len()
            )));
        }
        Ok((self.memory.len() - differ) as u64)
    }
}

fn call(client: &mut Client<Pipes>, input: &Input) -> Result<(), Error> {
    let reply = client.call(&input.input, WITHIN)?;
    let faults = input.faults(&reply.output);
    if faults.is_empty() { Ok(()) } else { Err(Error::Wrong(faults.join("; "))) }
}

fn printed(error: &ClientError, root: &Path) -> Error {
    let said = fs::read_to_string(root.join("printed")).unwrap_or_default();
    Error::Wrong(format!("{error}; it printed: {}", said.trim()))
}

fn spawn(spec: &FunctionSpec, root: &Path) -> Result<Child, Error> {
    let Pipes { to, from } = Pipes::open(root)?;
    let printed = File::create(root.join("printed")).map_err(step("make a file for what is printed"))?;
    let mut command = Command::new(spec.argv.first().map_or("", String::as_str));
    command.args(spec.argv.iter().skip(1)).env_clear().envs(spec.env.iter().cloned());
    command.stdin(Stdio::from(to)).stdout(Stdio::from(from)).stderr(Stdio::from(printed));
    let place = std::ffi::CString::new(root.as_os_str().as_encoded_bytes())
        .map_err(|error| step("name the root")(error.into()))?;
    let cwd = std::ffi::CString::new(spec.cwd.as_os_str().as_encoded_bytes())
        .map_err(|error| step("name the folder")(error.into()))?;
    // SAFETY: between fork and exec, only system calls; the strings were made before.
    unsafe {
        command.pre_exec(move || {
            libc::setsid();
            if libc::chroot(place.as_ptr()) < 0 || libc::chdir(cwd.as_ptr()) < 0 {
                return Err(io::Error::last_os_error());
            }
            libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
            Ok(())
        });
    }
    command.spawn().map_err(step("start the function"))
}

/// Runs CRIU to its end.
fn criu(command: &'static str, images: &Path, more: &[&str]) -> Result<(), Error> {
    let log = format!("{command}.log");
    let output = base(command, images, &log).args(more).output().map_err(step("run criu"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = fs::read_to_string(images.join(&log)).unwrap_or_default();
    let errors: Vec<&str> = text.lines().filter(|line| line.contains("Error")).collect();
    let from = errors.len().saturating_sub(3);
    let said = if errors.is_empty() { output.status.to_string() } else { errors[from..].join("; ") };
    Err(Error::Criu { command, said })
}

fn base(command: &str, images: &Path, log: &str) -> Command {
    let mut criu = Command::new("criu");
    criu.arg(command).arg("--images-dir").arg(images).args(["--log-file", log, "-v4"]);
    criu.stdin(Stdio::null());
    criu
}

/// The server of pages on demand.
#[derive(Debug)]
struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    fn start(images: &Path) -> Result<Self, Error> {
        let socket = images.join("lazy-pages.socket");
        let _ = fs::remove_file(&socket);
        let mut command = base("lazy-pages", images, "lazy-pages.log");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(step("run criu"))?;
        let server = Self { child, log: images.join("lazy-pages.log") };
        let end = Instant::now() + SERVER;
        while !socket.exists() {
            if Instant::now() > end {
                let said = fs::read_to_string(&server.log).unwrap_or_default();
                let last = said.lines().last().unwrap_or("it said nothing").to_owned();
                return Err(Error::Criu { command: "lazy-pages", said: last });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(server)
    }

    /// Pages that it has handed over so far, by its log: `uffd_copy: 0x…/4096`, the second number in bytes.
    fn copied(&self) -> Result<u64, Error> {
        let text = fs::read_to_string(&self.log).map_err(step("read the log of lazy-pages"))?;
        Ok(copied(&text))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn copied(log: &str) -> u64 {
    let lines = log.lines().filter_map(|line| line.split_once("uffd_copy: ")?.1.split_once('/'));
    lines.filter_map(|(_, bytes)| bytes.trim().parse::<u64>().ok()).sum::<u64>() / PAGE as u64
}

/// Reads a page of another process. One that CRIU still has to bring cannot be read (EIO), and a reader from outside
/// does not call for it: CRIU brings what nobody touches, too, a little later.
fn read_arrived(memory: &File, page: &mut [u8], address: u64) -> io::Result<()> {
    let end = Instant::now() + WITHIN;
    loop {
        match memory.read_exact_at(page, address) {
            Err(error) if error.raw_os_error() == Some(libc::EIO) && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(20));
            }
            read => return read,
        }
    }
}

/// Each page of private anonymous memory that can be read and written, by address.
fn anonymous(pid: i32) -> io::Result<Vec<(u64, blake3::Hash)>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut pages = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(range), Some(rights), inode) = (words.next(), words.next(), words.nth(2)) else { continue };
        if rights != "rw-p" || inode != Some("0") || line.contains("[stack]") {
            continue;
        }
        let Some((from, to)) = range.split_once('-') else { continue };
        let number = |text| u64::from_str_radix(text, 16).map_err(io::Error::other);
        for address in (number(from)?..number(to)?).step_by(PAGE) {
            let mut page = [0; PAGE];
            read_arrived(&memory, &mut page, address)?;
            pages.push((address, blake3::hash(&page)));
        }
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::copied;

    #[test]
    fn the_log_of_lazy_pages_is_summed_up() {
        let log =
            "(00.1) uffd: 12-13: uffd_copy: 0x7f00/4096\n(00.2) uffd: 12-13: uffd_copy: 0x7f01000/65536\n";
        assert_eq!(copied(log), 17);
        assert_eq!(copied("nothing"), 0);
    }
}
