//! The pool daemon: registers templates and lets clients in. The card does the rest.
//!
//! Once a client is in, the daemon does nothing for it but to ask, every few seconds and with an empty write, whether
//! it is still there: a host that lost its power says no goodbye.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::events::{Events, Seen, ip_of, socket_address};
use super::hello::{Key, Offer, Refusal, check_request};
use super::session::{RETRIES, queue, set_patience};
use super::verbs::{
    CmId, Completion, ConnParam, Cq, Mr, PORT_SPACE_TCP, Pd, RDMA_WRITE, REMOTE_READ, SUCCESS, SendWork,
    Verbs, checked, event, made, poll_cq, post_send, verbs,
};
use crate::pool::device::{Device, DeviceError, OnDevice};
use crate::pool::folder::{FolderError, open_template};
use crate::pool::mapping::Mapping;
use crate::pool::source::PageReader;
use crate::template::pages::{PAGE, PageTable};

/// Clients at a time.
const MOST: usize = 256;
/// Between two questions whether a client is there.
const BEAT: Duration = Duration::from_secs(5);
/// How long an answer may take. The card gives up before, unless the client asked for something else.
const SILENCE: Duration = Duration::from_secs(20);

/// Why there is no pool.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A template cannot be used.
    #[error(transparent)]
    Template(#[from] FolderError),
    /// The device whose templates are to be served.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A page is not what its table says.
    #[error("{template}: page {page} is not what its table says: it was not registered", template = .template.display())]
    Wrong {
        /// The template's folder.
        template: PathBuf,
        /// Which page.
        page: u64,
    },
    /// The address leads to no RDMA device.
    #[error(
        "{0} is no address of an RDMA device: name one exactly (not 0.0.0.0; 'rdma link' lists the devices)"
    )]
    NoDevice(SocketAddr),
    /// A step failed.
    #[error("cannot {step}: {why}")]
    Step {
        /// What was being done.
        step: &'static str,
        /// Why not.
        why: io::Error,
    },
}

fn step(step: &'static str) -> impl FnOnce(io::Error) -> ServerError {
    move |why| ServerError::Step { step, why }
}

/// A template in memory, registered in a protection domain of its own: a connection for one template reaches no
/// other, whatever keys its client has come by.
#[derive(Debug)]
struct Held {
    /// Pages, and behind them the table.
    memory: Memory,
    pages: u64,
    table_length: usize,
    /// Zeros when it is not to be had any more.
    root: [u8; 32],
    pd: *mut Pd,
    pages_mr: *mut Mr,
    table_mr: *mut Mr,
}

/// Where a template lies.
#[derive(Debug)]
enum Memory {
    /// In memory of our own.
    Own(Mapping),
    /// On a device that is mapped as a whole: clients read it there.
    Device(OnDevice),
}

impl Memory {
    /// The address of byte `at` of pages and table, of which `length` follow.
    fn at(&self, at: usize, length: usize) -> *mut u8 {
        match self {
            Self::Own(memory) => memory.at(at, length),
            Self::Device(on) => on.at(at, length),
        }
    }
}

impl Held {
    fn new(memory: Memory, table: &PageTable) -> Self {
        Self {
            memory,
            pages: table.hashes().len() as u64,
            table_length: size_of_val(table.hashes()),
            root: *table.root().as_bytes(),
            pd: ptr::null_mut(),
            pages_mr: ptr::null_mut(),
            table_mr: ptr::null_mut(),
        }
    }

    fn load(folder: &Path) -> Result<Self, ServerError> {
        let (table, mut file, path) = open_template(folder)?;
        let count = table.hashes().len();
        let table_bytes = table.hashes().as_flattened();
        let memory = Mapping::anonymous((count * PAGE + table_bytes.len()).max(PAGE))
            .map_err(step("take memory for a template"))?;
        let mut page = [0; PAGE];
        for number in 0..count {
            file.read_exact(&mut page).map_err(|why| FolderError::Io { path: path.clone(), why })?;
            if !table.matches(number as u64, &page) {
                return Err(ServerError::Wrong { template: folder.to_owned(), page: number as u64 });
            }
            memory.write(number * PAGE, &page);
        }
        memory.write(count * PAGE, table_bytes);
        Ok(Self::new(Memory::Own(memory), &table))
    }

    /// Registers pages and table, which gives them new keys.
    fn register(&mut self, verbs: &Verbs) -> Result<(), ServerError> {
        let (pages, table) = ((self.pages as usize * PAGE).max(1), self.table_length.max(1));
        // SAFETY: the memory lives as long as its registration: the drop takes that back first. Clients may only
        // read it. Memory of no pages has one byte at least.
        unsafe {
            let at = self.memory.at(0, pages);
            self.pages_mr = made((verbs.ibv_reg_mr)(self.pd, at.cast(), pages, REMOTE_READ))
                .map_err(step("register a template's pages (is the limit of locked memory high enough?)"))?;
            let at = self.memory.at(self.pages as usize * PAGE, table);
            self.table_mr = made((verbs.ibv_reg_mr)(self.pd, at.cast(), table, REMOTE_READ))
                .map_err(step("register a template's table"))?;
        }
        Ok(())
    }

    /// Takes back the keys: who uses one of them after this is cut off.
    fn deregister(&mut self, verbs: &Verbs) {
        for mr in [&mut self.pages_mr, &mut self.table_mr] {
            if !mr.is_null() {
                // SAFETY: registered and not taken back yet.
                unsafe { (verbs.ibv_dereg_mr)(*mr) };
                *mr = ptr::null_mut();
            }
        }
    }

    fn offer(&self) -> Offer {
        // SAFETY: registered as long as the server serves.
        let (pages, table) = unsafe { (&*self.pages_mr, &*self.table_mr) };
        Offer {
            pages_at: pages.addr as u64,
            pages_key: pages.rkey,
            pages: self.pages,
            table_at: table.addr as u64,
            table_key: table.rkey,
            root: self.root,
        }
    }
}

/// A pool that serves.
#[derive(Debug)]
pub struct Server {
    verbs: &'static Verbs,
    events: Option<Events>,
    listener: *mut CmId,
    cq: *mut Cq,
    held: Vec<Held>,
    /// Whose templates are registered when somebody asks for them.
    device: Option<PathBuf>,
    key: Key,
    allowed: Vec<IpAddr>,
    /// By id.
    clients: HashMap<usize, Guest>,
    /// How many were let in.
    admitted: u64,
}

/// A client that was let in.
#[derive(Clone, Copy, Debug)]
struct Guest {
    peer: Option<IpAddr>,
    /// Its number among all that were let in: an id's address may be another client's later.
    serial: u64,
    /// When the question was put that is under way.
    asked: Option<Instant>,
}

/// Something that the daemon's owner may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A client was let in.
    In(Option<IpAddr>),
    /// A client was turned away.
    Refused(Option<IpAddr>, Refusal),
    /// A client has said goodbye.
    Left(Option<IpAddr>),
    /// A client does not answer any more.
    Lost(Option<IpAddr>),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name =
            |peer: &Option<IpAddr>| peer.map_or("of unknown address".to_owned(), |peer| peer.to_string());
        match self {
            Self::In(peer) => write!(f, "client {} in", name(peer)),
            Self::Refused(peer, refusal) => write!(f, "client {} refused: {}", name(peer), refusal.reason()),
            Self::Left(peer) => write!(f, "client {} left", name(peer)),
            Self::Lost(peer) => write!(f, "client {} lost", name(peer)),
        }
    }
}

/// What the daemon is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Take back all keys for memory and hand out new ones.
    Rekey,
    /// End.
    End,
}

impl Server {
    /// Loads templates, registers them and listens. `allowed` are the addresses of clients; empty: all who know
    /// the key. Templates on `device`, which is mapped as a whole, are registered where they lie, when somebody
    /// asks for them first.
    ///
    /// # Errors
    /// If a template is damaged, there is no such device, or memory cannot be registered.
    pub fn start(
        address: SocketAddr,
        key: Key,
        allowed: Vec<IpAddr>,
        templates: &[PathBuf],
        device: Option<PathBuf>,
    ) -> Result<Self, ServerError> {
        if let Some(path) = &device {
            Device::open(path)?.list()?;
        }
        let held = templates.iter().map(|folder| Held::load(folder)).collect::<Result<Vec<_>, _>>()?;
        let verbs = verbs().map_err(step("load the libraries for RDMA"))?;
        let events =
            Events::new(verbs).map_err(step("reach the connection manager (/dev/infiniband/rdma_cm)"))?;
        let mut server = Self {
            verbs,
            events: Some(events),
            listener: ptr::null_mut(),
            cq: ptr::null_mut(),
            held: Vec::new(),
            device,
            key,
            allowed,
            clients: HashMap::new(),
            admitted: 0,
        };
        let mut at = socket_address(address);
        let channel = server.events().channel;
        // SAFETY: the channel lives longer than the id; the address is one, with its family in front.
        unsafe {
            checked((verbs.rdma_create_id)(
                channel,
                &raw mut server.listener,
                ptr::null_mut(),
                PORT_SPACE_TCP,
            ))
            .map_err(step("make a listener"))?;
            match checked((verbs.rdma_bind_addr)(server.listener, at.as_mut_ptr().cast())) {
                Ok(()) => {}
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EADDRNOTAVAIL)) => {
                    return Err(ServerError::NoDevice(address));
                }
                Err(error) => return Err(step("take the address")(error)),
            }
            let context = (*server.listener).verbs;
            if context.is_null() {
                return Err(ServerError::NoDevice(address));
            }
            server.cq =
                made((verbs.ibv_create_cq)(context, MOST as i32 * 2, ptr::null_mut(), ptr::null_mut(), 0))
                    .map_err(step("make a completion queue"))?;
        }
        for held in held {
            server.hold(held)?;
        }
        // SAFETY: made above.
        checked(unsafe { (verbs.rdma_listen)(server.listener, 64) }).map_err(step("listen"))?;
        Ok(server)
    }

    /// Root hashes and numbers of pages of the templates.
    pub fn templates(&self) -> impl Iterator<Item = ([u8; 32], u64)> {
        self.held.iter().map(|held| (held.root, held.pages))
    }

    fn events(&self) -> &Events {
        self.events.as_ref().expect("there until the drop")
    }

    /// Registers a template.
    fn hold(&mut self, mut held: Held) -> Result<(), ServerError> {
        // SAFETY: the listener has a device.
        held.pd = made(unsafe { (self.verbs.ibv_alloc_pd)((*self.listener).verbs) })
            .map_err(step("make a protection domain"))?;
        let registered = held.register(self.verbs);
        // Kept in any case: the drop takes back what was made.
        self.held.push(held);
        registered
    }

    /// The number of the template whose root hash begins so; one on the device is registered now if need be.
    fn find(&mut self, half: [u8; 16]) -> Result<usize, Refusal> {
        // What is not to be had any more is called so.
        if half == [0; 16] {
            return Err(Refusal::Template);
        }
        if let Some(place) = self.held.iter().position(|held| held.root[..16] == half) {
            let held = &mut self.held[place];
            if !matches!(&held.memory, Memory::Device(on) if !on.is_here()) {
                return Ok(place);
            }
            // Removed from the device: others may be there now. It may have been put elsewhere.
            held.deregister(self.verbs);
            held.root = [0; 32];
        }
        let path = self.device.as_ref().ok_or(Refusal::Template)?;
        let open = || -> Result<OnDevice, DeviceError> {
            let (entries, _) = Device::open(path)?.list()?;
            let entry = entries.into_iter().find(|entry| entry.is_ready && entry.root[..16] == half);
            let root = entry.map_or([0; 32], |entry| entry.root);
            // The kernel takes no memory for RDMA that the process may not write, whatever its clients may.
            Device::open_mut(path)?.template_of(&blake3::Hash::from_bytes(root))
        };
        let on = open().map_err(|error| {
            eprintln!("trenvx: {error}");
            Refusal::Template
        })?;
        let table = on.table().clone();
        self.hold(Held::new(Memory::Device(on), &table)).map_err(|error| {
            eprintln!("trenvx: {error}");
            Refusal::Template
        })?;
        Ok(self.held.len() - 1)
    }

    /// Serves until it is told to end. `orders` is a descriptor that can be read when `next` has an order; `notice`
    /// is told of clients.
    ///
    /// # Errors
    /// If the connection manager fails, or memory cannot be registered again.
    pub fn serve(
        &mut self,
        orders: &OwnedFd,
        mut next: impl FnMut() -> Option<Order>,
        mut notice: impl FnMut(Notice),
    ) -> Result<(), ServerError> {
        let mut beat = Instant::now() + BEAT;
        loop {
            let left = beat.saturating_duration_since(Instant::now());
            let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let events = self.events().fd();
            debug_assert_ne!(events, orders.as_raw_fd());
            // SAFETY: the descriptor belongs to the events, which live as long as this value.
            let events = unsafe { std::os::fd::BorrowedFd::borrow_raw(events) };
            let mut waits =
                [PollFd::from_borrowed_fd(events, PollFlags::IN), PollFd::new(orders, PollFlags::IN)];
            match poll(&mut waits, Some(&left)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(step("wait for clients")(error.into())),
            }
            while let Some(order) = next() {
                match order {
                    Order::End => return Ok(()),
                    Order::Rekey => {
                        for held in self.held.iter_mut().filter(|held| held.root != [0; 32]) {
                            held.deregister(self.verbs);
                            held.register(self.verbs)?;
                        }
                    }
                }
            }
            while let Some(seen) = self.events().next(Instant::now()).map_err(step("hear of clients"))? {
                self.attend(&seen, &mut notice);
            }
            if Instant::now() >= beat {
                self.ask_all(&mut notice);
                beat = Instant::now() + BEAT;
            }
        }
    }

    fn attend(&mut self, seen: &Seen, notice: &mut impl FnMut(Notice)) {
        match seen.kind {
            event::CONNECT_REQUEST => {
                // SAFETY: the id came with the request.
                let peer = ip_of(unsafe { &(*seen.id).peer });
                match self.admit(seen, peer) {
                    Ok(()) => notice(Notice::In(peer)),
                    Err(refusal) => {
                        let code = [refusal.code()];
                        // SAFETY: the id is nobody's yet; the byte is copied.
                        unsafe {
                            (self.verbs.rdma_reject)(seen.id, code.as_ptr().cast(), 1);
                            (self.verbs.rdma_destroy_id)(seen.id);
                        }
                        notice(Notice::Refused(peer, refusal));
                    }
                }
            }
            event::ESTABLISHED => {}
            _ if seen.id == self.listener => {}
            kind => {
                if let Some(guest) = self.dismiss(seen.id as usize) {
                    let left = matches!(kind, event::DISCONNECTED | event::TIMEWAIT_EXIT);
                    notice(if left { Notice::Left(guest.peer) } else { Notice::Lost(guest.peer) });
                }
            }
        }
    }

    fn admit(&mut self, seen: &Seen, peer: Option<IpAddr>) -> Result<(), Refusal> {
        if !self.allowed.is_empty() && !peer.is_some_and(|peer| self.allowed.contains(&peer)) {
            return Err(Refusal::Peer);
        }
        let wanted = check_request(&seen.data, self.key)?;
        if self.clients.len() >= MOST {
            return Err(Refusal::Full);
        }
        let place = self.find(wanted)?;
        let (offer, pd) = (self.held[place].offer().bytes(), self.held[place].pd);
        let mut parameters = ConnParam {
            private_data: offer.as_ptr().cast(),
            private_data_len: offer.len() as u8,
            responder_resources: seen.responder_resources,
            initiator_depth: seen.initiator_depth,
            flow_control: 0,
            retry_count: RETRIES,
            rnr_retry_count: 7,
            srq: 0,
            qp_num: 0,
        };
        let mut wanted = queue(self.cq, 4);
        // SAFETY: domain and queue live as long as the server; the parameters are copied.
        let accepted = unsafe {
            set_patience(self.verbs, seen.id);
            checked((self.verbs.rdma_create_qp)(seen.id, pd, &raw mut wanted))
                .and_then(|()| checked((self.verbs.rdma_accept)(seen.id, &raw mut parameters)))
        };
        if accepted.is_err() {
            // SAFETY: as above; the caller destroys the id.
            unsafe {
                if !(*seen.id).qp.is_null() {
                    (self.verbs.rdma_destroy_qp)(seen.id);
                }
            }
            return Err(Refusal::Full);
        }
        self.admitted += 1;
        self.clients.insert(seen.id as usize, Guest { peer, serial: self.admitted, asked: None });
        Ok(())
    }

    /// Forgets a client, if it is one.
    fn dismiss(&mut self, id: usize) -> Option<Guest> {
        let guest = self.clients.remove(&id)?;
        let id = id as *mut CmId;
        // SAFETY: admitted and not dismissed yet; its events have been acknowledged.
        unsafe {
            (self.verbs.rdma_disconnect)(id);
            (self.verbs.rdma_destroy_qp)(id);
            (self.verbs.rdma_destroy_id)(id);
        }
        Some(guest)
    }

    /// Sees which clients have answered the last question, and asks again.
    fn ask_all(&mut self, notice: &mut impl FnMut(Notice)) {
        let mut completions = [Completion::default(); 32];
        let mut gone = Vec::new();
        // SAFETY: the queue lives as long as the server.
        while let Ok(count @ 1..) = unsafe { poll_cq(self.cq, &mut completions) } {
            for completion in &completions[..count] {
                match self.clients.iter_mut().find(|(_, guest)| guest.serial == completion.id) {
                    Some((_, guest)) if completion.status == SUCCESS => guest.asked = None,
                    Some((id, _)) => gone.push(*id),
                    None => {}
                }
            }
        }
        for (id, guest) in &mut self.clients {
            if let Some(asked) = guest.asked {
                if asked.elapsed() > SILENCE {
                    gone.push(*id);
                }
            } else {
                let mut work = SendWork::signaled(guest.serial, RDMA_WRITE, None, 0, 0);
                // SAFETY: a client that is in the map has a queue pair; nothing is written, so no memory is involved.
                let posted = unsafe { post_send((*(*id as *mut CmId)).qp, &mut work) };
                match posted {
                    Ok(()) => guest.asked = Some(Instant::now()),
                    Err(_) => gone.push(*id),
                }
            }
        }
        for id in gone {
            if let Some(guest) = self.dismiss(id) {
                notice(Notice::Lost(guest.peer));
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let clients: Vec<usize> = self.clients.keys().copied().collect();
        for id in clients {
            self.dismiss(id);
        }
        let v = self.verbs;
        // SAFETY: each was made and is destroyed once, users before what they use.
        unsafe {
            for held in &mut self.held {
                held.deregister(v);
                (v.ibv_dealloc_pd)(held.pd);
            }
            if !self.cq.is_null() {
                (v.ibv_destroy_cq)(self.cq);
            }
            if !self.listener.is_null() {
                (v.rdma_destroy_id)(self.listener);
            }
        }
        self.events = None;
    }
}
