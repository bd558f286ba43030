//! A workload as CSV, for eyes and for other tools: `x.csv` with one row an invocation, and
//! `x.csv.json` with everything else (name, function table, burn-in, span, provenance).
//!
//! Columns: `arrival_ns`, `function` (name), `service_us`. Written and read back, a workload is
//! the same to the last bit. A CSV without its companion is read too: functions are then named in
//! order of first appearance, without tenant, profile or memory, and there is no burn-in.

use crate::atomic::AtomicFile;
use crate::error::{Error, Result};
use crate::read::Source;
use crate::table::Table;
use crate::time::{Duration, Instant};
use crate::workload::{Function, FunctionId, Invocation, Workload, sort_by_arrival, span_of};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const FORMAT: &str = "workload CSV";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Companion {
    name: String,
    burn_in_ns: u64,
    span_ns: u64,
    provenance: Vec<String>,
    functions: Vec<Function>,
}

fn companion_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".json");
    path.with_file_name(name)
}

/// Writes `path` and its companion, each whole or not at all.
///
/// # Errors
/// [`Error::Io`] if the disk refuses.
pub fn write(path: &Path, workload: &Workload) -> Result<()> {
    let companion = Companion {
        name: workload.name.clone(),
        burn_in_ns: workload.burn_in.as_nanos(),
        span_ns: workload.span.as_nanos(),
        provenance: workload.provenance.clone(),
        functions: workload.functions.clone(),
    };
    let text = serde_json::to_vec_pretty(&companion).expect("strings and numbers always read as JSON");
    let failed = |error: csv::Error| Error::io(path.display(), "write")(std::io::Error::other(error));
    let mut file = AtomicFile::create(path)?;
    {
        let mut rows = csv::Writer::from_writer(&mut file);
        rows.write_record(["arrival_ns", "function", "service_us"]).map_err(failed)?;
        for invocation in &workload.invocations {
            let arrival = invocation.arrival().as_nanos().to_string();
            let service = invocation.service().as_micros().to_string();
            let function = &workload.functions[invocation.function().index()].name;
            rows.write_record([arrival.as_str(), function, service.as_str()]).map_err(failed)?;
        }
        rows.flush().map_err(Error::io(path.display(), "write"))?;
    }
    crate::atomic::write_file(&companion_path(path), &text)?;
    file.commit()
}

/// Reads `path`, with its companion if there is one.
///
/// # Errors
/// A missing column, a malformed row or an unknown function by file, line and column; a companion
/// that does not read.
pub fn read(path: &Path) -> Result<Workload> {
    let companion =
        match fs::read(companion_path(path)) {
            Ok(text) => Some(serde_json::from_slice::<Companion>(&text).map_err(|error| {
                Error::Table {
                    file: companion_path(path).display().to_string(),
                    problem: format!("not the companion of a workload CSV ({error})"),
                    remedy:
                        "write it again with `trenvx trace convert`, or move it away to read the CSV alone"
                            .to_owned(),
                }
            })?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io(companion_path(path).display(), "read")(error)),
        };
    let known = companion.is_some();
    let mut workload = match companion {
        Some(companion) => Workload {
            name: companion.name,
            functions: companion.functions,
            invocations: Vec::new().into(),
            burn_in: Duration::from_nanos(companion.burn_in_ns),
            span: Duration::from_nanos(companion.span_ns),
            provenance: companion.provenance,
        },
        None => Workload {
            name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            provenance: vec![format!("CSV {}", path.file_name().unwrap_or_default().to_string_lossy())],
            ..Workload::default()
        },
    };
    let mut ids: BTreeMap<String, u32> = workload
        .functions
        .iter()
        .enumerate()
        .map(|(id, function)| (function.name.clone(), id as u32))
        .collect();
    let source = Source::path(path);
    let mut table = Table::open(&source, FORMAT)?;
    let (arrival, function, service) =
        (table.column("arrival_ns")?, table.column("function")?, table.column("service_us")?);
    let whole = "a whole number of nanoseconds below 2^63";
    let mut invocations = Vec::new();
    while table.next()? {
        let nanos: u64 = table.parse(arrival, whole)?;
        if nanos > u64::MAX / 2 {
            return Err(table.wrong(arrival, whole));
        }
        let at = Instant::from_nanos(nanos);
        let micros: u64 = table.parse(service, "a whole number of microseconds below 2^40")?;
        if micros > Invocation::MAX_SERVICE.as_micros() {
            return Err(table.wrong(service, "a whole number of microseconds below 2^40"));
        }
        let name = table.text(function)?;
        let id = match ids.get(name) {
            Some(id) => *id,
            None if known => return Err(table.wrong(function, "a function of the companion file")),
            None => {
                let id = ids.len() as u32;
                ids.insert(name.to_owned(), id);
                let tenant = "unknown".to_owned();
                workload.functions.push(Function {
                    name: name.to_owned(),
                    tenant,
                    profile: None,
                    memory: None,
                });
                id
            }
        };
        if u64::from(id) >= Invocation::MAX_FUNCTIONS {
            return Err(table.wrong(function, "one of at most 16777216 functions"));
        }
        invocations.push(Invocation::new(at, FunctionId(id), Duration::from_micros(micros)));
    }
    if !known {
        sort_by_arrival(&mut invocations);
        workload.span = span_of(&invocations);
    }
    workload.invocations = invocations.into();
    workload.validate()?;
    Ok(workload)
}

/// Reads a workload file of ours: the binary format by its first bytes, CSV otherwise.
///
/// # Errors
/// As [`binary::open`](crate::binary::open) or [`read`].
pub fn read_any(path: &Path) -> Result<Workload> {
    match crate::binary::open(path) {
        Err(Error::Foreign { .. }) if path.extension().is_some_and(|extension| extension == "csv") => {
            read(path)
        }
        other => other,
    }
}

/// Writes a workload in the format that the extension asks for: CSV for `.csv`, else binary.
///
/// # Errors
/// As [`binary::write`](crate::binary::write) or [`write()`].
pub fn write_any(path: &Path, workload: &Workload) -> Result<()> {
    if path.extension().is_some_and(|extension| extension == "csv") {
        return write(path, workload);
    }
    crate::binary::write(path, workload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary;
    use proptest::prelude::*;

    /// Any sound workload of up to 40 invocations.
    fn any_workload() -> impl Strategy<Value = Workload> {
        let invocation = (0u64..1 << 40, 0u32..3, 0u64..1 << 40);
        (proptest::collection::vec(invocation, 0..40), "[ -~é]{0,12}", proptest::option::of(0u64..1 << 40))
            .prop_map(|(mut rows, name, memory)| {
                rows.sort_by_key(|row| row.0);
                let row = |(at, function, us): (u64, u32, u64)| {
                    Invocation::new(Instant::from_nanos(at), FunctionId(function), Duration::from_micros(us))
                };
                let invocations: Vec<Invocation> = rows.into_iter().map(row).collect();
                let function = |i: usize| Function {
                    name: format!("f\"{i},{}", name.trim()),
                    tenant: name.clone(),
                    profile: (i == 1).then(|| name.clone()),
                    memory: memory.map(crate::Bytes),
                };
                Workload {
                    functions: (0..3).map(function).collect(),
                    span: span_of(&invocations),
                    invocations: invocations.into(),
                    burn_in: Duration::from_nanos(1),
                    provenance: vec![name.clone(), "drawn".into()],
                    name,
                }
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn csv_and_binary_files_give_back_every_workload_as_it_was(workload in any_workload()) {
            let folder = tempfile::tempdir().unwrap();
            let (binary_path, csv_path) = (folder.path().join("w.wkl"), folder.path().join("w.csv"));
            binary::write(&binary_path, &workload).unwrap();
            write(&csv_path, &binary::open(&binary_path).unwrap()).unwrap();
            let back = read(&csv_path).unwrap();
            prop_assert_eq!(back.hash(), workload.hash());
            prop_assert_eq!(back, workload);
        }
    }

    #[test]
    fn a_csv_alone_names_functions_as_they_appear_and_is_sorted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.csv");
        fs::write(&path, "service_us,function,arrival_ns\n5,late,2000000000\n7,early,1\n").unwrap();
        let workload = read(&path).unwrap();
        let names: Vec<&str> = workload.functions.iter().map(|function| &*function.name).collect();
        assert_eq!(names, ["late", "early"]);
        assert_eq!(workload.invocations[0].service(), Duration::from_micros(7));
        assert_eq!((workload.span, &*workload.name), (Duration::from_secs(3), "w"));
    }

    #[test]
    fn a_function_that_the_companion_does_not_know_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.csv");
        write(&path, &Workload { span: Duration::SECOND, ..Workload::default() }).unwrap();
        fs::write(&path, "arrival_ns,function,service_us\n1,x,1\n").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "w.csv:2: column \"function\": \"x\" is not a function of the companion file; correct or remove this row"
            ),
            "{error}"
        );
    }
}
