//! The host's end of one guest: commands, their output and how they end.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::agent::PROGRAMS;
use super::qemu::Accelerator;
use super::wire::{End, Frame, Kind, Ready, Start};

/// Tells commands in guests that devices are emulated, and what runs the guest: what they measure has to say so.
pub const EMULATED_BY: &str = "TRENVX_EMULATED_BY";
/// What has to be read with every time that was measured in a guest.
pub const EMULATED: &str = "emulated device: functional, not timing";
/// Where commands of a system lie, as far as a guest is concerned.
const SYSTEM_PROGRAMS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a guest did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// QEMU ended or its end of the channel did.
    #[error("guest {number} is gone; the end of its console ({console}):\n{tail}", console = .console.display())]
    Gone {
        /// Which, from 1.
        number: usize,
        /// Its console's log.
        console: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// It did not come up in time.
    #[error(
        "guest {number} did not answer within {within:?} of its start; the end of its console ({console}):\n{tail}",
        console = .console.display()
    )]
    NotUp {
        /// Which, from 1.
        number: usize,
        /// The deadline.
        within: Duration,
        /// Its console's log.
        console: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// A command took too long. It was killed.
    #[error("guest {number}: '{command}' did not end within {within:?} and was killed; so far:\n{so_far}")]
    Late {
        /// Which guest, from 1.
        number: usize,
        /// What ran.
        command: String,
        /// The deadline.
        within: Duration,
        /// What it had printed.
        so_far: String,
    },
    /// A command could not be started.
    #[error("guest {number}: {reason}")]
    NotStarted {
        /// Which guest, from 1.
        number: usize,
        /// Why not.
        reason: String,
    },
    /// A command of the lab itself failed.
    #[error("guest {number}: '{command}' failed: {said}")]
    Failed {
        /// Which guest, from 1.
        number: usize,
        /// What ran.
        command: String,
        /// What it said.
        said: String,
    },
}

/// A command that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub end: End,
    /// All of its standard output.
    pub output: String,
    /// All of its standard error.
    pub errors: String,
}

impl Ended {
    /// Whether it ended with code 0.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.end == End::Code(0)
    }
}

/// Where frames about each command go.
#[derive(Debug, Default)]
struct Router {
    commands: HashMap<u32, Sender<Frame>>,
    /// Set when the channel has ended: no more frames come.
    closed: bool,
}

/// One guest.
#[derive(Debug)]
pub struct Node {
    number: usize,
    process: Mutex<Child>,
    control: Mutex<UnixStream>,
    router: Arc<Mutex<Router>>,
    next: AtomicU32,
    console: PathBuf,
    accelerator: Accelerator,
    ready: Ready,
}

impl Node {
    /// Waits until the agent answers.
    pub(super) fn wait(
        number: usize,
        process: Child,
        control: UnixStream,
        console: &Path,
        accelerator: Accelerator,
        within: Duration,
    ) -> Result<Self, NodeError> {
        let not_up = || {
            let number = number + 1;
            NodeError::NotUp { number, within, console: console.to_owned(), tail: tail(console) }
        };
        let gone =
            || NodeError::Gone { number: number + 1, console: console.to_owned(), tail: tail(console) };
        let mut process = process;
        let first = control
            .set_read_timeout(Some(within.max(Duration::from_millis(1))))
            .and_then(|()| Frame::read(&mut &control));
        let ready = match first {
            Ok(Frame { kind: Kind::Ready, bytes, .. }) => serde_json::from_slice(&bytes).ok(),
            Ok(_) => None,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                end(&mut process);
                return Err(not_up());
            }
            Err(_) => None,
        };
        let (Some(ready), Ok(listen), Ok(())) = (ready, control.try_clone(), control.set_read_timeout(None))
        else {
            end(&mut process);
            return Err(gone());
        };
        let router: Arc<Mutex<Router>> = Arc::default();
        let routes = Arc::clone(&router);
        thread::spawn(move || route(listen, &routes));
        Ok(Self {
            number,
            process: Mutex::new(process),
            control: Mutex::new(control),
            router,
            next: AtomicU32::new(1),
            console: console.to_owned(),
            accelerator,
            ready,
        })
    }

    /// Its number in the lab, from 0.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }

    /// What the agent said of it when it came up.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// The log of its kernel's messages.
    #[must_use]
    pub fn console(&self) -> &Path {
        &self.console
    }

    /// Starts a command in it.
    ///
    /// # Errors
    /// If the guest is gone.
    pub fn start<W: Into<String>>(&self, words: impl IntoIterator<Item = W>) -> Result<Job<'_>, NodeError> {
        let words: Vec<String> = words.into_iter().map(Into::into).collect();
        let env = vec![
            ("PATH".to_owned(), format!("{PROGRAMS}:{SYSTEM_PROGRAMS}")),
            ("HOME".to_owned(), "/root".to_owned()),
            ("TRENVX_NODE".to_owned(), (self.number + 1).to_string()),
            (EMULATED_BY.to_owned(), self.accelerator.name().to_owned()),
        ];
        let command = words.join(" ");
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (to, frames) = mpsc::channel();
        {
            let mut router = self.router.lock().unwrap_or_else(PoisonError::into_inner);
            if router.closed {
                return Err(self.gone());
            }
            router.commands.insert(number, to);
        }
        self.send(&Frame::json(Kind::Start, number, &Start { words, env, folder: "/".to_owned() }))?;
        Ok(Job { node: self, number, command, frames, output: Vec::new(), errors: Vec::new() })
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// If the guest is gone, or the command cannot be started or takes too long. A command that fails is no
    /// error.
    pub fn run<W: Into<String>>(
        &self,
        words: impl IntoIterator<Item = W>,
        within: Duration,
    ) -> Result<Ended, NodeError> {
        self.start(words)?.wait(within)
    }

    /// Runs a command of the lab itself, which must succeed.
    pub(super) fn must<W: Into<String>>(
        &self,
        words: impl IntoIterator<Item = W>,
        within: Duration,
    ) -> Result<(), NodeError> {
        let job = self.start(words)?;
        let command = job.command.clone();
        let ended = job.wait(within)?;
        if ended.is_success() {
            return Ok(());
        }
        let said = format!("{:?}: {}", ended.end, ended.errors.trim());
        Err(NodeError::Failed { number: self.number + 1, command, said })
    }

    /// Ends the guest at once, as a loss of power would.
    pub fn kill(&self) {
        end(&mut self.process.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Lets the guest switch itself off, and kills it when it takes longer than `within`.
    pub(super) fn switch_off(&self, within: Duration) {
        let asked = self.send(&Frame { kind: Kind::Off, command: 0, bytes: Vec::new() });
        let until = Instant::now() + within;
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        while asked.is_ok() && Instant::now() < until {
            if matches!(process.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        end(&mut process);
    }

    fn send(&self, frame: &Frame) -> Result<(), NodeError> {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        frame.write(&mut *control).map_err(|_| self.gone())
    }

    fn gone(&self) -> NodeError {
        NodeError::Gone { number: self.number + 1, console: self.console.clone(), tail: tail(&self.console) }
    }
}

/// A command that runs in a guest. Dropping it kills the command.
#[derive(Debug)]
pub struct Job<'a> {
    node: &'a Node,
    number: u32,
    command: String,
    frames: Receiver<Frame>,
    output: Vec<u8>,
    errors: Vec<u8>,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// More of its standard output.
    Output(Vec<u8>),
    /// More of its standard error.
    Errors(Vec<u8>),
    /// Its end.
    End(End),
    /// Nothing in the time that was given.
    Nothing,
}

impl Job<'_> {
    /// The next thing that comes of it.
    ///
    /// # Errors
    /// If the guest is gone.
    pub fn next(&self, within: Duration) -> Result<Event, NodeError> {
        match self.frames.recv_timeout(within) {
            Ok(Frame { kind: Kind::Output, bytes, .. }) => Ok(Event::Output(bytes)),
            Ok(Frame { kind: Kind::Errors, bytes, .. }) => Ok(Event::Errors(bytes)),
            Ok(Frame { kind: Kind::End, bytes, .. }) => match serde_json::from_slice(&bytes) {
                Ok(End::NotStarted(reason)) => {
                    Err(NodeError::NotStarted { number: self.node.number + 1, reason })
                }
                Ok(end) => Ok(Event::End(end)),
                Err(_) => Err(self.node.gone()),
            },
            Ok(_) => Ok(Event::Nothing),
            Err(RecvTimeoutError::Timeout) => Ok(Event::Nothing),
            Err(RecvTimeoutError::Disconnected) => Err(self.node.gone()),
        }
    }

    /// Waits until its output has a line that contains `text`; returns what it has printed by then.
    ///
    /// # Errors
    /// If it ends before, or takes too long.
    pub fn wait_for(&mut self, text: &str, within: Duration) -> Result<String, NodeError> {
        let until = Instant::now() + within;
        loop {
            let so_far = String::from_utf8_lossy(&self.output);
            if so_far.lines().any(|line| line.contains(text)) {
                return Ok(so_far.into_owned());
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.next(left)? {
                Event::Output(bytes) => self.output.extend(bytes),
                Event::Errors(bytes) => self.errors.extend(bytes),
                Event::End(end) => {
                    let said = format!("{end:?} before it said '{text}': {}", self.so_far());
                    return Err(NodeError::Failed {
                        number: self.node.number + 1,
                        command: self.command.clone(),
                        said,
                    });
                }
                Event::Nothing if left.is_zero() => return Err(self.late(within)),
                Event::Nothing => {}
            }
        }
    }

    /// Waits for its end and hands over everything that it printed.
    ///
    /// # Errors
    /// If the guest is gone, or the command takes too long: it is killed.
    pub fn wait(mut self, within: Duration) -> Result<Ended, NodeError> {
        let until = Instant::now() + within;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.next(left)? {
                Event::Output(bytes) => self.output.extend(bytes),
                Event::Errors(bytes) => self.errors.extend(bytes),
                Event::End(end) => {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    return Ok(Ended { end, output: text(&self.output), errors: text(&self.errors) });
                }
                Event::Nothing if left.is_zero() => return Err(self.late(within)),
                Event::Nothing => {}
            }
        }
    }

    /// Sends a signal to the command and everything in its process group.
    ///
    /// # Errors
    /// If the guest is gone.
    pub fn signal(&self, signal: i32) -> Result<(), NodeError> {
        self.node.send(&Frame::json(Kind::Signal, self.number, &signal))
    }

    fn so_far(&self) -> String {
        [&self.output[..], &self.errors[..]].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
    }

    fn late(&self, within: Duration) -> NodeError {
        NodeError::Late {
            number: self.node.number + 1,
            command: self.command.clone(),
            within,
            so_far: self.so_far(),
        }
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        // One that has ended has no process group any more, and the agent says nothing.
        let _ = self.signal(libc::SIGKILL);
        let mut router = self.node.router.lock().unwrap_or_else(PoisonError::into_inner);
        router.commands.remove(&self.number);
    }
}

/// Hands each frame to whoever waits for that command, until the channel ends.
fn route(mut from: UnixStream, router: &Mutex<Router>) {
    while let Ok(frame) = Frame::read(&mut from) {
        let router = router.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(to) = router.commands.get(&frame.command) {
            // Nobody may wait for it any more.
            let _ = to.send(frame);
        }
    }
    let mut router = router.lock().unwrap_or_else(PoisonError::into_inner);
    router.closed = true;
    router.commands.clear();
}

fn end(process: &mut Child) {
    let _ = process.kill();
    let _ = process.wait();
}

/// The last lines of a console's log, and what QEMU itself said.
fn tail(console: &Path) -> String {
    let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let text = read(console) + &read(&console.with_extension("qemu"));
    last_words(&text)
}

/// The last lines; those from a kernel panic on where there was one, whose traces are of any length.
fn last_words(text: &str) -> String {
    const LINES: usize = 30;
    let lines: Vec<&str> = text.lines().collect();
    let panic = lines.iter().position(|line| line.contains("Kernel panic"));
    let from = panic.unwrap_or(lines.len()).min(lines.len().saturating_sub(LINES));
    lines[from..].iter().take(LINES).copied().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::last_words;

    #[test]
    fn a_panic_is_told_however_long_its_trace_is() {
        let trace: Vec<String> = (0..90).map(|line| format!("line {line}")).collect();
        let quiet = trace.join("\n");
        assert!(last_words(&quiet).starts_with("line 60\n") && last_words(&quiet).ends_with("line 89"));
        let told = last_words(&format!("boot\nKernel panic - not syncing: init\n{quiet}"));
        assert!(told.starts_with("Kernel panic - not syncing: init\nline 0\n"), "{told}");
        assert_eq!(told.lines().count(), 30);
        assert_eq!(last_words("one\ntwo"), "one\ntwo");
    }
}
