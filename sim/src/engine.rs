//! The simulated world as a whole: cells, which workload goes to which, and their records put
//! together.
//!
//! A cell is a set of nodes and functions that has nothing to do with any other: the whole cluster,
//! or one rack where every function stays in its home rack. Cells are played by the same code
//! whether they share a thread or not, so a sharded run gives the same bytes as an unsharded one.

use crate::accounting::Measured;
use crate::cell::{Cell, CellRecord, Sums};
use configs::Spec;
use platform::policy::placement::home_rack;
use platform::records::{Counters, RunRecord, Timeline};
use rayon::prelude::*;
use std::cmp::Reverse;
use std::sync::atomic::{AtomicUsize, Ordering};
use traces::{Duration, Function, FunctionId, Instant, Invocation};

/// What is played: a workload, or a stream that is never held in memory.
pub struct Play<'a, I> {
    /// The function table.
    pub functions: &'a [Function],
    /// Invocations in arrival order.
    pub invocations: I,
    /// Arrivals before this long are burn-in.
    pub burn_in: Duration,
    /// Length of the workload: memory is measured from the end of the burn-in to here.
    pub span: Duration,
    /// What the model itself draws comes from this seed's named streams.
    pub seed: u64,
}

/// Plays the workload on the spec's cluster.
pub fn simulate<I: Iterator<Item = Invocation>>(spec: &Spec, play: Play<'_, I>) -> RunRecord {
    if !spec.system.keep_alive.looks_ahead() {
        return play_all(spec, play, Vec::new());
    }
    let Play { functions, invocations, burn_in, span, seed } = play;
    let invocations: Vec<Invocation> = invocations.collect();
    let future = arrivals(functions.len(), invocations.iter().copied());
    play_all(spec, Play { functions, invocations: invocations.into_iter(), burn_in, span, seed }, future)
}

fn play_all<I: Iterator<Item = Invocation>>(
    spec: &Spec,
    play: Play<'_, I>,
    future: Vec<Vec<Instant>>,
) -> RunRecord {
    let layout = Layout::new(spec, play.functions);
    let futures = layout.deal(future);
    let mut cells = layout.cells(spec, &play, 0, futures);
    if let [cell] = cells.as_mut_slice() {
        for (number, invocation) in (0..).zip(play.invocations) {
            cell.offer(number, invocation);
        }
    } else {
        play_in_batches(&layout, &mut cells, 0, play.invocations);
    }
    let (records, sums) = finish(cells);
    layout.record(spec, play.functions, records, sums)
}

/// As [`simulate`], with the cells dealt to `shards` threads, each of which makes the stream of
/// invocations anew and leaves out what is not for its cells. Racks that depend on each other are one
/// cell, and so one shard.
pub fn simulate_sharded<I, F>(spec: &Spec, play: &Play<'_, F>, shards: usize) -> RunRecord
where
    I: Iterator<Item = Invocation>,
    F: Fn() -> I + Sync,
{
    let layout = Layout::new(spec, play.functions);
    let future = match spec.system.keep_alive.looks_ahead() {
        true => arrivals(play.functions.len(), (play.invocations)()),
        false => Vec::new(),
    };
    let count = layout.members.len();
    let shards = shards.clamp(1, count);
    let mut futures = layout.deal(future).into_iter();
    let dealt: Vec<(usize, Vec<_>)> = (0..shards)
        .map(|shard| {
            let own = count * shard / shards..count * (shard + 1) / shards;
            (own.start, futures.by_ref().take(own.len()).collect())
        })
        .collect();
    let played: Vec<(Vec<CellRecord>, Sums)> = dealt
        .into_par_iter()
        .map(|(first, futures)| {
            let mut cells = layout.cells(spec, play, first, futures);
            play_in_batches(&layout, &mut cells, first, (play.invocations)());
            finish(cells)
        })
        .collect();
    let (records, sums): (Vec<_>, Vec<_>) = played.into_iter().unzip();
    layout.record(spec, play.functions, records.into_iter().flatten().collect(), add_up(sums))
}

/// As [`simulate`] on a workload that comes in parts, one for each rack that is played apart: `parts`
/// has the number of invocations of each, and the play makes a part's stream from its number. No part
/// knows of another, so each is drawn once, when a thread comes to it, the largest first; what a cell
/// needs is there only while it is played. Invocations are numbered in their part, not in the workload:
/// see [`needs_numbers`].
///
/// # Panics
/// If functions are not at home in as many racks as there are parts, or a part has a function of another.
pub fn simulate_in_parts<I, F>(spec: &Spec, play: &Play<'_, F>, parts: &[u64]) -> RunRecord
where
    I: Iterator<Item = Invocation>,
    F: Fn(u32) -> I + Sync,
{
    let layout = Layout::new(spec, play.functions);
    let count = layout.members.len();
    assert_eq!(count, parts.len(), "cells and parts of the workload");
    let mut order: Vec<u32> = (0..count as u32).collect();
    order.sort_by_key(|&cell| Reverse(parts[cell as usize]));
    let play_cell = |number: u32| {
        let own = |invocation: Invocation| {
            let (cell, function) = layout.route[invocation.function().index()];
            assert_eq!(cell, number, "a part has an invocation of another part's function");
            Invocation::new(invocation.arrival(), FunctionId(function), invocation.service())
        };
        let future = match spec.system.keep_alive.looks_ahead() {
            true => {
                let own = (play.invocations)(number).map(own);
                arrivals(layout.members[number as usize].len(), own)
            }
            false => Vec::new(),
        };
        let mut cell = layout.cell(spec, play, number as usize, future);
        for (number, invocation) in (0..).zip((play.invocations)(number).map(own)) {
            cell.offer(number, invocation);
        }
        cell.finish()
    };
    // Taken one by one: an iterator of rayon's would deal the large ones at the front to one thread.
    let next = AtomicUsize::new(0);
    let worker = |_| {
        let mut records = Vec::new();
        let turns = std::iter::from_fn(|| order.get(next.fetch_add(1, Ordering::Relaxed)));
        let sums = turns.map(|&number| {
            let (record, sums) = play_cell(number);
            records.push((number, record));
            sums
        });
        let sums = sums.reduce(Sums::merge);
        (records, sums)
    };
    let played: Vec<(Numbered, Option<Sums>)> =
        (0..rayon::current_num_threads()).into_par_iter().with_max_len(1).map(worker).collect();
    let (records, sums): (Vec<_>, Vec<_>) = played.into_iter().unzip();
    let mut records: Vec<_> = records.into_iter().flatten().collect();
    records.sort_by_key(|(number, _)| *number);
    let records = records.into_iter().map(|(_, record)| record).collect();
    layout.record(spec, play.functions, records, add_up(sums.into_iter().flatten()))
}

/// Records of cells, each with the cell's number.
type Numbered = Vec<(u32, CellRecord)>;

fn finish(cells: Vec<Cell>) -> (Vec<CellRecord>, Sums) {
    let mut records = Vec::with_capacity(cells.len());
    let sums = cells.into_iter().map(|cell| {
        let (record, sums) = cell.finish();
        records.push(record);
        sums
    });
    let sums = add_up(sums);
    (records, sums)
}

fn add_up(sums: impl IntoIterator<Item = Sums>) -> Sums {
    sums.into_iter().reduce(Sums::merge).expect("a cluster has a cell")
}

/// Whether anything in the spec's results depends on the number of an invocation in its workload: the
/// records of single invocations, and what is drawn for each by its number.
pub fn needs_numbers(spec: &Spec) -> bool {
    let draws = spec.machine.rdma.read_variation > 0.0 && spec.system.reads_rdma();
    spec.output.invocations || spec.output.timeline.is_some() || draws
}

/// Arrivals of each function, in order of time.
fn arrivals(functions: usize, invocations: impl Iterator<Item = Invocation>) -> Vec<Vec<Instant>> {
    let mut of_function = vec![Vec::new(); functions];
    for invocation in invocations {
        of_function[invocation.function().index()].push(invocation.arrival());
    }
    of_function
}

/// Invocations that are handed to a cell together: as long as one cell is at work, what it needs
/// stays in the processor's caches.
const BATCH: usize = 4096;

/// Most invocations that wait for their cells, over all cells: 6 MB.
const WAITING: usize = 1 << 18;

/// Plays a stream on the cells from number `first` on; invocations of other cells are left out.
fn play_in_batches(
    layout: &Layout,
    cells: &mut [Cell],
    first: usize,
    invocations: impl Iterator<Item = Invocation>,
) {
    let batch = BATCH.min(WAITING / cells.len().max(1)).max(1);
    let mut batches: Vec<Vec<(u64, Invocation)>> = Vec::new();
    batches.resize_with(cells.len(), || Vec::with_capacity(batch));
    let play = |cell: &mut Cell, batch: &mut Vec<(u64, Invocation)>| {
        for (number, invocation) in batch.drain(..) {
            cell.offer(number, invocation);
        }
    };
    for (number, invocation) in (0..).zip(invocations) {
        let (cell, function) = layout.route[invocation.function().index()];
        let Some(cell) = (cell as usize).checked_sub(first).filter(|&cell| cell < cells.len()) else {
            continue;
        };
        let local = Invocation::new(invocation.arrival(), FunctionId(function), invocation.service());
        batches[cell].push((number, local));
        if batches[cell].len() == batch {
            play(&mut cells[cell], &mut batches[cell]);
        }
    }
    for (cell, batch) in cells.iter_mut().zip(&mut batches) {
        play(cell, batch);
    }
}

/// Which functions belong to which cell.
struct Layout {
    /// Numbers of each cell's functions.
    members: Vec<Vec<u32>>,
    /// Each function's cell, and its number there.
    route: Vec<(u32, u32)>,
}

impl Layout {
    fn new(spec: &Spec, functions: &[Function]) -> Self {
        let cells = if spec.placement.racks_are_independent() { spec.cluster.racks } else { 1 };
        let mut members = vec![Vec::new(); cells as usize];
        let mut route = Vec::with_capacity(functions.len());
        for number in 0..functions.len() as u32 {
            let cell = if cells == 1 { 0 } else { home_rack(FunctionId(number), cells) };
            let of_cell: &mut Vec<u32> = &mut members[cell as usize];
            route.push((cell, of_cell.len() as u32));
            of_cell.push(number);
        }
        Self { members, route }
    }

    /// Deals the arrivals of every function, or none, to the cells.
    fn deal(&self, future: Vec<Vec<Instant>>) -> Vec<Vec<Vec<Instant>>> {
        let mut futures = vec![Vec::new(); self.members.len()];
        for (arrivals, &(cell, _)) in future.into_iter().zip(&self.route) {
            futures[cell as usize].push(arrivals);
        }
        futures
    }

    /// The cells from number `first` on, one for each of the futures.
    fn cells<I>(
        &self,
        spec: &Spec,
        play: &Play<'_, I>,
        first: usize,
        futures: Vec<Vec<Vec<Instant>>>,
    ) -> Vec<Cell> {
        (first..).zip(futures).map(|(cell, future)| self.cell(spec, play, cell, future)).collect()
    }

    /// One cell.
    fn cell<I>(&self, spec: &Spec, play: &Play<'_, I>, number: usize, future: Vec<Vec<Instant>>) -> Cell {
        let measured = Measured { from: Instant::ZERO + play.burn_in, until: Instant::ZERO + play.span };
        let members = self.members[number].iter();
        let functions: Vec<(u32, &Function)> =
            members.map(|&number| (number, &play.functions[number as usize])).collect();
        let place = (number as u32, self.members.len() as u32);
        Cell::new(spec, &functions, future, measured, play.seed, place)
    }

    /// The record of the whole cluster.
    fn record(&self, spec: &Spec, functions: &[Function], records: Vec<CellRecord>, sums: Sums) -> RunRecord {
        let mut table: Vec<_> = functions.iter().map(|_| None).collect();
        let mut whole = RunRecord::default();
        let (mut nodes, mut devices) = (Vec::new(), Vec::new());
        for (members, record) in self.members.iter().zip(records) {
            for (&number, function) in members.iter().zip(record.functions) {
                table[number as usize] = Some(function);
            }
            // Functions have numbers of their own in their cell.
            whole.invocations.extend(record.invocations.into_iter().map(|mut invocation| {
                invocation.function = members[invocation.function as usize];
                invocation.node = invocation.node.map(|node| node + nodes.len() as u32);
                invocation
            }));
            if let Some(timeline) = record.timeline {
                let whole = whole.timeline.get_or_insert_with(|| Timeline::new(timeline.window));
                let before = (nodes.len() as u32, devices.len() as u32);
                crate::timeline::add(whole, timeline, members, before);
            }
            nodes.extend(record.nodes);
            devices.extend(record.devices);
            for warning in record.warnings {
                if !whole.warnings.contains(&warning) {
                    whole.warnings.push(warning);
                }
            }
        }
        whole.invocations.sort_by_key(|invocation| invocation.number);
        whole.functions = table.into_iter().flatten().collect();
        whole.starts = sums.starts.finish();
        whole.memory = sums.accounting.finish();
        whole.counters = sums.counters;
        whole.memory.nodes = nodes;
        whole.memory.devices = devices;
        crate::warnings::of_outcomes(spec, &mut whole);
        whole
    }
}

impl Sums {
    fn merge(mut self, other: Self) -> Self {
        add_counters(&mut self.counters, &other.counters);
        Self {
            starts: self.starts.merge(&other.starts),
            accounting: self.accounting.merge(other.accounting),
            counters: self.counters,
        }
    }
}

fn add_counters(sum: &mut Counters, more: &Counters) {
    // Named one by one, so that a new counter cannot be forgotten here.
    let Counters {
        created,
        repurposed,
        expired,
        evicted,
        queued,
        overcommitted,
        pre_warmed,
        demoted,
        promoted,
        lost,
        filled,
        displaced,
        without_template,
        browsers,
        events,
    } = more;
    sum.created += created;
    sum.repurposed += repurposed;
    sum.expired += expired;
    sum.evicted += evicted;
    sum.queued += queued;
    sum.overcommitted += overcommitted;
    sum.pre_warmed += pre_warmed;
    sum.demoted += demoted;
    sum.promoted += promoted;
    sum.lost += lost;
    sum.filled += filled;
    sum.displaced += displaced;
    sum.without_template += without_template;
    sum.browsers += browsers;
    sum.events += events;
}
