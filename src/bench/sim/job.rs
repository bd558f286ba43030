//! The jobs of the suite, and what one of them comes to in a process of its own.

use super::result::{Measured, Peer};
use super::{median, peak_resident, play, specs};
use crate::common::Folders;
use anyhow::Context;
use configs::spec::WorkloadSpec;
use configs::{Spec, Tier};
use platform::system::SYSTEMS;
use rayon::prelude::*;
use runs::World;
use std::cell::Cell;
use std::time::{Duration, Instant};
use traces::Invocation;
use traces::generate::zipf;

/// What a job plays.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// The standard job on one core: millions of invocations, minutes, nodes.
    Standard(u64, u64, u32),
    /// The real Azure sample under all systems, ten seeds.
    Azure,
    /// The largest panel of e21.
    Scale,
}

/// A job of the suite.
#[derive(Clone, Copy, Debug)]
pub struct NamedJob {
    /// What it is called.
    pub name: &'static str,
    /// System; of none, if it plays several.
    pub system: &'static str,
    /// What it plays.
    pub kind: Kind,
}

const fn standard(
    name: &'static str,
    system: &'static str,
    millions: u64,
    minutes: u64,
    nodes: u32,
) -> NamedJob {
    NamedJob { name, system, kind: Kind::Standard(millions, minutes, nodes) }
}

/// Minutes.
const DAY: u64 = 24 * 60;

/// All of them.
pub const JOBS: &[NamedJob] = &[
    standard("sj-10m-faasd", "faasd", 10, DAY, 1000),
    standard("sj-10m-t-cxl", "t-cxl", 10, DAY, 1000),
    // Ten million a day, for a tenth of a day and for ten days.
    standard("long-1m", "faasd", 1, DAY / 10, 1000),
    standard("long-100m", "faasd", 100, 10 * DAY, 1000),
    // In one day: a tenth of the load, and ten times the load.
    standard("dense-1m", "faasd", 1, DAY, 1000),
    standard("dense-100m", "faasd", 100, DAY, 1000),
    standard("nodes-100", "faasd", 10, DAY, 100),
    standard("nodes-10000", "faasd", 10, DAY, 10_000),
    NamedJob { name: "azure", system: "all", kind: Kind::Azure },
    NamedJob { name: "e21-faasd", system: "faasd", kind: Kind::Scale },
    NamedJob { name: "e21-t-cxl", system: "t-cxl", kind: Kind::Scale },
];

/// Threads of the jobs that use several.
const THREADS: usize = 2;

/// Measures one.
///
/// # Errors
/// If there is no job of that name, or it cannot be played.
pub fn measure(folders: &Folders, name: &str, quick: bool) -> anyhow::Result<Measured> {
    let job = JOBS.iter().find(|job| job.name == name).with_context(|| {
        format!("no job \"{name}\": {}", configs::hint(name, JOBS.iter().map(|job| job.name)))
    })?;
    let mut measured = match job.kind {
        Kind::Standard(millions, minutes, nodes) => {
            // The same rate on every node, for a hundredth of the time.
            let (part, span_part, nodes) = if quick { (1000, 100, nodes / 10) } else { (1, 1, nodes) };
            let invocations = millions * 1_000_000 / part;
            let mut standard = zipf::Job::standard(invocations, 1);
            standard.span = traces::Duration::from_secs(minutes * 60 / span_part);
            let spec = specs(folders, &[job.system.to_owned()], nodes, 1)?.remove(0);
            one_core(&standard, &spec)?
        }
        Kind::Azure => azure(folders, quick)?,
        Kind::Scale => scale(folders, job.system, quick)?,
    };
    measured.name = name.to_owned();
    measured.system = job.system.to_owned();
    measured.peak_rss_mb = peak_resident()?.0 as f64 / 1e6;
    Ok(measured)
}

/// Invocations that are drawn at a time.
const BLOCK: usize = 16_384;

/// A stream that is drawn block by block, so that the time of drawing can be left out and no more than
/// a block is in memory.
struct Blocks<'a, I> {
    stream: I,
    block: Vec<Invocation>,
    at: usize,
    drawing: &'a Cell<Duration>,
}

impl<I: Iterator<Item = Invocation>> Iterator for Blocks<'_, I> {
    type Item = Invocation;

    fn next(&mut self) -> Option<Invocation> {
        if self.at == self.block.len() {
            let began = Instant::now();
            self.block.clear();
            self.block.extend(self.stream.by_ref().take(BLOCK));
            self.at = 0;
            self.drawing.set(self.drawing.get() + began.elapsed());
        }
        let next = self.block.get(self.at).copied();
        self.at += 1;
        next
    }
}

/// A standard job and the bare loop in turn; the time of drawing is left out.
fn one_core(job: &zipf::Job, spec: &Spec) -> anyhow::Result<Measured> {
    let head = job.head()?;
    let repetitions = if job.invocations > 20_000_000 { 1 } else { 3 };
    let (mut model, mut bare, mut events) = (Vec::new(), Vec::new(), 0);
    for _ in 0..repetitions {
        let drawing = Cell::new(Duration::ZERO);
        let blocks = || -> anyhow::Result<_> {
            drawing.set(Duration::ZERO);
            let (stream, block) = (job.invocations()?, Vec::with_capacity(BLOCK));
            Ok(Blocks { stream, block, at: 0, drawing: &drawing })
        };
        let (stream, began) = (blocks()?, Instant::now());
        events = sim::simulate(spec, play(&head, stream)).counters.events;
        model.push((began.elapsed() - drawing.get()).as_secs_f64());
        let (stream, began) = (blocks()?, Instant::now());
        std::hint::black_box(sim::bare_loop(head.functions.len(), stream, spec.keep_alive.ttl));
        bare.push((began.elapsed() - drawing.get()).as_secs_f64());
    }
    let (seconds, bare, n) = (median(model), median(bare), job.invocations as f64);
    Ok(Measured {
        invocations: job.invocations,
        nodes: spec.cluster.nodes,
        threads: 1,
        repetitions: repetitions as u32,
        seconds,
        bare_loop_rate_m: Some(n / bare / 1e6),
        events_per_invocation: events as f64 / n,
        peer: Some(Peer::of_standard_job(job.invocations)),
        ..Measured::default()
    })
}

/// The whole sample with everything that makes a result of it, workloads included.
fn azure(folders: &Folders, quick: bool) -> anyhow::Result<Measured> {
    let systems: Vec<String> = SYSTEMS.iter().map(|entry| format!("\"{}\"", entry.name)).collect();
    let (tier, seeds) = if quick { (Tier::Kick, 1) } else { (Tier::Full, 10) };
    let seeds: Vec<u64> = (1..=seeds).collect();
    let points = folders.experiment("e09", tier, &[format!("systems=[{}]", systems.join(", "))])?.points;
    let first = &points.first().context("e09 has no point")?.spec;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(THREADS).build()?;
    let began = Instant::now();
    let played: Vec<(u64, u64)> = pool.install(|| {
        seeds
            .into_par_iter()
            .with_max_len(1)
            .map(|seed| -> anyhow::Result<(u64, u64)> {
                let workload = runs::build_workload(first, seed)?;
                let events = points.iter().map(|point| {
                    let invocations = workload.invocations.iter().copied();
                    let (functions, burn_in, span) = (&workload.functions, workload.burn_in, workload.span);
                    let play = sim::Play { functions, invocations, burn_in, span, seed };
                    sim::simulate(&point.spec, play).counters.events
                });
                let events = events.sum();
                Ok((workload.invocations.len() as u64 * points.len() as u64, events))
            })
            .collect::<anyhow::Result<_>>()
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let invocations: u64 = played.iter().map(|(invocations, _)| invocations).sum();
    let events: u64 = played.iter().map(|(_, events)| events).sum();
    Ok(Measured {
        invocations,
        nodes: first.cluster.nodes,
        threads: THREADS as u32,
        repetitions: 1,
        seconds,
        events_per_invocation: events as f64 / invocations as f64,
        peer: Some(Peer::of_azure_sample()),
        ..Measured::default()
    })
}

/// The largest panel of e21, drawing included.
fn scale(folders: &Folders, system: &str, quick: bool) -> anyhow::Result<Measured> {
    let tier = if quick { Tier::Kick } else { Tier::Full };
    let points = folders.experiment("e21", tier, &[format!("systems=[\"{system}\"]")])?.points;
    let largest =
        points.into_iter().max_by_key(|point| point.spec.cluster.nodes).context("e21 has no point")?;
    let WorkloadSpec::Zipf { invocations, .. } = largest.spec.workload else {
        anyhow::bail!("e21 plays something else than zipf");
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(THREADS).build()?;
    let began = Instant::now();
    let workload = runs::build_workload(&largest.spec, 1)?;
    let record = pool.install(|| sim::SimulatedWorld.run(&largest.spec, &workload, 1))?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(Measured {
        invocations,
        nodes: largest.spec.cluster.nodes,
        threads: THREADS as u32,
        repetitions: 1,
        seconds,
        events_per_invocation: record.counters.events as f64 / invocations as f64,
        ..Measured::default()
    })
}
