//! The public side: sandboxes are made, given another function, taken away.
//!
//! `config`: how a manager works; `function` and `sandbox`: the process and the sandbox it is in; `shared`: what is
//! done to each; `stock`: what is ready before it is needed, and who destroys what is not.

mod config;
mod function;
mod sandbox;
mod shared;
mod stock;

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::fs::{Mode as FileMode, OFlags, ResolveFlags, openat2};

use super::error::Error;
use super::program::Program;
use super::steps::{Steps, now};
use crate::clean::Claim;
use crate::kernel::linux::{Base, Setup};
use crate::kernel::{Kernel, Linux, Usage};

pub use config::{Birth, Config, Mode, OldLayer, Reset, Statistics};
pub use function::{Ends, Function};
use sandbox::Parts;
pub use sandbox::{LimitMet, Sandbox};
use shared::{Shared, State};

/// Sandboxes that one manager can have: the addresses of its network but for the network's own, the bridge's and
/// the last.
pub const MOST: u32 = 4096 - 3;
/// Prefix of a manager's network.
const PREFIX: u8 = 20;

/// Makes and takes away sandboxes. Can be used by many threads at once; each call takes milliseconds at most,
/// but for the end of the manager itself, which waits until everything is gone.
#[derive(Debug)]
pub struct Manager {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Manager {
    /// Begins on this machine.
    ///
    /// # Errors
    /// The step that failed, with the kernel's reason; `trenvx doctor` tells what the machine lacks.
    pub fn start(config: Config) -> Result<Self, Error> {
        let claim = Claim::take().map_err(|source| Error::SetUp {
            step: "take a label (which needs root) in /run/trenvx",
            source,
        })?;
        let gateway = claim.gateway();
        let setup = Setup {
            label: claim.label().clone(),
            launcher: config.launcher.clone(),
            base: config.base.clone(),
            gateway: (gateway, PREFIX),
            patience: config.patience,
        };
        let kernel = match Linux::set_up(&setup) {
            Ok(kernel) => kernel,
            Err((step, source)) => {
                claim.clean();
                return Err(Error::SetUp { step, source });
            }
        };
        Ok(Self::with(config, Box::new(kernel), gateway, Some(claim)))
    }

    /// Begins on another kernel, such as a fake one.
    #[must_use]
    pub fn on(config: Config, kernel: Box<dyn Kernel>) -> Self {
        Self::with(config, kernel, Ipv4Addr::new(198, 18, 0, 1), None)
    }

    fn with(config: Config, kernel: Box<dyn Kernel>, gateway: Ipv4Addr, claim: Option<Claim>) -> Self {
        let shared = Arc::new(Shared {
            kernel,
            config,
            gateway,
            state: Mutex::new(State { next: 1, ..State::default() }),
            changed: Condvar::new(),
            _claim: claim,
        });
        let workers = [Shared::destroy_garbage as fn(&Shared), Shared::make_ready]
            .into_iter()
            .map(|work| {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || work(&shared))
            })
            .collect();
        Self { shared, workers }
    }

    /// Makes a sandbox and starts a function in it.
    ///
    /// # Errors
    /// The step that failed. What had been made is destroyed.
    pub fn create(&self, program: &Program) -> Result<Sandbox, Error> {
        self.create_with(program, &[])
    }

    /// As [`Self::create`], for a routine that is given descriptors: it finds them at [`super::GIVEN`] and the numbers
    /// after it, to be closed by `exec`.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_with(&self, program: &Program, given: &[BorrowedFd<'_>]) -> Result<Sandbox, Error> {
        let shared = &self.shared;
        let began = now();
        let mut steps = Steps::default();
        let mut parts = Parts { number: shared.take_number()?, ..Parts::default() };
        match shared.create(&mut parts, program, given, &mut steps) {
            Ok((function, first)) => {
                steps.whole = std::time::Duration::from_nanos(now() - began);
                shared.state().statistics.created += 1;
                Ok(Sandbox {
                    parts,
                    function: Some(function),
                    limits: program.limits,
                    first,
                    before: Usage::default(),
                    steps,
                    shared: Arc::clone(shared),
                })
            }
            Err(error) => {
                shared.give_up(parts);
                Err(error)
            }
        }
    }

    /// Ends the function of a sandbox and starts another in it, of the same tenant.
    ///
    /// # Errors
    /// [`Error::Unclean`] if the sandbox is not as when new, or the step that failed. The sandbox is destroyed.
    pub fn repurpose(&self, sandbox: Sandbox, program: &Program) -> Result<Sandbox, Error> {
        self.repurpose_with(sandbox, program, &[])
    }

    /// As [`Self::repurpose`], with descriptors for a routine as in [`Self::create_with`].
    ///
    /// # Errors
    /// As [`Self::repurpose`].
    pub fn repurpose_with(
        &self,
        mut sandbox: Sandbox,
        program: &Program,
        given: &[BorrowedFd<'_>],
    ) -> Result<Sandbox, Error> {
        let began = now();
        let mut steps = Steps::default();
        self.shared.repurpose(&mut sandbox, program, given, &mut steps)?;
        steps.whole = std::time::Duration::from_nanos(now() - began);
        sandbox.steps = steps;
        self.shared.state().statistics.repurposed += 1;
        Ok(sandbox)
    }

    /// Ends the function of a sandbox and makes sure, more thoroughly than there is time for on the way to a
    /// start, that it is as when new: what is done before it goes back to a pool.
    ///
    /// # Errors
    /// As [`Self::repurpose`].
    pub fn vacate(&self, mut sandbox: Sandbox) -> Result<Sandbox, Error> {
        self.shared.vacate(&mut sandbox)?;
        Ok(sandbox)
    }

    /// Waits until the init of a sandbox has done what it does after a start: taking apart the namespaces of the function
    /// before. The time from the call.
    ///
    /// # Errors
    /// If the init does not answer.
    pub fn rest(&self, sandbox: &Sandbox) -> Result<std::time::Duration, Error> {
        let began = now();
        self.shared.order(&sandbox.parts, &super::wire::Order::default(), &[], &mut Steps::default())?;
        Ok(std::time::Duration::from_nanos(now() - began))
    }

    /// Gives a sandbox away to be destroyed soon.
    pub fn destroy(&self, sandbox: Sandbox) {
        drop(sandbox);
    }

    /// Destroys a sandbox and waits until nothing of it is left: the steps.
    ///
    /// # Errors
    /// The first step that failed; the others are done nevertheless.
    pub fn destroy_now(&self, mut sandbox: Sandbox) -> Result<Steps, Error> {
        drop(sandbox.function.take());
        let parts = std::mem::take(&mut sandbox.parts);
        let began = now();
        let mut steps = Steps::default();
        let result = self.shared.take_apart(parts, true, &mut steps);
        steps.whole = std::time::Duration::from_nanos(now() - began);
        result.map(|()| steps)
    }

    /// Makes roots for such programs ready, so that their next starts find one.
    pub fn prepare(&self, program: &Program) {
        let mut state = self.shared.state();
        state.wanted.insert(self.shared.root_kind(program, false));
        self.shared.changed.notify_all();
    }

    /// What roots of a program are made of: two that are made of the same show the same files, until somebody writes.
    #[must_use]
    pub fn makings(&self, program: &Program) -> (Base, Vec<PathBuf>) {
        (self.shared.config.base.clone(), program.layers.clone())
    }

    /// Opens files for reading, as they are in a new root of a program. Mapped files are looked up once this way, and
    /// not in each root anew.
    ///
    /// # Errors
    /// If no root can be made. A file that cannot be opened is `None`.
    pub fn open_files<'a>(
        &self,
        program: &Program,
        paths: impl IntoIterator<Item = &'a str>,
    ) -> io::Result<Vec<Option<File>>> {
        let root = self.shared.kernel.make_root(&program.layers, program.limits.disk_bytes)?;
        let open = |path: &str| {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
            let path = path.trim_start_matches('/');
            openat2(&root.tree, path, flags, FileMode::empty(), ResolveFlags::IN_ROOT).ok().map(File::from)
        };
        Ok(paths.into_iter().map(open).collect())
    }

    /// Waits until everything that was given up is destroyed and what is to be ready is ready.
    pub fn settle(&self) {
        let mut state = self.shared.state();
        self.shared.changed.notify_all();
        while !state.garbage.is_empty()
            || !state.layers.is_empty()
            || state.destroying > 0
            || !state.wanted.is_empty()
            || state.wants_network
        {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The bridge's address: this machine, as functions reach it.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        self.shared.gateway
    }

    /// What was done so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.shared.state().statistics.clone()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.shared.state().closing = true;
        self.shared.changed.notify_all();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}
