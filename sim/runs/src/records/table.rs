//! CSV with a fixed header: rows out, rows in, errors with file and line.

use super::sink::Sink;
use crate::error::StoreError;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Writes rows under a header.
pub(crate) struct Rows<'a> {
    writer: csv::Writer<&'a mut Sink>,
    path: PathBuf,
}

impl<'a> Rows<'a> {
    pub fn new(sink: &'a mut Sink, header: &[&str]) -> Result<Self, StoreError> {
        let path = sink.path().to_owned();
        let mut rows = Self { writer: csv::Writer::from_writer(sink), path };
        rows.push(header)?;
        Ok(rows)
    }

    pub fn push<T: AsRef<[u8]>>(&mut self, row: &[T]) -> Result<(), StoreError> {
        self.writer
            .write_record(row)
            .map_err(|error| StoreError::malformed(&self.path, None, error.to_string()))
    }

    pub fn finish(mut self) -> Result<(), StoreError> {
        self.writer.flush().map_err(StoreError::io(&self.path, "writing"))
    }
}

/// One row being read, column after column.
pub(crate) struct Row<'a> {
    path: &'a Path,
    line: u64,
    header: &'a [&'a str],
    record: &'a csv::StringRecord,
    next: usize,
}

impl Row<'_> {
    /// The next column's text.
    pub fn text(&mut self) -> Result<&str, StoreError> {
        self.next += 1;
        self.record
            .get(self.next - 1)
            .ok_or_else(|| StoreError::malformed(self.path, Some(self.line), "too few columns"))
    }

    /// The next column's value.
    pub fn value<T: FromStr>(&mut self) -> Result<T, StoreError> {
        let (path, line) = (self.path, self.line);
        let column = self.header.get(self.next).copied().unwrap_or("?");
        let text = self.text()?;
        text.parse()
            .map_err(|_| StoreError::malformed(path, Some(line), format!("{column}: cannot read {text:?}")))
    }

    /// The next column's value; `None` where it is empty.
    pub fn optional<T: FromStr>(&mut self) -> Result<Option<T>, StoreError> {
        if self.record.get(self.next) == Some("") {
            self.next += 1;
            return Ok(None);
        }
        self.value().map(Some)
    }

    /// A complaint about this row.
    pub fn problem(&self, what: impl Into<String>) -> StoreError {
        StoreError::malformed(self.path, Some(self.line), what)
    }
}

/// Reads every row of a file whose header must be `header`.
pub(crate) fn each_row(
    path: &Path,
    header: &[&str],
    mut on_row: impl FnMut(&mut Row<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let file = BufReader::new(File::open(path).map_err(StoreError::io(path, "opening"))?);
    let input: Box<dyn Read> = if path.extension().is_some_and(|ending| ending == "zst") {
        Box::new(zstd::Decoder::with_buffer(file).map_err(StoreError::io(path, "reading"))?)
    } else {
        Box::new(file)
    };
    let mut reader = csv::Reader::from_reader(input);
    let malformed = |error: csv::Error| StoreError::malformed(path, None, error.to_string());
    let found = reader.headers().map_err(malformed)?;
    if found != header {
        let what =
            format!("columns are {}, not {}", found.iter().collect::<Vec<_>>().join(","), header.join(","));
        return Err(StoreError::malformed(path, Some(1), what));
    }
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(malformed)? {
        let line = record.position().map_or(0, csv::Position::line);
        on_row(&mut Row { path, line, header, record: &record, next: 0 })?;
    }
    Ok(())
}
