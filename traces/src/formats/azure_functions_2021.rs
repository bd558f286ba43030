//! Azure Functions 2021: one row an invocation, two weeks.
//!
//! Source: Zhang et al., "Faster and Cheaper Serverless Computing on Harvested Resources", SOSP
//! 2021; Azure/AzurePublicDataset, `AzureFunctionsInvocationTrace2021.md`. Columns `app`, `func`,
//! `end_timestamp` and `duration`, both in seconds; an invocation starts `duration` before its
//! end. Rows are in no particular order. The first rows of the trace start before its zero, so
//! the whole trace is shifted until its earliest start is zero.
//!
//! This reader scans bytes instead of going through a CSV library, because the full trace is
//! read often and large; it takes no quoted fields, and the trace has none.

use super::{Format, OnDefect};
use crate::decimal::seconds_to_nanos;
use crate::error::{Error, Result};
use crate::read::Source;
use crate::report::{Imported, Report};
use crate::time::{Duration, Instant};
use crate::workload::{Function, FunctionId, Invocation, Workload, span_of};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

const FORMAT: &str = "azure-functions-2021";
const COLUMNS: [&str; 4] = ["app", "func", "end_timestamp", "duration"];
/// Columns that a row may have; the trace has four.
const MAX_COLUMNS: usize = 16;

/// Reads the trace.
///
/// # Errors
/// A missing column, or a malformed row by file, line and column (unless `malformed` drops it).
pub fn import(source: &Source, malformed: OnDefect) -> Result<Imported> {
    let contents = source.contents()?;
    let (columns, width, start) = header(source, &contents)?;
    let mut scan = Scan { columns, width, functions: Interner::default(), key: Vec::new() };
    let mut rows = Vec::with_capacity(contents.len().saturating_sub(start) / 140);
    let (mut dropped, mut zero_durations, mut early_starts) = (0, 0, 0);
    let mut at = start;
    while at < contents.len() {
        let end = memchr::memchr(b'\n', &contents[at..]).map_or(contents.len(), |length| at + length);
        let line = &contents[at..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line_start = at;
        at = end + 1;
        if line.is_empty() && at >= contents.len() {
            break;
        }
        match scan.row(line) {
            Ok(row) => {
                zero_durations += u64::from(row.duration_ns == 0);
                early_starts += u64::from(row.start_ns < 0);
                rows.push((
                    row.start_ns,
                    Invocation::new(Instant::ZERO, row.function, Duration::from_nanos(row.duration_ns)),
                ));
            }
            Err(_) if malformed == OnDefect::Drop => dropped += 1,
            Err(fault) => return Err(fault.located(source, &contents, line_start, line, &scan)),
        }
    }
    let mut report = Report {
        format: Format::AzureFunctions2021.name().to_owned(),
        sources: vec![source.short_name().to_owned()],
        rows: rows.len() as u64 + dropped,
        ..Report::default()
    };
    report.defect("dropped_rows", dropped);
    report.defect("zero_duration_invocations", zero_durations);
    report.defect("starts_before_zero", early_starts);
    let workload = assemble(rows, scan.functions, &mut report);
    Ok(Imported { workload, report })
}

/// Shifts, sorts and names.
fn assemble(mut rows: Vec<(i64, Invocation)>, functions: Interner, report: &mut Report) -> Workload {
    rows.sort_by_key(|(start, _)| *start);
    let earliest = rows.first().map_or(0, |(start, _)| *start);
    if earliest != 0 {
        let shift = Duration::from_nanos(earliest.unsigned_abs());
        let direction = if earliest < 0 { "later" } else { "earlier" };
        report.notes.push(format!("all starts moved {shift} {direction}, so that the earliest is zero"));
    }
    let invocations: Vec<Invocation> = rows
        .into_iter()
        .map(|(start, row)| {
            let arrival = Instant::from_nanos(start.wrapping_sub(earliest) as u64);
            Invocation::new(arrival, row.function(), row.service())
        })
        .collect();
    let functions = functions.table(report);
    report.functions = functions.len() as u64;
    report.invocations = invocations.len() as u64;
    Workload {
        name: FORMAT.to_owned(),
        functions,
        span: span_of(&invocations),
        invocations: invocations.into(),
        burn_in: Duration::ZERO,
        provenance: report.provenance(),
    }
}

/// Places of the four columns, number of columns, and where the rows begin.
fn header(source: &Source, contents: &[u8]) -> Result<([usize; 4], usize, usize)> {
    let end = memchr::memchr(b'\n', contents).unwrap_or(contents.len());
    let line = String::from_utf8_lossy(&contents[..end]);
    let names: Vec<&str> = line.trim_start_matches('\u{feff}').split(',').map(str::trim).collect();
    let mut columns = [0; 4];
    for (place, column) in columns.iter_mut().zip(COLUMNS) {
        let found = names.iter().position(|name| *name == column).filter(|at| *at < MAX_COLUMNS);
        *place = found.ok_or_else(|| Error::Column {
            file: source.name().to_owned(),
            column: column.to_owned(),
            format: FORMAT,
            found: names.iter().take(8).copied().collect::<Vec<_>>().join(", "),
        })?;
    }
    Ok((columns, names.len().min(MAX_COLUMNS), (end + 1).min(contents.len())))
}

/// One row, read.
struct Row {
    function: FunctionId,
    start_ns: i64,
    duration_ns: u64,
}

/// Why a row does not read; located only if it is to be reported.
enum Fault {
    Width(usize),
    Field(usize, &'static str),
    TooManyFunctions,
}

struct Scan {
    columns: [usize; 4],
    width: usize,
    functions: Interner,
    key: Vec<u8>,
}

impl Scan {
    fn row(&mut self, line: &[u8]) -> std::result::Result<Row, Fault> {
        let mut ends = [line.len(); MAX_COLUMNS];
        let mut fields = 0;
        for comma in memchr::memchr_iter(b',', line) {
            if fields + 1 >= self.width {
                fields += 1;
                continue;
            }
            ends[fields] = comma;
            fields += 1;
        }
        if fields + 1 != self.width {
            return Err(Fault::Width(fields + 1));
        }
        let start = |column: usize| if column == 0 { 0 } else { ends[column - 1] + 1 };
        let field = |column: usize| &line[start(column)..ends[column]];
        let [app, func, end, duration] = self.columns;
        let seconds = "a number of seconds";
        let end_ns = seconds_to_nanos(field(end)).ok_or(Fault::Field(end, seconds))?;
        let lasted = "a number of seconds that is not negative";
        let duration_ns =
            seconds_to_nanos(field(duration)).filter(|ns| *ns >= 0).ok_or(Fault::Field(duration, lasted))?;
        for column in [app, func] {
            if field(column).is_empty() {
                return Err(Fault::Field(column, "a name"));
            }
        }
        let function = if func == app + 1 {
            self.functions.id(&line[start(app)..ends[func]])
        } else {
            self.key.clear();
            self.key.extend_from_slice(field(app));
            self.key.push(b',');
            self.key.extend_from_slice(field(func));
            self.functions.id(&self.key)
        };
        let function = function.ok_or(Fault::TooManyFunctions)?;
        Ok(Row { function, start_ns: end_ns.saturating_sub(duration_ns), duration_ns: duration_ns as u64 })
    }
}

impl Fault {
    fn located(self, source: &Source, contents: &[u8], line_start: usize, line: &[u8], scan: &Scan) -> Error {
        let file = source.name().to_owned();
        let number = memchr::memchr_iter(b'\n', &contents[..line_start]).count() as u64 + 1;
        match self {
            Self::Width(found) => Error::Row { file, line: number, found, expected: scan.width },
            Self::TooManyFunctions => Error::Table {
                file,
                problem: format!("more than {} functions (line {number})", Invocation::MAX_FUNCTIONS),
                remedy: "import a part of the trace".to_owned(),
            },
            Self::Field(column, expected) => {
                let found = line.split(|byte| *byte == b',').nth(column).unwrap_or_default();
                let place = scan.columns.iter().position(|at| *at == column).unwrap_or_default();
                Error::Field {
                    file,
                    line: number,
                    column: COLUMNS[place].to_owned(),
                    found: String::from_utf8_lossy(found).chars().take(60).collect(),
                    expected,
                }
            }
        }
    }
}

/// Functions by "app,func", numbered as they are first seen. The map is only ever asked, never
/// iterated, and its hash is fixed, so nothing here depends on chance.
#[derive(Default)]
struct Interner {
    ids: HashMap<Box<[u8]>, u32, BuildHasherDefault<EndsHasher>>,
    keys: Vec<Box<[u8]>>,
}

impl Interner {
    fn id(&mut self, key: &[u8]) -> Option<FunctionId> {
        if let Some(id) = self.ids.get(key) {
            return Some(FunctionId(*id));
        }
        if self.keys.len() as u64 >= Invocation::MAX_FUNCTIONS {
            return None;
        }
        let id = self.keys.len() as u32;
        self.ids.insert(key.into(), id);
        self.keys.push(key.into());
        Some(FunctionId(id))
    }

    /// The function table: a function is called by its own hash, or by application and function
    /// where several applications have a function of that hash.
    fn table(self, report: &mut Report) -> Vec<Function> {
        let keys: Vec<String> =
            self.keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
        let parts: Vec<(&str, &str)> =
            keys.iter().map(|key| key.split_once(',').unwrap_or((key, key))).collect();
        let mut holders: BTreeMap<&str, u32> = BTreeMap::new();
        for (_, func) in &parts {
            *holders.entry(func).or_default() += 1;
        }
        report.defect(
            "function_hashes_shared_by_several_functions",
            holders.values().filter(|holders| **holders > 1).count() as u64,
        );
        let name =
            |app: &str, func: &str| if holders[func] > 1 { format!("{app}/{func}") } else { func.to_owned() };
        parts
            .iter()
            .map(|(app, func)| Function {
                name: name(app, func),
                tenant: (*app).to_owned(),
                profile: None,
                memory: None,
            })
            .collect()
    }
}

/// Hashes the two ends of a key: identifiers of this trace are hashes themselves, so a few of
/// their bytes tell them apart; equality is decided on all bytes.
#[derive(Default)]
struct EndsHasher(u64);

impl EndsHasher {
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

impl Hasher for EndsHasher {
    fn write(&mut self, bytes: &[u8]) {
        let word = |bytes: &[u8]| {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            u64::from_le_bytes(word)
        };
        let n = bytes.len();
        self.mix(word(&bytes[..n.min(8)]));
        self.mix(word(&bytes[n - n.min(8)..]));
        self.mix(word(&bytes[n - n.min(16)..n - n.min(8)]));
    }

    fn write_usize(&mut self, n: usize) {
        self.mix(n as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    const ROWS: &str = "app,func,end_timestamp,duration\na,f,2.5,0.5\nb,g,1.25,2\na,g,3,0\r\na,f,4,1e-3\n";

    fn message(text: &str) -> String {
        import(&Source::bytes("t.csv", text.as_bytes().to_vec()), OnDefect::Stop).unwrap_err().to_string()
    }

    #[test]
    fn an_invocation_starts_its_duration_before_its_end_and_the_earliest_start_becomes_zero() {
        let Imported { workload, report } =
            import(&Source::bytes("t.csv", ROWS.as_bytes()), OnDefect::Stop).unwrap();
        workload.validate().unwrap();
        let rows: Vec<(u64, &str, u64)> = workload
            .invocations
            .iter()
            .map(|i| {
                (
                    i.arrival().as_nanos() / 1_000_000,
                    &*workload.functions[i.function().index()].name,
                    i.service().as_micros(),
                )
            })
            .collect();
        assert_eq!(rows, [(0, "b/g", 2_000_000), (2750, "f", 500_000), (3750, "a/g", 0), (4749, "f", 1000)]);
        assert_eq!(
            (report.count_of("starts_before_zero"), report.count_of("zero_duration_invocations")),
            (1, 1)
        );
        assert_eq!(report.notes, ["all starts moved 750 ms later, so that the earliest is zero"]);
    }

    #[test]
    fn the_bundled_excerpt_has_thirty_invocations() {
        let source = samples::get("azure2021-invitro/Azure2021_30.csv").unwrap();
        let Imported { workload, report } = import(&source, OnDefect::Stop).unwrap();
        workload.validate().unwrap();
        assert_eq!((report.rows, workload.invocations.len()), (30, 30));
    }

    #[test]
    fn columns_may_come_in_any_order_and_others_may_be_there() {
        let shuffled = "func,x,duration,app,end_timestamp\nf,,0.5,a,2.5\ng,,2,b,1.25\ng,,0,a,3\nf,,1e-3,a,4";
        let import =
            |text: &'static str| import(&Source::bytes("t.csv", text.as_bytes()), OnDefect::Stop).unwrap();
        assert_eq!(import(shuffled).workload.hash(), import(ROWS).workload.hash());
    }

    #[test]
    fn malformed_rows_are_named_by_file_line_and_column_or_dropped_on_request() {
        assert_eq!(
            message(&ROWS.replace("1.25,2\n", "1.25,two\n")),
            "t.csv:3: column \"duration\": \"two\" is not a number of seconds that is not negative; correct or remove \
             this row"
        );
        assert_eq!(
            message(&ROWS.replace("a,g,3,0", "a,g,3")),
            "t.csv:4: the row has 3 fields, the header has 4; the row is cut short or has stray commas"
        );
        assert_eq!(
            message("application,func,end_timestamp,duration\n"),
            "t.csv: no column \"app\", which azure-functions-2021 requires (found: application, func, end_timestamp, \
             duration); is this another format?"
        );
        let bad = ROWS.replace("a,g,3,0", "a,g,3");
        let report = import(&Source::bytes("t.csv", bad.into_bytes()), OnDefect::Drop).unwrap().report;
        assert_eq!((report.rows, report.invocations, report.count_of("dropped_rows")), (4, 3, 1));
    }
}
