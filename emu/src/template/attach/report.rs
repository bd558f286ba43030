//! What the new process says of its way to the template's: one record over a pipe.
//!
//! ```text
//! 1 u64 | address of the entry u64 | result i64           a step of the program failed
//! 2 u64 | three moments u64 | four moments timespec       it runs
//! 3 u64 | text                                            something before the program failed
//! ```

use std::time::Duration;

/// Length of the record of a process that runs.
pub(super) const LENGTH: usize = 8 + 3 * 8 + MOMENTS * 16;
/// Moments that the program notes.
pub(super) const MOMENTS: usize = 4;
/// Where they begin.
pub(super) const FIRST_MOMENT: u64 = 8 + 3 * 8;

/// The program failed.
const FAILED: u64 = 1;
/// It runs.
pub(super) const RUNS: u64 = 2;
/// Something before the program failed.
pub(super) const UNREADY: u64 = 3;

/// How long each step of an attach took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Steps {
    /// Files of the template opened, descriptors made again.
    pub files: Duration,
    /// The program mapped and adjusted.
    pub program: Duration,
    /// The process's own memory taken away.
    pub unmap: Duration,
    /// The template's memory mapped.
    pub map: Duration,
    /// What belongs to the process, and its threads.
    pub threads: Duration,
    /// Capabilities, filter, timers.
    pub seal: Duration,
}

impl Steps {
    /// From the first instruction of the attach to the last before the template's own.
    #[must_use]
    pub fn whole(&self) -> Duration {
        self.files + self.program + self.unmap + self.map + self.threads + self.seal
    }
}

/// What a record says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It runs: the steps, and the first and last moment, ns of the monotonic clock.
    Runs(Steps, u64, u64),
    /// The entry at this address had this result.
    Failed(u64, i64),
    /// Something before failed.
    Unready(String),
    /// It ended without a word.
    Nothing,
}

pub(super) fn read(record: &[u8]) -> Outcome {
    let (words, _) = record.as_chunks::<8>();
    let word = |at: usize| words.get(at).map_or(0, |bytes| u64::from_le_bytes(*bytes));
    match word(0) {
        FAILED => Outcome::Failed(word(1), word(2) as i64),
        UNREADY => Outcome::Unready(String::from_utf8_lossy(&record[8..]).into_owned()),
        RUNS if record.len() == LENGTH => {
            let mut moments = [0; 3 + MOMENTS];
            for (nth, moment) in moments.iter_mut().enumerate() {
                *moment = match nth.checked_sub(3) {
                    None => word(1 + nth),
                    Some(nth) => word(4 + 2 * nth) * 1_000_000_000 + word(5 + 2 * nth),
                };
            }
            let between = |at: usize| Duration::from_nanos(moments[at + 1].saturating_sub(moments[at]));
            let steps = Steps {
                files: between(0),
                program: between(1),
                unmap: between(2),
                map: between(3),
                threads: between(4),
                seal: between(5),
            };
            Outcome::Runs(steps, moments[0], moments[6])
        }
        _ => Outcome::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_apart() {
        let bytes = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        assert_eq!(read(&bytes(&[1, 640, -22_i64 as u64])), Outcome::Failed(640, -22));
        assert_eq!(read(&[bytes(&[3]), b"no".to_vec()].concat()), Outcome::Unready("no".into()));
        assert_eq!(read(&[]), Outcome::Nothing);
        let runs = read(&bytes(&[2, 10, 20, 40, 0, 80, 0, 160, 0, 320, 1, 0]));
        let Outcome::Runs(steps, 10, 1_000_000_000) = runs else { panic!("{runs:?}") };
        assert_eq!([steps.files, steps.program, steps.unmap], [10, 20, 40].map(Duration::from_nanos));
        assert_eq!([steps.map, steps.threads], [80, 160].map(Duration::from_nanos));
    }
}
