//! What can go wrong with microVMs.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::sandbox::LimitMet;

/// A failure, with what it means for the guest.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing to boot.
    #[error("{}: {why}; make it with scripts/setup --vm", folder.display())]
    NoImage {
        /// Where it should be.
        folder: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A template that cannot be used here.
    #[error("template {name}: {why}")]
    Refused {
        /// Its name.
        name: String,
        /// Why not.
        why: String,
    },
    /// The VMM's program does not run.
    #[error("cannot run qemu-system-x86_64 (scripts/setup --vm installs it): {0}")]
    NoVmm(#[source] io::Error),
    /// No sandbox for the VMM.
    #[error(transparent)]
    Sandbox(#[from] crate::sandbox::Error),
    /// This machine has too little memory for what was asked.
    #[error(
        "for {what}, {needs_mib} MiB of memory are needed with all that goes with it, and {has_mib} MiB are available: free some, or ask for fewer or smaller ones"
    )]
    NoRoom {
        /// What was to be started.
        what: String,
        /// What it needs.
        needs_mib: u64,
        /// What is there.
        has_mib: u64,
    },
    /// A system call failed.
    #[error("cannot {step}: {source}")]
    System {
        /// What was being done.
        step: String,
        /// Why not.
        source: io::Error,
    },
    /// The VMM refused a command.
    #[error("the VMM refused {command}: {why}")]
    Vmm {
        /// The command.
        command: String,
        /// In its words.
        why: String,
    },
    /// The VMM is gone.
    #[error("the VMM ended {when}{}{}", limits(met), ended(log))]
    Ended {
        /// What was being done.
        when: String,
        /// Limits of its sandbox that it met.
        met: Vec<LimitMet>,
        /// The end of what it wrote.
        log: String,
    },
    /// The guest's kernel gave up.
    #[error("the guest's kernel panicked {when}: {message}")]
    Panicked {
        /// What was being done.
        when: String,
        /// What its console said.
        message: String,
    },
    /// The guest lives, but did not answer in time.
    #[error("the guest did not answer within {within:?} {when}; its console ends: {console}")]
    Late {
        /// What was being done.
        when: String,
        /// The time limit.
        within: Duration,
        /// The end of its console.
        console: String,
    },
    /// The guest's writable layer is full.
    #[error("the guest's writable layer is full ({when}): make it larger than {bytes} bytes")]
    Full {
        /// What was being done.
        when: String,
        /// Its size.
        bytes: u64,
    },
    /// The agent answered with an error of its own.
    #[error("the agent failed {when}: {why}")]
    Agent {
        /// What was being done.
        when: String,
        /// In its words.
        why: String,
    },
}

impl Error {
    /// Whether this machine lacks something: a set-up, memory, a right.
    #[must_use]
    pub fn is_lack(&self) -> bool {
        let unable = |source: &io::Error| {
            matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
        };
        match self {
            Self::NoImage { .. } | Self::NoRoom { .. } => true,
            Self::NoVmm(source) | Self::Sandbox(crate::sandbox::Error::SetUp { source, .. }) => {
                unable(source)
            }
            _ => false,
        }
    }

    /// Names the step of a failed system call.
    pub(crate) fn at(step: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let step = step.into();
        move |source| Self::System { step, source }
    }
}

fn limits(met: &[LimitMet]) -> String {
    met.iter().map(|met| format!("; {met}")).collect()
}

fn ended(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!("; its log ends: {log}") }
}
