//! A warm function's images.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::program::failed;
use super::{Criu, Error, FROM, Pipes, TO, WITHIN, call, step};
use crate::functions::{Client, ClientError, process};
use crate::sandbox::Start;
use crate::template::{Scratch, Subject, pages::PAGE};

/// What was dumped of a function. Its files lie in memory and are gone with this value.
#[derive(Debug)]
pub struct Dump {
    pub(super) criu: Criu,
    pub(super) subject: Subject,
    pub(super) image: PathBuf,
    /// Number of the dumped process, which restored ones have in their namespaces.
    pub(super) pid: i32,
    /// Pages in the images.
    pub image_pages: u64,
    /// Hash of each page of anonymous memory at the dump, by address; only if it is to be compared.
    memory: Vec<(u64, blake3::Hash)>,
    scratch: Scratch,
}

impl Dump {
    /// Starts the function in its image under `chroot`, calls it `warm_ups` times, and dumps it. With `compares`,
    /// what its memory is is noted, for [`Dump::compare`].
    ///
    /// # Errors
    /// If it fails on the way or CRIU cannot dump it.
    pub fn new(
        criu: &Criu,
        subject: &Subject,
        image: &Path,
        warm_ups: u32,
        compares: bool,
    ) -> Result<Self, Error> {
        let scratch = Scratch::new()?;
        let folder = scratch.store().folder();
        for name in [IMAGES, WORK, RUN] {
            fs::create_dir(folder.join(name)).map_err(step("make a folder of images"))?;
        }
        // A thread for the mount namespace, which is gone with the last process in it.
        let (pid, memory) = std::thread::scope(|scope| {
            let thread = scope.spawn(|| dump(criu, subject, image, warm_ups, compares, folder));
            thread.join().expect("the thread that dumps does not panic")
        })?;
        let mut image_pages = 0;
        for entry in fs::read_dir(folder.join(IMAGES)).map_err(step("list the images"))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("pages-") {
                image_pages += entry.metadata().map_err(step("read the images"))?.len() / PAGE as u64;
            }
        }
        Ok(Self {
            criu: criu.clone(),
            subject: subject.clone(),
            image: image.to_owned(),
            pid,
            image_pages,
            memory,
            scratch,
        })
    }

    /// CRIU's own images.
    pub(super) fn images(&self) -> PathBuf {
        self.scratch.store().folder().join(IMAGES)
    }

    /// Rewritten ones.
    pub(super) fn rewritten(&self) -> PathBuf {
        self.scratch.store().folder().join("rewritten")
    }

    /// What the template of rewritten images holds; nothing before they were restored.
    #[must_use]
    pub fn template_bytes(&self) -> Option<u64> {
        let file = fs::metadata(self.rewritten().join(super::rewrite::TEMPLATE)).ok()?;
        Some(file.blocks() * 512)
    }

    /// What the function had written to its root.
    pub(super) fn upper(&self) -> PathBuf {
        self.scratch.store().folder().join(UPPER)
    }

    /// A new folder of one restore.
    pub(super) fn work(&self, nth: u64) -> Result<PathBuf, Error> {
        let folder = self.scratch.store().folder().join(WORK).join(nth.to_string());
        fs::create_dir(&folder).map_err(step("make a folder of a restore"))?;
        Ok(folder)
    }

    /// Where CRIU keeps what it knows of the kernel.
    pub(super) fn run(&self) -> PathBuf {
        self.scratch.store().folder().join(RUN)
    }

    /// Compares the anonymous memory of a restored process that has not been called yet: each page must be as it was,
    /// but for those that the kernel itself writes when a process goes on (which processor it is on). How many are
    /// the same.
    ///
    /// # Errors
    /// If more differ, or it has ended.
    pub fn compare(&self, pid: i32) -> Result<u64, Error> {
        let now = anonymous(pid).map_err(step("read the restored memory"))?;
        let is = |page: &&(u64, blake3::Hash)| {
            now.binary_search_by_key(&page.0, |one| one.0).is_ok_and(|at| now[at].1 == page.1)
        };
        let same = self.memory.iter().filter(is).count();
        // The area of restartable sequences is one page, the stack that a signal is delivered on another.
        if same + 2 < self.memory.len() {
            let (differ, all) = (self.memory.len() - same, self.memory.len());
            return Err(Error::Wrong(format!("{differ} of {all} pages are not as they were at the dump")));
        }
        Ok(same as u64)
    }
}

/// Folders of a dump.
const IMAGES: &str = "images";
const UPPER: &str = "upper";
const WORK: &str = "work";
const RUN: &str = "run";

/// A process that runs. Dropped, it is killed and waited for.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

type Dumped = (i32, Vec<(u64, blake3::Hash)>);

fn dump(
    criu: &Criu,
    subject: &Subject,
    image: &Path,
    warm_ups: u32,
    compares: bool,
    folder: &Path,
) -> Result<Dumped, Error> {
    let root = process::enter(&subject.name, &subject.program.layers, image)?;
    share_run(&folder.join(RUN))?;
    make_pipes(&root)?;
    let null = root.join("dev/null");
    let _ = fs::remove_file(&null);
    mknodat(CWD, &null, FileType::CharacterDevice, Mode::from(0o666), makedev(1, 3))
        .map_err(|errno| step("make /dev/null")(errno.into()))?;
    let mut client = Client::new(Pipes::open(&root)?)?;
    let running = Running(spawn(subject, &root)?);
    let pid = i32::try_from(running.0.id()).expect("a process number");
    client.ready(WITHIN).map_err(|error| printed(&error, &root))?;
    for _ in 0..warm_ups {
        call(&mut client, &subject.inputs.warm_up)?;
    }
    rests(pid).map_err(step("wait until the function rests"))?;
    let memory = if compares { anonymous(pid) } else { Ok(Vec::new()) };
    let memory = memory.map_err(step("read the function's memory"))?;
    let images = folder.join(IMAGES);
    let mut command = criu.on("dump", &images, &images, 1);
    let output =
        command.args(["--file-locks", "--tree", &pid.to_string()]).output().map_err(step("run criu"))?;
    if !output.status.success() {
        return Err(failed("dump", &images, &output.status.to_string()));
    }
    drop(running);
    // What it has written is below what restored ones write.
    let upper = root.with_file_name("upper");
    let copied = Command::new("cp").arg("-a").arg(&upper).arg(folder.join(UPPER)).output();
    let copied = copied.map_err(step("keep what the function has written"))?;
    if !copied.status.success() {
        let why = io::Error::other(String::from_utf8_lossy(&copied.stderr).into_owned());
        return Err(step("keep what the function has written")(why));
    }
    for name in [TO, FROM] {
        let _ = fs::remove_file(folder.join(UPPER).join(name));
    }
    Ok((pid, memory))
}

/// Waits until no thread runs: one that has answered still frees what it needed for that.
fn rests(pid: i32) -> io::Result<()> {
    let end = Instant::now() + WITHIN;
    let mut calm = 0;
    while calm < 5 {
        if Instant::now() > end {
            return Err(io::Error::other("it is always busy"));
        }
        let mut all = true;
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let line = fs::read_to_string(thread?.path().join("stat"))?;
            // Its state follows its name, which may have any signs.
            all &= line.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'));
        }
        calm = if all { calm + 1 } else { 0 };
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    Ok(())
}

/// CRIU keeps what it finds out about the kernel in `/run`, if that lies in memory; otherwise it finds it out in
/// every call. In the mount namespace of this thread, `/run` is a folder of the dump.
pub(super) fn share_run(folder: &Path) -> Result<(), Error> {
    rustix::mount::mount_bind(folder, "/run")
        .map_err(|errno| step("mount a folder at /run in a namespace")(errno.into()))
}

pub(super) fn make_pipes(root: &Path) -> Result<(), Error> {
    for name in [TO, FROM] {
        mknodat(CWD, root.join(name), FileType::Fifo, Mode::from(0o600), 0)
            .map_err(|errno| step("make a named pipe")(errno.into()))?;
    }
    Ok(())
}

fn printed(error: &ClientError, root: &Path) -> Error {
    let said = fs::read_to_string(root.join("printed")).unwrap_or_default();
    Error::Wrong(format!("{error}; it printed: {}", said.trim()))
}

fn spawn(subject: &Subject, root: &Path) -> Result<Child, Error> {
    let Start::Exec { argv } = &subject.program.start else {
        return Err(Error::Wrong(format!("{} is no program that is executed", subject.name)));
    };
    let Pipes { to, from } = Pipes::open(root)?;
    let printed = File::create(root.join("printed")).map_err(step("make a file for what is printed"))?;
    let mut command = Command::new(argv.first().map_or("", String::as_str));
    command.args(argv.iter().skip(1)).env_clear().envs(&subject.program.env);
    command.stdin(Stdio::from(to)).stdout(Stdio::from(from)).stderr(Stdio::from(printed));
    let text = |text: &[u8]| {
        std::ffi::CString::new(text).map_err(|error| step("name a folder of the function")(error.into()))
    };
    let place = text(root.as_os_str().as_encoded_bytes())?;
    let cwd = text(subject.program.cwd.as_bytes())?;
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

/// Reads a page of another process. One that CRIU still has to bring cannot be read (EIO), and a reader from outside
/// does not call for it: CRIU brings what nobody touches, too, a little later.
fn read_arrived(memory: &File, page: &mut [u8], address: u64) -> io::Result<()> {
    let end = Instant::now() + WITHIN;
    loop {
        match memory.read_exact_at(page, address) {
            Err(error) if error.raw_os_error() == Some(libc::EIO) && Instant::now() < end => {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            read => return read,
        }
    }
}

/// Each page of private memory of no library that can be read and written, by address: anonymous, or mapped from
/// the template of rewritten images.
fn anonymous(pid: i32) -> io::Result<Vec<(u64, blake3::Hash)>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut pages = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(range), Some(rights), inode) = (words.next(), words.next(), words.nth(2)) else { continue };
        let ours = inode == Some("0") || line.ends_with(super::rewrite::TEMPLATE);
        if rights != "rw-p" || !ours || line.contains("[stack]") {
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
