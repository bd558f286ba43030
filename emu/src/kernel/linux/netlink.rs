//! Netlink: messages built and sent in batches, answers read. Only what sandboxes need.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Room for one datagram of a dump.
const ROOM: usize = 32 << 10;
const HEADER: usize = 16;

/// A message under construction.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A request of this kind with its fixed part.
    pub(crate) fn new(kind: u16, flags: i32, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&((flags | libc::NLM_F_REQUEST) as u16).to_ne_bytes());
        bytes.extend_from_slice(fixed);
        pad(&mut bytes);
        Self { bytes }
    }

    /// Adds an attribute.
    pub(crate) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        self.add(kind, value);
        self
    }

    /// Adds attributes inside an attribute; `fixed` comes before them.
    pub(crate) fn with_nested(mut self, kind: u16, fixed: &[u8], inside: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(fixed);
        pad(&mut self.bytes);
        let mut done = inside(self);
        let length = (done.bytes.len() - start) as u16;
        done.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        done.bytes[start + 2..start + 4].copy_from_slice(&kind.to_ne_bytes());
        done
    }

    fn add(&mut self, kind: u16, value: &[u8]) {
        let length = (4 + value.len()) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        pad(&mut self.bytes);
    }

    fn finish(&mut self, sequence: u32) {
        let length = self.bytes.len() as u32;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
    }

    fn set_flags(&mut self, flags: i32) {
        let old = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]);
        self.bytes[6..8].copy_from_slice(&(old | flags as u16).to_ne_bytes());
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Messages as they are sent, numbered from `first` on, each to be answered.
pub(crate) fn encode(batch: &mut [Message], first: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, message) in (first..).zip(batch) {
        message.set_flags(libc::NLM_F_ACK);
        message.finish(number);
        bytes.extend_from_slice(&message.bytes);
    }
    bytes
}

/// A connection to the kernel, in the network namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    room: Vec<u8>,
}

impl Netlink {
    /// Opens it for a family (`NETLINK_ROUTE`, …).
    pub(crate) fn open(family: libc::c_int) -> io::Result<Self> {
        // SAFETY: makes a descriptor that nobody else knows.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, family) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { socket, sequence: 0, room: vec![0; ROOM] })
    }

    /// Opens it for the announcements of these groups.
    pub(crate) fn subscribe(family: libc::c_int, groups: &[u32]) -> io::Result<Self> {
        let netlink = Self::open(family)?;
        for group in groups {
            let size = size_of::<u32>() as libc::socklen_t;
            let (level, option) = (libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP);
            // SAFETY: the option takes a number of this size.
            let result = unsafe {
                let group = std::ptr::from_ref(group).cast();
                libc::setsockopt(netlink.socket.as_raw_fd(), level, option, group, size)
            };
            if result < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(netlink)
    }

    /// Whether anything was announced since the last call; more than there was room for is something, too.
    pub(crate) fn any(&mut self) -> io::Result<bool> {
        let mut any = false;
        loop {
            // SAFETY: a valid buffer of that length; what does not fit is cut off.
            let got = unsafe {
                let room = self.room.as_mut_ptr().cast();
                libc::recv(self.socket.as_raw_fd(), room, self.room.len(), libc::MSG_DONTWAIT)
            };
            if got < 0 {
                let error = io::Error::last_os_error();
                match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(any),
                    Some(libc::ENOBUFS | libc::EINTR) => {}
                    _ => return Err(error),
                }
            }
            any = true;
        }
    }

    /// Sends messages at once and waits for an answer to each: the first error counts, with its place.
    pub(crate) fn send(&mut self, mut batch: Vec<Message>) -> Result<(), (usize, io::Error)> {
        let first = self.sequence + 1;
        self.sequence += batch.len() as u32;
        let bytes = encode(&mut batch, first);
        self.write(&bytes).map_err(|error| (0, error))?;
        let mut fault = None;
        let mut answered = 0;
        while answered < batch.len() {
            self.read(|kind, sequence, body| {
                if kind == libc::NLMSG_ERROR as u16 && sequence >= first {
                    answered += 1;
                    let errno = i32_at(body, 0);
                    if errno != 0 && fault.is_none() {
                        let at = (sequence - first) as usize;
                        fault = Some((at, io::Error::from_raw_os_error(-errno)));
                    }
                }
                true
            })
            .map_err(|error| (answered, error))?;
        }
        fault.map_or(Ok(()), Err)
    }

    /// Sends a question and gives each answer to `see`: its kind and what follows the header.
    pub(crate) fn dump(&mut self, mut question: Message, mut see: impl FnMut(u16, &[u8])) -> io::Result<()> {
        self.sequence += 1;
        let expected = self.sequence;
        question.set_flags(libc::NLM_F_DUMP);
        question.finish(expected);
        self.write(&question.bytes)?;
        let mut done = false;
        let mut fault = None;
        while !done {
            self.read(|kind, sequence, body| {
                if sequence != expected {
                    return true;
                }
                if kind == libc::NLMSG_DONE as u16 || kind == libc::NLMSG_ERROR as u16 {
                    done = true;
                    let errno = if body.len() >= 4 { i32_at(body, 0) } else { 0 };
                    if errno < 0 {
                        fault = Some(io::Error::from_raw_os_error(-errno));
                    }
                    return false;
                }
                see(kind, body);
                true
            })?;
        }
        fault.map_or(Ok(()), Err)
    }

    /// Sends a question that has one answer.
    pub(crate) fn ask(&mut self, mut question: Message) -> io::Result<(u16, Vec<u8>)> {
        self.sequence += 1;
        let expected = self.sequence;
        question.finish(expected);
        self.write(&question.bytes)?;
        let mut answer = None;
        while answer.is_none() {
            self.read(|kind, sequence, body| {
                if sequence == expected {
                    answer = Some(if kind == libc::NLMSG_ERROR as u16 {
                        Err(io::Error::from_raw_os_error(-i32_at(body, 0)))
                    } else {
                        Ok((kind, body.to_vec()))
                    });
                }
                true
            })?;
        }
        answer.expect("the loop ends with an answer")
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        // SAFETY: a valid buffer of that length.
        let sent = unsafe {
            libc::send(self.socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Reads one datagram: `see(kind, sequence, body)` for each message in it, until it says no.
    fn read(&mut self, mut see: impl FnMut(u16, u32, &[u8]) -> bool) -> io::Result<()> {
        let got = loop {
            // SAFETY: a valid buffer of that length.
            let got = unsafe {
                libc::recv(self.socket.as_raw_fd(), self.room.as_mut_ptr().cast(), self.room.len(), 0)
            };
            if got >= 0 {
                break got as usize;
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        };
        let mut rest = &self.room[..got];
        while rest.len() >= HEADER {
            let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            if length < HEADER || length > rest.len() {
                return Err(io::Error::from_raw_os_error(libc::EBADMSG));
            }
            let kind = u16::from_ne_bytes([rest[4], rest[5]]);
            let sequence = u32::from_ne_bytes([rest[8], rest[9], rest[10], rest[11]]);
            if !see(kind, sequence, &rest[HEADER..length]) {
                return Ok(());
            }
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
        Ok(())
    }
}

/// The attributes in these bytes: kind without its flag bits, and value.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        if bytes.len() < 4 {
            return None;
        }
        let length = usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        if length < 4 || length > bytes.len() {
            return None;
        }
        let kind = u16::from_ne_bytes([bytes[2], bytes[3]]) & 0x3fff;
        let value = &bytes[4..length];
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
        Some((kind, value))
    })
}

/// The signed number at this place; 0 beyond the end.
pub(crate) fn i32_at(bytes: &[u8], at: usize) -> i32 {
    bytes.get(at..at + 4).map_or(0, |four| i32::from_ne_bytes(four.try_into().expect("four bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_out() {
        let message = Message::new(16, 0, &[7; 16])
            .with(3, b"eth0\0")
            .with_nested(18, &[], |inside| inside.with(1, b"veth"));
        let found: Vec<_> = attributes(&message.bytes[HEADER + 16..]).collect();
        assert_eq!(found[0], (3, b"eth0\0".as_slice()));
        assert_eq!(found[1].0, 18);
        assert_eq!(attributes(found[1].1).collect::<Vec<_>>(), [(1, b"veth".as_slice())]);
    }

    #[test]
    fn links_can_be_listed() {
        let mut route = Netlink::open(libc::NETLINK_ROUTE).unwrap();
        let mut links = 0;
        route.dump(Message::new(libc::RTM_GETLINK, 0, &[0; 16]), |_, _| links += 1).unwrap();
        assert!(links >= 1, "there is always lo");
    }

    #[test]
    fn an_error_names_the_message() {
        let mut route = Netlink::open(libc::NETLINK_ROUTE).unwrap();
        let name = |name: &str| Message::new(libc::RTM_DELLINK, 0, &[0; 16]).with(3, name.as_bytes());
        let (at, error) = route.send(vec![name("trenvx-no-such\0")]).unwrap_err();
        assert_eq!(at, 0);
        assert!(matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EPERM)), "{error}");
    }
}
