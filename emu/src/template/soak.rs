//! A soak: templates are attached in sandboxes, by every way, called and killed, for long; nothing may grow.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::error::Error;
use super::store::Scratch;
use super::subject::Subject;
use super::{Backing, Prepared, groups};
use crate::bench_template::{Engine, served};
use crate::pager::lab::soak::State;
use crate::pager::source::delayed::mixed;
use crate::sandbox::{Config, Manager, Sandbox};

/// How long what has ended may take to be gone.
const GONE: Duration = Duration::from_secs(20);
/// Pages that a server installs for one fault.
const BATCH: usize = 16;

/// What a soak needs of a machine, beside sandboxes.
pub const NEEDS: &[&str] = groups::NEEDS;

/// How a soak went.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Soak {
    /// Processes that were attached, by engine.
    pub attached: Vec<(&'static str, u64)>,
    /// Calls; all answered rightly.
    pub calls: u64,
    /// Processes that were killed before or between calls.
    pub killed: u64,
    /// Times that the processes of a template were counted page by page.
    pub counted: u64,
    /// States over time, each with nothing attached. The server is the one with the shared cache.
    pub states: Vec<State>,
}

/// Attaches `subject` for `length`. `told` hears of every state.
///
/// # Errors
/// If it cannot be captured or attached, answers wrongly, or leaves something attached.
pub fn run(
    config: Config,
    subject: &Subject,
    length: Duration,
    seed: u64,
    mut told: impl FnMut(&State),
) -> Result<Soak, Error> {
    let scratch = Scratch::new()?;
    let manager = Manager::start(config)?;
    let (used, template) = subject.capture(&manager, scratch.store(), 1)?;
    manager.destroy(used);
    let (map, copy) = (Prepared::new(&template, Backing::Map)?, Prepared::new(&template, Backing::Copy)?);
    let fault = served::Way::new(&template, Engine::Fault, BATCH)?;
    let shared = served::Way::new(&template, Engine::FaultShared, BATCH)?;
    let engines = [Engine::Attach, Engine::AttachCopy, Engine::Fault, Engine::FaultShared];
    let mut soak = Soak { attached: engines.map(|engine| (engine.name(), 0)).to_vec(), ..Soak::default() };
    let mut used: Option<Sandbox> = None;
    let (started, mut drawn) = (Instant::now(), seed);
    let mut draw = move |below: u64| {
        drawn = drawn.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(drawn) % below
    };
    let step = (length / 20).max(Duration::from_millis(500));
    let mut next = step;
    while started.elapsed() < length {
        let nth = draw(engines.len() as u64) as usize;
        let old = used.take().filter(|_| draw(4) > 0);
        let mut sandbox = match engines[nth] {
            Engine::AttachCopy => copy.start(&manager, old, &subject.program, None)?.sandbox,
            Engine::Fault => fault.start(&manager, old, &subject.program)?.0.sandbox,
            Engine::FaultShared => shared.start(&manager, old, &subject.program)?.0.sandbox,
            _ => map.start(&manager, old, &subject.program, None)?.sandbox,
        };
        soak.attached[nth].1 += 1;
        for _ in 0..draw(3) {
            subject.call(&mut sandbox, &subject.inputs.base)?;
            soak.calls += 1;
        }
        if draw(4) == 0 {
            let function = sandbox.function().expect("an attached sandbox has its function");
            let killed = rustix::process::pidfd_send_signal(&function.process, rustix::process::Signal::KILL);
            killed.map_err(|errno| Error::step("kill a function")(errno.into()))?;
            soak.killed += 1;
            manager.destroy(sandbox);
        } else {
            used = Some(sandbox);
        }
        if started.elapsed() >= next || started.elapsed() >= length {
            next += step;
            if let Some(sandbox) = used.take() {
                manager.destroy(sandbox);
            }
            groups::measure(&manager, &template, subject, &[&subject.inputs.base])?;
            soak.counted += 1;
            manager.settle();
            fault.settle(GONE)?;
            let report = shared.settle(GONE)?;
            let pages = template.manifest().pages.span;
            let state = State::of(shared.server(), &report, pages, started);
            let state = state.map_err(Error::step("look at the server"))?;
            told(&state);
            soak.states.push(state);
        }
    }
    Ok(soak)
}
