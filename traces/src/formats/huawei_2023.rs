//! Huawei 2023: how often each function ran in each minute or second; a row a step, a column a
//! function.
//!
//! Source: Joosen et al., "How Does It Function?", SoCC 2023; sir-lab/data-release,
//! `README_data_release_2023.md`. Columns `day` and `time` (seconds since the start of the trace),
//! then one a function, named by its number. An empty field or `NaN` means none. The length of a
//! step is not in the file, so the caller states it. Counts say nothing about durations: they come
//! from the companion tables (`function_delay_minute`, `function_delay_second`) or from the caller.

use super::{Format, OnDefect};
use crate::counts::{Counted, CountedFunction};
use crate::error::{Error, Result};
use crate::percentiles::Percentiles;
use crate::read::Source;
use crate::report::{Imported, Report};
use crate::service::{ServiceLookup, ServiceTime};
use crate::spread::Spread;
use crate::table::Table;
use crate::time::Duration;
use crate::workload::Function;
use std::collections::BTreeMap;

const FORMAT: &str = "huawei-2023";

/// Where service times come from.
#[derive(Clone, Copy)]
pub enum Durations<'a> {
    /// Nowhere: importing is an error that says what is needed.
    Missing,
    /// From the caller, by the function's name (its number).
    Given(ServiceLookup<'a>),
    /// From the companion delay tables, of the same layout as the counts. A function's service
    /// time is drawn from the percentiles of its recorded averages, so the variation within a
    /// step is lost.
    Companion {
        /// The tables, in order of time.
        files: &'a [Source],
        /// Milliseconds in one unit of the tables (1000 where they hold seconds, which is what
        /// the release's notebooks plot).
        unit_ms: f64,
    },
}

/// How the tables become a workload.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Length of a step: one minute or one second.
    pub step: Duration,
    /// Where inside its step an invocation arrives.
    pub spread: Spread,
    /// Where service times come from.
    pub durations: Durations<'a>,
    /// What happens to a function without a duration.
    pub unjoined: OnDefect,
    /// Seed of arrivals and service times.
    pub seed: u64,
}

/// Reads the count tables (days in order) and draws the workload, in memory.
///
/// # Errors
/// [`Error::NoDurations`] without a duration source; any defect by file, line and column.
pub fn import(files: &[Source], options: &Options<'_>) -> Result<Imported> {
    let (counted, mut report) = read(files, options)?;
    let workload = counted.workload(options.spread, options.seed);
    report.invocations = workload.invocations.len() as u64;
    Ok(Imported { workload, report })
}

/// Reads the count tables as counts, to be played step by step.
///
/// # Errors
/// As [`import`].
pub fn read(files: &[Source], options: &Options<'_>) -> Result<(Counted, Report)> {
    let first = files.first().ok_or_else(|| Error::value("files", "none given", "at least one table"))?;
    if matches!(options.durations, Durations::Missing) {
        return Err(Error::NoDurations { file: first.name().to_owned(), format: FORMAT });
    }
    if options.step != Duration::SECOND && options.step != Duration::MINUTE {
        return Err(Error::value("step", options.step, "1 min or 1 s"));
    }
    let mut report = Report { format: Format::Huawei2023.name().to_owned(), ..Report::default() };
    let mut matrix = Matrix::default();
    for source in files {
        report.sources.push(source.short_name().to_owned());
        report.rows +=
            matrix.read(source, options.step, |table, column| Ok(f64::from(table.count(column)?)))?;
    }
    let zero = matrix.first_step.unwrap_or(0);
    if zero > 0 {
        report.notes.push(format!(
            "time zero is second {} of the trace",
            zero * options.step.as_nanos() / 1_000_000_000
        ));
    }
    let steps = matrix.last_step.map_or(0, |last| last - zero + 1);
    let steps = u32::try_from(steps).map_err(|_| Error::value("steps", steps, "less than 2^32"))?;
    let services = services(&options.durations, options.step, &mut report)?;
    let mut functions = Vec::new();
    let (mut idle, mut unjoined, mut unjoined_invocations) = (0, 0, 0.0);
    for (number, cells) in matrix.functions {
        let counts: Vec<(u32, u32)> = cells
            .iter()
            .filter(|(_, n)| *n > 0.0)
            .map(|(step, n)| ((step - zero) as u32, *n as u32))
            .collect();
        let name = number.to_string();
        if counts.is_empty() {
            idle += 1;
            continue;
        }
        let service = match services(&name) {
            Some(service) => service,
            None if options.unjoined == OnDefect::Drop => {
                unjoined += 1;
                unjoined_invocations += cells.iter().map(|(_, n)| n).sum::<f64>();
                continue;
            }
            None => return Err(Error::NoServiceTime { function: name }),
        };
        service.check(&name)?;
        let function =
            Function { name: name.clone(), tenant: "huawei".to_owned(), profile: None, memory: None };
        functions.push(CountedFunction { function, stream: name, service, counts });
    }
    report.defect("functions_without_invocations_left_out", idle);
    report.defect("dropped_functions_without_durations", unjoined);
    report.defect("dropped_invocations_without_durations", unjoined_invocations as u64);
    report.functions = functions.len() as u64;
    report.invocations = functions.iter().map(CountedFunction::total).sum();
    let counted = Counted {
        name: FORMAT.to_owned(),
        step: options.step,
        steps,
        functions,
        provenance: report.provenance(),
    };
    Ok((counted, report))
}

/// Values by function number and step.
#[derive(Default)]
struct Matrix {
    functions: BTreeMap<u32, Vec<(u64, f64)>>,
    first_step: Option<u64>,
    last_step: Option<u64>,
}

impl Matrix {
    /// Adds a table whose times follow those read so far; returns its number of rows.
    fn read(
        &mut self,
        source: &Source,
        step: Duration,
        value: impl Fn(&Table<'_>, usize) -> Result<f64>,
    ) -> Result<u64> {
        let mut table = Table::open(source, FORMAT)?;
        let time = table.column("time")?;
        let columns: Vec<(usize, u32)> = table
            .headers()
            .iter()
            .enumerate()
            .filter_map(|(column, name)| Some((column, name.parse().ok()?)))
            .collect();
        if columns.is_empty() {
            return Err(Error::Table {
                file: source.name().to_owned(),
                problem: "no column is named by a function number".to_owned(),
                remedy: "give a table of the 2023 release, such as requests_minute/day_00.csv".to_owned(),
            });
        }
        for (_, number) in &columns {
            self.functions.entry(*number).or_default();
        }
        let step_seconds = step.as_nanos() / 1_000_000_000;
        let mut rows = 0;
        while table.next()? {
            rows += 1;
            let expected = "a time that is a multiple of the step and later than in the row before";
            let seconds = u64::from(table.count(time)?);
            let at = seconds / step_seconds;
            if !seconds.is_multiple_of(step_seconds) || self.last_step.is_some_and(|last| at <= last) {
                return Err(table.wrong(time, expected));
            }
            self.first_step.get_or_insert(at);
            self.last_step = Some(at);
            for (column, number) in &columns {
                if !table.is_blank(*column) {
                    let cell = value(&table, *column)?;
                    self.functions.entry(*number).or_default().push((at, cell));
                }
            }
        }
        Ok(rows)
    }
}

type Services<'a> = Box<dyn Fn(&str) -> Option<ServiceTime> + 'a>;

/// The service time of each function.
fn services<'a>(durations: &Durations<'a>, step: Duration, report: &mut Report) -> Result<Services<'a>> {
    match *durations {
        Durations::Missing => Ok(Box::new(|_| None)),
        Durations::Given(lookup) => {
            report.notes.push("service times are given, not from the trace".to_owned());
            Ok(Box::new(lookup))
        }
        Durations::Companion { files, unit_ms } => {
            let mut matrix = Matrix::default();
            for source in files {
                report.sources.push(source.short_name().to_owned());
                report.rows += matrix.read(source, step, |table, column| table.amount(column))?;
            }
            report.notes.push(format!("service times from the averages per {step} in the companion tables"));
            let table: BTreeMap<String, ServiceTime> = matrix
                .functions
                .into_iter()
                .filter(|(_, cells)| !cells.is_empty())
                .map(|(number, cells)| {
                    let values = cells.into_iter().map(|(_, value)| value * unit_ms).collect();
                    Ok((number.to_string(), ServiceTime::Percentiles(percentiles_of(values)?)))
                })
                .collect::<Result<_>>()?;
            Ok(Box::new(move |name| table.get(name).cloned()))
        }
    }
}

/// The percentiles 0, 1, 25, 50, 75, 99 and 100 of some values.
fn percentiles_of(mut values: Vec<f64>) -> Result<Percentiles> {
    values.sort_by(f64::total_cmp);
    let at = |rank: f64| values[((values.len() - 1) as f64 * rank / 100.0).round() as usize];
    Percentiles::new(
        [0.0, 1.0, 25.0, 50.0, 75.0, 99.0, 100.0].iter().map(|rank| (*rank, at(*rank))).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn second_by_second(durations: Durations<'_>) -> Options<'_> {
        Options {
            step: Duration::SECOND,
            spread: Spread::Uniform,
            durations,
            unjoined: OnDefect::Stop,
            seed: 1,
        }
    }

    #[test]
    fn the_fixture_gives_one_invocation_a_count_and_leaves_out_idle_functions() {
        let source = samples::get("huawei-fixtures/private_requests_second.csv").unwrap();
        let given = |_: &str| Some(ServiceTime::Constant { ms: 5.0 });
        let (counted, report) = read(&[source], &second_by_second(Durations::Given(&given))).unwrap();
        assert_eq!((report.rows, report.functions), (10, 9));
        assert_eq!(report.count_of("functions_without_invocations_left_out"), 1);
        let of_28 = &counted.functions[0];
        assert_eq!(of_28.function.name, "28");
        assert_eq!(of_28.counts[..2], [(0, 816), (1, 960)]);
        assert_eq!(counted.functions[1].counts[0], (20_303_995, 67_449));
        let mut played = 0;
        counted
            .play(Spread::Uniform, crate::Streams::new(1), |batch| {
                played += batch.len() as u64;
                Ok(())
            })
            .unwrap();
        assert_eq!(played, report.invocations);
    }

    #[test]
    fn without_durations_the_error_says_what_is_needed() {
        let source = samples::get("huawei-fixtures/private_requests_second.csv").unwrap();
        let error = import(&[source], &second_by_second(Durations::Missing)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "huawei-fixtures/private_requests_second.csv: huawei-2023 holds no durations; give a duration source \
             (--service-time '100 ms', or a companion table with --durations FILE)"
        );
    }

    #[test]
    fn companion_tables_give_service_times() {
        let counts = Source::bytes("requests.csv", &b"day,time,3,4\n0,60,2,NaN\n0,120,1,1\n"[..]);
        let delays = [Source::bytes("delay.csv", &b"day,time,3,4\n0,60,0.5,\n0,120,0.5,0.25\n"[..])];
        let durations = Durations::Companion { files: &delays, unit_ms: 1000.0 };
        let options = Options { step: Duration::MINUTE, ..second_by_second(durations) };
        let workload = import(&[counts], &options).unwrap().workload;
        workload.validate().unwrap();
        assert_eq!(workload.span, Duration::from_secs(120));
        let total: u64 = workload.invocations.iter().map(|i| i.service().as_micros()).sum();
        assert_eq!(total, 3 * 500_000 + 250_000);
    }

    #[test]
    fn times_that_are_no_multiple_of_the_step_are_named() {
        let counts = Source::bytes("requests.csv", &b"day,time,3\n0,60,2\n0,90,1\n"[..]);
        let given = |_: &str| Some(ServiceTime::Constant { ms: 5.0 });
        let options = Options { step: Duration::MINUTE, ..second_by_second(Durations::Given(&given)) };
        assert_eq!(
            import(&[counts], &options).unwrap_err().to_string(),
            "requests.csv:3: column \"time\": \"90\" is not a time that is a multiple of the step and later than in \
             the row before; correct or remove this row"
        );
    }
}
