//! Huawei hour: 26 functions, each played by an hour of one function of the public Huawei 2023
//! trace (requests per minute).

use super::hour::{self, HourFunction, MINUTES};
use crate::error::{Error, Result};
use crate::read::Source;
use crate::service::ServiceLookup;
use crate::table::Table;
use crate::workload::Workload;
use std::collections::BTreeMap;
use std::path::Path;

const NAME: &str = "huawei-hour";

/// An hour of one function of the trace.
struct Pick {
    base: &'static str,
    copy: usize,
    /// Function number in the trace.
    function: u32,
    day: u32,
    /// First minute, counted from the start of the day.
    minute: u32,
}

/// From the columns of the published list: function number, day, hour, offset in minutes.
const fn pick(base: &'static str, copy: usize, row: (u32, u32, u32, i32)) -> Pick {
    let minute = (row.2 * 60).cast_signed() + row.3;
    Pick { base, copy, function: row.0, day: row.1, minute: minute.cast_unsigned() }
}

const PICKS: [Pick; 26] = [
    pick("image-flip-rotate", 0, (372, 21, 16, -4)),
    pick("video-processing", 0, (372, 1, 17, 2)),
    pick("chameleon", 0, (50, 19, 4, 0)),
    pick("image-recognition", 0, (87, 23, 20, 0)),
    pick("pyaes", 0, (80, 17, 19, 0)),
    pick("image-processing", 0, (372, 1, 15, 0)),
    pick("json-serde", 0, (397, 23, 5, 0)),
    pick("crypto", 0, (372, 0, 15, -2)),
    pick("pagerank", 0, (915, 19, 10, -7)),
    pick("js-json-serde", 0, (200, 19, 1, 0)),
    pick("dynamic-html", 0, (2976, 15, 1, 0)),
    pick("image-flip-rotate", 1, (181, 0, 16, 0)),
    pick("video-processing", 1, (37, 1, 0, 0)),
    pick("pyaes", 1, (36, 0, 5, 0)),
    pick("image-processing", 1, (36, 0, 2, 0)),
    pick("image-recognition", 1, (44, 0, 5, 0)),
    pick("crypto", 1, (26, 1, 3, 0)),
    pick("pagerank", 1, (472, 0, 23, 0)),
    pick("dynamic-html", 1, (38, 1, 9, 0)),
    pick("image-flip-rotate", 2, (551, 1, 13, 0)),
    pick("video-processing", 2, (425, 1, 18, 0)),
    pick("pyaes", 2, (181, 0, 1, 0)),
    pick("image-processing", 2, (37, 0, 0, 0)),
    pick("image-recognition", 2, (44, 3, 2, 0)),
    pick("crypto", 2, (181, 0, 7, 0)),
    pick("dynamic-html", 2, (38, 0, 10, 0)),
];

/// The hour from the user's copy of the data set: `folder` holds `day_00.csv` to `day_25.csv` of
/// `public_dataset/requests_minute`.
///
/// # Errors
/// [`Error::MissingFile`] naming all files that are not there; any defect of the files by line;
/// [`Error::NoServiceTime`] if `service` does not know a function.
pub fn generate(folder: &Path, seed: u64, service: ServiceLookup<'_>) -> Result<Workload> {
    let mut days: BTreeMap<u32, Source> = BTreeMap::new();
    let mut missing = Vec::new();
    for pick in &PICKS {
        let name = format!("day_{:02}.csv", pick.day);
        let path = folder.join(&name);
        if !path.is_file() {
            missing.push(name);
        }
        days.insert(pick.day, Source::path(path));
    }
    missing.sort_unstable();
    missing.dedup();
    if !missing.is_empty() {
        return Err(Error::MissingFile {
            path: format!("{}: {}", folder.display(), missing.join(", ")),
            remedy: "these are the requests per minute of the Huawei public trace (public_dataset/requests_minute; \
                     links in github.com/sir-lab/data-release, README_data_release_2023.md); give their folder with \
                     --data"
                .to_owned(),
        });
    }
    from_days(&days, seed, service)
}

fn from_days(days: &BTreeMap<u32, Source>, seed: u64, service: ServiceLookup<'_>) -> Result<Workload> {
    let mut hour: Vec<Option<HourFunction>> = PICKS.iter().map(|_| None).collect();
    for (day, source) in days {
        let mut table = Table::open(source, NAME)?;
        let time = table.column("time")?;
        let mut wanted = Vec::new();
        for (place, pick) in PICKS.iter().enumerate().filter(|(_, pick)| pick.day == *day) {
            wanted.push((place, pick, table.column(&pick.function.to_string())?, [0; MINUTES]));
        }
        while table.next()? {
            let minute = table.count(time)? / 60;
            for (_, pick, column, minutes) in &mut wanted {
                let offset =
                    minute.checked_sub(pick.day * 24 * 60 + pick.minute).map(|offset| offset as usize);
                if let Some(count) = offset.and_then(|offset| minutes.get_mut(offset))
                    && !table.is_blank(*column)
                {
                    *count = table.count(*column)?;
                }
            }
        }
        for (place, pick, _, minutes) in wanted {
            let (base, copy) = (pick.base, pick.copy);
            let skew = if copy == 0 { 0.4 } else { 0.1 };
            hour[place] = Some(HourFunction { base, copy, minutes, skew, skew_peak: copy == 0 });
        }
    }
    let hour: Vec<HourFunction> = hour.into_iter().flatten().collect();
    let source =
        "Huawei 2023 public trace, requests per minute, days and hours as in the TrEnv artifact".to_owned();
    hour::workload(NAME, &hour, seed, service, vec![source])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::ServiceTime;

    fn service(_: &str) -> Option<ServiceTime> {
        Some(ServiceTime::Constant { ms: 1.0 })
    }

    #[test]
    fn each_function_plays_its_own_hour() {
        // Every function of the trace runs once in each minute of the day.
        let mut days = BTreeMap::new();
        for pick in &PICKS {
            let mut functions: Vec<u32> = PICKS.iter().map(|pick| pick.function).collect();
            functions.sort_unstable();
            functions.dedup();
            let names: Vec<String> = functions.iter().map(u32::to_string).collect();
            let mut text = format!("day,time,{}\n", names.join(","));
            for minute in 0..1440 {
                let time = pick.day * 86_400 + minute * 60;
                text.push_str(&format!("{},{time}{}\n", pick.day, ",1.0".repeat(functions.len())));
            }
            days.insert(pick.day, Source::bytes("day.csv", text.into_bytes()));
        }
        let workload = from_days(&days, 1, &service).unwrap();
        workload.validate().unwrap();
        assert_eq!(workload.counts(), [60; 26]);
    }

    #[test]
    fn missing_days_are_all_named_with_their_origin() {
        let error = generate(Path::new("nowhere"), 1, &service).unwrap_err().to_string();
        assert!(
            error.starts_with(
                "nowhere: day_00.csv, day_01.csv, day_03.csv, day_15.csv, day_17.csv, day_19.csv, day_21.csv, \
                 day_23.csv: no such file; these are the requests per minute of the Huawei public trace"
            ),
            "{error}"
        );
    }
}
