//! Leaving changes of routing, queueing and packet filters behind, and looking for them: what `ip rule`, `tc qdisc`
//! and `iptables` would do.

use serde_json::{Value, json};

use super::{Action, done, last_errno, name_of};

pub(super) const ACTIONS: &[(&str, Action)] = &[
    ("leave-rule", |_| rule()),
    ("leave-queue", |_| queue()),
    ("leave-iptables", |_| iptables()),
    ("leave-unmounted", |_| unmounted()),
    ("look-rules", |_| Ok(json!(count(libc::RTM_GETRULE, 12)))),
    ("look-queue", |_| Ok(json!(queue_kinds()))),
];

/// The place of a device's first queue.
const ROOT: u32 = u32::MAX;
/// Number of the table that the rule points to; nothing else uses it.
const TABLE: u8 = 99;

/// A request with its fixed part and attributes.
fn message(kind: u16, flags: libc::c_int, fixed: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = fixed.to_vec();
    for (kind, value) in attributes {
        body.extend_from_slice(&((4 + value.len()) as u16).to_ne_bytes());
        body.extend_from_slice(&kind.to_ne_bytes());
        body.extend_from_slice(value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let mut bytes = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&((libc::NLM_F_REQUEST | flags) as u16).to_ne_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend(body);
    bytes
}

/// Sends a request and returns what came back at once.
fn talk(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut answer = vec![0_u8; 32 << 10];
    // SAFETY: makes a descriptor and closes it; sends a valid buffer and receives into another of the stated size.
    let got = unsafe {
        let fd = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE);
        if fd < 0 || libc::send(fd, bytes.as_ptr().cast(), bytes.len(), 0) < 0 {
            return Err(last_errno());
        }
        let got = libc::recv(fd, answer.as_mut_ptr().cast(), answer.len(), 0);
        libc::close(fd);
        got
    };
    answer.truncate(usize::try_from(got).map_err(|_| last_errno())?);
    Ok(answer)
}

/// A request that changes something: done, or the kernel's reason.
fn change(bytes: &[u8]) -> Result<Value, String> {
    let answer = talk(bytes)?;
    let errno =
        answer.get(16..20).and_then(|four| four.try_into().ok()).map_or(libc::EIO, i32::from_ne_bytes);
    if errno == 0 { Ok(json!("done")) } else { Err(name_of(-errno)) }
}

/// A rule that sends everything to a table of its own.
fn rule() -> Result<Value, String> {
    let mut fixed = [0_u8; 12];
    fixed[0] = libc::AF_INET as u8;
    fixed[4] = TABLE;
    fixed[7] = libc::RTN_UNICAST;
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL | libc::NLM_F_ACK;
    change(&message(libc::RTM_NEWRULE, flags, &fixed, &[]))
}

/// A first-in-first-out queue instead of what the device had.
fn queue() -> Result<Value, String> {
    // SAFETY: the name ends with a zero.
    let index = unsafe { libc::if_nametoindex(c"eth0".as_ptr()) };
    let mut fixed = [0_u8; 20];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[12..16].copy_from_slice(&ROOT.to_ne_bytes());
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE | libc::NLM_F_ACK;
    change(&message(libc::RTM_NEWQDISC, flags, &fixed, &[(libc::TCA_KIND, b"pfifo\0")]))
}

/// Asks for the table `filter`, which brings it to life for the whole namespace.
fn iptables() -> Result<Value, String> {
    const IPT_SO_GET_INFO: libc::c_int = 64;
    let mut info = [0_u8; 84];
    info[..6].copy_from_slice(b"filter");
    let mut length = info.len() as libc::socklen_t;
    // SAFETY: a descriptor of our own, closed again; the kernel writes at most the stated length.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW);
        if fd < 0 {
            return Err(last_errno());
        }
        let info = info.as_mut_ptr().cast();
        let result = libc::getsockopt(fd, libc::IPPROTO_IP, IPT_SO_GET_INFO, info, &raw mut length);
        let answer = done(libc::c_long::from(result));
        libc::close(fd);
        answer
    }
}

/// Takes away the mount that its own view of processes is.
fn unmounted() -> Result<Value, String> {
    // SAFETY: the path ends with a zero.
    done(libc::c_long::from(unsafe { libc::umount2(c"/proc".as_ptr(), libc::MNT_DETACH) }))
}

/// Kinds of the messages of a dump, with their bodies.
fn dump(kind: u16, fixed: usize) -> Vec<Vec<u8>> {
    let Ok(bytes) = talk(&message(kind, libc::NLM_F_DUMP, &vec![0; fixed], &[])) else { return Vec::new() };
    let mut found = Vec::new();
    let mut rest = bytes.as_slice();
    while rest.len() >= 16 {
        let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        let kind = u16::from_ne_bytes([rest[4], rest[5]]);
        if length < 16 || length > rest.len() || kind == libc::NLMSG_DONE as u16 {
            break;
        }
        found.push(rest[16..length].to_vec());
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
    }
    found
}

fn count(kind: u16, fixed: usize) -> usize {
    dump(kind, fixed).len()
}

/// Kinds of queues, as text somewhere in their messages.
fn queue_kinds() -> Vec<bool> {
    let has = |body: &Vec<u8>| body.windows(6).any(|six| six == b"pfifo\0");
    dump(libc::RTM_GETQDISC, 20).iter().map(has).collect()
}
