//! Idle sandboxes, and which of them is given to the next function.
//!
//! As published: an idle sandbox of the same function first (a warm start; whoever holds it decides that), else
//! the least recently used idle sandbox of *any* function, here only of the same tenant; else a new one.

use std::collections::VecDeque;

use super::error::Error;
use super::manager::{Manager, Sandbox};
use super::program::Program;

/// How a function came by its sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was made.
    New,
    /// It was another function's.
    Repurposed,
    /// Another function's was not clean or did not work any more: that one was destroyed, this one made.
    NewAfterFailure,
}

/// Whose functions may follow each other in a sandbox.
pub type Tenant = u64;

/// Idle sandboxes of one manager, least recently used first.
#[derive(Debug)]
pub struct Pool<'a> {
    manager: &'a Manager,
    idle: VecDeque<(Tenant, Sandbox)>,
    most: usize,
}

impl<'a> Pool<'a> {
    /// An empty pool that keeps `most` sandboxes.
    #[must_use]
    pub fn new(manager: &'a Manager, most: usize) -> Self {
        Self { manager, idle: VecDeque::new(), most }
    }

    /// Makes sandboxes for a tenant in advance, which run `program` until they are given to a function. (The
    /// published system makes 70, with a function that says hello.)
    ///
    /// # Errors
    /// If one cannot be made.
    pub fn populate(&mut self, tenant: Tenant, program: &Program, count: usize) -> Result<(), Error> {
        for _ in 0..count {
            let sandbox = self.manager.create(program)?;
            self.put(tenant, self.manager.vacate(sandbox)?);
        }
        Ok(())
    }

    /// Starts a function: in the tenant's least recently used idle sandbox, else in a new one.
    ///
    /// # Errors
    /// If a new one cannot be made.
    pub fn start(&mut self, tenant: Tenant, program: &Program) -> Result<(Sandbox, Origin), Error> {
        let Some(at) = self.idle.iter().position(|(owner, _)| *owner == tenant) else {
            return Ok((self.manager.create(program)?, Origin::New));
        };
        let (_, sandbox) = self.idle.remove(at).expect("just found");
        match self.manager.repurpose(sandbox, program) {
            Ok(sandbox) => Ok((sandbox, Origin::Repurposed)),
            // Not clean, or its init was killed: the used one is destroyed either way.
            Err(_) => Ok((self.manager.create(program)?, Origin::NewAfterFailure)),
        }
    }

    /// Takes a used sandbox back: its function ends, and it must be as when new.
    ///
    /// # Errors
    /// [`Error::Unclean`]: it was destroyed.
    pub fn give_back(&mut self, tenant: Tenant, sandbox: Sandbox) -> Result<(), Error> {
        let sandbox = self.manager.vacate(sandbox)?;
        self.put(tenant, sandbox);
        Ok(())
    }

    fn put(&mut self, tenant: Tenant, sandbox: Sandbox) {
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
