//! Many attaches of one template: in a row, and at once.

use std::time::Duration;

use super::served::Way;
use super::{Engine, Settings};
use crate::goal::Goal;
use crate::sandbox::{Manager, Sandbox};
use crate::template::{Backing, Error, Prepared, Subject, Template, usage};

/// How long a page server may take to forget processes that have ended.
const SETTLED: Duration = Duration::from_secs(10);
/// Sharing that makes templates worth their while: so many times less than processes that were booted. Chosen here.
const SHARED: f64 = 3.0;

/// How many.
#[derive(Clone, Copy, Debug)]
pub struct Many {
    /// Attaches one after the other, each called once, each in the sandbox of the one before.
    pub in_a_row: usize,
    /// Processes that live at once, each called once.
    pub at_once: usize,
}

/// Measures both with the first function.
///
/// # Errors
/// If it cannot be captured or attached, or answers wrongly.
pub fn many(settings: &Settings, many: Many) -> Result<Vec<Goal>, Error> {
    let Some(subject) = settings.subjects.first() else { return Ok(Vec::new()) };
    let manager = Manager::start(settings.config.clone())?;
    let (sandbox, template) = subject.capture(&manager, &settings.store, settings.warm_ups)?;
    let prepared = Prepared::new(&template, Backing::Map)?;
    let name = subject.name.as_str();
    let mut goals = Vec::new();

    let mut used = Some(sandbox);
    for _ in 0..many.in_a_row {
        let mut attached = prepared.start(&manager, used.take(), &subject.program, None)?;
        subject.call(&mut attached.sandbox, &subject.inputs.base)?;
        used = Some(attached.sandbox);
    }
    drop(used);
    template.verify()?;
    // One wrong answer would have ended it.
    let all = many.in_a_row as f64;
    goals.push(Goal::at_least("attaches in a row that answered rightly", name, all, all, ""));

    let mut booted = subject.boot(&manager)?;
    subject.call(&mut booted, &subject.inputs.base)?;
    let alone = proportional(std::slice::from_ref(&booted));
    manager.destroy(booted);
    let mut living = Vec::new();
    for _ in 0..many.at_once {
        let mut attached = prepared.start(&manager, None, &subject.program, None)?;
        subject.call(&mut attached.sandbox, &subject.inputs.base)?;
        living.push(attached.sandbox);
    }
    let together = proportional(&living);
    end(&manager, living);
    let of = format!("{name}, {} at once", many.at_once);
    let ratio = alone * many.at_once as f64 / together;
    goals.push(Goal::at_least("times less memory (PSS) than as many booted", &of, ratio, SHARED, "x"));
    goals.push(fetched(settings, &manager, subject, &template, many.at_once, &of)?);
    Ok(goals)
}

/// What a page server with a cache fetches for all of them.
fn fetched(
    settings: &Settings,
    manager: &Manager,
    subject: &Subject,
    template: &Template,
    at_once: usize,
    of: &str,
) -> Result<Goal, Error> {
    let what = "pages fetched beside pages that the cache has";
    if let Some(why) = crate::doctor::lacking(super::served::NEEDS) {
        return Ok(Goal::at_most(what, of, f64::NAN, 1.0, "x").not_run(&why));
    }
    let way = Way::new(template, Engine::FaultShared, settings.batch)?;
    let mut living = Vec::new();
    for _ in 0..at_once {
        let (mut attached, attachment) = way.start(manager, None, &subject.program)?;
        subject.call(&mut attached.sandbox, &subject.inputs.base)?;
        living.push((attached.sandbox, attachment));
    }
    let report = way.report()?;
    let fetched: u64 = report.sources.iter().map(|source| source.counts.pages).sum();
    let ratio = fetched as f64 / report.cache_pages.max(1) as f64;
    end(manager, living.into_iter().map(|(sandbox, _)| sandbox).collect());
    way.settle(SETTLED)?;
    Ok(Goal::at_most(what, of, ratio, 1.0, "x"))
}

/// Sum of their shares of memory, bytes.
fn proportional(living: &[Sandbox]) -> f64 {
    let pids = living.iter().filter_map(|sandbox| sandbox.function()?.pid());
    pids.filter_map(|pid| usage::of(pid).ok()).map(|memory| memory.proportional_bytes as f64).sum()
}

fn end(manager: &Manager, living: Vec<Sandbox>) {
    for sandbox in living {
        manager.destroy(sandbox);
    }
    manager.settle();
}
