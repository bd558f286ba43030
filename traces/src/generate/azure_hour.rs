//! Azure hour: 26 functions played by the first hour of day 3 of Azure Functions 2019; and the
//! same construction on the bundled sample, for those who do not have the full data set.

use super::hour::{self, HourFunction, MINUTES};
use crate::error::{Error, Result};
use crate::formats::azure_functions_2019::{self as azure, Key, KeyColumns, Options};
use crate::read::Source;
use crate::samples;
use crate::service::ServiceLookup;
use crate::table::Table;
use crate::workload::Workload;
use std::collections::BTreeMap;
use std::path::Path;

const NAME: &str = "azure-hour";
const INVOCATIONS: &str = "invocations_per_function_md.anon.d03.csv";
const DURATIONS: &str = "function_durations_percentiles.anon.d03.csv";
const ORIGIN: &str = "it is part of AzureFunctionsDataset2019 (github.com/Azure/AzurePublicDataset); give the folder \
                      of the unpacked set with --data";

/// Function, copy, row of the table that joins invocations and durations (from 0).
const ROWS: [(&str, usize, usize); 26] = [
    ("image-flip-rotate", 0, 6669),
    ("video-processing", 0, 37_121),
    ("chameleon", 0, 10_982),
    ("pyaes", 0, 2400),
    ("image-processing", 0, 14_876),
    ("image-recognition", 0, 28_412),
    ("crypto", 0, 28_418),
    ("json-serde", 0, 39_078),
    ("pagerank", 0, 44_914),
    ("js-json-serde", 0, 26_387),
    ("dynamic-html", 0, 19_236),
    ("image-flip-rotate", 1, 40_905),
    ("video-processing", 1, 31_485),
    ("pyaes", 1, 11_187),
    ("image-processing", 1, 5195),
    ("image-recognition", 1, 35_943),
    ("crypto", 1, 8849),
    ("pagerank", 1, 35_278),
    ("dynamic-html", 1, 4756),
    ("image-flip-rotate", 2, 36_112),
    ("video-processing", 2, 23_833),
    ("pyaes", 2, 8997),
    ("image-processing", 2, 29_974),
    ("image-recognition", 2, 15_085),
    ("crypto", 2, 25_780),
    ("dynamic-html", 2, 3237),
];

/// The hour from the user's copy of the data set, unpacked in `folder`.
///
/// # Errors
/// [`Error::MissingFile`] for each file that is not there; any defect of the files by line;
/// [`Error::NoServiceTime`] if `service` does not know a function.
pub fn generate(folder: &Path, seed: u64, service: ServiceLookup<'_>) -> Result<Workload> {
    let path = |name: &str| {
        let path = folder.join(name);
        if path.is_file() {
            return Ok(Source::path(path));
        }
        Err(Error::MissingFile { path: path.display().to_string(), remedy: ORIGIN.to_owned() })
    };
    from_tables(&path(INVOCATIONS)?, &path(DURATIONS)?, &ROWS, seed, service)
}

fn from_tables(
    invocations: &Source,
    durations: &Source,
    rows: &[(&'static str, usize, usize)],
    seed: u64,
    service: ServiceLookup<'_>,
) -> Result<Workload> {
    let joined = joined_rows(invocations, durations, rows)?;
    let hour = rows
        .iter()
        .map(|(base, copy, row)| {
            let minutes = *joined.get(row).ok_or_else(|| Error::Table {
                file: invocations.name().to_owned(),
                problem: format!("the join with {} has no row {row}, which is {base}", durations.name()),
                remedy: "give day 3 of AzureFunctionsDataset2019, complete and in its own order".to_owned(),
            })?;
            Ok(hour_function(base, *copy, minutes))
        })
        .collect::<Result<Vec<_>>>()?;
    let source = format!("{} joined with {}, minutes 1-60", invocations.short_name(), durations.short_name());
    hour::workload(NAME, &hour, seed, service, vec![source])
}

/// The first hour of the wanted rows of the join, in the order of the invocations table. A key
/// that the durations table has n times makes n rows, as in an inner join.
fn joined_rows(
    invocations: &Source,
    durations: &Source,
    rows: &[(&'static str, usize, usize)],
) -> Result<BTreeMap<usize, [u32; MINUTES]>> {
    let mut known: BTreeMap<Key, usize> = BTreeMap::new();
    let mut table = Table::open(durations, NAME)?;
    let key = KeyColumns::find(&table)?;
    while table.next()? {
        *known.entry(key.of(&table)?).or_default() += 1;
    }
    let mut table = Table::open(invocations, NAME)?;
    let key = KeyColumns::find(&table)?;
    let minutes = azure::minute_columns(&table, invocations)?;
    let mut wanted: Vec<usize> = rows.iter().map(|(_, _, row)| *row).collect();
    wanted.sort_unstable();
    let mut joined = BTreeMap::new();
    let mut next = 0;
    while table.next()? {
        let times = known.get(&key.of(&table)?).copied().unwrap_or(0);
        for row in next..next + times {
            if wanted.binary_search(&row).is_ok() {
                let mut counts = [0; MINUTES];
                for (count, column) in counts.iter_mut().zip(&minutes) {
                    *count = table.count(*column)?;
                }
                joined.insert(row, counts);
            }
        }
        next += times;
    }
    Ok(joined)
}

/// Chance of a skewed minute: 0.4 for the functions, 0.2 for their copies, always for
/// dynamic-html.
fn hour_function(base: &'static str, copy: usize, minutes: [u32; MINUTES]) -> HourFunction {
    let skew = match (base, copy) {
        ("dynamic-html", _) => 1.0,
        (_, 0) => 0.4,
        _ => 0.2,
    };
    HourFunction { base, copy, minutes, skew, skew_peak: false }
}

/// Functions of the sample with fewer or more invocations in the hour do not stand in: fewer
/// exercise nothing, more would not fit the per-second caps.
const SAMPLE_RANGE: std::ops::RangeInclusive<u32> = 10..=6000;

/// The same construction on the bundled sample of 500 functions, first hour of its window.
///
/// Of the functions of the sample with 10 to 6,000 invocations in that hour, 26 stand in for the
/// 26 functions of the paper. They are spread over the range of popularity: 26 counts are laid
/// out evenly on a logarithmic scale from the largest to the smallest, and each, from the largest
/// on, takes the function not yet taken whose count is nearest to it on that scale (of equals the
/// one with the smaller key). The busier ones stand in for the functions with the higher
/// per-second cap (of equals in the order of the paper's list).
///
/// # Errors
/// [`Error::NoServiceTime`] if `service` does not know a function.
pub fn generate_sample(seed: u64, service: ServiceLookup<'_>) -> Result<Workload> {
    let (counted, _) = azure::read(&samples::azure_functions_2019(500)?, &Options::default())?;
    let mut ranked: Vec<(u32, &str, [u32; MINUTES])> = counted
        .functions
        .iter()
        .map(|function| {
            let mut minutes = [0; MINUTES];
            for (step, count) in function.counts.iter().filter(|(step, _)| (*step as usize) < MINUTES) {
                minutes[*step as usize] = *count;
            }
            (minutes.iter().sum(), function.stream.as_str(), minutes)
        })
        .filter(|(total, _, _)| SAMPLE_RANGE.contains(total))
        .collect();
    ranked.sort_by_key(|(total, key, _)| (std::cmp::Reverse(*total), *key));
    let log = |total: u32| f64::from(total).ln();
    let (most, least) = match (ranked.first(), ranked.last()) {
        (Some(first), Some(last)) if ranked.len() >= ROWS.len() => (log(first.0), log(last.0)),
        _ => {
            return Err(Error::value(
                "bundled sample",
                ranked.len(),
                "at least 26 functions of fitting popularity",
            ));
        }
    };
    let mut places: Vec<usize> = (0..ROWS.len()).collect();
    places.sort_by_key(|place| std::cmp::Reverse(hour::cap(ROWS[*place].0)));
    let mut hour: Vec<(usize, HourFunction)> = Vec::new();
    for (i, place) in places.into_iter().enumerate() {
        let target = most + (least - most) * i as f64 / (ROWS.len() - 1) as f64;
        let gap = |taken: &(u32, &str, [u32; MINUTES])| (log(taken.0) - target).abs();
        let nearest = (0..ranked.len()).min_by(|a, b| gap(&ranked[*a]).total_cmp(&gap(&ranked[*b])));
        let (_, _, minutes) = ranked.remove(nearest.expect("at least 26 functions were ranked"));
        let (base, copy, _) = ROWS[place];
        hour.push((place, hour_function(base, copy, minutes)));
    }
    hour.sort_by_key(|(place, _)| *place);
    let hour: Vec<HourFunction> = hour.into_iter().map(|(_, function)| function).collect();
    let source = "bundled Azure Functions 2019 sample of 500 functions, minutes 480-539; stands in for azure-hour, \
                  whose data cannot be bundled";
    hour::workload("azure-hour-sample", &hour, seed, service, vec![source.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::ServiceTime;

    fn service(_: &str) -> Option<ServiceTime> {
        Some(ServiceTime::Constant { ms: 1.0 })
    }

    #[test]
    fn rows_are_counted_in_the_join_not_in_the_file() {
        let minutes: Vec<String> = (1..=60).map(|minute| minute.to_string()).collect();
        let row =
            |function: &str, count: u32| format!("o,a,{function},http{}\n", format!(",{count}").repeat(60));
        let counts = format!(
            "HashOwner,HashApp,HashFunction,Trigger,{}\n{}{}{}",
            minutes.join(","),
            row("unjoined", 9),
            row("f", 1),
            row("g", 2)
        );
        let counts = Source::bytes("c.csv", counts.into_bytes());
        let durations = Source::bytes("d.csv", &b"HashOwner,HashApp,HashFunction\no,a,g\no,a,f\n"[..]);
        let rows = [("pyaes", 0, 1), ("crypto", 0, 0)];
        let workload = from_tables(&counts, &durations, &rows, 1, &service).unwrap();
        workload.validate().unwrap();
        assert_eq!(workload.counts(), [120, 60]);
        let error = from_tables(&counts, &durations, &[("pyaes", 0, 2)], 1, &service).unwrap_err();
        assert_eq!(
            error.to_string(),
            "c.csv: the join with d.csv has no row 2, which is pyaes; give day 3 of AzureFunctionsDataset2019, complete \
             and in its own order"
        );
    }

    #[test]
    fn a_missing_data_set_is_named_with_its_origin() {
        assert_eq!(
            generate(Path::new("nowhere"), 1, &service).unwrap_err().to_string(),
            "nowhere/invocations_per_function_md.anon.d03.csv: no such file; it is part of AzureFunctionsDataset2019 \
             (github.com/Azure/AzurePublicDataset); give the folder of the unpacked set with --data"
        );
    }

    #[test]
    fn the_sample_hour_has_26_functions_over_the_range_of_popularity() {
        let workload = generate_sample(1, &service).unwrap();
        workload.validate().unwrap();
        let counts = workload.counts();
        assert_eq!((counts.len(), workload.burn_in), (26, crate::Duration::from_secs(300)));
        assert!(counts.iter().all(|count| (10..=6000).contains(count)));
        assert!(counts.iter().max() > counts.iter().min().map(|least| least * 50).as_ref(), "{counts:?}");
        assert_eq!(generate_sample(1, &service).unwrap().hash(), workload.hash());
    }
}
