//! Record files: one file per table, units in column names, the same bytes for the same run.
//!
//! | file | one row per |
//! |---|---|
//! | `functions.csv` | function: counts by outcome and by start, sums |
//! | `starts.csv` | start kind: sums |
//! | `latency.csv` | filled histogram bucket; `.zst` where there are many |
//! | `memory.csv` | sample |
//! | `places.csv` | node, CXL device, RDMA pool: memory |
//! | `counters.json` | (one object) counters, and memory over the measured part |
//! | `warnings.txt` | warning |
//! | `agents.csv` | function that is an agent, where there are any: tokens, times, costs |
//! | `invocations.csv.zst` | invocation, where the experiment asks for them |
//! | `timeline.json.gz` | (one object) event of the timeline, where the experiment asks for one; never read back |
//! | `lateness.csv` | filled histogram bucket, where the world plays in real time |
//! | `decisions.jsonl.zst` | input of the control plane with its commands, where the world cannot be played again |

mod agents;
mod counters;
mod decisions;
mod functions;
mod invocations;
mod latency;
mod lateness;
mod memory;
mod places;
mod sink;
mod table;
mod timeline;
mod warnings;

use crate::error::StoreError;
use platform::RunRecord;
use platform::records::{FunctionRecord, StartRecord};
pub(crate) use sink::{FileNote, Sink, note_of};
use std::collections::BTreeMap;
use std::path::Path;

/// The file that ui.perfetto.dev opens.
pub(crate) const TIMELINE: &str = "timeline.json.gz";

/// Buckets from which on the distributions are compressed.
const PLAIN_BUCKETS: usize = 50_000;

/// Writes every record file of a run into a folder; notes what was written, by file name.
pub(crate) fn write(record: &RunRecord, folder: &Path) -> Result<BTreeMap<String, FileNote>, StoreError> {
    let mut files = BTreeMap::new();
    let mut file =
        |name: &str, fill: &dyn Fn(&mut Sink) -> Result<(), StoreError>| -> Result<(), StoreError> {
            let mut sink = Sink::create(&folder.join(name))?;
            fill(&mut sink)?;
            files.insert(name.to_owned(), sink.finish()?);
            Ok(())
        };
    file("functions.csv", &|sink| functions::write_functions(&record.functions, sink))?;
    file("starts.csv", &|sink| functions::write_starts(&record.starts, sink))?;
    file(latency_name(record), &|sink| latency::write(record, sink))?;
    file("memory.csv", &|sink| memory::write(&record.memory.samples, sink))?;
    file("places.csv", &|sink| places::write(&record.memory, sink))?;
    file("counters.json", &|sink| counters::write(record, sink))?;
    file("warnings.txt", &|sink| warnings::write(&record.warnings, sink))?;
    if record.functions.iter().any(|function| function.agent.is_some()) {
        file("agents.csv", &|sink| agents::write(&record.functions, sink))?;
    }
    if !record.invocations.is_empty() {
        file("invocations.csv.zst", &|sink| invocations::write(&record.invocations, sink))?;
    }
    if let Some(timeline) = &record.timeline {
        file(TIMELINE, &|sink| timeline::write(timeline, &record.functions, sink))?;
    }
    if !record.lateness.buckets.is_empty() {
        file("lateness.csv", &|sink| lateness::write(&record.lateness, sink))?;
    }
    if !record.decisions.is_empty() {
        file("decisions.jsonl.zst", &|sink| decisions::write(&record.decisions, sink))?;
    }
    Ok(files)
}

/// Reads the record files of a folder; `files` are their names.
pub(crate) fn read(folder: &Path, files: &BTreeMap<String, FileNote>) -> Result<RunRecord, StoreError> {
    let mut functions = functions::read_functions(&folder.join("functions.csv"))?;
    let mut starts = functions::read_starts(&folder.join("starts.csv"))?;
    let latency = if files.contains_key("latency.csv.zst") { "latency.csv.zst" } else { "latency.csv" };
    latency::read(&folder.join(latency), &mut functions, &mut starts)?;
    let (counters, mut memory) = counters::read(&folder.join("counters.json"))?;
    memory.samples = memory::read(&folder.join("memory.csv"))?;
    places::read(&folder.join("places.csv"), &mut memory)?;
    if files.contains_key("agents.csv") {
        agents::read(&folder.join("agents.csv"), &mut functions)?;
    }
    let invocations = if files.contains_key("invocations.csv.zst") {
        invocations::read(&folder.join("invocations.csv.zst"))?
    } else {
        Vec::new()
    };
    let warnings = warnings::read(&folder.join("warnings.txt"))?;
    let mut record =
        RunRecord { functions, starts, memory, counters, warnings, invocations, ..RunRecord::default() };
    if files.contains_key("lateness.csv") {
        record.lateness = lateness::read(&folder.join("lateness.csv"))?;
    }
    if files.contains_key("decisions.jsonl.zst") {
        record.decisions = decisions::read(&folder.join("decisions.jsonl.zst"))?;
    }
    Ok(record)
}

fn latency_name(record: &RunRecord) -> &'static str {
    let of_function = |f: &FunctionRecord| f.end_to_end.buckets.len() + f.startup.buckets.len();
    let of_start = |s: &StartRecord| {
        s.queueing.buckets.len()
            + s.startup.buckets.len()
            + s.service.buckets.len()
            + s.end_to_end.buckets.len()
    };
    let buckets: usize = record.functions.iter().map(of_function).sum::<usize>()
        + record.starts.iter().map(of_start).sum::<usize>();
    if buckets > PLAIN_BUCKETS { "latency.csv.zst" } else { "latency.csv" }
}
