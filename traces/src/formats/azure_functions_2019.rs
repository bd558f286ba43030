//! Azure Functions 2019: counts per minute, duration percentiles and memory, one file each a day.
//!
//! Source: Shahrad et al., "Serverless in the Wild", USENIX ATC 2020; Azure/AzurePublicDataset,
//! `AzureFunctionsDataset2019.md`. InVitro's samples use the same three tables with other minute
//! names (such as 480..959), another order of columns, and memory per function instead of per
//! application. Columns are found by name; minutes are the columns whose name is a whole number.

use super::{Format, OnDefect};
use crate::counts::{Counted, CountedFunction};
use crate::error::{Error, Result};
use crate::percentiles::Percentiles;
use crate::read::Source;
use crate::report::{Imported, Report};
use crate::service::ServiceTime;
use crate::size::Bytes;
use crate::spread::Spread;
use crate::table::Table;
use crate::time::Duration;
use crate::workload::Function;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const FORMAT: &str = "azure-functions-2019";
/// Ranks of the percentile columns of the durations table.
const RANKS: [u32; 7] = [0, 1, 25, 50, 75, 99, 100];

/// The three tables of a day.
#[derive(Clone, Debug)]
pub struct Files {
    /// Counts per minute.
    pub invocations: Source,
    /// Duration percentiles.
    pub durations: Source,
    /// Memory, where it is wanted.
    pub memory: Option<Source>,
}

impl Files {
    /// Day `day` (1..=14) of the full data set, unpacked in `folder` under its published names.
    /// Days 13 and 14 have no memory table.
    pub fn of_day(folder: &Path, day: u32) -> Self {
        let file = |name: &str| folder.join(format!("{name}.anon.d{day:02}.csv"));
        let memory = file("app_memory_percentiles");
        Self {
            invocations: Source::path(file("invocations_per_function_md")),
            durations: Source::path(file("function_durations_percentiles")),
            memory: memory.exists().then(|| Source::path(memory)),
        }
    }
}

/// How the tables become a workload.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Where inside its minute an invocation arrives.
    pub spread: Spread,
    /// What happens to a function that has no row in the durations table.
    pub unjoined: OnDefect,
    /// What happens to a malformed or repeated row.
    pub malformed: OnDefect,
    /// Seed of arrivals and service times.
    pub seed: u64,
}

/// Owner, application, function.
pub(crate) type Key = (String, String, String);

/// Reads the tables and draws the workload, in memory.
///
/// # Errors
/// Any defect of the files that `options` does not allow to drop, by file, line and column.
pub fn import(files: &Files, options: &Options) -> Result<Imported> {
    let (counted, mut report) = read(files, options)?;
    let workload = counted.workload(options.spread, options.seed);
    report.invocations = workload.invocations.len() as u64;
    Ok(Imported { workload, report })
}

/// Reads the tables as counts, to be played step by step.
///
/// # Errors
/// As [`import`].
pub fn read(files: &Files, options: &Options) -> Result<(Counted, Report)> {
    let mut report = Report { format: Format::AzureFunctions2019.name().to_owned(), ..Report::default() };
    let sources = [Some(&files.invocations), Some(&files.durations), files.memory.as_ref()];
    report.sources = sources.into_iter().flatten().map(|source| source.short_name().to_owned()).collect();

    let durations = read_durations(&files.durations, options, &mut report)?;
    let memory = match &files.memory {
        Some(source) => read_memory(source, options, &mut report)?,
        None => Memory::Unknown,
    };
    let (mut functions, steps) = read_invocations(files, &durations, options, &mut report)?;
    memory.declare(&mut functions, &mut report);
    name_functions(&mut functions, &mut report);

    let functions: Vec<CountedFunction> = functions.into_iter().map(|(_, function)| function).collect();
    report.functions = functions.len() as u64;
    report.invocations = functions.iter().map(CountedFunction::total).sum();
    let counted = Counted {
        name: FORMAT.to_owned(),
        step: Duration::MINUTE,
        steps,
        functions,
        provenance: report.provenance(),
    };
    Ok((counted, report))
}

/// A function's row in the durations table.
struct Durations {
    service: Percentiles,
    zero_average: bool,
}

fn read_durations(
    source: &Source,
    options: &Options,
    report: &mut Report,
) -> Result<BTreeMap<Key, Durations>> {
    let mut table = Table::open(source, FORMAT)?;
    let key = KeyColumns::find(&table)?;
    let average = table.column("Average")?;
    let mut ranks = [0; RANKS.len()];
    for (column, rank) in ranks.iter_mut().zip(RANKS) {
        *column = table.column(&format!("percentile_Average_{rank}"))?;
    }
    let mut rows: BTreeMap<Key, (Durations, u64)> = BTreeMap::new();
    let (mut dropped, mut unsorted) = (0, 0);
    while next_row(&mut table, options, &mut dropped)? {
        report.rows += 1;
        let row = (|| {
            let mut values = [0.0; RANKS.len()];
            for (value, column) in values.iter_mut().zip(ranks) {
                *value = table.amount(column)?;
            }
            Ok((key.of(&table)?, table.amount(average)?, values))
        })();
        let Some((key, average, mut values)) = kept(row, options, &mut dropped)? else { continue };
        if !values.is_sorted() {
            unsorted += 1;
            values.sort_by(f64::total_cmp);
        }
        let points = RANKS.iter().zip(values).map(|(rank, value)| (f64::from(*rank), value)).collect();
        let durations = Durations { service: Percentiles::new(points)?, zero_average: average == 0.0 };
        match rows.entry(key) {
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert((durations, table.line()));
            }
            std::collections::btree_map::Entry::Occupied(place) => {
                let error = repeated(source, table.line(), place.key(), place.get().1);
                kept::<()>(Err(error), options, &mut dropped)?;
            }
        }
    }
    report.defect("dropped_duration_rows", dropped);
    report.defect("duration_rows_with_falling_percentiles_sorted", unsorted);
    Ok(rows.into_iter().map(|(key, (durations, _))| (key, durations)).collect())
}

fn read_invocations(
    files: &Files,
    durations: &BTreeMap<Key, Durations>,
    options: &Options,
    report: &mut Report,
) -> Result<(Vec<(Key, CountedFunction)>, u32)> {
    let source = &files.invocations;
    let mut table = Table::open(source, FORMAT)?;
    let key = KeyColumns::find(&table)?;
    let minutes = minute_columns(&table, source)?;
    let mut functions = Vec::new();
    let mut seen: BTreeMap<Key, u64> = BTreeMap::new();
    let (mut dropped, mut unjoined, mut unjoined_invocations) = (0, 0, 0);
    let (mut idle, mut zero, mut zero_invocations) = (0, 0, 0);
    while next_row(&mut table, options, &mut dropped)? {
        report.rows += 1;
        let row = (|| {
            let mut counts = Vec::new();
            for (step, column) in minutes.iter().enumerate() {
                let count = table.count(*column)?;
                if count > 0 {
                    counts.push((step as u32, count));
                }
            }
            Ok((key.of(&table)?, counts))
        })();
        let Some((key, counts)) = kept(row, options, &mut dropped)? else { continue };
        if let Some(first) = seen.insert(key.clone(), table.line()) {
            kept::<()>(Err(repeated(source, table.line(), &key, first)), options, &mut dropped)?;
            seen.insert(key, first);
            continue;
        }
        let total: u64 = counts.iter().map(|(_, count)| u64::from(*count)).sum();
        let Some(row) = durations.get(&key) else {
            let error = Error::Unjoined {
                file: source.name().to_owned(),
                line: table.line(),
                function: shown(&key),
                durations: files.durations.name().to_owned(),
            };
            if options.unjoined == OnDefect::Stop {
                return Err(error);
            }
            unjoined += 1;
            unjoined_invocations += total;
            continue;
        };
        idle += u64::from(total == 0);
        if row.zero_average && total > 0 {
            zero += 1;
            zero_invocations += total;
        }
        let function = CountedFunction {
            function: Function { name: key.2.clone(), tenant: key.0.clone(), profile: None, memory: None },
            stream: shown(&key),
            service: ServiceTime::Percentiles(row.service.clone()),
            counts,
        };
        functions.push((key, function));
    }
    report.defect("dropped_invocation_rows", dropped);
    report.defect("dropped_functions_without_durations", unjoined);
    report.defect("dropped_invocations_without_durations", unjoined_invocations);
    report.defect("functions_without_invocations", idle);
    report.defect("zero_duration_functions", zero);
    report.defect("zero_duration_invocations", zero_invocations);
    Ok((functions, minutes.len() as u32))
}

/// The columns whose name is a whole number, in rising order without a gap.
pub(crate) fn minute_columns(table: &Table<'_>, source: &Source) -> Result<Vec<usize>> {
    let mut minutes: Vec<(u32, usize)> = Vec::new();
    for (column, name) in table.headers().iter().enumerate() {
        if let Ok(minute) = name.parse() {
            minutes.push((minute, column));
        }
    }
    minutes.sort_unstable();
    let wrong = |problem: String| Error::Table {
        file: source.name().to_owned(),
        problem,
        remedy: "the header must name one column a minute, such as 1..1440, without gaps".to_owned(),
    };
    if minutes.is_empty() {
        return Err(wrong("no column is named by a minute".to_owned()));
    }
    if let Some(pair) = minutes.windows(2).find(|pair| pair[1].0 != pair[0].0 + 1) {
        return Err(wrong(format!("minute {} is followed by minute {}", pair[0].0, pair[1].0)));
    }
    Ok(minutes.into_iter().map(|(_, column)| column).collect())
}

/// What the memory table says, in MB (10^6 bytes is not what Azure means: its MB are MiB here).
enum Memory {
    Unknown,
    PerFunction(BTreeMap<Key, f64>),
    PerApp(BTreeMap<(String, String), f64>),
}

fn read_memory(source: &Source, options: &Options, report: &mut Report) -> Result<Memory> {
    let mut table = Table::open(source, FORMAT)?;
    let (owner, app) = (table.column("HashOwner")?, table.column("HashApp")?);
    let function = table.optional_column("HashFunction");
    let average = table.column("AverageAllocatedMb")?;
    let mut rows: BTreeMap<Key, (f64, u64)> = BTreeMap::new();
    let mut dropped = 0;
    while next_row(&mut table, options, &mut dropped)? {
        report.rows += 1;
        let row = (|| {
            let function = function.map_or(Ok(""), |column| table.text(column))?.to_owned();
            Ok((
                (table.text(owner)?.to_owned(), table.text(app)?.to_owned(), function),
                table.amount(average)?,
            ))
        })();
        let Some((key, mb)) = kept(row, options, &mut dropped)? else { continue };
        if let Some((_, first)) = rows.get(&key) {
            kept::<()>(Err(repeated(source, table.line(), &key, *first)), options, &mut dropped)?;
            continue;
        }
        rows.insert(key, (mb, table.line()));
    }
    report.defect("dropped_memory_rows", dropped);
    Ok(if function.is_some() {
        report.notes.push("memory is per function (average allocated, read as MiB)".to_owned());
        Memory::PerFunction(rows.into_iter().map(|(key, (mb, _))| (key, mb)).collect())
    } else {
        report.notes.push(
            "memory is per application (average allocated, read as MiB), divided evenly over its functions"
                .to_owned(),
        );
        Memory::PerApp(rows.into_iter().map(|((owner, app, _), (mb, _))| ((owner, app), mb)).collect())
    })
}

impl Memory {
    fn declare(&self, functions: &mut [(Key, CountedFunction)], report: &mut Report) {
        let mut sizes: BTreeMap<(String, String), u32> = BTreeMap::new();
        for ((owner, app, _), _) in functions.iter() {
            *sizes.entry((owner.clone(), app.clone())).or_default() += 1;
        }
        let mut without = 0;
        for (key, counted) in functions.iter_mut() {
            let mb = match self {
                Self::Unknown => continue,
                Self::PerFunction(rows) => rows.get(key).copied(),
                Self::PerApp(rows) => {
                    let app = (key.0.clone(), key.1.clone());
                    rows.get(&app).map(|mb| mb / f64::from(sizes[&app]))
                }
            };
            counted.function.memory = mb.map(|mb| Bytes::from_mib(1).scale(mb));
            without += u64::from(mb.is_none());
        }
        report.defect("functions_without_memory", without);
    }
}

/// Calls a function by its own hash, or by its full key where two share the hash.
fn name_functions(functions: &mut [(Key, CountedFunction)], report: &mut Report) {
    let mut seen = BTreeSet::new();
    let mut shared = BTreeSet::new();
    for ((_, _, function), _) in functions.iter() {
        if !seen.insert(function.clone()) {
            shared.insert(function.clone());
        }
    }
    for (key, counted) in functions.iter_mut() {
        if shared.contains(&key.2) {
            counted.function.name = shown(key);
        }
    }
    report.defect("function_hashes_shared_by_several_functions", shared.len() as u64);
}

/// The three key columns of a table.
pub(crate) struct KeyColumns([usize; 3]);

impl KeyColumns {
    pub(crate) fn find(table: &Table<'_>) -> Result<Self> {
        Ok(Self([table.column("HashOwner")?, table.column("HashApp")?, table.column("HashFunction")?]))
    }

    pub(crate) fn of(&self, table: &Table<'_>) -> Result<Key> {
        let text = |column: usize| table.text(column).map(str::to_owned);
        Ok((text(self.0[0])?, text(self.0[1])?, text(self.0[2])?))
    }
}

fn shown((owner, app, function): &Key) -> String {
    format!("{owner}/{app}/{function}")
}

fn repeated(source: &Source, line: u64, key: &Key, first: u64) -> Error {
    let what = if key.2.is_empty() {
        format!("application {}/{}", key.0, key.1)
    } else {
        format!("function {}", shown(key))
    };
    Error::Repeated { file: source.name().to_owned(), line, what, first }
}

/// A sound row, or `None` for one that may be dropped.
fn kept<T>(row: Result<T>, options: &Options, dropped: &mut u64) -> Result<Option<T>> {
    match row {
        Ok(row) => Ok(Some(row)),
        Err(_) if options.malformed == OnDefect::Drop => {
            *dropped += 1;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The next row of the right length; rows of another length may be dropped.
fn next_row(table: &mut Table<'_>, options: &Options, dropped: &mut u64) -> Result<bool> {
    loop {
        match table.next() {
            Err(Error::Row { .. }) if options.malformed == OnDefect::Drop => *dropped += 1,
            other => return other,
        }
    }
}

#[cfg(test)]
#[path = "azure_functions_2019_tests.rs"]
mod tests;
