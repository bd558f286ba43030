//! Managers and their connections.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::mailbox::{Command, NewProcess};
use super::{Placement, Shared};
use crate::pager::layout::{Layout, Region};
use crate::pager::messages::{Answer, Ask, Options, Prefetch, Reply, Request, VERSION};
use crate::pager::source::MOST_PAGES;
use crate::pager::uffd::{Stop, Uffd};
use crate::pager::working_set::WorkingSet;
use crate::sandbox::wire;

/// Room for messages that the other side has not taken yet, bytes.
pub(in crate::pager) const ROOM: usize = 512 << 10;

/// The server's end of a manager's connection. Any thread may send: every message is one datagram.
#[derive(Debug)]
pub struct Peer {
    number: u64,
    socket: OwnedFd,
}

impl Peer {
    /// Names it.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Sends an answer or, with number 0, a notice, without waiting: whether it was sent.
    pub fn tell(&self, id: u64, answer: Answer, descriptors: &[BorrowedFd<'_>]) -> bool {
        wire::send(&self.socket, &Reply { id, answer }, descriptors).is_ok()
    }
}

/// Listens at `path`, in the place of a server that is gone.
///
/// # Errors
/// If a living server listens there, or the path cannot be had.
pub(super) fn listen(path: &Path) -> io::Result<OwnedFd> {
    let socket = || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
    };
    let address = SocketAddrUnix::new(path)?;
    if rustix::net::connect(socket()?, &address).is_ok() {
        let text = format!("a page server listens at {} already", path.display());
        return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
    }
    if std::fs::symlink_metadata(path).is_ok_and(|found| {
        use std::os::unix::fs::FileTypeExt;
        found.file_type().is_socket()
    }) {
        std::fs::remove_file(path)?;
    }
    let listener = socket()?;
    rustix::net::bind(&listener, &address)?;
    rustix::net::listen(&listener, 64)?;
    Ok(listener)
}

/// Accepts managers until the server ends.
pub(super) fn accept(shared: &Arc<Shared>, listener: &OwnedFd) {
    let mut number = 0;
    while wait(shared, listener) {
        let Ok(socket) = rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
        else {
            // Without free descriptors the connection stays in the queue: later.
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        // Who is served can have this process read any template for it: only the same user, and root.
        let own = rustix::process::geteuid();
        let peer = rustix::net::sockopt::socket_peercred(&socket);
        if !peer.is_ok_and(|peer| peer.uid == own || peer.uid.is_root()) {
            continue;
        }
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&socket, ROOM);
        number += 1;
        let (shared, peer) = (Arc::clone(shared), Arc::new(Peer { number, socket }));
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let for_thread = Arc::clone(&shared);
        let spawned = std::thread::Builder::new().name("pager manager".into()).spawn(move || {
            talk(&for_thread, &peer);
            for mailbox in &for_thread.mailboxes {
                mailbox.send(Command::Drop(peer.number));
            }
            for_thread.connections.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            shared.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Waits until there is something to read: whether the server goes on.
fn wait(shared: &Shared, socket: &OwnedFd) -> bool {
    loop {
        let mut entries = [PollFd::new(socket, PollFlags::IN), PollFd::new(&shared.ending, PollFlags::IN)];
        match poll(&mut entries, None) {
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
            Ok(_) if !entries[1].revents().is_empty() => return false,
            Ok(_) => return true,
        }
    }
}

/// Answers a manager until it is gone or does not keep to the protocol.
fn talk(shared: &Arc<Shared>, peer: &Arc<Peer>) {
    let mut greeted = false;
    while wait(shared, &peer.socket) {
        let (request, descriptors) = match wire::receive::<Request>(&peer.socket) {
            Ok(Some(received)) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Ok(None) | Err(_) => return,
        };
        let id = request.id;
        let told = match request.ask {
            Ask::Hello { version } if version == VERSION => {
                greeted = true;
                peer.tell(id, Answer::Hello { version }, &[])
            }
            Ask::Hello { version } => {
                let reason = format!("this server speaks version {VERSION}, the manager {version}");
                peer.tell(id, Answer::Refused { reason }, &[]);
                return;
            }
            _ if !greeted => return,
            Ask::Cache { template } => match cache(shared, &template) {
                Ok((file, length)) => peer.tell(id, Answer::Cache { length }, &[file.as_fd()]),
                Err(reason) => peer.tell(id, Answer::Refused { reason }, &[]),
            },
            Ask::Attach { template, regions, options } => {
                match attach(shared, peer, id, &template, &regions, options, descriptors) {
                    // The thread that serves it answers.
                    Ok(()) => true,
                    Err(reason) => peer.tell(id, Answer::Refused { reason }, &[]),
                }
            }
            Ask::Report => peer.tell(id, Answer::Report(Box::new(shared.report())), &[]),
        };
        if !told {
            return;
        }
    }
}

fn cache(shared: &Shared, template: &Path) -> Result<(OwnedFd, u64), String> {
    let loaded = shared.library.get(template).map_err(|error| error.to_string())?;
    let file = loaded.cache().and_then(crate::pager::cache::Cache::file);
    let file = file.map_err(|error| format!("no memory for the shared cache: {error}"))?;
    Ok((file, loaded.pages() * crate::template::pages::PAGE as u64))
}

fn attach(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    request: u64,
    template: &Path,
    regions: &[Region],
    options: Options,
    descriptors: Vec<OwnedFd>,
) -> Result<(), String> {
    let [uffd, pidfd]: [OwnedFd; 2] =
        descriptors.try_into().map_err(|_| "an attach comes with a userfaultfd and a pidfd".to_owned())?;
    if options.batch == 0 || options.batch > MOST_PAGES {
        return Err(format!("{} pages at a fault: 1 to {MOST_PAGES}", options.batch));
    }
    let uffd = checked_uffd(uffd)?;
    check_pidfd(&pidfd)?;
    let template = shared.library.get(template).map_err(|error| error.to_string())?;
    let layout = Layout::new(regions, template.pages()).map_err(|error| error.to_string())?;
    let set = || {
        WorkingSet::read(&template.record, template.table.root(), template.pages())
            .map_err(|error| format!("{}: {error}", template.record.display()))
    };
    let spans = match options.prefetch {
        Prefetch::None => Vec::new(),
        Prefetch::WorkingSet => layout.places().spans(set()?.in_order()),
        Prefetch::Regions { gap } => layout.places().spans(set()?.regions(gap)),
        Prefetch::All => layout.ranges().collect(),
    };
    let thread = shared.thread_for(options.core);
    let new = NewProcess { request, peer: Arc::clone(peer), uffd, pidfd, template, layout, options, spans };
    shared.mailboxes[thread].send(Command::Attach(Box::new(new)));
    Ok(())
}

/// That it is a process that lives.
fn check_pidfd(pidfd: &OwnedFd) -> Result<(), String> {
    // SAFETY: signal 0 only asks; the other arguments are values.
    let asked = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            0,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if asked == 0 {
        return Ok(());
    }
    Err(format!("the second descriptor is no living process: {}", io::Error::last_os_error()))
}

/// A userfaultfd whose process lives, made non-blocking: a blocking one cannot be polled.
fn checked_uffd(uffd: OwnedFd) -> Result<Uffd, String> {
    let flags = rustix::fs::fcntl_getfl(&uffd).map_err(|errno| errno.to_string())?;
    rustix::fs::fcntl_setfl(&uffd, flags | OFlags::NONBLOCK).map_err(|errno| errno.to_string())?;
    let uffd = Uffd::from_fd(uffd);
    match uffd.state() {
        Some(Stop::Gone) => Err("the process of the userfaultfd is gone".into()),
        Some(Stop::Unregistered | Stop::Again) => Ok(uffd),
        other => Err(format!("the first descriptor is no userfaultfd that was agreed on: {other:?}")),
    }
}

impl Shared {
    /// The thread that is to serve a process on this core.
    fn thread_for(&self, core: Option<usize>) -> usize {
        let threads = self.mailboxes.len();
        let own = core.and_then(|core| self.cores.iter().position(|other| *other == core));
        match (self.config.placement, own) {
            (Placement::Same, Some(own)) => own,
            (Placement::Other | Placement::Spin, Some(own)) => (own + 1) % threads,
            _ => self.turn.fetch_add(1, Ordering::Relaxed) % threads,
        }
    }
}
