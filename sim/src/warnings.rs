//! What to check before believing the results.

use configs::Spec;
use platform::records::{Outcome, RunRecord, Timeline};
use platform::system::{Dedup, PageSource, State, System};
use traces::Bytes;

/// A pool that is smaller than what it has to hold from the beginning.
pub fn of_pool(name: &str, needed: Bytes, capacity: Bytes) -> Option<String> {
    (needed > capacity).then(|| {
        format!(
            "templates and snapshots need {needed} of the {name} pool, which has {capacity}: the model goes on as if they fitted"
        )
    })
}

/// A device that more nodes share than it has ports.
pub fn of_ports(spec: &Spec) -> Option<String> {
    let nodes = spec.cluster.nodes / spec.cluster.racks;
    let ports = spec.machine.cxl.ports;
    (spec.system.uses_cxl() && nodes > ports).then(|| {
        format!("{nodes} nodes share a CXL device of {ports} ports: raise cluster.racks, or cxl.ports")
    })
}

/// Deduplication that is asked for and has nothing to work on: what functions have in common is only
/// looked for in templates that are attached from a CXL device.
pub fn of_dedup(system: &System) -> Option<String> {
    let applies =
        system.state == State::Attach && matches!(system.pages, PageSource::Cxl | PageSource::Tiered);
    (system.dedup == Dedup::AcrossFunctions && !applies).then(|| {
        format!(
            "dedup = \"across-functions\" changes nothing for {}: it needs state = \"attach\" and pages = \"cxl\" or \"tiered\", here they are \"{}\" and \"{}\"",
            system.name,
            system.state.word(),
            system.pages.word(),
        )
    })
}

/// What outcomes and counters say about the results.
pub fn of_outcomes(spec: &Spec, record: &mut RunRecord) {
    let ended = |outcome: Outcome| record.functions.iter().map(|f| f.outcomes[outcome as usize]).sum::<u64>();
    let said = [
        (
            record.counters.overcommitted,
            "times node DRAM was exceeded with nothing idle left to evict: a real node would have swapped or killed",
        ),
        (
            ended(Outcome::TimedOut),
            "measured invocations waited longer than cluster.queue_timeout and are in no latency",
        ),
        (
            ended(Outcome::Rejected),
            "measured invocations are of functions that declare more than cluster.memory_cap and never ran",
        ),
        (
            ended(Outcome::Failed),
            "measured invocations were lost with a node or a pool and are in no latency",
        ),
        (
            ended(Outcome::Unfinished),
            "measured invocations could not run before the end and are in no latency",
        ),
        (
            record.counters.without_template,
            "starts had to do without their template or parent, which could not be had",
        ),
    ];
    record.warnings.extend(said.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")));
    record.warnings.extend(of_ports(spec));
    record.warnings.extend(of_dedup(&spec.system));
    if let Some(timeline) = &record.timeline {
        record.warnings.extend(of_timeline(timeline));
    }
}

/// A timeline that lacks something.
fn of_timeline(timeline: &Timeline) -> Option<String> {
    if timeline.dropped > 0 {
        let dropped = timeline.dropped;
        return Some(format!(
            "{dropped} events of the timeline were left out: choose a shorter output.timeline"
        ));
    }
    let is_empty = timeline.slices.is_empty() && timeline.waits.is_empty();
    is_empty.then(|| "nothing ran within output.timeline".to_owned())
}
