//! The simulated world as a whole: cells, which workload goes to which, and their records put
//! together.
//!
//! A cell is a set of nodes and functions that has nothing to do with any other: the whole cluster,
//! or one rack where every function stays in its home rack. Cells are played by the same code
//! whether they share a thread or not, so a sharded run gives the same bytes as an unsharded one.

use crate::accounting::Measured;
use crate::cell::{Cell, CellRecord};
use configs::Spec;
use platform::policy::placement::home_rack;
use platform::records::{Counters, RunRecord, Timeline};
use rayon::prelude::*;
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
    let records = cells.into_iter().map(Cell::finish).collect();
    layout.record(spec, play.functions, records)
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
    let records: Vec<Vec<CellRecord>> = dealt
        .into_par_iter()
        .map(|(first, futures)| {
            let mut cells = layout.cells(spec, play, first, futures);
            play_in_batches(&layout, &mut cells, first, (play.invocations)());
            cells.into_iter().map(Cell::finish).collect()
        })
        .collect();
    layout.record(spec, play.functions, records.into_iter().flatten().collect())
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

/// Plays a stream on the cells from number `first` on; invocations of other cells are left out.
fn play_in_batches(
    layout: &Layout,
    cells: &mut [Cell],
    first: usize,
    invocations: impl Iterator<Item = Invocation>,
) {
    let mut batches: Vec<Vec<(u64, Invocation)>> = vec![Vec::with_capacity(BATCH); cells.len()];
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
        if batches[cell].len() == BATCH {
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
        let measured = Measured { from: Instant::ZERO + play.burn_in, until: Instant::ZERO + play.span };
        (first..)
            .zip(futures)
            .map(|(cell, future)| {
                let functions: Vec<(u32, &Function)> = self.members[cell]
                    .iter()
                    .map(|&number| (number, &play.functions[number as usize]))
                    .collect();
                let place = (cell as u32, self.members.len() as u32);
                Cell::new(spec, &functions, future, measured, play.seed, place)
            })
            .collect()
    }

    /// The record of the whole cluster.
    fn record(&self, spec: &Spec, functions: &[Function], records: Vec<CellRecord>) -> RunRecord {
        let mut table: Vec<_> = functions.iter().map(|_| None).collect();
        let mut whole = RunRecord::default();
        let mut accounting = None;
        let mut starts = None;
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
            add_counters(&mut whole.counters, &record.counters);
            nodes.extend(record.nodes);
            devices.extend(record.devices);
            for warning in record.warnings {
                if !whole.warnings.contains(&warning) {
                    whole.warnings.push(warning);
                }
            }
            accounting = Some(match accounting.take() {
                None => record.accounting,
                Some(before) => crate::accounting::Accounting::merge(before, record.accounting),
            });
            starts = Some(match starts.take() {
                None => record.starts,
                Some(before) => platform::recorder::Starts::merge(before, &record.starts),
            });
        }
        whole.invocations.sort_by_key(|invocation| invocation.number);
        whole.functions = table.into_iter().flatten().collect();
        whole.starts = starts.map(|starts| starts.finish()).unwrap_or_default();
        whole.memory = accounting.map(|accounting| accounting.finish()).unwrap_or_default();
        whole.memory.nodes = nodes;
        whole.memory.devices = devices;
        crate::warnings::of_outcomes(spec, &mut whole);
        whole
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
