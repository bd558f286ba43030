//! CRIU as a way to bring a function back: a plain dump of a warm function, and restores of it, with all pages at once,
//! with pages on demand (`lazy-pages`), or with pages that are mapped from a template (rewritten images). It is a rival
//! of attached templates, and the second engine for what those cannot capture.
//!
//! * [`program`]: which CRIU. [`dump`]: from a process to images. [`restore`]: from images to a process.
//! * `images`: their format, as far as rewriting needs it. `rewrite`: images whose memory is mapped.
//!
//! A restored function has mount, process, IPC and UTS namespaces and a root of its own, all made anew for it; it has
//! no network namespace, no limits, and all capabilities. Its protocol goes through two named pipes, which CRIU opens
//! again by their paths.
//!
//! # What rewritten images are not
//!
//! Nobody guards a process of rewritten images: memory that it drops (`MADV_DONTNEED`) shows the template's bytes
//! again, and areas that it grows run into the next bytes of the file (`template/mod.rs` has the table). Functions
//! that answer rightly here do neither, or do not count on zeros.

pub mod dump;
mod images;
pub mod program;
pub mod restore;
mod rewrite;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

pub use dump::Dump;
pub use program::Criu;
pub use restore::{Restored, Way};

use serde_json::Value;

use crate::functions::{Client, ClientError, Input};

/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(120);
/// Named pipes of the protocol, in the function's root.
const TO: &str = "to-function";
const FROM: &str = "from-function";

/// Why a function could not be dumped or restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A step failed.
    #[error("cannot {step}: {why}")]
    Step {
        /// What was being done.
        step: &'static str,
        /// Why not.
        why: io::Error,
    },
    /// The image or the layers are not there.
    #[error(transparent)]
    Function(#[from] crate::functions::Error),
    /// A folder for images cannot be made.
    #[error(transparent)]
    Folder(#[from] crate::template::Error),
    /// CRIU did not do it.
    #[error("criu {command}: {said}")]
    Criu {
        /// Its subcommand.
        command: &'static str,
        /// The last errors of its log.
        said: String,
    },
    /// Images are not as they are known to be.
    #[error("{image}: {what}")]
    Image {
        /// The image's file.
        image: String,
        /// What is wrong with it.
        what: String,
    },
    /// The function does not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It answers, and wrongly.
    #[error("{0}")]
    Wrong(String),
}

fn step(step: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |why| Error::Step { step, why }
}

/// Both ends of the protocol.
#[derive(Debug)]
pub struct Pipes {
    to: File,
    from: File,
}

impl Pipes {
    /// Opened for both ways, so that neither side sees an end when the other is away.
    fn open(root: &Path) -> Result<Self, Error> {
        let open = |name| {
            File::options().read(true).write(true).open(root.join(name)).map_err(step("open a named pipe"))
        };
        Ok(Self { to: open(TO)?, from: open(FROM)? })
    }
}

impl Read for Pipes {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.from.read(into)
    }
}

impl Write for Pipes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl AsFd for Pipes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.from.as_fd()
    }
}

fn call(client: &mut Client<Pipes>, input: &Input) -> Result<Value, Error> {
    let reply = client.call(&input.input, WITHIN)?;
    let faults = input.faults(&reply.output);
    if faults.is_empty() { Ok(reply.output) } else { Err(Error::Wrong(faults.join("; "))) }
}
