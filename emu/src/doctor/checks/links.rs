//! Network links of sandboxes: a bridge and pairs on it.

use std::os::fd::AsRawFd;

use rustix::io::Errno;
use rustix::thread::UnshareFlags;

use super::child::{At, check, check_fd, run};
use super::namespaces::enter;
use super::private::finding;
use super::{Finding, Host};
use crate::kernel::linux::probe_of_links;

const FIX: &str = "use Linux 4.18 or later and load the modules (modprobe bridge veth)";

/// A bridge can be made in a network namespace, with a veth pair on it whose port is isolated.
pub(super) fn veth_bridge(_: &Host) -> Finding {
    let (parts, request) = probe_of_links();
    let outcome = run(|| {
        let means = enter(UnshareFlags::NEWNET, "unshare net")?;
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: makes a descriptor.
        let socket = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
        let socket = check_fd(i64::from(socket), "open netlink")?;
        // SAFETY: a valid buffer of that length.
        let sent = unsafe { libc::send(socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
        check(sent as i64, "send a request")?;
        for part in parts {
            answer(socket.as_raw_fd()).at(part)?;
        }
        Ok(means as u64)
    });
    finding(&outcome, "a bridge, a pair on it, its port isolated", FIX)
}

/// The next answer: the error in it.
fn answer(socket: i32) -> rustix::io::Result<()> {
    /// Of the error behind the header.
    const AT: usize = 16;
    let mut room = [0_u8; 1024];
    // SAFETY: a valid buffer of that length.
    let got = unsafe { libc::recv(socket, room.as_mut_ptr().cast(), room.len(), 0) };
    if got < (AT + 4) as isize {
        return Err(Errno::BADMSG);
    }
    match i32::from_ne_bytes([room[AT], room[AT + 1], room[AT + 2], room[AT + 3]]) {
        0 => Ok(()),
        error => Err(Errno::from_raw_os_error(-error)),
    }
}
