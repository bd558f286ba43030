//! The manager's side of the nursery.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::super::Init;
use crate::sandbox::nursery_argument;
use crate::sandbox::wire::{Birth, Born, pair, receive, send};

/// A running nursery.
#[derive(Debug)]
pub(super) struct Nursery {
    child: Child,
    /// Closes first, so that the child ends.
    socket: Option<OwnedFd>,
}

impl Nursery {
    /// Starts it and waits until it is ready.
    pub(super) fn start(launcher: &Path) -> io::Result<Self> {
        let (ours, theirs) = pair()?;
        let child = Command::new(launcher)
            .arg(nursery_argument())
            .env_clear()
            // A process that is filled with another's memory must not have the kernel write to a place of its old
            // one, so the C library registers none.
            .env("GLIBC_TUNABLES", "glibc.pthread.rseq=0")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()?;
        let nursery = Self { child, socket: Some(ours) };
        match receive::<Born>(nursery.socket())? {
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

    fn socket(&self) -> &OwnedFd {
        self.socket.as_ref().expect("open as long as it lives")
    }

    /// A new init.
    pub(super) fn bear(&mut self, network_namespace: bool) -> io::Result<Init> {
        let (control, theirs) = pair()?;
        send(self.socket(), &Birth { network_namespace }, &[theirs.as_fd()])?;
        drop(theirs);
        match receive::<Born>(self.socket())? {
            Some((Born::Yes { pid }, mut descriptors)) if !descriptors.is_empty() => {
                Ok(Init { pid, process: descriptors.swap_remove(0), control })
            }
            Some((Born::No(fault), _)) => Err(fault.source()),
            _ => Err(io::Error::from_raw_os_error(libc::EPIPE)),
        }
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        drop(self.socket.take());
        // It ends by itself; killing it only makes that sure.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
