//! Templates of a run's functions: captured once before the workload begins, attached at every start.

use std::path::PathBuf;
use std::time::Duration;

use configs::Spec;
use platform::memory::MemoryClass;
use platform::system::{PageSource, State};
use traces::Bytes;

use super::catalog::Real;
use super::error::Refused;
use crate::sandbox::{Config, Manager, Mode, ROUTINES};
use crate::template::{Backing, Prepared, Request, Store, capture, store};

/// How long a function may take to get ready and to answer while it is captured.
const WITHIN: Duration = Duration::from_secs(60);
/// Calls before a function is captured: the published artifact's checkpoints are of functions that were called.
const WARM_UPS: u32 = 3;

/// Templates of all functions of a run.
#[derive(Debug)]
pub(super) struct Templates {
    /// In the order of the functions.
    pub prepared: Vec<Prepared>,
    /// What their pages are in the accounts.
    pub class: MemoryClass,
    /// What all of them hold.
    pub bytes: Bytes,
}

/// Where the pages of a system's templates are counted; `None` where its functions boot.
///
/// # Errors
/// If its state or its pages cannot be had here.
pub(super) fn class(spec: &Spec) -> Result<Option<MemoryClass>, Refused> {
    let system = &spec.system;
    match (system.state, system.pages) {
        (State::Boot, _) => Ok(None),
        (State::Attach, PageSource::Cxl) => Ok(Some(MemoryClass::PoolCxl)),
        (State::Attach, PageSource::Dram) => Ok(Some(MemoryClass::NodeShared)),
        (State::Attach, pages) => {
            let what = format!("a template whose pages come by \"{}\"", pages.word());
            Err(Refused::System { system: system.name.clone(), what })
        }
        (state, _) => Err(Refused::State { system: system.name.clone(), state: state.word() }),
    }
}

/// Starts every function once, calls it until it is warm, and captures it.
///
/// # Errors
/// If one does not start, does not answer or cannot be captured: which one, and why.
pub(super) fn capture_all(
    config: &Config,
    functions: &[Real],
    class: MemoryClass,
) -> Result<Templates, Refused> {
    // Templates depend on files of the functions and on this machine: they are made for the run, and their
    // files are gone as soon as they are open.
    let folder = PathBuf::from(store::DRAM).join(format!("run-{}", std::process::id()));
    let _remove = Remove(folder.clone());
    let store = Store::open(&folder)?;
    // Whoever starts a run may be a test whose launcher offers nothing but its own routines.
    debug_assert!(ROUTINES.iter().any(|(name, _)| *name == crate::template::ENTRY));
    let manager = Manager::start(Config { mode: Mode::New, ..config.clone() })?;
    let mut templates = Templates { prepared: Vec::new(), class, bytes: Bytes(0) };
    for real in functions {
        let failed = |what: String| Refused::Template { function: real.program.hostname.clone(), what };
        let mut sandbox = manager.create(&real.program)?;
        let function = sandbox.function_mut().expect("just started");
        function.channel.line(WITHIN).map_err(|failure| failed(failure.to_string()))?;
        for _ in 0..WARM_UPS {
            let answer = function.channel.request(&real.input, WITHIN);
            let answer = answer.map_err(|failure| failed(failure.to_string()))?;
            if answer["ok"] != true {
                return Err(failed(format!("it answered with an error: {}", answer["error"])));
            }
        }
        let template = capture(&store, function, &Request::new(&real.program.hostname, WARM_UPS))
            .map_err(|error| failed(error.to_string()))?;
        templates.bytes = Bytes(templates.bytes.0 + template.manifest().pages.present * 4096);
        templates
            .prepared
            .push(Prepared::new(&template, Backing::Map).map_err(|error| failed(error.to_string()))?);
        manager.destroy(sandbox);
    }
    Ok(templates)
}

/// A folder that is to be gone.
struct Remove(PathBuf);

impl Drop for Remove {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
