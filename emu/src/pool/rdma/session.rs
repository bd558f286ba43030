//! One connection to a pool: a queue pair, a place for what arrives, and reads that are under way.

use std::ffi::CStr;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::{Duration, Instant};

use super::events::{Events, readable, set_nonblocking, socket_address};
use super::hello::{Key, Offer, Refusal, request};
use super::verbs::{
    CmId, CompChannel, Completion, ConnParam, Cq, LOCAL_WRITE, Mr, OPTION_ACK_TIMEOUT, OPTION_ID,
    PORT_SPACE_TCP, Pd, Piece, QP_RC, QpInit, RDMA_READ, REMOTE_ACCESS, SUCCESS, SendWork, Verbs, checked,
    event, made, notify_cq, poll_cq, positive, post_send, verbs,
};
use crate::pool::mapping::Mapping;
use crate::template::pages::PAGE;

/// Reads that the pool's card answers at a time. Cards promise 16 for one queue pair; more wait in our own.
pub(super) const DEPTH: usize = 16;
/// The time without an answer after which a packet is sent again is 4.096 us x 2^17 = 0.54 s; so a connection
/// is given up 3.8 s after the last answer.
const ACK_TIMEOUT: u8 = 17;
/// How often a packet is sent again. With 7, the most that the field holds, the kernel's software device never stops.
pub(super) const RETRIES: u8 = 6;
/// How long one step of connecting may take.
const STEP: Duration = Duration::from_secs(5);
/// How long a read may be under way. The card gives up before.
const READ: Duration = Duration::from_secs(15);

/// Why a connection is of no use.
#[derive(Debug)]
pub(super) enum Broken {
    /// The pool said no: asking again is pointless.
    Refused(Refusal),
    /// The pool's card refused: the key is an old one, or the place is none of ours.
    Access,
    /// Anything else: the other side may come back.
    Failed(String),
}

impl Broken {
    /// For people.
    pub(super) fn reason(self) -> String {
        match self {
            Self::Refused(refusal) => refusal.reason().to_owned(),
            Self::Access => "its memory has other keys now".to_owned(),
            Self::Failed(reason) => reason,
        }
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// A connection. Fields that are null have not been made yet; `drop` undoes what was made, in reverse.
#[derive(Debug)]
pub(super) struct Session {
    verbs: &'static Verbs,
    id: *mut CmId,
    pd: *mut Pd,
    channel: *mut CompChannel,
    cq: *mut Cq,
    mr: *mut Mr,
    has_queue: bool,
    shape: Shape,
    landing: Mapping,
    events: Option<Events>,
    pub(super) offer: Offer,
}

/// How much a connection can have under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Reads.
    pub(super) reads: usize,
    /// Pages of the landing place.
    pub(super) pages: usize,
}

impl Shape {
    /// For a client that reads page by page and waits.
    pub(super) const SMALL: Self = Self { reads: DEPTH, pages: DEPTH };
}

// SAFETY: the libraries' objects belong to no thread; `&mut self` keeps two from using them at once.
unsafe impl Send for Session {}

impl Session {
    /// Connects to the pool at `address` and asks for the template with this root hash.
    pub(super) fn open(
        address: SocketAddr,
        key: Key,
        root: &[u8; 32],
        shape: Shape,
        until: Instant,
    ) -> Result<Self, Broken> {
        let verbs = verbs()?;
        let events = Events::new(verbs)?;
        let nothing = Offer { pages_at: 0, pages_key: 0, pages: 0, table_at: 0, table_key: 0, root: [0; 32] };
        let mut session = Self {
            verbs,
            id: ptr::null_mut(),
            pd: ptr::null_mut(),
            channel: ptr::null_mut(),
            cq: ptr::null_mut(),
            mr: ptr::null_mut(),
            has_queue: false,
            shape,
            landing: Mapping::anonymous(shape.pages * PAGE)?,
            events: Some(events),
            offer: nothing,
        };
        session.resolve(address, until)?;
        session.make_queue()?;
        session.connect(key, root, until)?;
        Ok(session)
    }

    fn events(&self) -> &Events {
        self.events.as_ref().expect("there until the drop")
    }

    /// Waits for an event that must be `wanted`; returns what came with it.
    fn expect(&self, wanted: i32, what: &str, until: Instant) -> Result<Vec<u8>, Broken> {
        let until = until.min(Instant::now() + STEP);
        match self.events().next(until)? {
            None => Err(Broken::Failed(format!("no answer while {what}"))),
            Some(seen) if seen.kind == wanted => Ok(seen.data),
            Some(seen) if seen.kind == event::REJECTED => {
                match seen.data.first().and_then(|code| Refusal::of(*code)) {
                    Some(refusal) => Err(Broken::Refused(refusal)),
                    None => Err(Broken::Failed(format!("nobody serves there (status {})", seen.status))),
                }
            }
            Some(seen) => Err(Broken::Failed(format!("{} while {what}", self.events().word(&seen)))),
        }
    }

    /// Finds the device that leads to `address`.
    fn resolve(&mut self, address: SocketAddr, until: Instant) -> Result<(), Broken> {
        let v = self.verbs;
        let channel = self.events().channel;
        // SAFETY: the channel lives longer than the id; the result goes to our field.
        checked(unsafe { (v.rdma_create_id)(channel, &raw mut self.id, ptr::null_mut(), PORT_SPACE_TCP) })?;
        let mut to = socket_address(address);
        let wait = STEP.as_millis() as i32;
        // SAFETY: the address is one, with its family in front; the id was made above.
        checked(unsafe { (v.rdma_resolve_addr)(self.id, ptr::null_mut(), to.as_mut_ptr().cast(), wait) })?;
        self.expect(event::ADDR_RESOLVED, "looking for the way to it", until)?;
        // SAFETY: the id was made above.
        unsafe { set_patience(v, self.id) };
        // SAFETY: the id was made above.
        checked(unsafe { (v.rdma_resolve_route)(self.id, wait) })?;
        self.expect(event::ROUTE_RESOLVED, "looking for the way to it", until)?;
        Ok(())
    }

    /// Makes the queue pair and registers the landing place.
    fn make_queue(&mut self) -> io::Result<()> {
        let v = self.verbs;
        // SAFETY: every object is made with those made before it, which live until the drop; an id that is
        // resolved has a device. The landing place lives as long as its registration.
        unsafe {
            let context = (*self.id).verbs;
            self.pd = made((v.ibv_alloc_pd)(context))?;
            self.channel = made((v.ibv_create_comp_channel)(context))?;
            set_nonblocking((*self.channel).fd)?;
            let room = 2 * self.shape.reads as i32;
            self.cq = made((v.ibv_create_cq)(context, room, ptr::null_mut(), self.channel, 0))?;
            let length = self.landing.len();
            self.mr = made((v.ibv_reg_mr)(self.pd, self.landing.at(0, length).cast(), length, LOCAL_WRITE))?;
            let mut wanted = queue(self.cq, self.shape.reads as u32);
            checked((v.rdma_create_qp)(self.id, self.pd, &raw mut wanted))?;
        }
        self.has_queue = true;
        Ok(())
    }

    fn connect(&mut self, key: Key, root: &[u8; 32], until: Instant) -> Result<(), Broken> {
        let hello = request(key, root);
        let mut parameters = ConnParam {
            private_data: hello.as_ptr().cast(),
            private_data_len: hello.len() as u8,
            responder_resources: 1,
            initiator_depth: DEPTH as u8,
            flow_control: 0,
            retry_count: RETRIES,
            rnr_retry_count: 7,
            srq: 0,
            qp_num: 0,
        };
        // SAFETY: the id has a queue pair; the library copies the parameters and what they point to.
        checked(unsafe { (self.verbs.rdma_connect)(self.id, &raw mut parameters) })?;
        let answer = self.expect(event::ESTABLISHED, "connecting", until)?;
        let offer = Offer::of(&answer)
            .ok_or_else(|| Broken::Failed("it answers, but not as a pool of this version".into()))?;
        if offer.root != *root {
            return Err(Broken::Refused(Refusal::Template));
        }
        self.offer = offer;
        Ok(())
    }

    /// Copies so many bytes from each of these addresses of the pool, up to [`DEPTH`] at a time, and hands over
    /// what has come for number `i`, in any order.
    pub(super) fn fetch(
        &mut self,
        wanted: &[(u64, u32)],
        key: u32,
        mut arrived: impl FnMut(usize, &[u8]),
    ) -> Result<(), Broken> {
        let mut slots = [0; DEPTH];
        let (mut posted, mut done) = (0, 0);
        while posted < wanted.len().min(DEPTH) {
            slots[posted] = posted;
            self.post_page(posted, RDMA_READ, wanted[posted], key)?;
            posted += 1;
        }
        let mut completions = [Completion::default(); DEPTH];
        while done < wanted.len() {
            let count = self.wait(&mut completions)?;
            for completion in &completions[..count] {
                self.check(completion)?;
                let slot = completion.id as usize;
                let number = slots[slot];
                let mut piece = [0; PAGE];
                let piece = &mut piece[..wanted[number].1 as usize];
                self.landing.read(slot * PAGE, piece);
                arrived(number, piece);
                done += 1;
                if posted < wanted.len() {
                    slots[slot] = posted;
                    self.post_page(slot, RDMA_READ, wanted[posted], key)?;
                    posted += 1;
                }
            }
        }
        Ok(())
    }

    /// Does one thing that a pool must refuse.
    pub(super) fn attempt(&mut self, opcode: i32, addr: u64, key: u32) -> Result<(), Broken> {
        self.post_page(0, opcode, (addr, PAGE as u32), key)?;
        let mut completions = [Completion::default(); DEPTH];
        let count = self.wait(&mut completions)?;
        completions[..count].iter().try_for_each(|completion| self.check(completion))
    }

    /// One page or less, to the slot's page of the landing place.
    fn post_page(
        &mut self,
        slot: usize,
        opcode: i32,
        (addr, length): (u64, u32),
        key: u32,
    ) -> io::Result<()> {
        assert!(slot < DEPTH && length as usize <= PAGE, "a page of the landing place");
        self.post(slot as u64, opcode, slot * PAGE, (addr, length), key)
    }

    /// Begins a read of so many bytes at an address of the pool, to byte `at` of the landing place; its completion
    /// carries the number `id`.
    pub(super) fn start_read(&mut self, id: u64, at: usize, from: (u64, u32), key: u32) -> io::Result<()> {
        self.post(id, RDMA_READ, at, from, key)
    }

    fn post(
        &mut self,
        id: u64,
        opcode: i32,
        at: usize,
        (addr, length): (u64, u32),
        key: u32,
    ) -> io::Result<()> {
        let at = self.landing.at(at, length as usize) as u64;
        // SAFETY: registered in `make_queue`.
        let lkey = unsafe { (*self.mr).lkey };
        let mut piece = Piece { addr: at, length, lkey };
        let mut work = SendWork::signaled(id, opcode, Some(&mut piece), addr, key);
        // SAFETY: the queue pair lives until the drop, which destroys it before the landing place; the list of
        // pieces is copied by the call.
        unsafe { post_send((*self.id).qp, &mut work) }
    }

    /// Pages of the landing place. Only for reads that are complete: nothing writes there any more.
    pub(super) fn landed(&self, first: usize, count: usize) -> &[[u8; PAGE]] {
        let start = self.landing.at(first * PAGE, count * PAGE);
        // SAFETY: within the mapping, which lives as long as this value; `&mut self` is needed for a new read.
        unsafe { std::slice::from_raw_parts(start.cast(), count) }
    }

    /// Takes completions that are there.
    pub(super) fn poll(&mut self, into: &mut [Completion]) -> io::Result<usize> {
        // SAFETY: the completion queue lives until the drop.
        unsafe { poll_cq(self.cq, into) }
    }

    /// Takes the event that [`Session::channel`] shows, if there is one, and asks for one with the next completion.
    /// What was complete before is to be polled for once more after this.
    pub(super) fn arm(&mut self) -> io::Result<()> {
        let (mut cq, mut context) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: channel and queue live until the drop; each event that was got is acknowledged once.
        unsafe {
            if (self.verbs.ibv_get_cq_event)(self.channel, &raw mut cq, &raw mut context) == 0 {
                (self.verbs.ibv_ack_cq_events)(cq, 1);
            }
            notify_cq(self.cq)
        }
    }

    /// Can be read when a completion has come since [`Session::arm`].
    pub(super) fn channel(&self) -> BorrowedFd<'_> {
        // SAFETY: the channel lives until the drop.
        unsafe { BorrowedFd::borrow_raw((*self.channel).fd) }
    }

    /// Can be read when [`Session::hung_up`] has something to say.
    pub(super) fn manager(&self) -> BorrowedFd<'_> {
        // SAFETY: the events live until the drop.
        unsafe { BorrowedFd::borrow_raw(self.events().fd()) }
    }

    /// What has happened to the connection, if it is no more.
    pub(super) fn hung_up(&self) -> Option<String> {
        match self.events().next(Instant::now()) {
            Ok(None) => None,
            Ok(Some(seen)) => Some(format!("the pool hung up: {}", self.events().word(&seen))),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Waits for completions: at least one.
    fn wait(&mut self, into: &mut [Completion]) -> Result<usize, Broken> {
        let until = Instant::now() + READ;
        loop {
            // One look before asking for an event and one after, or a completion in between would be slept over.
            let mut got = self.poll(into)?;
            if got == 0 {
                self.arm()?;
                got = self.poll(into)?;
            }
            if got > 0 {
                return Ok(got);
            }
            if !readable(self.channel().as_raw_fd(), until)? {
                return Err(Broken::Failed(format!("no answer to a read for {READ:?}")));
            }
        }
    }

    /// What a completion says.
    pub(super) fn check(&self, completion: &Completion) -> Result<(), Broken> {
        match completion.status {
            SUCCESS => Ok(()),
            REMOTE_ACCESS => Err(Broken::Access),
            other => {
                // SAFETY: the function returns a text that is never freed, for every number.
                let word = unsafe { CStr::from_ptr((self.verbs.ibv_wc_status_str)(other)) };
                Err(Broken::Failed(format!("a read ended with '{}'", word.to_string_lossy())))
            }
        }
    }

    /// Puts the queue pair into its error state, as a failing card does.
    pub(super) fn spoil(&mut self) -> io::Result<()> {
        /// `sizeof(struct ibv_qp_attr)`; its first field is the state.
        const ATTRIBUTES: usize = 144;
        const IBV_QPS_ERR: i32 = 6;
        const IBV_QP_STATE: i32 = 1;
        let mut attributes = [0u64; ATTRIBUTES / 8];
        attributes[0] = IBV_QPS_ERR as u64;
        // SAFETY: the mask says that only the state is looked at; the queue pair lives until the drop.
        positive(unsafe {
            (self.verbs.ibv_modify_qp)((*self.id).qp, attributes.as_mut_ptr().cast(), IBV_QP_STATE)
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let v = self.verbs;
        // SAFETY: each was made and is destroyed once, users before what they use. Every event has been
        // acknowledged, or destroying would wait for ever.
        unsafe {
            if self.has_queue {
                (v.rdma_disconnect)(self.id);
                (v.rdma_destroy_qp)(self.id);
            }
            if !self.mr.is_null() {
                (v.ibv_dereg_mr)(self.mr);
            }
            if !self.cq.is_null() {
                (v.ibv_destroy_cq)(self.cq);
            }
            if !self.channel.is_null() {
                (v.ibv_destroy_comp_channel)(self.channel);
            }
            if !self.pd.is_null() {
                (v.ibv_dealloc_pd)(self.pd);
            }
            if !self.id.is_null() {
                (v.rdma_destroy_id)(self.id);
            }
        }
        self.events = None;
    }
}

/// Sets the time after which a packet is sent again. A device that does not take it keeps its own, some ten times as
/// long: then a loss is noticed later.
///
/// # Safety
/// `id` must be one that was made and not destroyed.
pub(super) unsafe fn set_patience(verbs: &Verbs, id: *mut CmId) {
    let mut timeout = ACK_TIMEOUT;
    // SAFETY: the option is one byte; the caller answers for the id.
    unsafe { (verbs.rdma_set_option)(id, OPTION_ID, OPTION_ACK_TIMEOUT, (&raw mut timeout).cast(), 1) };
}

/// A reliable connection's queue pair that sends this much and receives nothing.
pub(super) fn queue(cq: *mut Cq, depth: u32) -> QpInit {
    QpInit {
        qp_context: ptr::null_mut(),
        send_cq: cq,
        recv_cq: cq,
        srq: ptr::null_mut(),
        max_send_wr: depth,
        // Some devices refuse a queue of none.
        max_recv_wr: 1,
        max_send_sge: 1,
        max_recv_sge: 1,
        max_inline_data: 0,
        qp_type: QP_RC,
        sq_sig_all: 0,
    }
}
