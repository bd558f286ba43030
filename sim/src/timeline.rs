//! Records a window of a run for a timeline: what every sandbox is at, what every place holds.
//!
//! It only looks: a run with a timeline gives the same other records as one without. What sandboxes
//! hold is followed from the beginning of the run on, so that it is known when the window begins.

use crate::costs::Costs;
use platform::memory::{ByClass, MemoryClass};
use platform::records::{
    Amount, StartKind, Step, Timeline, TimelineLevel, TimelineMark, TimelinePlace, TimelineSlice,
    TimelineWait, TimelineWindow,
};
use traces::{Duration, Instant};

/// Events of a timeline, all cells together: about 300 MB of JSON, which the viewer still opens.
const MOST: usize = 2_000_000;

/// What a sandbox is at, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct Doing {
    /// Its node.
    pub node: u32,
    /// Its function.
    pub function: u32,
    /// Position in the workload of the invocation, if there is one.
    pub invocation: Option<u64>,
    /// How that invocation got it.
    pub start: Option<StartKind>,
    /// What it is at.
    pub what: What,
}

/// What a sandbox is at.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// One thing.
    Step(Step),
    /// A stage of [`Costs::stages`], whose work begins then.
    Stage(u32, Instant),
}

/// The recorder of one cell.
pub struct Recorder {
    most: usize,
    taken: usize,
    nodes: u32,
    /// Whether the window has begun.
    begun: bool,
    /// By sandbox: since when it is at what.
    open: Vec<Option<(Instant, Doing)>>,
    /// What is held by nodes, then devices, then the cluster, and cores in use.
    held: Vec<(ByClass, u32)>,
    /// The level that was entered last for each of those.
    last: Vec<[Option<u32>; AMOUNTS]>,
    timeline: Timeline,
}

/// The memory classes, and cores.
const AMOUNTS: usize = MemoryClass::COUNT + 1;

impl Recorder {
    /// A recorder of one of so many cells, each with so many nodes and racks.
    pub fn new(window: TimelineWindow, nodes: u32, racks: u32, cells: u32) -> Self {
        let places = (nodes + racks + 1) as usize;
        Self {
            most: MOST / cells as usize,
            taken: 0,
            nodes,
            begun: false,
            open: Vec::new(),
            held: vec![(ByClass::default(), 0); places],
            last: vec![[None; AMOUNTS]; places],
            timeline: Timeline { nodes, ..Timeline::new(window) },
        }
    }

    /// The sandbox is at something else from now on, or at nothing.
    pub fn turn(&mut self, costs: &Costs, now: Instant, sandbox: u32, to: Option<Doing>) {
        let index = sandbox as usize;
        if self.open.len() <= index {
            self.open.resize(index + 1, None);
        }
        if let Some((begin, doing)) = self.open[index].take() {
            self.close(costs, sandbox, begin, now, &doing);
        }
        self.open[index] = to.map(|doing| (now, doing));
    }

    /// An invocation has ended that waited before it was run.
    pub fn waited(&mut self, invocation: u64, function: u32, begin: Instant, length: Duration) {
        if let Some((begin, length)) = self.clip(begin, begin + length)
            && self.has_room()
        {
            self.timeline.waits.push(TimelineWait { invocation, function, begin, length });
        }
    }

    /// Something happens.
    pub fn mark(&mut self, mark: TimelineMark) {
        let TimelineWindow { from, until } = self.timeline.window;
        if (from..=until).contains(&mark.at) && self.has_room() {
            self.timeline.marks.push(mark);
        }
    }

    /// A place holds something else from now on.
    pub fn hold(&mut self, now: Instant, place: TimelinePlace, from: &ByClass, to: &ByClass) {
        self.begin(now);
        let index = self.index(place);
        for class in MemoryClass::ALL {
            let (less, more) = (from.get(class), to.get(class));
            if less != more {
                let held = &mut self.held[index].0;
                held.add(class, more);
                held.take(class, less);
                let value = held.get(class).0;
                self.level(now, place, Amount::Memory(class), value);
            }
        }
    }

    /// So many cores of a node are in use from now on.
    pub fn use_cores(&mut self, now: Instant, node: u32, cores: u32) {
        self.begin(now);
        let before = &mut self.held[node as usize].1;
        if *before != cores {
            *before = cores;
            self.level(now, TimelinePlace::Node(node), Amount::Cores, cores.into());
        }
    }

    /// The timeline, at the end of the run.
    pub fn finish(mut self, costs: &Costs, now: Instant) -> Timeline {
        let until = self.timeline.window.until;
        self.begin(until);
        for sandbox in 0..self.open.len() as u32 {
            self.turn(costs, now, sandbox, None);
        }
        self.timeline
    }

    fn close(&mut self, costs: &Costs, sandbox: u32, begin: Instant, end: Instant, doing: &Doing) {
        match doing.what {
            What::Step(step) => self.slice(sandbox, begin, end, doing, step, false),
            What::Stage(stage, work_begins) => {
                let parts = costs.parts_of(stage);
                let mut at = begin;
                if let Some(first) = parts.first() {
                    at = work_begins.clamp(begin, end);
                    self.slice(sandbox, begin, at, doing, first.step, true);
                }
                for (index, part) in parts.iter().enumerate() {
                    // The last takes what is left: work that is shared takes longer than alone.
                    let is_last = index + 1 == parts.len();
                    let until = if is_last { end } else { (at + part.work).min(end) };
                    self.slice(sandbox, at, until, doing, part.step, false);
                    at = until;
                }
            }
        }
    }

    fn slice(&mut self, sandbox: u32, begin: Instant, end: Instant, doing: &Doing, step: Step, waits: bool) {
        let Some((begin, length)) = self.clip(begin, end) else { return };
        let &Doing { node, function, invocation, start, .. } = doing;
        if self.has_room() {
            let slice =
                TimelineSlice { node, sandbox, begin, length, step, waits, function, invocation, start };
            self.timeline.slices.push(slice);
        }
    }

    /// What of it lies in the window.
    fn clip(&self, begin: Instant, end: Instant) -> Option<(Instant, Duration)> {
        let TimelineWindow { from, until } = self.timeline.window;
        let (begin, end) = (begin.max(from), end.min(until));
        (end > begin).then(|| (begin, end.since(begin)))
    }

    /// Enters everything that is held when the window begins.
    fn begin(&mut self, now: Instant) {
        let from = self.timeline.window.from;
        if self.begun || now < from {
            return;
        }
        self.begun = true;
        for index in 0..self.held.len() {
            let (held, cores) = self.held[index];
            let place = self.place(index);
            for class in MemoryClass::ALL {
                if held.get(class).0 > 0 {
                    self.level(from, place, Amount::Memory(class), held.get(class).0);
                }
            }
            if cores > 0 {
                self.level(from, place, Amount::Cores, cores.into());
            }
        }
    }

    fn level(&mut self, at: Instant, place: TimelinePlace, of: Amount, value: u64) {
        let TimelineWindow { from, until } = self.timeline.window;
        if !(from..=until).contains(&at) {
            return;
        }
        let amount = slot(of);
        let index = self.index(place);
        if let Some(last) = self.last[index][amount]
            && let before = &mut self.timeline.levels[last as usize]
            && before.at == at
        {
            before.value = value;
        } else if self.has_room() {
            self.last[index][amount] = Some(self.timeline.levels.len() as u32);
            self.timeline.levels.push(TimelineLevel { at, place, of, value });
        }
    }

    fn index(&self, place: TimelinePlace) -> usize {
        match place {
            TimelinePlace::Node(node) => node as usize,
            TimelinePlace::Device(rack) => (self.nodes + rack) as usize,
            TimelinePlace::Cluster => self.held.len() - 1,
        }
    }

    fn place(&self, index: usize) -> TimelinePlace {
        match (index as u32).checked_sub(self.nodes) {
            None => TimelinePlace::Node(index as u32),
            Some(_) if index + 1 == self.held.len() => TimelinePlace::Cluster,
            Some(rack) => TimelinePlace::Device(rack),
        }
    }

    fn has_room(&mut self) -> bool {
        let has_room = self.taken < self.most;
        self.taken += usize::from(has_room);
        self.timeline.dropped += u64::from(!has_room);
        has_room
    }
}

/// Adds the timeline of a cell whose functions have these numbers in the cluster, and whose
/// nodes and racks come after so many.
pub fn add(whole: &mut Timeline, cell: Timeline, functions: &[u32], (nodes, racks): (u32, u32)) {
    let function = |own: u32| functions[own as usize];
    let place = |own: TimelinePlace| match own {
        TimelinePlace::Cluster => TimelinePlace::Cluster,
        TimelinePlace::Node(node) => TimelinePlace::Node(nodes + node),
        TimelinePlace::Device(rack) => TimelinePlace::Device(racks + rack),
    };
    whole.nodes += cell.nodes;
    whole.dropped += cell.dropped;
    whole.slices.extend(cell.slices.into_iter().map(|slice| TimelineSlice {
        node: nodes + slice.node,
        function: function(slice.function),
        ..slice
    }));
    whole.waits.extend(
        cell.waits.into_iter().map(|wait| TimelineWait { function: function(wait.function), ..wait }),
    );
    for mark in cell.marks {
        let mark = TimelineMark { place: place(mark.place), function: mark.function.map(function), ..mark };
        // What fails as one thing for all cells is marked by each of them.
        let is_of_all = mark.place == TimelinePlace::Cluster && mark.function.is_none();
        if !(is_of_all && whole.marks.contains(&mark)) {
            whole.marks.push(mark);
        }
    }
    let of_all = |level: &TimelineLevel| level.place == TimelinePlace::Cluster;
    let (shared, own): (Vec<_>, Vec<_>) = cell.levels.into_iter().partition(of_all);
    whole.levels.extend(own.into_iter().map(|level| TimelineLevel { place: place(level.place), ..level }));
    if shared.is_empty() {
        return;
    }
    let before: Vec<_> = whole.levels.extract_if(.., |level| of_all(level)).collect();
    whole.levels.extend(summed(&before, &shared));
}

/// Levels of the cluster as a whole, of which each part says what it holds: from every change of one
/// part on, what both hold together.
fn summed(one: &[TimelineLevel], other: &[TimelineLevel]) -> Vec<TimelineLevel> {
    let mut changes: Vec<(usize, TimelineLevel)> = one.iter().map(|&level| (0, level)).collect();
    changes.extend(other.iter().map(|&level| (1, level)));
    changes.sort_by_key(|(_, level)| level.at);
    let mut held = [[0; AMOUNTS]; 2];
    let mut sums: Vec<TimelineLevel> = Vec::with_capacity(changes.len());
    for (part, level) in changes {
        let amount = slot(level.of);
        held[part][amount] = level.value;
        let sum = TimelineLevel { value: held[0][amount] + held[1][amount], ..level };
        let same = sums.iter_mut().rev().take_while(|last| last.at == sum.at).find(|last| last.of == sum.of);
        match same {
            Some(same) => *same = sum,
            None => sums.push(sum),
        }
    }
    sums
}

/// The place of an amount among those of one place.
fn slot(of: Amount) -> usize {
    match of {
        Amount::Memory(class) => class as usize,
        Amount::Cores => MemoryClass::COUNT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::records::Happening;

    #[test]
    fn what_cells_hold_together_is_the_sum_of_what_each_holds_then() {
        // One cell holds 5 from 1 s on and 2 from 4 s on, the other 1 from 1 s, 0 from 3 s, 7 from 4 s.
        let levels = |of: &[(u64, u64)]| -> Vec<TimelineLevel> {
            let level = |&(second, value): &(u64, u64)| TimelineLevel {
                at: Instant::ZERO + Duration::from_secs(second),
                place: TimelinePlace::Cluster,
                of: Amount::Memory(MemoryClass::PoolRdma),
                value,
            };
            of.iter().map(level).collect()
        };
        let both = summed(&levels(&[(1, 5), (4, 2)]), &levels(&[(1, 1), (3, 0), (4, 7)]));
        assert_eq!(both, levels(&[(1, 6), (3, 5), (4, 9)]));
    }

    #[test]
    fn what_is_too_much_is_counted_and_not_kept() {
        let at = |second| Instant::ZERO + Duration::from_secs(second);
        let window = TimelineWindow { from: at(10), until: at(20) };
        // As many cells as there may be events: one each.
        let mut recorder = Recorder::new(window, 1, 1, MOST as u32);
        for second in [5, 10, 15, 25] {
            let (place, what) = (TimelinePlace::Node(0), Happening::Expired);
            recorder.mark(TimelineMark { at: at(second), place, sandbox: Some(3), what, function: None });
        }
        recorder.waited(0, 0, at(1), Duration::from_secs(10));
        let Timeline { marks, waits, dropped, .. } = recorder.timeline;
        // The first that lies in the window is kept; outside of it nothing counts.
        assert_eq!((marks.len(), marks[0].at, waits.len(), dropped), (1, at(10), 0, 2));
    }
}
