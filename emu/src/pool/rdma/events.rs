//! Events of the connection manager, with deadlines.

use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::verbs::{CmEvent, CmId, EventChannel, Verbs, checked, made};

/// What happened.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) id: *mut CmId,
    pub(super) kind: i32,
    pub(super) status: i32,
    /// What the other side said with it.
    pub(super) data: Vec<u8>,
    pub(super) responder_resources: u8,
    pub(super) initiator_depth: u8,
}

/// A queue of events.
#[derive(Debug)]
pub(super) struct Events {
    verbs: &'static Verbs,
    pub(super) channel: *mut EventChannel,
}

impl Events {
    pub(super) fn new(verbs: &'static Verbs) -> io::Result<Self> {
        // SAFETY: no arguments.
        let channel = made(unsafe { (verbs.rdma_create_event_channel)() })?;
        let events = Self { verbs, channel };
        set_nonblocking(events.fd())?;
        Ok(events)
    }

    pub(super) fn fd(&self) -> RawFd {
        // SAFETY: made by `new`, destroyed with this value.
        unsafe { (*self.channel).fd }
    }

    /// The next event, or `None` when none comes in time. It is acknowledged: what is in it was copied.
    pub(super) fn next(&self, until: Instant) -> io::Result<Option<Seen>> {
        let mut event: *mut CmEvent = ptr::null_mut();
        loop {
            // SAFETY: the channel lives as long as this value.
            match checked(unsafe { (self.verbs.rdma_get_cm_event)(self.channel, &raw mut event) }) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !readable(self.fd(), until)? {
                        return Ok(None);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // SAFETY: the library filled it, and it is ours until the acknowledgement.
        let seen = unsafe {
            let event = &*event;
            let (from, length) = (event.param.private_data, usize::from(event.param.private_data_len));
            let data = if from.is_null() {
                Vec::new()
            } else {
                std::slice::from_raw_parts(from.cast::<u8>(), length).to_vec()
            };
            Seen {
                id: event.id,
                kind: event.event,
                status: event.status,
                data,
                responder_resources: event.param.responder_resources,
                initiator_depth: event.param.initiator_depth,
            }
        };
        // SAFETY: got above, not acknowledged yet.
        checked(unsafe { (self.verbs.rdma_ack_cm_event)(event) })?;
        Ok(Some(seen))
    }

    /// The library's word for an event.
    pub(super) fn word(&self, seen: &Seen) -> String {
        // SAFETY: the function returns a text that is never freed, for every number.
        let word = unsafe { CStr::from_ptr((self.verbs.rdma_event_str)(seen.kind)) };
        format!("{} (status {})", word.to_string_lossy(), seen.status)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // SAFETY: made by `new`; whoever made an id on it has destroyed it before.
        unsafe { (self.verbs.rdma_destroy_event_channel)(self.channel) };
    }
}

/// Waits until a descriptor can be read; `false` when the time is over.
pub(super) fn readable(fd: RawFd, until: Instant) -> io::Result<bool> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        // SAFETY: the callers own the descriptor for the length of the call.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        match poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

pub(super) fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: the callers own the descriptor for the length of the call.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK)?)
}

/// An address as C has it.
pub(super) fn socket_address(address: SocketAddr) -> [u8; 28] {
    let mut bytes = [0; 28];
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    bytes[..2].copy_from_slice(&(family as u16).to_ne_bytes());
    bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => bytes[4..8].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes[8..24].copy_from_slice(&ip.octets()),
    }
    bytes
}

/// The address in what C has.
pub(super) fn ip_of(bytes: &[u8; 128]) -> Option<IpAddr> {
    match i32::from(u16::from_ne_bytes([bytes[0], bytes[1]])) {
        libc::AF_INET => Some(Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]).into()),
        libc::AF_INET6 => {
            let octets: [u8; 16] = bytes[8..24].try_into().expect("16 bytes");
            Some(Ipv6Addr::from(octets).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_they_were() {
        for address in ["192.0.2.1:7471", "[2001:db8::7]:1"] {
            let address: SocketAddr = address.parse().unwrap();
            let mut storage = [0; 128];
            storage[..28].copy_from_slice(&socket_address(address));
            assert_eq!(ip_of(&storage), Some(address.ip()));
        }
        assert_eq!(ip_of(&[0; 128]), None);
    }
}
