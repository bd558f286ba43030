//! A benchmark function on its way to a template: started in a sandbox, called until it is warm, its answers checked.

use std::time::Duration;

use serde_json::Value;

use super::error::Error;
use super::store::{Store, Template};
use super::{Request, capture};
use crate::functions::{FunctionSpec, Input, Inputs};
use crate::sandbox::{Manager, Program, Sandbox};

/// How long a function may take to be ready, or to answer.
const WITHIN: Duration = Duration::from_secs(120);
/// How much of a failed function's log is quoted, bytes.
const QUOTED: usize = 2_000;

/// A function that can be captured and whose answers can be checked.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Name.
    pub name: String,
    /// How a sandbox starts it.
    pub program: Program,
    /// Its inputs with what answers must be.
    pub inputs: Inputs,
}

impl From<FunctionSpec> for Subject {
    fn from(spec: FunctionSpec) -> Self {
        Self { name: spec.name.clone(), inputs: spec.inputs.clone(), program: spec.program() }
    }
}

impl Subject {
    /// Starts it in a new sandbox and waits until it is ready.
    ///
    /// # Errors
    /// If it does not get ready.
    pub fn boot(&self, manager: &Manager) -> Result<Sandbox, Error> {
        let mut sandbox = manager.create(&self.program)?;
        self.ready(&mut sandbox)?;
        Ok(sandbox)
    }

    /// Waits until an executed function is ready.
    ///
    /// # Errors
    /// If it does not get ready.
    pub fn ready(&self, sandbox: &mut Sandbox) -> Result<(), Error> {
        let function = sandbox.function_mut().expect("a sandbox that was just made has its function");
        match function.channel.line(WITHIN) {
            Ok(_) => Ok(()),
            Err(failure) => Err(self.wrong(sandbox, &failure.to_string())),
        }
    }

    /// Sends an input; the answer's output, checked.
    ///
    /// # Errors
    /// If there is none, or it is wrong.
    pub fn call(&self, sandbox: &mut Sandbox, input: &Input) -> Result<Value, Error> {
        let function = sandbox.function_mut().expect("a sandbox that is called has its function");
        let mut answer = match function.channel.request(&input.input, WITHIN) {
            Ok(answer) => answer,
            Err(failure) => return Err(self.wrong(sandbox, &failure.to_string())),
        };
        if answer["ok"] != true {
            return Err(self.wrong(sandbox, &format!("it refused: {}", answer["error"])));
        }
        let faults = input.faults(&answer["output"]);
        if faults.is_empty() {
            Ok(answer["output"].take())
        } else {
            Err(self.wrong(sandbox, &faults.join("; ")))
        }
    }

    /// Boots it, calls it `warm_ups` times, and captures it.
    ///
    /// # Errors
    /// If it fails on the way or cannot be captured.
    pub fn capture(
        &self,
        manager: &Manager,
        store: &Store,
        warm_ups: u32,
    ) -> Result<(Sandbox, Template), Error> {
        let mut sandbox = self.boot(manager)?;
        for _ in 0..warm_ups {
            self.call(&mut sandbox, &self.inputs.warm_up)?;
        }
        let function = sandbox.function().expect("a function that has just answered");
        let template = capture(store, function, &Request::new(&self.name, warm_ups))?;
        Ok((sandbox, template))
    }

    fn wrong(&self, sandbox: &Sandbox, what: &str) -> Error {
        let log = sandbox.function().and_then(|function| function.log.tail(QUOTED).ok()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).trim().to_owned();
        let printed = if log.is_empty() { String::new() } else { format!("; it printed:\n{log}") };
        Error::Wrong { function: self.name.clone(), what: format!("{what}{printed}") }
    }
}
