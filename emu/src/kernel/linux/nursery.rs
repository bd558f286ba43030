//! The manager's side of the nursery.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::super::Init;
use crate::sandbox::nursery_argument;
use crate::sandbox::wire::{Birth, Born, pair, receive, send};

/// A running nursery.
#[derive(Debug)]
pub(super) struct Nursery {
    child: Child,
    /// Closes first, so that the child ends.
    socket: Option<OwnedFd>,
    patience: Duration,
}

impl Nursery {
    /// Starts it and waits until it is ready.
    pub(super) fn start(launcher: &Path, patience: Duration) -> io::Result<Self> {
        let (ours, theirs) = bounded(patience)?;
        let child = Command::new(launcher)
            .arg(nursery_argument())
            .env_clear()
            // A process that is filled with another's memory must not have the kernel write to a place of its old
            // one, so the C library registers none.
            .env("GLIBC_TUNABLES", "glibc.pthread.rseq=0")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()?;
        let nursery = Self { child, socket: Some(ours), patience };
        match receive::<Born>(nursery.socket()?)? {
            Some((Born::Yes { .. }, _)) => Ok(nursery),
            Some((Born::No(fault), _)) => Err(io::Error::new(fault.source().kind(), fault.step)),
            None => Err(io::Error::other(format!(
                "{} did not become a nursery: does it call enter_if_asked first?",
                launcher.display()
            ))),
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    fn socket(&self) -> io::Result<&OwnedFd> {
        self.socket.as_ref().ok_or_else(|| io::Error::from_raw_os_error(libc::EPIPE))
    }

    /// A new init.
    pub(super) fn bear(&mut self, network_namespace: bool) -> io::Result<Init> {
        let (control, theirs) = bounded(self.patience)?;
        send(self.socket()?, &Birth { network_namespace }, &[theirs.as_fd()])?;
        drop(theirs);
        let answer = receive::<Born>(self.socket()?);
        if answer.is_err() {
            // An answer that comes later would be taken for that of the next birth.
            self.socket = None;
        }
        match answer? {
            Some((Born::Yes { pid }, mut descriptors)) if !descriptors.is_empty() => {
                Ok(Init { pid, process: descriptors.swap_remove(0), control })
            }
            Some((Born::No(fault), _)) => Err(fault.source()),
            _ => Err(io::Error::from_raw_os_error(libc::EPIPE)),
        }
    }
}

/// A pair of which our end does not wait longer than `patience`: not for an answer, nor for room.
fn bounded(patience: Duration) -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = pair()?;
    for kind in [Timeout::Recv, Timeout::Send] {
        set_socket_timeout(&ours, kind, Some(patience))?;
    }
    Ok((ours, theirs))
}

impl Drop for Nursery {
    fn drop(&mut self) {
        drop(self.socket.take());
        // It ends by itself; killing it only makes that sure.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
