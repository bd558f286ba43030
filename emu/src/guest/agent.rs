//! The guest's first process: runs what the host asks for and sends back what it prints and how it ends.
//!
//! Orphans of commands become children of this process and stay as zombies: a lab does not live long enough for that
//! to matter, and waiting for anybody would take a command's end from the thread that waits for it.
//!
//! When the host's end of the channel closes (the lab is gone, however it went) the guest switches itself off.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::wire::{End, Frame, Kind, LONGEST, Ready, Start};

/// Name of the serial port, as the host gave it.
pub const PORT: &str = "trenvx";
/// Folder in the guest where `trenvx` is this program; commands have it first in their path.
pub const PROGRAMS: &str = "/run/bin";
/// How long the port may take to appear.
const PATIENCE: Duration = Duration::from_secs(20);

/// Serves the host until it switches the machine off. Only for the first process of a guest of the lab.
///
/// # Errors
/// If this is no guest of the lab, or the port does not work.
pub fn serve() -> io::Result<()> {
    if std::process::id() != 1 {
        return Err(io::Error::other(
            "the agent is for the first process of a guest of the lab: 'emu guest run'",
        ));
    }
    // Nobody is told by a panic of the first process but the kernel, which then stops: so switch off either way.
    let served = listen();
    if let Err(error) = &served {
        eprintln!("trenvx agent: {error}");
    }
    switch_off();
    served
}

fn listen() -> io::Result<()> {
    // So that scripts can call it by its name.
    fs::create_dir_all(PROGRAMS)?;
    std::os::unix::fs::symlink(std::env::current_exe()?, Path::new(PROGRAMS).join("trenvx"))?;
    let port = find_port()?;
    let mut from = File::options().read(true).write(true).open(&port)?;
    let agent = Arc::new(Agent { to: Mutex::new(from.try_clone()?), groups: Mutex::default() });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned();
    let up = fs::read_to_string("/proc/uptime")?;
    let up_s = up.split(' ').next().and_then(|seconds| seconds.parse().ok()).unwrap_or_default();
    agent.send(&Frame::json(Kind::Ready, 0, &Ready { kernel, up_s }))?;
    loop {
        let frame = match Frame::read(&mut from) {
            Ok(frame) => frame,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        match frame.kind {
            Kind::Start => agent.start(frame.command, &frame.bytes),
            Kind::Signal => agent.signal(frame.command, &frame.bytes),
            Kind::Off => return Ok(()),
            _ => eprintln!("trenvx agent: the host sent {:?}", frame.kind),
        }
    }
}

#[derive(Debug)]
struct Agent {
    to: Mutex<File>,
    /// Process groups of commands that run.
    groups: Mutex<HashMap<u32, i32>>,
}

impl Agent {
    fn send(&self, frame: &Frame) -> io::Result<()> {
        frame.write(&mut *self.to.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Starts a command and sees to its output and end in threads of their own.
    fn start(self: &Arc<Self>, number: u32, order: &[u8]) {
        match self.try_start(number, order) {
            Ok(child) => {
                let agent = Arc::clone(self);
                thread::spawn(move || agent.attend(number, child));
            }
            Err(error) => {
                let _ = self.send(&Frame::json(Kind::End, number, &End::NotStarted(error.to_string())));
            }
        }
    }

    fn try_start(&self, number: u32, order: &[u8]) -> io::Result<Child> {
        let start: Start = serde_json::from_slice(order)?;
        let (program, arguments) =
            start.words.split_first().ok_or_else(|| io::Error::other("an empty command"))?;
        let child = Command::new(program)
            .args(arguments)
            .envs(start.env)
            .current_dir(&start.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| io::Error::other(format!("cannot start {program}: {error}")))?;
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.insert(number, child.id().cast_signed());
        Ok(child)
    }

    fn attend(&self, number: u32, mut child: Child) {
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let status = thread::scope(|scope| {
            scope.spawn(|| self.forward(number, Kind::Output, output));
            scope.spawn(|| self.forward(number, Kind::Errors, errors));
            // Its number stays its own until it is waited for: until then it may be signalled.
            let pid = Pid::from_child(&child);
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            self.groups.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
            child.wait()
        });
        let end = match status {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => End::Code(code),
                (None, signal) => End::Signal(signal.unwrap_or_default()),
            },
            Err(error) => End::NotStarted(format!("its end was lost: {error}")),
        };
        let _ = self.send(&Frame::json(Kind::End, number, &end));
    }

    fn forward(&self, number: u32, kind: Kind, from: Option<impl Read>) {
        let Some(mut from) = from else { return };
        let mut piece = vec![0; LONGEST];
        while let Ok(got @ 1..) = from.read(&mut piece) {
            let frame = Frame { kind, command: number, bytes: piece[..got].to_vec() };
            if self.send(&frame).is_err() {
                return;
            }
        }
    }

    fn signal(&self, number: u32, which: &[u8]) {
        let Ok(signal) = serde_json::from_slice::<i32>(which) else { return };
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = groups.get(&number) {
            // SAFETY: a signal to the process group made in `try_start`, whose leader is not waited for as long as
            // it is in the map: `attend` takes it out before, and this holds the map's lock.
            unsafe { libc::kill(-*group, signal) };
        }
    }
}

/// The device of the port with our name.
fn find_port() -> io::Result<PathBuf> {
    let end = Instant::now() + PATIENCE;
    loop {
        for entry in fs::read_dir("/sys/class/virtio-ports").into_iter().flatten().flatten() {
            let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            let device = Path::new("/dev").join(entry.file_name());
            if name.trim() == PORT && device.exists() {
                return Ok(device);
            }
        }
        if Instant::now() > end {
            return Err(io::Error::other(format!("no serial port with the name {PORT}")));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn switch_off() {
    rustix::fs::sync();
    // SAFETY: no memory is involved; with the capability of a first process it does not return.
    unsafe { libc::reboot(libc::LINUX_REBOOT_CMD_POWER_OFF) };
}
