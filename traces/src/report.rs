//! What a reader found: counts of everything, and of everything odd.

use crate::workload::Workload;
use serde::Serialize;
use std::fmt;

/// What a reader read, kept and dropped.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Name of the format.
    pub format: String,
    /// Files read.
    pub sources: Vec<String>,
    /// Rows read, all files together.
    pub rows: u64,
    /// Functions in the workload.
    pub functions: u64,
    /// Invocations in the workload.
    pub invocations: u64,
    /// Everything odd, by name, where it occurred at least once. Odd rows are kept unless the
    /// name says `dropped`.
    pub defects: Vec<Defect>,
    /// Decisions taken on the way, in words.
    pub notes: Vec<String>,
}

/// One kind of oddity and how often it occurred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Defect {
    /// Name, such as `zero_duration_functions`.
    pub name: String,
    /// How often.
    pub count: u64,
}

impl Report {
    /// Records a defect that occurred `count` times; zero is not recorded.
    pub(crate) fn defect(&mut self, name: &str, count: u64) {
        if count > 0 {
            self.defects.push(Defect { name: name.to_owned(), count });
        }
    }

    /// How often the defect called `name` occurred.
    pub fn count_of(&self, name: &str) -> u64 {
        self.defects.iter().find(|defect| defect.name == name).map_or(0, |defect| defect.count)
    }

    /// The lines that a workload's provenance takes over.
    pub(crate) fn provenance(&self) -> Vec<String> {
        let mut lines = vec![format!("{} from {}", self.format, self.sources.join(", "))];
        lines.extend(self.notes.iter().cloned());
        lines.extend(self.defects.iter().map(|defect| format!("{}: {}", defect.name, defect.count)));
        lines
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.format, self.sources.join(", "))?;
        write!(f, "  {} rows", self.rows)?;
        if self.functions > 0 {
            write!(f, ", {} functions, {} invocations", self.functions, self.invocations)?;
        }
        for note in &self.notes {
            write!(f, "\n  note: {note}")?;
        }
        for defect in &self.defects {
            write!(f, "\n  odd: {} {}", defect.count, defect.name.replace('_', " "))?;
        }
        Ok(())
    }
}

/// A workload and what its reader found.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The workload.
    pub workload: Workload,
    /// What was read, kept and dropped.
    pub report: Report,
}
