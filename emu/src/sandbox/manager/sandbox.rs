//! One sandbox: what it consists of, what runs in it, which limits it has met.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::function::Function;
use super::shared::Shared;
use crate::kernel::{Cgroup, Init, Usage};
use crate::sandbox::error::Error;
use crate::sandbox::fingerprint::Fingerprint;
use crate::sandbox::program::Limits;
use crate::sandbox::steps::Steps;

/// The isolated place that runs at most one function at a time. Dropping it gives it to the manager to be
/// destroyed.
#[derive(Debug)]
pub struct Sandbox {
    pub(super) parts: Parts,
    /// What runs in it.
    pub(super) function: Option<Function>,
    pub(super) limits: Limits,
    /// How its network namespace looked when new; only where it is to be used again.
    pub(super) first: Fingerprint,
    /// Counters of the cgroup when the present function started.
    pub(super) before: Usage,
    pub(super) steps: Steps,
    pub(super) shared: Arc<Shared>,
}

impl Sandbox {
    /// Its number, by which its things in the kernel are named.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.parts.number
    }

    /// The function; `None` after [`super::Manager::vacate`].
    #[must_use]
    pub fn function(&self) -> Option<&Function> {
        self.function.as_ref()
    }

    /// The function, to talk to it.
    pub fn function_mut(&mut self) -> Option<&mut Function> {
        self.function.as_mut()
    }

    /// The steps of the last start.
    #[must_use]
    pub fn steps(&self) -> &Steps {
        &self.steps
    }

    /// The number of the init in the host: its namespaces are under `/proc/PID/ns`.
    #[must_use]
    pub fn init_pid(&self) -> Option<i32> {
        self.parts.init.as_ref().map(|init| init.pid)
    }

    /// Its network namespace, where it has a network.
    #[must_use]
    pub fn network_namespace(&self) -> Option<BorrowedFd<'_>> {
        self.parts.network.as_ref().map(|network| network.namespace.as_fd())
    }

    /// Its address, where it has a network.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.parts.network.as_ref().map(|network| self.shared.address(network.number))
    }

    /// Its directory in cgroup v2.
    #[must_use]
    pub fn cgroup(&self) -> Option<BorrowedFd<'_>> {
        self.parts.cgroup.as_ref().map(AsFd::as_fd)
    }

    /// Limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What the present function has used: numbers that only grow are counted from its start.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn usage(&self) -> Result<Usage, Error> {
        let mut usage = self.raw_usage()?;
        usage.memory_kills -= self.before.memory_kills.min(usage.memory_kills);
        usage.pids_refused -= self.before.pids_refused.min(usage.pids_refused);
        usage.cpu_held_back -= self.before.cpu_held_back.min(usage.cpu_held_back);
        usage.cpu_us -= self.before.cpu_us.min(usage.cpu_us);
        Ok(usage)
    }

    fn raw_usage(&self) -> Result<Usage, Error> {
        let Some(cgroup) = &self.parts.cgroup else { return Ok(Usage::default()) };
        self.shared.kernel.usage(cgroup).map_err(|source| self.parts.fault("read its usage", source))
    }

    /// Limits that the present function has met.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn limits_met(&self) -> Result<Vec<LimitMet>, Error> {
        let usage = self.usage()?;
        let mut met = Vec::new();
        if usage.memory_kills > 0 {
            met.push(LimitMet::Memory { bytes: self.limits.memory_bytes.unwrap_or(0) });
        }
        if usage.pids_refused > 0 {
            met.push(LimitMet::Pids { pids: self.limits.pids.unwrap_or(0) });
        }
        if usage.cpu_held_back > 0 {
            met.push(LimitMet::Cpu { millis: self.limits.cpu_millis.unwrap_or(0) });
        }
        if let Some(function) = &self.function {
            if function.disk_left().is_ok_and(|left| left == 0) {
                met.push(LimitMet::Disk { bytes: self.limits.disk_bytes });
            }
            if function.log.is_full() {
                met.push(LimitMet::Log { bytes: self.limits.log_bytes });
            }
        }
        Ok(met)
    }
}

/// A limit that a function has met, with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each field is the value of the limit")]
pub enum LimitMet {
    #[error("memory limit of {bytes} bytes: the kernel killed a process")]
    Memory { bytes: u64 },
    #[error("limit of {pids} processes: the kernel refused another")]
    Pids { pids: u32 },
    #[error("processor limit of {millis} thousandths of a core: held back")]
    Cpu { millis: u32 },
    #[error("disk limit of {bytes} bytes: full")]
    Disk { bytes: u64 },
    #[error("log limit of {bytes} bytes: full")]
    Log { bytes: u64 },
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        drop(self.function.take());
        let parts = std::mem::take(&mut self.parts);
        if !parts.is_empty() {
            self.shared.give_up(parts);
        }
    }
}

/// What a sandbox consists of in the kernel, as far as it has been made.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) number: u32,
    pub(super) cgroup: Option<Cgroup>,
    pub(super) init: Option<Init>,
    pub(super) network: Option<Network>,
}

/// A network namespace with its pair.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) number: u32,
    pub(super) namespace: OwnedFd,
}

impl Parts {
    pub(super) fn is_empty(&self) -> bool {
        self.number == 0
    }

    pub(super) fn fault(&self, step: &'static str, source: io::Error) -> Error {
        Error::Step { number: self.number, step, source }
    }
}
