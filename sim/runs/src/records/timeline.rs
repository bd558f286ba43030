//! `timeline.json.gz`: a part of a run in the trace format that ui.perfetto.dev opens (Chrome's JSON
//! trace events). Written only: nothing is computed from it.
//!
//! A node is a process, a sandbox a thread of it; a CXL device is a process without threads. What
//! sandboxes are at are complete events (`X`), waits for memory or a start slot asynchronous ones
//! (`b`, `e`) of the process of the cluster, which is number 0. Times are microseconds.

use super::sink::Sink;
use crate::error::StoreError;
use flate2::{Compression, GzBuilder};
use platform::records::{
    Amount, FunctionRecord, Timeline, TimelineLevel, TimelineMark, TimelinePlace, TimelineSlice, TimelineWait,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use traces::{Duration, Instant};

pub(crate) fn write(
    timeline: &Timeline,
    functions: &[FunctionRecord],
    sink: &mut Sink,
) -> Result<(), StoreError> {
    let path = sink.path().to_owned();
    let write = || -> io::Result<()> {
        // No time of writing in the head: the same run gives the same bytes.
        let gzip = GzBuilder::new().mtime(0).write(sink, Compression::new(6));
        let mut events = Events { out: BufWriter::new(gzip), timeline, functions, is_first: true };
        events.all()?;
        events.out.into_inner()?.finish()?;
        Ok(())
    };
    write().map_err(StoreError::io(&path, "writing"))
}

struct Events<'a, W: Write> {
    out: BufWriter<W>,
    timeline: &'a Timeline,
    functions: &'a [FunctionRecord],
    is_first: bool,
}

impl<W: Write> Events<'_, W> {
    fn all(&mut self) -> io::Result<()> {
        let timeline = self.timeline;
        write!(self.out, "{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[")?;
        self.names()?;
        timeline.slices.iter().try_for_each(|slice| self.slice(slice))?;
        timeline.waits.iter().try_for_each(|wait| self.wait(wait))?;
        timeline.marks.iter().try_for_each(|mark| self.mark(mark))?;
        timeline.levels.iter().try_for_each(|level| self.level(level))?;
        writeln!(self.out, "\n]}}")
    }

    /// Names of processes and threads, in the order of their numbers.
    fn names(&mut self) -> io::Result<()> {
        let timeline = self.timeline;
        let of_levels = timeline.levels.iter().map(|level| level.place);
        let of_marks = timeline.marks.iter().map(|mark| mark.place);
        let nodes = (0..timeline.nodes).map(TimelinePlace::Node);
        let places: BTreeSet<TimelinePlace> =
            of_levels.chain(of_marks).chain(nodes).chain([TimelinePlace::Cluster]).collect();
        for place in places {
            let (pid, name) = (self.process(place), name_of(place));
            self.event(&json!({"ph": "M", "name": "process_name", "pid": pid, "args": {"name": name}}))?;
            self.event(
                &json!({"ph": "M", "name": "process_sort_index", "pid": pid, "args": {"sort_index": pid}}),
            )?;
        }
        let of_slices = timeline.slices.iter().map(|slice| (slice.node, slice.sandbox));
        let of_marks = timeline.marks.iter().filter_map(|mark| match mark.place {
            TimelinePlace::Node(node) => Some((node, mark.sandbox?)),
            _ => None,
        });
        let sandboxes: BTreeSet<(u32, u32)> = of_slices.chain(of_marks).collect();
        for (node, sandbox) in sandboxes {
            let (pid, tid) = (self.process(TimelinePlace::Node(node)), thread(sandbox));
            let name = format!("sandbox {sandbox}");
            self.event(
                &json!({"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": name}}),
            )?;
            self.event(&json!({"ph": "M", "name": "thread_sort_index", "pid": pid, "tid": tid, "args": {"sort_index": tid}}))?;
        }
        Ok(())
    }

    fn slice(&mut self, slice: &TimelineSlice) -> io::Result<()> {
        let step = slice.step.name();
        let mut args = json!({"function": self.function(slice.function)});
        if let Some(start) = slice.start {
            args["start"] = start.name().into();
        }
        if let Some(invocation) = slice.invocation {
            args["invocation"] = invocation.into();
        }
        self.event(&json!({
            "ph": "X",
            "name": if slice.waits { format!("wait for {step}") } else { step.to_owned() },
            "cat": if slice.step.is_handler() { "handler" } else { "start" },
            "pid": self.process(TimelinePlace::Node(slice.node)),
            "tid": thread(slice.sandbox),
            "ts": at(slice.begin),
            "dur": long(slice.length),
            "args": args,
        }))
    }

    fn wait(&mut self, wait: &TimelineWait) -> io::Result<()> {
        let function = self.function(wait.function).to_owned();
        let event = |ph: &str, at: Value| {
            json!({"ph": ph, "name": "queueing", "cat": "queueing", "id": wait.invocation, "pid": 0, "tid": 0,
                "ts": at, "args": {"function": function, "invocation": wait.invocation}})
        };
        self.event(&event("b", at(wait.begin)))?;
        self.event(&event("e", at(wait.begin + wait.length)))
    }

    fn mark(&mut self, mark: &TimelineMark) -> io::Result<()> {
        let mut event = json!({"ph": "i", "name": mark.what.name(), "cat": "happening",
            "pid": self.process(mark.place), "tid": mark.sandbox.map_or(0, thread), "ts": at(mark.at),
            "s": if mark.sandbox.is_some() { "t" } else { "p" }});
        if let Some(function) = mark.function {
            event["args"] = json!({"function": self.function(function)});
        }
        self.event(&event)
    }

    fn level(&mut self, level: &TimelineLevel) -> io::Result<()> {
        let (name, unit) = match level.of {
            Amount::Memory(class) => (class.name(), "bytes"),
            Amount::Cores => ("cores", "cores"),
        };
        let mut args = serde_json::Map::new();
        args.insert(unit.to_owned(), level.value.into());
        let pid = self.process(level.place);
        self.event(&json!({"ph": "C", "name": name, "pid": pid, "ts": at(level.at), "args": args}))
    }

    fn event(&mut self, event: &Value) -> io::Result<()> {
        let separator = if std::mem::take(&mut self.is_first) { "\n" } else { ",\n" };
        self.out.write_all(separator.as_bytes())?;
        serde_json::to_writer(&mut self.out, event).map_err(io::Error::from)
    }

    fn function(&self, number: u32) -> &str {
        self.functions.get(number as usize).map_or("", |function| &function.name)
    }

    fn process(&self, place: TimelinePlace) -> u32 {
        match place {
            TimelinePlace::Cluster => 0,
            TimelinePlace::Node(node) => 1 + node,
            TimelinePlace::Device(rack) => 1 + self.timeline.nodes + rack,
        }
    }
}

fn name_of(place: TimelinePlace) -> String {
    match place {
        TimelinePlace::Cluster => "cluster".to_owned(),
        TimelinePlace::Node(node) => format!("node {node}"),
        TimelinePlace::Device(rack) => format!("CXL device of rack {rack}"),
    }
}

/// Thread 0 is the process's own.
fn thread(sandbox: u32) -> u32 {
    sandbox + 1
}

/// Microseconds, exact to the nanosecond in what a JSON number holds for 100 days.
fn at(at: Instant) -> Value {
    micros(at.as_nanos())
}

fn long(length: Duration) -> Value {
    micros(length.as_nanos())
}

fn micros(nanos: u64) -> Value {
    if nanos.is_multiple_of(1000) { (nanos / 1000).into() } else { (nanos as f64 / 1e3).into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::MemoryClass;
    use platform::records::{Happening, StartKind, Step, TimelineWindow};
    use std::io::Read;

    fn us(n: u64) -> Instant {
        Instant::from_nanos(n * 1000)
    }

    fn timeline() -> Timeline {
        let slice = |begin: u64, length: u64, step, waits| TimelineSlice {
            node: 1,
            sandbox: 7,
            begin: us(begin),
            length: Duration::from_micros(length),
            step,
            waits,
            function: 0,
            invocation: Some(41),
            start: Some(StartKind::Repurposed),
        };
        let mut timeline = Timeline::new(TimelineWindow { from: us(0), until: us(1000) });
        timeline.nodes = 2;
        timeline.slices = vec![
            slice(100, 50, Step::MountLock, true),
            slice(150, 20, Step::MountLock, false),
            TimelineSlice { length: Duration::from_nanos(500_250), ..slice(170, 0, Step::Handler, false) },
        ];
        timeline.waits = vec![TimelineWait {
            invocation: 41,
            function: 0,
            begin: us(60),
            length: Duration::from_micros(40),
        }];
        timeline.marks = vec![TimelineMark {
            at: us(100),
            place: TimelinePlace::Node(1),
            sandbox: Some(7),
            what: Happening::Repurposed,
            function: Some(0),
        }];
        let place = TimelinePlace::Device(0);
        timeline.levels =
            vec![TimelineLevel { at: us(5), place, of: Amount::Memory(MemoryClass::PoolCxl), value: 4096 }];
        timeline
    }

    fn written(folder: &std::path::Path, name: &str) -> Vec<u8> {
        let functions =
            [FunctionRecord { name: "a \"quoted\" name".to_owned(), ..FunctionRecord::default() }];
        let path = folder.join(name);
        let mut sink = Sink::create(&path).unwrap();
        write(&timeline(), &functions, &mut sink).unwrap();
        sink.finish().unwrap();
        std::fs::read(path).unwrap()
    }

    #[test]
    fn the_file_is_what_the_viewer_reads_and_the_same_every_time() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = written(folder.path(), "a.json.gz");
        assert_eq!(bytes, written(folder.path(), "b.json.gz"));
        let mut text = String::new();
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
        let file: Value = serde_json::from_str(&text).unwrap();
        let events = file["traceEvents"].as_array().unwrap();
        let of = |ph: &str| -> Vec<&Value> { events.iter().filter(|event| event["ph"] == ph).collect() };
        assert_eq!(
            *of("X")[2],
            json!({"ph": "X", "name": "handler", "cat": "handler", "pid": 2, "tid": 8, "ts": 170, "dur": 500.25,
                "args": {"function": "a \"quoted\" name", "start": "repurposed", "invocation": 41}})
        );
        assert_eq!(of("X")[0]["name"], "wait for mount lock");
        let (begins, ends) = (of("b"), of("e"));
        assert_eq!((begins.len(), &begins[0]["id"], &begins[0]["ts"]), (1, &json!(41), &json!(60)));
        assert_eq!((ends.len(), &ends[0]["id"], &ends[0]["ts"]), (1, &json!(41), &json!(100)));
        assert_eq!(of("i")[0]["args"]["function"], "a \"quoted\" name");
        let counter = json!({"ph": "C", "name": "pool_cxl", "pid": 3, "ts": 5, "args": {"bytes": 4096}});
        assert_eq!(of("C"), [&counter]);
        // Every process and thread that is used has a name.
        let named = |kind: &str| -> BTreeSet<(u64, u64)> {
            let of_kind = events.iter().filter(|event| event["name"] == kind);
            of_kind.map(|e| (e["pid"].as_u64().unwrap(), e["tid"].as_u64().unwrap_or(0))).collect()
        };
        let (processes, threads) = (named("process_name"), named("thread_name"));
        for event in events {
            assert!(processes.contains(&(event["pid"].as_u64().unwrap(), 0)), "{event}");
            if event["tid"].as_u64().is_some_and(|tid| tid > 0) {
                assert!(threads.contains(&(event["pid"].as_u64().unwrap(), event["tid"].as_u64().unwrap())));
            }
        }
    }
}
