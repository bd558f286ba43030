//! Commands carried out on real sandboxes.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use platform::ids::SandboxId;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};
use serde_json::Value;
use traces::FunctionId;

use super::catalog::Real;
use super::error::Refused;
use super::executor::{Event, Executor, Happened, Life};
use super::memory::Census;
use super::templates::Templates;
use super::workers::{Done, Job, Made, Place, Startable, Workers};
use crate::functions::Input;
use crate::pager::{Attachment, Fate};
use crate::sandbox::channel::{Channel, Failure};
use crate::sandbox::{Config, Manager, Mode, Program, Sandbox};

/// Most threads that make starts.
const MOST_STARTERS: u32 = 16;
/// How long a function may take to accept a request, which fits its socket's buffer.
const SEND: Duration = Duration::from_millis(100);
/// How long a page server may take to say why a process has ended.
const FATE: Duration = Duration::from_millis(100);
/// How much of a dead function's log is shown, bytes.
const SHOWN: usize = 300;

/// What is waited for in a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Awaited {
    /// Its process: a worker is at it.
    Process,
    /// The function's word that it is ready.
    Ready {
        replaced: Option<String>,
    },
    /// The answer with this number.
    Answer {
        id: u64,
        function: FunctionId,
    },
    Nothing,
}

struct Slot {
    life: Life,
    /// With a worker, while its process is awaited.
    sandbox: Option<Sandbox>,
    /// What tells why its process ended, if its pages are served.
    attachment: Option<Attachment>,
    awaited: Awaited,
}

impl Slot {
    fn new(life: Life, sandbox: Option<Sandbox>, awaited: Awaited) -> Self {
        Self { life, sandbox, attachment: None, awaited }
    }
}

/// A function as the event loop knows it.
struct Asked {
    /// The request's text after its number.
    input: String,
    expect: Option<Input>,
}

/// Real sandboxes of one manager.
pub(super) struct RealSandboxes {
    slots: BTreeMap<SandboxId, Slot>,
    functions: Vec<Asked>,
    workers: Option<Workers>,
    manager: Option<Arc<Manager>>,
    census: Arc<Census>,
    epoll: OwnedFd,
    timer: OwnedFd,
    /// Events that came about outside `wait`.
    pending: Vec<Event>,
    next_id: u64,
}

const BELL: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;

fn token(life: Life) -> u64 {
    u64::from(life.number) << 32 | u64::from(life.sandbox.0)
}

fn io(step: &'static str) -> impl Fn(rustix::io::Errno) -> Refused {
    move |errno| Refused::Io { step, source: errno.into() }
}

impl RealSandboxes {
    /// Starts the manager and makes `prepopulated` sandboxes that have run nothing yet, with the numbers from 0 on.
    /// At most `at_once` starts will be under way.
    pub fn new(
        config: Config,
        functions: Vec<Real>,
        templates: Option<Templates>,
        prepopulated: u32,
        at_once: u32,
        census: Arc<Census>,
    ) -> Result<Self, Refused> {
        let used_again = config.mode == Mode::Repurpose;
        let manager = Arc::new(Manager::start(config)?);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io("make an epoll set"))?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer =
            rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags).map_err(io("make a timer"))?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(io("make a bell"))?;
        let programs: Vec<Program> = functions.iter().map(|real| real.program.clone()).collect();
        let mut attachable = templates.into_iter().flat_map(|templates| templates.attachable);
        let startable =
            programs.into_iter().map(|program| Startable { program, template: attachable.next() }).collect();
        let starters = at_once.clamp(1, MOST_STARTERS) as usize;
        let workers = Workers::start(Arc::clone(&manager), startable, starters, bell)
            .map_err(|source| Refused::Io { step: "start a thread", source })?;
        for (fd, token) in [(timer.as_fd(), TIMER), (workers.bell(), BELL)] {
            epoll::add(&epoll, fd, EventData::new_u64(token), EventFlags::IN).map_err(io("watch"))?;
        }
        let mut real = Self {
            slots: BTreeMap::new(),
            functions: Vec::new(),
            workers: Some(workers),
            manager: Some(Arc::clone(&manager)),
            census,
            epoll,
            timer,
            pending: Vec::new(),
            next_id: 0,
        };
        for number in 0..prepopulated {
            let sandbox = manager.create_idle()?;
            let life = Life { sandbox: SandboxId(number), number: 0 };
            real.count(life, &sandbox);
            real.slots.insert(life.sandbox, Slot::new(life, Some(sandbox), Awaited::Nothing));
        }
        for function in functions {
            // Root trees are part of what a pool of sandboxes keeps ready.
            if used_again {
                manager.prepare(&function.program);
            }
            let input = function.input.to_string();
            real.functions.push(Asked { input, expect: function.expect });
        }
        manager.settle();
        Ok(real)
    }

    fn workers(&self) -> &Workers {
        self.workers.as_ref().expect("the threads are there until the end")
    }

    /// The processes of a sandbox count from now on.
    fn count(&self, life: Life, sandbox: &Sandbox) {
        let function = sandbox.function().and_then(crate::sandbox::Function::pid);
        let processes = [sandbox.init_pid(), function].into_iter().flatten().collect();
        self.census.lock().unwrap_or_else(PoisonError::into_inner).insert(token(life), processes);
    }

    fn watch(&self, life: Life, sandbox: &Sandbox) -> rustix::io::Result<()> {
        let Some(function) = sandbox.function() else { return Ok(()) };
        for fd in [function.channel.as_fd(), function.process.as_fd()] {
            epoll::add(&self.epoll, fd, EventData::new_u64(token(life)), EventFlags::IN)?;
        }
        Ok(())
    }

    /// Takes a sandbox out of everything; `None` if a worker has it.
    fn release(&mut self, life: Life) -> Option<Sandbox> {
        let slot = self.slots.get(&life.sandbox).filter(|slot| slot.life == life)?;
        if let Some(function) = slot.sandbox.as_ref().and_then(Sandbox::function) {
            for fd in [function.channel.as_fd(), function.process.as_fd()] {
                // One that died may be out of the set already.
                let _ = epoll::delete(&self.epoll, fd);
            }
        }
        self.census.lock().unwrap_or_else(PoisonError::into_inner).remove(&token(life));
        self.slots.remove(&life.sandbox)?.sandbox
    }

    /// A worker has made a start, or failed to.
    fn made(&mut self, Done { life, result }: Done) {
        let wanted = self.slots.get(&life.sandbox).is_some_and(|slot| slot.life == life);
        match result {
            // It was given up meanwhile.
            Ok(made) if !wanted => self.workers().end(made.sandbox),
            Err(_) if !wanted => {}
            Ok(Made { sandbox, attachment, replaced, is_ready }) => {
                let watched = self.watch(life, &sandbox);
                self.count(life, &sandbox);
                if let Some(slot) = self.slots.get_mut(&life.sandbox) {
                    slot.sandbox = Some(sandbox);
                    slot.attachment = attachment;
                    let replaced = replaced.clone();
                    slot.awaited = if is_ready { Awaited::Nothing } else { Awaited::Ready { replaced } };
                }
                if let Err(errno) = watched {
                    self.pending.push(gone(life, format!("it cannot be watched: {errno}")));
                } else if is_ready {
                    self.pending.push(Event { life, what: Happened::Ready { replaced } });
                }
            }
            Err(error) => self.pending.push(gone(life, error)),
        }
    }

    /// Something has come from a sandbox.
    fn heard(&mut self, sandbox: SandboxId, number: u32) {
        let life = Life { sandbox, number };
        let functions = &self.functions;
        let Some(slot) = self.slots.get_mut(&sandbox).filter(|slot| slot.life == life) else { return };
        let Some(function) = slot.sandbox.as_mut().and_then(Sandbox::function_mut) else { return };
        loop {
            match next_line(&mut function.channel) {
                Ok(Some(line)) => {
                    if let Some(what) = understand(functions, &mut slot.awaited, &line) {
                        self.pending.push(Event { life, what });
                    }
                }
                Ok(None) if !function.has_ended() => return,
                ended => {
                    let why = match ended {
                        Err(failure) => failure.to_string(),
                        Ok(_) => "the process ended".to_owned(),
                    };
                    let why = slot.attachment.as_ref().and_then(fate).unwrap_or(why);
                    let log = function.log.tail(SHOWN).unwrap_or_default();
                    let log = String::from_utf8_lossy(&log).trim().replace('\n', " | ");
                    let said = if log.is_empty() { String::new() } else { format!("; it printed: {log}") };
                    // Once: what is dead stays readable.
                    for fd in [function.channel.as_fd(), function.process.as_fd()] {
                        let _ = epoll::delete(&self.epoll, fd);
                    }
                    let limits = slot.sandbox.as_ref().map(limits).unwrap_or_default();
                    self.pending.push(gone(life, format!("{why}{limits}{said}")));
                    return;
                }
            }
        }
    }
}

/// Which limits the function of a sandbox has met.
fn limits(sandbox: &Sandbox) -> String {
    let met = sandbox.limits_met().unwrap_or_default();
    let met: Vec<String> = met.iter().map(ToString::to_string).collect();
    if met.is_empty() { String::new() } else { format!("; it has met its {}", met.join(", its ")) }
}

/// Why a process whose pages are served was ended, if it was.
fn fate(attachment: &Attachment) -> Option<String> {
    match attachment.fate(FATE)? {
        Fate::Exited => None,
        Fate::Ended(reason) => Some(format!("the page server ended it: {reason}")),
        Fate::ServerGone => Some("its page server is gone".to_owned()),
    }
}

fn gone(life: Life, why: String) -> Event {
    Event { life, what: Happened::Gone(why) }
}

/// The next line that is there, without waiting. A read may bring a line and be late all the same: only when nothing
/// is left in the socket and nothing was left by the reads before is there none.
fn next_line(channel: &mut Channel) -> Result<Option<Vec<u8>>, Failure> {
    let mut last = false;
    loop {
        match channel.line(Duration::ZERO) {
            Ok(line) => return Ok(Some(line)),
            Err(Failure::Late(_)) if last => return Ok(None),
            Err(Failure::Late(_)) => {
                let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
                let readable = poll(&mut [PollFd::new(channel, PollFlags::IN)], Some(&at_once));
                last = readable != Ok(1);
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// What a line means for who waits; what nobody waits for is the function's own talk.
fn understand(functions: &[Asked], awaited: &mut Awaited, line: &[u8]) -> Option<Happened> {
    let message: Value = serde_json::from_slice(line).ok()?;
    match awaited {
        Awaited::Ready { replaced } if message["ready"] == true => {
            let replaced = replaced.take();
            *awaited = Awaited::Nothing;
            Some(Happened::Ready { replaced })
        }
        Awaited::Answer { id, function } if message["id"] == *id => {
            let answered = judge(&functions[function.index()], &message);
            *awaited = Awaited::Nothing;
            Some(Happened::Answered(answered))
        }
        _ => None,
    }
}

/// What is wrong with an answer, if anything.
fn judge(asked: &Asked, message: &Value) -> Result<(), String> {
    if message["ok"] != true {
        return Err(message["error"].as_str().unwrap_or("it failed and says no reason").to_owned());
    }
    let faults = asked.expect.as_ref().map(|expect| expect.faults(&message["output"])).unwrap_or_default();
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}

impl Executor for RealSandboxes {
    fn start(&mut self, life: Life, function: FunctionId) {
        self.slots.insert(life.sandbox, Slot::new(life, None, Awaited::Process));
        self.workers().make(Job { life, function, place: Place::New });
    }

    fn repurpose(&mut self, old: Life, new: Life, function: FunctionId) {
        let used = self.release(old);
        self.slots.insert(new.sandbox, Slot::new(new, None, Awaited::Process));
        let gone = Place::Gone("it died while it was idle");
        let place = used.map_or(gone, |used| Place::Used(Box::new(used)));
        self.workers().make(Job { life: new, function, place });
    }

    fn run(&mut self, life: Life, function: FunctionId) {
        self.next_id += 1;
        let id = self.next_id;
        let request = format!("{{\"id\":{id},\"input\":{}}}", self.functions[function.index()].input);
        let Some(slot) = self.slots.get_mut(&life.sandbox).filter(|slot| slot.life == life) else { return };
        slot.awaited = Awaited::Answer { id, function };
        let Some(function) = slot.sandbox.as_mut().and_then(Sandbox::function_mut) else { return };
        if let Err(failure) = function.channel.send(&request, SEND) {
            self.pending.push(gone(life, format!("it did not take its request: {failure}")));
        }
    }

    fn evict(&mut self, life: Life) {
        if let Some(sandbox) = self.release(life) {
            self.workers().end(sandbox);
        }
    }

    fn wait(&mut self, until: Instant, events: &mut Vec<Event>) -> Result<(), Refused> {
        let left = until.saturating_duration_since(Instant::now());
        let at_once = left.is_zero() || !self.pending.is_empty();
        if !at_once {
            let it_value =
                Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
            let spec = Itimerspec { it_interval, it_value };
            rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec)
                .map_err(io("set the timer"))?;
        }
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut heard: Vec<epoll::Event> = Vec::with_capacity(64);
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut heard), at_once.then_some(&zero)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(io("wait for sandboxes")(errno)),
        }
        for event in heard {
            // The structure is packed: its parts are copied out.
            let data = event.data;
            match data.u64() {
                TIMER => {
                    let _ = rustix::io::read(&self.timer, &mut [0; 8]);
                }
                BELL => {
                    for done in self.workers().take_done() {
                        self.made(done);
                    }
                }
                token => self.heard(SandboxId(token as u32), (token >> 32) as u32),
            }
        }
        events.append(&mut self.pending);
        Ok(())
    }

    fn close(&mut self) {
        let lives: Vec<Life> = self.slots.values().map(|slot| slot.life).collect();
        for life in lives {
            drop(self.release(life));
        }
        if let Some(workers) = self.workers.take() {
            workers.close();
        }
        // The last hold on the manager: it waits until everything of it is gone.
        self.manager = None;
    }
}

impl Drop for RealSandboxes {
    fn drop(&mut self) {
        self.close();
    }
}
