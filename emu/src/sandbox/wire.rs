//! Messages between manager, nursery and inits: one datagram each, descriptors beside it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;
use super::program::{Confinement, Start};
use super::steps::Step;

/// Longest message, bytes: arguments and environment of a program must fit.
const LONGEST: usize = 128 << 10;
/// Most descriptors with one message: the kernel's limit is 253.
const DESCRIPTORS: usize = 240;

/// Asks the nursery for a new init. With it comes the end of the control socket that the init is to hold.
#[derive(Debug, Serialize, Deserialize)]
pub struct Birth {
    /// With a network namespace of its own.
    pub network_namespace: bool,
}

/// The nursery's answer; with it comes the descriptor of the new process.
#[derive(Debug, Serialize, Deserialize)]
pub enum Born {
    /// It lives and has this number in the host.
    Yes {
        /// The number.
        pid: i32,
    },
    /// It does not.
    No(Fault),
}

/// What an init is asked to do, in this order.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Order {
    /// Enter the network namespace that comes as the first descriptor.
    pub enter_network: bool,
    /// Settings of a new network namespace.
    pub network: Option<NetworkOrder>,
    /// Kill the function, if there is one.
    pub kill: bool,
    /// Forget the function without killing it: only for suites.
    pub abandon: bool,
    /// Look at the network namespace, and whether the cgroup has members. If that is not as it was when first looked
    /// at, nothing is started.
    pub check: Option<CheckOrder>,
    /// Start a function. Descriptors: root tree, channel, log; then the cgroup if it is born in one, or the
    /// files of its migrations; then what a routine is given.
    pub start: Option<StartOrder>,
}

/// Addresses of the inside end.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct NetworkOrder {
    /// The address.
    pub address: Ipv4Addr,
    /// Length of the network's prefix.
    pub prefix: u8,
    /// The bridge.
    pub gateway: Ipv4Addr,
}

/// How thoroughly to look.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct CheckOrder {
    /// Also read every setting under `/proc/sys/net`.
    pub settings: bool,
    /// If sockets or neighbours are found, destroy and forget them, and look again.
    pub reset: bool,
    /// The list of members of the cgroup comes along, before the descriptors of a start, and is kept.
    pub members: bool,
}

/// A function to be started.
#[derive(Debug, Serialize, Deserialize)]
pub struct StartOrder {
    /// What runs.
    pub start: Start,
    /// `NAME=value`, the whole environment.
    pub env: Vec<String>,
    /// Folder to start in.
    pub cwd: String,
    /// Host name.
    pub hostname: String,
    /// What it may do.
    pub confinement: Confinement,
    /// What it shares with its predecessors.
    pub keep: Keep,
    /// A cgroup comes along to be born in.
    pub into_cgroup: bool,
    /// So many files come along that the new process writes itself into, to move to its cgroups after birth.
    pub migrations: usize,
    /// So many descriptors come along that a routine finds from [`super::GIVEN`] on.
    pub given: usize,
    /// A new session keyring.
    pub keyring: bool,
    /// Close every descriptor but the three.
    pub close_descriptors: bool,
}

/// Which namespaces of the sandbox's first function later ones enter, instead of new ones. Used for the published
/// way of repurposing, which keeps all four, and by suites that show what a new one is good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// With the root: only the tree at `/home/app` is swapped.
    pub mounts: bool,
    /// System V and POSIX queues, semaphores, shared memory.
    pub ipc: bool,
    /// Host name.
    pub uts: bool,
    /// View of the cgroups.
    pub cgroup: bool,
}

impl Keep {
    /// As published.
    pub const ALL: Self = Self { mounts: true, ipc: true, uts: true, cgroup: true };
}

/// What an init has done.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    /// The first thing that failed; nothing after it was done.
    pub fault: Option<Fault>,
    /// Nanoseconds of each step.
    pub steps: Vec<(Step, u64)>,
    /// How the sandbox looks, if asked.
    pub fingerprint: Option<Fingerprint>,
    /// A function was started; with the answer comes the descriptor of its process.
    pub started: bool,
}

/// A step that failed inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What was being done.
    pub step: String,
    /// The kernel's reason.
    pub errno: i32,
}

impl Fault {
    /// A fault at `step`.
    #[must_use]
    pub fn new(step: &str, errno: Errno) -> Self {
        Self { step: step.to_owned(), errno: errno.raw_os_error() }
    }

    /// The error number as an error.
    #[must_use]
    pub fn source(&self) -> io::Error {
        io::Error::from_raw_os_error(self.errno)
    }
}

/// Names the step when a call fails.
pub trait At<T> {
    /// The value, or a fault at `step`.
    #[allow(clippy::missing_errors_doc, reason = "passes its own error on")]
    fn at(self, step: &str) -> Result<T, Fault>;
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at(self, step: &str) -> Result<T, Fault> {
        self.map_err(|errno| Fault::new(step, errno))
    }
}

impl<T> At<T> for io::Result<T> {
    fn at(self, step: &str) -> Result<T, Fault> {
        self.map_err(|error| Fault { step: step.to_owned(), errno: error.raw_os_error().unwrap_or(0) })
    }
}

/// Two connected sockets that keep messages apart.
pub fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::sockopt::set_socket_send_buffer_size(&ours, LONGEST * 2)?;
    Ok((ours, theirs))
}

/// Sends a message and descriptors.
///
/// # Errors
/// `EMSGSIZE` if it is too long; `EPIPE` if the other side is gone.
pub fn send<T: Serialize>(to: impl AsFd, message: &T, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message).map_err(io::Error::other)?;
    if bytes.len() > LONGEST {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    loop {
        match rustix::net::sendmsg(&to, &[IoSlice::new(&bytes)], &mut beside, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            result => return result.map(|_| ()).map_err(Into::into),
        }
    }
}

/// Waits for a message and its descriptors; `None` when the other side is gone.
///
/// # Errors
/// If the message is not of this kind.
pub fn receive<T: DeserializeOwned>(from: impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    ROOM.with_borrow_mut(|room| {
        // Once per thread: a fresh buffer of this size costs more than the message.
        room.resize(LONGEST, 0);
        receive_into(&from, room)
    })
}

thread_local! {
    static ROOM: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Waits for a message of bytes and a descriptor beside it; no bytes when the other side is gone.
///
/// # Errors
/// As the kernel says.
pub fn receive_bytes(from: impl AsFd, bytes: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let (got, mut descriptors) = receive_raw(&from, bytes)?;
    Ok((got, descriptors.pop()))
}

fn receive_into<T: DeserializeOwned>(
    from: &impl AsFd,
    bytes: &mut [u8],
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let (got, descriptors) = receive_raw(from, bytes)?;
    if got == 0 {
        return Ok(None);
    }
    let message = serde_json::from_slice(&bytes[..got]).map_err(io::Error::other)?;
    Ok(Some((message, descriptors)))
}

fn receive_raw(from: &impl AsFd, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        let into = &mut [IoSliceMut::new(bytes)];
        match rustix::net::recvmsg(from, into, &mut beside, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) => return Ok((0, Vec::new())),
            // Sockets that wait for ever never say this.
            Err(Errno::AGAIN) => return Err(Errno::TIMEDOUT.into()),
            result => break result?,
        }
    };
    let mut descriptors = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    Ok((got.bytes, descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_brings_its_descriptors() {
        let (ours, theirs) = pair().unwrap();
        let (reader, writer) = io::pipe().unwrap();
        send(&ours, &Birth { network_namespace: true }, &[writer.as_fd()]).unwrap();
        drop(writer);
        let (birth, descriptors) = receive::<Birth>(&theirs).unwrap().unwrap();
        assert!(birth.network_namespace);
        rustix::io::write(&descriptors[0], b"x").unwrap();
        let mut byte = [0];
        assert_eq!(rustix::io::read(&reader, &mut byte), Ok(1));
    }

    #[test]
    fn the_end_of_the_other_side_is_an_answer() {
        let (ours, theirs) = pair().unwrap();
        drop(ours);
        assert!(receive::<Birth>(&theirs).unwrap().is_none());
    }

    #[test]
    fn a_message_that_is_too_long_is_refused() {
        let (ours, _theirs) = pair().unwrap();
        let error = send(&ours, &"x".repeat(LONGEST), &[]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
    }
}
