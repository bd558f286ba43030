//! Idle sandboxes, and what happens when one of them turns out not to be usable.
//!
//! Which idle sandbox is given to the next function is decided by whoever holds them: here, as published, the least
//! recently used of *any* function, but only of the same tenant; in the emulated world, the control plane.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use super::error::Error;
use super::manager::{Manager, Sandbox};
use super::program::Program;

/// How a function came by its sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was made.
    New,
    /// It was another function's.
    Repurposed,
    /// Another function's was not clean or did not work any more (why): that one was destroyed, this one made.
    NewAfterFailure(String),
}

impl Manager {
    /// Makes a sandbox in which nothing runs. (The published system makes 70 in advance, with a function that says
    /// hello.)
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_idle(&self) -> Result<Sandbox, Error> {
        self.vacate(self.create(&Program::call("pause", [""; 0]))?)
    }

    /// Starts a function in a used sandbox, or in a new one if there is none. A used one that is not as when new, or whose
    /// init is gone, is nothing that the function could help: it gets a new one.
    ///
    /// # Errors
    /// If a new one cannot be made, or the function cannot be started in it.
    pub fn start_in(
        &self,
        used: Option<Sandbox>,
        program: &Program,
        given: &[BorrowedFd<'_>],
    ) -> Result<(Sandbox, Origin), Error> {
        let Some(used) = used else {
            return Ok((self.create_with(program, given)?, Origin::New));
        };
        match self.repurpose_with(used, program, given) {
            Ok(sandbox) => Ok((sandbox, Origin::Repurposed)),
            Err(why) => Ok((self.create_with(program, given)?, Origin::NewAfterFailure(why.to_string()))),
        }
    }
}

/// Whose functions may follow each other in a sandbox.
pub type Tenant = u64;

/// Idle sandboxes of one manager, least recently used first.
#[derive(Debug)]
pub struct Pool {
    idle: VecDeque<(Tenant, Sandbox)>,
    most: usize,
}

impl Pool {
    /// An empty pool that keeps `most` sandboxes.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { idle: VecDeque::new(), most }
    }

    /// The tenant's least recently used sandbox, to be given to [`Manager::start_in`].
    pub fn take(&mut self, tenant: Tenant) -> Option<Sandbox> {
        let at = self.idle.iter().position(|(owner, _)| *owner == tenant)?;
        self.idle.remove(at).map(|(_, sandbox)| sandbox)
    }

    /// Keeps a sandbox that was made idle or vacated ([`Manager::create_idle`], [`Manager::vacate`]). Where there is no room
    /// any more, the one that was idle longest is destroyed.
    pub fn put(&mut self, tenant: Tenant, sandbox: Sandbox) {
        debug_assert!(sandbox.function().is_none(), "what is kept for others has been vacated");
        self.idle.push_back((tenant, sandbox));
        while self.idle.len() > self.most {
            self.idle.pop_front();
        }
    }

    /// Sandboxes that wait for a function.
    #[must_use]
    pub fn len(&self) -> usize {
        self.idle.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.idle.is_empty()
    }
}
