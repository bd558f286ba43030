//! The seam to libibverbs and librdmacm, which are loaded when they are first needed.
//!
//! Why not a crate: the living one for verbs and the connection manager (`sideway`) makes its bindings at build
//! time and asks for CMake, libclang and clang's headers on every machine that builds this workspace, although few
//! have an RDMA device. What is needed here is two dozen functions and a dozen structures that have not changed
//! since 2014 (they are the libraries' stable interface), so they are written down; `layouts_are_those_of_the_headers`
//! compares them with the offsets of the C headers of rdma-core 44.
//!
//! Posting work and polling for its end are inline functions in C that go through a table in the device's context;
//! so do they here.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::io;
use std::sync::OnceLock;

/// `struct rdma_event_channel`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct EventChannel {
    pub(super) fd: c_int,
}

/// `struct rdma_cm_id`, as far as it is looked at. Only ever behind a pointer.
#[repr(C)]
#[derive(Debug)]
pub(super) struct CmId {
    pub(super) verbs: *mut Context,
    pub(super) channel: *mut EventChannel,
    pub(super) context: *mut c_void,
    pub(super) qp: *mut Qp,
    why: [u8; 128],
    /// `route.addr.dst_addr`.
    pub(super) peer: [u8; 128],
}

/// `struct rdma_conn_param`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnParam {
    pub(super) private_data: *const c_void,
    pub(super) private_data_len: u8,
    pub(super) responder_resources: u8,
    pub(super) initiator_depth: u8,
    pub(super) flow_control: u8,
    pub(super) retry_count: u8,
    pub(super) rnr_retry_count: u8,
    pub(super) srq: u8,
    pub(super) qp_num: u32,
}

/// `struct rdma_cm_event`, up to what is used. Only ever behind a pointer.
#[repr(C)]
#[derive(Debug)]
pub(super) struct CmEvent {
    pub(super) id: *mut CmId,
    pub(super) listen_id: *mut CmId,
    pub(super) event: c_int,
    pub(super) status: c_int,
    pub(super) param: ConnParam,
}

/// `enum rdma_cm_event_type`, those that are told apart.
pub(super) mod event {
    pub(in super::super) const ADDR_RESOLVED: i32 = 0;
    pub(in super::super) const ROUTE_RESOLVED: i32 = 2;
    pub(in super::super) const CONNECT_REQUEST: i32 = 4;
    pub(in super::super) const REJECTED: i32 = 8;
    pub(in super::super) const ESTABLISHED: i32 = 9;
    pub(in super::super) const DISCONNECTED: i32 = 10;
    pub(in super::super) const TIMEWAIT_EXIT: i32 = 15;
}

/// `struct ibv_context`, up to its table. Only ever behind a pointer.
#[repr(C)]
pub(super) struct Context {
    device: *mut c_void,
    ops: ContextOps,
}

#[repr(C)]
struct ContextOps {
    before_poll: [*mut c_void; 11],
    poll_cq: unsafe extern "C" fn(*mut Cq, c_int, *mut Completion) -> c_int,
    req_notify_cq: unsafe extern "C" fn(*mut Cq, c_int) -> c_int,
    before_post: [*mut c_void; 12],
    post_send: unsafe extern "C" fn(*mut Qp, *mut SendWork, *mut *mut SendWork) -> c_int,
}

/// `struct ibv_cq`, up to its context.
#[repr(C)]
pub(super) struct Cq {
    context: *mut Context,
}

/// `struct ibv_qp`, up to its context.
#[repr(C)]
pub(super) struct Qp {
    context: *mut Context,
}

/// `struct ibv_pd`.
#[repr(C)]
pub(super) struct Pd {
    _opaque: [u8; 0],
}

/// `struct ibv_comp_channel`.
#[repr(C)]
pub(super) struct CompChannel {
    context: *mut Context,
    pub(super) fd: c_int,
    refcnt: c_int,
}

/// `struct ibv_mr`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Mr {
    context: *mut Context,
    pd: *mut Pd,
    pub(super) addr: *mut c_void,
    length: usize,
    handle: u32,
    pub(super) lkey: u32,
    pub(super) rkey: u32,
}

/// `struct ibv_qp_init_attr`.
#[repr(C)]
pub(super) struct QpInit {
    pub(super) qp_context: *mut c_void,
    pub(super) send_cq: *mut Cq,
    pub(super) recv_cq: *mut Cq,
    pub(super) srq: *mut c_void,
    pub(super) max_send_wr: u32,
    pub(super) max_recv_wr: u32,
    pub(super) max_send_sge: u32,
    pub(super) max_recv_sge: u32,
    pub(super) max_inline_data: u32,
    pub(super) qp_type: c_int,
    pub(super) sq_sig_all: c_int,
}

/// `struct ibv_sge`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) addr: u64,
    pub(super) length: u32,
    pub(super) lkey: u32,
}

/// `struct ibv_send_wr`.
#[repr(C)]
pub(super) struct SendWork {
    pub(super) id: u64,
    pub(super) next: *mut SendWork,
    pub(super) pieces: *mut Piece,
    pub(super) piece_count: c_int,
    pub(super) opcode: c_int,
    pub(super) flags: c_uint,
    pub(super) immediate: u32,
    pub(super) remote_addr: u64,
    pub(super) remote_key: u32,
    rest: [u8; 76],
}

impl SendWork {
    /// One work request that says when it is done.
    pub(super) fn signaled(id: u64, opcode: c_int, piece: Option<&mut Piece>, addr: u64, key: u32) -> Self {
        let piece_count = c_int::from(piece.is_some());
        Self {
            id,
            next: std::ptr::null_mut(),
            pieces: piece.map_or(std::ptr::null_mut(), |piece| piece),
            piece_count,
            opcode,
            flags: SEND_SIGNALED,
            immediate: 0,
            remote_addr: addr,
            remote_key: key,
            rest: [0; 76],
        }
    }
}

/// `struct ibv_wc`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Completion {
    pub(super) id: u64,
    pub(super) status: c_int,
    pub(super) opcode: c_int,
    pub(super) vendor_err: u32,
    pub(super) byte_len: u32,
    pub(super) immediate: u32,
    pub(super) qp_num: u32,
    rest: [u32; 4],
}

pub(super) const PORT_SPACE_TCP: c_int = 0x106;
pub(super) const QP_RC: c_int = 2;
pub(super) const RDMA_WRITE: c_int = 0;
pub(super) const RDMA_READ: c_int = 4;
const SEND_SIGNALED: c_uint = 2;
pub(super) const LOCAL_WRITE: c_int = 1;
pub(super) const REMOTE_READ: c_int = 4;
/// `IBV_WC_SUCCESS`.
pub(super) const SUCCESS: c_int = 0;
/// `IBV_WC_REM_ACCESS_ERR`: the other side's card refused.
pub(super) const REMOTE_ACCESS: c_int = 10;
/// `rdma_set_option`: level and name of the time without an answer after which a packet is sent again.
pub(super) const OPTION_ID: c_int = 0;
pub(super) const OPTION_ACK_TIMEOUT: c_int = 3;

#[derive(Debug)]
struct Libraries {
    verbs: libloading::Library,
    cm: libloading::Library,
}

impl Libraries {
    fn load() -> Result<Self, libloading::Error> {
        // SAFETY: loading runs the library's own initialisation, which has no demands.
        let verbs = unsafe { libloading::Library::new("libibverbs.so.1") }?;
        // SAFETY: as above.
        let cm = unsafe { libloading::Library::new("librdmacm.so.1") }?;
        Ok(Self { verbs, cm })
    }
}

macro_rules! libraries {
    ($($library:ident { $($name:ident: fn($($argument:ty),*) -> $result:ty;)* })*) => {
        /// The functions of both libraries.
        #[derive(Debug)]
        #[allow(clippy::struct_field_names, reason = "the names are the libraries'")]
        pub(super) struct Verbs {
            $($(pub(super) $name: unsafe extern "C" fn($($argument),*) -> $result,)*)*
            _libraries: Libraries,
        }

        impl Verbs {
            fn load() -> Result<Self, libloading::Error> {
                let loaded = Libraries::load()?;
                Ok(Self {
                    $($(
                        // SAFETY: the type is that of the libraries' headers; the library stays loaded as long
                        // as this value, which lives in a static.
                        $name: *unsafe { loaded.$library.get(concat!(stringify!($name), "\0").as_bytes()) }?,
                    )*)*
                    _libraries: loaded,
                })
            }
        }
    };
}

libraries! {
    cm {
        rdma_create_event_channel: fn() -> *mut EventChannel;
        rdma_destroy_event_channel: fn(*mut EventChannel) -> ();
        rdma_create_id: fn(*mut EventChannel, *mut *mut CmId, *mut c_void, c_int) -> c_int;
        rdma_destroy_id: fn(*mut CmId) -> c_int;
        rdma_bind_addr: fn(*mut CmId, *mut c_void) -> c_int;
        rdma_listen: fn(*mut CmId, c_int) -> c_int;
        rdma_resolve_addr: fn(*mut CmId, *mut c_void, *mut c_void, c_int) -> c_int;
        rdma_resolve_route: fn(*mut CmId, c_int) -> c_int;
        rdma_create_qp: fn(*mut CmId, *mut Pd, *mut QpInit) -> c_int;
        rdma_destroy_qp: fn(*mut CmId) -> ();
        rdma_connect: fn(*mut CmId, *mut ConnParam) -> c_int;
        rdma_accept: fn(*mut CmId, *mut ConnParam) -> c_int;
        rdma_reject: fn(*mut CmId, *const c_void, u8) -> c_int;
        rdma_disconnect: fn(*mut CmId) -> c_int;
        rdma_get_cm_event: fn(*mut EventChannel, *mut *mut CmEvent) -> c_int;
        rdma_ack_cm_event: fn(*mut CmEvent) -> c_int;
        rdma_set_option: fn(*mut CmId, c_int, c_int, *mut c_void, usize) -> c_int;
        rdma_event_str: fn(c_int) -> *const c_char;
    }
    verbs {
        ibv_alloc_pd: fn(*mut Context) -> *mut Pd;
        ibv_dealloc_pd: fn(*mut Pd) -> c_int;
        ibv_reg_mr: fn(*mut Pd, *mut c_void, usize, c_int) -> *mut Mr;
        ibv_dereg_mr: fn(*mut Mr) -> c_int;
        ibv_create_comp_channel: fn(*mut Context) -> *mut CompChannel;
        ibv_destroy_comp_channel: fn(*mut CompChannel) -> c_int;
        ibv_create_cq: fn(*mut Context, c_int, *mut c_void, *mut CompChannel, c_int) -> *mut Cq;
        ibv_destroy_cq: fn(*mut Cq) -> c_int;
        ibv_get_cq_event: fn(*mut CompChannel, *mut *mut Cq, *mut *mut c_void) -> c_int;
        ibv_ack_cq_events: fn(*mut Cq, c_uint) -> ();
        ibv_modify_qp: fn(*mut Qp, *mut c_void, c_int) -> c_int;
        ibv_wc_status_str: fn(c_int) -> *const c_char;
    }
}

/// The libraries.
pub(super) fn verbs() -> io::Result<&'static Verbs> {
    static VERBS: OnceLock<Result<Verbs, String>> = OnceLock::new();
    let loaded = VERBS.get_or_init(|| Verbs::load().map_err(|error| error.to_string()));
    loaded.as_ref().map_err(|error| {
        let what = "install rdma-core with its providers (scripts/setup --guest)";
        io::Error::new(io::ErrorKind::NotFound, format!("{error}: {what}"))
    })
}

/// Takes up to `into.len()` completions.
///
/// # Safety
/// `cq` must be one that was made and not destroyed.
pub(super) unsafe fn poll_cq(cq: *mut Cq, into: &mut [Completion]) -> io::Result<usize> {
    // SAFETY: the queue begins with its context, whose table holds the device's functions.
    let got = unsafe { ((*(*cq).context).ops.poll_cq)(cq, into.len() as c_int, into.as_mut_ptr()) };
    usize::try_from(got).map_err(|_| io::Error::other("a completion queue cannot be polled"))
}

/// Asks for an event with the next completion.
///
/// # Safety
/// As [`poll_cq`].
pub(super) unsafe fn notify_cq(cq: *mut Cq) -> io::Result<()> {
    // SAFETY: as above.
    positive(unsafe { ((*(*cq).context).ops.req_notify_cq)(cq, 0) })
}

/// Posts a work request.
///
/// # Safety
/// `qp` must be one that was made and not destroyed; what the request points to must stay until its completion.
pub(super) unsafe fn post_send(qp: *mut Qp, work: &mut SendWork) -> io::Result<()> {
    let mut bad = std::ptr::null_mut();
    // SAFETY: the queue pair begins with its context.
    positive(unsafe { ((*(*qp).context).ops.post_send)(qp, work, &raw mut bad) })
}

/// The result of a function that returns an error number.
pub(super) fn positive(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result.abs())) }
}

/// The result of a function that sets `errno` and returns -1.
pub(super) fn checked(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The result of a function that returns a pointer, or null and `errno`.
pub(super) fn made<T>(pointer: *mut T) -> io::Result<*mut T> {
    if pointer.is_null() { Err(io::Error::last_os_error()) } else { Ok(pointer) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn layouts_are_those_of_the_headers() {
        assert_eq!(offset_of!(Context, ops), 8);
        assert_eq!(offset_of!(ContextOps, poll_cq), 88);
        assert_eq!(offset_of!(ContextOps, req_notify_cq), 96);
        assert_eq!(offset_of!(ContextOps, post_send), 200);
        assert_eq!(offset_of!(CmId, qp), 24);
        assert_eq!(offset_of!(CmId, peer), 160);
        assert_eq!((offset_of!(CmEvent, event), offset_of!(CmEvent, status)), (16, 20));
        assert_eq!(offset_of!(CmEvent, param), 24);
        assert_eq!((offset_of!(ConnParam, responder_resources), offset_of!(ConnParam, qp_num)), (9, 16));
        assert_eq!(size_of::<ConnParam>(), 24);
        assert_eq!(offset_of!(CompChannel, fd), 8);
        assert_eq!((offset_of!(Mr, addr), offset_of!(Mr, lkey), offset_of!(Mr, rkey)), (16, 36, 40));
        assert_eq!((size_of::<Mr>(), size_of::<QpInit>(), size_of::<Piece>()), (48, 64, 16));
        assert_eq!((offset_of!(QpInit, max_send_wr), offset_of!(QpInit, qp_type)), (32, 52));
        assert_eq!(size_of::<SendWork>(), 128);
        assert_eq!((offset_of!(SendWork, opcode), offset_of!(SendWork, flags)), (28, 32));
        assert_eq!((offset_of!(SendWork, remote_addr), offset_of!(SendWork, remote_key)), (40, 48));
        assert_eq!(size_of::<Completion>(), 48);
        assert_eq!((offset_of!(Completion, status), offset_of!(Completion, qp_num)), (8, 28));
    }
}
