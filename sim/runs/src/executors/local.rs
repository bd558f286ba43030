//! [`Local`]: on threads of this process.

use super::{Executor, ExecutorError};
use crate::execute::{Options, Outcome, execute};
use crate::plan::Plan;
use crate::store::Store;
use crate::world::World;
use std::path::Path;

/// On threads of this process.
#[derive(Clone, Debug, Default)]
pub struct Local {
    /// How.
    pub options: Options,
}

impl Executor for Local {
    fn execute(
        &self,
        plan: &Plan,
        out: &Path,
        store: &Store,
        world: &dyn World,
    ) -> Result<Outcome, ExecutorError> {
        Ok(execute(plan, out, store, world, &self.options)?)
    }
}
