//! Traces that publish counts per minute (or second): kept as counts, played as invocations.
//!
//! Playing works step by step: it needs the counts and one step's invocations in memory, however
//! long the trace is.

use crate::binary::{WorkloadWriter, Written};
use crate::error::Result;
use crate::records::Invocations;
use crate::rng::Streams;
use crate::service::ServiceTime;
use crate::spread::Spread;
use crate::time::{Duration, Instant};
use crate::workload::{Function, FunctionId, Invocation, Workload, sort_by_arrival};
use std::path::Path;

/// Functions and how often each was invoked in each step.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Short name.
    pub name: String,
    /// Length of a step.
    pub step: Duration,
    /// Number of steps.
    pub steps: u32,
    /// The functions.
    pub functions: Vec<CountedFunction>,
    /// Where the counts come from, in words.
    pub provenance: Vec<String>,
}

/// A function with its counts.
#[derive(Clone, Debug)]
pub struct CountedFunction {
    /// What the workload's function table will say.
    pub function: Function,
    /// Names the function's random streams: its full key in the trace.
    pub stream: String,
    /// How long an invocation computes.
    pub service: ServiceTime,
    /// (step, invocations in it), steps rising, no zeros.
    pub counts: Vec<(u32, u32)>,
}

impl CountedFunction {
    /// Invocations in all steps.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|(_, count)| u64::from(*count)).sum()
    }
}

impl Counted {
    /// Invocations of all functions in all steps.
    pub fn total(&self) -> u64 {
        self.functions.iter().map(CountedFunction::total).sum()
    }

    /// Length of the trace.
    pub fn span(&self) -> Duration {
        self.step * u64::from(self.steps)
    }

    /// The function table of the workload.
    pub fn table(&self) -> Vec<Function> {
        self.functions.iter().map(|counted| counted.function.clone()).collect()
    }

    /// Gives `sink` all invocations in order of arrival, one step at a time.
    ///
    /// Each function draws its arrivals and its service times from two streams of its own
    /// (`arrivals/KEY`, `service/KEY`), so a function that is added or removed leaves the others
    /// as they were.
    ///
    /// # Errors
    /// Whatever `sink` returns.
    pub fn play(
        &self,
        spread: Spread,
        streams: Streams,
        mut sink: impl FnMut(&[Invocation]) -> Result<()>,
    ) -> Result<()> {
        let stream = |kind: &str, function: &CountedFunction| {
            streams.stream(&format!("{kind}/{}", function.stream), 0)
        };
        let mut arrivals: Vec<_> =
            self.functions.iter().map(|function| stream("arrivals", function)).collect();
        let mut services: Vec<_> =
            self.functions.iter().map(|function| stream("service", function)).collect();
        let mut cursors = vec![0; self.functions.len()];
        let (mut offsets, mut batch) = (Vec::new(), Vec::new());
        let first =
            self.functions.iter().filter_map(|function| function.counts.first()).map(|(step, _)| *step).min();
        let mut upcoming = first;
        while let Some(step) = upcoming {
            let start = Instant::ZERO + self.step * u64::from(step);
            batch.clear();
            upcoming = None;
            for (index, function) in self.functions.iter().enumerate() {
                let Some(&(mut at, count)) = function.counts.get(cursors[index]) else { continue };
                if at == step {
                    cursors[index] += 1;
                    offsets.clear();
                    spread.offsets(&mut arrivals[index], count, self.step.as_nanos(), &mut offsets);
                    let id = FunctionId(index as u32);
                    batch.extend(offsets.iter().map(|offset| {
                        let arrival = start + Duration::from_nanos(*offset);
                        Invocation::new(arrival, id, function.service.draw(&mut services[index]))
                    }));
                    at = function.counts.get(cursors[index]).map_or(u32::MAX, |(next, _)| *next);
                }
                if at != u32::MAX {
                    upcoming = Some(upcoming.map_or(at, |earliest: u32| earliest.min(at)));
                }
            }
            sort_by_arrival(&mut batch);
            sink(&batch)?;
        }
        Ok(())
    }

    /// The whole workload in memory.
    pub fn workload(&self, spread: Spread, seed: u64) -> Workload {
        let mut all = Vec::with_capacity(self.total().min(1 << 26) as usize);
        self.play(spread, Streams::new(seed), |batch| {
            all.extend_from_slice(batch);
            Ok(())
        })
        .expect("appending to a vector does not fail");
        Workload {
            name: self.name.clone(),
            functions: self.table(),
            invocations: Invocations::from(all),
            burn_in: Duration::ZERO,
            span: self.span(),
            provenance: self.provenance_of(spread, seed),
        }
    }

    /// Plays the invocations into a workload file, in memory of one step: for traces that do not
    /// fit into memory.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the disk refuses.
    pub fn write(&self, path: &Path, spread: Spread, seed: u64) -> Result<Written> {
        let head = Workload {
            name: self.name.clone(),
            functions: self.table(),
            invocations: Invocations::default(),
            burn_in: Duration::ZERO,
            span: self.span(),
            provenance: self.provenance_of(spread, seed),
        };
        let mut writer = WorkloadWriter::create(path, &head)?;
        self.play(spread, Streams::new(seed), |batch| writer.push(batch))?;
        writer.finish()
    }

    /// The provenance of a workload played from these counts.
    pub fn provenance_of(&self, spread: Spread, seed: u64) -> Vec<String> {
        let mut provenance = self.provenance.clone();
        provenance.push(format!("counts per {} spread {spread} inside each, seed {seed}", self.step));
        provenance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, counts: &[(u32, u32)]) -> CountedFunction {
        CountedFunction {
            function: Function { name: name.into(), tenant: "t".into(), profile: None, memory: None },
            stream: name.into(),
            service: ServiceTime::LogNormal { median_ms: 5.0, sigma: 1.0 },
            counts: counts.to_vec(),
        }
    }

    fn counted(functions: Vec<CountedFunction>) -> Counted {
        Counted { name: "c".into(), step: Duration::MINUTE, steps: 3, functions, provenance: vec![] }
    }

    #[test]
    fn every_count_becomes_that_many_invocations_in_its_minute() {
        let workload = counted(vec![function("a", &[(0, 4), (2, 5)]), function("b", &[(1, 3)])])
            .workload(Spread::Uniform, 1);
        workload.validate().unwrap();
        let minutes: Vec<u64> =
            workload.invocations.iter().map(|i| i.arrival().as_nanos() / 60_000_000_000).collect();
        assert_eq!(minutes, [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2]);
        assert_eq!(workload.counts(), [9, 3]);
    }

    #[test]
    fn a_workload_written_step_by_step_is_the_one_made_in_memory() {
        let counted = counted(vec![function("a", &[(0, 4), (2, 5)]), function("b", &[(1, 3)])]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.wkl");
        counted.write(&path, Spread::Uniform, 1).unwrap();
        assert_eq!(crate::binary::open(&path).unwrap(), counted.workload(Spread::Uniform, 1));
    }

    #[test]
    fn a_new_function_leaves_the_others_as_they_were() {
        let (a, b) = (function("a", &[(0, 4), (2, 5)]), function("b", &[(0, 9)]));
        let alone = counted(vec![a.clone()]).workload(Spread::Skewed, 1);
        let both = counted(vec![a, b]).workload(Spread::Skewed, 1);
        let of_a: Vec<Invocation> =
            both.invocations.iter().copied().filter(|i| i.function() == FunctionId(0)).collect();
        assert_eq!(of_a, alone.invocations.to_vec());
    }
}
