//! What a thread is told: commands of other threads, and what its epoll says.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{EventfdFlags, epoll};

use super::attached::Key;
use super::connection::Peer;
use super::loaded::Loaded;
use crate::pager::layout::Layout;
use crate::pager::messages::Options;
use crate::pager::uffd::Uffd;

/// What a thread is told by others.
pub(super) enum Command {
    Attach(Box<NewProcess>),
    /// This manager is gone.
    Drop(u64),
    Stop,
}

/// A process to be served.
pub(super) struct NewProcess {
    pub request: u64,
    pub peer: Arc<Peer>,
    pub uffd: Uffd,
    pub pidfd: OwnedFd,
    pub template: Arc<Loaded>,
    pub layout: Layout,
    pub options: Options,
    /// To be installed before the answer: address and pages.
    pub spans: Vec<(u64, u64)>,
}

/// Where others leave commands for a thread.
pub(super) struct Mailbox {
    pub commands: Mutex<Vec<Command>>,
    pub bell: OwnedFd,
    /// A page for which the thread waits may be there.
    pub retry: AtomicBool,
}

impl Mailbox {
    pub fn new() -> rustix::io::Result<Self> {
        let bell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { commands: Mutex::default(), bell, retry: AtomicBool::new(false) })
    }

    pub fn send(&self, command: Command) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        self.ring();
    }

    pub fn retry(&self) {
        self.retry.store(true, Ordering::Release);
        self.ring();
    }

    fn ring(&self) {
        // Fails only when the count is at its end, and then the bell rings already.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }
}

/// What the epoll tells about.
pub(super) enum Told {
    Bell,
    Faults(Key),
    Exit(Key),
    Queue(u32, u8),
}

impl Told {
    pub fn data(&self) -> epoll::EventData {
        let keyed = |kind: u64, key: &Key| kind << 62 | u64::from(key.slot) << 32 | u64::from(key.generation);
        epoll::EventData::new_u64(match self {
            Self::Bell => 0,
            Self::Faults(key) => keyed(1, key),
            Self::Exit(key) => keyed(2, key),
            Self::Queue(template, tier) => 3 << 62 | u64::from(*template) << 8 | u64::from(*tier),
        })
    }

    pub fn of(data: epoll::EventData) -> Self {
        let data = data.u64();
        let key = Key { slot: (data >> 32) as u32 & 0x3fff_ffff, generation: data as u32 };
        match data >> 62 {
            0 => Self::Bell,
            1 => Self::Faults(key),
            2 => Self::Exit(key),
            _ => Self::Queue((data >> 8) as u32, data as u8),
        }
    }
}
