//! Restored functions.

use std::fs;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::UnshareFlags;
use serde_json::Value;

use super::dump::{make_pipes, share_run};
use super::program::failed;
use super::{Criu, Dump, Error, Pipes, WITHIN, call, rewrite, step};
use crate::functions::{Client, Input, process};
use crate::template::{pages::PAGE, usage};

/// How long the server of pages may take to be there.
const SERVER: Duration = Duration::from_secs(20);

/// How its pages come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// All of them, read into memory of its own.
    Plain,
    /// When they are touched, by CRIU's server of pages.
    Lazy,
    /// Mapped from a template that restored ones share: rewritten images.
    Attach,
}

/// A restored function. Dropped, it is ended with everything in its namespaces.
#[derive(Debug)]
pub struct Restored {
    /// Making namespaces and root.
    pub sandbox: Duration,
    /// From there until CRIU is done and the function runs.
    pub engine: Duration,
    client: Client<Pipes>,
    pid: i32,
    first: First,
    server: Option<Server>,
    folder: PathBuf,
}

impl Dump {
    /// Restores it once more.
    ///
    /// # Errors
    /// If CRIU cannot do it.
    pub fn restore(&self, way: Way) -> Result<Restored, Error> {
        static NTH: AtomicU64 = AtomicU64::new(0);
        let folder = self.work(NTH.fetch_add(1, Ordering::Relaxed))?;
        let images = match way {
            Way::Attach if !self.rewritten().exists() => {
                rewrite::rewrite(&self.images(), &self.rewritten(), self.pid)?;
                self.rewritten()
            }
            Way::Attach => self.rewritten(),
            Way::Plain | Way::Lazy => self.images(),
        };
        // Namespaces are taken by a thread, and what it starts is the first process of one.
        let made = std::thread::scope(|scope| {
            let thread = scope.spawn(|| self.restore_here(way, &images, folder.clone()));
            thread.join().expect("the thread that restores does not panic")
        });
        // In the thread's mount namespace, `/proc` is that of the new processes by now.
        let found = made.and_then(|mut restored| {
            restored.pid = restored.first.child()?;
            Ok(restored)
        });
        if found.is_err() {
            let _ = fs::remove_dir_all(&folder);
        }
        found
    }

    fn restore_here(&self, way: Way, images: &Path, folder: PathBuf) -> Result<Restored, Error> {
        let server = match way {
            Way::Lazy => Some(Server::start(&self.criu, images, &folder)?),
            Way::Plain | Way::Attach => None,
        };
        let began = Instant::now();
        let mut layers = vec![self.upper()];
        layers.extend(self.subject.program.layers.iter().cloned());
        let root = process::enter(&self.subject.name, &layers, &self.image)?;
        share_run(&self.run())?;
        make_pipes(&root)?;
        let client = Client::new(Pipes::open(&root)?)?;
        let kinds = UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
        // SAFETY: namespaces of this thread, which ends after this; no descriptor and no memory changes.
        unsafe { rustix::thread::unshare_unsafe(kinds) }
            .map_err(|errno| step("get namespaces for a restored function")(errno.into()))?;
        let made = Instant::now();
        let mut command = self.criu.on("restore", images, &folder, 1);
        command.arg("--file-locks");
        if way == Way::Lazy {
            command.arg("--lazy-pages");
        }
        let first = First::run(command, &root, &folder)?;
        let engine = made.elapsed();
        Ok(Restored { sandbox: made - began, engine, client, pid: 0, first, server, folder })
    }
}

impl Restored {
    /// Sends an input; the answer's output, checked.
    ///
    /// # Errors
    /// If there is none, or it is wrong.
    pub fn call(&mut self, input: &Input) -> Result<Value, Error> {
        call(&mut self.client, input)
    }

    /// Sends an input; the answer's output, unchecked.
    ///
    /// # Errors
    /// If there is none.
    pub fn ask(&mut self, input: &Value) -> Result<Value, Error> {
        Ok(self.client.call(input, WITHIN)?.output)
    }

    /// Its number on this machine.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// What it holds.
    ///
    /// # Errors
    /// If it has ended.
    pub fn memory(&self) -> Result<usage::MemoryUse, Error> {
        usage::of(self.pid).map_err(step("read what the function holds"))
    }

    /// Pages that the server of pages has handed over so far; nothing if it has none.
    ///
    /// # Errors
    /// If its log cannot be read.
    pub fn handed_over(&self) -> Result<Option<u64>, Error> {
        self.server.as_ref().map(Server::copied).transpose()
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        // The processes first: a page that nobody brings any more would be waited for.
        self.first.end();
        self.server = None;
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The first process of a restored function's process namespace: CRIU, which becomes a shell when it is done, and
/// then waits for its input to end. Without it, nothing in the namespace lives.
#[derive(Debug)]
struct First(Child);

impl First {
    fn run(mut command: std::process::Command, root: &Path, folder: &Path) -> Result<Self, Error> {
        command.args(["--exec-cmd", "--", "/bin/sh", "-c", "echo restored; read nothing"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let inside = std::ffi::CString::new(root.join("proc").as_os_str().as_encoded_bytes())
            .map_err(|error| step("name a folder of the function")(error.into()))?;
        let places = [c"/proc".to_owned(), inside];
        // SAFETY: between fork and exec, only system calls; the strings were made before.
        unsafe {
            command.pre_exec(move || {
                for place in &places {
                    let kind = c"proc".as_ptr();
                    if libc::mount(kind, place.as_ptr(), kind, 0, std::ptr::null()) < 0 {
                        return Err(io::Error::last_os_error());
                    }
                }
                Ok(())
            });
        }
        let mut first = Self(command.spawn().map_err(step("run criu"))?);
        let mut said = [0; 9];
        let told = first.0.stdout.as_mut().expect("it was asked for").read_exact(&mut said);
        if told.is_err() || &said != b"restored\n" {
            let ended = first.0.wait().map_err(step("wait for criu"))?;
            return Err(failed("restore", folder, &ended.to_string()));
        }
        Ok(first)
    }

    /// The process below it.
    fn child(&self) -> Result<i32, Error> {
        let first = self.0.id();
        let text = fs::read_to_string(format!("/proc/{first}/task/{first}/children"));
        let text = text.map_err(step("find the restored process"))?;
        let child = text.split_ascii_whitespace().next().and_then(|word| word.parse().ok());
        child.ok_or_else(|| step("find the restored process")(io::Error::other("CRIU left none")))
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for First {
    fn drop(&mut self) {
        self.end();
    }
}

/// The server of pages on demand.
#[derive(Debug)]
struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    fn start(criu: &Criu, images: &Path, folder: &Path) -> Result<Self, Error> {
        // It counts what it hands over in its log, and only there.
        let mut command = criu.on("lazy-pages", images, folder, 4);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(step("run criu"))?;
        let mut server = Self { child, log: folder.join("lazy-pages.log") };
        let end = Instant::now() + SERVER;
        while !folder.join("lazy-pages.socket").exists() {
            let ended = server.child.try_wait().map_err(step("wait for criu"))?;
            if ended.is_some() || Instant::now() > end {
                return Err(failed("lazy-pages", folder, "it does not listen"));
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
