//! Options of sockets: those that were changed are carried along or refused by name.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const TCP: i32 = libc::IPPROTO_TCP;
const SOCKET: i32 = libc::SOL_SOCKET;
/// Options that are set again.
const CARRIED: [(i32, i32); 20] = [
    (SOCKET, libc::SO_REUSEADDR),
    (SOCKET, libc::SO_REUSEPORT),
    (SOCKET, libc::SO_KEEPALIVE),
    (SOCKET, libc::SO_BROADCAST),
    (SOCKET, libc::SO_OOBINLINE),
    (SOCKET, libc::SO_PRIORITY),
    (SOCKET, libc::SO_RCVLOWAT),
    (SOCKET, libc::SO_PASSCRED),
    (SOCKET, libc::SO_TIMESTAMP),
    (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
    (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS),
    (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
    (libc::IPPROTO_IP, libc::IP_TTL),
    (libc::IPPROTO_IP, libc::IP_TOS),
    (TCP, libc::TCP_NODELAY),
    (TCP, libc::TCP_KEEPIDLE),
    (TCP, libc::TCP_KEEPINTVL),
    (TCP, libc::TCP_KEEPCNT),
    (TCP, libc::TCP_DEFER_ACCEPT),
    (TCP, libc::TCP_USER_TIMEOUT),
];
/// Options that cannot be set again as they were.
const REFUSED: [(i32, i32, &str); 8] = [
    (SOCKET, libc::SO_LINGER, "SO_LINGER"),
    (SOCKET, libc::SO_RCVTIMEO, "SO_RCVTIMEO"),
    (SOCKET, libc::SO_SNDTIMEO, "SO_SNDTIMEO"),
    (SOCKET, libc::SO_MARK, "SO_MARK"),
    (SOCKET, libc::SO_BINDTODEVICE, "SO_BINDTODEVICE"),
    (SOCKET, libc::SO_GET_FILTER, "SO_ATTACH_FILTER"),
    (TCP, libc::TCP_FASTOPEN, "TCP_FASTOPEN"),
    (TCP, libc::TCP_CONGESTION, "TCP_CONGESTION"),
];
/// Which buffers have a size of their own, and the option for each bit.
const LOCKED: i32 = 72;
const BUFFERS: [(i32, i32); 2] = [(1, libc::SO_SNDBUF), (2, libc::SO_RCVBUF)];

/// Options that differ from those of a new socket: level, name, value.
///
/// # Errors
/// The name of one that cannot be carried along, or why this cannot be told.
pub(super) fn options(
    socket: &OwnedFd,
    family: u32,
    kind: u32,
    protocol: u32,
) -> Result<Vec<(i32, i32, i32)>, String> {
    // SAFETY: numbers.
    let made = unsafe { libc::socket(family as i32, kind as i32 | libc::SOCK_CLOEXEC, protocol as i32) };
    if made < 0 {
        return Err(format!("has unknown options ({})", io::Error::last_os_error()));
    }
    // SAFETY: a new descriptor of ours.
    let new = unsafe { OwnedFd::from_raw_fd(made) };
    for (level, name, label) in REFUSED {
        if get(socket, level, name) != get(&new, level, name) {
            return Err(format!("has the option {label}"));
        }
    }
    let mut found = Vec::new();
    for (level, name) in CARRIED {
        if let Some(value) =
            get(socket, level, name).filter(|value| Some(value) != get(&new, level, name).as_ref())
        {
            found.push((level, name, number(&value)));
        }
    }
    let locked = get(socket, SOCKET, LOCKED).map_or(0, |value| number(&value));
    for (_, name) in BUFFERS.iter().filter(|(bit, _)| locked & bit != 0) {
        // The kernel doubles what it is told.
        let value = get(socket, SOCKET, *name).map_or(0, |value| number(&value));
        found.push((SOCKET, *name, value / 2));
    }
    Ok(found)
}

fn number(bytes: &[u8]) -> i32 {
    bytes
        .first_chunk()
        .map_or(i32::from(bytes.first().copied().unwrap_or(0)), |bytes| i32::from_le_bytes(*bytes))
}

/// Bytes of an option; nothing where the socket does not have it.
fn get(socket: &OwnedFd, level: i32, name: i32) -> Option<Vec<u8>> {
    let mut bytes = vec![0_u8; 64];
    // The length of a filter is in instructions, and none is asked for.
    let mut length = if name == libc::SO_GET_FILTER && level == SOCKET { 0 } else { bytes.len() as u32 };
    // SAFETY: room for as many bytes as its length says.
    let got = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, bytes.as_mut_ptr().cast(), &raw mut length)
    };
    if name == libc::SO_GET_FILTER && level == SOCKET {
        return (got == 0).then(|| length.to_le_bytes().to_vec());
    }
    bytes.truncate(length as usize);
    (got == 0).then_some(bytes)
}
