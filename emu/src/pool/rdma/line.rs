//! A connection with many reads under way, which is made again in the background when it breaks.
//!
//! Whoever drives a [`Line`] never waits: connecting, and undoing a connection, take place in a thread that lives as
//! long as that takes. A line is one thread's; lines of the same template hand good connections on through their
//! [`Lines`], so that a template that is used again and again stays connected.

use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, epoll};

use super::client::{PAUSE, Remote};
use super::session::{Broken, Session, Shape};
use super::verbs::Completion;
use crate::template::pages::PAGE;

/// Reads under way on a line.
const READS: usize = 32;
/// Most pages of one read.
pub const MOST_PAGES: usize = 512;
/// Pages that may be under way: two of the largest reads.
const ROOM: usize = 2 * MOST_PAGES;
/// Good connections that wait for a line.
const IDLE: usize = 8;
/// Between two attempts after a pool said no: it may be given the template.
const AFTER_REFUSAL: Duration = Duration::from_secs(2);
/// How long one attempt to connect may take.
const ATTEMPT: Duration = Duration::from_secs(5);

/// How a line hears that reads are complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Completions {
    /// The card raises an event. Costs two system calls and a wake-up for each.
    #[default]
    Events,
    /// By looking again and again while something is under way: quick, and takes a processor.
    Polling,
}

/// How lines are driven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// How they hear that reads are complete.
    pub completions: Completions,
    /// The queue pair is put into its error state after every so many reads, as a failing card does; 0: never.
    pub fail_every: u64,
}

/// Why a read was not begun, or did not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// No more can be under way now.
    #[error("as many reads are under way as can be")]
    Full,
    /// The first attempt to connect has not ended yet.
    #[error("it is being connected to")]
    Connecting,
    /// The connection broke or cannot be made. It is being tried again.
    #[error("the connection failed: {0}")]
    Down(String),
    /// The pool says no.
    #[error("{0}")]
    Refused(&'static str),
}

/// Takes the token of a read and what came of it.
pub type Done<'a> = dyn FnMut(u64, Result<&[[u8; PAGE]], LineError>) + 'a;

/// Lines to one template of a pool.
#[derive(Debug)]
pub struct Lines {
    remote: Remote,
    manner: Manner,
    idle: Mutex<Vec<Session>>,
}

impl Lines {
    /// Begins to connect once, so that the first line finds a connection.
    #[must_use]
    pub fn new(remote: Remote, manner: Manner) -> Arc<Self> {
        let lines = Arc::new(Self { remote, manner, idle: Mutex::default() });
        let for_thread = Arc::downgrade(&lines);
        // Without a thread, the first line connects.
        let _ = thread::Builder::new().name("rdma connect".into()).spawn(move || {
            if let Ok(session) = connect(&remote)
                && let Some(lines) = for_thread.upgrade()
            {
                lines.give_back(session);
            }
        });
        lines
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, session: Session) {
        let mut idle = self.idle();
        if idle.len() < IDLE {
            idle.push(session);
        } else {
            drop(idle);
            retire(session);
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        for session in self.idle().drain(..) {
            retire(session);
        }
    }
}

fn connect(remote: &Remote) -> Result<Session, Broken> {
    remote.open(Shape { reads: READS, pages: ROOM }, Instant::now() + ATTEMPT)
}

/// Undoes a connection elsewhere: the kernel may wait for the other side.
fn retire(session: Session) {
    let spawned = thread::Builder::new().name("rdma retire".into()).spawn(move || drop(session));
    // The closure, and the connection with it, has been dropped here then.
    drop(spawned);
}

/// What the thread that connects has come to.
#[derive(Debug)]
enum Coming {
    /// Still trying; why it has failed so far.
    Not(Option<LineError>),
    /// There it is.
    Here(Box<Session>),
    /// Nobody wants it any more.
    Unwanted,
}

/// A read that is under way.
#[derive(Clone, Copy, Debug)]
struct Under {
    serial: u64,
    token: u64,
    /// Its place in the landing place, pages.
    at: usize,
    count: usize,
}

/// A connection with reads under way.
#[derive(Debug)]
pub struct Line {
    lines: Arc<Lines>,
    /// Stays the same when the connection is made anew.
    ready: OwnedFd,
    /// Rung by the thread that connects; with polling, also raised as long as something is under way.
    bell: Arc<OwnedFd>,
    session: Option<Session>,
    /// Why the connection is of no use, as a read that could not be begun has shown.
    broken: Option<String>,
    coming: Arc<Mutex<Coming>>,
    /// By place.
    under: Vec<Under>,
    next: u64,
    connections: u64,
}

impl Line {
    /// A line; it begins to connect unless a connection waits for it.
    ///
    /// # Errors
    /// Without descriptors.
    pub fn new(lines: Arc<Lines>) -> std::io::Result<Self> {
        let ready = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let bell = Arc::new(rustix::event::eventfd(0, flags)?);
        epoll::add(&ready, &*bell, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
        let coming = Arc::new(Mutex::new(Coming::Unwanted));
        let mut line = Self {
            lines,
            ready,
            bell,
            session: None,
            broken: None,
            coming,
            under: Vec::new(),
            next: 0,
            connections: 0,
        };
        let waiting = line.lines.idle().pop();
        match waiting.map(|session| line.adopt(session)) {
            Some(Ok(())) => {}
            Some(Err(_)) | None => line.begin(None),
        }
        Ok(line)
    }

    /// Can be read when [`Line::complete`] has something to say.
    #[must_use]
    pub fn ready(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    /// How often it has got a connection.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// Begins to read consecutive pages. Every token that is accepted is completed once.
    ///
    /// # Errors
    /// If it was not begun.
    ///
    /// # Panics
    /// If it is more than [`MOST_PAGES`], or none.
    pub fn submit(&mut self, token: u64, first: u64, count: usize) -> Result<(), LineError> {
        assert!((1..=MOST_PAGES).contains(&count), "{count} pages at once");
        self.arrive();
        let Some(session) = &mut self.session else {
            return Err(match &*lock(&self.coming) {
                Coming::Not(Some(error)) => error.clone(),
                _ => LineError::Connecting,
            });
        };
        let offer = session.offer;
        if first.checked_add(count as u64).is_none_or(|end| end > offer.pages) {
            return Err(LineError::Refused("the pool's template has no such page"));
        }
        let place = if self.under.len() < READS { gap(&self.under, count) } else { None };
        let (place, at) = place.ok_or(LineError::Full)?;
        let serial = self.next;
        let from = (offer.pages_at + first * PAGE as u64, (count * PAGE) as u32);
        if let Err(error) = session.start_read(serial, at * PAGE, from, offer.pages_key) {
            // `complete` tells those that are under way.
            self.broken = Some(error.to_string());
            self.ring();
            return Err(LineError::Down(error.to_string()));
        }
        self.next += 1;
        self.under.insert(place, Under { serial, token, at, count });
        let Manner { fail_every, .. } = self.lines.manner;
        if fail_every != 0 && self.next.is_multiple_of(fail_every) {
            let _ = session.spoil();
        }
        if self.is_polling() {
            self.ring();
        }
        Ok(())
    }

    /// Hands over what is complete: its token, and the pages or the reason why not.
    pub fn complete(&mut self, done: &mut Done<'_>) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&*self.bell, &mut count);
        self.arrive();
        if self.session.is_none() {
            return;
        }
        // What came before the end is as good as ever.
        let collected = self.collect(done).and_then(|any| match &self.session {
            Some(session) if !any => session.hung_up().map_or(Ok(()), Err),
            _ => Ok(()),
        });
        if let Some(reason) = collected.err().or(self.broken.take()) {
            self.give_up(&reason, done);
        } else if self.is_polling() && !self.under.is_empty() {
            self.ring();
        }
    }

    /// Takes completions until there are none: whether there were any.
    ///
    /// # Errors
    /// Why the connection is broken, if it is.
    fn collect(&mut self, done: &mut Done<'_>) -> Result<bool, String> {
        let mut completions = [Completion::default(); READS];
        let mut armed = self.is_polling();
        let mut any = false;
        let Some(session) = &mut self.session else { return Ok(false) };
        loop {
            let got = session.poll(&mut completions).map_err(|error| error.to_string())?;
            any |= got > 0;
            for completion in &completions[..got] {
                session.check(completion).map_err(|broken| broken.reason())?;
                let place = self.under.iter().position(|under| under.serial == completion.id);
                let place = place.ok_or("a read was completed that nobody began")?;
                let under = self.under[place];
                // Its place is free when its pages have been used.
                done(under.token, Ok(session.landed(under.at, under.count)));
                self.under.remove(place);
            }
            if got == 0 {
                if armed {
                    return Ok(any);
                }
                // One look before asking for an event and one after, or one in between would be slept over.
                session.arm().map_err(|error| error.to_string())?;
                armed = true;
            }
        }
    }

    /// Every read that is under way has failed; connects again.
    fn give_up(&mut self, reason: &str, done: &mut Done<'_>) {
        if let Some(session) = self.session.take() {
            self.forget(&session);
            self.begin(Some(session));
        }
        for under in mem::take(&mut self.under) {
            done(under.token, Err(LineError::Down(reason.to_owned())));
        }
    }

    /// Takes over a connection that has been made.
    fn arrive(&mut self) {
        if self.session.is_some() {
            return;
        }
        let mut coming = lock(&self.coming);
        if !matches!(*coming, Coming::Here(_)) {
            return;
        }
        let Coming::Here(session) = mem::replace(&mut *coming, Coming::Unwanted) else { return };
        drop(coming);
        if self.adopt(*session).is_err() {
            self.begin(None);
        }
    }

    fn adopt(&mut self, mut session: Session) -> std::io::Result<()> {
        let added = self.listen(&mut session);
        if let Err(error) = added {
            self.forget(&session);
            retire(session);
            return Err(error);
        }
        self.connections += 1;
        self.session = Some(session);
        Ok(())
    }

    fn listen(&self, session: &mut Session) -> std::io::Result<()> {
        let (data, flags) = (epoll::EventData::new_u64(0), epoll::EventFlags::IN);
        epoll::add(&self.ready, session.manager(), data, flags)?;
        if !self.is_polling() {
            session.arm()?;
            epoll::add(&self.ready, session.channel(), data, flags)?;
        }
        Ok(())
    }

    /// Listens no more to a connection.
    fn forget(&self, session: &Session) {
        for fd in [session.channel(), session.manager()] {
            let _ = epoll::delete(&self.ready, fd);
        }
    }

    /// Has a connection made, after `old` has been undone.
    fn begin(&mut self, old: Option<Session>) {
        self.coming = Arc::new(Mutex::new(Coming::Not(None)));
        let (coming, bell, remote) = (Arc::clone(&self.coming), Arc::clone(&self.bell), self.lines.remote);
        let spawned = thread::Builder::new().name("rdma connect".into()).spawn(move || {
            drop(old);
            keep_trying(&remote, &coming, &bell);
        });
        if let Err(error) = spawned {
            *lock(&self.coming) = Coming::Not(Some(LineError::Down(error.to_string())));
        }
    }

    fn is_polling(&self) -> bool {
        self.lines.manner.completions == Completions::Polling
    }

    fn ring(&self) {
        ring(&self.bell);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut coming = lock(&self.coming);
        if let Coming::Here(session) = mem::replace(&mut *coming, Coming::Unwanted) {
            self.lines.give_back(*session);
        }
        drop(coming);
        if let Some(session) = self.session.take() {
            self.forget(&session);
            if self.under.is_empty() && session.hung_up().is_none() {
                self.lines.give_back(session);
            } else {
                retire(session);
            }
        }
    }
}

/// Connects until it works or nobody wants it any more.
fn keep_trying(remote: &Remote, coming: &Mutex<Coming>, bell: &OwnedFd) {
    loop {
        let made = connect(remote);
        let mut place = lock(coming);
        if matches!(*place, Coming::Unwanted) {
            return;
        }
        let (failed, pause) = match made {
            Ok(session) => {
                *place = Coming::Here(Box::new(session));
                drop(place);
                ring(bell);
                return;
            }
            Err(Broken::Refused(refusal)) => (LineError::Refused(refusal.reason()), AFTER_REFUSAL),
            Err(broken) => (LineError::Down(broken.reason()), PAUSE),
        };
        *place = Coming::Not(Some(failed));
        drop(place);
        thread::sleep(pause);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ring(bell: &OwnedFd) {
    let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
}

/// Where `count` pages fit between reads that are under way: the number of the read behind them, and the page.
fn gap(under: &[Under], count: usize) -> Option<(usize, usize)> {
    let mut at = 0;
    for (number, under) in under.iter().enumerate() {
        if under.at - at >= count {
            return Some((number, at));
        }
        at = under.at + under.count;
    }
    (ROOM - at >= count).then_some((under.len(), at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_land_beside_each_other_and_never_on_each_other() {
        let mut under: Vec<Under> = Vec::new();
        let add = |under: &mut Vec<Under>, count| {
            let (place, at) = gap(under, count)?;
            under.insert(place, Under { serial: 0, token: 0, at, count });
            Some(at)
        };
        assert_eq!(add(&mut under, 512), Some(0));
        assert_eq!(add(&mut under, 16), Some(512));
        assert_eq!(add(&mut under, 496), Some(528));
        assert_eq!(add(&mut under, 1), None);
        under.remove(1);
        assert_eq!(add(&mut under, 17), None);
        assert_eq!(add(&mut under, 1), Some(512));
        assert_eq!(add(&mut under, 15), Some(513));
        assert_eq!(add(&mut under, 1), None);
        assert!(under.windows(2).all(|pair| pair[0].at + pair[0].count <= pair[1].at), "{under:?}");
    }
}
