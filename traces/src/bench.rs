//! How fast this package is, against what the machine could do in the same minute.
//!
//! The only module that reads the wall clock; nothing in it reaches a result.

use crate::binary;
use crate::error::Result;
use crate::formats::{OnDefect, azure_functions_2019, azure_functions_2021};
use crate::generate::zipf::Job;
use crate::read::Source;
use crate::records::as_bytes;
use crate::rng::{Streams, below};
use crate::spread::Spread;
use rand::Rng;
use serde::Serialize;
use std::fmt::Write;
use std::hint::black_box;
use std::time::Instant as WallClock;

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// How fast: the median of the repetitions.
    pub rate: f64,
    /// Unit of `rate`.
    pub unit: String,
    /// What it was compared with, measured in the same run.
    pub baseline: String,
    /// The baseline's rate, in the same unit.
    pub baseline_rate: f64,
    /// Rate over the baseline's rate (for times: the baseline's time over the time).
    pub ratio_to_baseline: f64,
}

/// Sizes of the measurement.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Invocations of the binary file and of the generated stream.
    pub invocations: u64,
    /// Rows of the Azure 2021 table.
    pub rows: u32,
    /// Functions of the Azure 2019 table (1,440 minutes each).
    pub functions: u32,
    /// Repetitions; the median counts.
    pub repetitions: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { invocations: 4_000_000, rows: 500_000, functions: 1000, repetitions: 5 }
    }
}

/// Runs all measurements.
///
/// # Errors
/// Whatever the readers and writers return; the files are in `folder`.
pub fn run(sizes: Sizes, folder: &std::path::Path) -> Result<Vec<Row>> {
    let mut rows = binary_read(sizes, folder)?;
    rows.extend(azure_2021(sizes)?);
    rows.extend(azure_2019(sizes)?);
    rows.extend(zipf(sizes)?);
    Ok(rows)
}

/// The median time of one repetition, in seconds.
fn median<T>(repetitions: usize, mut work: impl FnMut() -> Result<T>) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..repetitions.max(1) {
        let start = WallClock::now();
        black_box(work()?);
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn row(name: &str, unit: &str, amount: f64, seconds: f64, baseline: &str, baseline_seconds: f64) -> Row {
    Row {
        name: name.to_owned(),
        rate: amount / seconds,
        unit: unit.to_owned(),
        baseline: baseline.to_owned(),
        baseline_rate: amount / baseline_seconds,
        ratio_to_baseline: baseline_seconds / seconds,
    }
}

fn binary_read(sizes: Sizes, folder: &std::path::Path) -> Result<Vec<Row>> {
    let workload = Job::standard(sizes.invocations, 1).generate()?;
    let path = folder.join("bench.wkl");
    binary::write(&path, &workload)?;
    let read = median(sizes.repetitions, || {
        let workload = binary::open(&path)?;
        let sum = |sum: u64, i: &crate::Invocation| {
            sum.wrapping_add(i.arrival().as_nanos()).wrapping_add(i.service().as_nanos())
        };
        Ok(workload.invocations.iter().fold(0, sum))
    })?;
    let verified = median(sizes.repetitions, || binary::verify(&path))?;
    let memory = median(sizes.repetitions, || {
        let words = as_bytes(&workload.invocations).chunks_exact(8);
        Ok(words
            .fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(std::array::from_fn(|i| word[i])))))
    })?;
    // A failure to remove the file is of no interest: it lies in a folder of the caller.
    let _ = std::fs::remove_file(&path);
    let gigabytes = sizes.invocations as f64 * 16.0 / 1e9;
    Ok(vec![
        row("binary open and sum", "GB/s", gigabytes, read, "sum of the same bytes in memory", memory),
        row(
            "binary verify (hash and order)",
            "GB/s",
            gigabytes,
            verified,
            "sum of the same bytes in memory",
            memory,
        ),
    ])
}

fn azure_2021(sizes: Sizes) -> Result<Vec<Row>> {
    let mut rng = Streams::new(1).stream("bench/azure-2021", 0);
    let ids: Vec<String> = (0..424)
        .map(|_| (0..8).fold(String::new(), |id, _| id + &format!("{:016x}", rng.next_u64())))
        .collect();
    let mut text = String::from("app,func,end_timestamp,duration\n");
    for i in 0..sizes.rows {
        let (app, func) = ids[below(&mut rng, 424) as usize].split_at(64);
        let end = f64::from(i) * 0.61 + below(&mut rng, 1 << 40) as f64 / 2f64.powi(40);
        let _ = writeln!(text, "{app},{func},{end},{}.{:03}", below(&mut rng, 3), below(&mut rng, 1000));
    }
    let bytes = text.into_bytes();
    let source = Source::bytes("bench.csv", bytes.clone());
    let import = median(sizes.repetitions, || azure_functions_2021::import(&source, OnDefect::Stop))?;
    let scan = median(sizes.repetitions, || Ok(csv_fields(&bytes)))?;
    let millions = f64::from(sizes.rows) / 1e6;
    Ok(vec![row("Azure 2021 import", "M rows/s", millions, import, "csv crate, scan only", scan)])
}

/// Fields of a table, by the csv crate's fastest interface.
fn csv_fields(bytes: &[u8]) -> usize {
    let mut reader = csv::Reader::from_reader(bytes);
    let mut record = csv::ByteRecord::new();
    let mut fields = 0;
    while reader.read_byte_record(&mut record).unwrap_or(false) {
        fields += record.len();
    }
    fields
}

fn azure_2019(sizes: Sizes) -> Result<Vec<Row>> {
    let mut rng = Streams::new(1).stream("bench/azure-2019", 0);
    let minutes: Vec<String> = (1..=1440).map(|minute| minute.to_string()).collect();
    let mut counts = format!("HashOwner,HashApp,HashFunction,Trigger,{}\n", minutes.join(","));
    let mut durations = String::from("HashOwner,HashApp,HashFunction,Average");
    for rank in [0, 1, 25, 50, 75, 99, 100] {
        let _ = write!(durations, ",percentile_Average_{rank}");
    }
    durations.push('\n');
    for function in 0..sizes.functions {
        let key = format!("{:064x},{:064x},{:064x}", function / 4, function / 2, function);
        let _ = writeln!(durations, "{key},100,1,2,50,90,150,900,1000");
        let busy = below(&mut rng, 4) == 0;
        counts.push_str(&key);
        counts.push_str(",http");
        for _ in 0..1440 {
            let count = if busy { below(&mut rng, 20) } else { u64::from(below(&mut rng, 10) == 0) };
            let _ = write!(counts, ",{count}");
        }
        counts.push('\n');
    }
    let bytes = counts.clone().into_bytes();
    let files = azure_functions_2019::Files {
        invocations: Source::bytes("counts.csv", counts.into_bytes()),
        durations: Source::bytes("durations.csv", durations.into_bytes()),
        memory: None,
    };
    let options = azure_functions_2019::Options::default();
    let read = median(sizes.repetitions, || azure_functions_2019::read(&files, &options))?;
    let scan = median(sizes.repetitions, || Ok(csv_fields(&bytes)))?;
    let (counted, report) = azure_functions_2019::read(&files, &options)?;
    let play = median(sizes.repetitions, || Ok(counted.workload(Spread::Uniform, 1)))?;
    let draws = median(sizes.repetitions, || Ok(raw_draws(report.invocations)))?;
    let fields = f64::from(sizes.functions) * 1444.0 / 1e6;
    let invocations = report.invocations as f64 / 1e6;
    Ok(vec![
        row("Azure 2019 read", "M fields/s", fields, read, "csv crate, scan only", scan),
        row(
            "Azure 2019 counts to invocations",
            "M inv/s",
            invocations,
            play,
            "two random words stored",
            draws,
        ),
    ])
}

/// As many records of two random words: what any generator must at least do.
fn raw_draws(records: u64) -> Vec<[u64; 2]> {
    let mut rng = Streams::new(1).stream("bench/raw", 0);
    (0..records).map(|_| [rng.next_u64(), rng.next_u64()]).collect()
}

fn zipf(sizes: Sizes) -> Result<Vec<Row>> {
    let job = Job::standard(sizes.invocations, 1);
    let stream = median(sizes.repetitions, || {
        let sum = |sum: u64, i: crate::Invocation| {
            sum.wrapping_add(i.arrival().as_nanos() ^ i.service().as_nanos())
        };
        Ok(job.invocations()?.fold(0, sum))
    })?;
    let draws = median(sizes.repetitions, || Ok(raw_draws(sizes.invocations)))?;
    let each = 1e9 / sizes.invocations as f64;
    Ok(vec![Row {
        name: "zipf generation".to_owned(),
        rate: stream * each,
        unit: "ns/invocation".to_owned(),
        baseline: "two random words stored".to_owned(),
        baseline_rate: draws * each,
        ratio_to_baseline: draws / stream,
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measurement_gives_a_rate_and_a_baseline() {
        let folder = tempfile::tempdir().unwrap();
        let sizes = Sizes { invocations: 1000, rows: 100, functions: 3, repetitions: 1 };
        let rows = run(sizes, folder.path()).unwrap();
        assert_eq!(rows.len(), 6);
        assert!(rows.iter().all(|row| row.rate > 0.0 && row.baseline_rate > 0.0));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
