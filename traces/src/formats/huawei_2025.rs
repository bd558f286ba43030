//! Huawei 2025: one row a request, and one row a cold start with its cost components.
//!
//! Source: Joosen et al., "Serverless Cold Starts and Where to Find Them", EuroSys 2025;
//! sir-lab/data-release, `README_data_release_2025.md`. Times are seconds since the start of the
//! trace. A function is `funcName---userID---pool`, where the pool (`pool22-300-128`: number, CPU
//! in millicores, memory in MB) is the pod's name without its last part. A request arrives at
//! `time_worker` and computes for `runtimeCost` seconds.

use super::{Format, OnDefect};
use crate::decimal::seconds_to_nanos;
use crate::error::{Error, Result};
use crate::read::Source;
use crate::report::{Imported, Report};
use crate::size::Bytes;
use crate::table::Table;
use crate::time::{Duration, Instant};
use crate::workload::{Function, FunctionId, Invocation, Workload, span_of};
use serde::Serialize;
use std::collections::BTreeMap;

const FORMAT: &str = "huawei-2025";
const SECONDS: &str = "a number of seconds that is not negative";

/// Reads request tables (in any order) as one workload whose first request arrives at zero.
///
/// # Errors
/// A missing column, or a malformed row by file, line and column (unless `malformed` drops it).
pub fn import_requests(files: &[Source], malformed: OnDefect) -> Result<Imported> {
    let mut report = Report { format: Format::Huawei2025.name().to_owned(), ..Report::default() };
    let mut ids: BTreeMap<String, u32> = BTreeMap::new();
    let mut functions: Vec<Function> = Vec::new();
    let mut rows: Vec<Invocation> = Vec::new();
    let mut dropped = 0;
    for source in files {
        report.sources.push(source.short_name().to_owned());
        let mut table = Table::open(source, FORMAT)?;
        let columns = ["time_worker", "runtimeCost", "funcName", "userID", "podID"];
        let mut places = [0; 5];
        for (place, column) in places.iter_mut().zip(columns) {
            *place = table.column(column)?;
        }
        let [time, cost, name, user, pod] = places;
        while table.next()? {
            report.rows += 1;
            let row = (|| {
                let pool = pool_of(table.text(pod)?).ok_or_else(|| table.wrong(pod, POD))?;
                let key = format!("{}---{}---{pool}", table.text(name)?, table.text(user)?);
                Ok((
                    seconds(&table, time)?,
                    seconds(&table, cost)?,
                    key,
                    table.text(user)?.to_owned(),
                    pool.to_owned(),
                ))
            })();
            let (arrival, service, key, user, pool) = match row {
                Ok(row) => row,
                Err(_) if malformed == OnDefect::Drop => {
                    dropped += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let id = *ids.entry(key).or_insert_with_key(|key| {
                functions.push(Function {
                    name: key.clone(),
                    tenant: user,
                    profile: None,
                    memory: memory_of(&pool),
                });
                functions.len() as u32 - 1
            });
            if u64::from(id) >= Invocation::MAX_FUNCTIONS {
                let expected = format!("at most {}", Invocation::MAX_FUNCTIONS);
                return Err(Error::value("functions", functions.len(), expected));
            }
            rows.push(Invocation::new(Instant::ZERO + arrival, FunctionId(id), service));
        }
    }
    crate::workload::sort_by_arrival(&mut rows);
    let earliest = rows.first().map_or(Instant::ZERO, |row| row.arrival());
    if earliest > Instant::ZERO {
        report.notes.push(format!("time zero is second {} of the trace", earliest.as_secs_f64()));
    }
    for row in &mut rows {
        *row = Invocation::new(Instant::ZERO + row.arrival().since(earliest), row.function(), row.service());
    }
    report.defect("dropped_rows", dropped);
    report.functions = functions.len() as u64;
    report.invocations = rows.len() as u64;
    let workload = Workload {
        name: FORMAT.to_owned(),
        functions,
        span: span_of(&rows),
        invocations: rows.into(),
        burn_in: Duration::ZERO,
        provenance: report.provenance(),
    };
    Ok(Imported { workload, report })
}

/// One cold start and what it consisted of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ColdStart {
    /// When, since the start of the trace.
    pub at: Instant,
    /// The function: `funcName---userID---pool`.
    pub function: String,
    /// The region, where the table has one.
    pub region: Option<String>,
    /// The whole cold start.
    pub total: Duration,
    /// Getting a pod from the pool.
    pub pod_allocation: Duration,
    /// Fetching and loading the function's code.
    pub deploy_code: Duration,
    /// Fetching and loading its dependencies.
    pub deploy_dependency: Duration,
    /// Deciding where it runs.
    pub scheduling: Duration,
}

/// Reads a cold-start table.
///
/// # Errors
/// A missing column, or a malformed row by file, line and column (unless `malformed` drops it).
pub fn read_cold_starts(source: &Source, malformed: OnDefect) -> Result<(Vec<ColdStart>, Report)> {
    let mut report = Report { format: Format::Huawei2025.name().to_owned(), ..Report::default() };
    report.sources.push(source.short_name().to_owned());
    let mut table = Table::open(source, FORMAT)?;
    let columns = [
        "time",
        "totalCost_cold_start",
        "podAllocationCost",
        "deployCodeCost",
        "deployDependencyCost",
        "schedulingCost",
    ];
    let mut times = [0; 6];
    for (place, column) in times.iter_mut().zip(columns) {
        *place = table.column(column)?;
    }
    let (name, user, pod) = (table.column("funcName")?, table.column("userID")?, table.column("podID")?);
    let region = table.optional_column("region");
    let mut cold_starts = Vec::new();
    let (mut dropped, mut unequal) = (0, 0);
    while table.next()? {
        report.rows += 1;
        let row = (|| {
            let mut costs = [Duration::ZERO; 6];
            for (cost, column) in costs.iter_mut().zip(times) {
                *cost = seconds(&table, column)?;
            }
            let pool = pool_of(table.text(pod)?).ok_or_else(|| table.wrong(pod, POD))?;
            Ok(ColdStart {
                at: Instant::ZERO + costs[0],
                function: format!("{}---{}---{pool}", table.text(name)?, table.text(user)?),
                region: region.map(|column| table.text(column)).transpose()?.map(str::to_owned),
                total: costs[1],
                pod_allocation: costs[2],
                deploy_code: costs[3],
                deploy_dependency: costs[4],
                scheduling: costs[5],
            })
        })();
        match row {
            Ok(cold_start) => {
                let parts = cold_start.pod_allocation
                    + cold_start.deploy_code
                    + cold_start.deploy_dependency
                    + cold_start.scheduling;
                let gap = cold_start.total.as_nanos().abs_diff(parts.as_nanos());
                unequal += u64::from(gap > 1_000_000);
                cold_starts.push(cold_start);
            }
            Err(_) if malformed == OnDefect::Drop => dropped += 1,
            Err(error) => return Err(error),
        }
    }
    report.defect("dropped_rows", dropped);
    report.defect("totals_that_differ_from_their_parts_by_more_than_1_ms", unequal);
    Ok((cold_starts, report))
}

const POD: &str = "a pod name such as pool22-300-128-0000177166";

fn seconds(table: &Table<'_>, column: usize) -> Result<Duration> {
    match seconds_to_nanos(table.bytes(column).trim_ascii()) {
        Some(ns) if ns >= 0 => Ok(Duration::from_nanos(ns as u64)),
        _ => Err(table.wrong(column, SECONDS)),
    }
}

/// `pool22-300-128` of `pool22-300-128-0000177166`.
fn pool_of(pod: &str) -> Option<&str> {
    let (pool, number) = pod.rsplit_once('-')?;
    (!pool.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(pool)
}

/// 128 MiB of `pool22-300-128` (the release says MB; pools are powers of two, so MiB).
fn memory_of(pool: &str) -> Option<Bytes> {
    pool.rsplit_once('-')?.1.parse().ok().filter(|mib| *mib < 1 << 40).map(Bytes::from_mib)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn the_request_fixture_has_ten_requests_of_four_functions() {
        let source = samples::get("huawei-fixtures/requests_table.csv").unwrap();
        let Imported { workload, report } = import_requests(&[source], OnDefect::Stop).unwrap();
        workload.validate().unwrap();
        assert_eq!((report.rows, report.functions, workload.invocations.len()), (10, 4, 10));
        let first = workload.invocations[0];
        assert_eq!((first.arrival(), first.service()), (Instant::ZERO, Duration::from_micros(829)));
        assert_eq!(workload.functions[0].name, "411---301---pool22-300-128");
        assert_eq!(workload.functions[0].memory, Some(Bytes::from_mib(128)));
    }

    #[test]
    fn both_cold_start_fixtures_read_whole() {
        for (file, region) in [("cold_starts_R2", None), ("cold_starts_regions", Some("R1".to_owned()))] {
            let source = samples::get(&format!("huawei-fixtures/{file}.csv")).unwrap();
            let (cold_starts, report) = read_cold_starts(&source, OnDefect::Stop).unwrap();
            assert_eq!((cold_starts.len(), report.rows), (10, 10));
            assert_eq!(cold_starts[0].region, region);
        }
    }

    #[test]
    fn a_request_without_a_runtime_cost_is_named() {
        let text = "time_worker,runtimeCost,funcName,userID,podID\n1.5,,411,301,pool22-300-128-1\n";
        let error = import_requests(&[Source::bytes("r.csv", text.as_bytes())], OnDefect::Stop).unwrap_err();
        assert_eq!(
            error.to_string(),
            "r.csv:2: column \"runtimeCost\": \"\" is not a number of seconds that is not negative; correct or remove \
             this row"
        );
    }
}
